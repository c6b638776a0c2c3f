"""The classical reference on the simulated global case: ensemble optimal interpolation, tuned and calibrated.

    python -m benchmarks enoi [--rows ...] [--extra] [--tune]

Anomalies of training days are the ensemble. Let `x` be temperature at every cell and level and `y` the observations
of one day (or of a window of days), both as anomalies from a seasonal climatology, in units of their seasonal standard
deviation. With covariances of training days and the localisation `L` (Gaspari and Cohn 1999, eq. 4.10,
doi:10.1002/qj.49712555417, of the distance along the surface)

    analysis = d(level) K y,    K = B_xy (B_yy + a R)^-1,    B_xy = L o cov(x, y),   B_yy = L o cov(y, y),
    variance = s^2 diag(B_xx - (2 d - d^2) K B_xy^T).

The networks are fixed, so `B_yy + a R` is factorised once. Precipitation enters as `sign(p) (sqrt(1 + |p|) - 1)`, p in
mm/day: closer to Gaussian, and better by half a percent than p itself; the error variance `R` of the transformed value
is that of simulated noise on the training days. Radius of the localisation, inflation `a` of the errors, damping `d` of
the increments (our vertical localisation: the least-squares factor per level, at most 1) and inflation `s` of the
spread are tuned with training in the first two years and judgement in the third (`--tune`); the fourth is for the table
only.

Two choices make this reference better than it would be otherwise. The first 90 days of the simulation are left out: the
stratosphere still spins up in them (14 K too warm in the global mean at the start, e-folding in five weeks), and with
them the climatology of the two top levels is worse by 0.3 K. And windows of three days use covariances at lags of up to
two days.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.linalg
import xarray as xr
from scipy.special import erf

import xslams

Array = npt.NDArray[np.float32]

YEAR = 365
SPIN_UP = 90
HARMONICS = 4
#: Sources of observations of every row of the table.
ROWS = {"none": (), "pr": ("pr",), "pr+olr": ("pr", "olr"), "pr+olr+t": ("pr", "olr", "t")}
ERRORS = {"pr": 1.0, "olr": 5.0, "t": 1.0}


# ---------------------------------------------------------------------------------------------------------------------
# The case: truth, and what instruments see of it
# ---------------------------------------------------------------------------------------------------------------------
def shared_data(folder: str | None = None) -> Path:
    """Folder of the public data, which are not part of the repository."""
    root = Path(__file__).resolve().parents[2]
    return Path(folder or os.environ.get("XSLAMS_SHARED") or root.parent / "shared") / "data"


def open_case(path: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Truth of the training years and of the validation year."""
    if not path.is_file():
        msg = f"The simulation {path} is missing. Set XSLAMS_SHARED to the folder whose data/ holds it."
        raise SystemExit(msg)
    with xr.open_dataset(path) as ds:
        ds = ds[["t", "pr", "olr"]].astype(np.float32).load()
    return ds.isel(time=slice(None, 3 * YEAR)), ds.isel(time=slice(3 * YEAR, 4 * YEAR))


def observe(truth: xr.Dataset) -> dict[str, xslams.Observation]:
    """Gauges at half of the cells, a satellite that sees 2x2 cells, 200 stations at the two lowest levels."""
    return {
        "pr": xslams.simulate_observations(truth["pr"], mask=0.5, error=ERRORS["pr"], seed=1),
        "olr": xslams.simulate_observations(truth["olr"], coarsen={"lat": 2, "lon": 2}, error=ERRORS["olr"], seed=2),
        "t": xslams.simulate_observations(truth["t"].isel(sigma=slice(0, 2)), stations=200, error=ERRORS["t"], seed=3),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Arrays: a source as a function of fields, at points, with an error
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Source:
    """What one network measures: `sample` gives values (time, n), untransformed, of the fields of a Dataset."""

    sample: Callable[[xr.Dataset], Array]
    error: float
    place: Array  # unit vectors (n, 3)
    transform: Callable[[Array], Array] = np.asarray


def root(p: Array) -> Array:
    """Square root far from zero, linear near it, odd: noisy observations of rain can be negative."""
    return (np.sign(p) * (np.sqrt(1 + np.abs(p)) - 1)).astype(np.float32)


def unit_vectors(lat: npt.ArrayLike, lon: npt.ArrayLike) -> Array:
    """Points on the unit sphere, shape (n, 3)."""
    a, b = np.deg2rad(np.ravel(lat)), np.deg2rad(np.ravel(lon))
    return np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], axis=1).astype(np.float32)


def sources_of(observations: dict[str, xslams.Observation], truth: xr.Dataset) -> dict[str, Source]:
    """Read the places of the networks off their observations, so that training days can be observed likewise."""
    lat, lon = truth["lat"].values, truth["lon"].values
    gauges = np.flatnonzero(observations["pr"].data.isel(time=0).notnull().transpose("lat", "lon").values)
    boxes = observations["olr"].data
    stations = observations["t"].data
    cells = np.ravel_multi_index(
        [
            np.abs(axis[None, :] - stations[name].values[:, None]).argmin(1)
            for name, axis in (("lat", lat), ("lon", lon))
        ],
        (lat.size, lon.size),
    )

    def sample_gauges(ds: xr.Dataset) -> Array:
        return np.asarray(ds["pr"].values.reshape(ds.sizes["time"], -1)[:, gauges])

    def sample_boxes(ds: xr.Dataset) -> Array:
        return np.asarray(ds["olr"].coarsen(lat=2, lon=2).mean().values.reshape(ds.sizes["time"], -1))

    def sample_stations(ds: xr.Dataset) -> Array:
        days = ds.sizes["time"]
        return np.asarray(ds["t"].values[:, :2].reshape(days, 2, -1)[:, :, cells].reshape(days, -1))

    place = unit_vectors(*np.meshgrid(lat, lon, indexing="ij"))
    return {
        "pr": Source(sample_gauges, ERRORS["pr"], place[gauges], root),
        "olr": Source(sample_boxes, ERRORS["olr"], unit_vectors(*np.meshgrid(boxes.lat, boxes.lon, indexing="ij"))),
        "t": Source(sample_stations, ERRORS["t"], np.tile(place[cells], (2, 1))),
    }


def values_of(observations: dict[str, xslams.Observation], name: str) -> Array:
    """Observed values (time, n) in the order of the `Source`."""
    data = observations[name].data
    if name == "pr":
        flat = data.transpose("time", "lat", "lon").values.reshape(data.sizes["time"], -1)
        return np.asarray(flat[:, np.isfinite(flat[0])], np.float32)
    return np.asarray(data.values.reshape(data.sizes["time"], -1), np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Climatology
# ---------------------------------------------------------------------------------------------------------------------
def year_fraction(time: xr.DataArray) -> npt.NDArray[np.float64]:
    """Position in the year, from 0 to 1."""
    return np.asarray((time.dt.dayofyear.values - 1) / 365.25)


def harmonics(fraction: npt.NDArray[np.float64], count: int) -> Array:
    """Mean and `count` harmonics of the year, shape (time, 1 + 2 count)."""
    waves = [f(2 * np.pi * k * fraction) for k in range(1, count + 1) for f in (np.cos, np.sin)]
    return np.stack([np.ones_like(fraction), *waves], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Climatology:
    """Seasonal mean, and seasonal standard deviation with one harmonic in the variance."""

    mean_coefficients: Array
    variance_coefficients: Array

    @classmethod
    def fit(cls, values: Array, fraction: npt.NDArray[np.float64], mean_of: Array | None = None) -> Climatology:
        """Fit to values (time, n); the mean to `mean_of` where that differs (observations with noise)."""
        inverse = np.linalg.pinv(harmonics(fraction, HARMONICS))
        own = inverse @ values
        squared = (values - harmonics(fraction, HARMONICS) @ own) ** 2
        return cls(own if mean_of is None else inverse @ mean_of, np.linalg.pinv(harmonics(fraction, 1)) @ squared)

    def mean(self, fraction: npt.NDArray[np.float64]) -> Array:
        """Mean (time, n)."""
        return np.asarray(harmonics(fraction, HARMONICS) @ self.mean_coefficients)

    def std(self, fraction: npt.NDArray[np.float64]) -> Array:
        """Return the standard deviation (time, n), at least half of the annual one: a harmonic fit can go too low."""
        fitted = harmonics(fraction, 1) @ self.variance_coefficients
        return np.asarray(np.sqrt(np.maximum(fitted, 0.25 * self.variance_coefficients[0])))


# ---------------------------------------------------------------------------------------------------------------------
# Analysis
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Tuning:
    """What is tuned: radius in km at which the localisation is zero, inflations, damping of the increment by level."""

    radius: float = 8000.0
    error_inflation: float = 2.0
    spread: float = 1.0
    damping: tuple[float, ...] = (1.0,) * 8


def gaspari_cohn(r: Array) -> Array:
    """Compactly supported correlation; `r` is 1 where it reaches zero."""
    z = np.clip(2 * np.asarray(r, np.float32), 0, 2)
    near = 1 + z**2 * (-5 / 3 + z * (5 / 8 + z * (1 / 2 - z / 4)))
    far = 4 + z * (-5 + z * (5 / 3 + z * (5 / 8 + z * (-1 / 2 + z / 12)))) - 2 / (3 * np.maximum(z, 0.5))
    return np.where(z <= 1, near, np.maximum(far, 0)).astype(np.float32)


def distance(a: Array, b: Array) -> Array:
    """Along the surface, in km."""
    return np.asarray(6371 * np.arccos(np.clip(a @ b.T, -1, 1)))


@dataclass
class Anomalies:
    """Normalised anomalies of training runs: state (time, level, cell), observations without noise, error variances."""

    runs: list[xr.Dataset]
    sources: dict[str, Source]
    every: int = 1  # take every n-th cell of the state: tuning needs no more

    def __post_init__(self) -> None:
        fraction = np.concatenate([year_fraction(run["time"]) for run in self.runs])
        self.degrees_of_freedom = fraction.size - (1 + 2 * HARMONICS)
        # Rows of one run follow each other in time; lags must not reach from one run into the next.
        self.bounds = np.cumsum([0, *(run.sizes["time"] for run in self.runs)])
        state = np.concatenate([self.select(run) for run in self.runs])
        self.state_climatology = Climatology.fit(state, fraction)
        self.state = (state - self.state_climatology.mean(fraction)) / self.state_climatology.std(fraction)
        self.climatology: dict[str, Climatology] = {}
        self.values: dict[str, Array] = {}
        self.variance: dict[str, Array] = {}
        rng = np.random.default_rng(0)
        for name, source in self.sources.items():
            raw = np.concatenate([source.sample(run) for run in self.runs])
            exact = source.transform(raw)
            noisy = source.transform(raw + source.error * rng.standard_normal(raw.shape, dtype=np.float32))
            climatology = Climatology.fit(exact, fraction, mean_of=noisy)
            inverse = np.linalg.pinv(harmonics(fraction, HARMONICS))
            std = climatology.std(fraction)
            self.climatology[name] = climatology
            self.values[name] = (exact - harmonics(fraction, HARMONICS) @ (inverse @ exact)) / std
            self.variance[name] = ((noisy - exact) / std).var(axis=0)

    def select(self, run: xr.Dataset) -> Array:
        """State (time, level * cells) of a run."""
        t = run["t"].values
        return np.asarray(t.reshape(*t.shape[:2], -1)[:, :, :: self.every].reshape(len(t), -1))

    def rows(self, reach: int) -> npt.NDArray[np.int64]:
        """Training days with `reach` neighbours on either side."""
        return np.concatenate(
            [np.arange(a + reach, b - reach) for a, b in zip(self.bounds, self.bounds[1:], strict=False)]
        )


@dataclass
class EnsembleOI:
    """Optimal interpolation with covariances of training days, for given networks and lags."""

    anomalies: Anomalies
    names: tuple[str, ...]
    tuning: Tuning
    place: Array  # of the cells of the state
    lags: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        a, radius = self.anomalies, self.tuning.radius
        rows = a.rows(max(map(abs, self.lags)))
        n = np.float32(rows.size - (a.state.shape[0] - a.degrees_of_freedom))
        values = np.concatenate([a.values[name] for name in self.names], axis=1)
        observed = np.concatenate([a.sources[name].place for name in self.names])
        near = gaspari_cohn(distance(observed, observed) / radius)
        lagged = [values[rows + lag] for lag in self.lags]
        size = observed.shape[0]
        matrix = np.empty((size * len(self.lags),) * 2, np.float32)
        for i, yi in enumerate(lagged):
            for j, yj in enumerate(lagged[: i + 1]):
                matrix[i * size : (i + 1) * size, j * size : (j + 1) * size] = near * (yi.T @ yj) / n
        variance = np.concatenate([a.variance[name] for name in self.names])
        matrix[np.diag_indices_from(matrix)] += np.tile(self.tuning.error_inflation * variance, len(self.lags))
        self._factor = scipy.linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        self._lagged = [y / n for y in lagged]
        self._near = gaspari_cohn(distance(self.place, observed) / radius)
        self._state = a.state[rows].reshape(rows.size, 8, -1)

    def _covariance(self, level: int) -> Array:
        """State of one level with observations, localised: (cells, lags * observations)."""
        x = self._state[:, level].T
        return np.concatenate([self._near * (x @ y) for y in self._lagged], axis=1)

    def increments(self, observed: dict[str, Array], fraction: npt.NDArray[np.float64]) -> Array:
        """Anomalies (time, level, cell), normalised, of the days whose whole window is observed; NaN elsewhere."""
        a, tuning = self.anomalies, self.tuning
        y = np.concatenate(
            [
                (a.sources[name].transform(observed[name]) - a.climatology[name].mean(fraction))
                / a.climatology[name].std(fraction)
                for name in self.names
            ],
            axis=1,
        )
        reach = max(map(abs, self.lags))
        days = np.arange(reach, len(y) - reach)
        window = np.concatenate([y[days + lag] for lag in self.lags], axis=1).T
        weights = scipy.linalg.cho_solve((self._factor, True), window, check_finite=False)
        out = np.full((len(y), 8, self.place.shape[0]), np.nan, np.float32)
        for level, damping in enumerate(tuning.damping):
            out[days, level] = damping * (self._covariance(level) @ weights).T
        return out

    def variance(self, every: int = 1) -> Array:
        """Variance (level, cell), normalised, before the inflation of the spread; at every n-th cell, repeated."""
        out = np.empty((8, self.place.shape[0]), np.float32)
        for level, d in enumerate(self.tuning.damping):
            half = scipy.linalg.solve_triangular(
                self._factor, self._covariance(level)[::every].T, lower=True, overwrite_b=True, check_finite=False
            )
            # |x - d K y|^2 = B_xx - (2 d - d^2) K B_yx
            explained = (2 * d - d**2) * np.einsum("ij,ij->j", half, half)
            prior = self._state[:, level].var(axis=0)
            out[level] = np.maximum(prior - np.repeat(explained, every)[: prior.size], 0.02)
        return out


def analyse(
    anomalies: Anomalies,
    row: str,
    observed: dict[str, Array],
    fraction: npt.NDArray[np.float64],
    place: Array,
    tuning: Tuning,
    lags: tuple[int, ...] = (0,),
) -> tuple[Array, Array]:
    """Mean and standard deviation (time, level * cells) of the analysis."""
    shape = (fraction.size, 8, place.shape[0])
    if ROWS[row]:
        oi = EnsembleOI(anomalies, ROWS[row], tuning, place, lags)
        increments = oi.increments(observed, fraction)
        # Twelve thousand observations: a third of the cells is enough for a spread that varies this smoothly.
        variance = np.broadcast_to(oi.variance(every=1 if len(lags) == 1 else 3), shape).copy()
        edge = np.isnan(increments[:, 0, 0])
        if edge.any():
            # The first and the last day have no complete window; one day has to do.
            del oi
            oi = EnsembleOI(anomalies, ROWS[row], tuning, place)
            increments[edge] = oi.increments(observed, fraction)[edge]
            variance[edge] = oi.variance(every=3)
    else:
        increments = np.zeros(shape, np.float32)
        variance = np.broadcast_to(anomalies.state.var(axis=0).reshape(8, -1), shape)
    climatology = anomalies.state_climatology
    std = climatology.std(fraction)
    mean = climatology.mean(fraction) + std * increments.reshape(len(std), -1)
    return mean, std * tuning.spread * np.sqrt(variance.reshape(len(std), -1))


# ---------------------------------------------------------------------------------------------------------------------
# Scores
# ---------------------------------------------------------------------------------------------------------------------
def crps_normal(error: Array, std: Array) -> Array:
    """CRPS of a Gaussian (Gneiting et al. 2005, doi:10.1175/MWR2904.1)."""
    z = error / std
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(std * (z * erf(z / np.sqrt(2)) + 2 * density - 1 / np.sqrt(np.pi)))


@dataclass(frozen=True)
class Scores:
    """Area-weighted, pooled over days, one value per level, lowest first."""

    rmse: npt.NDArray[np.float64]
    crps: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]

    @classmethod
    def of(cls, mean: Array, std: Array, truth: Array, weights: Array) -> Scores:
        """Score Gaussians; arrays are (time, level * cells), weights (cells,)."""
        error = mean - truth
        crps = crps_normal(error, std)

        def average(values: Array) -> npt.NDArray[np.float64]:
            by_level = values.mean(axis=0, dtype=np.float64).reshape(8, -1)
            return np.asarray(by_level @ weights / weights.sum())

        return cls(np.sqrt(average(error**2)), average(crps), np.sqrt(average(std**2)))

    def line(self, name: str) -> str:
        """One line of the table."""
        levels = " ".join(f"{r:4.2f}/{c:4.2f}" for r, c in zip(self.rmse, self.crps, strict=True))
        ratio = self.spread.mean() / self.rmse.mean()
        return f"{name:<26} {self.rmse.mean():6.3f} {self.crps.mean():6.3f} {ratio:6.2f}   {levels}"


def header(levels: Sequence[float]) -> str:
    """Head of the table."""
    return f"{'':<26} {'RMSE':>6} {'CRPS':>6} {'sp/err':>6}   " + " ".join(f"{f'sigma {s:.3g}':<9}" for s in levels)


# ---------------------------------------------------------------------------------------------------------------------
# Tuning and the table
# ---------------------------------------------------------------------------------------------------------------------
#: Found by ``--tune``.
TUNED: dict[tuple[str, int], Tuning] = {
    ("none", 1): Tuning(
        radius=8000.0, error_inflation=2.0, spread=1.083, damping=(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    ),
    ("pr", 1): Tuning(
        radius=8000, error_inflation=2.5, spread=1.092, damping=(1.0, 1.0, 1.0, 1.0, 0.81, 0.86, 0.7, 0.49)
    ),
    ("pr+olr", 1): Tuning(
        radius=8000, error_inflation=2.5, spread=1.098, damping=(1.0, 1.0, 1.0, 1.0, 0.96, 1.0, 0.95, 0.94)
    ),
    ("pr+olr+t", 1): Tuning(
        radius=8000, error_inflation=1.5, spread=1.11, damping=(1.0, 1.0, 1.0, 0.98, 0.89, 0.95, 0.85, 0.82)
    ),
    ("pr", 3): Tuning(
        radius=9000, error_inflation=5.0, spread=1.122, damping=(1.0, 1.0, 1.0, 1.0, 0.76, 0.79, 0.63, 0.43)
    ),
    ("pr+olr", 3): Tuning(
        radius=9000, error_inflation=5.0, spread=1.161, damping=(1.0, 1.0, 1.0, 1.0, 0.88, 0.97, 0.87, 0.82)
    ),
    ("pr+olr+t", 3): Tuning(
        radius=7000, error_inflation=3.0, spread=1.109, damping=(1.0, 1.0, 1.0, 0.99, 0.9, 0.96, 0.86, 0.83)
    ),
}


def lags_of(days: int) -> tuple[int, ...]:
    """Days of a centred window."""
    return tuple(range(-(days // 2), days // 2 + 1))


class Reference:
    """The reference on the validation year; every row is computed once and can be scored on any of its days."""

    def __init__(self, training: Sequence[xr.Dataset], truth: xr.Dataset) -> None:
        self.truth = truth
        self.observations = observe(truth)
        sources = sources_of(self.observations, truth)
        self.observed = {name: values_of(self.observations, name) for name in sources}
        self.anomalies = Anomalies([run.isel(time=slice(SPIN_UP, None)) for run in training], sources)
        lat, lon = np.meshgrid(truth["lat"], truth["lon"], indexing="ij")
        self.place = unit_vectors(lat, lon)
        self.weights = np.cos(np.deg2rad(lat)).ravel().astype(np.float32)

    def row(self, name: str, days: int = 1) -> tuple[Array, Array]:
        """Mean and standard deviation of a row with windows of `days`."""
        fraction = year_fraction(self.truth["time"])
        tuning = TUNED.get((name, days), Tuning())
        return analyse(self.anomalies, name, self.observed, fraction, self.place, tuning, lags_of(days))

    def score(self, analysis: tuple[Array, Array], days: slice | npt.NDArray[np.int64] = slice(None)) -> Scores:
        """Score on some days of the validation year."""
        truth = self.truth["t"].values.reshape(self.truth.sizes["time"], -1)
        return Scores.of(analysis[0][days], analysis[1][days], truth[days], self.weights)


def tune(training: xr.Dataset, days: Sequence[int]) -> None:
    """Print the best tuning of every row: trained on two years, judged in the third on a fifth of the cells."""
    judged = training.isel(time=slice(2 * YEAR, None))
    observations = observe(judged)
    sources = sources_of(observations, judged)
    observed = {name: values_of(observations, name) for name in sources}
    # 5 does not divide the 96 longitudes, so these cells are staggered.
    every = 5
    anomalies = Anomalies([training.isel(time=slice(SPIN_UP, 2 * YEAR))], sources, every)
    lat, lon = np.meshgrid(judged["lat"], judged["lon"], indexing="ij")
    place = unit_vectors(lat, lon)[::every]
    weights = np.cos(np.deg2rad(lat)).ravel()[::every].astype(np.float32)
    truth = anomalies.select(judged)
    fraction = year_fraction(judged["time"])

    def average(values: Array) -> npt.NDArray[np.float64]:
        return np.asarray(values.mean(axis=0, dtype=np.float64).reshape(8, -1) @ weights)

    std, mean = anomalies.state_climatology.std(fraction), anomalies.state_climatology.mean(fraction)
    for count in days:
        inner = slice(count // 2, fraction.size - count // 2)
        grids = {1: [(r, a) for r in (6000, 8000, 10000) for a in (1.5, 2.5, 4.0)]}
        for row, names in ROWS.items():
            best, best_rmse = Tuning(), np.inf
            if not names and count > 1:
                continue
            for radius, inflation in grids.get(count, [(7000, 3.0), (7000, 5.0), (9000, 5.0)]) if names else []:
                trial = Tuning(radius, inflation)
                oi = EnsembleOI(anomalies, names, trial, place, lags_of(count))
                increment = std[inner] * oi.increments(observed, fraction)[inner].reshape(-1, std.shape[1])
                anomaly = (truth - mean)[inner]
                damping = np.clip(average(increment * anomaly) / average(increment**2), 0, 1)
                error = increment.reshape(len(increment), 8, -1) * damping[:, None] - anomaly.reshape(
                    len(anomaly), 8, -1
                )
                rmse = np.sqrt(average(error.reshape(len(error), -1) ** 2) / weights.sum()).mean()
                print(
                    f"  {row}, {count} d: radius {radius}, inflation {inflation}: {rmse:.4f}",
                    np.round(damping, 2),
                    flush=True,
                )
                if rmse < best_rmse:
                    best_rmse = rmse
                    best = replace(trial, damping=tuple(float(round(d, 2)) for d in damping))
            analysed = analyse(anomalies, row, observed, fraction, place, best, lags_of(count))
            scores = Scores.of(*analysed, truth, weights)
            best = replace(best, spread=float(round(scores.rmse.mean() / scores.spread.mean(), 3)))
            print(f"    ({row!r}, {count}): {best!r},", flush=True)


def main() -> None:
    """Print the table of the reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--windows", nargs="+", type=int, default=[1, 3], help="days of observations in a window")
    parser.add_argument("--extra", action="store_true", help="train on the independent two-year run as well")
    parser.add_argument("--tune", action="store_true", help="search the tuning in the training years, and stop")
    parser.add_argument("--shared", help="folder whose data/ holds the simulation")
    options = parser.parse_args()
    folder = shared_data(options.shared)
    training, truth = open_case(folder / "speedy_t30_daily_4yr.nc")
    if options.tune:
        tune(training, options.windows)
        return
    runs = [training]
    if options.extra:
        with xr.open_dataset(folder / "speedy_t30_daily_2yr_b.nc") as ds:
            runs.append(ds[["t", "pr", "olr"]].astype(np.float32).load())
    reference = Reference(runs, truth)
    print(header(truth["sigma"].values))
    for days in options.windows:
        for row in options.rows:
            if ROWS[row] or days == 1:
                start = time.perf_counter()
                scores = reference.score(reference.row(row, days))
                print(scores.line(f"EnOI {row}, {days} d"), f"  {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()

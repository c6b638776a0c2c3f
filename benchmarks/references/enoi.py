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

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.linalg
import xarray as xr
from scoringrules import crps_normal

import xslams
from benchmarks.cases import shared_data
from benchmarks.cases.seasons import annual_phase, harmonics
from benchmarks.cases.speedy import ERRORS, ROWS, SPIN_UP, YEAR, observe, open_case, open_second_run
from benchmarks.command import Command
from xslams.localization import gaspari_cohn

Array = npt.NDArray[np.float32]

HARMONICS = 4


# ---------------------------------------------------------------------------------------------------------------------
# Arrays: a source as a function of fields, at points, with an error
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Source:
    """Measurements of one network: `sample` gives values (time, n), untransformed, of the fields of a Dataset."""

    sample: Callable[[xr.Dataset], Array]
    error: float | Array  # of all, or of each
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
def waves(phase: npt.NDArray[np.float64], count: int) -> Array:
    """Mean and `count` harmonics of the year in single precision, shape (time, 1 + 2 count)."""
    return harmonics(phase, count).astype(np.float32)


@dataclass(frozen=True)
class Climatology:
    """Seasonal mean, and seasonal standard deviation with one harmonic in the variance."""

    mean_coefficients: Array
    variance_coefficients: Array

    @classmethod
    def fit(cls, values: Array, phase: npt.NDArray[np.float64], mean_of: Array | None = None) -> Climatology:
        """Fit to values (time, n); the mean to `mean_of` where that differs (observations with noise)."""
        inverse = np.linalg.pinv(waves(phase, HARMONICS))
        own = inverse @ values
        squared = (values - waves(phase, HARMONICS) @ own) ** 2
        return cls(own if mean_of is None else inverse @ mean_of, np.linalg.pinv(waves(phase, 1)) @ squared)

    def mean(self, phase: npt.NDArray[np.float64]) -> Array:
        """Mean (time, n)."""
        return np.asarray(waves(phase, HARMONICS) @ self.mean_coefficients)

    def std(self, phase: npt.NDArray[np.float64]) -> Array:
        """Return the standard deviation (time, n), at least half of the annual one: a harmonic fit can go too low."""
        fitted = waves(phase, 1) @ self.variance_coefficients
        return np.asarray(np.sqrt(np.maximum(fitted, 0.25 * self.variance_coefficients[0])))


# ---------------------------------------------------------------------------------------------------------------------
# Analysis
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Tuning:
    """Tuned settings: radius in km at which the localisation is zero, inflations, damping of increments by level."""

    radius: float = 8000.0
    error_inflation: float = 2.0
    spread: float = 1.0
    damping: tuple[float, ...] = (1.0,) * 8


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
        phase = np.concatenate([annual_phase(run["time"]) for run in self.runs])
        self.degrees_of_freedom = phase.size - (1 + 2 * HARMONICS)
        # Rows of one run follow each other in time; lags must not reach from one run into the next.
        self.bounds = np.cumsum([0, *(run.sizes["time"] for run in self.runs)])
        state = np.concatenate([self.select(run) for run in self.runs])
        self.state_climatology = Climatology.fit(state, phase)
        self.state = (state - self.state_climatology.mean(phase)) / self.state_climatology.std(phase)
        self.climatology: dict[str, Climatology] = {}
        self.values: dict[str, Array] = {}
        self.variance: dict[str, Array] = {}
        rng = np.random.default_rng(0)
        for name, source in self.sources.items():
            raw = np.concatenate([source.sample(run) for run in self.runs])
            exact = source.transform(raw)
            noisy = source.transform(raw + source.error * rng.standard_normal(raw.shape, dtype=np.float32))
            climatology = Climatology.fit(exact, phase, mean_of=noisy)
            inverse = np.linalg.pinv(waves(phase, HARMONICS))
            std = climatology.std(phase)
            self.climatology[name] = climatology
            self.values[name] = (exact - waves(phase, HARMONICS) @ (inverse @ exact)) / std
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
        near = gaspari_cohn(distance(observed, observed), radius / 2)
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
        self._near = gaspari_cohn(distance(self.place, observed), radius / 2)
        self._state = a.state[rows].reshape(rows.size, len(self.tuning.damping), -1)

    def _covariance(self, level: int) -> Array:
        """State of one level with observations, localised: (cells, lags * observations)."""
        x = self._state[:, level].T
        return np.concatenate([self._near * (x @ y) for y in self._lagged], axis=1)

    def increments(self, observed: dict[str, Array], phase: npt.NDArray[np.float64]) -> Array:
        """Anomalies (time, level, cell), normalised, of the days whose whole window is observed; NaN elsewhere."""
        a, tuning = self.anomalies, self.tuning
        y = np.concatenate(
            [
                (a.sources[name].transform(observed[name]) - a.climatology[name].mean(phase))
                / a.climatology[name].std(phase)
                for name in self.names
            ],
            axis=1,
        )
        reach = max(map(abs, self.lags))
        days = np.arange(reach, len(y) - reach)
        window = np.concatenate([y[days + lag] for lag in self.lags], axis=1).T
        weights = scipy.linalg.cho_solve((self._factor, True), window, check_finite=False)
        out = np.full((len(y), len(tuning.damping), self.place.shape[0]), np.nan, np.float32)
        for level, damping in enumerate(tuning.damping):
            out[days, level] = damping * (self._covariance(level) @ weights).T
        return out

    def variance(self, every: int = 1) -> Array:
        """Variance (level, cell), normalised, before the inflation of the spread; at every n-th cell, repeated."""
        out = np.empty((len(self.tuning.damping), self.place.shape[0]), np.float32)
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
    phase: npt.NDArray[np.float64],
    place: Array,
    tuning: Tuning,
    lags: tuple[int, ...] = (0,),
    every: int | None = None,
) -> tuple[Array, Array]:
    """Mean and standard deviation (time, level * cells) of the analysis, the latter from every n-th cell."""
    shape = (phase.size, 8, place.shape[0])
    if ROWS[row]:
        oi = EnsembleOI(anomalies, ROWS[row], tuning, place, lags)
        increments = oi.increments(observed, phase)
        # Twelve thousand observations: a third of the cells is enough for a spread that varies this smoothly.
        every = every or (1 if len(lags) == 1 else 3)
        variance = np.broadcast_to(oi.variance(every), shape).copy()
        edge = np.isnan(increments[:, 0, 0])
        if edge.any():
            # The first and the last day have no complete window; one day has to do.
            del oi
            oi = EnsembleOI(anomalies, ROWS[row], tuning, place)
            increments[edge] = oi.increments(observed, phase)[edge]
            variance[edge] = oi.variance(every=3)
    else:
        increments = np.zeros(shape, np.float32)
        variance = np.broadcast_to(anomalies.state.var(axis=0).reshape(8, -1), shape)
    climatology = anomalies.state_climatology
    std = climatology.std(phase)
    mean = climatology.mean(phase) + std * increments.reshape(len(std), -1)
    return mean, std * tuning.spread * np.sqrt(variance.reshape(len(std), -1))


# ---------------------------------------------------------------------------------------------------------------------
# Scores
# ---------------------------------------------------------------------------------------------------------------------
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
        crps = crps_normal(truth, mean, std, backend="numpy")

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

    def row(self, name: str, days: int = 1, every: int | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation of a row with windows of `days`, the latter from every n-th cell."""
        phase = annual_phase(self.truth["time"])
        tuning = TUNED.get((name, days), Tuning())
        return analyse(self.anomalies, name, self.observed, phase, self.place, tuning, lags_of(days), every)

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
    phase = annual_phase(judged["time"])

    def average(values: Array) -> npt.NDArray[np.float64]:
        return np.asarray(values.mean(axis=0, dtype=np.float64).reshape(8, -1) @ weights)

    std, mean = anomalies.state_climatology.std(phase), anomalies.state_climatology.mean(phase)
    for count in days:
        inner = slice(count // 2, phase.size - count // 2)
        grids = {1: [(r, a) for r in (6000, 8000, 10000) for a in (1.5, 2.5, 4.0)]}
        for row, names in ROWS.items():
            best, best_rmse = Tuning(), np.inf
            if not names and count > 1:
                continue
            for radius, inflation in grids.get(count, [(7000, 3.0), (7000, 5.0), (9000, 5.0)]) if names else []:
                trial = Tuning(radius, inflation)
                oi = EnsembleOI(anomalies, names, trial, place, lags_of(count))
                increment = std[inner] * oi.increments(observed, phase)[inner].reshape(-1, std.shape[1])
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
            analysed = analyse(anomalies, row, observed, phase, place, best, lags_of(count))
            scores = Scores.of(*analysed, truth, weights)
            best = replace(best, spread=float(round(scores.rmse.mean() / scores.spread.mean(), 3)))
            print(f"    ({row!r}, {count}): {best!r},", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of the reference."""
    command = Command(__name__, __doc__)
    command.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    command.add_argument("--windows", nargs="+", type=int, default=[1, 3], help="days of observations in a window")
    command.add_argument("--years", type=int, default=3, help="years of training")
    command.add_argument("--days", type=int, default=YEAR, help="days of the validation year")
    command.add_argument("--every", type=int, default=None, help="spread from every n-th cell")
    command.add_argument("--extra", action="store_true", help="train on the independent two-year run as well")
    command.add_argument("--tune", action="store_true", help="search the tuning in the training years, and stop")
    command.shared()
    command.quick(rows=["none", "pr"], windows=[1], years=1, days=5, every=12)
    options = command.read(arguments)
    data = shared_data(options.shared)
    training, truth = open_case(data, options.years)
    if options.tune:
        tune(training, options.windows)
        return
    runs = [training]
    if options.extra:
        runs.append(open_second_run(data))
    reference = Reference(runs, truth.isel(time=slice(options.days)))
    print(header(truth["sigma"].values))
    for days in options.windows:
        for row in options.rows:
            if ROWS[row] or days == 1:
                start = time.perf_counter()
                scores = reference.score(reference.row(row, days, options.every))
                print(scores.line(f"EnOI {row}, {days} d"), f"  {time.perf_counter() - start:.0f} s", flush=True)

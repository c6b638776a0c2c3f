"""Ensemble optimal interpolation of the same observations: anomalies of training days are the ensemble.

The method is that of `benchmarks.references.enoi`, for any networks. The radius of its localisation, the inflation of
the errors and that of the spread are tuned on training days that are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.stats import norm, wasserstein_distance
from scoringrules import crps_normal

import xslams
from benchmarks.cases.seasons import annual_phase
from benchmarks.references.enoi import Anomalies, EnsembleOI, Source, Tuning, root, unit_vectors
from examples.paper.atmosphere import ERRORS, Atmosphere
from examples.paper.degraded import Degraded

__all__ = ["OptimalInterpolation"]

Array = npt.NDArray[np.float32]
_RADII, _INFLATIONS = (3000.0, 6000.0, 9000.0), (1.0, 2.0, 4.0)
#: Training days that are left out to tune, in days of the end, and every how many of them are judged.
_LEFT_OUT, _EVERY = 180, 6
#: Values of a Gaussian that stand for it in the distance of histograms.
_QUANTILES = norm.ppf((np.arange(16) + 0.5) / 16)


class _System:
    """The equations of fixed networks, factorised once for all days.

    Parameters
    ----------
    anomalies
        Training days.
    tuning
        Settings.
    grid
        Coordinates of the state.
    """

    def __init__(self, anomalies: Anomalies, tuning: Tuning, grid: xr.Dataset) -> None:
        self._anomalies, self._tuning = anomalies, tuning
        lat, lon = np.meshgrid(grid["lat"], grid["lon"], indexing="ij")
        self._shape = len(tuning.damping), *lat.shape
        self._oi = EnsembleOI(anomalies, tuple(anomalies.sources), tuning, unit_vectors(lat, lon))
        self._deviation = tuning.spread * np.sqrt(self._oi.variance()).reshape(1, -1)

    def analyse(self, observed: Mapping[str, Array], days: xr.Dataset) -> tuple[Array, Array]:
        """Mean and standard deviation of an analysis of single days, shape (time, level, lat, lon)."""
        phase = annual_phase(days["time"])
        increments = self._oi.increments({name: observed[name] for name in self._anomalies.sources}, phase)
        climatology = self._anomalies.state_climatology
        std = climatology.std(phase)
        mean = climatology.mean(phase) + std * increments.reshape(len(phase), -1)
        shape = len(phase), *self._shape
        return mean.reshape(shape), (std * self._deviation).reshape(shape)


@dataclass(frozen=True)
class OptimalInterpolation:
    """Analyses from some networks.

    Parameters
    ----------
    atmosphere
        Training days.
    degraded
        The background.
    names
        Further networks.
    tuned
        Whether to tune; otherwise settings that are good everywhere.
    """

    atmosphere: Atmosphere
    degraded: Degraded
    names: tuple[str, ...] = ()
    tuned: bool = True

    def analyse(self, observed: Mapping[str, xr.DataArray], days: xr.Dataset) -> tuple[Array, Array]:
        """Return mean and standard deviation of temperature, shape (time, level, lat, lon).

        Parameters
        ----------
        observed
            Values by network, with ``background``, of these days.
        days
            Their coordinates.
        """
        return self._system.analyse({k: self._flat(k, v) for k, v in observed.items()}, days)

    def score(self, analysis: tuple[Array, Array], truth: xr.Dataset) -> pd.DataFrame:
        """Score a Gaussian analysis as `examples.paper.scoring.score` does an ensemble."""
        mean, std = analysis
        t = truth["t"].transpose("time", self.atmosphere.level, "lat", "lon").values
        weight = np.cos(np.deg2rad(truth["lat"].values))[:, None] * np.ones(truth.sizes["lon"])
        weight /= weight.sum()

        def average(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
            return np.asarray((values.mean(0) * weight).sum((-1, -2)), float)

        drawn = mean[..., None] + std[..., None] * _QUANTILES
        flat, many = weight.ravel(), np.repeat(weight.ravel(), _QUANTILES.size)

        def apart(level: int) -> float:
            pairs = zip(drawn[:, level], t[:, level], strict=True)
            return float(np.mean([wasserstein_distance(x.ravel(), y.ravel(), many, flat) for x, y in pairs]))

        distance = [apart(level) for level in range(t.shape[1])]
        columns = {
            "mse": average((mean - t) ** 2), "crps": average(crps_normal(t, mean, std, backend="numpy")),
            "variance": average(std**2), "wasserstein": np.asarray(distance),
        }  # fmt: skip
        return pd.DataFrame(columns, index=truth[self.atmosphere.level].values)

    @cached_property
    def _system(self) -> _System:
        training = self.atmosphere.training
        tuning = self._tune() if self.tuned else Tuning(damping=self._undamped())
        return _System(Anomalies([training], self._sources(training)), tuning, training)

    def _undamped(self) -> tuple[float, ...]:
        return (1.0,) * self.atmosphere.training.sizes[self.atmosphere.level]

    def _tune(self) -> Tuning:
        """Return the settings with the best CRPS on training days that are left out."""
        whole = self.atmosphere.training
        past, judged = whole.isel(time=slice(None, -_LEFT_OUT)), whole.isel(time=slice(-_LEFT_OUT, None, _EVERY))
        sources = self._sources(past)
        anomalies = Anomalies([past], sources)
        rng = np.random.default_rng(0)
        observed = {}
        for name, source in sources.items():
            exact = source.sample(judged)
            observed[name] = (exact + source.error * rng.standard_normal(exact.shape)).astype(np.float32)
        found = []
        for radius, inflation in product(_RADII, _INFLATIONS):
            tuning = Tuning(radius, inflation, 1.0, self._undamped())
            analysis = _System(anomalies, tuning, past).analyse(observed, judged)
            scores = self.score(analysis, judged)
            spread = float(np.sqrt(scores["mse"].mean() / scores["variance"].mean()))
            tuning = replace(tuning, spread=spread)
            scores = self.score((analysis[0], analysis[1] * np.float32(spread)), judged)
            found.append((float(scores["crps"].mean()), tuning))
        return min(found, key=lambda pair: pair[0])[1]

    def _sources(self, training: xr.Dataset) -> dict[str, Source]:
        """Read the places of the networks off their observations, so that training days can be observed likewise."""
        exact = Degraded(self.degraded.coarsen, 0.0, self.degraded.every)
        spread = self.atmosphere.spread

        def background(ds: xr.Dataset) -> Array:
            return self._flat("background", exact.observe(ds["t"], spread).data)

        seen = exact.observe(training["t"].isel(time=[0]), spread).data
        boxes = unit_vectors(*np.meshgrid(seen["lat"], seen["lon"], indexing="ij"))
        levels = training.sizes[self.atmosphere.level]
        error = np.repeat((self.degraded.noise * spread).values, len(boxes)).astype(np.float32)
        sources = {"background": Source(background, error, np.tile(boxes, (levels, 1)))}
        for name in self.names:
            sources[name] = self._network(name)
        return sources

    def _network(self, name: str) -> Source:
        """Return gauges in cells, or a satellite that sees boxes of two by two."""
        data = self.atmosphere.networks[name].data
        place = unit_vectors(*np.meshgrid(data["lat"], data["lon"], indexing="ij"))
        if name == "pr":
            cells = np.flatnonzero(data.isel(time=0).notnull().values)

            def gauges(ds: xr.Dataset) -> Array:
                return np.asarray(ds["pr"].values.reshape(ds.sizes["time"], -1)[:, cells])

            return Source(gauges, ERRORS[name], place[cells], root)

        def satellite(ds: xr.Dataset) -> Array:
            return self._flat(name, xslams.simulate_observations(ds["olr"], coarsen={"lat": 2, "lon": 2}).data)

        return Source(satellite, ERRORS[name], place)

    @staticmethod
    def _flat(name: str, data: xr.DataArray) -> Array:
        """Values (time, n) of a network, in the order of its `Source`."""
        flat = np.asarray(data.transpose("time", ...).values, np.float32).reshape(data.sizes["time"], -1)
        return flat[:, np.isfinite(flat[0])] if name == "pr" else flat

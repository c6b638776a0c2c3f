"""Optimal interpolation of monthly means, all of whose settings are chosen by leaving out years of training.

Let `x` be anomalies of cells from the seasonal cycle in units of their seasonal standard deviation, and `y` those of
observed cells in the months around an analysis. With covariances of training anomalies, at the lag between the months,
the localisation `L` (Gaspari and Cohn 1999, eq. 4.10, doi:10.1002/qj.49712555417) and a shrinkage by `s` of all that is
no variance,

    analysis = K y,    K = B_xy (B_yy + R)^-1,    B = (1 - s) L o cov + s diag(cov),
    variance = f^2 diag(B_xx - K B_yx).

`f` is the factor by which residuals of the years that are left out exceed their predicted spread. Where there is
another first guess than the seasonal cycle, `x` and `y` are differences from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.linalg import cho_factor, cho_solve
from scoringrules import crps_normal

from benchmarks.cases.seasons import annual_phase, harmonics
from benchmarks.references.oi import distances
from xslams.localization import gaspari_cohn

__all__ = [
    "Climatology",
    "Gaussian",
    "Interpolation",
    "Network",
    "Scores",
    "choose_climatology",
    "choose_interpolation",
]

Array = npt.NDArray[np.float64]
#: Lengths of the localisation in km, and shares of the shrinkage that are tried.
LENGTHS, SHRINKAGES = (1500.0, 2000.0, 3000.0, 4500.0, 7000.0, 10000.0, 15000.0), (0.0, 0.1, 0.2, 0.4)
#: Harmonics of the mean and of the spread that are tried.
ORDERS = tuple(product((1, 2, 3, 4), (0, 1, 2)))
# Of the spread over the year, and in the units of the data, where the sea is ice and does not vary.
_LEAST_SHARE, _LEAST = 0.3, 0.02
# Every so many cells are judged where settings are chosen; 7 divides no number of longitudes, so that they are spread.
_EVERY = 7


@dataclass(frozen=True)
class Gaussian:
    """Mean and standard deviation, shape (time, cell) each."""

    mean: Array
    std: Array


@dataclass(frozen=True)
class Scores:
    """RMSE, CRPS and spread over error of all times and cells together, weighted by area."""

    rmse: float
    crps: float
    ratio: float

    @classmethod
    def of(cls, found: Gaussian, truth: Array, weight: Array) -> Scores:
        """Score normal distributions; `weight` is that of the cells."""

        def average(values: Array) -> float:
            return float(values.mean(axis=0) @ weight / weight.sum())

        square = average((found.mean - truth) ** 2)
        crps = average(crps_normal(truth, found.mean, found.std, backend="numpy"))
        return cls(square**0.5, crps, (average(found.std**2) / square) ** 0.5)


@dataclass(frozen=True)
class Climatology:
    """Seasonal cycles of mean and spread.

    Attributes
    ----------
    mean_coefficients, variance_coefficients
        Of the harmonics, shape (1 + 2 order, cell).
    """

    mean_coefficients: Array
    variance_coefficients: Array

    @classmethod
    def fit(cls, values: Array, time: xr.DataArray, orders: tuple[int, int]) -> Climatology:
        """From values (time, cell), with harmonics of the mean and of the variance."""
        mean, variance = (harmonics(annual_phase(time), order) for order in orders)
        coefficients = np.linalg.lstsq(mean, values, rcond=None)[0]
        freedom = len(values) / (len(values) - mean.shape[1])
        square = freedom * (values - mean @ coefficients) ** 2
        return cls(coefficients, np.linalg.lstsq(variance, square, rcond=None)[0])

    def at(self, time: xr.DataArray) -> Gaussian:
        """Mean and standard deviation at some times."""
        mean, variance = (
            harmonics(annual_phase(time), len(c) // 2) @ c for c in (self.mean_coefficients, self.variance_coefficients)
        )
        # A sum of harmonics may go below zero between the months that it was fitted to.
        least = np.maximum(_LEAST_SHARE * np.sqrt(self.variance_coefficients[0].clip(0)), _LEAST)
        return Gaussian(mean, np.sqrt(np.maximum(variance, least**2)))


@dataclass(frozen=True)
class Network:
    """Cells that are observed, shape (place,), with the error of the observations, and where all cells are."""

    cells: npt.NDArray[np.int64]
    error: float
    lat: Array
    lon: Array

    def taper(self, some: npt.NDArray[np.int64], lag: int, length: float, shrinkage: float) -> Array:
        """Factor of the covariances between some cells and the places."""
        lat, lon = self.lat[self.cells], self.lon[self.cells]
        near = gaspari_cohn(distances(self.lat[some], self.lon[some], lat, lon), length)
        own = (some[:, None] == self.cells) & (lag == 0)
        return np.asarray((1 - shrinkage) * near + shrinkage * own)


@dataclass(frozen=True)
class Interpolation:
    """Settings of an interpolation.

    Attributes
    ----------
    months
        Months of observations for each analysis, odd.
    length
        Localisation: covariances are zero from twice this distance on, km.
    shrinkage
        Share by which covariances are made smaller.
    orders
        Harmonics of mean and spread.
    factor
        Of the spread.
    """

    months: int = 1
    length: float = 2000.0
    shrinkage: float = 0.0
    orders: tuple[int, int] = (2, 1)
    factor: float = 1.0

    def analyse(
        self, training: xr.DataArray, times: xr.DataArray, observed: Array, network: Network, every: int = 1
    ) -> Gaussian:
        """Analyse some months.

        Parameters
        ----------
        training
            Values or differences from a first guess, shape (time, cell).
        times
            Months to analyse, of which three or more follow each other.
        observed
            Observations in these months, shape (time, place).
        network
            Of the observations.
        every
            Every so many cells are analysed.
        """
        past = training.values.astype(float)
        climatology = Climatology.fit(past, training["time"], self.orders)
        before, now = climatology.at(training["time"]), climatology.at(times)
        anomalies = (past - before.mean) / before.std
        some = np.arange(0, past.shape[1], every)
        at_places = anomalies[:, network.cells]
        reach, number = self.months // 2, _count(training["time"])

        def covariances(cells: npt.NDArray[np.int64], reach: int) -> dict[int, Array]:
            return {
                lag: network.taper(cells, lag, self.length, self.shrinkage)
                * _lagged(anomalies[:, cells], at_places, number, lag)
                for lag in _lags(reach)
            }

        to_cells, among = covariances(some, reach), covariances(network.cells, 2 * reach)
        prior = (anomalies[:, some] ** 2).mean(axis=0)
        y = (observed - now.mean[:, network.cells]) / now.std[:, network.cells]
        error = (network.error / now.std[:, network.cells]) ** 2
        mean, std = now.mean[:, some].copy(), np.empty((times.size, some.size))
        for t in range(times.size):
            lags = [lag for lag in _lags(reach) if 0 <= t + lag < times.size]
            system = np.block([[among[other - lag] for other in lags] for lag in lags])
            factor = _factorised(system, np.concatenate([error[t + lag] for lag in lags]))
            gain = np.concatenate([to_cells[lag] for lag in lags], axis=1)
            mean[t] += now.std[t, some] * (gain @ cho_solve(factor, np.concatenate([y[t + lag] for lag in lags])))
            rest = prior - (gain * cho_solve(factor, gain.T).T).sum(axis=1)
            std[t] = self.factor * now.std[t, some] * np.sqrt(np.maximum(rest, 0.02 * prior) + 1e-6)
        return Gaussian(mean, std)


def _lags(reach: int) -> range:
    return range(-reach, reach + 1)


def _count(time: xr.DataArray) -> npt.NDArray[np.int64]:
    """Months since the year zero, so that those that follow each other are told from those around a gap."""
    return np.asarray(time.dt.year.values * 12 + time.dt.month.values, np.int64)


def _lagged(a: Array, b: Array, number: npt.NDArray[np.int64], lag: int) -> Array:
    """Covariance of `a` with `b` some months later, shape (cells of a, cells of b)."""
    _, first, second = np.intersect1d(number + lag, number, return_indices=True)
    return a[first].T @ b[second] / len(first)


def _factorised(covariance: Array, error: Array) -> tuple[Array, bool]:
    """Factor of the covariance of observations; what is negative of `covariance` is left out if need be."""
    covariance = (covariance + covariance.T) / 2
    try:
        return cho_factor(covariance + np.diag(error))
    except np.linalg.LinAlgError:
        # Those of a sample at several lags, each localised, need be the covariances of no process.
        values, vectors = np.linalg.eigh(covariance)
        return cho_factor((vectors * values.clip(0)) @ vectors.T + np.diag(error))


# ---------------------------------------------------------------------------------------------------------------------
# Choices within the training period
# ---------------------------------------------------------------------------------------------------------------------
def choose_climatology(training: xr.DataArray, weight: Array) -> tuple[Climatology, float]:
    """Return the seasonal cycle whose CRPS is the least in years that are left out, and the factor of its spread."""
    tried = {}
    for orders in ORDERS:
        parts = [Climatology.fit(past.values, past["time"], orders).at(year["time"]) for past, year in _folds(training)]
        found = Gaussian(np.concatenate([p.mean for p in parts]), np.concatenate([p.std for p in parts]))
        tried[orders] = Scores.of(found, training.values, weight)
    best = min(tried, key=lambda orders: tried[orders].crps)
    return Climatology.fit(training.values, training["time"], best), 1 / tried[best].ratio


def choose_interpolation(
    training: xr.DataArray, observed: Array, network: Network, weight: Array, months: int
) -> Interpolation:
    """Return the settings whose CRPS is the least in years that are left out.

    Parameters
    ----------
    training
        Values or differences from a first guess, shape (time, cell).
    observed
        Observations in the training period, shape (time, place).
    network, months
        As for `Interpolation`.
    weight
        Area of the cells.
    """
    times, truth = training["time"], training.values[:, ::_EVERY]

    def judged(settings: Interpolation) -> Scores:
        parts = [
            settings.analyse(past, year["time"], observed[np.isin(times, year["time"])], network, _EVERY)
            for past, year in _folds(training)
        ]
        found = Gaussian(np.concatenate([p.mean for p in parts]), np.concatenate([p.std for p in parts]))
        return Scores.of(found, truth, weight[::_EVERY])

    def best(tried: Sequence[Interpolation]) -> tuple[Interpolation, Scores]:
        return min(((one, judged(one)) for one in tried), key=lambda one: one[1].crps)

    plain, _ = best([Interpolation(months, orders=orders) for orders in ORDERS])
    found, scores = best([replace(plain, length=a, shrinkage=s) for a, s in product(LENGTHS, SHRINKAGES)])
    return replace(found, factor=1 / scores.ratio)


def _folds(training: xr.DataArray) -> Iterator[tuple[xr.DataArray, xr.DataArray]]:
    """Other years, and the year that is left out, for each."""
    year = training["time"].dt.year
    for one in np.unique(year):
        yield training.isel(time=np.flatnonzero(year != one)), training.isel(time=np.flatnonzero(year == one))

"""The classical reference for monthly means: Gaussian conditioning, and choices within the training period."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from benchmarks.references.months import (
    Climatology,
    Gaussian,
    Interpolation,
    Network,
    Scores,
    choose_climatology,
    choose_interpolation,
)

CELLS, ERROR = 12, 0.5
LAT, LON = np.zeros(CELLS), np.linspace(0, 33, CELLS)


def months(years: int, first: str = "2001-01") -> xr.DataArray:
    """Times of the first of each month."""
    stamps = pd.date_range(first, periods=12 * years, freq="MS")
    return xr.DataArray(stamps.to_numpy(), {"time": stamps.to_numpy()}, ("time",))


def sea(time: xr.DataArray, seed: int) -> xr.DataArray:
    """Waves that persist, over a seasonal cycle."""
    rng = np.random.default_rng(seed)
    strength = rng.normal(size=(time.size, 3))
    for n in range(1, time.size):
        strength[n] = 0.8 * strength[n - 1] + 0.6 * strength[n]
    waves = np.stack([np.cos(k * np.deg2rad(LON) * 3) for k in range(3)])
    season = 5 * np.cos(2 * np.pi * time.dt.dayofyear.values / 365.25)[:, None]
    return xr.DataArray(10 + season + strength @ waves, {"time": time}, ("time", "cell"))


def network(cells: list[int], error: float = ERROR) -> Network:
    return Network(np.array(cells), error, LAT, LON)


@pytest.mark.parametrize("count", [1, 3])
def test_an_analysis_is_the_conditional_distribution_by_the_covariances_of_training(count: int) -> None:
    """Of all cells in all months of the window together, where nothing is localised or shrunk."""
    training, reach = sea(months(200, "1800-01"), 0), count // 2
    times = months(1, "2001-01")
    seen = network([2, 7])
    observed = sea(times, 1).values[:, seen.cells] + 0.3
    settings = Interpolation(count, length=1e9, orders=(1, 0))
    found = settings.analyse(training, times, observed, seen)
    climatology = Climatology.fit(training.values, training["time"], (1, 0))
    before, now = climatology.at(training["time"]), climatology.at(times)
    anomalies = (training.values - before.mean) / before.std
    window = np.concatenate([anomalies[k : len(anomalies) - 2 * reach + k] for k in range(count)], axis=1)
    covariance = window.T @ window / len(window)
    places = np.concatenate([seen.cells + k * CELLS for k in range(count)])
    own = slice(reach * CELLS, (reach + 1) * CELLS)
    at = 5
    y = ((observed - now.mean[:, seen.cells]) / now.std[:, seen.cells])[at - reach : at + reach + 1].ravel()
    error = np.tile((ERROR / now.std[at, seen.cells]) ** 2, count)
    gain = covariance[own, places] @ np.linalg.inv(covariance[np.ix_(places, places)] + np.diag(error))
    mean = now.mean[at] + now.std[at] * (gain @ y)
    variance = np.diag(covariance[own, own] - gain @ covariance[places, own])
    # Edges of the training period enter one covariance and not the other.
    np.testing.assert_allclose(found.mean[at], mean, atol=0.02)
    np.testing.assert_allclose(found.std[at], now.std[at] * np.sqrt(variance), atol=0.02)


def test_localisation_and_shrinkage_leave_cells_alone() -> None:
    training, times = sea(months(20), 0), months(1, "2030-01")
    seen = network([5], error=1e-3)
    truth = sea(times, 1)
    climatology = Climatology.fit(training.values, training["time"], (1, 0)).at(times)
    for settings in (Interpolation(1, 1.0, orders=(1, 0)), Interpolation(1, 1e9, 1.0, orders=(1, 0))):
        found = settings.analyse(training, times, truth.values[:, [5]], seen)
        np.testing.assert_allclose(found.mean[:, 5], truth[:, 5], atol=0.05)
        others = np.arange(CELLS) != 5
        np.testing.assert_allclose(found.mean[:, others], climatology.mean[:, others])


def test_choices_are_those_that_hold_in_years_that_are_left_out() -> None:
    """Of the seasonal cycle one harmonic is true; the spread is that of the residuals."""
    time = months(30)
    rng = np.random.default_rng(0)
    cycle = 5 * np.cos(2 * np.pi * time.dt.dayofyear.values / 365.25)[:, None]
    white = xr.DataArray(cycle + rng.normal(size=(time.size, 60)), {"time": time}, ("time", "cell"))
    climatology, factor = choose_climatology(white, np.ones(60))
    assert [len(c) // 2 for c in (climatology.mean_coefficients, climatology.variance_coefficients)] == [1, 0]
    assert factor == pytest.approx(1, abs=0.05)
    training, seen = sea(months(12), 0), network([2, 7])
    observed = training.values[:, seen.cells] + rng.normal(0, ERROR, (training["time"].size, 2))
    settings = choose_interpolation(training, observed, seen, np.ones(CELLS), 1)
    later = sea(months(12, "2030-01"), 3)
    y = later.values[:, seen.cells] + rng.normal(0, ERROR, (later["time"].size, 2))
    scores = Scores.of(settings.analyse(training, later["time"], y, seen), later.values, np.ones(CELLS))
    assert scores.ratio == pytest.approx(1, abs=0.15)
    assert scores.rmse < 0.7 * float(later.std("time").mean())


def test_scores_weight_cells() -> None:
    found = Gaussian(np.array([[1.0, 5.0]]), np.array([[2.0, 1.0]]))
    scores = Scores.of(found, np.zeros((1, 2)), np.array([1.0, 0.0]))
    assert (scores.rmse, scores.ratio) == (1.0, 2.0)

"""Errors of a background as users give them, and as they are estimated."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.problems.observed import SPEC, state
from xslams import BackgroundError
from xslams.errors import ObservationError, ObservationOptionError
from xslams.likelihood import BackgroundCorrelation
from xslams.observations import background_observation, stated_background


def errors(std: float, memory: float, times: int = 400, step: float = 12.0, seed: int = 0) -> xr.Dataset:
    """Errors of two levels, the second twice as large, of an AR(1) process."""
    rng = np.random.default_rng(seed)
    rho = np.exp(-step / memory)
    e = rng.normal(size=(times, 2, 6, 8))
    for i in range(1, times):
        e[i] = rho * e[i - 1] + np.sqrt(1 - rho**2) * e[i]
    time = np.datetime64("2001-01-01") + (np.arange(times) * step).astype("timedelta64[h]")
    ds = xr.Dataset(
        {"t": (("time", "level", "lat", "lon"), std * e * [[[1.0]], [[2.0]]], {"units": "K"})}, {"time": time}
    )
    levels = ("level", [850.0, 500.0], {"units": "hPa", "axis": "Z"})
    return ds.assign_coords(level=levels, lat=np.linspace(-60, 60, 6), lon=np.arange(8) * 45.0)


@pytest.mark.parametrize(("std", "memory"), [(1.0, 12.0), (3.0, 48.0)])
def test_the_error_of_forecasts_is_found(std, memory):
    wrong, truth = errors(std, memory), errors(5.0, 100.0, seed=1)
    found = BackgroundError.fit(wrong + truth, truth)
    np.testing.assert_allclose(found.std["t"], [[std] * 6, [2 * std] * 6], rtol=0.06)
    assert found.time == pytest.approx(memory, rel=0.15)
    # By the NMC method: two forecasts, of which the later one is nearly right.
    nmc = BackgroundError.fit(truth + wrong, truth + 0.1 * wrong)
    np.testing.assert_allclose(nmc.std["t"], [[0.9 * std] * 6, [1.8 * std] * 6], rtol=0.06)
    # Times that only one of both has, and gaps, are left out.
    holes = (wrong + truth).isel(time=slice(0, 300)).where(wrong["t"] < 3 * std)
    assert np.isfinite(BackgroundError.fit(holes, truth).std["t"]).all()


def test_the_error_of_a_latitude_is_found_where_there_are_values_enough():
    wrong, truth = errors(1.0, 12.0), errors(5.0, 100.0, seed=1)
    grows = 1 + abs(wrong["lat"]) / 60
    found = BackgroundError.fit(truth + grows * wrong, truth).std["t"]
    np.testing.assert_allclose(found.transpose("level", "lat"), [grows, 2 * grows], rtol=0.06)
    # Neighbours count with their area; with few values there is one error of a level.
    near = wrong.assign_coords(lat=80 + np.arange(6.0))
    some = BackgroundError.fit(truth.assign_coords(lat=near["lat"]) + near, truth.assign_coords(lat=near["lat"]))
    assert float(some.std["t"].std("lat").max()) < 0.02
    few = slice(0, 20)
    assert BackgroundError.fit((truth + wrong).isel(time=few), truth.isel(time=few)).std["t"].dims == ("level",)


@pytest.mark.parametrize("lead", [1, 2, 4])
def test_forecasts_that_vary_as_the_truth_have_errors_like_increments(lead):
    """Their size is what they miss the truth by, and their memory that of what a regression on the truth leaves."""
    truth = errors(5.0, 100.0, times=2000)
    forecast = truth.shift(time=lead).isel(time=slice(lead, None))
    found = BackgroundError.fit(forecast, truth)
    area = np.cos(np.deg2rad(truth["lat"]))
    square = ((forecast - truth)["t"] ** 2).weighted(area).mean(["time", "lat", "lon"])
    assert found.correlation == "increments"
    np.testing.assert_allclose(found.std["t"], square**0.5, rtol=1e-6)
    rho, step = np.exp(-lead * 12 / 100.0), np.exp(-12 / 100.0)
    # Of an AR(1) process f = x(t - lead), the rest f - rho x has at the next time the correlation
    after = ((1 + rho**2) * step - rho * (step * rho + rho / step)) / (1 - rho**2)
    assert np.exp(-12 / found.time) == pytest.approx(max(after, 0.05), abs=0.05)
    assert BackgroundError.fit(truth + errors(1.0, 12.0, times=2000, seed=3), truth).correlation == "prior"


def at_places(std: float, power: float, times: int, seed: int) -> xr.Dataset:
    """Errors whose size is a power of a number of each place, from 1 to 2."""
    size = np.random.default_rng(0).uniform(1.0, 2.0, (6, 8)) ** power
    ds = errors(std, 36.0, times=times, seed=seed)
    return ds * xr.DataArray(size / np.sqrt((size**2).mean()), dims=("lat", "lon"))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("times", [60, 400])
@pytest.mark.parametrize(("power", "places"), [(0.0, "stated"), (1.0, "prior"), (-1.0, "stated")])
def test_errors_that_are_larger_where_the_truth_varies_more_are_told_from_others(seed, times, power, places):
    wrong, truth = at_places(1.0, power, times, seed), at_places(5.0, 1.0, times, seed + 100)
    found = BackgroundError.fit(truth + wrong, truth)
    assert (found.correlation, found.places) == ("prior", places)
    if places == "prior":
        area = np.cos(np.deg2rad(truth["lat"]))
        square = (wrong["t"] ** 2).weighted(area).mean(["time", "lat", "lon"])
        np.testing.assert_allclose(found.std["t"], square**0.5, rtol=0.1)
    # Where the truth varies alike everywhere, nothing is known of places.
    same = at_places(5.0, 0.0, times, seed + 100)
    assert BackgroundError.fit(same + wrong, same).places == "stated"


def test_what_cannot_be_fitted_is_refused():
    truth = errors(1.0, 12.0, times=4)
    with pytest.raises(ObservationOptionError, match="do not differ"):
        BackgroundError.fit(truth, truth)
    with pytest.raises(ObservationOptionError, match="do not differ"):
        BackgroundError.fit(truth * np.nan, truth)
    with pytest.raises(ObservationOptionError, match="have 2 common times"):
        BackgroundError.fit(truth.isel(time=slice(2)), truth)
    with pytest.raises(ObservationOptionError, match=r"'t'.*'u'"):
        BackgroundError.fit(truth, truth.rename(t="u"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": 0.0}, "above zero"), ({"std": -1.0}, "negative"), ({"std": None}, "std=None"),
        ({"length": 0.0}, "length=0.0; expected a positive number of km"), ({"length": -5}, "length=-5"),
        ({"time": np.nan}, "time=nan"), ({"time": "1D"}, "time='1D'"), ({"correlation": "some"}, "correlation='some'"),
        ({"correlation": 0.5}, "correlation=0.5"), ({"independent": 0.0}, "independent=0.0"),
        ({"vertical": 0.5}, "vertical=0.5 without length="), ({"vertical": -1, "length": 500.0}, "vertical=-1"),
        ({"correlation": "increments", "length": 500.0}, "length=500.0 with correlation='increments'"),
        ({"correlation": "none", "time": 24.0}, "time=24.0 with correlation='none'"),
        ({"correlation": "none", "places": "prior"}, "places='prior' with correlation='none'"),
        ({"places": "everywhere"}, "places='everywhere'; expected 'stated' or 'prior'"),
    ],
)  # fmt: skip
def test_what_is_no_error_of_a_background_is_refused(options, message):
    with pytest.raises(ObservationOptionError, match=message):
        BackgroundError(**{"std": 1.0, **options})


def test_a_number_has_errors_like_increments_and_is_no_more_than_a_number():
    assert stated_background(2.0) == (2.0, BackgroundCorrelation(increments=True))
    assert stated_background({"t": 2.0}) == ({"t": 2.0}, BackgroundCorrelation(increments=True))
    assert stated_background(BackgroundError(2.0, time=36.0)) == (2.0, BackgroundCorrelation(time=36.0))
    assert stated_background(BackgroundError(2.0, correlation="none")) == (2.0, None)
    assert stated_background(BackgroundError(2.0, places="prior")) == (2.0, BackgroundCorrelation(distributed=True))
    ds = state()
    plain, stated = (background_observation(ds, SPEC, e) for e in (2.0, BackgroundError(2.0, length=300.0)))
    assert plain.error == stated.error == 2.0
    assert not np.isnan(plain.to_arrays(SPEC, ds["time"]).values).any()
    with pytest.raises(ObservationError, match="zero or less"):
        background_observation(ds, SPEC, BackgroundError(xr.DataArray(0.0)))

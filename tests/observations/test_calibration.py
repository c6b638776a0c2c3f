"""Bias and error of a source from a period where the truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams.errors import CoverageError, ObservationError, ObservationOptionError, SlamsError
from xslams.observations.error_covariance import ErrorCovariance
from xslams.observations.innovation_correlation import correlation_in_space
from xslams.spec import Spec, VariableSpec
from xslams.sphere import unit_vectors

LAT, LON = [40.0, 45.0, 50.0], [0.0, 5.0, 10.0, 15.0]
SPEC = Spec((VariableSpec("t", "K"),), tuple(LAT), tuple(LON), periodic=False)


def truth(days=400, seed=0):
    rng = np.random.default_rng(seed)
    coords = {"time": pd.date_range("2001-01-01", periods=days), "lat": LAT, "lon": LON}
    values = 280 + rng.normal(0, 5, (days, 3, 4))
    return xr.DataArray(values, coords, ("time", "lat", "lon"), "t", {"units": "K"})


def stations(fields, bias, error, seed=1):
    """Stations at cells of the grid, in degC, with a bias each and independent errors."""
    rng = np.random.default_rng(seed)
    count = len(bias)
    lat, lon = (xr.DataArray(np.resize(c, count), dims="station") for c in (LAT, LON))
    at = fields.sel(lat=lat, lon=lon).transpose("time", "station")
    noise = rng.normal(0, 1, at.shape) * error
    return (at - 273.15 + np.asarray(bias) + noise).rename("tavg").assign_attrs(units="degC")


@settings(max_examples=5)
@given(
    bias=st.lists(st.floats(-4, 4), min_size=1, max_size=5),
    error=st.floats(0.3, 3.0),
    by=st.sampled_from(["month", "season", None]),
)
def test_bias_and_error_are_recovered(bias, error, by):
    fields = truth()
    source = xslams.Observation(stations(fields, bias, error), {"tavg": "t"}).calibrated(fields, by)
    # They apply to later data of the same places, in any order.
    later = truth(60, seed=7).assign_coords(time=pd.date_range("2003-03-01", periods=60))
    data = stations(later, bias, error, seed=8).isel(station=slice(None, None, -1))
    seen = source.replace(data=data).to_arrays(SPEC, later["time"])
    rest = seen.values - seen.matrix @ later.values.ravel()
    assert abs(rest.reshape(60, -1).mean(axis=0)).max() < 1.1 * error
    np.testing.assert_allclose(np.sqrt(seen.errors.variance).mean(), error, rtol=0.25)


def test_a_place_with_few_values_and_a_new_one_have_those_of_the_source():
    fields = truth()
    data = stations(fields, [2.0, 2.2, 1.8, 2.0, 4.5], 1.0)
    data[1:, 4] = np.nan
    source = xslams.Observation(data, {"tavg": "t"}).calibrated(fields, None)
    bias, error = source.qc.bias["tavg"], source.error["tavg"]
    assert abs(bias.values[0, 4] - 2.0) < 1.0  # a single value is an error rather than a bias
    new = xr.Dataset(coords={"lat": ("site", [41.0]), "lon": ("site", [1.0])})["lat"]
    assert abs(float(bias.over(new)[0]) - 2.0) < 0.2
    assert float(error.over(new)[0]) >= error.values.min()


def test_places_that_differ_make_new_places_uncertain():
    fields = truth()
    source = xslams.Observation(stations(fields, [-3.0, 3.0, -2.0, 2.0, 0.0], 1.0), {"tavg": "t"}).calibrated(fields)
    assert source.error["tavg"].pooled.min() > 1.8 > source.error["tavg"].values.max()


def test_errors_that_persist_are_inflated_and_gross_ones_tell_nothing():
    fields = truth(800)
    rng = np.random.default_rng(0)
    noise = np.zeros((800, 3))
    for n in range(1, 800):
        noise[n] = 0.6 * noise[n - 1] + rng.normal(0, 0.8, 3)
    data = stations(fields, [0.0, 0.0, 0.0], 0.0) + noise
    data[::97] += 500.0
    error = xslams.Observation(data.assign_attrs(units="degC"), {"tavg": "t"}).calibrated(fields, None).error["tavg"]
    # An AR(1) process of 0.6 has (1 + 0.6) / (1 - 0.6) = 4; its fourth root multiplies the standard deviation.
    np.testing.assert_allclose(error.values, np.sqrt(2.0), rtol=0.12)


@settings(max_examples=4)
@given(st.integers(2, 5), st.floats(0.0, 1.0))
def test_values_of_one_frame_count_by_what_their_mean_tells(often, shared):
    """Errors of which a share is that of all values of a frame."""
    fields = truth(300)
    fields = fields.assign_coords(time=fields["time"] + np.timedelta64(12, "h"))
    rng = np.random.default_rng(3)
    common = rng.normal(0, np.sqrt(shared), (300, 2))
    each = []
    for hour in range(often):
        noise = common + rng.normal(0, np.sqrt(1 - shared), (300, 2))
        each.append(
            (stations(fields, [1.0, -1.0], 0.0) + noise).assign_coords(
                time=fields["time"] + hour * np.timedelta64(1, "h")
            )
        )
    data = xr.concat(each, "time").sortby("time").assign_attrs(units="degC")
    source = xslams.Observation(data, {"tavg": "t"}, tolerance="11h").calibrated(fields, None)
    # The mean of n values with the errors that are given has the variance which the mean has.
    expected = often * (shared + (1 - shared) / often)
    np.testing.assert_allclose(source.error["tavg"].values ** 2, expected, rtol=0.2)
    np.testing.assert_allclose(source.qc.bias["tavg"].values, [[1.0, -1.0]], atol=0.2)


def test_a_list_of_reports_is_calibrated_like_its_stations():
    fields = truth()
    data = stations(fields, [2.0, -2.0, 0.5], [0.5, 2.0, 1.0])
    reports = data.stack(obs=("time", "station")).reset_index("obs").drop_vars("station")
    known, listed = (xslams.Observation(d, {"tavg": "t"}).calibrated(fields, None) for d in (data, reports))
    for one, other in ((known.qc.bias, listed.qc.bias), (known.error, listed.error)):
        np.testing.assert_allclose(other["tavg"].over(data), one["tavg"].over(data), rtol=1e-9)
        np.testing.assert_allclose(other["tavg"].over(reports)[:3], one["tavg"].over(data), rtol=1e-9)


def test_a_source_on_a_grid_is_calibrated_cell_by_cell():
    fields = truth()
    data = fields + xr.DataArray([1.0, -1.0, 0.0], dims="lat") + np.random.default_rng(2).normal(0, 0.5, fields.shape)
    source = xslams.Observation(data.rename("t").assign_attrs(units="K"), method="conservative").calibrated(fields)
    bias = source.qc.bias["t"].over(data)
    np.testing.assert_allclose(bias.mean(["month", "lon"]), [1.0, -1.0, 0.0], atol=0.1)
    seen = source.to_arrays(SPEC, fields["time"][:5])
    np.testing.assert_allclose(np.sqrt(seen.errors.variance), 0.5, rtol=0.3)


FAULTS = {
    "no time in common": (lambda d, t: (d.assign_coords(time=d["time"] + np.timedelta64(4000, "D")), t), CoverageError),
    "no place in common": (lambda d, t: (d.assign_coords(lat=d["lat"] - 80.0), t), CoverageError),
    "too few values": (lambda d, t: (d.isel(time=slice(3), station=slice(1)), t), CoverageError),
    "all missing": (lambda d, t: (d * np.nan, t), CoverageError),
    "no variance": (lambda d, t: (stations(t, [1.0, 2.0], 0.0), t), ObservationError),
    "no units": (lambda d, t: (d, t.drop_attrs()), SlamsError),
    "no time": (lambda d, t: (d, t.isel(time=0, drop=True)), SlamsError),
}


@pytest.mark.filterwarnings("ignore::xslams.errors.SlamsWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_an_error_that_names_it(fault):
    fields = truth(120)
    change, kind = FAULTS[fault]
    data, reference = change(stations(fields, [1.0, -1.0], 0.5), fields)
    with pytest.raises(kind) as caught:
        xslams.Observation(data.assign_attrs(units="degC"), {"tavg": "t"}, name="sites").calibrated(reference)
    assert isinstance(caught.value, SlamsError)


@pytest.mark.parametrize("by", ["week", 3, "MONTH", ["month"]])
def test_groups_are_months_seasons_or_none(by):
    fields = truth(30)
    with pytest.raises(ObservationOptionError, match="'month', 'season', 'hour' or None"):
        xslams.Observation(stations(fields, [0.0], 1.0), {"tavg": "t"}).calibrated(fields, by)


@settings(max_examples=5)
@given(size=st.floats(0.5, 5.0), phase=st.floats(0, 6), seed=st.integers(0, 99))
def test_biases_of_the_day_are_recovered(size, phase, seed):
    """A thermometer near the ground, beside six-hourly fields of the air above."""
    rng = np.random.default_rng(seed)
    coords = {"time": pd.date_range("2001-01-01", periods=1200, freq="6h"), "lat": LAT, "lon": LON}
    fields = xr.DataArray(280 + rng.normal(0, 5, (1200, 3, 4)), coords, ("time", "lat", "lon"), "t", {"units": "K"})
    daily = size * np.cos(2 * np.pi * fields["time"].dt.hour / 24 - phase)
    data = stations(fields, [1.0, -1.0, 0.5], 0.7, seed) + daily
    data = data.rename("tavg").assign_attrs(units="degC")
    source = xslams.Observation(data, {"tavg": "t"}).calibrated(fields, "hour")
    bias = source.qc.bias["tavg"].over(data)
    exact = size * np.cos(2 * np.pi * np.array([0, 6, 12, 18]) / 24 - phase)[:, None] + np.array([1.0, -1.0, 0.5])
    np.testing.assert_allclose(bias.sel(hour=[0, 6, 12, 18]).transpose("hour", "station"), exact, atol=0.3)
    np.testing.assert_allclose(source.error["tavg"].values[[0, 6, 12, 18]], 0.7, rtol=0.2)
    seen = source.to_arrays(dataclasses.replace(SPEC, time_step=6.0), fields["time"][:40])
    rest = seen.values - seen.matrix @ fields.values[:40].ravel()
    assert abs(float(rest.mean())) < 0.3
    assert abs(float(rest.std()) - 0.7) < 0.2


# --- correlation in space --------------------------------------------------------------------------------------------


def alike(length, independent, days=40, places=24, seed=0):
    """Stations on a grid of their own whose errors are those of a field, and the truth that they see."""
    lat, lon = np.random.default_rng(9).uniform([[40.5], [0.5]], [[49.5], [14.5]], (2, places))
    rng = np.random.default_rng(seed)
    at = unit_vectors(lat, lon)
    distance = 6371.0 * np.sqrt(((at[:, None] - at) ** 2).sum(-1)) / length
    correlation = (1 - independent) * (1 + distance) * np.exp(-distance) + independent * np.eye(places)
    fields = truth(days, seed) * 0.0 + 280.0
    fields = (fields + rng.normal(0, 5, (days, 1, 1))).rename("t").assign_attrs(units="K")
    noise = 1.5 * rng.normal(size=(days, places)) @ np.linalg.cholesky(correlation).T
    values = fields.isel(lat=0, lon=0).values[:, None] + noise
    coords = {"time": fields["time"].values, "lat": ("station", lat), "lon": ("station", lon)}
    return fields, xr.DataArray(values, coords, ("time", "station"), "tavg", {"units": "K"})


@pytest.mark.parametrize(("length", "independent"), [(100.0, 0.05), (400.0, 0.2)])
def test_errors_of_neighbours_that_are_alike_are_found(length, independent):
    fields, data = alike(length, independent)
    known = xslams.Observation(data, {"tavg": "t"}).calibrated(fields, None)
    assert isinstance(known.error, ErrorCovariance)
    assert length / 2 <= known.error.length <= 2 * length
    # What it says of other days is right: their squares are as many as there are values.
    later, more = alike(length, independent, seed=1)
    made = known.replace(data=more).to_arrays(SPEC, later["time"])
    rest = (made.values - made.matrix @ later.values.ravel()) / np.sqrt(made.errors.variance)
    whole = rest @ np.linalg.solve(made.errors.correlation.matrix(), rest) / rest.size
    assert 0.7 < whole < 1.3


@pytest.mark.parametrize("options", [{}, {"qc": {"robust": "huber"}}, {"qc": {"bias_error": 0.1}}])
def test_correlations_are_taken_only_where_they_are_and_can_be(options):
    fields, data = alike(1.0, 0.5) if not options else alike(400.0, 0.2)
    known = xslams.Observation(data, {"tavg": "t"}, **options).calibrated(fields, None)
    assert not isinstance(known.error, ErrorCovariance)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), places=st.integers(1, 12), times=st.integers(1, 40))
def test_independent_residuals_are_rarely_taken_for_correlated(seed, places, times):
    rng = np.random.default_rng(seed)
    lat, lon = rng.uniform(-60, 60, places), rng.uniform(0, 20, places)
    found = correlation_in_space(
        rng.normal(size=places * times), np.tile(lat, times), np.tile(lon, times), np.repeat(np.arange(times), places)
    )
    # Where it happens by chance, it is of no consequence.
    assert found is None or found.gain < 0.5

"""Observations become values, variances and a linear map: laws of that map, real sources, and bad input."""

from __future__ import annotations

import pickle
import time
import warnings
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.problems.observed import LAT, LON, SPEC, audited, field, state
from xslams.errors import (
    CoverageError,
    DimensionError,
    GridError,
    ObservationError,
    ObservationOptionError,
    OptionError,
    SlamsWarning,
    UnitError,
    VariableError,
)
from xslams.labels.channels import to_channels
from xslams.observations import Observation, as_observations, background_observation, simulate_observations
from xslams.spec import Spec, VariableSpec

REGION = Spec(
    variables=(VariableSpec("air", "K", standard_name="air_temperature"),),
    lat=tuple(np.arange(75.0, 14.0, -2.5)),
    lon=tuple(np.arange(200.0, 331.0, 2.5)),
    periodic=False,
)


def frames(start: str, periods: int) -> xr.DataArray:
    return xr.Dataset(coords={"time": pd.date_range(start, periods=periods)}).time


def flag_first():
    """A whole number before what is measured, and no attributes."""
    plain = stations().drop_attrs()
    return plain.to_dataset().assign(qc=xr.zeros_like(plain, int))[["qc", "t2m"]]


def stations(values=None, *, name="t2m", units="degC", start="2001-01-01", **coords) -> xr.DataArray:
    values = np.zeros((4, 3)) if values is None else np.asarray(values, float)
    return xr.DataArray(
        values,
        dims=("time", "station"),
        coords={
            "time": pd.date_range(start, periods=len(values)),
            "lat": ("station", [40.0, -33.0, 51.5]),
            "lon": ("station", [-105.0, 151.0, 0.0]),
            "level": 1000.0,
            **coords,
        },
        name=name,
        attrs={"units": units, "standard_name": "air_temperature"},
    )


# --- laws of the operator ----------------------------------------------------------------------------------------


@given(
    which=st.sampled_from(["t", "pr"]),
    coarsen=st.sampled_from([None, 2, {"lat": 4, "lon": 3}, {"lon": 5}]),
    stations=st.sampled_from([None, 7]),
    mask=st.sampled_from([None, 0.5]),
    every=st.sampled_from([None, 2, {"time": 3, "lat": 2}]),
    lazy=st.booleans(),
)
def test_simulated_observations_are_the_operator_applied_to_the_truth(which, coarsen, stations, mask, every, lazy):
    if coarsen is not None and (stations is not None or mask is not None):
        stations = mask = None
    ds = state()
    truth = ds[which].chunk() if lazy else ds[which]
    obs = simulate_observations(truth, coarsen=coarsen, stations=stations, mask=mask, every=every)
    arrays = obs.to_arrays(SPEC, ds.time)
    assert arrays.values.size > 0
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values, rtol=1e-12)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("roll", [0, 5])
def test_box_means_are_exact_on_the_model_grid_in_any_order(flip, roll):
    ds = state()
    truth = ds.pr.isel(lat=slice(None, None, -1)) if flip else ds.pr
    truth = truth.roll(lon=roll, roll_coords=True)
    obs = simulate_observations(truth, coarsen={"lat": 2, "lon": 2})
    assert isinstance(obs.data, xr.DataArray)
    np.testing.assert_allclose(obs.data, truth.coarsen(lat=2, lon=2).mean())
    arrays = obs.to_arrays(SPEC, ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)
    again = pickle.loads(pickle.dumps(obs.replace(error=3.0))).to_arrays(SPEC, ds.time)
    assert (again.matrix != arrays.matrix).nnz == 0
    assert (again.errors.variance == 9).all()


@given(
    method=st.sampled_from(["bilinear", "nearest", "conservative"]),
    level=st.sampled_from([1000.0, 900.0, 850.0, 600.0]),
    constant=st.floats(200, 320),
)
def test_constant_fields_are_seen_as_they_are(method, level, constant):
    grid = xr.DataArray(
        np.zeros((4, 5, 7)),
        dims=("time", "lat", "lon"),
        coords={"time": state().time, "lat": np.linspace(-80, 80, 5), "lon": np.linspace(-180, 150, 7), "level": level},
        attrs={"units": "K"},
        name="t",
    )
    arrays = Observation(grid, error=1.0, method=method).to_arrays(SPEC, state().time)
    np.testing.assert_allclose(arrays.matrix @ np.full(arrays.matrix.shape[1], constant), constant)
    assert arrays.matrix.data.min() > 0


@given(order=st.permutations(["time", "level", "station"]), seed=st.integers(0, 50))
def test_the_order_of_dimensions_and_the_gaps_do_not_matter(order, seed):
    rng = np.random.default_rng(seed)
    ds = state()
    data = simulate_observations(ds.t, stations=5, seed=seed).data
    data = data.where(xr.DataArray(rng.random(data.shape) < 0.7, dims=data.dims))
    arrays = Observation(data.transpose(*order), error=1.0).to_arrays(SPEC, ds.time)
    assert arrays.values.size == int(data.notnull().sum())
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)


@given(split=st.integers(1, 5))
def test_segments_make_the_operator_of_the_whole(split):
    ds = state(6)
    obs = simulate_observations(ds.t, stations=4, error=1.0)
    whole = obs.to_arrays(SPEC, ds.time)
    x = field(ds).reshape(6, -1)
    parts = [obs.bind(SPEC, ds.time[s]).likelihood() for s in (slice(None, split), slice(split, None))]
    seen = [p.matrix @ f.ravel() for p, f in zip(parts, (x[:split], x[split:]), strict=True)]
    np.testing.assert_allclose(np.concatenate(seen), whole.matrix @ x.ravel())
    np.testing.assert_allclose(np.concatenate([p.values for p in parts]), whole.values)


def test_background_is_the_identity_on_the_state():
    ds = state()
    arrays = background_observation(ds, SPEC, 2.0).to_arrays(SPEC, ds.time)
    x = to_channels(ds, SPEC)
    np.testing.assert_array_equal(arrays.values, x.isel(channel=slice(3)).values.ravel())
    np.testing.assert_array_equal(arrays.matrix @ x.values.ravel(), arrays.values)
    assert (arrays.errors.variance == 4).all()


def test_tracks_move():
    ds = state()
    track = xr.DataArray(
        np.zeros(4),
        dims="time",
        coords={"time": ds.time, "lat": ("time", LAT[:4]), "lon": ("time", LON[4:8] - 360), "level": 500.0},
        attrs={"units": "K"},
        name="t",
    )
    arrays = Observation(track, error=1.0).to_arrays(SPEC, ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds), [ds.t.values[i, 2, i, 4 + i] for i in range(4)])


def test_list_of_reports():
    ds = state()
    reports = xr.DataArray(
        [1.0, 2.0, 3.0],
        dims="obs",
        coords={"time": ("obs", ds.time.values[[2, 0, 2]]), "lat": ("obs", LAT[[1, 2, 3]]), "lon": ("obs", LON[:3])},
        attrs={"units": "mm day-1"},
        name="pr",
    )
    arrays = Observation(reports, error=1.0).to_arrays(SPEC, ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds), ds.pr.values[[2, 0, 2], [1, 2, 3], [0, 1, 2]])


# --- units, errors, variables ------------------------------------------------------------------------------------


def test_values_and_errors_are_in_the_units_of_the_model():
    data = stations(np.full((4, 3), 50.0), units="degF")
    arrays = Observation(data, error=1.8).to_arrays(SPEC, state().time)
    np.testing.assert_allclose(arrays.values, 283.15)
    np.testing.assert_allclose(arrays.errors.variance, 1.0)


def test_errors_of_elements_stations_and_months():
    data = stations(np.zeros((60, 3)), station=["a", "b", "c"])
    time60 = frames("2001-01-01", 60)
    by_station = xr.DataArray([3.0, 1.0], dims="station", coords={"station": ["c", "a"]}, attrs={"units": "K"})
    with pytest.warns(SlamsWarning, match="60 of 180 values of 't2m' have no finite error"):
        arrays = Observation(data, error=by_station).to_arrays(SPEC, time60)
    assert arrays.errors.variance.tolist() == [1.0, 9.0] * 60
    by_month = xr.DataArray([1.0, 2.0, 3.0], dims="month", coords={"month": [1, 2, 3]}) * xr.ones_like(data.lat)
    arrays = Observation(data, error=by_month).to_arrays(SPEC, time60)
    assert np.array_equal(np.sqrt(arrays.errors.variance).reshape(60, 3)[:, 0], data.time.dt.month)
    each = xr.full_like(data, 2.0)
    assert (Observation(data, error=each).to_arrays(SPEC, time60).errors.variance == 4).all()


def test_several_variables_with_an_error_each():
    ds = state().isel(lat=[1, 2])
    obs = Observation(ds, error={"t": 1.0, "pr": xr.full_like(ds.lat, 3.0).drop_attrs()})
    arrays = obs.to_arrays(SPEC, ds.time)
    assert np.unique(arrays.errors.variance, return_counts=True)[1].tolist() == [4 * 3 * 24, 4 * 24]
    np.testing.assert_allclose(arrays.matrix @ field(state()), arrays.values)


def test_zero_error_is_close_to_exact():
    arrays = simulate_observations(state().pr).to_arrays(SPEC, state().time)
    assert 0 < np.sqrt(arrays.errors.variance[0]) <= 2e-3 * arrays.values.std()


@pytest.mark.parametrize("variable", [None, "t2m", "t", ["t2m"], {"t2m": "t"}])
def test_ways_to_name_a_variable(variable):
    arrays = Observation(stations(), variable, error=1.0).to_arrays(SPEC, state().time)
    assert arrays.values.size == 12


# --- time --------------------------------------------------------------------------------------------------------


def test_noon_stamps_belong_to_their_day():
    data = stations(np.arange(12).reshape(4, 3))
    noon = data.assign_coords(time=data.time + pd.Timedelta("12h"))
    a, b = (Observation(d, error=1.0).to_arrays(SPEC, state().time) for d in (data, noon))
    assert (a.matrix != b.matrix).nnz == 0


def test_noon_of_the_day_before_belongs_to_no_frame():
    data = stations(np.arange(15).reshape(5, 3), start="2000-12-31T12")
    arrays, audit = audited(Observation(data, error=1.0), state().time, SPEC)
    assert audit.rejected["time"] == 3
    np.testing.assert_allclose(arrays.values - 273.15, np.arange(3, 15))
    # Who says that half a step is near enough gets it.
    with pytest.warns(SlamsWarning, match="2 times fall on one frame"):
        assert Observation(data, error=1.0, tolerance="12h").to_arrays(SPEC, state().time).values.size == 15


def test_tolerance():
    data = stations()
    late = data.assign_coords(time=data.time + pd.Timedelta("5h"))
    with pytest.raises(CoverageError, match="No time overlaps"):
        Observation(late, error=1.0, tolerance="4h").to_arrays(SPEC, state().time)
    for tolerance in (5, "5h", np.timedelta64(5, "h"), pd.Timedelta("5h")):
        assert Observation(late, error=1.0, tolerance=tolerance).to_arrays(SPEC, state().time).values.size == 12


@pytest.mark.parametrize("stamp", ["MS", "ME", "15D"])
@pytest.mark.parametrize("marked", ["spacing", "attribute", "bounds"])
def test_monthly_means_observe_the_mean_of_their_days(stamp, marked):
    ds = state(90)
    mean = ds.pr.resample(time="MS").mean()
    mean = mean.assign_attrs(ds.pr.attrs)
    if stamp == "15D":
        mean = mean.assign_coords(time=mean.time + pd.Timedelta("14D"))
    elif stamp == "ME":
        mean = mean.assign_coords(time=pd.DatetimeIndex(mean.time).to_period("M").to_timestamp("M"))
    data = mean.to_dataset()
    if marked == "attribute":
        data = data.isel(time=[1])
        data.time.attrs["avg_period"] = "0000-01-00 00:00:00"
    elif marked == "bounds":
        edges = pd.DatetimeIndex(["2001-01-01", "2001-02-01", "2001-03-01", "2001-04-01"])
        data["time_bnds"] = (("time", "bnds"), np.stack([edges[:-1], edges[1:]], axis=1))
        data.time.attrs["bounds"] = "time_bnds"
    arrays = Observation(data, error=1.0, method="nearest").to_arrays(SPEC, ds.time)
    assert arrays.values.size == data.pr.size
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)


def test_daily_means_observe_the_frames_of_the_day():
    ds = state(16, freq="6h")
    spec = Spec(SPEC.variables, SPEC.lat, SPEC.lon, periodic=True, time_step=6.0)
    daily = ds.pr.resample(time="1D").mean().assign_attrs(ds.pr.attrs, cell_methods="time: mean")
    arrays = Observation(daily, error=1.0, method="nearest").to_arrays(spec, ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds, spec), arrays.values)
    instant = daily.assign_attrs(cell_methods="time: point")
    assert np.diff(Observation(instant, error=1.0, method="nearest").to_arrays(spec, ds.time).matrix.indptr).max() == 1


def test_months_partly_in_the_period_use_the_frames_there():
    ds = state(90)
    mean = ds.pr.resample(time="MS").mean().assign_attrs(ds.pr.attrs)
    arrays = Observation(mean, error=1.0, method="nearest").to_arrays(SPEC, ds.time[20:50])
    assert np.diff(arrays.matrix.indptr).tolist() == [11] * 96 + [19] * 96


def test_cftime_of_the_same_calendar():
    data = stations(np.ones((4, 3)))
    other = data.convert_calendar("standard", use_cftime=True)
    a, b = (Observation(d, error=1.0).to_arrays(SPEC, state().time) for d in (data, other))
    assert (a.matrix != b.matrix).nnz == 0


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obs", "error", "words"),
    [
        (lambda: Observation(stations()), ObservationError, r"error of 't2m' is missing.*degC.*error=\.\.\."),
        (lambda: Observation(stations(), error=-1), ObservationOptionError, "negative"),
        (lambda: Observation(stations(), error=np.nan), ObservationOptionError, "error=nan; expected a number"),
        (lambda: Observation(stations(), error="small"), ObservationOptionError, "expected a number"),
        (lambda: Observation(stations(), error={"pr": 1.0}), ObservationError, "not 't2m'"),
        (lambda: Observation(stations(), error=xr.DataArray([1.0, 2.0], dims="member")), ObservationError, "'member'"),
        (lambda: Observation(stations(), error=xr.DataArray([1.0, 2.0], dims="station")), ObservationError, "size 2"),
        (lambda: Observation(stations(units="mm day-1"), error=1.0), UnitError, "'t2m'.*'t'.*Cannot convert"),
        (lambda: Observation(stations().drop_attrs().rename("t"), error=1.0), UnitError, "no units"),
        (lambda: Observation(stations(), "tmax", error=1.0), VariableError, "no variable 'tmax'.*'t2m'.*'t', 'pr'"),
        (lambda: Observation(stations(), {"t2m": "tas"}, error=1.0), VariableError, "t2m -> tas"),
        (lambda: Observation(stations().drop_attrs(), error=1.0), VariableError, r"variable=\{'t2m': 't'\}"),
        (lambda: Observation(flag_first(), error=1.0), VariableError, r"variable=\{'t2m': 't'\}"),
        (lambda: Observation(stations(start="1990-01-01"), error=1.0), CoverageError, "1990-01-01.*2001-01-01"),
        (
            lambda: Observation(stations(np.full((4, 3), np.nan)), error=1.0),
            CoverageError,
            "no finite value among its 12",
        ),
        (
            lambda: Observation(xr.concat([stations(), stations()], "time"), error=1.0),
            DimensionError,
            "drop_duplicates",
        ),
        (lambda: Observation(stations().drop_vars("time"), error=1.0), DimensionError, "no time coordinate"),
        (
            lambda: Observation(stations().assign_coords(time=["1 May"] * 4), error=1.0),
            DimensionError,
            r"no time coordinate.*is of type <U5, which is no time.*to_datetime",
        ),
        (lambda: Observation(stations().isel(time=[]), error=1.0), CoverageError, "'t2m' is empty.*'time': 0"),
        (lambda: Observation(stations().isel(station=[]), error=1.0), CoverageError, "'t2m' is empty.*'station': 0"),
        (lambda: Observation(stations().astype(str), error=1.0), ObservationError, "expected numbers.*astype"),
        (
            lambda: Observation(stations(), error=xr.DataArray(np.ones(12), dims="month")),
            ObservationError,
            "which month is which.*assign_coords",
        ),
        (lambda: Observation(stations().drop_vars("lat"), error=1.0), DimensionError, "Found no latitude coordinate"),
        (lambda: Observation(stations().drop_vars("level"), error=1.0), ObservationError, "at which level"),
        (lambda: Observation(stations(level=5.0), error=1.0), CoverageError, "levels lie outside.*1000, 850, 500 hPa"),
        (lambda: Observation(stations().expand_dims(member=2), error=1.0), DimensionError, "varies along 'member'"),
        (lambda: Observation(stations(), error=1.0, method="conservative"), ObservationError, "needs cells"),
        (
            lambda: Observation(stations(lat=("station", [140.0, 0.0, 0.0])), error=1.0),
            ObservationError,
            "reach 140.*swapped",
        ),
        (
            lambda: Observation(stations().assign_coords(time=("time", pd.DatetimeIndex(["NaT"] * 4))), error=1.0),
            DimensionError,
            "Source 't2m'.*(repeat|NaT)",
        ),
    ],
)
def test_bad_input(obs, error, words):
    with pytest.raises(error, match=f"(?s){words}") as caught:
        obs().to_arrays(SPEC, state().time)
    assert caught.type is error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data": [1, 2]}, "got list"),
        ({"data": stations(), "method": "cubic"}, "'cubic'"),
        ({"data": stations(), "operator": 3}, "function of physical fields.*got int"),
        ({"data": stations(), "qc": {"max_departure": 3}}, "no 'max_departure'; it knows 'flags', 'bias'"),
        ({"data": stations(), "qc": 3}, "got int"),
        ({"data": stations(), "tolerance": "soon"}, "no time span"),
        ({"data": stations(), "tolerance": -1}, "zero or more"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ObservationError, match=words):
        Observation(**arguments)


def test_outside_of_the_domain():
    data = stations()
    with pytest.warns(SlamsWarning, match="2 of 3 places lie outside of the model's domain, 25 x 53"):
        arrays = Observation(data, error=1.0).to_arrays(REGION, state().time)
    assert arrays.values.size == 4
    with pytest.raises(CoverageError, match=r"all 2 places.*lat 75 to 15"):
        Observation(data.isel(station=[1, 2]), error=1.0).to_arrays(REGION, state().time)


def test_levels_outside_are_reported():
    data = stations().drop_vars("level").expand_dims(level=[1000.0, 850.0, 100.0])
    with pytest.warns(SlamsWarning, match="1 of 3 levels"):
        assert Observation(data, error=1.0).to_arrays(SPEC, state().time).values.size == 24


def test_warnings_point_at_the_line_of_the_user():
    data = stations(lat=("station", [20.0, 50.0, 85.0])).drop_vars("level")
    with pytest.warns(SlamsWarning, match="places lie outside") as caught:
        Observation(data, {"t2m": "air"}, error=1.0).to_arrays(REGION, state().time)
    assert {w.filename for w in caught} == {__file__}


def test_times_between_frames_are_reported():
    data = stations(np.zeros((8, 3))).assign_coords(time=pd.date_range("2001-01-01", periods=8, freq="12h"))
    with pytest.warns(SlamsWarning, match="4 of 8 times lie between the frames"):
        Observation(data, error=1.0, tolerance="1h").to_arrays(SPEC, state().time)


def test_many_reports_of_one_frame_are_reported():
    data = stations(np.zeros((72, 3))).assign_coords(time=pd.date_range("2001-01-01", periods=72, freq="1h"))
    with pytest.warns(SlamsWarning, match="up to 24 times fall on one frame.*resample"):
        Observation(data, error=1.0).to_arrays(SPEC, state().time)


def test_who_moves_reports_from_several_places_of_one_frame():
    hourly = pd.date_range("2001-01-01", periods=30, freq="1h")
    track = xr.DataArray(
        np.full(30, 280.0),
        {
            "time": hourly,
            "lat": ("time", np.linspace(0, 30, 30)),
            "lon": ("time", np.linspace(0, 9, 30)),
            "level": 850.0,
        },
        ("time",),
        name="t",
        attrs={"units": "K"},
    )
    assert Observation(track, error=1.0).to_arrays(SPEC, state().time).values.size == 30


def test_what_is_no_mean_is_reported():
    data = stations().assign_attrs(cell_methods="area: point time: maximum")
    with pytest.warns(SlamsWarning, match=r"time: maximum.*nearest frame.*operator="):
        Observation(data, error=1.0).to_arrays(SPEC, state().time)


def test_a_variable_without_overlap_among_others_is_a_warning():
    ds = state().isel(lat=[1])
    ds["pr"] = ds.pr * np.nan
    ds["pr"].attrs = state().pr.attrs
    with pytest.warns(SlamsWarning, match="'pr' holds no finite value"):
        assert Observation(ds, error=1.0).to_arrays(SPEC, ds.time).values.size == 4 * 3 * 12


def test_segments_without_observations_are_empty():
    obs = Observation(stations(), error=1.0)
    arrays = obs.bind(SPEC, frames("2005-01-01", 5)).likelihood()
    assert arrays.matrix.shape == (0, 5 * 4 * 8 * 12)
    assert arrays.values.shape == arrays.errors.variance.shape == (0,)


def test_check_reads_nothing_that_is_lazy():
    # The values alone: coordinates have to be read.
    data = stations()
    data = data.copy(data=data.chunk(time=1).data)
    with dask.config.set(scheduler=lambda *a, **k: pytest.fail("computed")):
        Observation(data, error=1.0).bind(SPEC, state().time).check()
        with pytest.raises(CoverageError):
            Observation(data, error=1.0).bind(SPEC, frames("1990-01-01", 5)).check()
        with pytest.raises(ObservationError, match="error="):
            Observation(data).bind(SPEC, state().time).check()
    with pytest.raises(CoverageError, match="no finite value"):
        Observation(stations(np.full((4, 3), np.nan)), error=1.0).bind(SPEC, state().time).check()


def test_an_operator_that_nobody_registered():
    with pytest.raises(OptionError, match="Unknown observation operator 'column mean'"):
        Observation(stations(), error=1.0, operator="column mean")


def test_as_observations():
    data = stations()
    obs = Observation(data, error=1.0)
    assert as_observations(obs) == [obs]
    assert [o.name for o in as_observations([obs, data, data.to_dataset()])] == ["t2m", "t2m 2", "t2m 3"]
    assert obs.name == "t2m"
    for wrong in ("obs", 3, {"a": data}):
        with pytest.raises(ObservationError, match="obs= must be"):
            as_observations(wrong)


def test_background_error_of_several_units_needs_a_mapping():
    spec = Spec((*SPEC.variables[:1], VariableSpec("pr", "mm day-1")), SPEC.lat, SPEC.lon, periodic=True)
    with pytest.raises(ObservationError, match=r"background_error=\{'t': ..., 'pr': ...\}"):
        background_observation(state(), spec, 1.0)
    arrays = background_observation(state(), spec, {"t": 1.0, "pr": 2.0}).to_arrays(spec, state().time)
    assert set(arrays.errors.variance.tolist()) == {1.0, 4.0}


# --- simulation --------------------------------------------------------------------------------------------------


def test_noise_has_the_error_given_and_depends_on_the_seed_alone():
    truth = state(200).pr
    a, b, c = (simulate_observations(truth, error=2.0, seed=s).data for s in (1, 1, 2))
    xr.testing.assert_identical(a, b)
    assert not np.allclose(a, c)
    assert float((a - truth).std()) == pytest.approx(2.0, rel=0.02)
    by_lat = simulate_observations(
        truth, error=xr.DataArray(np.arange(1.0, 9.0), dims="lat", coords={"lat": truth.lat})
    )
    np.testing.assert_allclose((by_lat.data - truth).std(("time", "lon")), np.arange(1.0, 9.0), rtol=0.1)
    assert set(np.sqrt(by_lat.to_arrays(SPEC, truth.time).errors.variance)) == set(np.arange(1.0, 9.0))


def test_masks():
    truth = state().pr
    half = simulate_observations(truth, mask=0.5).data
    assert half.notnull().sum(("lat", "lon")).values.tolist() == [48] * 4
    assert (half.notnull().all("time") == half.notnull().any("time")).all()
    north = simulate_observations(truth, mask=truth.lat > 0, stations=30).data
    assert float(north.lat.min()) > 0


def test_given_stations_are_interpolated():
    ds = state()
    points = xr.Dataset(
        coords={"lat": ("site", [5.0, -33.3, 89.0]), "lon": ("site", [-7.0, 351.0, 12.0]), "site": list("abc")}
    )
    obs = simulate_observations(ds.t, stations=points)
    assert obs.data.site.values.tolist() == list("abc")
    arrays = obs.to_arrays(SPEC, ds.time)
    np.testing.assert_allclose(arrays.matrix @ field(ds), arrays.values)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"coarsen": 2, "stations": 3}, ObservationError, "Give one of them"),
        ({"coarsen": {"time": 2}}, ObservationError, "'time'"),
        ({"coarsen": {"x": 2}}, DimensionError, "'time', 'lat', 'lon'"),
        ({"coarsen": 9}, ObservationError, "boxes of 9 cells"),
        ({"every": 0}, DimensionError, "at least 1"),
        ({"stations": 0}, ObservationError, "1 to 96"),
        ({"stations": 97}, ObservationError, "1 to 96"),
        ({"mask": 1.5}, ObservationError, "share of cells"),
        ({"error": -1.0}, ObservationError, "negative"),
        ({"stations": xr.Dataset({"a": 1})}, ObservationError, "latitudes and longitudes along one dimension"),
    ],
)
def test_bad_simulations(arguments, error, words):
    with pytest.raises(error, match=words):
        simulate_observations(state().pr, **arguments)


def test_simulation_needs_a_field():
    with pytest.raises(ObservationError, match=r"truth\['t'\]"):
        simulate_observations(state())
    with pytest.raises(GridError):
        simulate_observations(stations())


# --- real sources ------------------------------------------------------------------------------------------------


def test_uscrn(shared_data: Path):
    time184 = frames("2014-07-01", 184)
    with xr.open_dataset(shared_data / "uscrn_daily_2013_2015.nc") as ds:
        with pytest.raises(VariableError, match="shared by 'tavg', 'tmax', 'tmin'"):
            Observation(ds, error=2.0).to_arrays(REGION, time184)
        obs = Observation(ds.load(), "tavg", error=2.0)
    with pytest.warns(SlamsWarning, match="3 of 183 places"):
        arrays = obs.to_arrays(REGION, time184)
    there = obs.data.tavg.sel(time=time184)
    assert 0.9 * int(there.notnull().sum()) < arrays.values.size < int(there.notnull().sum())
    assert 220 < arrays.values.min() < arrays.values.max() < 320


def test_ersst(shared_data: Path):
    with xr.open_dataset(shared_data / "ersst_v5_2010_2020.nc") as ds:
        with pytest.raises(VariableError, match=r"variable=\{'sst': 'air'\}"):
            Observation(ds, error=1.0).to_arrays(REGION, frames("2014-07-01", 184))
        for method in ("bilinear", "conservative"):
            with pytest.warns(SlamsWarning, match="places lie outside"):
                arrays = Observation(ds, {"sst": "air"}, error=1.0, method=method).to_arrays(
                    REGION, frames("2014-07-01", 184)
                )
            # A month of days, each with four cells at most.
            assert np.diff(arrays.matrix.indptr).max() <= 31 * 4
            assert arrays.values.size % 6 == 0
            assert 270 < arrays.values.min() < arrays.values.max() < 306


def test_buoys(shared_data: Path):
    with xr.open_dataset(shared_data / "buoys_2013-05_hourly.nc") as ds:
        daily = ds.resample(time="1D").mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlamsWarning)
        arrays = Observation(daily, error=1.5).to_arrays(REGION, frames("2013-05-01", 31))
        with pytest.raises(CoverageError, match="No time overlaps"):
            Observation(daily, error=1.5).to_arrays(REGION, frames("2014-07-01", 31))
    assert arrays.values.size > 5000
    np.testing.assert_allclose(np.asarray(arrays.matrix.sum(axis=1)), 1.0)


def test_a_year_of_thousands_is_fast():
    spec = Spec(SPEC.variables, tuple(np.linspace(-88, 88, 48)), tuple(np.arange(96) * 3.75), periodic=True)
    rng = np.random.default_rng(0)
    data = xr.DataArray(
        rng.normal(size=(365, 4000)),
        dims=("time", "station"),
        coords={
            "time": pd.date_range("2001-01-01", periods=365),
            "lat": ("station", rng.uniform(-80, 80, 4000)),
            "lon": ("station", rng.uniform(-180, 180, 4000)),
        },
        attrs={"units": "mm day-1"},
        name="pr",
    )
    start = time.process_time()
    arrays = Observation(data, error=1.0).to_arrays(spec, data.time)
    # About one second on an idle core; the margin is for busy ones.
    assert time.process_time() - start < 10
    assert arrays.matrix.nnz <= 4 * 365 * 4000

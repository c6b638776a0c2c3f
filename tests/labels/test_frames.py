"""A frame stands for an instant or a period, which the data of the model tell; observations see what they overlap."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

import xslams
from tests.pipeline.test_assimilate import waves
from xslams import Observation
from xslams.errors import ModelError, SlamsWarning
from xslams.labels.calendar import hours
from xslams.labels.frames import Frames, learn
from xslams.labels.periods import time_method
from xslams.observations.temporal import Meaning, match_times
from xslams.pipeline.inputs import Inputs
from xslams.spec import FramePeriod, Spec, VariableSpec

SPEC = Spec((VariableSpec("t", "K"),), lat=(-45.0, 0.0, 45.0), lon=(0.0, 90.0, 180.0, 270.0), periodic=True)


def axis(freq: str, stamp: float, count: int, calendar: str = "standard", start: str = "2001-01-01") -> xr.Dataset:
    """Times of periods that follow each other, stamped somewhere in them, with their bounds."""
    edges = xr.date_range(start, periods=count + 1, freq=freq, calendar=calendar, use_cftime=calendar != "standard")
    edges = np.asarray(edges)
    time = edges[:-1] + stamp * (edges[1:] - edges[:-1])
    ds = xr.Dataset({"t": ("time", np.arange(float(count)))}, {"time": ("time", time, {"bounds": "time_bnds"})})
    return ds.assign(time_bnds=(("time", "nv"), np.stack([edges[:-1], edges[1:]], axis=1)))


def bare(ds: xr.Dataset, method: str = "mean") -> xr.Dataset:
    """The same without bounds, with a cell method."""
    ds = ds.drop_vars("time_bnds")
    ds = ds.assign_coords(time=ds.time.drop_attrs())
    return ds.assign(t=ds.t.assign_attrs({"cell_methods": f"time: {method}"} if method else {}))


def spec_of(ds: xr.Dataset) -> Spec:
    """Specification of a model of some data, through its JSON."""
    period, methods = learn(ds, ["t"])
    step = float(np.median(np.diff(hours(ds.time))))
    variable = VariableSpec("t", "K", cell_method=methods.get("t", ""))
    return Spec.from_json(replace(SPEC, variables=(variable,), time_step=step, frame=period).to_json())


@settings(max_examples=12)
@given(
    freq=st.sampled_from(["1h", "6h", "1D", "5D", "MS"]),
    stamp=st.sampled_from([0.0, 0.5, 1.0]),
    calendar=st.sampled_from(["standard", "noleap", "360_day"]),
    later=st.sampled_from(["2001-01-01", "2003-03-01"]),
)
@example(freq="MS", stamp=1.0, calendar="standard", later="2003-03-01")
@example(freq="1D", stamp=1.0, calendar="noleap", later="2003-03-01")
def test_what_bounds_say_at_fit_holds_for_states_without_them(freq, stamp, calendar, later):
    spec = spec_of(axis(freq, stamp, 40, calendar))
    state = axis(freq, stamp, 14, calendar, later)
    expected = hours(state.time_bnds)
    np.testing.assert_allclose(Frames.of(state.time, spec, bare(state, "")).edges, expected, atol=1e-3)
    np.testing.assert_allclose(Frames.of(state.time, spec).edges, expected, atol=1e-3)
    np.testing.assert_allclose(Frames.of(state.time, spec, state).edges, expected, atol=1e-3)


@pytest.mark.parametrize("stamp", [0.0, 0.5])
@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
@pytest.mark.parametrize("freq", ["1D", "MS"])
def test_days_and_months_are_known_by_the_calendar(freq, calendar, stamp):
    ds = axis(freq, stamp, 30, calendar)
    for method in ("mean", "sum", "maximum"):
        spec = spec_of(bare(ds, method))
        assert (spec.frame.months, spec.frame.hours) == ((1, 0.0) if freq == "MS" else (0, 24.0))
        np.testing.assert_allclose(Frames.of(ds.time, spec).edges, hours(ds.time_bnds))


def test_instants_have_no_period_and_what_nothing_says_is_not_learned():
    assert learn(bare(axis("6h", 0.0, 9), "point"), ["t"]) == (None, {"t": "point"})
    assert learn(axis("6h", 0.0, 9).assign(t=lambda d: d.t.assign_attrs(cell_methods="time: point")), ["t"])[0] is None
    assert learn(bare(axis("6h", 0.0, 9), ""), ["t"]) == (None, {})
    zero = axis("6h", 0.0, 9)
    zero["time_bnds"] = zero.time_bnds[:, [0, 0]]
    assert learn(zero, ["t"]) == (None, {})
    with pytest.warns(SlamsWarning, match="no bounds say where in these their stamps lie.*from their stamps on"):
        assert learn(bare(axis("6h", 0.0, 9)), ["t"])[0] == FramePeriod(hours=6.0, begin=0.0)
    with pytest.warns(SlamsWarning, match="'time_bnds' of 'time' are not among the data; frames are read without"):
        assert learn(axis("6h", 0.0, 9).drop_vars("time_bnds"), ["t"]) == (None, {})


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("time: mean", "mean"),
        ("area: mean time: point", "point"),
        ("time: lat: lon: mean", "mean"),
        ("area:mean", ""),
        ("time: maximum within days time: mean over days", "mean"),
        ("time: mean (of 4 6-hourly values in one day; comment: time: point)", "mean"),
        ("valid_time: sum", "sum"),
        ("", ""),
    ],
)
def test_cell_methods(text, method):
    assert time_method({"cell_methods": text}) == method


@settings(max_examples=40)
@given(
    step=st.sampled_from([1, 6, 24, 120]),
    stamp=st.sampled_from([0.0, 0.5, 1.0]),
    length=st.integers(1, 400),
    first=st.integers(-50, 300),
    quarter=st.integers(0, 3),
)
def test_frames_are_seen_by_their_share_of_the_overlap(step, stamp, length, first, quarter):
    frames = axis(f"{step}h", stamp, 12)
    begin = pd.Timestamp("2001-01-01") + pd.Timedelta(hours=first, minutes=15 * quarter)
    pair = xr.DataArray(np.array([[begin, begin + pd.Timedelta(hours=length)]], "M8[ns]"), dims=("time", "nv"))
    meaning = Meaning(hours(frames.time_bnds), told=True)
    match = match_times(pair[:, 0], frames.time, float(step), bounds=pair, meaning=meaning)
    (a, b), edges = hours(pair)[0], hours(frames.time_bnds)
    shared = np.clip(np.minimum(b, edges[:, 1]) - np.maximum(a, edges[:, 0]), 0, None)
    seen = shared.sum() > 0 and (length > 1.5 * step or np.isclose(shared.sum(), length))
    np.testing.assert_allclose(match.weights.toarray()[0], shared / shared.sum() if seen else 0 * shared, atol=2e-3)


@settings(max_examples=25)
@given(stamp=st.sampled_from([0.0, 0.5, 1.0]), minutes=st.lists(st.integers(-600, 6000), min_size=1, max_size=20))
def test_reports_are_those_of_the_day_that_holds_them(stamp, minutes):
    frames = axis("1D", stamp, 3)
    time = pd.Timestamp("2001-01-01") + pd.to_timedelta(minutes, unit="min")
    meaning = Frames.of(frames.time, spec_of(frames)).meaning(SPEC.variables[0], SPEC)
    match = match_times(xr.DataArray(time, dims="time"), frames.time, 24.0, meaning=meaning)
    day = np.array(minutes) // 1440
    known = (day >= 0) & (day < 3)
    np.testing.assert_array_equal(match.matched, known)
    np.testing.assert_array_equal(match.first[known], day[known])
    assert not match.assumed


@pytest.mark.parametrize("stamp", [0.0, 0.5, 1.0])
def test_pentads_months_and_local_days_weigh_days_by_overlap(stamp):
    frames = axis("1D", stamp, 31)
    spec = spec_of(frames)
    start = pd.DatetimeIndex(["2001-01-03T12:00", "2001-01-08T12:00"])
    stations = {"lat": ("s", [0.0]), "lon": ("s", [90.0])}
    data = xr.Dataset({"t": (("time", "s"), np.ones((2, 1)), {"units": "K"})}, {"time": start, **stations})
    data["time_bnds"] = (("time", "nv"), np.stack([start, start + pd.Timedelta("5D")], axis=1))
    data.time.attrs["bounds"] = "time_bnds"
    matrix = Observation(data, "t", error=1.0, method="nearest").to_arrays(spec, frames.time).matrix
    weights = matrix.toarray().reshape(2, 31, 12).sum(axis=2)
    expected = np.zeros((2, 31))
    for row, day in enumerate((2, 7)):
        expected[row, day : day + 6] = np.array([0.5, 1, 1, 1, 1, 0.5]) / 5
    np.testing.assert_allclose(weights, expected)


def test_a_mean_observes_the_instants_in_it():
    frames = axis("6h", 0.0, 8)
    instants = Meaning(None, told=True)
    whole = match_times(frames.time[[0]], frames.time, 6.0, bounds=axis("1D", 0.0, 1).time_bnds, meaning=instants)
    np.testing.assert_array_equal(whole.weights.toarray(), [[0.25] * 4 + [0] * 4])
    # A mean as long as the step is that of its middle.
    noon = match_times(
        axis("1D", 0.0, 2).time, axis("1D", 0.5, 2).time, 24.0, bounds=axis("1D", 0.0, 2).time_bnds, meaning=instants
    )
    np.testing.assert_array_equal(noon.weights.toarray(), np.eye(2))
    assert not noon.assumed
    tie = match_times(axis("3h", 0.0, 4).time, frames.time, 6.0, meaning=instants)
    np.testing.assert_array_equal(tie.first, [0, 0, 1, 1])
    assert "earlier frame: 2 of 4 stamps lie half way" in tie.assumed


def test_noon_and_midnight_tie_and_the_day_decides_aloud():
    noon, midnight = axis("1D", 0.5, 4).time, axis("1D", 0.0, 4).time
    for method in ("point", ""):
        meaning = Frames.of(noon, SPEC, bare(axis("1D", 0.5, 4), method)).meaning(SPEC.variables[0], SPEC)
        match = match_times(midnight, noon, 24.0, meaning=meaning)
        np.testing.assert_array_equal(match.weights.toarray(), np.eye(4))
        assert match.assumed
    # Means are those of their day, without a doubt.
    meaning = Frames.of(noon, SPEC, bare(axis("1D", 0.5, 4))).meaning(SPEC.variables[0], SPEC)
    match = match_times(midnight, noon, 24.0, meaning=meaning)
    np.testing.assert_array_equal(match.weights.toarray(), np.eye(4))
    assert not match.assumed


def test_a_state_that_differs_from_the_model_is_announced():
    days = spec_of(axis("1D", 0.0, 9))
    noon = axis("1D", 0.5, 4)
    with pytest.warns(
        SlamsWarning, match=r"^The state: 4 of 4 stamps lie at another place.*taken for the 24 h that hold"
    ):
        found = Frames.of(noon.time, days, bare(noon))
    np.testing.assert_allclose(found.edges, hours(noon.time_bnds))
    with pytest.warns(
        SlamsWarning, match=r"'time: point', while frames of the model are 'time: mean' over 24 h; 4 of 4"
    ):
        Frames.of(noon.time, days, bare(noon, "point"))
    # Averages keep the attributes of instants.
    Frames.of(noon.time[:0], days, bare(axis("1D", 0.0, 4), "point").isel(time=slice(0)))
    instants = spec_of(bare(axis("6h", 0.0, 9), "point"))
    with pytest.warns(SlamsWarning, match=r"'time: mean', while frames of the model are 'time: point'"):
        Frames.of(noon.time, instants, bare(noon))
    short = axis("1D", 0.0, 4)
    short["time_bnds"] = short.time_bnds.copy(data=np.stack([short.time, short.time + np.timedelta64(6, "h")], axis=1))
    with pytest.warns(SlamsWarning, match="its bounds say 6 h, while frames of the model are those of 24 h"):
        found = Frames.of(short.time, days, short)
    np.testing.assert_allclose(found.edges[:, 1] - found.edges[:, 0], 24.0)


@pytest.mark.parametrize("stamp", [0.0, 0.5, 1.0])
def test_the_background_and_hourly_reports_observe_their_frames(tiny_model, stamp):
    bounds = axis("1D", stamp, 4)
    state = waves(4).assign_coords(time=bounds.time).assign(time_bnds=bounds.time_bnds)
    time = pd.date_range("2001-01-02", periods=24, freq="h")
    place = {"lat": ("s", [10.0]), "lon": ("s", [45.0]), "level": ((), 850.0, {"units": "hPa"})}
    t = xr.DataArray(np.full((24, 1), 285.0), {"time": time, **place}, ("time", "s"), "t", {"units": "K"})
    report = Observation(t.assign_attrs(standard_name="air_temperature"), error=1.0, qc={"superob": True})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inputs = Inputs.of(state, report, tiny_model, 1.0)
        (made,) = inputs.sources[0].audited(strict=True)
    np.testing.assert_array_equal(inputs.sources[0].variables[0].match.first, 1)
    mean = xslams.observations.reduced(made)
    assert mean.audit.merged.tolist() == [24] and mean.likelihood.size == 1
    for variable in inputs.background.variables:
        np.testing.assert_array_equal(variable.match.weights.toarray(), np.eye(4))


def test_fit_on_months_learns_the_calendar_month():
    time = pd.date_range("2001-01-16", periods=24, freq="MS") + pd.Timedelta("14D")
    coords = {"time": time, "lat": [-45.0, 0.0, 45.0], "lon": [0.0, 90.0, 180.0, 270.0]}
    values = 280 + np.random.default_rng(0).normal(size=(24, 3, 4))
    ds = xr.DataArray(values, coords, ("time", "lat", "lon"), "t", {"units": "K"}).to_dataset()
    model = ds.slams.fit(window=3, epochs=0, autoencoder_epochs=1, modes=4, progress=False)
    assert model.spec.frame == FramePeriod(months=1, stamp=model.spec.frame.stamp, begin=0.0)
    days = xr.DataArray(np.ones((2, 1)), {"time": pd.to_datetime(["2002-01-01", "2002-01-31"])}, ("time", "s"), "t")
    days = days.assign_coords(lat=("s", [0.0]), lon=("s", [0.0])).assign_attrs(units="K")
    inputs = Inputs.of(ds.isel(time=slice(10, 14)), Observation(days, error=1.0), model, None)
    np.testing.assert_array_equal(inputs.sources[0].variables[0].match.first, time[10:14].month.tolist().index(1))
    gap = ds.isel(time=[0, 1, 2, 5, 6, 7])
    assert [w.first for w in xslams.pipeline.windows.cut(gap.time, model.spec)] == [0, 3]


def test_older_files_say_nothing_and_periods_are_checked():
    text = json.loads(SPEC.to_json())
    for name in ("frame", "cell_method"):
        text.pop(name, None)
        text["variables"][0].pop(name, None)
    assert Spec.from_json(json.dumps(text)) == SPEC
    assert xslams.open_model("speedy-t30").spec.frame == FramePeriod(hours=24.0, begin=0.0)
    for bad in ({}, {"hours": 24.0, "months": 1}, {"hours": -1.0}, {"hours": np.nan}):
        with pytest.raises(ModelError, match="some hours or for some calendar months"):
            FramePeriod(**bad)


@pytest.mark.parametrize("stamp", [0.0, 0.5, 1.0])
def test_stamps_like_those_of_frames_are_not_moved_silently(stamp):
    frames = axis("1D", stamp, 4)
    meaning = Frames.of(frames.time, spec_of(frames)).meaning(SPEC.variables[0], SPEC)
    mean = match_times(frames.time, frames.time, 24.0, attrs={"cell_methods": "time: mean"}, meaning=meaning)
    np.testing.assert_array_equal(mean.weights.toarray(), np.eye(4))
    plain = match_times(frames.time, frames.time, 24.0, meaning=meaning)
    np.testing.assert_array_equal(plain.weights.toarray(), np.eye(4, k=1) if stamp == 1.0 else np.eye(4))
    assert bool(plain.assumed) == bool(mean.assumed) == (stamp == 1.0)


@pytest.mark.parametrize("stamp", [0.0, 0.5])
@pytest.mark.parametrize("every", [1, 3])
def test_simulated_observations_of_some_days_are_of_these_days(stamp, every):
    truth = waves(7)
    truth = truth.assign_coords(time=axis("1D", stamp, 7).time)
    data = xslams.simulate_observations(
        truth["pr"].assign_attrs(cell_methods="time: mean"), every={"time": every}, error=1.0
    )
    match = match_times(data.data.time, truth.time, 24.0, attrs=data.data.attrs)
    np.testing.assert_array_equal(match.weights.toarray(), np.eye(7)[::every])
    assert not match.assumed
    # Of data that were thinned elsewhere nothing tells, and a warning says what is assumed.
    thinned = truth["pr"][::3].time
    assert "72 h" in match_times(thinned, truth.time, 24.0, attrs={"cell_methods": "time: mean"}).assumed

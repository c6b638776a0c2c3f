"""Results say what their frames stand for, as CF has it, and are read back as the frames that they were made for."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

import xslams
from tests.labels.test_frames import SPEC, axis, bare, spec_of
from tests.pipeline.test_assimilate import waves
from xslams import Observation
from xslams.errors import SlamsWarning
from xslams.labels.calendar import hours
from xslams.labels.frame_labels import with_frames
from xslams.labels.frames import Frames
from xslams.pipeline.inputs import Inputs


@settings(max_examples=3)
@given(
    freq=st.sampled_from(["1h", "6h", "1D", "5D", "MS"]),
    stamp=st.sampled_from([0.0, 0.5, 1.0]),
    calendar=st.sampled_from(["standard", "noleap", "360_day"]),
    name=st.sampled_from(["time", "valid_time"]),
    method=st.sampled_from(["mean", "sum", "maximum", ""]),
)
@example(freq="MS", stamp=0.5, calendar="360_day", name="valid_time", method="maximum")
def test_what_is_written_is_read_as_the_same_frames(tmp_path_factory, freq, stamp, calendar, name, method):
    trained = axis(freq, stamp, 30, calendar)
    trained["t"].attrs["cell_methods"] = f"time: {method}" if method else "area: mean"
    spec = spec_of(trained)
    state = axis(freq, stamp, 9, calendar, "2003-03-01")
    frames = Frames.of(state.time, spec, bare(state, ""))
    result = state.drop_vars("time_bnds").rename(time=name)
    result[name].attrs.update(standard_name="time")
    labelled = with_frames(result, frames, spec)
    assert labelled["t"].attrs["cell_methods"] == f"time: {method or 'mean'}"
    store = tmp_path_factory.mktemp("frames") / "a.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labelled.chunk({name: 3}).slams.to_zarr(store)
        again = xslams.open_analysis(store).rename({name: "time"})
        for found in (Frames.of(again.time, SPEC, again), Frames.of(again.time, spec, again)):
            np.testing.assert_allclose(found.edges, hours(state.time_bnds), atol=1e-3)
    assert "bounds" not in result[name].attrs or result[name].attrs["bounds"] == "time_bnds"  # inputs stay as they were


def test_instants_are_said_to_be_instants_and_what_nothing_tells_is_not_said():
    instants = bare(axis("6h", 0.0, 9), "point")
    for spec in (spec_of(instants), SPEC):
        labelled = with_frames(instants, Frames.of(instants.time, spec, instants), spec)
        assert labelled["t"].attrs["cell_methods"] == "time: point" and "time_bnds" not in labelled.coords
    silent = bare(axis("6h", 0.0, 9), "")
    assert "cell_methods" not in with_frames(silent, Frames.of(silent.time, SPEC, silent), SPEC)["t"].attrs
    absent = axis("6h", 0.0, 9)[["t"]]
    absent["time"].encoding["bounds"] = "b"
    labelled = with_frames(absent, Frames.of(absent.time, SPEC), SPEC)
    assert (
        not {"bounds"} & {*labelled.time.attrs, *labelled.time.encoding} and absent.time.attrs["bounds"] == "time_bnds"
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_an_analysis_of_days_is_one_of_days_wherever_it_is_used(tiny_model, tmp_path, lazy):
    days = axis("1D", 0.5, 3)
    state = waves(3).assign_coords(time=days.time).assign(time_bnds=days.time_bnds)
    station = {"lat": ("s", [10.0]), "lon": ("s", [45.0]), "level": ((), 850.0, {"units": "hPa"})}
    t = xr.DataArray([[285.0]], {"time": days.time[:1].values, **station}, ("time", "s"), "t", {"units": "K"})
    given = state.chunk(time=1) if lazy else state
    analysis = given.slams.assimilate(Observation(t, error=1.0), tiny_model, members=1, steps=2)
    if lazy:
        analysis = analysis.slams.to_zarr(tmp_path / "a.zarr")
    decoded = given.slams.encode(tiny_model).slams.decode()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for result in (analysis, decoded):
            assert result["t"].attrs["cell_methods"] == "time: mean"
            np.testing.assert_array_equal(result.time_bnds, days.time_bnds)
            frames = Frames.of(result.time, tiny_model.spec, result)
            np.testing.assert_array_equal(frames.edges, hours(days.time_bnds))
        seen = (
            Inputs.of(state, Observation(analysis, variable="t", error=1.0), tiny_model, None).sources[0].variables[0]
        )
        np.testing.assert_array_equal(seen.match.weights.toarray(), np.eye(3))
    assert "bounds" not in analysis.lat.attrs and state.time.attrs["bounds"] == "time_bnds"


def test_days_that_nothing_tells_are_announced_once_where_observations_have_a_clock(tiny_model):
    state = waves(3)
    place = {"lat": ("s", [10.0]), "lon": ("s", [45.0]), "level": ((), 850.0, {"units": "hPa"})}

    def of(times) -> Observation:
        t = xr.DataArray(np.full((len(times), 1), 285.0), {"time": times, **place}, ("time", "s"), "t", {"units": "K"})
        return Observation(t, error=1.0, qc={"superob": True})

    first = pd.Timestamp(state.time.values[0])
    hourly, daily = pd.date_range(first, periods=24, freq="h"), pd.date_range(first, periods=3)
    with pytest.warns(SlamsWarning, match="stamped at midnight, and neither.*means of the calendar days") as said:
        Inputs.of(state, [of(hourly), of(hourly[[0, 18]])], tiny_model, None)
    assert len(said) == 1
    with pytest.warns(SlamsWarning, match="stamped at midnight"):
        Inputs.of(state, of(daily + pd.Timedelta("18h")), tiny_model, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for told in ("mean", "point"):
            said = state.assign(t=state.t.assign_attrs(cell_methods=f"time: {told}"))
            Inputs.of(said, of(hourly), tiny_model, None)
        Inputs.of(state, of(daily), tiny_model, None)
        Inputs.of(state, of(daily + pd.Timedelta("12h")), tiny_model, None)


@pytest.mark.parametrize("taken", [("bnds",), ("bnds", "nv"), ("time_bnds_ends",)])
def test_bounds_have_a_dimension_that_no_coordinate_has(tmp_path, taken):
    days = axis("1D", 0.0, 3)
    spec = spec_of(days)
    shape = {"time": 3, **{name: 3 + i for i, name in enumerate(taken)}}
    ds = xr.Dataset({"t": (tuple(shape), np.zeros(tuple(shape.values())))}, {"time": days.time.drop_attrs()})
    ds = ds.assign_coords({name: np.arange(shape[name]) for name in taken})
    labelled = with_frames(ds, Frames.of(days.time, spec), spec)
    labelled.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert labelled.time_bnds.dims[1] not in taken and dict(labelled.t.sizes) == shape

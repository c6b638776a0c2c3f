"""Times as numbers."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xslams.errors import DimensionError
from xslams.labels.calendar import (
    check_order,
    hours,
    on_time_axis,
    time_labels,
    time_step,
    undecoded,
    without_zones,
    year_fraction,
)
from xslams.labels.channels import check_time
from xslams.labels.coordinates import coordinate
from xslams.observations.reading import drop_padding, read
from xslams.spec import Spec


def test_year_fraction_and_labels_agree_between_kinds_of_time():
    numpy_time = xr.Dataset(coords={"time": pd.date_range("1999-12-30", periods=400, freq="36h")}).time
    cf_time = xr.Dataset(coords={"time": numpy_time}).convert_calendar("standard", use_cftime=True).time
    assert (time_labels(numpy_time) == time_labels(cf_time)).all()
    assert np.allclose(year_fraction(numpy_time), year_fraction(cf_time))
    fraction = year_fraction(numpy_time)
    assert ((fraction >= 0) & (fraction < 1)).all()


def test_times_before_the_epoch_and_beyond_nanoseconds():
    time = xr.DataArray(np.array(["0850-01-01T06", "1969-12-31T23"], "M8[s]"), dims="time")
    assert time_labels(time)[1] == -1
    assert time_labels(time)[0] % 24 == 6


UTC = pd.date_range("2001-01-01", periods=4, tz="UTC")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "Asia/Kolkata"])
@pytest.mark.parametrize("kind", ["index", "Timestamp", "datetime", "naive"])
@pytest.mark.parametrize("name", ["time", "valid_time"])
def test_times_with_zones_become_utc(zone, kind, name):
    local = UTC.tz_convert(zone)
    values = {
        "index": local,
        "Timestamp": np.array(list(local), object),
        "datetime": np.array([t.to_pydatetime() for t in local], object),
        "naive": np.array([t.tz_localize(None).to_pydatetime() for t in UTC], object),
    }[kind]
    given = xr.Dataset({"t": ("obs", np.ones(4))}, coords={name: ("obs", values, {"long_name": "time of report"})})
    for ds in (without_zones(given), read(given, "reports")):
        assert coordinate(ds, "time") == name and ds[name].attrs == {"long_name": "time of report"}
        np.testing.assert_array_equal(hours(ds[name]), hours(xr.DataArray(UTC.tz_localize(None), dims="obs")))


def test_zones_that_some_times_lack_are_refused():
    mixed = np.array([UTC[0], UTC[1].tz_localize(None)], object)
    with pytest.raises(DimensionError, match="Source 'a': 1 of 2 times of 'time' have a time zone"):
        read(xr.Dataset({"t": ("obs", [1.0, 2.0])}, coords={"time": ("obs", mixed)}), "a")


@pytest.mark.parametrize(
    "values", [pd.period_range("2001-01-01", periods=3), UTC[:3], ["a", "b", "c"], [1.0, 2.0, 3.0]]
)
def test_what_is_no_time_is_refused_with_its_type(values):
    time = xr.DataArray(values, dims="time", name="time")
    with pytest.raises(DimensionError, match="expected times"):
        hours(time)


@pytest.mark.parametrize("dim", ["time", "obs", "forecast"])
@pytest.mark.parametrize("missing", [None, float("nan")])
@pytest.mark.parametrize("at", [0, 2])
def test_missing_cftime_is_counted_or_dropped(dim, missing, at):
    values = xr.date_range("2001-01-01", periods=4, calendar="360_day", use_cftime=True).values.copy()
    values[at] = missing
    ds = xr.Dataset({"t": (dim, np.arange(4.0))}, coords={"time": (dim, values)})
    with pytest.raises(DimensionError, match=r"1 missing times.*notnull\(\)"):
        hours(ds["time"])
    if dim != "time":
        kept, dropped = drop_padding(ds, "t")
        assert dropped == 1 and hours(kept["time"]).size == 3


def test_mixed_calendars_are_refused():
    pair = [
        xr.date_range("2001-01-01", periods=1, calendar=c, use_cftime=True).values[0] for c in ("noleap", "360_day")
    ]
    with pytest.raises(DimensionError, match="'360_day', 'noleap'"):
        hours(xr.DataArray(np.array(pair, object), dims="time", name="time"))


def test_a_rounded_step_is_a_step():
    days = pd.date_range("2001-01-01", periods=5) + pd.to_timedelta([0, 9, -7, 3, 0], unit="s")
    assert time_step(xr.DataArray(days, dims="time")) == pytest.approx(24.0, abs=1e-2)


@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_valid_time_is_the_axis_of_a_forecast(calendar):
    days = xr.date_range("2001-01-01", periods=5, calendar=calendar, use_cftime=calendar != "standard")
    ds = xr.Dataset({"t": ("time", np.arange(4.0))}, coords={"time": ("time", days[:4])})
    ds["time"].attrs["standard_name"] = "forecast_reference_time"
    assert coordinate(ds, "time") == "time"  # there is no other
    ds = ds.assign_coords(valid_time=("time", days[1:], {"standard_name": "time"}))
    axis = on_time_axis(ds)
    assert coordinate(ds, "time") == "valid_time" and axis["t"].dims == ("valid_time",)
    np.testing.assert_array_equal(axis["valid_time"].values, days[1:])


@pytest.mark.parametrize("dims", [("time", "step"), ("step", "time")])
@pytest.mark.parametrize("one", ["time", "step"])
def test_valid_time_of_one_reference_time_or_lead_is_an_axis(dims, one):
    sizes = {"time": 3, "step": 4} | {one: 1}
    reference = np.datetime64("2001-01-01", "ns") + np.arange(sizes["time"]) * np.timedelta64(24, "h")
    lead = np.arange(sizes["step"]) * np.timedelta64(24, "h")
    both = xr.DataArray(reference, dims="time") + xr.DataArray(lead, dims="step")
    ds = xr.Dataset({"t": (dims, np.ones([sizes[d] for d in dims]))}, {"time": reference, "step": lead})
    ds = ds.assign_coords(valid_time=(dims, both.transpose(*dims).values, {"standard_name": "time"}))
    axis = on_time_axis(ds)
    assert axis["t"].dims == ("valid_time",)
    np.testing.assert_array_equal(axis["valid_time"].values, both.values.ravel())
    check_order(axis["valid_time"])


def test_valid_time_of_many_reference_times_is_refused_with_what_to_do():
    valid = xr.DataArray(np.full((2, 3), "2001-01-01", "M8[ns]"), dims=("time", "step"), name="valid_time")
    with pytest.raises(DimensionError, match=r"ds.isel\({'time': 0}\) or ds.isel\({'step': 0}\)"):
        check_order(on_time_axis(xr.Dataset(coords={"valid_time": valid}))["valid_time"])


@pytest.mark.parametrize(
    ("name", "values", "attrs", "words"),
    [
        ("time", [0.0, 1.0], {"units": "days since 2001-01-01"}, r"float64 in 'days since.*xr\.decode_cf"),
        ("t", [0, 6], {"units": "hours since 1900-01-01"}, r"int64 in 'hours since.*xr\.decode_cf"),
        ("time", [0.0, 1.0], {}, r"float64, not times.*xr\.decode_cf"),
        ("when", [0.0, 1.0], {"standard_name": "time"}, "'when' holds numbers"),
        ("step", [0.0, 1.0], {}, "^$"),
    ],
)
def test_times_that_are_not_decoded_are_named(name, values, attrs, words):
    ds = xr.Dataset({"x": (name, [1.0, 2.0])}, {name: (name, values, attrs)})
    assert re.search(words, undecoded(ds))
    if undecoded(ds):
        with pytest.raises(DimensionError, match=r"xr\.decode_cf"):
            check_time(ds, Spec((), (), (), periodic=False))


@pytest.mark.parametrize("times", [["2001-01-01", "NaT", "2001-01-03"], ["NaT", "NaT", "2001-01-03"]])
@pytest.mark.parametrize("dim", ["time", "t"])
def test_the_remedy_for_missing_times_is_one(times, dim):
    """What the message says to do leaves the frames whose times are known."""
    ds = xr.Dataset({"x": (dim, np.arange(3.0))}, {"time": (dim, np.array(times, "M8[ns]"))})
    with pytest.raises(DimensionError, match="missing times") as caught:
        hours(ds["time"])
    remedy = str(caught.value).partition("Drop them: ")[2].removesuffix(".")
    assert remedy == f"ds.isel({{{dim!r}: ds['time'].notnull().values}})"
    left = ds.isel({dim: ds["time"].notnull().values})
    assert hours(left["time"]).size == sum(t != "NaT" for t in times)

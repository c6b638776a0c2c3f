"""Recognising a Dataset, and its exchange with the arrays of a model."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xslams.errors import ChunkError, DimensionError, GridError, UnitError, VariableError
from xslams.geometry import is_periodic
from xslams.labels.calendar import time_labels, year_fraction
from xslams.labels.channels import check_time, from_channels, to_channels
from xslams.labels.coordinates import coordinate
from xslams.labels.recognise import inspect
from xslams.labels.units import convert_units, unit_factors
from xslams.labels.variables import match_variables
from xslams.spec import Spec, VariableSpec

LAT = np.array([-60.0, -20.0, 20.0, 60.0])
LON = np.arange(0.0, 360.0, 60.0)
SPEC = Spec(
    variables=(
        VariableSpec(
            "t",
            "K",
            standard_name="air_temperature",
            level_dim="plev",
            levels=(85000.0, 50000.0),
            level_attrs={"units": "Pa", "standard_name": "air_pressure", "axis": "Z"},
        ),
        VariableSpec("ps", "hPa", standard_name="surface_air_pressure"),
        VariableSpec("pr", "mm day-1", role="aux", standard_name="lwe_precipitation_rate"),
    ),
    lat=tuple(LAT),
    lon=tuple(LON),
    periodic=True,
)


def state(times: int = 3, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    coords = {
        "time": pd.date_range("2001-01-01", periods=times),
        "plev": ("plev", [85000.0, 50000.0], {"units": "Pa", "axis": "Z"}),
        "lat": ("lat", LAT, {"units": "degrees_north"}),
        "lon": ("lon", LON, {"units": "degrees_east"}),
    }
    t = rng.normal(280, 10, (times, 2, 4, 6))
    ps, pr = rng.normal(1000, 10, (times, 4, 6)), rng.normal(3, 1, (times, 4, 6))
    flat = ("time", "lat", "lon")
    return xr.Dataset(
        {
            "t": (("time", "plev", "lat", "lon"), t, {"units": "K", "standard_name": "air_temperature"}),
            "ps": (flat, ps, {"units": "hPa", "standard_name": "surface_air_pressure"}),
            "pr": (flat, pr, {"units": "mm day-1", "standard_name": "lwe_precipitation_rate"}),
        },
        coords,
    )


def never(*args, **kwargs):
    raise AssertionError("computed")


# --- recognition -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "level", "variables", "shape"),
    [
        ("speedy_t30_daily_4yr.nc", "sigma", {"t", "pr", "olr", "tas"}, (48, 96)),
        ("ncep_air_17lev_2022_day5.nc", "level", {"air"}, (73, 144)),
        ("t850_ei.nc", None, {"t"}, (11, 13)),
        ("ersst_v5_2010_2020.nc", None, {"sst"}, (89, 180)),
    ],
)
def test_inspect_real_grids(shared_data: Path, file, level, variables, shape):
    with xr.open_dataset(shared_data / file) as ds:
        found = inspect(ds)
    assert (found.time, found.level, set(found.variables)) == ("time", level, variables)
    assert found.grid is not None
    assert found.grid.shape == shape


def test_inspect_real_stations(shared_data: Path):
    with xr.open_dataset(shared_data / "uscrn_daily_2013_2015.nc") as ds:
        found = inspect(ds)
    assert (found.lat, found.lon, found.time, found.grid) == ("lat", "lon", "time", None)
    assert "Points" in " ".join(found.problems)


@pytest.mark.parametrize(
    "ds",
    [
        xr.Dataset(),
        xr.Dataset({"a": 1.0}),
        xr.Dataset({"a": ("x", ["text"])}),
        xr.Dataset(coords={"lat": ("lat", ["north"]), "lon": ("lon", [None])}),
        xr.Dataset(coords={"lat": [3.0, 1.0, 2.0], "lon": [0.0], "time": ["yesterday"]}),
        xr.Dataset(coords={"time": ("time", np.array(["NaT", "2000-01-01"], "M8[ns]"))}),
        xr.Dataset(coords={"lat": ("lat", [10.0, 20.0], {"units": 7, "axis": 3})}),
    ],
)
def test_inspect_never_raises(ds):
    assert inspect(ds).problems


@pytest.mark.parametrize("name", ["latitude", "lat", "nav_lat", "breite"])
def test_coordinates_by_attributes_or_name(name):
    ds = xr.Dataset(coords={name: (name, [1.0, 2.0], {"standard_name": "latitude"} if name == "breite" else {})})
    assert coordinate(ds, "lat") == name


def test_projection_axes_are_no_longitudes():
    ds = xr.Dataset(coords={"x": ("x", [0.0, 1e6], {"axis": "X", "units": "m"})})
    assert coordinate(ds, "lon") is None


@pytest.mark.parametrize(
    ("lon", "periodic"),
    [
        (np.arange(0, 360, 3.75), True),
        (np.arange(-180, 180, 2.5), True),
        (np.roll(np.arange(0, 360, 2.5), 30), True),
        (np.arange(200, 331, 2.5), False),
        (np.arange(0, 361, 2.5), False),
        (np.array([0.0]), False),
    ],
)
def test_periodic(lon, periodic):
    assert is_periodic(lon) is periodic


# --- variables and units -----------------------------------------------------------------------------------------


def test_match_by_name_then_standard_name():
    ds = state().rename(ps="pressure")
    assert match_variables(ds, SPEC.variables) == {"t": "t", "ps": "pressure", "pr": "pr"}


def test_levels_tell_two_temperatures_apart():
    ds = state().rename(t="ta")
    ds["tas"] = ds.ta.isel(plev=0, drop=True)
    assert match_variables(ds, SPEC.variables[:1]) == {"t": "ta"}


def test_same_name_of_another_quantity_does_not_match():
    ds = state()
    ds["pr"].attrs["standard_name"] = "air_pressure"
    with pytest.raises(VariableError, match="the one of this name is 'air_pressure'"):
        match_variables(ds, SPEC.variables)


def test_every_missing_variable_is_listed():
    with pytest.raises(VariableError, match=r"(?s)'t' \(K\).*'ps' \(hPa\)") as caught:
        match_variables(state()[["pr"]], SPEC.variables)
    assert "ds.rename" in str(caught.value)


def test_ambiguous_variables_are_an_error_even_where_missing_ones_are_not():
    ds = state().rename(ps="a")
    ds["b"] = ds.a
    with pytest.raises(VariableError, match="shared by 'a', 'b'"):
        match_variables(ds, SPEC.variables, allow_missing=True)


@pytest.mark.parametrize(
    ("value", "here", "there", "expected"),
    [
        (0.0, "degC", "K", 273.15),
        (280.0, "degK", "K", 280.0),
        (280.0, "Kelvin", "degK", 280.0),
        (50.0, "degF", "degC", 10.0),
        (1.0, "kg m-2 s-1", "mm day-1", 86400.0),
        (24.0, "mm/day", "kg m-2 h-1", 1.0),
        (1000.0, "millibar", "Pa", 1e5),
        (98.0, "m**2 s**-2", "m2 s-2", 98.0),
    ],
)
def test_units(value, here, there, expected):
    assert convert_units(xr.DataArray(value, attrs={"units": here}), there).item() == pytest.approx(expected)
    factor, offset = unit_factors(there, here)
    assert factor * expected + offset == pytest.approx(value)


@pytest.mark.parametrize(
    ("units", "words"), [("mm day-1", "Cannot convert"), ("bananas", "cannot read"), (None, "no units")]
)
def test_units_that_do_not_convert(units, words):
    da = xr.DataArray(1.0, attrs={} if units is None else {"units": units}, name="tavg")
    with pytest.raises(UnitError, match=words) as caught:
        convert_units(da, "K")
    assert "tavg" in str(caught.value)


# --- time --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda ds: xr.concat([ds, ds.isel(time=[0])], "time"), DimensionError, "drop_duplicates"),
        (lambda ds: ds.isel(time=[1, 0, 2]), DimensionError, "sortby"),
        (lambda ds: ds.assign_coords(time=pd.date_range("2001", periods=3, freq="6h")), DimensionError, "resample"),
        (lambda ds: ds.assign_coords(time=pd.date_range("2001", periods=3, freq="7D")), DimensionError, "168 h"),
        (lambda ds: ds.assign_coords(time=[0, 1, 2]), DimensionError, "no time coordinate"),
        (lambda ds: ds.chunk(lat=2), ChunkError, r"ds.chunk\({'lat': -1}\)"),
        (lambda ds: ds.chunk(plev=1, lon=3), ChunkError, r"{'lon': -1, 'plev': -1}"),
        (lambda ds: ds.isel(lat=slice(3)), GridError, "3 x 6.*the model's is 4 x 6.*regrid"),
        (lambda ds: ds.assign_coords(lon=ds.lon + 5), GridError, "lon 5 to 305"),
        (lambda ds: ds.drop_vars("lat"), DimensionError, "no latitude"),
        (lambda ds: ds.assign_coords(lat=ds.lat * 2), GridError, "-90 to 90"),
        (lambda ds: ds.isel(lat=[0, 2, 1, 3]), GridError, "monotonic"),
        (lambda ds: ds.isel(plev=[0]), DimensionError, r"interp\(plev=\[85000, 50000\]\)"),
        (lambda ds: ds.isel(plev=0), DimensionError, "no vertical dimension"),
        (lambda ds: ds.expand_dims(member=2), DimensionError, "member"),
        (lambda ds: ds.isel(time=0), DimensionError, "expand_dims"),
        (lambda ds: ds.drop_vars("ps"), VariableError, "'ps'"),
        (lambda ds: ds.assign(ps=ds.ps.assign_attrs(units="K")), UnitError, "Cannot convert"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        to_channels(change(state()), SPEC)


def test_gaps_in_time_are_allowed():
    check_time(state(6).isel(time=[0, 1, 4, 5]), SPEC)


# --- channels ----------------------------------------------------------------------------------------------------


@given(
    flip_lat=st.booleans(),
    west=st.booleans(),
    flip_levels=st.booleans(),
    order=st.permutations(["time", "plev", "lat", "lon"]),
    kelvin=st.booleans(),
    lazy=st.booleans(),
)
def test_channels_do_not_depend_on_the_layout_of_the_data(flip_lat, west, flip_levels, order, kelvin, lazy):
    ds = state()
    expected = to_channels(ds, SPEC)
    assert expected.dims == ("time", "channel", "lat", "lon")
    assert np.array_equal(expected[:, :2], ds.t)
    other = ds.transpose(*order)
    if flip_lat:
        other = other.isel(lat=slice(None, None, -1))
    if west:
        other = other.assign_coords(lon=(other.lon + 180) % 360 - 180).sortby("lon")
    if flip_levels:
        other = other.isel(plev=slice(None, None, -1))
    if not kelvin:
        other["t"] = convert_units(other.t, "degC")
    if lazy:
        other = other.chunk(time=1)
    with dask.config.set(scheduler=never):
        got = to_channels(other, SPEC)
        back = from_channels(got, SPEC, other)
    assert (got.chunks is not None) is lazy
    np.testing.assert_allclose(got, expected, rtol=1e-13)
    for name in ds:
        expected_back = convert_units(other[name], SPEC.variables[list(ds).index(name)].units)
        if flip_levels and name == "t":
            expected_back = expected_back.isel(plev=slice(None, None, -1))
        xr.testing.assert_allclose(back[name].drop_attrs(), expected_back.transpose(*back[name].dims).drop_attrs())
        assert back[name].attrs["standard_name"] == ds[name].attrs["standard_name"]


def test_level_units_are_converted():
    ds = state()
    ds = ds.assign_coords(plev=("plev", [850.0, 500.0], {"units": "hPa", "axis": "Z"}))
    assert np.array_equal(to_channels(ds, SPEC), to_channels(state(), SPEC))


def test_missing_variables_are_nan_where_allowed():
    got = to_channels(state().drop_vars("ps"), SPEC, allow_missing=True)
    assert got.isnull().any(("time", "lat", "lon")).values.tolist() == [False, False, True, False]


def test_roles():
    assert to_channels(state().drop_vars("pr"), SPEC, roles=("state",)).sizes["channel"] == 3


def test_from_channels_makes_members_realizations():
    values = np.zeros((5, 3, SPEC.state_channels, 4, 6))
    ds = from_channels(values, SPEC, state(), member=range(5))
    assert ds.t.dims == ("member", "time", "plev", "lat", "lon")
    assert ds.member.attrs["standard_name"] == "realization"
    assert set(ds) == {"t", "ps"}
    assert ds.t.attrs["units"] == "K"


def test_from_channels_counts_channels():
    with pytest.raises(DimensionError, match="3 state channels and 4 in all"):
        from_channels(np.zeros((3, 2, 4, 6)), SPEC, state())

"""Datasets and arrays of channels."""

from __future__ import annotations

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.problems.states import SPEC, state
from xslams.errors import ChunkError, DimensionError, GridError, UnitError, VariableError
from xslams.labels.channels import check_time, from_channels, to_channels
from xslams.labels.units import convert_units
from xslams.pipeline.training_data import describe


def never(*args, **kwargs):
    raise AssertionError("computed")


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
        (lambda ds: ds.isel(lat=[0, 2, 1, 3]), GridError, "neither ascend nor descend"),
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


@pytest.mark.parametrize("own", [True, False])
def test_pressures_along_numbered_levels_are_the_levels(own):
    ds = state()
    numbered = ds.rename(plev="lev").assign_coords(lev=[1, 2])
    if not own:
        numbered = numbered.drop_vars("lev")
    pressure = ("lev", [850.0, 500.0], {"units": "hPa", "standard_name": "air_pressure"})
    numbered = numbered.assign_coords(p=pressure)
    np.testing.assert_array_equal(to_channels(numbered, SPEC), to_channels(ds, SPEC))
    reversed_ = numbered.isel(lev=[1, 0])
    np.testing.assert_array_equal(to_channels(reversed_, SPEC), to_channels(ds, SPEC))
    spec = describe(numbered, {"state": ["t", "ps"], "aux": ["pr"]})
    assert (spec.variables[0].level_dim, spec.variables[0].levels) == ("p", (850.0, 500.0))
    np.testing.assert_array_equal(to_channels(numbered, spec), to_channels(ds, SPEC))

"""Regions that cross the date line or 0 degrees are the same in every convention and order of their columns."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams import simulate_observations
from xslams.geometry.edges import is_periodic, lon_intervals, seam, unwrapped
from xslams.labels.grid import grid_of
from xslams.labels.repeats import in_one_part
from xslams.regrid import regrid

METHODS = ("bilinear", "conservative", "nearest")


@st.composite
def regions(draw):
    """Longitudes of a region from west to east, and the same columns in another convention and order."""
    count, share = draw(st.integers(3, 30)), draw(st.floats(0.05, 0.85))
    lon = draw(st.floats(-180, 360)) + np.arange(count) * 360.0 * share / count
    other = (lon + 180) % 360 - 180 if draw(st.booleans()) else lon % 360
    order = np.argsort(other) if draw(st.booleans()) else np.arange(count)
    order = order[::-1] if draw(st.booleans()) else order
    return lon, other, order


@settings(max_examples=60, deadline=None)
@given(regions())
def test_the_gap_of_a_region_is_outside(case) -> None:
    lon, other, order = case
    moved = other[order]
    step, gap = lon[1] - lon[0], 360.0 - (lon[-1] - lon[0])
    if gap < 3.1 * step:
        return  # it might as well be a circle with uneven columns
    around = np.roll(unwrapped(moved), -seam(moved))
    np.testing.assert_allclose(np.abs(np.diff(around)), step, atol=1e-9)
    assert not is_periodic(moved)
    np.testing.assert_allclose(np.diff(lon_intervals(moved), axis=1), step, atol=1e-9)
    assert grid_of(xr.Dataset(coords={"lat": [0.0, 1.0], "lon": moved})).lon.tolist() == moved.tolist()


@pytest.mark.parametrize("lon", [[0.0, 90.0, 180.0, 270.0], [0.0, 180.0], [350.0, 0.0, 10.0], [0.0, 30.0, 10.0], [5.0]])
def test_what_is_in_one_part_stays(lon: list[float]) -> None:
    data = xr.Dataset(coords={"lat": [0.0, 1.0], "lon": lon})
    assert seam(np.array(lon)) == 0 and in_one_part(data) is data


def region(lon) -> xr.Dataset:
    lat = np.arange(-20.0, 21.0, 5.0)
    values = np.random.default_rng(0).random((lat.size, lon.size))
    return xr.Dataset({"t": (("lat", "lon"), values, {"units": "K"})}, {"lat": lat, "lon": lon})


TARGET = xr.Dataset(coords={"lat": [-7.0, 0.0, 11.0], "lon": [0.0, 100.0, 167.0, 181.5, -170.0]})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("west", [150.0, 30.0])
def test_regridding_does_not_care_where_the_seam_is(method, west) -> None:
    ds = region(np.arange(west, 220.0, 5.0))
    expected = regrid(ds, TARGET, method).t
    turned = ds.assign_coords(lon=(ds.lon + 180) % 360 - 180).sortby("lon")
    assert float(turned.lon[0]) == -180 and seam(turned.lon.values)
    np.testing.assert_allclose(regrid(turned, TARGET, method).t, expected, atol=1e-12)
    assert expected.isnull().any() and expected.notnull().any()
    # As a target too.
    globe = region(np.arange(0.0, 360.0, 10.0))
    there = regrid(globe, turned, method).t
    np.testing.assert_allclose(there.values, regrid(globe, ds, method).t.roll(lon=seam(turned.lon.values)), atol=1e-12)


def test_boxes_of_a_region_hold_neighbours() -> None:
    ds = region(np.arange(150.0, 220.0, 5.0)).expand_dims(time=np.array(["2001-01-01"], "M8[ns]"))
    turned = ds.assign_coords(lon=(ds.lon + 180) % 360 - 180).sortby("lon")
    got, expected = (simulate_observations(d.t, coarsen=2).data for d in (turned, ds))
    np.testing.assert_allclose(got.lon % 360, expected.lon)
    np.testing.assert_allclose(got, expected)

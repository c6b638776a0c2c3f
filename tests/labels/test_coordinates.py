"""Which coordinate is which."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xslams.labels.coordinates import coordinate, levels_along


@pytest.mark.parametrize("name", ["latitude", "lat", "nav_lat", "breite"])
def test_coordinates_by_attributes_or_name(name):
    ds = xr.Dataset(coords={name: (name, [1.0, 2.0], {"standard_name": "latitude"} if name == "breite" else {})})
    assert coordinate(ds, "lat") == name


def test_projection_axes_are_no_longitudes():
    ds = xr.Dataset(coords={"x": ("x", [0.0, 1e6], {"axis": "X", "units": "m"})})
    assert coordinate(ds, "lon") is None


@pytest.mark.parametrize("attrs", [{}, {"units": "degrees_north"}, {"standard_name": "latitude", "units": "degrees"}])
@pytest.mark.parametrize(
    "axis",
    [
        {"axis": "Y", "units": "degrees"},
        {"axis": "Y", "units": "degrees", "standard_name": "grid_latitude"},
        {"axis": "Y", "units": "degrees_north", "standard_name": "grid_latitude"},
    ],
)
def test_true_latitudes_come_before_rotated_ones(attrs, axis):
    ds = xr.Dataset(coords={"rlat": ("rlat", [0.0, 1.0], axis), "lat": (("rlat", "rlon"), np.ones((2, 3)), attrs)})
    assert coordinate(ds, "lat") == "lat"


def test_dimensions_break_ties_only():
    named = {"standard_name": "latitude"}
    alike = xr.Dataset(coords={"a": ("y", [1.0, 2.0], named), "b": ("b", [1.0], named)})
    assert coordinate(alike, "lat") == "b"
    assert coordinate(alike.assign_coords(b=("b", [1.0], {"units": "degrees_north"})), "lat") == "a"


def test_levels_of_the_axis_come_before_a_scalar_height():
    height = ((), 2.0, {"standard_name": "height", "units": "m"})
    ds = xr.Dataset(coords={"height": height, "level": ("level", [850.0, 500.0], {"units": "hPa"})})
    assert coordinate(ds, "level") == "level"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"standard_name": "air_pressure"}, {"positive": "down"}),
        ({"standard_name": "atmosphere_sigma_coordinate"}, {"axis": "Z"}),
        ({"standard_name": "model_level_number"}, {"positive": "up", "axis": "Z"}),
        ({"positive": "down"}, {"axis": "Z"}),
        ({"axis": "Z"}, {}),
        ({"positive": "up"}, {"standard_name": "surface_air_pressure", "positive": "up"}),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_levels_by_the_order_of_evidence(better, worse, swapped):
    # Plain names, so that either would be found by itself.
    pair = {"lev": ("lev", [1.0, 2.0], better), "level": ("level", [3.0, 4.0], worse)}
    ds = xr.Dataset(coords=dict(reversed(pair.items())) if swapped else pair)
    assert coordinate(ds, "level") == "lev"
    along = xr.DataArray([0.0, 0.0], {n: ("level", v, a) for n, (_, v, a) in pair.items()}, "level")
    assert levels_along(along, "level") == ["lev", "level"]

"""Which coordinate is which."""

from __future__ import annotations

import pytest
import xarray as xr

from xslams.labels.coordinates import coordinate


@pytest.mark.parametrize("name", ["latitude", "lat", "nav_lat", "breite"])
def test_coordinates_by_attributes_or_name(name):
    ds = xr.Dataset(coords={name: (name, [1.0, 2.0], {"standard_name": "latitude"} if name == "breite" else {})})
    assert coordinate(ds, "lat") == name


def test_projection_axes_are_no_longitudes():
    ds = xr.Dataset(coords={"x": ("x", [0.0, 1e6], {"axis": "X", "units": "m"})})
    assert coordinate(ds, "lon") is None

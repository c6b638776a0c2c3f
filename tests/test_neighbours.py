"""Accessors of other packages live beside ours: each answers as it does alone, whichever is imported first."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from itertools import permutations

import pytest

OTHERS = {
    "cf_xarray": "ds.cf['latitude'].name == 'lat'",
    "rioxarray": "ds.t.rio.set_spatial_dims('lon', 'lat').rio.width == 3",
    "pint_xarray": "'t' in ds.pint.quantify().data_vars",
    "xarray_regrid": "hasattr(ds.regrid, 'linear')",
}
INSTALLED = [name for name in OTHERS if find_spec(name)]
CODE = """
import {first}
import {second}
import xarray as xr

lat = ("lat", [-10.0, 10.0], {{"units": "degrees_north"}})
lon = ("lon", [0.0, 120.0, 240.0], {{"units": "degrees_east"}})
ds = xr.Dataset({{"t": (("lat", "lon"), [[280.0] * 3] * 2, {{"units": "K"}})}}, {{"lat": lat, "lon": lon}})
assert {law}
assert "2 x 3" in repr(ds.slams), repr(ds.slams)
"""


@pytest.mark.parametrize("other", OTHERS)
def test_accessors_do_not_meet(other: str) -> None:
    if other not in INSTALLED:
        pytest.skip(f"{other} is not installed")
    for first, second in permutations(("xslams", other)):
        code = CODE.format(first=first, second=second, law=OTHERS[other])
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "AccessorRegistrationWarning" not in done.stderr

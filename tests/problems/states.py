"""A small state with levels, surface fields and rain, and the specification of a model of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

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

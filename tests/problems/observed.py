"""A small model on paper, a state and stations, for the tests of observations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from xslams.labels.channels import to_channels
from xslams.observations import AuditedLikelihood, Observation, reduced
from xslams.spec import Spec, VariableSpec

LAT = np.linspace(-70.0, 70.0, 8)
LON = np.arange(12) * 30.0
LEVELS = (1000.0, 850.0, 500.0)
SPEC = Spec(
    variables=(
        VariableSpec(
            "t", "K", standard_name="air_temperature", level_dim="level", levels=LEVELS,
            level_attrs={"units": "hPa", "axis": "Z"},
        ),
        VariableSpec("pr", "mm day-1", role="aux", standard_name="lwe_precipitation_rate"),
    ),
    lat=tuple(LAT), lon=tuple(LON), periodic=True,
)  # fmt: skip


def state(times: int = 4, start: str = "2001-01-01", freq: str = "1D") -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "t": (
                ("time", "level", "lat", "lon"),
                rng.normal(280, 10, (times, 3, 8, 12)),
                {"units": "K", "standard_name": "air_temperature"},
            ),
            "pr": (
                ("time", "lat", "lon"),
                rng.gamma(1.0, 3.0, (times, 8, 12)),
                {"units": "mm day-1", "standard_name": "lwe_precipitation_rate"},
            ),
        },
        {
            "time": pd.date_range(start, periods=times, freq=freq),
            "level": ("level", list(LEVELS), {"units": "hPa", "axis": "Z"}),
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        },
    )


def field(ds: xr.Dataset, spec: Spec = SPEC) -> np.ndarray:
    return to_channels(ds, spec).values.ravel()


def audited(source: Observation, time: xr.DataArray, spec: Spec = SPEC) -> AuditedLikelihood:
    """Likelihood of a source of one variable, thinned and averaged, and what became of its values."""
    (part,) = source.bind(spec, time).audited(strict=True)
    return reduced(part)


def reports(values: object, *, lat: object = None, lon: object = None, **attrs: object) -> xr.DataArray:
    """Daily rain of stations, shape (time, station)."""
    values = np.asarray(values, float)
    count = values.shape[1]
    return xr.DataArray(
        values,
        dims=("time", "station"),
        coords={
            "time": pd.date_range("2001-01-01", periods=len(values)),
            "station": [f"s{i}" for i in range(count)],
            "lat": ("station", np.linspace(-60.0, 60.0, count) if lat is None else lat),
            "lon": ("station", np.linspace(3.0, 290.0, count) if lon is None else lon),
        },
        name="pr",
        attrs={"units": "mm day-1", "standard_name": "lwe_precipitation_rate", **attrs},
    )

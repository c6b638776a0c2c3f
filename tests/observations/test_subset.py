"""A source restricted to the neighbourhood of some frames has the same likelihood there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xslams
from tests.pipeline.test_assimilate import waves
from xslams.observations import around

DAYS = 400


def stations(time: pd.DatetimeIndex, **attrs: str) -> xr.DataArray:
    rng = np.random.default_rng(0)
    return xr.DataArray(
        rng.normal(280, 5, (len(time), 3)),
        dims=("time", "station"),
        coords={
            "time": ("time", time, attrs),
            "lat": ("station", [10.0, 20.0, -30.0]),
            "lon": ("station", [5.0, 100.0, 200.0]),
            "level": 850.0,
        },
        name="t",
        attrs={"units": "K", "standard_name": "air_temperature"},
    ).assign_coords(level=((), 850.0, {"units": "hPa"}))


def sources() -> dict[str, xslams.Observation]:
    daily = pd.date_range("2001-01-01", periods=DAYS)
    monthly = pd.date_range("2001-01-01", periods=14, freq="MS")
    weekly = stations(pd.date_range("2001-01-01", periods=57, freq="7D")).to_dataset()
    weekly["time"].attrs["bounds"] = "time_bounds"
    weekly["time_bounds"] = (("time", "two"), np.stack([weekly["time"], weekly["time"] + np.timedelta64(7, "D")], 1))
    shuffled = stations(daily).isel(time=np.random.default_rng(1).permutation(DAYS))
    error = xr.DataArray(np.linspace(1, 2, DAYS), dims="time", coords={"time": daily})
    return {
        "daily": xslams.Observation(stations(daily), error=1.0),
        "six-hourly": xslams.Observation(stations(pd.date_range("2001-01-01", periods=4 * DAYS, freq="6h")), error=1.0),
        "monthly by spacing": xslams.Observation(stations(monthly), error=1.0),
        "monthly by attribute": xslams.Observation(stations(monthly, avg_period="0000-01-00 00:00:00"), error=1.0),
        "weekly by bounds": xslams.Observation(weekly, error=1.0),
        "yearly": xslams.Observation(stations(daily[::365], avg_period="0001-00-00 00:00:00"), error=1.0),
        "far": xslams.Observation(stations(daily[::90]), error=1.0, tolerance="20D"),
        "out of order": xslams.Observation(shuffled, error=1.0),
        "error in time": xslams.Observation(stations(daily), error=error),
    }


@pytest.mark.parametrize("name", sources())
def test_likelihood_is_the_same(tiny_model, name):
    source = sources()[name]
    truth = waves(DAYS)
    kept = []
    for first in (0, 180, 362):
        frames = truth["time"][first : first + 38]
        part = around(source, frames, 24.0)
        whole, near = (s.to_arrays(tiny_model.spec, frames, strict=False) for s in (source, part))
        np.testing.assert_array_equal(whole.values, near.values)
        np.testing.assert_array_equal(whole.variance, near.variance)
        assert (whole.operator != near.operator).nnz == 0
        kept.append(part.data.sizes["time"] / source.data.sizes["time"])
    if name not in ("yearly", "far", "monthly by spacing", "monthly by attribute"):
        assert max(kept) < 0.25


def test_lazy_data_stay_lazy_and_single_times_are_left():
    daily = sources()["daily"]
    lazy = daily.replace(data=daily.data.copy(data=daily.data.chunk(time=7).data))
    frames = waves(40)["time"]
    part = around(lazy, frames, 24.0)
    assert part.data.chunks is not None
    assert part.data.sizes["time"] < 60
    one = daily.replace(data=daily.data.isel(time=[0]))
    assert around(one, frames, 24.0) is one

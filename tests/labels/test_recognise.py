"""What is recognised in a Dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xslams.labels.recognise import inspect


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


@pytest.mark.parametrize("day", [1, 16, 28])
def test_months_are_a_step(day):
    stamps = np.array([f"2001-{month:02d}-{day:02d}" for month in range(1, 13)], "M8[ns]")
    field = (("time", "lat", "lon"), np.zeros((12, 2, 2)), {"units": "K"})
    ds = xr.Dataset({"t": field}, {"time": stamps, "lat": [0.0, 1.0], "lon": [0.0, 1.0]})
    found = inspect(ds)
    assert (found.time_step, found.monthly, found.problems) == (None, True, ())
    assert "12 frames every month, 2001-01" in repr(ds.slams)
    gap = inspect(ds.isel(time=[0, 1, 2, 4, 5, 6]))
    assert (gap.monthly, gap.stretches, gap.problems) == (True, 2, ())
    days = inspect(
        ds.assign_coords(time=np.array(["2001-01-01"], "M8[ns]") + np.arange(12).cumsum() * np.timedelta64(1, "D"))
    )
    assert "the time step is not constant" in days.problems


@given(st.lists(st.integers(3, 20), min_size=1, max_size=5), st.sampled_from([1, 6, 24, 120]), st.floats(1.5, 40.0))
def test_stretches_between_gaps_have_a_step(lengths, step, gap):
    """Data of one season, or with days left out: training and analyses take them stretch by stretch."""
    at = np.concatenate([n * (25.0 + gap) + np.arange(length) for n, length in enumerate(lengths)]) * step
    time = np.datetime64("2001-06-01", "ns") + np.rint(at * 3600).astype("m8[s]").astype("m8[ns]")
    field = (("time", "lat", "lon"), np.zeros((time.size, 2, 2)), {"units": "K"})
    ds = xr.Dataset({"t": field}, {"time": time, "lat": [0.0, 1.0], "lon": [0.0, 1.0]})
    found = inspect(ds)
    assert found.problems == ()
    assert found.time_step == pytest.approx(step, rel=1e-3)
    assert found.stretches == len(lengths)
    assert ("stretches" in repr(ds.slams)) == (len(lengths) > 1)

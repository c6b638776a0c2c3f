"""Columns that go round the circle more than once are counted once, wherever they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams.labels.grid import grid_of
from xslams.labels.repeats import once_around, without_repeats
from xslams.regrid import regrid

LAT = xr.DataArray(np.arange(-80.0, 81.0, 20.0), dims="lat", attrs={"units": "degrees_north"})
TARGET = xr.Dataset(coords={"lat": [-89.0, -30.0, 10.0, 88.0], "lon": [-20.0, 5.0, 179.0, 355.0]})


def padded(field: xr.DataArray, west: int, east: int) -> xr.DataArray:
    """A field with columns repeated on both sides, as `numpy.pad` wraps them."""
    lon = field["lon"].values
    step = lon[1] - lon[0]
    wide = field.drop_vars("lon").pad(lon=(west, east), mode="wrap")
    return wide.assign_coords(lon=lon[0] + step * np.arange(-west, len(lon) + east))


def globe(columns: int = 12) -> xr.DataArray:
    values = np.random.default_rng(0).random((LAT.size, columns))
    lon = np.arange(columns) * 360.0 / columns
    return xr.DataArray(values, dims=("lat", "lon"), coords={"lat": LAT, "lon": lon}, name="t")


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 40), st.integers(0, 3), st.integers(0, 3), st.floats(-360, 360), st.booleans(), st.booleans())
def test_the_circle_is_found_in_any_convention(columns, west, east, start, wrapped, descending) -> None:
    lon = start + np.arange(-min(west, columns), columns + min(east, columns)) * 360.0 / columns
    lon = (lon % 360.0 if wrapped else lon)[:: -1 if descending else 1]
    kept = lon[once_around(lon)]
    assert len(kept) == columns
    data = without_repeats(xr.Dataset(coords={"lat": LAT, "lon": lon}))
    np.testing.assert_array_equal(data["lon"], kept)
    assert grid_of(data).periodic


@pytest.mark.parametrize("lon", [[0.0, 90.0, 180.0, 270.0], [0.0, 5.0, 10.0], [0.0, 361.0], [0.0, 7.0, 200.0, 364.0]])
def test_what_repeats_nothing_is_left_as_it_is(lon: list[float]) -> None:
    data = xr.Dataset(coords={"lat": LAT, "lon": lon})
    assert without_repeats(data) is data


@pytest.mark.parametrize("method", ["bilinear", "conservative", "nearest"])
@pytest.mark.parametrize(("west", "east"), [(0, 1), (1, 0), (2, 2), (1, 3)])
def test_regridding_counts_each_column_once(method, west, east) -> None:
    field = globe()
    np.testing.assert_allclose(regrid(padded(field, west, east), TARGET, method), regrid(field, TARGET, method))


def test_bounds_of_the_columns_that_are_left_are_used() -> None:
    lon = np.arange(0.0, 361.0, 60.0)
    data = padded(globe(6), 0, 1).to_dataset().assign_coords(lon_b=("lon_e", np.append(lon - 20.0, 400.0)))
    kept = without_repeats(data)
    np.testing.assert_array_equal(kept["lon_b"], np.append(lon - 20.0, 400.0)[:7])


@pytest.mark.filterwarnings("ignore:The training data cover")
def test_a_model_is_made_of_each_column_once_and_takes_states_with_more() -> None:
    times = pd.date_range("2001-01-01", periods=10)
    rng = np.random.default_rng(0)
    single = (globe() + xr.DataArray(rng.normal(280, 1, 10), dims="time", coords={"time": times})).rename("t")
    single = single + 0.1 * rng.normal(size=single.shape)
    ds = padded(single, 0, 1).transpose("time", "lat", "lon").assign_attrs(units="K").to_dataset(name="t")
    model = ds.slams.fit(window=3, epochs=0, latent_channels=2, progress=False)
    assert len(model.spec.lon) == 12
    assert model.spec.periodic
    latent = ds.slams.encode(model=model)
    xr.testing.assert_allclose(latent, ds.isel(lon=slice(12)).slams.encode(model=model))
    start = ds.isel(time=slice(4))
    analysis, once = (
        start.slams.assimilate(
            xslams.Observation(seen, error=1.0), model=model, members=2, steps=2, background_error=1.0
        )
        for seen in (start, start.isel(lon=slice(12)))
    )
    assert analysis.sizes["lon"] == 12
    xr.testing.assert_allclose(analysis, once)


@pytest.mark.parametrize(
    ("west", "east", "said"), [(0, 0, ""), (0, 1, ", and 1 repeated column"), (1, 2, ", and 3 rep")]
)
def test_the_repr_says_that_the_grid_is_periodic(west, east, said) -> None:
    time = pd.date_range("2001-01-01", periods=2)
    text = repr(padded(globe(), west, east).expand_dims(time=time).assign_attrs(units="K").slams)
    assert f"9 x 12 (lat -80 to 80, lon 0 to 330, periodic){said}" in text

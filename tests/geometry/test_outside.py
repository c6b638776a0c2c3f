"""Geometries that join from outside of the package, with the coordinates by which they are recognised."""

from __future__ import annotations

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.problems.geometries import Bands, Hexagons, honeycomb, on_hexagons, registered
from xslams.errors import GridError
from xslams.geometry import Grid, Points
from xslams.labels.grid import geometry_of
from xslams.observations.horizontal import cells
from xslams.regrid import regrid
from xslams.weights import cell_areas, grid_weights, overlaps

CELLS = honeycomb()
LAT, LON = np.linspace(-88.0, 88.0, 45), np.arange(0, 360, 4.0)
GLOBE = Grid(LAT, LON, periodic=True)
FIELD = xr.DataArray(
    np.random.default_rng(0).normal(size=(3, 45, 90)),
    dims=("time", "lat", "lon"),
    coords={"time": pd.date_range("2000-01-01", periods=3), "lat": LAT, "lon": LON},
    name="t",
)


@pytest.fixture(autouse=True)
def toys():
    with registered():
        yield


def target(hexagons: Hexagons = CELLS) -> xr.Dataset:
    return on_hexagons(np.zeros(hexagons.size), hexagons).to_dataset()


def test_readers_from_outside_come_first():
    assert isinstance(geometry_of(target()), Hexagons)
    plain = target()
    del plain.lat.attrs["hexagon_radius"]
    assert isinstance(geometry_of(plain), Points)


def test_hexagons_tile_without_gap_or_overlap():
    shared, area = overlaps(CELLS, GLOBE)
    np.testing.assert_allclose(shared.sum(axis=0), cell_areas(CELLS), rtol=1e-12)
    assert (shared.sum(axis=1) <= area * (1 + 1e-12)).all()
    back, _ = overlaps(GLOBE, CELLS)
    np.testing.assert_allclose(back.T.toarray(), shared.toarray(), atol=1e-14)
    own, _ = overlaps(CELLS, CELLS)
    np.testing.assert_allclose(own.toarray(), np.diag(cell_areas(CELLS)), atol=1e-12)


def test_regrid_to_hexagons_conserves_what_they_cover():
    got = regrid(FIELD, target(), "conservative")
    assert got.dims == ("time", "cell") and set(got.coords) == {"time", "lat", "lon"}
    shared, area = overlaps(GLOBE, CELLS)
    integral = (got.values * area).sum(axis=1)
    np.testing.assert_allclose(integral, (shared @ FIELD.values.reshape(3, -1).T).sum(axis=0), rtol=1e-12, atol=1e-12)
    with dask.config.set(scheduler="synchronous"):
        lazy = regrid(FIELD.chunk(time=1), target(), "conservative")
        np.testing.assert_array_equal(lazy, got)


def test_hexagons_back_to_a_grid():
    data = on_hexagons(np.full(CELLS.size, 3.0), CELLS)
    for method in ("conservative", "nearest"):
        back = regrid(data, FIELD[0], method)
        assert back.dims == ("lat", "lon")
        np.testing.assert_allclose(back.values[np.isfinite(back.values)], 3.0)
    np.testing.assert_array_equal(grid_weights(CELLS, CELLS, "nearest").toarray(), np.eye(CELLS.size))
    with pytest.raises(GridError, match="method='nearest'"):
        regrid(data, FIELD[0], "bilinear")


@pytest.mark.parametrize("method", ["bilinear", "conservative", "nearest"])
def test_hexagons_are_observed(method):
    data = on_hexagons(np.zeros((1, CELLS.size)), CELLS, time=FIELD.time[:1].values)
    weights, place = cells(data.to_dataset(), data, GLOBE, method, "honeycomb")
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert place.dims == ("cell",)
    np.testing.assert_array_equal(weights.toarray(), grid_weights(GLOBE, CELLS, method).toarray())


def test_bands_are_zonal_means():
    edges = np.linspace(-90, 90, 16)  # three rows of four degrees in each
    bands = xr.Dataset({"band_edges": ("edge", edges)}, {"band": np.arange(15)})
    got = regrid(FIELD.assign_coords(lat=LAT), bands.assign(t=("band", np.zeros(15))), "conservative")
    assert got.dims == ("time", "band")
    rows = np.abs(np.diff(np.sin(np.deg2rad(np.linspace(-90, 90, 46)))))
    means = (FIELD.mean("lon").values * rows).reshape(3, 15, 3).sum(axis=2) / rows.reshape(15, 3).sum(axis=1)
    np.testing.assert_allclose(got, means, atol=1e-12)
    assert cell_areas(Bands(edges)).sum() == pytest.approx(4 * np.pi)

"""Weights of the nearest cell or point."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.problems.grids import grids
from xslams.geometry import Grid, Points, unit_vectors
from xslams.weights import grid_weights, point_weights


@given(grid=grids(), seed=st.integers(0, 99))
def test_nearest_is_nearest_on_the_sphere(grid, seed):
    rng = np.random.default_rng(seed)
    lat, lon = np.rad2deg(np.arcsin(rng.uniform(-1, 1, 40))), rng.uniform(0, 360, 40)
    weights = point_weights(grid, lat, lon, "nearest")
    inside = np.diff(weights.indptr) > 0
    centres = unit_vectors(*np.meshgrid(grid.lat, grid.lon, indexing="ij")).reshape(-1, 3)
    distance = np.linalg.norm(unit_vectors(lat, lon)[:, None] - centres, axis=2)[inside]
    chosen = distance[np.arange(len(distance)), weights.indices]
    np.testing.assert_allclose(chosen, distance.min(axis=1), atol=1e-9)


@given(seed=st.integers(0, 999))
def test_nearest_of_points(seed):
    rng = np.random.default_rng(seed)
    stations = Points(np.append(rng.uniform(-90, 90, 12), np.nan), np.append(rng.uniform(-180, 180, 12), 0.0))
    target = Grid(np.linspace(-80, 80, 5), np.arange(0, 360, 60.0))
    weights = grid_weights(stations, target, "nearest")
    x = unit_vectors(*np.meshgrid(target.lat, target.lon, indexing="ij")).reshape(-1, 3)
    expected = (x @ unit_vectors(stations.lat[:-1], stations.lon[:-1]).T).argmax(axis=1)
    np.testing.assert_array_equal(weights.indices, expected)

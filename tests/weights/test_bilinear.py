"""Bilinear weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.problems.grids import curvilinear, grids, mesh, smooth
from xslams.geometry import Grid, unit_vectors
from xslams.weights import grid_weights, point_weights


@given(source=st.one_of(grids(), curvilinear()), seed=st.integers(0, 99))
def test_targets_are_seen_through_the_mean_of_their_neighbours(source, seed):
    """What is linear in space is reproduced, up to the sagitta of the chords: the definition of ESMF's weights."""
    if isinstance(source, Grid):
        lat, lon = np.repeat(source.lat, len(source.lon)), np.tile(source.lon, len(source.lat))
    else:
        lat, lon = source.lat.ravel(), source.lon.ravel()
    rng = np.random.default_rng(seed)
    # Targets within: means of neighbours.
    corner = np.arange(len(lat)).reshape(source.shape)[:-1, :-1].ravel()
    near = np.stack([corner, corner + 1, corner + source.shape[1], corner + source.shape[1] + 1], axis=1)
    p = np.einsum("nk,nkc->nc", rng.dirichlet(np.ones(4), len(near)), unit_vectors(lat, lon)[near])
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    to_lat, to_lon = np.rad2deg(np.arcsin(p[:, 2])), np.rad2deg(np.arctan2(p[:, 1], p[:, 0]))
    weights = point_weights(source, to_lat, to_lon)
    assert (np.diff(weights.indptr) > 0).all()
    seen = weights @ unit_vectors(lat, lon)
    # Beyond the last ring of a grid that reaches to a pole, the pole's place is not that of the ring's mean.
    ring = np.diff(weights.indptr) > 4
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    np.testing.assert_allclose(seen[~ring], p[~ring], atol=1e-8)


@given(grid=grids(), seed=st.integers(0, 99))
def test_parallel_edges_reproduce_what_is_linear(grid, seed):
    rng = np.random.default_rng(seed)
    lon = np.unwrap(grid.lon, period=360)
    inner_lat = rng.uniform(grid.lat.min(), grid.lat.max(), 20)
    inner_lon = rng.uniform(lon.min(), lon.max(), 20)
    field = np.add.outer(0.3 * grid.lat, 0.2 * lon).ravel()
    got = point_weights(grid, inner_lat, inner_lon, "bilinear", "parallel") @ field
    np.testing.assert_allclose(got, 0.3 * inner_lat + 0.2 * inner_lon, atol=1e-8)


def test_great_circles_reproduce_what_is_linear_away_from_the_poles():
    """To a share of the range that falls with the square of the step: 1e-6 at a quarter of a degree."""
    rng = np.random.default_rng(0)

    def error(step):
        lat, lon = np.arange(-70, 70 + step / 2, step), np.arange(0, 90, step)
        to_lat, to_lon = rng.uniform(-70, 70, 500), rng.uniform(0, 89, 500)
        got = point_weights(Grid(lat, lon), to_lat, to_lon) @ np.add.outer(lat, lon).ravel()
        return np.abs(got - to_lat - to_lon).max() / 230.0

    assert error(0.25) < 1e-6
    assert error(1.0) < 20 * error(0.25)


@pytest.mark.parametrize("kind", [lambda g: g, mesh])
def test_error_falls_with_the_square_of_the_step(kind):
    def error(n):
        lat, lon = np.linspace(-90, 90, 2 * n + 1)[1::2], np.arange(2 * n) * 180.0 / n
        source = kind(Grid(lat, lon, periodic=True))
        target = Grid(np.linspace(-75, 75, 11), np.arange(0, 360, 30.0), periodic=True)
        got = grid_weights(source, target) @ smooth(*np.meshgrid(lat, lon, indexing="ij")).ravel()
        return np.abs(got - smooth(*np.meshgrid(target.lat, target.lon, indexing="ij")).ravel()).max()

    assert error(40) < 0.35 * error(20)


@given(grid=grids(periodic=True), seed=st.integers(0, 99))
def test_two_dimensional_coordinates_change_nothing(grid, seed):
    """Away from the poles, where only a grid of rings knows that it goes round one."""
    rng = np.random.default_rng(seed)
    # The quadrilateral that a parallel bounds bulges polewards.
    limit = np.sort(np.abs(grid.lat))[-1] - 1e-6
    lat, lon = rng.uniform(-limit, limit, 30), rng.uniform(0, 360, 30)
    a, b = (point_weights(g, lat, lon).toarray() for g in (grid, mesh(grid)))
    ring = (a > 0).sum(axis=1) > 4
    poles = np.abs(grid.lat).max() == 90
    same = np.isclose(a, b, atol=1e-7).all(axis=1) | ring
    assert same.all() or poles
    if poles:
        # At a pole, longitudes are one place, and the search takes any of the triangles there.
        assert same.mean() > 0.3


def test_pole_is_the_mean_of_the_last_ring():
    grid = Grid(np.array([-60.0, 0.0, 60.0]), np.arange(0, 360, 90.0), periodic=True)
    weights = point_weights(grid, np.array([90.0, 75.0]), np.array([10.0, 0.0]), "bilinear", "parallel").toarray()
    np.testing.assert_allclose(weights.reshape(2, 3, 4)[0, 2], 0.25)
    np.testing.assert_allclose(weights.reshape(2, 3, 4)[1, 2], [0.625, 0.125, 0.125, 0.125])
    weights = point_weights(grid, np.array([90.0, 75.0]), np.array([10.0, 0.0])).toarray().reshape(2, 3, 4)
    np.testing.assert_allclose(weights[0, 2], 0.25)
    # In the triangle of two neighbours and the pole: sin(15) / (sin(15) + sin(15)).
    np.testing.assert_allclose(weights[1, 2], [0.625, 0.125, 0.125, 0.125])


@pytest.mark.parametrize("kind", [lambda g: g, mesh])
def test_edges_of_a_regional_grid(kind):
    grid = kind(Grid(np.array([20.0, 10.0]), np.array([350.0, 0.0])))
    lat, lon = np.array([24.9, 25.2, 15.0, 15.0, np.nan]), np.array([355.0, 355.0, 4.9, -15.1, 0.0])
    for method in ("bilinear", "nearest"):
        inside = np.diff(point_weights(grid, lat, lon, method).indptr) > 0
        assert inside.tolist() == [True, False, True, False, False]


def test_date_line():
    lat, lon = np.array([0.0, 10.0]), np.array([170.0, 175.0, 180.0, -175.0, -170.0])
    target = np.array([5.0, 5.0]), np.array([179.0, -178.0])
    for source in (Grid(lat, lon), mesh(Grid(lat, lon))):
        got = point_weights(source, *target) @ np.tile([0.0, 5.0, 10.0, 15.0, 20.0], 2)
        np.testing.assert_allclose(got, [9.0, 12.0], atol=0.01)

"""Conservative weights and shared areas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.problems.grids import curvilinear, grids, mesh
from xslams.errors import GridError
from xslams.geometry import Curvilinear, Grid, unit_vectors
from xslams.weights import cell_areas, grid_weights, overlaps
from xslams.weights.polygons import areas
from xslams.weights.polygons import overlaps as shared_areas

EDGES = ("great_circle", "parallel")


def sums(weights):
    return np.asarray(weights.sum(axis=1)).ravel()


@given(source=grids(periodic=True), target=grids(periodic=True), edges=st.sampled_from(EDGES), seed=st.integers(0, 99))
def test_conservative_conserves(source, target, edges, seed):
    x = np.random.default_rng(seed).normal(size=source.shape).ravel()
    y = grid_weights(source, target, "conservative", edges) @ x
    areas_of = [cell_areas(g, edges).ravel() for g in (source, target)]
    scale = (areas_of[0] * np.abs(x)).sum()
    assert abs((areas_of[0] * x).sum() - (areas_of[1] * y).sum()) <= 1e-12 * scale
    for area in areas_of:
        assert area.sum() == pytest.approx(4 * np.pi, rel=1e-12)


@given(source=curvilinear(10.0), seed=st.integers(0, 99))
def test_curvilinear_cells_conserve(source, seed):
    """From a warped region anywhere to the globe, and back."""
    globe = Grid(np.linspace(-90, 90, 37)[1::2], np.arange(0, 360, 10.0), periodic=True)
    area = cell_areas(source).ravel()
    shared, _ = overlaps(source, globe)
    np.testing.assert_allclose(np.asarray(shared.sum(axis=0)).ravel(), area, rtol=1e-12)
    x = np.random.default_rng(seed).normal(size=area.size)
    assert abs((shared @ x).sum() - (area * x).sum()) <= 1e-12 * (area * np.abs(x)).sum()
    back, _ = overlaps(globe, source)
    np.testing.assert_allclose(back.T.toarray(), shared.toarray(), atol=1e-13)


@given(source=grids(), target=grids())
def test_two_ways_to_the_same_areas(source, target):
    """Arcs in closed form, and polygons that are cut."""
    a, area = overlaps(source, target)
    b, other = shared_areas(source.cells(), target.cells())
    np.testing.assert_allclose(area, other, rtol=1e-9)
    np.testing.assert_allclose(a.toarray(), b.toarray(), atol=1e-10 * area.max())


def test_great_circles_and_parallels_are_told_apart():
    grid = Grid(np.array([-45.0, 45.0]), np.arange(0, 360, 30.0), periodic=True)
    assert cell_areas(grid, "parallel").sum() == pytest.approx(4 * np.pi)
    assert cell_areas(grid).sum() == pytest.approx(4 * np.pi)
    part = Grid(
        np.array([30.0]), np.array([0.0]), lat_bounds=np.array([[20.0, 40.0]]), lon_bounds=np.array([[-15, 15.0]])
    )
    parallel = np.deg2rad(30) * (np.sin(np.deg2rad(40)) - np.sin(np.deg2rad(20)))
    assert cell_areas(part, "parallel").item() == pytest.approx(parallel, rel=1e-14)
    # Both edges rise towards the pole, the northern one more.
    assert 1.001 < cell_areas(part).item() / parallel < 1.1


def test_cells_half_covered_count():
    grid = Grid(np.array([10.0, 20.0]), np.array([0.0, 10.0]))

    def target(*edges):
        lon = np.stack([edges[:-1], edges[1:]], axis=1)
        return Grid(np.array([15.0]), lon.mean(axis=1), lat_bounds=np.array([[5.0, 25.0]]), lon_bounds=lon)

    assert (np.diff(grid_weights(grid, target(-15.0, 5.0, 25.0), "conservative", "parallel").indptr) > 0).tolist() == [
        True,
        True,
    ]
    assert np.diff(grid_weights(grid, target(-25.0, -4.0), "conservative").indptr).tolist() == [0]


def test_a_cell_may_go_round_the_globe():
    source = Grid(np.array([-45.0, 45.0]), np.arange(0, 360, 30.0), periodic=True)
    rings = Grid(
        np.array([-60.0, 60.0]),
        np.array([180.0]),
        lat_bounds=np.array([[-90.0, 0.0], [0.0, 90.0]]),
        lon_bounds=np.array([[0.0, 360.0]]),
    )
    np.testing.assert_allclose(
        grid_weights(source, rings, "conservative").toarray()[1], np.repeat([0, 1 / 12], 12), atol=1e-12
    )
    with pytest.raises(GridError, match="half a circle"):
        grid_weights(mesh(source), rings, "conservative")


def test_cells_that_are_not_convex():
    """A chevron and the square that it lies in."""
    lat = np.array([[[0.0, 0.0, 10.0, 4.0]], [[0.0, 0.0, 10.0, 10.0]]])
    lon = np.array([[[0.0, 10.0, 10.0, 6.0]], [[0.0, 10.0, 10.0, 0.0]]])
    both = Curvilinear(lat.mean(axis=2), lon.mean(axis=2), corners=np.stack([lat, lon]))
    shared, area = overlaps(both, both)
    expected = np.array([[area[0], area[0]], [area[0], area[1]]])
    np.testing.assert_allclose(shared.toarray(), expected, rtol=1e-12)
    assert 0.2 < area[0] / area[1] < 0.8


@pytest.mark.parametrize("step", [6.0, 20.0])
def test_cells_that_reach_beyond_a_pole_end_there(step):
    """Half way to neighbours that are beyond the pole the meridians cross; nothing is counted twice nor left out."""
    lat, lon = np.linspace(88, -88, 23), np.arange(0, 360, 10.0)
    bent = Curvilinear(lat[:, None] + 0.5 * np.sin(np.deg2rad(lon)), np.broadcast_to(lon, (23, 36)))
    globe = Grid(np.arange(-90 + step / 2, 90, step), np.arange(0, 360, step), periodic=True)
    assert cell_areas(bent).sum() == pytest.approx(4 * np.pi, rel=1e-12)
    for source, target in ((bent, globe), (globe, bent)):
        shared, area = overlaps(source, target)
        np.testing.assert_allclose(sums(shared), area, rtol=1e-10)
        np.testing.assert_allclose(sums(shared.T), cell_areas(source).ravel(), rtol=1e-10)


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("turn", [1, -1])
def test_a_cell_whose_edges_cross_is_its_larger_triangle(start, turn):
    lat, lon = np.array([0.0, 0.0, 10.0, 10.0]), np.array([0.0, 10.0, 3.0, 7.0])
    x = unit_vectors(lat, lon)
    middle = np.cross(np.cross(x[1], x[2]), np.cross(x[3], x[0]))
    expected = areas(np.stack([x[0], x[1], middle / np.linalg.norm(middle)])[None])
    order = np.roll(np.arange(4), start)[::turn]
    cell = Curvilinear(np.full((1, 1), 5.0), np.full((1, 1), 5.0), corners=np.stack([lat, lon])[:, None, None, order])
    np.testing.assert_allclose(cell_areas(cell).ravel(), expected, rtol=1e-12)
    globe = Grid(np.arange(-88.0, 90, 4.0), np.arange(0, 360, 4.0), periodic=True)
    for pair in ((cell, globe), (globe, cell)):
        assert overlaps(*pair)[0].sum() == pytest.approx(expected.item(), rel=1e-10)


def test_octant():
    assert areas(np.eye(3)[None])[0] == pytest.approx(np.pi / 2)

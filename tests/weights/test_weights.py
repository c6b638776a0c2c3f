"""Laws of interpolation weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from xslams.errors import GridError
from xslams.geometry import Curvilinear, Grid, Points, unit_vectors
from xslams.weights import (
    cell_areas,
    grid_weights,
    overlaps,
    point_weights,
    row_kron,
)
from xslams.weights.polygons import areas
from xslams.weights.polygons import overlaps as shared_areas

METHODS = ("bilinear", "conservative", "nearest")
EDGES = ("great_circle", "parallel")


@st.composite
def grids(draw, *, periodic=None):
    """Grids of any order, convention and spacing, global or regional."""
    closed = draw(st.booleans()) if periodic is None else periodic
    nlat, nlon = draw(st.integers(2, 9)), draw(st.integers(4, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if closed:
        even = np.linspace(-90, 90, 2 * nlat + 1)[1::2]
        gaussian = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(nlat)[0]))
        lat = draw(st.sampled_from([even, gaussian, np.linspace(-90, 90, nlat + 1)]))
        lon = draw(st.sampled_from([0.0, -180.0, 3.0])) + np.arange(nlon) * 360.0 / nlon
        lon = (lon + 180) % 360 - 180 if draw(st.booleans()) else lon
    else:
        lat = rng.uniform(-80, 70) + np.cumsum(rng.uniform(0.5, 1.5, nlat))
        lon = rng.uniform(-180, 360) + np.cumsum(rng.uniform(1, 5, nlon))
    lat = lat[::-1] if draw(st.booleans()) else lat
    lon = lon[::-1] if draw(st.booleans()) else lon
    return Grid(lat, lon, periodic=closed)


@st.composite
def curvilinear(draw, size=25.0):
    """Boxes about the equator that are sheared, warped, tilted to anywhere on the sphere, and ordered in any way."""
    ny, nx = draw(st.integers(3, 7)), draw(st.integers(3, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    b, a = np.meshgrid(np.linspace(-size, size, nx), np.linspace(-size, size, ny))
    a, b = a + 0.2 * b + rng.uniform(-0.08, 0.08, a.shape) * size / max(nx, ny), b - 0.1 * a
    x = unit_vectors(a, b) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    lat, lon = np.rad2deg(np.arcsin(np.clip(x[..., 2], -1, 1))), np.rad2deg(np.arctan2(x[..., 1], x[..., 0]))
    lon = lon % 360 if draw(st.booleans()) else lon
    turn = draw(st.sampled_from([lambda v: v, lambda v: v[::-1], lambda v: v[:, ::-1], lambda v: v.T]))
    return Curvilinear(turn(lat), turn(lon))


def mesh(grid):
    """The same grid with 2-D coordinates."""
    return Curvilinear(*np.meshgrid(grid.lat, grid.lon, indexing="ij"))


def smooth(lat, lon):
    """A field that is smooth on the sphere, poles included."""
    a, b = np.deg2rad(lat), np.deg2rad(lon)
    return 2 + np.cos(a) ** 2 * np.cos(2 * b) + np.sin(a) + 0.5 * np.cos(a) * np.sin(b)


def sums(weights):
    return np.asarray(weights.sum(axis=1)).ravel()


# --- every method ------------------------------------------------------------------------------------------------


@given(
    source=st.one_of(grids(), curvilinear()),
    target=st.one_of(grids(), curvilinear()),
    method=st.sampled_from(METHODS),
)
def test_weights_are_averages(source, target, method):
    """Constants are kept, and results lie within the range of the source."""
    weights = grid_weights(source, target, method)
    assert weights.shape == (np.prod(target.shape), np.prod(source.shape))
    assert weights.nnz == 0 or weights.data.min() >= 0
    inside = np.diff(weights.indptr) > 0
    np.testing.assert_allclose(sums(weights)[inside], 1.0, atol=1e-12)
    if isinstance(source, Grid) and source.periodic:
        assert inside.all()


@given(grid=grids(), method=st.sampled_from(METHODS), edges=st.sampled_from(EDGES))
def test_own_grid_is_the_identity(grid, method, edges):
    weights = grid_weights(grid, grid, method, edges)
    if method != "conservative" and np.abs(grid.lat).max() == 90:
        # All longitudes of a pole are one place.
        rows = np.repeat(np.abs(grid.lat) < 90, len(grid.lon))
        np.testing.assert_allclose(weights.toarray()[rows], np.eye(weights.shape[0])[rows], atol=1e-9)
    else:
        np.testing.assert_allclose(weights.toarray(), np.eye(weights.shape[0]), atol=1e-9)


@given(grid=curvilinear(), method=st.sampled_from(METHODS))
def test_own_curvilinear_grid_is_the_identity(grid, method):
    weights = grid_weights(grid, grid, method)
    np.testing.assert_allclose(weights.toarray(), np.eye(weights.shape[0]), atol=1e-7)


@given(source=grids(), target=grids(), method=st.sampled_from(METHODS), edges=st.sampled_from(EDGES))
def test_orientation_commutes(source, target, method, edges):
    """Turning an axis permutes rows or columns, and does nothing else."""
    weights = grid_weights(source, target, method, edges).toarray()
    for axis in ("lat", "lon"):
        flip = {axis: getattr(source, axis)[::-1]}
        turned = grid_weights(dataclasses.replace(source, **flip), target, method, edges).toarray()
        order = np.arange(weights.shape[1]).reshape(source.shape)
        order = order[::-1] if axis == "lat" else order[:, ::-1]
        agree(turned, weights[:, order.ravel()], method)
        flip = {axis: getattr(target, axis)[::-1]}
        turned = grid_weights(source, dataclasses.replace(target, **flip), method, edges).toarray()
        order = np.arange(weights.shape[0]).reshape(target.shape)
        order = order[::-1] if axis == "lat" else order[:, ::-1]
        agree(turned, weights[order.ravel()], method)


@given(source=grids(), target=grids(), method=st.sampled_from(METHODS), edges=st.sampled_from(EDGES))
def test_longitude_conventions_agree(source, target, method, edges):
    """The same grids with longitudes in -180 to 180 and in 0 to 360, and moved by whole circles."""
    weights = grid_weights(source, target, method, edges).toarray()
    for change in (lambda x: x % 360, lambda x: (x + 180) % 360 - 180, lambda x: x + 720):
        a, b = (dataclasses.replace(g, lon=change(g.lon)) for g in (source, target))
        agree(grid_weights(a, b, method, edges).toarray(), weights, method)


def agree(a, b, method):
    if method == "nearest":
        # At a tie, rounding decides; there are none elsewhere.
        different = (a != b).any(axis=1)
        assert different.mean() <= 0.5
        a, b = a[~different], b[~different]
    np.testing.assert_allclose(a, b, atol=1e-8)


@given(grid=grids(), turns=st.integers(-2, 2), method=st.sampled_from(["bilinear", "nearest"]))
def test_whole_circles_change_nothing(grid, turns, method):
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-89, 89, 30), rng.uniform(0, 360, 30)
    one, other = (point_weights(grid, lat, x, method).toarray() for x in (lon, lon + 360.0 * turns))
    np.testing.assert_allclose(one, other, atol=1e-9)


@given(grid=grids(), edges=st.sampled_from(EDGES))
def test_points_and_grids_agree(grid, edges):
    lat, lon = np.linspace(-85, 85, 7), np.linspace(0, 355, 9)
    for method in ("bilinear", "nearest"):
        a = grid_weights(grid, Grid(lat, lon), method, edges)
        b = point_weights(grid, np.repeat(lat, 9), np.tile(lon, 7), method, edges)
        np.testing.assert_allclose(a.toarray(), b.toarray(), atol=1e-12)


@given(
    source=st.one_of(grids(), curvilinear()), target=grids(), method=st.sampled_from(METHODS), seed=st.integers(0, 99)
)
def test_adjoint(source, target, method, seed):
    """The gradient that torch finds is the product with the transposed weights."""
    import torch

    from xslams.inference.operators import _Apply, _to_torch

    weights = grid_weights(source, target, method)
    rng = np.random.default_rng(seed)
    x, y = (torch.as_tensor(rng.normal(size=(2, n)), dtype=torch.float32) for n in weights.shape[::-1])
    device = torch.device("cpu")
    x.requires_grad_()
    result = _Apply.apply(x, _to_torch(weights, device), _to_torch(sp.csr_array(weights.T), device))
    np.testing.assert_allclose(result.detach(), (weights @ x.detach().numpy().T).T, atol=1e-5)
    (result * y).sum().backward()
    np.testing.assert_allclose(x.grad, (weights.T @ y.numpy().T).T, atol=1e-5)


# --- bilinear ----------------------------------------------------------------------------------------------------


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


# --- nearest -----------------------------------------------------------------------------------------------------


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


# --- conservative ------------------------------------------------------------------------------------------------


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


def test_missing_places_have_no_cells():
    lon, lat = np.meshgrid(np.arange(0, 90, 10.0), np.arange(-40, 50, 10.0))
    whole, holed = Curvilinear(lat, lon), Curvilinear(np.where((lat == 0) & (lon == 40), np.nan, lat), lon)
    target = Grid(np.arange(-37.5, 40, 5.0), np.arange(2.5, 80, 5.0))
    for method in METHODS:
        a, b = (grid_weights(g, target, method) for g in (whole, holed))
        lost = np.diff(b.indptr) == 0
        assert 0 < lost.sum() < len(lost) / 2
        assert not b.toarray()[:, 40].any()
        if method != "conservative":
            np.testing.assert_allclose(a.toarray()[~lost], b.toarray()[~lost], atol=1e-12)


def test_octant():
    assert areas(np.eye(3)[None])[0] == pytest.approx(np.pi / 2)


# --- parts -------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999))
def test_row_kron(seed):
    rng = np.random.default_rng(seed)
    a, b = (sp.csr_array(rng.normal(size=s) * (rng.random(s) < 0.4)) for s in ((4, 3), (5, 6)))
    i, j = rng.integers(0, 4, 7), rng.integers(0, 5, 7)
    expected = [np.kron(a.toarray()[p], b.toarray()[q]) for p, q in zip(i, j, strict=True)]
    np.testing.assert_array_equal(row_kron(a, b, i, j).toarray(), expected)


SQUARE = Grid(np.arange(3.0), np.arange(3.0))
PLACES = Points(np.zeros(2), np.zeros(2))
LINE = Curvilinear(np.zeros((1, 3)), np.arange(3.0)[None])


@pytest.mark.parametrize(
    ("source", "target", "method", "edges", "words"),
    [
        (PLACES, SQUARE, "bilinear", "great_circle", "nearest"),
        (PLACES, SQUARE, "conservative", "great_circle", "source"),
        (SQUARE, PLACES, "conservative", "great_circle", "target"),
        (mesh(SQUARE), SQUARE, "bilinear", "parallel", "1-D"),
        (mesh(SQUARE), SQUARE, "conservative", "parallel", "1-D"),
        (LINE, PLACES, "bilinear", "great_circle", "two rows"),
        (LINE, SQUARE, "conservative", "great_circle", "CF bounds"),
        (Points(np.full(2, np.nan), np.zeros(2)), SQUARE, "nearest", "great_circle", "None of the 2"),
    ],
)
def test_what_has_no_weights(source, target, method, edges, words):
    with pytest.raises(GridError, match=words):
        grid_weights(source, target, method, edges)

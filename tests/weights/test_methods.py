"""Laws of every method."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.problems.grids import curvilinear, grids, mesh
from xslams.errors import GridError, OptionError
from xslams.geometry import Curvilinear, Grid, Points
from xslams.regrid import Engine, regrid
from xslams.typing import Method
from xslams.weights import ENGINES, Nearest, grid_weights, point_weights
from xslams.weights import METHODS as registered_methods

METHODS = ("bilinear", "conservative", "nearest")
EDGES = ("great_circle", "parallel")


def sums(weights):
    return np.asarray(weights.sum(axis=1)).ravel()


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

    from xslams.linalg.sparse import SparseMatrix

    weights = grid_weights(source, target, method)
    rng = np.random.default_rng(seed)
    x, y = (torch.as_tensor(rng.normal(size=(2, n)), dtype=torch.float32) for n in weights.shape[::-1])
    x.requires_grad_()
    result = SparseMatrix(weights, torch.device("cpu"))(x)
    np.testing.assert_allclose(result.detach(), (weights @ x.detach().numpy().T).T, atol=1e-5)
    (result * y).sum().backward()
    np.testing.assert_allclose(x.grad, (weights.T @ y.numpy().T).T, atol=1e-5)


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


def test_literals_name_what_is_registered():
    """Types cannot be made from a registry; this keeps them the same."""
    assert set(get_args(Method)) == set(registered_methods)
    assert get_args(Engine) == ("auto", *ENGINES.names)


def test_a_method_joins_from_outside():
    class Northern(Nearest):
        """The value of the northernmost cell, wherever the target is."""

        def on_sphere(self, source, target, edges):
            weights = np.zeros((target.size, source.size))
            weights[:, source.centres()[0].argmax()] = 1.0
            return sp.csr_array(weights)

    registered_methods.register("northern")(Northern())
    try:
        assert (grid_weights(SQUARE, PLACES, "northern").indices == 6).all()
        ds = xr.Dataset({"t": (("lat", "lon"), np.arange(9.0).reshape(3, 3))}, {"lat": SQUARE.lat, "lon": SQUARE.lon})
        assert (regrid(ds, ds, "northern").t == 6).all()
    finally:
        registered_methods.unregister("northern")
    with pytest.raises(OptionError, match="Did you mean 'bilinear'"):
        grid_weights(SQUARE, PLACES, "bilinaer")

"""Exact laws of weights on lattices, for any number of axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xslams.errors import GridError
from xslams.geometry import Axis, Grid, Lattice, Points, Sites
from xslams.weights import cell_areas, grid_weights, overlaps

METHODS = ("bilinear", "conservative", "nearest")
EDGES = ("great_circle", "parallel")


def ring(count: int, period: float = 360.0, start: float = 0.0, name: str = "lon") -> Axis:
    return Axis(name, start + np.arange(count) * period / count, period)


@st.composite
def axes(draw, name="x"):
    """Evenly spaced periodic axes and uneven straight ones, in either order."""
    count = draw(st.integers(3, 9))
    if draw(st.booleans()):
        axis = ring(count, draw(st.sampled_from([1.0, 2 * np.pi, 360.0])), draw(st.floats(-2, 2)), name)
    else:
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        axis = Axis(name, rng.uniform(-5, 5) + np.cumsum(rng.uniform(0.5, 1.5, count)))
    return Axis(name, axis.values[::-1], axis.period) if draw(st.booleans()) else axis


def lattices():
    parts = st.integers(0, 2).flatmap(lambda n: st.tuples(*(axes(name) for name in ("y", "x")[2 - n :])))
    return parts.map(Lattice)


@given(lattice=lattices(), method=st.sampled_from(METHODS), edges=st.sampled_from(EDGES))
def test_own_lattice_is_the_identity(lattice, method, edges):
    weights = grid_weights(lattice, lattice, method, edges)
    np.testing.assert_allclose(weights.toarray(), np.eye(lattice.size), atol=1e-9)


@given(lattice=lattices(), method=st.sampled_from(["bilinear", "nearest"]), seed=st.integers(0, 99))
def test_weights_of_sites_are_averages(lattice, method, seed):
    rng = np.random.default_rng(seed)
    places = np.array([rng.uniform(a.values.min() - 9, a.values.max() + 9, 20) for a in lattice.axes])
    sites = Sites(lattice.coordinates, places.reshape(-1, 20))
    weights = grid_weights(lattice, sites, method)
    assert weights.shape == (20, lattice.size) and (weights.data > 0).all()
    inside = np.diff(weights.indptr) > 0
    np.testing.assert_allclose(weights.sum(axis=1)[inside], 1.0, atol=1e-12)
    if all(axis.closed for axis in lattice.axes):
        assert inside.all()


@given(lattice=lattices(), seed=st.integers(0, 99))
def test_bilinear_reproduces_what_is_linear_along_each_axis(lattice, seed):
    rng = np.random.default_rng(seed)
    low, high = ([f(np.unwrap(a.values, period=a.period or 1e9)) for a in lattice.axes] for f in (np.min, np.max))
    places = np.array([rng.uniform(a, b, 20) for a, b in zip(low, high, strict=True)]).reshape(-1, 20)
    weights = grid_weights(lattice, Sites(lattice.coordinates, places))

    def multilinear(x):
        out = np.ones(x.shape[1])
        for row in x:
            out = out * (1 + 0.3 * row)
        return out

    np.testing.assert_allclose(weights @ multilinear(lattice.centres()), multilinear(places), atol=1e-8)


@given(count=st.integers(3, 12), shift=st.integers(-5, 5), turns=st.integers(-2, 2), method=st.sampled_from(METHODS))
def test_a_ring_has_no_first_site(count, shift, turns, method):
    """Turning source and target by whole sites, or by whole circles, changes nothing but the order."""
    source, target = Lattice((ring(count),)), Lattice((ring(2 * count + 1, start=1.0),))
    weights = grid_weights(source, target, method).toarray()
    step = 360.0 / count
    moved = Lattice((Axis("lon", target.axes[0].values + shift * step + 360.0 * turns, 360.0),))
    turned = grid_weights(source, moved, method).toarray()
    np.testing.assert_allclose(turned, np.roll(weights, shift, axis=1), atol=1e-9)


def test_the_last_site_is_next_to_the_first():
    source = Lattice((ring(40),))
    got = grid_weights(source, Sites(("lon",), np.array([[355.5, -4.5, 715.5]]))).toarray()
    np.testing.assert_allclose(got[:, [39, 0]], 0.5)
    assert got[:, 1:39].sum() == 0
    square = Lattice((ring(4, 1.0, name="y"), ring(4, 1.0, name="x")))
    corner = grid_weights(square, Sites(("y", "x"), np.array([[0.875], [0.875]]))).toarray().reshape(4, 4)
    np.testing.assert_allclose(corner[np.ix_([3, 0], [3, 0])], 0.25)


@given(source=lattices(), seed=st.integers(0, 99))
def test_coarser_boxes_conserve_the_mean(source, seed):
    """Boxes over a straight axis as a whole, and any number of boxes round a ring."""
    rng = np.random.default_rng(seed)
    coarse = []
    for axis in source.axes:
        low, high = axis.intervals.min(), axis.intervals.max()
        edges = np.concatenate([[low], np.sort(rng.uniform(low, high, 2)), [high]])
        edges = edges if axis.closed is False else edges + rng.uniform(-1, 1) * (high - low)
        pairs = np.stack([edges[:-1], edges[1:]], axis=1)
        coarse.append(Axis(axis.name, pairs.mean(axis=1), axis.period, pairs))
    target = Lattice(tuple(coarse))
    x = rng.normal(size=source.size)
    weights = grid_weights(source, target, "conservative")
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    areas = [cell_areas(g).ravel() for g in (source, target)]
    scale = (areas[0] * np.abs(x)).sum()
    assert abs((areas[0] * x).sum() - (areas[1] * (weights @ x)).sum()) <= 1e-9 * scale
    np.testing.assert_allclose(overlaps(source, target)[0].sum(axis=0), areas[0], rtol=1e-9)


def test_pairs_of_sites_are_their_means():
    source = Lattice((ring(8, 8.0, name="y"), ring(8, 8.0, name="x")))
    half = Lattice((ring(4, 8.0, 0.5, "y"), ring(4, 8.0, 0.5, "x")))
    x = np.random.default_rng(0).normal(size=(8, 8))
    got = (grid_weights(source, half, "conservative") @ x.ravel()).reshape(4, 4)
    np.testing.assert_allclose(got, x.reshape(4, 2, 4, 2).mean(axis=(1, 3)), atol=1e-14)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_a_subset_of_the_sites_is_selected(method):
    source, chosen = Lattice((ring(40),)), np.array([3, 4, 17, 39])
    target = Lattice((Axis("lon", source.axes[0].values[chosen], 360.0),))
    np.testing.assert_array_equal(grid_weights(source, target, method).toarray(), np.eye(40)[chosen])


@pytest.mark.parametrize("method", METHODS)
def test_without_an_axis_there_is_one_cell(method):
    assert grid_weights(Lattice(), Lattice(), method).toarray().tolist() == [[1.0]]
    if method != "conservative":
        assert grid_weights(Lattice(), Sites((), np.zeros((0, 3))), method).toarray().tolist() == [[1.0]] * 3


def test_unknown_places_are_outside():
    source = Lattice((Axis("x", np.arange(3.0)), ring(4)))
    places = np.array([[1.0, np.nan, 2.6, -0.4], [0.0, 0.0, 90.0, np.nan]])
    for method in ("bilinear", "nearest"):
        counts = np.diff(grid_weights(source, Sites(source.coordinates, places), method).indptr)
        assert (counts > 0).tolist() == [True, False, False, False]


RING = Lattice((ring(4),))


@pytest.mark.parametrize(
    ("source", "target", "method", "words"),
    [
        (RING, Points(np.zeros(1), np.zeros(1)), "bilinear", "on the axes lon.*on the sphere"),
        (Grid(np.arange(3.0), np.arange(3.0)), RING, "bilinear", "on the sphere.*on the axes lon"),
        (RING, Lattice((ring(4, name="x"),)), "bilinear", "same names"),
        (RING, Lattice(), "nearest", r"axes lon.*axes \(none\)"),
        (RING, Sites(("lon",), np.zeros((1, 3))), "conservative", "target lacks them"),
        (RING, Lattice((Axis("lon", np.zeros(1), 360.0),)), "conservative", "single site.*bounds"),
        (Sites(("lon",), np.zeros((1, 3))), RING, "nearest", "lattice"),
    ],
)
def test_what_has_no_weights(source, target, method, words):
    with pytest.raises(GridError, match=words):
        grid_weights(source, target, method)

"""How large cells are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xslams.geometry import cell_edges, gaussian_edges, is_periodic


def gaussian(n):
    return np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(n)[0]))


@given(n=st.integers(2, 160), digits=st.sampled_from([3, 6, 15]), descending=st.booleans())
def test_rows_of_a_gaussian_grid_have_the_weights_of_the_quadrature(n, digits, descending):
    lat, weights = gaussian(n), np.polynomial.legendre.leggauss(n)[1]
    lat, weights = (lat[::-1], weights[::-1]) if descending else (lat, weights)
    edges = gaussian_edges(np.round(lat, digits))
    np.testing.assert_allclose(np.abs(np.diff(np.sin(np.deg2rad(edges)))), weights, rtol=1e-9)
    assert np.abs(edges[[0, -1]]).tolist() == [90, 90]
    np.testing.assert_array_equal(cell_edges(lat.astype("f4"), latitude=True), edges)


@given(n=st.integers(20, 120), start=st.integers(0, 6), size=st.integers(8, 12), descending=st.booleans())
def test_a_part_of_a_gaussian_grid_is_one_too(n, start, size, descending):
    lat = gaussian(n)
    edges = gaussian_edges(lat)
    part, expected = lat[start : start + size], edges[start : start + size + 1]
    if descending:
        part, expected = part[::-1], expected[::-1]
    np.testing.assert_allclose(gaussian_edges(part), expected)


@given(n=st.integers(3, 2000), offset=st.sampled_from([0.0, 0.5]), regional=st.booleans())
def test_even_latitudes_are_not_gaussian(n, offset, regional):
    lat = np.linspace(-90, 90, n + 1) if offset == 0 else np.linspace(-90, 90, 2 * n + 1)[1::2]
    lat = lat[: max(2, n // 2)] if regional else lat
    assert gaussian_edges(lat) is None
    assert gaussian_edges(lat.astype("f4")) is None


def test_cell_edges_close_at_the_poles():
    gauss = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(48)[0]))
    for lat in (gauss, np.linspace(-87.2, 87.2, 48), np.linspace(-90, 90, 19)):
        edges = cell_edges(lat, latitude=True)
        assert edges[0] == -90
        assert edges[-1] == 90


@pytest.mark.parametrize(
    ("lon", "periodic"),
    [
        (np.arange(0, 360, 3.75), True),
        (np.arange(-180, 180, 2.5), True),
        (np.roll(np.arange(0, 360, 2.5), 30), True),
        (np.arange(200, 331, 2.5), False),
        (np.arange(0, 361, 2.5), False),
        (np.array([0.0]), False),
    ],
)
def test_periodic(lon, periodic):
    assert is_periodic(lon) is periodic

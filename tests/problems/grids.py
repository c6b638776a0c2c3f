"""Grids to draw from: of any order, convention and spacing, and warped ones anywhere on the sphere."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from xslams.geometry import Curvilinear, Grid, unit_vectors


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

"""Cells that a curvilinear grid repeats, in halos and beyond folds, count once in conservative means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.problems.grids import smooth
from xslams.geometry import Curvilinear, Grid, unit_vectors
from xslams.geometry.halos import once, without_halo
from xslams.geometry.sphere import around
from xslams.weights import cell_areas, grid_weights

TARGET = Grid(np.arange(-45.0, 46.0, 15.0), np.arange(5.0, 360.0, 30.0), periodic=True)
TURNS = [lambda v: v, lambda v: v[::-1], lambda v: v[:, ::-1], lambda v: v.T]


def ring(columns: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Centres of a grid that closes on itself, whose rows go up and down."""
    lon, lat = np.meshgrid(np.arange(columns) * 360.0 / columns, np.arange(-60.0, 61.0, 15.0))
    return lat + 3 * np.sin(np.deg2rad(lon)), lon


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 3), st.integers(0, 3), st.sampled_from(range(4)), st.booleans(), st.integers(0, 2**32 - 1))
def test_columns_of_a_halo_count_once(west, east, turn, wrapped, seed) -> None:
    def wide(values):
        return TURNS[turn](np.pad(values, ((0, 0), (west, east)), mode="wrap"))

    lat, lon = ring()
    field = np.random.default_rng(seed).random(lat.shape)
    expected = grid_weights(Curvilinear(lat, lon), TARGET, "conservative") @ field.ravel()
    there = wide(lon)
    grid = Curvilinear(wide(lat), (there + 180) % 360 - 180 if wrapped else there)
    got = grid_weights(grid, TARGET, "conservative") @ wide(field).ravel()
    np.testing.assert_allclose(got, expected, atol=1e-12)
    # As a target, a cell that repeats another has its value.
    back = grid_weights(TARGET, grid, "conservative")
    np.testing.assert_allclose(back.toarray(), back.toarray()[np.ravel(once(unit_vectors(grid.lat, grid.lon)))])
    kept = np.ravel(cell_areas(grid))[~grid.repeats()]
    assert kept.sum() == pytest.approx(cell_areas(Curvilinear(lat, lon)).sum())


@pytest.mark.parametrize("halo", [(0, 1), (1, 1), (2, 0)])
def test_corners_that_are_given_count_once(halo) -> None:
    lat, lon = ring()
    lon_b, lat_b = np.meshgrid(np.arange(-15.0, 346.0, 30.0), np.arange(-67.5, 68.0, 15.0))
    corners = np.stack([around(lat_b + 3 * np.sin(np.deg2rad(lon_b))), around(lon_b)])
    pads = ((0, 0), halo)
    wide = Curvilinear(
        *(np.pad(v, pads, mode="wrap") for v in (lat, lon)),
        corners=np.pad(corners, ((0, 0), *pads, (0, 0)), mode="wrap"),
    )
    field = smooth(lat, lon)
    expected = grid_weights(Curvilinear(lat, lon, corners=corners), TARGET, "conservative") @ field.ravel()
    got = grid_weights(wide, TARGET, "conservative") @ np.pad(field, pads, mode="wrap").ravel()
    np.testing.assert_allclose(got, expected, atol=1e-12)


def folded(between: bool) -> tuple[np.ndarray, np.ndarray]:
    """Centres of a cap that is folded along its last row (through centres, or between them), and a row beyond."""
    width, rows = 12, 6
    angle = np.deg2rad(np.arange(width) * 30.0 + (15.0 if between else 0.0))
    height = (np.arange(rows)[::-1] + (0.5 if between else 0.0)) / rows
    x, y = np.broadcast_to(20 * np.cos(angle), (rows, width)), 20 * height[:, None] * np.sin(angle)
    beyond = (-1 - np.arange(width)) % width if between else -np.arange(width) % width
    of = -1 if between else -2
    x, y = np.vstack([x, x[of][beyond]]), np.vstack([y, y[of][beyond]])
    return 90 - np.hypot(x, y), np.rad2deg(np.arctan2(y, x))


@pytest.mark.parametrize(("between", "repeated"), [(True, 12), (False, 12 + 5)])
@pytest.mark.parametrize("turn", range(4))
def test_rows_beyond_a_fold_are_found(between, repeated, turn) -> None:
    lat, lon = (TURNS[turn](v) for v in folded(between))
    grid = Curvilinear(lat, lon)
    assert int(grid.repeats().sum()) == repeated
    index = np.ravel(once(unit_vectors(lat, lon)))
    x = unit_vectors(*grid.centres())
    np.testing.assert_allclose(x, x[index], atol=1e-12)


@pytest.mark.parametrize(
    "lat",
    [
        np.array([0.0, 1.0, 2.0, 1.0, 0.0])[:, None] + np.zeros(6),  # back and forth
        np.zeros((5, 6)),  # a scan that stands still
        np.array([70.0, 80.0, 90.0])[:, None] + np.zeros(6),  # a row at the pole
        np.full((3, 6), np.nan),
    ],
)
def test_other_places_that_are_visited_again_are_no_halo(lat) -> None:
    lon = np.arange(6.0) * 60.0 + np.zeros(lat.shape)
    x = unit_vectors(lat, lon)
    assert without_halo(x) == lat.shape
    np.testing.assert_array_equal(np.ravel(once(x)), np.arange(lat.size))

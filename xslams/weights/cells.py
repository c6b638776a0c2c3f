r"""Areas that cells of two rectilinear grids share.

Meridians are great circles, parallels are not. By default the edges of a cell along a parallel are great circles
between its corners, as they are in ESMF: the arc between two corners at latitude :math:`\varphi` and longitudes
:math:`m \pm h` is :math:`\tan\varphi(\lambda) = \tan\varphi \cos(\lambda - m) / \cos h`. Two cells that overlap in
longitude from :math:`u` to :math:`v` share the area between the higher of their southern and the lower of their
northern arcs. With :math:`e = \int (1 - \sin\varphi) d\lambda` the area poleward of an arc, and since intervals share
:math:`|[a, b] \cap [c, d]| = \min(b, d) - \min(b, c) - \min(a, d) + \min(a, c)`, that needs four areas poleward of the
northern one of two arcs, which cross at most once. The area poleward of one arc is a spherical triangle with the pole,
known in closed form and exact even where it is tiny. Nothing is clipped, and sums over cells telescope.

With ``edges="parallel"`` cells are bounded by parallels, as they are in CDO: areas are products of differences of
:math:`\sin\varphi` and of longitude.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.geometry import Grid
from xslams.typing import Edges, FloatArray

__all__ = ["rectilinear_areas", "rectilinear_overlaps"]

# Areas that are smaller than this share of a cell are rounding at edges that touch.
_NOISE = 1e-11
# Pairs of cells that are treated at once; twenty arrays of this size are in use at a time.
_BLOCK = 400_000

_Indices = npt.NDArray[np.intp]


def rectilinear_areas(grid: Grid, edges: Edges = "great_circle") -> FloatArray:
    """Areas of the cells on the unit sphere, shape (lat, lon).

    Parameters
    ----------
    grid
        Grid.
    edges
        ``"great_circle"`` or ``"parallel"``.

    Returns
    -------
    ndarray
        Steradians.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([-45.0, 45.0]), np.array([0.0, 90.0, 180.0, 270.0]), periodic=True)
    >>> float(rectilinear_areas(grid).sum() / np.pi)
    4.0
    """
    rows, columns = np.deg2rad(grid.lat_intervals), np.deg2rad(grid.lon_intervals)
    width = np.diff(columns, axis=1)[:, 0]
    if edges == "parallel":
        return np.outer(_sine_difference(rows), width)
    sign = np.where(rows.sum(axis=1) >= 0, 1.0, -1.0)[:, None]
    near, far = _ordered(rows, sign[:, 0])
    areas = [
        _poleward(np.sin(e)[:, None], np.cos(e)[:, None] * np.cos(0.5 * width), -0.5 * width, 0.5 * width, width)
        for e in (near, far)
    ]
    return np.asarray(areas[0] - areas[1])


def _sine_difference(rows: FloatArray) -> FloatArray:
    # The difference of sines near a pole would lose half of its digits.
    return np.asarray(2 * np.cos(0.5 * (rows[:, 0] + rows[:, 1])) * np.sin(0.5 * (rows[:, 1] - rows[:, 0])))


def _ordered(rows: FloatArray, sign: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Edges nearer to and farther from the equator, mirrored to the north where `sign` is negative."""
    return np.where(sign > 0, rows[:, 0], -rows[:, 1]), np.where(sign > 0, rows[:, 1], -rows[:, 0])


def _half_colatitude(s: FloatArray, c: FloatArray, x: FloatArray) -> FloatArray:
    """Tangent of half the colatitude of an arc at the distance `x` from its middle."""
    up = s * np.cos(x)
    r = np.hypot(c, up)
    # Without cancellation in either hemisphere.
    return np.where(up >= 0, c / (r + np.abs(up)), (r + np.abs(up)) / c)


def _poleward(s: FloatArray, c: FloatArray, u: FloatArray, v: FloatArray, width: FloatArray) -> FloatArray:
    """Area between the north pole and an arc from `u` to `v`, longitudes from the middle of the arc."""
    product = _half_colatitude(s, c, u) * _half_colatitude(s, c, v)
    return np.asarray(2 * np.arctan2(product * np.sin(width), 1 + product * np.cos(width)))


class _Arcs:
    """Great circles along parallels for pairs of rows (first axis) and pairs of columns (second axis)."""

    def __init__(self, lat: FloatArray, half: FloatArray, u: FloatArray, v: FloatArray, middle: FloatArray) -> None:
        self.s, self.c = np.sin(lat)[:, None], np.cos(lat)[:, None] * np.cos(half)
        self.u, self.v, self.middle = u - middle, v - middle, middle
        self.area = _poleward(self.s, self.c, self.u, self.v, v - u)


def _northern(a: _Arcs, b: _Arcs, u: FloatArray, v: FloatArray) -> FloatArray:
    """Area poleward of the northern one of two arcs."""
    ab, ba = a.s * b.c, b.s * a.c
    at_u = ab * np.cos(a.u) - ba * np.cos(b.u)
    at_v = ab * np.cos(a.v) - ba * np.cos(b.v)
    area = np.where(at_u + at_v > 0, a.area, b.area)
    row, column = np.nonzero(at_u * at_v < 0)
    if len(row):
        # Only arcs of nearly the same latitude cross: few pairs.
        middle = 0.5 * (u + v)[column]
        da, db = middle - a.middle[column], middle - b.middle[column]
        p, q = ab[row, column], ba[row, column]
        cross = np.arctan2(p * np.cos(da) - q * np.cos(db), p * np.sin(da) - q * np.sin(db))
        cross = (cross + 0.5 * np.pi) % np.pi - 0.5 * np.pi
        x = np.clip(middle + cross, u[column], v[column])
        first = at_u[row, column] > 0

        def part(arcs: _Arcs, low: FloatArray, high: FloatArray) -> FloatArray:
            s, c, m = arcs.s[row, 0], arcs.c[row, column], arcs.middle[column]
            return _poleward(s, c, low - m, high - m, high - low)

        west = np.where(first, part(a, u[column], x), part(b, u[column], x))
        east = np.where(first, part(b, x, v[column]), part(a, x, v[column]))
        area[row, column] = west + east
    return np.asarray(area)


def _column_pairs(source: FloatArray, target: FloatArray) -> tuple[_Indices, _Indices, FloatArray, FloatArray]:
    """Columns that overlap: positions in target and source, and by how many circles the source is to be moved.

    Intervals in degrees, shapes (m, 2) and (n, 2); the last result is the overlap in radians, shape (pairs, 2).
    """
    found: list[tuple[_Indices, _Indices, FloatArray, FloatArray]] = []
    turns = (
        np.floor((target[:, 0].min() - source[:, 1].max()) / 360.0),
        np.ceil((target[:, 1].max() - source[:, 0].min()) / 360.0),
    )
    chunk = max(1, 4_000_000 // len(source))
    for start in range(0, len(target), chunk):
        part = target[start : start + chunk]
        for turn in np.arange(turns[0], turns[1] + 1):
            moved = source + 360.0 * turn
            low = np.maximum(moved[None, :, 0], part[:, None, 0])
            high = np.minimum(moved[None, :, 1], part[:, None, 1])
            t, s = np.nonzero(high - low > 1e-9)
            overlap = np.deg2rad(np.stack([low[t, s], high[t, s]], axis=1))
            found.append((t + start, s, np.full(len(t), turn), overlap))
    t, s, turn, overlap = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return t, s, turn, overlap


def rectilinear_overlaps(source: Grid, target: Grid, edges: Edges = "great_circle") -> sp.csr_array:
    """Areas that cells of two grids share.

    Parameters
    ----------
    source, target
        Grids.
    edges
        ``"great_circle"`` or ``"parallel"``.

    Returns
    -------
    scipy.sparse.csr_array
        Steradians, shape (target cells, source cells).

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([-45.0, 45.0]), np.array([0.0, 90.0, 180.0, 270.0]), periodic=True)
    >>> bool(np.allclose(rectilinear_overlaps(grid, grid).toarray(), np.pi / 2 * np.eye(8)))
    True
    """
    pairs = _Pairs(source, target)
    shape = (target.size, source.size)
    integer = np.int32 if max(shape) < 2**31 else np.int64
    ti, si = _rows_that_meet(pairs, edges)
    parts: list[tuple[npt.NDArray[Any], npt.NDArray[Any], FloatArray]] = []
    size = max(1, _BLOCK // max(1, len(pairs.target)))
    for start in range(0, len(ti), size):
        i, k = si[start : start + size], ti[start : start + size]
        area = _between_parallels(pairs, i, k) if edges == "parallel" else _between_arcs(pairs, i, k)
        keep = area > _NOISE * np.minimum(pairs.sines[0][i], pairs.sines[1][k])[:, None] * pairs.width
        row = (k[:, None] * integer(target.shape[1]) + pairs.target).astype(integer)
        column = (i[:, None] * integer(source.shape[1]) + pairs.source).astype(integer)
        parts.append((row[keep], column[keep], area[keep]))
    if not parts:
        return sp.csr_array(shape)
    row, column, area = (np.concatenate(p) for p in zip(*parts, strict=True))
    parts.clear()
    return sp.csr_array(sp.coo_array((area, (row, column)), shape=shape))


class _Pairs:
    """Columns of a source and a target grid that overlap, and the rows of both.

    Attributes
    ----------
    rows
        Edges of rows of source and target in radians, shapes (lat, 2).
    sines
        Differences of the sines of these edges.
    source, target
        Columns that overlap, shape (pairs,).
    halves
        Half widths of all columns of source and target in radians.
    middles
        Middles of the columns of each pair in radians, of source and target.
    low, high, width
        Ends and lengths of the overlaps in radians, shape (pairs,).
    """

    def __init__(self, source: Grid, target: Grid) -> None:
        columns = [g.lon_intervals for g in (source, target)]
        self.rows = [np.deg2rad(g.lat_intervals) for g in (source, target)]
        self.sines = [_sine_difference(r) for r in self.rows]
        self.target, self.source, turn, overlap = _column_pairs(*columns)
        self.low, self.high = overlap[:, 0], overlap[:, 1]
        self.width = self.high - self.low
        self.halves = [np.deg2rad(0.5 * np.ptp(c, axis=1)) for c in columns]
        self.middles = (
            np.deg2rad(columns[0].mean(axis=1)[self.source] + 360.0 * turn),
            np.deg2rad(columns[1].mean(axis=1)[self.target]),
        )


def _rows_that_meet(pairs: _Pairs, edges: Edges) -> tuple[_Indices, _Indices]:
    """Rows of target and source that may share an area."""
    reach = []
    for row, half in zip(pairs.rows, pairs.halves, strict=True):
        # Great circles rise towards the poles between the corners.
        bulge = np.arctan2(np.sin(row), np.cos(row) * np.cos(half.max())) if edges == "great_circle" else row
        reach.append(np.stack([np.minimum(row[:, 0], bulge[:, 0]), np.maximum(row[:, 1], bulge[:, 1])], axis=1))
    low = np.maximum(reach[0][None, :, 0], reach[1][:, None, 0])
    target, source = np.nonzero(np.minimum(reach[0][None, :, 1], reach[1][:, None, 1]) - low > 1e-11)
    return target, source


def _between_parallels(pairs: _Pairs, i: _Indices, k: _Indices) -> FloatArray:
    """Areas that rows `i` of the source and `k` of the target share, shape (rows, pairs of columns)."""
    ours, theirs = pairs.rows[0][i], pairs.rows[1][k]
    shared = np.stack([np.maximum(ours[:, 0], theirs[:, 0]), np.minimum(ours[:, 1], theirs[:, 1])], axis=1)
    shared = np.clip(shared, -0.5 * np.pi, 0.5 * np.pi)
    return np.outer(np.where(shared[:, 1] > shared[:, 0], _sine_difference(shared), 0.0), pairs.width)


def _between_arcs(pairs: _Pairs, i: _Indices, k: _Indices) -> FloatArray:
    """Areas as `_between_parallels` has them, where great circles bound the cells."""
    rows, u, v = (pairs.rows[0][i], pairs.rows[1][k]), pairs.low, pairs.high
    sign = np.where(rows[0].sum(axis=1) + rows[1].sum(axis=1) >= 0, 1.0, -1.0)
    ours, theirs = (
        [_Arcs(edge, half[column], u, v, middle) for edge in _ordered(row, sign)]
        for row, half, column, middle in zip(
            rows, pairs.halves, (pairs.source, pairs.target), pairs.middles, strict=True
        )
    )
    return (
        _northern(ours[0], theirs[0], u, v)
        - _northern(ours[0], theirs[1], u, v)
        - _northern(ours[1], theirs[0], u, v)
        + _northern(ours[1], theirs[1], u, v)
    )

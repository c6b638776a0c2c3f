r"""Weights from a rectilinear grid to points: bilinear and nearest.

Bilinear weights are those of ESMF: the four centres around a target span a surface in space, bilinear in :math:`s` and
:math:`t`, and the target is seen from the centre of the sphere through that surface. On a rectilinear grid that has a
closed form. Let :math:`m \pm h` be the longitudes of the neighbours, :math:`\varphi_0, \varphi_1` their latitudes and
:math:`\lambda - m` the distance of the target from the middle. Then

.. math::

    s = \tfrac12 \left(1 + \frac{\tan(\lambda - m)}{\tan h}\right), \qquad
    \tan\varphi' = \tan\varphi \frac{\cos h}{\cos(\lambda - m)}, \qquad
    \frac{t}{1 - t} = \frac{\sin(\varphi' - \varphi_0)}{\sin(\varphi_1 - \varphi')} ,

where :math:`\varphi'` is the latitude at which the great circle through the target meets the neighbours' meridians, so
that the row is found by it. Beyond the last latitude of a global grid lies the pole, whose value is the mean of that
last ring. With ``edges="parallel"``, weights are linear in latitude and in longitude, as they are in CDO.

Nearest is nearest on the sphere: among the rows, the one that is nearest to
:math:`\operatorname{atan2}(\sin\varphi, \cos\varphi \cos\delta)`, with :math:`\delta` the distance from the nearest
meridian.

Beyond the edge of a regional grid, a target within half a step of the outermost centres, that is inside the outermost
cells, takes the value at the edge. A row of weights that is empty means that the target lies outside of the grid; every
other row sums to one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.labels.coordinates import Grid
from xslams.typing import Edges, FloatArray, Method

__all__ = ["bracket", "interpolate", "row_kron"]

_EPS = 1e-9
_BLOCK = 1 << 18

_Indices = npt.NDArray[np.intp]
_Mask = npt.NDArray[np.bool_]


def _lon_into(lon: FloatArray, start: float) -> FloatArray:
    """Longitudes moved by whole circles into [start, start + 360)."""
    moved = (np.asarray(lon, float) - start) % 360.0 + start
    # Rounding may leave start + 360 - tiny for start - tiny.
    return np.where(moved - start > 360.0 - _EPS, moved - 360.0, moved)


def bracket(
    axis: FloatArray, x: FloatArray, *, linear: bool
) -> tuple[npt.NDArray[np.intp], FloatArray, npt.NDArray[np.bool_]]:
    """Lower neighbour, weight of the upper one, and whether `x` lies within the outermost cells of ascending `axis`."""
    if len(axis) == 1:
        return np.zeros(len(x), np.intp), np.zeros(len(x)), np.abs(x - axis[0]) <= 0.5 + _EPS
    low = np.clip(np.searchsorted(axis, x, side="right") - 1, 0, len(axis) - 2)
    weight = (x - axis[low]) / (axis[low + 1] - axis[low])
    inside = (x >= axis[0] - 0.5 * (axis[1] - axis[0]) - _EPS) & (x <= axis[-1] + 0.5 * (axis[-1] - axis[-2]) + _EPS)
    weight = np.clip(weight, 0.0, 1.0)
    # Rounding must not leave a second entry of 1e-16 where a target lies on a centre.
    weight = np.where(weight < _EPS, 0.0, np.where(weight > 1.0 - _EPS, 1.0, weight))
    return low, weight if linear else np.where(weight > 0.5 + _EPS, 1.0, 0.0), inside


class _Axes:
    """The axes of a grid in ascending order, closed where the grid is: round the circle, and at the poles."""

    def __init__(self, grid: Grid) -> None:
        rows = np.argsort(grid.lat)
        self.lat, self.row = grid.lat[rows], rows
        # Rows -1 and -2 stand for the poles.
        if grid.periodic and len(rows) > 1:
            for end, sign, pole in ((0, -1.0, -1), (-1, 1.0, -2)):
                gap = 90.0 - sign * self.lat[end]
                step = abs(self.lat[end] - self.lat[1 if end == 0 else -2])
                if _EPS < gap <= step:
                    at = 0 if end == 0 else len(self.lat)
                    self.lat = np.insert(self.lat, at, sign * 90.0)
                    self.row = np.insert(self.row, at, pole)
        self.rings = (rows[0], rows[-1])
        lon = np.unwrap(grid.lon, period=360.0)
        columns = np.argsort(lon)
        self.lon, self.column = lon[columns], columns
        self.start = 0.5 * (self.lon[0] + self.lon[-1]) - 180.0
        if grid.periodic:
            self.start = float(self.lon[0])
            self.lon = np.append(self.lon, self.lon[0] + 360.0)
            self.column = np.append(self.column, self.column[0])


def interpolate(
    grid: Grid, lat: FloatArray, lon: FloatArray, method: Method, edges: Edges = "great_circle"
) -> sp.csr_array:
    """Weights from a grid to points.

    Parameters
    ----------
    grid
        Source grid.
    lat, lon
        Points in degrees, shape (n,); any longitude convention. NaN lies outside.
    method
        ``"bilinear"`` or ``"nearest"``.
    edges
        What joins the centres along a parallel, for ``"bilinear"``.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (n, lat * lon).

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0]))
    >>> interpolate(grid, np.array([5.0]), np.array([2.5]), "bilinear", "parallel").toarray()
    array([[0.375, 0.125, 0.375, 0.125]])
    """
    axes = _Axes(grid)
    lat, lon = np.broadcast_arrays(lat, lon)
    size = grid.shape[0] * grid.shape[1]
    parts = [
        _block(axes, grid.shape[1], size, lat[i : i + _BLOCK], lon[i : i + _BLOCK], method, edges)
        for i in range(0, len(lat), _BLOCK)
    ]
    return sp.csr_array(sp.vstack(parts, format="csr")) if parts else sp.csr_array((0, size))


def _block(
    axes: _Axes, nlon: int, size: int, lat: FloatArray, lon: FloatArray, method: Method, edges: Edges
) -> sp.csr_array:
    known = np.isfinite(lat) & np.isfinite(lon) & (np.abs(lat) <= 90.0 + 1e-6)
    lat = np.clip(np.where(known, lat, 0.0), -90.0, 90.0)
    x = _lon_into(np.where(known, lon, 0.0), axes.start)
    west, s, inside = bracket(axes.lon, x, linear=True)
    east = np.minimum(west + 1, len(axes.lon) - 1)
    phi = np.deg2rad(lat)
    x = np.clip(x, axes.lon[0], axes.lon[-1])
    if method == "nearest":
        nearest = np.where(s > 0.5 + _EPS, east, west)
        delta = np.deg2rad(x - axes.lon[nearest])
        # The poles themselves are no cells.
        real = axes.row >= 0
        towards = np.rad2deg(np.arctan2(np.sin(phi), np.cos(phi) * np.cos(delta)))
        low, upper, within = bracket(axes.lat[real], towards, linear=False)
        rows, columns = axes.row[real][np.minimum(low + upper.astype(np.intp), real.sum() - 1)], axes.column[nearest]
        within |= _beyond(axes, towards)
        found = np.flatnonzero(known & inside & within)
        return sp.csr_array(
            sp.coo_array((np.ones(len(found)), (found, rows[found] * nlon + columns[found])), shape=(len(lat), size))
        )
    if edges == "great_circle":
        half = np.deg2rad(0.5 * (axes.lon[east] - axes.lon[west]))
        offset = np.deg2rad(x - 0.5 * (axes.lon[east] + axes.lon[west]))
        # No great circle joins neighbours that are half a circle apart.
        curved = (half > 0) & (half < 0.5 * np.pi - 1e-6)
        half, offset = np.where(curved, half, 0.25), np.where(curved, offset, 0.25)
        s = np.where(curved, _snapped(0.5 * (1 + np.tan(offset) / np.tan(half))), s)
        phi = np.arctan2(np.sin(phi) * np.cos(half), np.cos(phi) * np.cos(offset))
        lat = np.rad2deg(phi)
    low, t, within = bracket(axes.lat, lat, linear=True)
    high = np.minimum(low + 1, len(axes.lat) - 1)
    if edges == "great_circle" and len(axes.lat) > 1:
        below, above = np.sin(phi - np.deg2rad(axes.lat[low])), np.sin(np.deg2rad(axes.lat[high]) - phi)
        between = (t > 0) & (t < 1)
        t = np.where(between, _snapped(below / np.where(between, below + above, 1.0)), t)
    inside = known & inside & within
    return _four(axes, nlon, size, (low, high, t), (west, east, s), inside)


def _snapped(weight: FloatArray) -> FloatArray:
    weight = np.clip(weight, 0.0, 1.0)
    # Rounding must not leave a second entry of 1e-16 where a target lies on a centre.
    return np.where(weight < _EPS, 0.0, np.where(weight > 1.0 - _EPS, 1.0, weight))


def _beyond(axes: _Axes, lat: FloatArray) -> _Mask:
    """Whether latitudes lie between the last row and a pole that the grid reaches."""
    south, north = axes.row[0] < 0, axes.row[-1] < 0
    return np.asarray((south & (lat < 0) & (lat <= axes.lat[1])) | (north & (lat > 0) & (lat >= axes.lat[-2])))


def _four(
    axes: _Axes,
    nlon: int,
    size: int,
    along_lat: tuple[_Indices, _Indices, FloatArray],
    along_lon: tuple[_Indices, _Indices, FloatArray],
    inside: _Mask,
) -> sp.csr_array:
    """Weights of four neighbours each; a pole is the mean of its ring."""
    (low, high, t), (west, east, s) = along_lat, along_lon
    n = len(t)
    rows, columns, data = [], [], []
    for row, a in ((low, 1 - t), (high, t)):
        where = axes.row[row]
        for column, b in ((west, 1 - s), (east, s)):
            weight = a * b
            found = np.flatnonzero(inside & (weight > 0) & (where >= 0))
            rows.append(found)
            columns.append(where[found] * nlon + axes.column[column][found])
            data.append(weight[found])
        for pole, ring in ((-1, axes.rings[0]), (-2, axes.rings[1])):
            found = np.flatnonzero(inside & (a > 0) & (where == pole))
            if len(found):
                rows.append(np.repeat(found, nlon))
                columns.append(np.tile(ring * nlon + np.arange(nlon), len(found)))
                data.append(np.repeat(a[found] / nlon, nlon))
    # A ring may name a cell twice: entries of the same place are summed.
    return sp.csr_array(
        sp.coo_array((np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))), shape=(n, size))
    )


def row_kron(
    a: sp.csr_array,
    b: sp.csr_array,
    rows_a: npt.NDArray[np.intp] | None = None,
    rows_b: npt.NDArray[np.intp] | None = None,
) -> sp.csr_array:
    """Kronecker product row by row: row n of the result is ``kron(a[rows_a[n]], b[rows_b[n]])``.

    Parameters
    ----------
    a, b
        Matrices of shapes (m, p) and (k, q).
    rows_a, rows_b
        Rows to combine, shape (n,) each; by default all rows in order.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (n, p * q).

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> row_kron(sp.csr_array([[1.0, 2.0]]), sp.csr_array([[0.0, 3.0]])).toarray()
    array([[0., 3., 0., 6.]])
    """
    rows_a = np.arange(a.shape[0]) if rows_a is None else rows_a
    rows_b = np.arange(b.shape[0]) if rows_b is None else rows_b
    na, nb = np.diff(a.indptr)[rows_a].astype(np.int64), np.diff(b.indptr)[rows_b].astype(np.int64)
    counts = na * nb
    indptr = np.concatenate([[0], np.cumsum(counts)])
    width = a.shape[1] * b.shape[1]
    integer = np.int32 if max(width, indptr[-1]) < 2**31 else np.int64
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts)
    if (na <= 1).all():
        ia, ib = np.repeat(a.indptr[rows_a], counts), np.repeat(b.indptr[rows_b], counts) + within
    else:
        each = np.repeat(nb, counts)
        ia = np.repeat(a.indptr[rows_a], counts) + within // each
        ib = np.repeat(b.indptr[rows_b], counts) + within % each
    indices = a.indices[ia].astype(integer) * integer(b.shape[1]) + b.indices[ib]
    return sp.csr_array((a.data[ia] * b.data[ib], indices, indptr.astype(integer)), shape=(len(counts), width))

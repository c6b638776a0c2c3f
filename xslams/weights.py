"""Sparse interpolation weights on the sphere: from a rectilinear grid to points, and between rectilinear grids.

A field on a grid, flattened in C order to ``x`` of length lat * lon, is mapped by ``y = W x``. Weights between grids
are products of weights along latitude and along longitude, ``W = W_lat (x) W_lon``, so they are built from two small
matrices.

Bilinear weights are linear in latitude and in longitude. Beyond the last latitude of a global grid lies the pole, whose
value is the mean of that last ring. Beyond the edge of a regional grid, a target within half a step of the outermost
centres, that is inside the outermost cells, takes the value at the edge.

Conservative weights are the shares of the target cell that the source cells cover, in ``sin(lat)`` and longitude, which
is area on the sphere; each row is divided by the share covered in all. Cells reach half way to their neighbours.

A row of weights that sums to zero means that the target lies outside of the grid; every other row sums to one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.coordinates import Grid
from xslams.typing import FloatArray, Method

__all__ = ["bracket", "cell_edges", "cell_weights", "grid_weights", "point_weights", "row_kron"]

# A target cell of which less is covered is outside: its mean is not that of what lies within.
_MIN_COVER = 0.5
_EPS = 1e-9


def cell_edges(centres: FloatArray, *, latitude: bool) -> FloatArray:
    """Edges of cells that reach half way to their neighbours, shape (n + 1,), in the order of the centres.

    Parameters
    ----------
    centres
        Monotonic cell centres in degrees.
    latitude
        Whether these are latitudes, whose edges stop at the poles.

    Returns
    -------
    ndarray
        Edges.

    Examples
    --------
    >>> import numpy as np
    >>> cell_edges(np.array([80.0, 60.0, 40.0]), latitude=True)
    array([90., 70., 50., 30.])
    """
    centres = np.asarray(centres, float)
    if len(centres) == 1:
        # Nothing says how wide a single cell is; one degree is narrow on any grid that a model has.
        edges = centres[0] + np.array([-0.5, 0.5])
    else:
        middle = 0.5 * (centres[1:] + centres[:-1])
        edges = np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
    if latitude:
        edges = np.clip(edges, -90.0, 90.0)
        for end, nxt in ((0, 1), (-1, -2)) if len(centres) > 1 else ():
            # Gaussian rows widen towards the pole, so that half a step past the last falls a little short of it.
            if 90.0 - abs(edges[end]) < 0.35 * abs(edges[end] - edges[nxt]):
                edges[end] = np.copysign(90.0, edges[end])
    return np.asarray(edges)


def _csr(
    rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp], data: FloatArray, shape: tuple[int, int]
) -> sp.csr_array:
    keep = data != 0
    # float64 and summed duplicates: a pole row may name a cell twice.
    return sp.csr_array(sp.coo_array((data[keep], (rows[keep], cols[keep])), shape=shape))


def _lon_sorted(grid: Grid) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Longitudes unwrapped and ascending, and their positions in the grid."""
    lon = np.unwrap(grid.lon, period=360.0)
    order = np.argsort(lon)
    return lon[order], order


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
    return low, weight if linear else np.where(weight > 0.5, 1.0, 0.0), inside


def _lat_weights(grid: Grid, lat: FloatArray, *, linear: bool) -> tuple[sp.csr_array, npt.NDArray[np.intp], FloatArray]:
    """Weights along latitude, and for each target the row whose ring makes a pole and the weight of that pole."""
    order = np.argsort(grid.lat)
    axis = grid.lat[order]
    low, weight, inside = bracket(axis, lat, linear=linear)
    ring, pole = np.zeros(len(lat), np.intp), np.zeros(len(lat))
    if grid.periodic and len(axis) > 1:
        for end, sign, step in ((0, -1.0, axis[1] - axis[0]), (-1, 1.0, axis[-1] - axis[-2])):
            gap = 90.0 - sign * axis[end]
            if gap > step:
                continue
            beyond = sign * lat > sign * axis[end]
            inside |= beyond
            if linear and gap > _EPS:
                ring[beyond] = order[end]
                pole[beyond] = (sign * (lat[beyond] - axis[end])) / gap
    rows = np.arange(len(lat))
    keep = inside & (np.abs(lat) <= 90.0 + _EPS)
    upper = order[np.minimum(low + 1, len(axis) - 1)]
    weights = _csr(
        np.concatenate([rows, rows]),
        np.concatenate([order[low], upper]),
        np.concatenate([(1 - weight) * keep, weight * keep]),
        (len(lat), len(axis)),
    )
    return weights, ring, np.where(keep, pole, 0.0)


def _lon_weights(grid: Grid, lon: FloatArray, *, linear: bool) -> sp.csr_array:
    """Weights along longitude."""
    axis, order = _lon_sorted(grid)
    if grid.periodic:
        axis, order = np.append(axis, axis[0] + 360.0), np.append(order, order[0])
        x = _lon_into(lon, axis[0])
    else:
        # The circle is cut opposite to the middle of the grid, so that both of its edges can be exceeded a little.
        x = _lon_into(lon, 0.5 * (axis[0] + axis[-1]) - 180.0)
    low, weight, inside = bracket(axis, x, linear=linear)
    rows = np.arange(len(x))
    upper = order[np.minimum(low + 1, len(axis) - 1)]
    return _csr(
        np.concatenate([rows, rows]),
        np.concatenate([order[low], upper]),
        np.concatenate([(1 - weight) * inside, weight * inside]),
        (len(x), len(grid.lon)),
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


def point_weights(grid: Grid, lat: FloatArray, lon: FloatArray, method: Method = "bilinear") -> sp.csr_array:
    """Weights from a grid to points.

    Parameters
    ----------
    grid
        Source grid.
    lat, lon
        Points in degrees, shape (n,); any longitude convention. NaN lies outside.
    method
        ``"bilinear"`` or ``"nearest"`` (the cell that holds the point; conservative is the same for a point).

    Returns
    -------
    scipy.sparse.csr_array
        Shape (n, lat * lon). Rows sum to one, or are empty for points outside of the grid.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0]))
    >>> point_weights(grid, np.array([5.0]), np.array([2.5])).toarray()
    array([[0.375, 0.125, 0.375, 0.125]])
    """
    lat, lon = np.asarray(lat, float).ravel(), np.asarray(lon, float).ravel()
    known = np.isfinite(lat) & np.isfinite(lon)
    lat, lon = np.where(known, lat, 1e3), np.where(known, lon, 0.0)
    linear = method == "bilinear"
    wlat, ring, pole = _lat_weights(grid, lat, linear=linear)
    weights = row_kron(wlat, _lon_weights(grid, lon, linear=linear))
    return _add_poles(weights, grid, ring, pole)


def _add_poles(weights: sp.csr_array, grid: Grid, ring: npt.NDArray[np.intp], pole: FloatArray) -> sp.csr_array:
    """Mix rows beyond the last latitude with the mean of its ring."""
    polar = np.flatnonzero(pole)
    if not len(polar):
        return weights
    n = len(grid.lon)
    columns = (ring[polar, None] * n + np.arange(n)).ravel()
    extra = sp.csr_array((np.repeat(pole[polar] / n, n), (np.repeat(polar, n), columns)), shape=weights.shape)
    return sp.csr_array(sp.diags_array(1.0 - pole) @ weights + extra)


def _overlap(source: FloatArray, target: FloatArray) -> FloatArray:
    """Length shared by intervals, shapes (m, 2) and (n, 2) to (n, m)."""
    low = np.maximum(source[None, :, 0], target[:, None, 0])
    return np.asarray(np.clip(np.minimum(source[None, :, 1], target[:, None, 1]) - low, 0.0, None))


def _intervals(edges: FloatArray) -> FloatArray:
    pairs = np.stack([edges[:-1], edges[1:]], axis=1) if edges.ndim == 1 else edges
    return np.sort(pairs, axis=1)


def cell_weights(grid: Grid, lat_edges: FloatArray, lon_edges: FloatArray) -> sp.csr_array:
    """Conservative weights: area means over cells.

    Parameters
    ----------
    grid
        Source grid.
    lat_edges, lon_edges
        Edges of the target cells in degrees: shape (n + 1,), or (n, 2) as in CF bounds.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (target lat * target lon, lat * lon). Rows sum to one, or are empty where the grid covers less than half.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([-45.0, 45.0]), np.array([0.0, 90.0, 180.0, 270.0]), periodic=True)
    >>> cell_weights(grid, np.array([-90.0, 90.0]), np.array([-45.0, 315.0])).toarray()
    array([[0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125]])
    """
    sines = [
        np.sin(np.deg2rad(_intervals(e))) for e in (cell_edges(grid.lat, latitude=True), np.asarray(lat_edges, float))
    ]
    along_lat = _overlap(*sines)
    source, target = (
        _intervals(e)
        for e in (cell_edges(np.unwrap(grid.lon, period=360.0), latitude=False), np.asarray(lon_edges, float))
    )
    if grid.periodic:
        # Uneven spacing must not leave a gap or an overlap where the circle closes.
        first, last = source[:, 0].argmin(), source[:, 1].argmax()
        source[last, 1] = source[first, 0] + 360.0
    shift = 360.0 * np.floor((target[:, :1] - source.min()) / 360.0)
    target = target - shift
    along_lon = sum(
        (_overlap(source + turn, target) for turn in (-360.0, 0.0, 360.0)), start=np.zeros((len(target), len(source)))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        cover = [
            np.nan_to_num(w.sum(axis=1) / (t[:, 1] - t[:, 0])) for w, t in ((along_lat, sines[1]), (along_lon, target))
        ]
    # Shares below rounding are touching edges, not overlap.
    parts = []
    for w in (along_lat, along_lon):
        total = w.sum(axis=1, keepdims=True)
        share = np.divide(w, total, out=np.zeros_like(w), where=total > 0)
        share[share < 1e-12] = 0.0
        parts.append(sp.csr_array(share))
    weights = sp.csr_array(sp.kron(parts[0], parts[1], format="csr"))
    outside = np.multiply.outer(cover[0], cover[1]).ravel() < _MIN_COVER - _EPS
    if outside.any():
        weights = sp.csr_array(sp.diags_array((~outside).astype(float)) @ weights)
        weights.eliminate_zeros()
    return weights


def grid_weights(
    source: Grid,
    target: Grid,
    method: Method = "bilinear",
    *,
    lat_edges: FloatArray | None = None,
    lon_edges: FloatArray | None = None,
) -> sp.csr_array:
    """Weights from a grid to another.

    Parameters
    ----------
    source, target
        Grids.
    method
        ``"bilinear"``, ``"conservative"`` or ``"nearest"``.
    lat_edges, lon_edges
        Edges of the target cells, for ``"conservative"``; by default half way between centres.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (target lat * target lon, source lat * source lon). Rows sum to one, or are empty outside of the source.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0, 20.0]))
    >>> bool((grid_weights(grid, grid).toarray() == np.eye(6)).all())
    True
    """
    if method == "conservative":
        lat_edges = cell_edges(target.lat, latitude=True) if lat_edges is None else lat_edges
        lon_edges = cell_edges(np.unwrap(target.lon, period=360.0), latitude=False) if lon_edges is None else lon_edges
        return cell_weights(source, lat_edges, lon_edges)
    linear = method == "bilinear"
    wlat, ring, pole = _lat_weights(source, target.lat, linear=linear)
    weights = sp.csr_array(sp.kron(wlat, _lon_weights(source, target.lon, linear=linear), format="csr"))
    n = len(target.lon)
    return _add_poles(weights, source, np.repeat(ring, n), np.repeat(pole, n))

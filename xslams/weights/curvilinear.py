r"""Weights from curvilinear grids and from points.

Four neighbouring centres span a surface in space that is bilinear in :math:`s` and :math:`t`, and the target :math:`p`
is seen from the centre of the sphere through that surface: :math:`\sum_i N_i(s, t) X_i \parallel p`, as in ESMF. In the
plane that touches the sphere at :math:`p` that is the inverse of a bilinear map, the root of a quadratic. The cells to
be tried are found with a k-d tree.

A ring of ghost centres half a step outside takes the values at the edge, so that the outermost cells count in full;
grids that close on themselves are closed instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.errors import GridError
from xslams.geometry import Curvilinear, Geometry, Points, around, lat_intervals, lon_intervals
from xslams.labels.coordinates import Grid
from xslams.typing import FloatArray
from xslams.weights.cells import is_wide

__all__ = ["bilinear", "corner_nodes", "nearest", "polygons_of", "unit_vectors"]

_EPS = 1e-9
_BLOCK = 1 << 17
_Indices = npt.NDArray[np.intp]


def unit_vectors(lat: FloatArray, lon: FloatArray) -> npt.NDArray[np.float64]:
    """Positions on the unit sphere, shape (..., 3).

    Examples
    --------
    >>> import numpy as np
    >>> unit_vectors(np.array([0.0, 90.0]), np.array([0.0, 0.0])).round(12)
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    a, b = np.deg2rad(np.asarray(lat, float)), np.deg2rad(np.asarray(lon, float))
    return np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], axis=-1)


def _length(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Lengths of vectors; several times as fast as the norm along a short axis."""
    return np.asarray(np.sqrt(v[..., 0] ** 2 + v[..., 1] ** 2 + v[..., 2] ** 2))


def _unit(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(v / _length(v)[..., None])


def _closed(x: npt.NDArray[np.float64]) -> bool:
    """Whether the last column is next to the first, as two neighbouring columns are."""
    if x.shape[1] < 4:
        return False
    steps = _length(np.diff(x, axis=1))
    count = np.isfinite(steps).sum(axis=1)
    step = np.nansum(steps, axis=1) / np.maximum(count, 1)
    gap = _length(x[:, -1] - x[:, 0])
    known = np.isfinite(gap) & (step > 0)
    # A column that is repeated to close the grid has no gap.
    return bool(known.any()) and bool((gap[known] <= 1.5 * step[known]).all())


def _padded(x: npt.NDArray[np.float64], reach: float) -> tuple[npt.NDArray[np.float64], _Indices]:
    """Centres with a ring around them, shape (y + 2, x + 2, 3), and the cell whose value each of them has.

    The ring lies `reach` steps outside, or is the other end of a grid that closes on itself.
    """
    index = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2])
    for axis in (1, 0):
        y, of = np.moveaxis(x, axis, 1), np.moveaxis(index, axis, 1)
        if y.shape[1] < 2:
            msg = f"A curvilinear grid needs at least two rows and columns to have cells; got {x.shape[:2]}."
            raise GridError(msg)
        closed = _closed(y)
        ends = (-1, 0) if closed else (0, -1)
        if closed:
            first, last = y[:, -1], y[:, 0]
        else:
            first = y[:, 0] + reach * (y[:, 0] - y[:, 1])
            last = y[:, -1] + reach * (y[:, -1] - y[:, -2])
        y = np.concatenate([_unit(first)[:, None], y, _unit(last)[:, None]], axis=1)
        of = np.concatenate([of[:, ends[0], None], of, of[:, ends[1], None]], axis=1)
        x, index = np.moveaxis(y, 1, axis), np.moveaxis(of, 1, axis)
    return x, index


def corner_nodes(geometry: Curvilinear) -> npt.NDArray[np.float64]:
    """Corners that lie in the middle of four centres, half a step outside at the edges, shape (y + 1, x + 1, 3)."""
    x, _ = _padded(unit_vectors(geometry.lat, geometry.lon), 1.0)
    return _unit(x[:-1, :-1] + x[1:, :-1] + x[:-1, 1:] + x[1:, 1:])


def polygons_of(geometry: Geometry) -> npt.NDArray[np.float64]:
    """Corners of cells on the unit sphere, shape (cells, 4, 3), joined by great circles; NaN where there is no cell.

    Parameters
    ----------
    geometry
        Grid or curvilinear grid. Cells without corners reach half way to their neighbours.

    Returns
    -------
    ndarray
        Corners in order around each cell.

    Raises
    ------
    GridError
        If a cell spans half a circle, or the grid has a single row or column.
    """
    if isinstance(geometry, Grid):
        if is_wide(geometry):
            msg = (
                f"A cell of {geometry} spans half a circle or more, so that no great circle joins its corners. "
                "Divide its longitudes."
            )
            raise GridError(msg)
        lat, lon = lat_intervals(geometry), lon_intervals(geometry)
        lats = np.broadcast_to(lat[:, None, [0, 0, 1, 1]], (*geometry.shape, 4))
        lons = np.broadcast_to(lon[None, :, [0, 1, 1, 0]], (*geometry.shape, 4))
        return unit_vectors(lats, lons).reshape(-1, 4, 3)
    if isinstance(geometry, Points):
        msg = f"{geometry} have no cells."
        raise GridError(msg)
    if geometry.corners is None:
        corners = around(corner_nodes(geometry))
    else:
        corners = unit_vectors(geometry.corners[0], geometry.corners[1])
    corners = np.where(np.isfinite(geometry.lat + geometry.lon)[..., None, None], corners, np.nan)
    return np.asarray(corners.reshape(-1, 4, 3))


def _tangents(p: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Two directions at right angles to each of `p` and to each other."""
    helper = np.eye(3)[np.abs(p).argmin(axis=1)]
    one = np.cross(p, helper)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    return one, np.cross(p, one)


def _inverse_bilinear(q: npt.NDArray[np.float64]) -> tuple[FloatArray, FloatArray]:
    """Coordinates (s, t) at which the bilinear map of four corners, shape (n, 4, 2), is zero; NaN where there are none.

    Corners are those of (0, 0), (1, 0), (1, 1) and (0, 1).
    """

    def cross(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])

    a, b, c = q[:, 0], q[:, 1] - q[:, 0], q[:, 3] - q[:, 0]
    d = q[:, 2] - q[:, 1] - c
    # (a + b s) x (c + d s) = 0
    k2, k1, k0 = cross(b, d), cross(a, d) + cross(b, c), cross(a, c)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        root = np.sqrt(np.maximum(k1**2 - 4 * k2 * k0, 0.0))
        z = -0.5 * (k1 + np.copysign(root, k1))
        one, two = k0 / z, z / k2
        away = [np.nan_to_num(np.abs(root - 0.5), nan=np.inf) for root in (one, two)]
        s = np.where(away[0] <= away[1], one, two)
        column = s.reshape(-1, 1)
        along = c + d * column
        t = -((a + b * column) * along).sum(axis=1) / (along**2).sum(axis=1)
    real = k1**2 - 4 * k2 * k0 >= -1e-12 * k1**2
    return np.where(real, s, np.nan), np.where(real, t, np.nan)


def bilinear(source: Curvilinear, lat: FloatArray, lon: FloatArray) -> sp.csr_array:
    """Bilinear weights from a curvilinear grid to points.

    Parameters
    ----------
    source
        Grid.
    lat, lon
        Points in degrees, shape (n,); NaN lies outside.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (n, cells). Rows sum to one, or are empty outside.

    Examples
    --------
    >>> import numpy as np
    >>> lat, lon = np.array([[-10.0, -10.0], [10.0, 10.0]]), np.array([[-10.0, 10.0], [-10.0, 10.0]])
    >>> bilinear(Curvilinear(lat, lon), np.zeros(1), np.zeros(1)).toarray().round(12)
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    mesh = _Mesh(source)
    points = unit_vectors(lat, lon)
    found, weight = mesh.search(points)
    inside = np.flatnonzero(found >= 0)
    columns = mesh.members(found[inside])
    data = weight[inside]
    some = data > 0
    rows = np.broadcast_to(inside[:, None], data.shape)
    return sp.csr_array(sp.coo_array((data[some], (rows[some], columns[some])), shape=(len(points), source.lat.size)))


class _Mesh:
    """Quadrilaterals between the centres of a grid, and the ring around them."""

    def __init__(self, grid: Curvilinear) -> None:
        x, self.index = _padded(unit_vectors(grid.lat, grid.lon), 0.5)
        self.x = x
        middle = 0.25 * (x[:-1, :-1] + x[:-1, 1:] + x[1:, 1:] + x[1:, :-1])
        corners = x[:-1, :-1], x[:-1, 1:], x[1:, 1:], x[1:, :-1]
        radius = np.max([_length(c - middle) for c in corners], axis=0).ravel()
        #: Quadrilaterals that have all of their corners.
        self.known = np.flatnonzero(np.isfinite(radius))
        self.middle = middle.reshape(-1, 3)[self.known]
        # The middle of a cell lies a little inside of the sphere.
        self.bound = 0.0
        if len(self.known):
            self.bound = float(radius[self.known].max() + 1 - _length(self.middle).min()) * (1 + 1e-6) + 1e-9

    def _four(self, values: npt.NDArray[Any], quads: _Indices) -> npt.NDArray[Any]:
        """Values at the corners of quadrilaterals, in order around them, shape (n, 4, ...)."""
        row, column = np.divmod(self.known[quads], self.x.shape[1] - 1)
        return np.asarray(values[row[:, None] + np.array([0, 0, 1, 1]), column[:, None] + np.array([0, 1, 1, 0])])

    def members(self, quads: _Indices) -> _Indices:
        """Cells whose values the corners have, shape (n, 4)."""
        return self._four(self.index, quads)

    def search(self, points: npt.NDArray[np.float64]) -> tuple[_Indices, npt.NDArray[np.float64]]:
        """Quadrilateral of each point (-1: none), and the weights of its corners, shape (n, 4)."""
        from scipy.spatial import KDTree

        found = np.full(len(points), -1, np.intp)
        weights = np.zeros((len(points), 4))
        total = len(self.middle)
        left = np.flatnonzero(np.isfinite(points).all(axis=1))
        if not total or not len(left):
            return found, weights
        # A tree that is not balanced is built in a fraction of the time.
        tree = KDTree(self.middle, balanced_tree=False, compact_nodes=False)
        done, count = 0, min(4, total)
        while len(left) and done < total:
            rest = []
            for start in range(0, len(left), _BLOCK):
                which = left[start : start + _BLOCK]
                _, near = tree.query(points[which], k=np.arange(done + 1, count + 1), distance_upper_bound=self.bound)
                for k in range(near.shape[1]):
                    open_ = np.flatnonzero((found[which] < 0) & (near[:, k] < total))
                    at, quad = which[open_], near[open_, k]
                    hit, weight = _inside(self._four(self.x, quad), points[at])
                    found[at[hit]] = quad[hit]
                    weights[at[hit]] = weight
                # Quadrilaterals beyond the bound cannot hold the point.
                rest.append(which[(found[which] < 0) & (near[:, -1] < total)])
            left = np.concatenate(rest)
            done, count = count, min(4 * count, total)
        return found, weights


def _inside(
    corners: npt.NDArray[np.float64], points: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Whether each quadrilateral, shape (n, 4, 3), holds its point, and the weights of the corners of those that do."""
    one, two = _tangents(points)
    plane = np.stack([np.einsum("nkc,nc->nk", corners, e) for e in (one, two)], axis=-1)
    s, t = _inverse_bilinear(plane)
    with np.errstate(invalid="ignore"):
        hit = (np.abs(s - 0.5) <= 0.5 + _EPS) & (np.abs(t - 0.5) <= 0.5 + _EPS)
    # Not the one on the other side of the sphere.
    hit &= np.einsum("nkc,nc->n", corners, points) > 0
    s, t = (np.clip(v[hit], 0.0, 1.0) for v in (s, t))
    s, t = (np.where(v < _EPS, 0.0, np.where(v > 1 - _EPS, 1.0, v)) for v in (s, t))
    return hit, np.stack([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t], axis=1)


def nearest(source: Curvilinear | Points, lat: FloatArray, lon: FloatArray) -> sp.csr_array:
    """Weights of the nearest centre or point on the sphere.

    Parameters
    ----------
    source
        Curvilinear grid, outside of which nothing is mapped; or points, of which one is always nearest.
    lat, lon
        Points in degrees, shape (n,); NaN lies outside.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (n, cells or points).

    Raises
    ------
    GridError
        If no point of the source has a place.

    Examples
    --------
    >>> import numpy as np
    >>> stations = Points(np.array([10.0, 50.0]), np.array([0.0, 0.0]))
    >>> nearest(stations, np.array([45.0]), np.array([359.0])).toarray()
    array([[0., 1.]])
    """
    from scipy.spatial import KDTree

    x = unit_vectors(source.lat, source.lon).reshape(-1, 3)
    known = np.flatnonzero(np.isfinite(x).all(axis=1))
    if not len(known):
        msg = f"None of the {len(x)} places of the source has a latitude and longitude; expected at least one."
        raise GridError(msg)
    points = unit_vectors(lat, lon)
    inside = np.isfinite(points).all(axis=1)
    if isinstance(source, Curvilinear) and min(source.shape) > 1:
        inside &= _Mesh(source).search(points)[0] >= 0
    rows = np.flatnonzero(inside)
    tree = KDTree(x[known], balanced_tree=False, compact_nodes=False)
    _, near = tree.query(points[rows]) if len(rows) else (None, np.zeros(0, np.intp))
    return sp.csr_array(sp.coo_array((np.ones(len(rows)), (rows, known[near])), shape=(len(points), source.lat.size)))

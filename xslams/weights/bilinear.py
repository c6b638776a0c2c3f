r"""Bilinear weights.

They are those of ESMF: the four centres around a target span a surface in space, bilinear in :math:`s` and :math:`t`,
and the target :math:`p` is seen from the centre of the sphere through that surface:
:math:`\sum_i N_i(s, t) X_i \parallel p`. Among neighbours in a curvilinear grid `xslams.weights.mesh` solves for
:math:`s` and :math:`t`. On a rectilinear grid they have a closed form. Let :math:`m \pm h` be the longitudes of the
neighbours, :math:`\varphi_0, \varphi_1` their latitudes and :math:`\lambda - m` the distance of the target from the
middle. Then

.. math::

    s = \tfrac12 \left(1 + \frac{\tan(\lambda - m)}{\tan h}\right), \qquad
    \tan\varphi' = \tan\varphi \frac{\cos h}{\cos(\lambda - m)}, \qquad
    \frac{t}{1 - t} = \frac{\sin(\varphi' - \varphi_0)}{\sin(\varphi_1 - \varphi')} ,

where :math:`\varphi'` is the latitude at which the great circle through the target meets the neighbours' meridians, so
that the row is found by it. With ``edges="parallel"``, weights are linear in latitude and in longitude, as they are in
CDO. On a lattice they are linear along each axis.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.geometry import Geometry, Lattice, unit_vectors
from xslams.typing import Edges, FloatArray
from xslams.weights.axes import bracket, snapped
from xslams.weights.base import METHODS, only_rectilinear, sparse
from xslams.weights.lattice import linear, product
from xslams.weights.mesh import Mesh
from xslams.weights.rectilinear import Neighbours, RowsAndColumns, in_blocks

__all__ = ["Bilinear"]

_Indices = npt.NDArray[np.intp]


class Bilinear:
    """Interpolation between the four neighbours of a target."""

    cover = 1.0 - 1e-6

    def check(self, source: Geometry, target: Geometry, edges: Edges) -> None:
        """Raise unless the source has neighbours."""
        source.check_neighbours()
        if edges == "parallel" and source.rectilinear is None and not source.flat:
            raise only_rectilinear(source)

    def on_sphere(self, source: Geometry, target: Geometry, edges: Edges) -> sp.csr_array:
        """Weights by the closed form on rows and columns, else by search among the neighbours."""
        grid = source.rectilinear
        if grid is None:
            return _from_mesh(source, unit_vectors(*target.centres()))
        return in_blocks(grid, target.centres(), lambda axes, lat, lon: _block(axes, lat, lon, edges))

    def on_lattice(self, source: Lattice, target: Geometry) -> sp.csr_array:
        """Weights that are linear along each axis."""
        return product([linear(axis, x) for axis, x in zip(source.axes, target.centres(), strict=True)], target.size)


METHODS.register("bilinear")(Bilinear())


def _from_mesh(source: Geometry, points: npt.NDArray[np.float64]) -> sp.csr_array:
    mesh = Mesh(source.neighbours())
    found, weight = mesh.search(points)
    inside = np.flatnonzero(found >= 0)
    columns = mesh.members(found[inside])
    data = weight[inside]
    some = data > 0
    rows = np.broadcast_to(inside[:, None], data.shape)
    return sparse((len(points), source.size), [(rows[some], columns[some], data[some])])


def _block(axes: RowsAndColumns, lat: FloatArray, lon: FloatArray, edges: Edges) -> sp.csr_array:
    at = axes.locate(lat, lon)
    curved = edges == "great_circle"
    phi, s = _seen(axes, at) if curved else (np.deg2rad(at.lat), at.s)
    low, t, within = bracket(axes.lat, np.rad2deg(phi) if curved else at.lat, linear=True)
    high = np.minimum(low + 1, len(axes.lat) - 1)
    if curved and len(axes.lat) > 1:
        below, above = np.sin(phi - np.deg2rad(axes.lat[low])), np.sin(np.deg2rad(axes.lat[high]) - phi)
        between = (t > 0) & (t < 1)
        t = np.where(between, snapped(below / np.where(between, below + above, 1.0)), t)
    inside = np.flatnonzero(at.inside & within)
    return _four(axes, (low, high, t), (at.west, at.east, s), inside, len(t))


def _seen(axes: RowsAndColumns, at: Neighbours) -> tuple[FloatArray, FloatArray]:
    """Latitudes, in radians, at which great circles through the targets meet the neighbours, and weights s."""
    half = np.deg2rad(0.5 * (axes.lon[at.east] - axes.lon[at.west]))
    offset = np.deg2rad(at.lon - 0.5 * (axes.lon[at.east] + axes.lon[at.west]))
    # No great circle joins neighbours that are half a circle apart.
    curved = (half > 0) & (half < 0.5 * np.pi - 1e-6)
    half, offset = np.where(curved, half, 0.25), np.where(curved, offset, 0.25)
    s = np.where(curved, snapped(0.5 * (1 + np.tan(offset) / np.tan(half))), at.s)
    phi = np.deg2rad(at.lat)
    return np.arctan2(np.sin(phi) * np.cos(half), np.cos(phi) * np.cos(offset)), s


def _four(
    axes: RowsAndColumns,
    along_lat: tuple[_Indices, _Indices, FloatArray],
    along_lon: tuple[_Indices, _Indices, FloatArray],
    inside: _Indices,
    count: int,
) -> sp.csr_array:
    """Weights of four neighbours each; a pole is the mean of its ring."""
    (low, high, t), (west, east, s) = along_lat, along_lon
    nlat, nlon = axes.shape
    entries = []
    for row, a in ((low, 1 - t), (high, t)):
        of = axes.row[row]
        for column, b in ((west, 1 - s), (east, s)):
            weight = a * b
            found = inside[(weight[inside] > 0) & (of[inside] >= 0)]
            entries.append((found, of[found] * nlon + axes.column[column][found], weight[found]))
        for pole, ring in ((-1, axes.rings[0]), (-2, axes.rings[1])):
            found = inside[(a[inside] > 0) & (of[inside] == pole)]
            if len(found):
                columns = np.tile(ring * nlon + np.arange(nlon), len(found))
                entries.append((np.repeat(found, nlon), columns, np.repeat(a[found] / nlon, nlon)))
    # A ring may name a cell twice.
    return sparse((count, nlat * nlon), entries)

r"""Weights of the nearest cell or point on the sphere.

Among the rows of a rectilinear grid it is the one that is nearest to
:math:`\operatorname{atan2}(\sin\varphi, \cos\varphi \cos\delta)`, with :math:`\delta` the distance from the nearest
meridian. Elsewhere it is found with a k-d tree. A source that is bounded maps nothing outside of its cells.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from xslams.errors import GridError
from xslams.geometry import Geometry, Lattice, unit_vectors
from xslams.typing import Edges, FloatArray
from xslams.weights.axes import EPS, bracket
from xslams.weights.base import METHODS, sparse
from xslams.weights.lattice import closest, product
from xslams.weights.mesh import Mesh
from xslams.weights.rectilinear import RowsAndColumns, in_blocks

__all__ = ["Nearest"]


class Nearest:
    """The value of the nearest cell or point."""

    cover = 1.0 - 1e-6

    def check(self, source: Geometry, target: Geometry, edges: Edges) -> None:
        """Raise unless a source that ends somewhere says where."""
        if source.bounded:
            source.check_neighbours()

    def on_sphere(self, source: Geometry, target: Geometry, edges: Edges) -> sp.csr_array:
        """Weights by rows and columns where there are any, else by search."""
        if source.rectilinear is not None:
            return in_blocks(source.rectilinear, target.centres(), _block)
        return _from_tree(source, target)

    def on_lattice(self, source: Lattice, target: Geometry) -> sp.csr_array:
        """Weights of the site that is nearest along each axis."""
        return product([closest(axis, x) for axis, x in zip(source.axes, target.centres(), strict=True)], target.size)


METHODS.register("nearest")(Nearest())


def _from_tree(source: Geometry, target: Geometry) -> sp.csr_array:
    from scipy.spatial import KDTree

    x, points = unit_vectors(*source.centres()), unit_vectors(*target.centres())
    known = np.flatnonzero(np.isfinite(x).all(axis=1))
    if not len(known):
        msg = f"None of the {len(x)} places of the source has a latitude and longitude; expected at least one."
        raise GridError(msg)
    inside = np.isfinite(points).all(axis=1)
    if source.bounded:
        inside &= Mesh(source.neighbours()).search(points)[0] >= 0
    rows = np.flatnonzero(inside)
    tree = KDTree(x[known], balanced_tree=False, compact_nodes=False)
    _, near = tree.query(points[rows]) if len(rows) else (None, np.zeros(0, np.intp))
    return sparse((len(points), source.size), [(rows, known[near], np.ones(len(rows)))])


def _block(axes: RowsAndColumns, lat: FloatArray, lon: FloatArray) -> sp.csr_array:
    at = axes.locate(lat, lon)
    column = np.where(at.s > 0.5 + EPS, at.east, at.west)
    delta, phi = np.deg2rad(at.lon - axes.lon[column]), np.deg2rad(at.lat)
    # The poles themselves are no cells.
    real = axes.row >= 0
    towards = np.rad2deg(np.arctan2(np.sin(phi), np.cos(phi) * np.cos(delta)))
    low, upper, within = bracket(axes.lat[real], towards, linear=False)
    row = axes.row[real][np.minimum(low + upper.astype(np.intp), real.sum() - 1)]
    found = np.flatnonzero(at.inside & (within | axes.beyond(towards)))
    cells = row[found] * axes.shape[1] + axes.column[column][found]
    return sparse((len(at.lat), axes.shape[0] * axes.shape[1]), [(found, cells, np.ones(len(found)))])

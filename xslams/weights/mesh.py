r"""Search among the quadrilaterals between the centres of a curvilinear grid.

In the plane that touches the sphere at a target, the coordinates :math:`(s, t)` of the target in a quadrilateral are
the inverse of a bilinear map, the root of a quadratic. The quadrilaterals to be tried are found with a k-d tree.

A ring of ghost centres half a step outside takes the values at the edge, so that the outermost cells count in full;
grids that close on themselves are closed instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xslams.geometry.curvilinear import padded
from xslams.geometry.sphere import Vectors, length
from xslams.typing import FloatArray
from xslams.weights.axes import EPS

__all__ = ["Mesh"]

_BLOCK = 1 << 17
_Indices = npt.NDArray[np.intp]


class Mesh:
    """Quadrilaterals between the centres of a grid, shape (y, x, 3), and the ring around them."""

    def __init__(self, centres: Vectors) -> None:
        x, self.index = padded(centres, 0.5)
        self.x = x
        middle = 0.25 * (x[:-1, :-1] + x[:-1, 1:] + x[1:, 1:] + x[1:, :-1])
        corners = x[:-1, :-1], x[:-1, 1:], x[1:, 1:], x[1:, :-1]
        radius = np.max([length(c - middle) for c in corners], axis=0).ravel()
        #: Quadrilaterals that have all of their corners.
        self.known = np.flatnonzero(np.isfinite(radius))
        self.middle = middle.reshape(-1, 3)[self.known]
        # The middle of a cell lies a little inside of the sphere.
        self.bound = 0.0
        if len(self.known):
            self.bound = float(radius[self.known].max() + 1 - length(self.middle).min()) * (1 + 1e-6) + 1e-9

    def _four(self, values: npt.NDArray[Any], quads: _Indices) -> npt.NDArray[Any]:
        """Values at the corners of quadrilaterals, in order around them, shape (n, 4, ...)."""
        row, column = np.divmod(self.known[quads], self.x.shape[1] - 1)
        return np.asarray(values[row[:, None] + np.array([0, 0, 1, 1]), column[:, None] + np.array([0, 1, 1, 0])])

    def members(self, quads: _Indices) -> _Indices:
        """Cells whose values the corners have, shape (n, 4)."""
        return self._four(self.index, quads)

    def search(self, points: Vectors) -> tuple[_Indices, Vectors]:
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


def _tangents(p: Vectors) -> tuple[Vectors, Vectors]:
    """Two directions at right angles to each of `p` and to each other."""
    helper = np.eye(3)[np.abs(p).argmin(axis=1)]
    one = np.cross(p, helper)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    return one, np.cross(p, one)


def _inverse_bilinear(q: Vectors) -> tuple[FloatArray, FloatArray]:
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


def _inside(corners: Vectors, points: Vectors) -> tuple[npt.NDArray[np.bool_], Vectors]:
    """Whether each quadrilateral, shape (n, 4, 3), holds its point, and the weights of the corners of those that do."""
    one, two = _tangents(points)
    plane = np.stack([np.einsum("nkc,nc->nk", corners, e) for e in (one, two)], axis=-1)
    s, t = _inverse_bilinear(plane)
    with np.errstate(invalid="ignore"):
        hit = (np.abs(s - 0.5) <= 0.5 + EPS) & (np.abs(t - 0.5) <= 0.5 + EPS)
    # Not the one on the other side of the sphere.
    hit &= np.einsum("nkc,nc->n", corners, points) > 0
    s, t = (np.clip(v[hit], 0.0, 1.0) for v in (s, t))
    s, t = (np.where(v < EPS, 0.0, np.where(v > 1 - EPS, 1.0, v)) for v in (s, t))
    return hit, np.stack([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t], axis=1)

"""Spherical polygons as arrays: areas, convex parts, and cells with the discs that hold them.

Polygons have shape (corners, 3, n): numpy is several times as fast along the last axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from xslams.geometry.sphere import Vectors
from xslams.typing import FloatArray

__all__ = ["Cells", "areas_of", "by_corner", "convex_parts", "cross", "discs", "dot", "length"]

_Indices = npt.NDArray[np.intp]


def by_corner(polygons: Vectors) -> Vectors:
    """Polygons of shape (n, corners, 3) along the last axis, shape (corners, 3, n)."""
    return np.ascontiguousarray(polygons.transpose(1, 2, 0))


def cross(a: Vectors, b: Vectors) -> Vectors:
    """Vector products of shape (3, n)."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def dot(a: Vectors, b: Vectors) -> FloatArray:
    """Scalar products, shape (n,)."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def length(v: Vectors) -> FloatArray:
    """Lengths of vectors of shape (3, n)."""
    return np.asarray(np.sqrt(dot(v, v)))


def _triangles(p: Vectors) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Triangles of polygons of shape (corners, 3, n): complex numbers whose arguments are half of the areas.

    After Van Oosterom and Strackee (1983); the differences keep the digits of small triangles.
    """
    a, b = p[0], p[1]
    ab = dot(a, b)
    for c in p[2:]:
        ac = dot(a, c)
        yield 1 + ab + dot(b, c) + ac, dot(a, cross(b - a, c - a))
        b, ab = c, ac


def _total(triangles: Iterable[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Area of several triangles together."""
    (real, imaginary), *others = triangles
    for x, y in others:
        real, imaginary = real * x - imaginary * y, real * y + imaginary * x
    return np.asarray(2 * np.arctan2(imaginary, real))


def areas_of(p: Vectors) -> FloatArray:
    """Areas of polygons of shape (corners, 3, n)."""
    return _total(_triangles(p))


def _turns(p: Vectors) -> FloatArray:
    """At each corner, whether the polygon turns left (positive) or right, shape (corners, n)."""
    count = len(p)
    return np.stack([dot(p[k], cross(p[k] - p[k - 1], p[(k + 1) % count] - p[k])) for k in range(count)])


def convex_parts(polygons: Vectors) -> tuple[Vectors, _Indices]:
    """Convex pieces, and the polygon that each is a piece of."""
    turns = _turns(polygons)
    size = np.abs(turns).max(axis=0)
    bent = np.flatnonzero((turns < -1e-9 * size).any(axis=0))
    owner = np.arange(polygons.shape[2])
    if len(polygons) != 4 or not len(bent):
        return polygons, owner
    # From the corner that turns to the other side to the one across.
    start = turns[:, bent].argmin(axis=0)
    corner = [polygons[(start + k) % 4, :, bent].T for k in range(4)]
    halves = [np.stack([corner[0], corner[k], corner[k + 1], corner[k + 1]]) for k in (1, 2)]
    keep = np.setdiff1d(owner, bent)
    return np.concatenate([polygons[:, :, keep], *halves], axis=2), np.concatenate([keep, bent, bent])


def _uncrossed(p: Vectors) -> Vectors:
    """Cells, of which those whose edges cross are replaced by the larger of their two triangles.

    Edges of cells that reach beyond a pole cross at the pole, where the cells around them end as well.
    """
    turns = _turns(p)
    least = 1e-9 * np.abs(turns).max(axis=0)
    left = turns > least
    # Corners of one triangle turn left, those of the other right.
    pairs = left & np.roll(left, -1, axis=0)
    crossed = np.flatnonzero((left.sum(axis=0) == 2) & ((turns < -least).sum(axis=0) == 2) & pairs.any(axis=0))
    start = pairs[:, crossed].argmax(axis=0)
    a, b, c, d = (p[(start + k) % 4, :, crossed].T for k in range(4))
    x = cross(cross(b, c), cross(d, a))
    norm = length(x)
    x = np.where(norm > 0, x / np.maximum(norm, 1e-300) * np.where(dot(x, a + b) < 0, -1.0, 1.0), b)
    p = p.copy()
    p[:, :, crossed] = np.stack([a, b, x, x])
    return p


class Cells:
    """Polygons that are not missing, anticlockwise, with their areas and the discs that hold them."""

    def __init__(self, polygons: Vectors) -> None:
        p = by_corner(polygons)
        known = np.isfinite(p.sum(axis=(0, 1)))
        #: Which of the polygons these are.
        self.index = np.flatnonzero(known)
        p = p if known.all() else p[:, :, self.index]
        triangles = list(_triangles(p))
        signed = _total(triangles)
        clockwise = np.flatnonzero(signed < 0)
        if len(clockwise):
            p[:, :, clockwise] = p[::-1, :, clockwise]
        self.corners, self.areas = p, np.abs(signed)
        # In a cell that is convex both triangles turn alike.
        odd = np.flatnonzero(triangles[0][1] * triangles[1][1] < 0) if len(p) == 4 else np.zeros(0, np.intp)
        if len(odd):
            p[:, :, odd] = _uncrossed(p[:, :, odd])
            self.areas[odd] = areas_of(p[:, :, odd])
        self.middle, self.radius = discs(p)


def discs(p: Vectors) -> tuple[Vectors, FloatArray]:
    """Middles of polygons, shape (3, n), and the distance from each within which all corners of the polygon lie."""
    middle = p.mean(axis=0)
    return middle, np.max([length(corner - middle) for corner in p], axis=0) * (1 + 1e-9)

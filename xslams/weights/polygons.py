"""Areas that spherical polygons share, their edges being great circles.

Pairs that may touch are found with a k-d tree. A half-space through the centre of the sphere bounds each edge of the
target polygon; source polygons are cut by them one after the other (Sutherland and Hodgman 1974), all pairs at once.
Only pairs that an edge runs through are cut at all. Target cells that are not convex are divided into two triangles.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.typing import FloatArray

__all__ = ["areas", "overlaps"]

_BLOCK = 100_000
# Areas that are smaller than this share of a cell are rounding at edges that touch.
_NOISE = 1e-12

_Vectors = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]


def areas(polygons: _Vectors) -> FloatArray:
    """Areas of polygons on the unit sphere, anticlockwise ones positive; zero where corners are NaN.

    Parameters
    ----------
    polygons
        Corners, shape (n, corners, 3); corners may repeat.

    Returns
    -------
    ndarray
        Steradians, shape (n,).

    Examples
    --------
    >>> import numpy as np
    >>> octant = np.eye(3)[None]
    >>> bool(np.isclose(areas(octant)[0], np.pi / 2))
    True
    """
    total = np.zeros(len(polygons))
    a = polygons[:, 0]
    for k in range(1, polygons.shape[1] - 1):
        b, c = polygons[:, k], polygons[:, k + 1]
        # Van Oosterom and Strackee (1983); the differences keep the digits of small triangles.
        triple = np.einsum("nc,nc->n", a, np.cross(b - a, c - a))
        total += 2 * np.arctan2(triple, 1 + (a * b).sum(1) + (b * c).sum(1) + (c * a).sum(1))
    return np.asarray(np.nan_to_num(total))


def _anticlockwise(polygons: _Vectors) -> _Vectors:
    return np.where((areas(polygons) < 0)[:, None, None], polygons[:, ::-1], polygons)


def _turns(p: _Vectors) -> FloatArray:
    """At each corner, whether the polygon turns left (positive) or right."""
    before, after = np.roll(p, 1, axis=1), np.roll(p, -1, axis=1)
    return np.asarray(np.einsum("nkc,nkc->nk", p, np.cross(p - before, after - p)))


def _convex_parts(polygons: _Vectors) -> tuple[_Vectors, _Indices]:
    """Convex pieces, and the polygon that each is a piece of."""
    turns = _turns(polygons)
    size = np.abs(turns).max(axis=1)
    bent = np.flatnonzero((turns < -1e-9 * size[:, None]).any(axis=1))
    owner = np.arange(len(polygons))
    if not len(bent):
        return polygons, owner
    # From the corner that turns the wrong way to the one across.
    start = turns[bent].argmin(axis=1)
    corner = [polygons[bent, (start + k) % 4] for k in range(4)]
    halves = [np.stack([corner[0], corner[k], corner[k + 1], corner[k + 1]], axis=1) for k in (1, 2)]
    keep = np.setdiff1d(owner, bent)
    return np.concatenate([polygons[keep], *halves]), np.concatenate([keep, bent, bent])


def _length(v: _Vectors) -> FloatArray:
    return np.asarray(np.sqrt(v[..., 0] ** 2 + v[..., 1] ** 2 + v[..., 2] ** 2))


def _discs(polygons: _Vectors) -> tuple[_Vectors, FloatArray]:
    """Middles of polygons, and distances from there within which all of their corners lie."""
    middle = polygons.mean(axis=1)
    return middle, _length(polygons - middle[:, None]).max(axis=1) * (1 + 1e-9)


def _candidates(
    source: tuple[_Vectors, FloatArray], target: tuple[_Vectors, FloatArray]
) -> Iterator[tuple[_Indices, _Indices]]:
    """Pairs of polygons whose discs overlap, block by block: positions in target and in source."""
    from scipy.spatial import KDTree

    # Middles of cells lie inside of the sphere, by up to the square of their size.
    slack = 1 - float(min(_length(source[0]).min(), _length(target[0]).min()))
    # Cells of alike size together, as the largest of them decides how far to look.
    classes = [_size_classes(radius) for _, radius in (source, target)]
    trees = [KDTree(source[0][s], balanced_tree=False, compact_nodes=False) for s in classes[0]]
    for t in classes[1]:
        for s, tree in zip(classes[0], trees, strict=True):
            reach = float(source[1][s].max() + target[1][t].max()) + slack
            # Cells are about twice as many as those that share an area.
            density = max(1.0, 8 * len(s) * min(1.0, reach**2 / 4))
            size = max(1, int(_BLOCK / density))
            for start in range(0, len(t), size):
                part = t[start : start + size]
                near = KDTree(target[0][part]).sparse_distance_matrix(tree, reach, output_type="ndarray")
                a, b = part[near["i"]], s[near["j"]]
                close = near["v"] <= source[1][b] + target[1][a] + slack
                yield a[close], b[close]


def _size_classes(radius: FloatArray) -> list[_Indices]:
    """Positions by powers of four of the radius."""
    power = np.floor(np.log2(np.maximum(radius, 1e-12)) / 2)
    return [np.flatnonzero(power == p) for p in np.unique(power)]


def _cut(p: _Vectors, height: FloatArray) -> _Vectors:
    """Part of each polygon, shape (n, corners, 3), above a plane, from the heights of the corners, (n, corners).

    Polygons that end up with fewer corners than others repeat their last.
    """
    below = np.roll(height, -1, axis=1)
    stays = height >= 0
    n, k = height.shape
    # After each corner that stays, or in its place, comes the point where the edge crosses the plane.
    kept = np.stack([stays, stays != (below >= 0)], axis=2).reshape(n, 2 * k)
    row, place = np.nonzero(kept)
    corner, crosses = place // 2, place % 2 == 1
    points = p[row, corner]
    r, c = row[crosses], corner[crosses]
    here, there = height[r, c, None], below[r, c, None]
    # From either end the same point: the sign makes it lie on the arc.
    x = (here * p[r, (c + 1) % k] - there * p[r, c]) * np.where(here > there, 1.0, -1.0)
    points[crosses] = x / _length(x)[:, None]
    count = kept.sum(axis=1)
    width = max(int(count.max(initial=0)), 3)
    out = np.zeros((n, width, 3))
    out[row, (np.cumsum(kept, axis=1) - 1)[row, place]] = points
    last = np.maximum(count - 1, 0)
    empty = np.arange(width)[None, :] > last[:, None]
    return np.where(empty[..., None], out[np.arange(n), last][:, None], out)


def overlaps(source: _Vectors, target: _Vectors) -> tuple[sp.csr_array, FloatArray]:
    """Areas that polygons share, and areas of the target polygons.

    Parameters
    ----------
    source, target
        Corners of cells of four corners on the unit sphere, shapes (m, 4, 3) and (n, 4, 3), in either order around the
        cell; NaN where there is no cell.

    Returns
    -------
    scipy.sparse.csr_array
        Steradians, shape (n, m).
    ndarray
        Areas of the targets in steradians, shape (n,).

    Examples
    --------
    >>> import numpy as np
    >>> octant = np.eye(3)[None, [0, 1, 2, 2]]
    >>> shared, area = overlaps(octant, octant)
    >>> bool(np.allclose(shared.toarray(), np.pi / 2)), bool(np.allclose(area, np.pi / 2))
    (True, True)
    """
    shape = (len(target), len(source))
    present = [np.flatnonzero(np.isfinite(p).all(axis=(1, 2))) for p in (source, target)]
    ours, theirs = (_anticlockwise(p[i]) for p, i in zip((source, target), present, strict=True))
    area = np.zeros(len(target))
    area[present[1]] = areas(theirs)
    if not len(ours) or not len(theirs):
        return sp.csr_array(shape), area
    sizes = areas(ours)
    pieces, owner = _convex_parts(theirs)
    piece_sizes = areas(pieces)
    # The planes of the edges; an edge of no length has none, and bounds nothing.
    normals = np.cross(pieces, np.roll(pieces, -1, axis=1) - pieces)
    length = _length(normals)[..., None]
    normals = np.where(length > 1e-14, normals / np.maximum(length, 1e-300), 0.0)
    discs = [_discs(p) for p in (ours, pieces)]

    def block(pairs: tuple[_Indices, _Indices]) -> tuple[FloatArray, _Indices, _Indices]:
        t, s = pairs
        part = _shared(ours, sizes, discs[0], normals, t, s)
        keep = part > _NOISE * np.minimum(sizes[s], piece_sizes[t])
        return part[keep], present[1][owner[t[keep]]], present[0][s[keep]]

    # Array functions let other threads run meanwhile.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = list(pool.map(block, _candidates(discs[0], discs[1])))
    data, row, column = (np.concatenate(each) for each in zip(*found, strict=True))
    return sp.csr_array(sp.coo_array((data, (row, column)), shape=shape)), area


def _shared(
    ours: _Vectors, sizes: FloatArray, discs: tuple[_Vectors, FloatArray], normals: _Vectors, t: _Indices, s: _Indices
) -> FloatArray:
    """Areas of the part of each polygon of `ours` that lies within the half-spaces of its target."""
    middle, radius = discs
    # Where the disc of a polygon lies, as a whole, on one side of an edge, its corners need not be looked at.
    centre = np.stack([(middle[s] * normals[t, e]).sum(axis=1) for e in range(normals.shape[1])])
    apart = (centre < -radius[s]).any(axis=0)
    within = centre >= radius[s]
    whole = within.all(axis=0)
    part = np.where(whole, sizes[s], 0.0)
    rest = np.flatnonzero(~apart & ~whole)
    p, touched = ours[s[rest]], np.zeros(len(rest), bool)
    for edge in range(normals.shape[1]):
        normal = normals[t[rest], edge]
        height = p[..., 0] * normal[:, :1] + p[..., 1] * normal[:, 1:2] + p[..., 2] * normal[:, 2:]
        # An edge without length has no normal, and nothing is below it.
        stays = (height > 0).any(axis=1) | ~normal.any(axis=1)
        rest, p, touched, height = rest[stays], p[stays], touched[stays], height[stays]
        cut = np.flatnonzero((height < 0).any(axis=1))
        if not len(cut):
            continue
        smaller = _cut(p[cut], height[cut])
        missing = smaller.shape[1] - p.shape[1]
        if missing > 0:
            p = np.concatenate([p, np.repeat(p[:, -1:], missing, axis=1)], axis=1)
        p[cut, : smaller.shape[1]] = smaller
        p[cut, smaller.shape[1] :] = smaller[:, -1:]
        touched[cut] = True
    part[rest[~touched]] = sizes[s[rest[~touched]]]
    part[rest[touched]] = areas(p[touched])
    return part

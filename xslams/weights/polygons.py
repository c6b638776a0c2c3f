"""Areas that spherical polygons share, their edges being great circles.

Pairs that may touch are found with a k-d tree. A half-space through the centre of the sphere bounds each edge of the
target polygon; source polygons are cut by them one after the other (Sutherland and Hodgman 1974), all pairs at once.
Only pairs that an edge runs through are cut at all. Target cells that are not convex are divided into two triangles.
"""

from __future__ import annotations

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


def _candidates(source: _Vectors, target: _Vectors) -> tuple[_Indices, _Indices]:
    """Pairs of polygons whose circles overlap: positions in target and in source."""
    from scipy.spatial import KDTree

    discs = []
    for p in (source, target):
        middle = p.mean(axis=1)
        discs.append((middle, np.linalg.norm(p - middle[:, None], axis=2).max(axis=1) * (1 + 1e-9)))
    (centres, radii), (places, reaches) = discs
    # Middles of cells lie inside of the sphere, by up to the square of their size.
    slack = 1 - min(float(np.linalg.norm(c, axis=1).min()) for c in (centres, places))
    swap = len(centres) < len(places)
    few, many = ((centres, radii), (places, reaches)) if swap else ((places, reaches), (centres, radii))
    tree = KDTree(many[0])
    found: list[tuple[_Indices, _Indices]] = []
    for start in range(0, len(few[0]), 20_000):
        centre, radius = few[0][start : start + 20_000], few[1][start : start + 20_000]
        lists = tree.query_ball_point(centre, radius + many[1].max() + slack)
        counts = np.fromiter((len(each) for each in lists), np.intp, len(lists))
        a = np.repeat(np.arange(len(centre)), counts)
        b = np.fromiter((i for each in lists for i in each), np.intp, int(counts.sum()))
        near = np.linalg.norm(centre[a] - many[0][b], axis=1) <= radius[a] + many[1][b] + slack
        found.append((a[near] + start, b[near]))
    a, b = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return (b, a) if swap else (a, b)


def _cut(p: _Vectors, normal: _Vectors) -> _Vectors:
    """Part of each polygon, shape (n, corners, 3), on the side of a plane that its normal points to.

    Polygons that end up with fewer corners than others repeat their last; those of which nothing is left are zeros.
    """
    height = np.einsum("nkc,nc->nk", p, normal)
    q, below = np.roll(p, -1, axis=1), np.roll(height, -1, axis=1)
    stays = height >= 0
    crosses = stays != (below >= 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = height[..., None] * q - below[..., None] * p
        # From either end the same point: the sign makes it lie on the arc.
        x *= np.where(height > below, 1.0, -1.0)[..., None]
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
    n, k = height.shape
    points = np.stack([p, x], axis=2).reshape(n, 2 * k, 3)
    kept = np.stack([stays, crosses], axis=2).reshape(n, 2 * k)
    count = kept.sum(axis=1)
    width = max(int(count.max(initial=0)), 3)
    place = np.cumsum(kept, axis=1) - 1
    out = np.zeros((n, width, 3))
    row, column = np.nonzero(kept)
    out[row, place[row, column]] = points[row, column]
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
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    normals = np.where(length > 1e-14, normals / np.maximum(length, 1e-300), 0.0)
    rows, columns = _candidates(ours, pieces)
    shared = np.zeros(len(rows))
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        t, s = rows[block], columns[block]
        height = np.einsum("nkc,nec->nek", ours[s], normals[t])
        apart = ((height <= 0) & (normals[t] != 0).any(axis=2)[..., None]).all(axis=2).any(axis=1)
        whole = (height >= 0).all(axis=(1, 2))
        part = np.where(whole, sizes[s], 0.0)
        cut = np.flatnonzero(~apart & ~whole)
        p = ours[s[cut]]
        for edge in range(pieces.shape[1]):
            p = _cut(p, normals[t[cut], edge])
        part[cut] = areas(p)
        part[part < _NOISE * np.minimum(sizes[s], piece_sizes[t])] = 0.0
        shared[block] = part
    keep = shared > 0
    where = (present[1][owner[rows[keep]]], present[0][columns[keep]])
    return sp.csr_array(sp.coo_array((shared[keep], where), shape=shape)), area

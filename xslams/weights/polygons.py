"""Areas that spherical polygons share, their edges being great circles.

Pairs that may touch are found with a k-d tree. A half-space through the centre of the sphere bounds each edge of the
larger polygon; the smaller ones are cut by them one after the other (Sutherland and Hodgman 1974), all pairs at once.
Only pairs that an edge comes near are cut at all. Larger cells of four corners that are not convex are divided into two
triangles; cells of any other number of corners must be convex.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.typing import FloatArray

__all__ = ["areas", "cell_areas", "overlaps"]

_BLOCK = 200_000
# Areas that are smaller than this share of a cell are rounding at edges that touch.
_NOISE = 1e-12

_Vectors = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]
_Mask = npt.NDArray[np.bool_]


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
    return np.asarray(np.nan_to_num(_areas(_by_corner(polygons))))


# Inside of this module polygons have shape (corners, 3, n): numpy is several times as fast along the last axis.


def _by_corner(polygons: _Vectors) -> _Vectors:
    return np.ascontiguousarray(polygons.transpose(1, 2, 0))


def _cross(a: _Vectors, b: _Vectors) -> _Vectors:
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _dot(a: _Vectors, b: _Vectors) -> FloatArray:
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def _length(v: _Vectors) -> FloatArray:
    return np.asarray(np.sqrt(_dot(v, v)))


def _triangles(p: _Vectors) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Triangles of polygons of shape (corners, 3, n): complex numbers whose arguments are half of the areas.

    After Van Oosterom and Strackee (1983); the differences keep the digits of small triangles.
    """
    a, b = p[0], p[1]
    ab = _dot(a, b)
    for c in p[2:]:
        ac = _dot(a, c)
        yield 1 + ab + _dot(b, c) + ac, _dot(a, _cross(b - a, c - a))
        b, ab = c, ac


def _total(triangles: Iterable[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Area of several triangles together."""
    (real, imaginary), *others = triangles
    for x, y in others:
        real, imaginary = real * x - imaginary * y, real * y + imaginary * x
    return np.asarray(2 * np.arctan2(imaginary, real))


def _areas(p: _Vectors) -> FloatArray:
    """Areas of polygons of shape (corners, 3, n)."""
    return _total(_triangles(p))


def _turns(p: _Vectors) -> FloatArray:
    """At each corner, whether the polygon turns left (positive) or right, shape (corners, n)."""
    count = len(p)
    return np.stack([_dot(p[k], _cross(p[k] - p[k - 1], p[(k + 1) % count] - p[k])) for k in range(count)])


def _convex_parts(polygons: _Vectors) -> tuple[_Vectors, _Indices]:
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


def _uncrossed(p: _Vectors) -> _Vectors:
    """Cells, of which those whose edges cross are replaced by the larger of their two triangles.

    Cells that reach beyond a pole cross there, where those around them end as well.
    """
    turns = _turns(p)
    least = 1e-9 * np.abs(turns).max(axis=0)
    left = turns > least
    # Corners of one triangle turn left, those of the other right.
    pairs = left & np.roll(left, -1, axis=0)
    crossed = np.flatnonzero((left.sum(axis=0) == 2) & ((turns < -least).sum(axis=0) == 2) & pairs.any(axis=0))
    start = pairs[:, crossed].argmax(axis=0)
    a, b, c, d = (p[(start + k) % 4, :, crossed].T for k in range(4))
    x = _cross(_cross(b, c), _cross(d, a))
    length = _length(x)
    x = np.where(length > 0, x / np.maximum(length, 1e-300) * np.where(_dot(x, a + b) < 0, -1.0, 1.0), b)
    p = p.copy()
    p[:, :, crossed] = np.stack([a, b, x, x])
    return p


class _Cells:
    """Polygons that are not missing, anticlockwise, with their areas and the discs that hold them."""

    def __init__(self, polygons: _Vectors) -> None:
        p = _by_corner(polygons)
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
            self.areas[odd] = _areas(p[:, :, odd])
        self.middle, self.radius = _discs(p)


def _discs(p: _Vectors) -> tuple[_Vectors, FloatArray]:
    """Middles of polygons, shape (3, n), and distances from there within which all of their corners lie."""
    middle = p.mean(axis=0)
    return middle, np.max([_length(corner - middle) for corner in p], axis=0) * (1 + 1e-9)


def _candidates(
    source: tuple[_Vectors, FloatArray], target: tuple[_Vectors, FloatArray]
) -> Iterator[tuple[_Indices, _Indices]]:
    """Pairs of polygons whose discs overlap, block by block: positions in target and in source."""
    from scipy.spatial import KDTree

    # Middles of cells lie inside of the sphere, by up to the square of their size.
    slack = 1 - float(min(_length(source[0]).min(), _length(target[0]).min()))
    # Cells of alike size together, as the largest of them decides how far to look.
    classes = [_size_classes(radius) for _, radius in (source, target)]
    trees = [KDTree(source[0][:, s].T, balanced_tree=False, compact_nodes=False) for s in classes[0]]
    for t in classes[1]:
        for s, tree in zip(classes[0], trees, strict=True):
            reach = float(source[1][s].max() + target[1][t].max()) + slack
            # Cells are about twice as many as those that share an area.
            density = max(1.0, 8 * len(s) * min(1.0, reach**2 / 4))
            size = max(1, int(_BLOCK / density))
            for start in range(0, len(t), size):
                part = t[start : start + size]
                near = KDTree(target[0][:, part].T).sparse_distance_matrix(tree, reach, output_type="ndarray")
                a, b = part[near["i"]], s[near["j"]]
                close = near["v"] <= source[1][b] + target[1][a] + slack
                yield a[close], b[close]


def _size_classes(radius: FloatArray) -> list[_Indices]:
    """Positions by powers of four of the radius."""
    power = np.floor(np.log2(np.maximum(radius, 1e-12)) / 2)
    return [np.flatnonzero(power == p) for p in np.unique(power)]


def _cut(p: _Vectors, height: FloatArray) -> Iterator[tuple[_Indices, _Vectors]]:
    """Parts of polygons, shape (corners, 3, n), above a plane, from the heights of the corners, (corners, n).

    Polygons of which the same corners are above are treated at once, as their parts have the same corners.

    Yields
    ------
    tuple
        Positions of polygons, and the corners of their parts.
    """
    count = len(p)
    if not p.size:
        return
    code = ((height >= 0) * (1 << np.arange(count))[:, None]).sum(axis=0)
    order = np.argsort(code, kind="stable")
    code, first = np.unique(code[order], return_index=True)
    ends = [*first[1:].tolist(), len(order)]
    for pattern, start, stop in zip(code.tolist(), first.tolist(), ends, strict=True):
        which = order[start:stop]
        q, h = p[:, :, which], height[:, which]
        corners = []
        for k in range(count):
            after = (k + 1) % count
            above, next_above = pattern >> k & 1, pattern >> after & 1
            if above:
                corners.append(q[k])
            if above != next_above:
                # From either end the same point: the sign makes it lie on the arc.
                x = (h[k] * q[after] - h[after] * q[k]) * (1.0 if above else -1.0)
                corners.append(x / _length(x))
        yield which, np.stack(corners)


def cell_areas(polygons: _Vectors) -> FloatArray:
    """Areas of cells as `overlaps` counts them, shape (n,): positive, zero where there is no cell.

    Parameters
    ----------
    polygons
        Corners of cells on the unit sphere, shape (n, corners, 3), in either order around the cell.

    Returns
    -------
    ndarray
        Steradians, shape (n,).

    Examples
    --------
    >>> import numpy as np
    >>> octant = np.eye(3)[None, [0, 1, 2, 2]]
    >>> bool(np.allclose(cell_areas(octant), cell_areas(octant[:, ::-1])))
    True
    """
    cells = _Cells(polygons)
    out = np.zeros(len(polygons))
    out[cells.index] = cells.areas
    return out


def overlaps(source: _Vectors, target: _Vectors) -> tuple[sp.csr_array, FloatArray]:
    """Areas that polygons share, and areas of the target polygons.

    Parameters
    ----------
    source, target
        Corners of cells on the unit sphere, shapes (m, corners, 3) and (n, corners, 3), in either order around the
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
    ours, theirs = _Cells(source), _Cells(target)
    area = np.zeros(len(target))
    area[theirs.index] = theirs.areas
    shape = (len(target), len(source))
    if not len(ours.index) or not len(theirs.index):
        return sp.csr_array(shape), area
    # The smaller cells are cut by the larger ones, as most of them lie within one.
    if np.median(ours.areas) <= np.median(theirs.areas):
        return _overlaps(ours, theirs, shape), area
    return sp.csr_array(_overlaps(theirs, ours, shape[::-1]).T), area


def _overlaps(ours: _Cells, theirs: _Cells, shape: tuple[int, int]) -> sp.csr_array:
    """Areas that polygons share with those that they are cut by, shape (theirs, ours)."""
    pieces, owner = _convex_parts(theirs.corners)
    sizes = _areas(pieces)
    # The planes of the edges; an edge of no length has none, and bounds nothing.
    normals = np.stack([_cross(pieces[k], pieces[(k + 1) % len(pieces)] - pieces[k]) for k in range(len(pieces))])
    length = np.stack([_length(n) for n in normals])[:, None]
    normals = np.where(length > 1e-14, normals / np.maximum(length, 1e-300), 0.0)

    def block(pairs: tuple[_Indices, _Indices]) -> tuple[FloatArray, _Indices, _Indices]:
        t, s = pairs
        part = _shared(ours, normals, t, s)
        keep = part > _NOISE * np.minimum(ours.areas[s], sizes[t])
        return part[keep], theirs.index[owner[t[keep]]], ours.index[s[keep]]

    # Array functions let other threads run meanwhile.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = list(pool.map(block, _candidates((ours.middle, ours.radius), _discs(pieces))))
    data, row, column = (np.concatenate(each) for each in zip(*found, strict=True))
    return sp.csr_array(sp.coo_array((data, (row, column)), shape=shape))


def _near(ours: _Cells, normals: _Vectors, t: _Indices, s: _Indices) -> tuple[_Indices, _Mask]:
    """Pairs whose discs are not as a whole outside of an edge, and which edges come near them, shape (edges, n).

    Where a disc lies, as a whole, on one side of an edge, the corners need not be looked at.
    """
    flat: _Mask = np.all(normals == 0, axis=1)
    near = np.zeros((len(normals), len(t)), bool)
    within, middle, radius = np.arange(len(t)), ours.middle[:, s], ours.radius[s]
    for edge, normal in enumerate(normals):
        centre = _dot(middle, normal[:, t[within]])
        if flat[edge].any():
            centre[flat[edge, t[within]]] = np.inf
        stays = centre >= -radius
        within, middle, radius = within[stays], middle[:, stays], radius[stays]
        near[edge, within] = centre[stays] < radius
    return within, near


def _shared(ours: _Cells, normals: _Vectors, t: _Indices, s: _Indices) -> FloatArray:
    """Areas of the part of each polygon of `ours` that lies within the half-spaces of its target."""
    part = np.zeros(len(t))
    within, near = _near(ours, normals, t, s)
    part[within] = ours.areas[s[within]]
    # Polygons that have not been cut yet, and parts of those that have, by the number of their corners.
    whole = within[near[:, within].any(axis=0)]
    parts: dict[int, tuple[_Indices, _Vectors]] = {}
    for edge, normal in enumerate(normals):
        piles: dict[int, list[tuple[_Indices, _Vectors]]] = {}
        which = whole[near[edge, whole]]
        changed = np.zeros(len(t), bool)
        for members, p in [(which, ours.corners[:, :, s[which]]), *parts.values()]:
            met = near[edge, members]
            if not met.all():
                piles.setdefault(len(p), []).append((members[~met], p[:, :, ~met]))
                members, p = members[met], p[:, :, met]
            n = normal[:, t[members]]
            height = np.stack([_dot(corner, n) for corner in p])
            below, above = (height < 0).any(axis=0), (height > 0).any(axis=0)
            part[members[~above]] = 0.0
            cut = np.flatnonzero(below & above)
            changed[members[below | ~above]] = True
            if members is not which and (stay := ~below & above).any():
                piles.setdefault(len(p), []).append((members[stay], p[:, :, stay]))
            for found, q in _cut(p[:, :, cut], height[:, cut]):
                piles.setdefault(len(q), []).append((members[cut[found]], q))
        whole = whole[~changed[whole]]
        parts = {
            k: (np.concatenate([m for m, _ in pile]), np.concatenate([q for _, q in pile], axis=2))
            for k, pile in piles.items()
        }
    for members, p in parts.values():
        part[members] = _areas(p)
    return part

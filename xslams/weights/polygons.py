"""Areas that spherical polygons share, their edges being great circles.

Pairs that may touch are found with a k-d tree. A half-space through the centre of the sphere bounds each edge of the
larger polygon; the smaller ones are cut by them one after the other (Sutherland and Hodgman 1974), all pairs at once.
Only pairs that an edge comes near are cut at all. Larger cells of four corners that are not convex are divided into two
triangles; cells of any other number of corners must be convex.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.geometry.sphere import Vectors
from xslams.typing import FloatArray
from xslams.weights.clipping import areas_within
from xslams.weights.spherical import Cells, areas_of, by_corner, convex_parts, cross, discs, length

__all__ = ["areas", "cell_areas", "overlaps"]

_BLOCK = 200_000
# Areas that are smaller than this share of a cell are rounding at edges that touch.
_NOISE = 1e-12

_Indices = npt.NDArray[np.intp]


def areas(polygons: Vectors) -> FloatArray:
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
    return np.asarray(np.nan_to_num(areas_of(by_corner(polygons))))


def cell_areas(polygons: Vectors) -> FloatArray:
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
    cells = Cells(polygons)
    out = np.zeros(len(polygons))
    out[cells.index] = cells.areas
    return out


def overlaps(source: Vectors, target: Vectors) -> tuple[sp.csr_array, FloatArray]:
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
    ours, theirs = Cells(source), Cells(target)
    area = np.zeros(len(target))
    area[theirs.index] = theirs.areas
    shape = (len(target), len(source))
    if not len(ours.index) or not len(theirs.index):
        return sp.csr_array(shape), area
    # The smaller cells are cut by the larger ones, as most of them lie within one.
    if np.median(ours.areas) <= np.median(theirs.areas):
        return _overlaps(ours, theirs, shape), area
    return sp.csr_array(_overlaps(theirs, ours, shape[::-1]).T), area


def _overlaps(ours: Cells, theirs: Cells, shape: tuple[int, int]) -> sp.csr_array:
    """Areas that polygons share with those that they are cut by, shape (theirs, ours)."""
    pieces, owner = convex_parts(theirs.corners)
    sizes = areas_of(pieces)
    # The planes of the edges; an edge of no length has none, and bounds nothing.
    normals = np.stack([cross(pieces[k], pieces[(k + 1) % len(pieces)] - pieces[k]) for k in range(len(pieces))])
    norms = np.stack([length(n) for n in normals])[:, None]
    normals = np.where(norms > 1e-14, normals / np.maximum(norms, 1e-300), 0.0)

    def block(pairs: tuple[_Indices, _Indices]) -> tuple[FloatArray, _Indices, _Indices]:
        t, s = pairs
        part = areas_within(ours, normals, t, s)
        keep = part > _NOISE * np.minimum(ours.areas[s], sizes[t])
        return part[keep], theirs.index[owner[t[keep]]], ours.index[s[keep]]

    # Array functions let other threads run meanwhile.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = list(pool.map(block, _candidates((ours.middle, ours.radius), discs(pieces))))
    data, row, column = (np.concatenate(each) for each in zip(*found, strict=True))
    return sp.csr_array(sp.coo_array((data, (row, column)), shape=shape))


def _candidates(
    source: tuple[Vectors, FloatArray], target: tuple[Vectors, FloatArray]
) -> Iterator[tuple[_Indices, _Indices]]:
    """Pairs of polygons whose discs overlap, block by block: positions in target and in source."""
    from scipy.spatial import KDTree

    # Middles of cells lie inside of the sphere, by up to the square of their size.
    slack = 1 - float(min(length(source[0]).min(), length(target[0]).min()))
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

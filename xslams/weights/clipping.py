"""Polygons cut by half-spaces, all pairs at once (Sutherland and Hodgman 1974)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from xslams.geometry.sphere import Vectors
from xslams.typing import FloatArray
from xslams.weights.spherical import Cells, areas_of, dot, length

__all__ = ["areas_within"]

_Indices = npt.NDArray[np.intp]
_Mask = npt.NDArray[np.bool_]


def _near(ours: Cells, normals: Vectors, t: _Indices, s: _Indices) -> tuple[_Indices, _Mask]:
    """Pairs whose discs are not as a whole outside of an edge, and which edges come near them, shape (edges, n).

    Where a disc lies, as a whole, on one side of an edge, the corners need not be looked at.
    """
    flat: _Mask = np.all(normals == 0, axis=1)
    near = np.zeros((len(normals), len(t)), bool)
    within, middle, radius = np.arange(len(t)), ours.middle[:, s], ours.radius[s]
    for edge, normal in enumerate(normals):
        centre = dot(middle, normal[:, t[within]])
        if flat[edge].any():
            centre[flat[edge, t[within]]] = np.inf
        stays = centre >= -radius
        within, middle, radius = within[stays], middle[:, stays], radius[stays]
        near[edge, within] = centre[stays] < radius
    return within, near


def areas_within(ours: Cells, normals: Vectors, t: _Indices, s: _Indices) -> FloatArray:
    """Areas of the part of each polygon of `ours` that lies within the half-spaces of its target."""
    part = np.zeros(len(t))
    within, near = _near(ours, normals, t, s)
    part[within] = ours.areas[s[within]]
    # Polygons that have not been cut yet, and parts of those that have, by the number of their corners.
    whole = within[near[:, within].any(axis=0)]
    parts: dict[int, tuple[_Indices, Vectors]] = {}
    for edge, normal in enumerate(normals):
        piles: dict[int, list[tuple[_Indices, Vectors]]] = {}
        which = whole[near[edge, whole]]
        changed = np.zeros(len(t), bool)
        for members, p in [(which, ours.corners[:, :, s[which]]), *parts.values()]:
            met = near[edge, members]
            if not met.all():
                piles.setdefault(len(p), []).append((members[~met], p[:, :, ~met]))
                members, p = members[met], p[:, :, met]
            n = normal[:, t[members]]
            height = np.stack([dot(corner, n) for corner in p])
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
        part[members] = areas_of(p)
    return part


def _cut(p: Vectors, height: FloatArray) -> Iterator[tuple[_Indices, Vectors]]:
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
                corners.append(x / length(x))
        yield which, np.stack(corners)

"""Vectors on the unit sphere."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from xslams.sphere import unit_vectors

__all__ = ["Vectors", "around", "length", "normalised", "unit_vectors"]

Vectors = npt.NDArray[np.float64]
_Number = TypeVar("_Number", bound=np.generic)


def length(v: Vectors) -> Vectors:
    """Lengths of vectors; several times as fast as the norm along a short axis."""
    return np.asarray(np.sqrt(v[..., 0] ** 2 + v[..., 1] ** 2 + v[..., 2] ** 2))


def normalised(v: Vectors) -> Vectors:
    """Vectors of length one."""
    return np.asarray(v / length(v)[..., None])


def around(nodes: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Corners of each cell from the nodes between them, shape (y + 1, x + 1, ...) to (y, x, 4, ...)."""
    return np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]], axis=2)

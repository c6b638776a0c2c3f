"""Corners of cells that have four: their order around the cell, and the nodes that cells in rows and columns share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xslams.geometry.sphere import Vectors

__all__ = ["around_cells", "crossed"]

# Of four places in convex position, one of these three orders goes around them; two have edges that cross.
_ORDERS = ((0, 1, 3, 2), (0, 2, 1, 3))


def crossed(corners: Vectors) -> npt.NDArray[np.bool_]:
    """Whether the edges of cells cross, shape (...,): then two of their corners turn left and two right."""
    before, after = np.roll(corners, 1, axis=-2), np.roll(corners, -1, axis=-2)
    turns = np.einsum("...i,...i", corners, np.cross(corners - before, after - corners))
    least = 1e-9 * np.abs(turns).max(axis=-1, keepdims=True)
    return np.asarray(((turns > least).sum(axis=-1) == 2) & ((turns < -least).sum(axis=-1) == 2))


def around_cells(corners: Vectors) -> npt.NDArray[np.intp]:
    """Order in which the corners of each cell go around it, whatever order they are given in.

    Parameters
    ----------
    corners
        Unit vectors, shape (..., 4, 3).

    Returns
    -------
    ndarray
        Positions of the corners, shape (..., 4); 0 to 3 where the edges of a cell do not cross.

    Examples
    --------
    >>> import numpy as np
    >>> from xslams.geometry.sphere import unit_vectors
    >>> around_cells(unit_vectors(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])))
    array([0, 1, 3, 2])
    """
    order = np.broadcast_to(np.arange(4), corners.shape[:-1]).copy()
    wrong = crossed(corners)
    for other in _ORDERS:
        better = np.zeros_like(wrong)
        better[wrong] = ~crossed(corners[wrong][:, other])
        order[better] = other
        wrong &= ~better
    return order

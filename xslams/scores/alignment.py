"""Which labels of one axis are those of another, up to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xslams.typing import FloatArray

__all__ = ["nearest", "positions"]

# Labels agree within this part of the distance to their neighbours.
_PART = 0.01
_Positions = npt.NDArray[np.intp]


def nearest(have: npt.NDArray[Any], want: npt.NDArray[Any], period: float | None = None) -> _Positions:
    """Positions in `have` of the labels in `want`; -1 where it has none within a hundredth of a step.

    Parameters
    ----------
    have, want
        Numbers in any order, where NaN agrees with nothing; or labels of another type, which are compared exactly.
        Two single numbers agree within a hundredth.
    period
        Length of a circle on which the numbers lie.

    Returns
    -------
    ndarray of int
        Shape of `want`. Of labels that `have` repeats, the first is taken.

    Examples
    --------
    >>> import numpy as np
    >>> nearest(np.array([0.0, 90.0, 180.0, 270.0]), np.array([-90.0, 45.0, 360.1]), 360.0)
    array([ 3, -1,  0])
    """
    if have.dtype.kind not in "fiu" or want.dtype.kind not in "fiu":
        first: dict[Any, int] = {}
        for position, label in enumerate(have.tolist()):
            first.setdefault(label, position)
        return np.array([first.get(label, -1) for label in want.tolist()], np.intp)
    count = len(have)
    if count == 0:
        return np.full(len(want), -1, np.intp)
    if period is not None:
        have, want = np.concatenate([have % period + turn * period for turn in (-1, 0, 1)]), want % period
    order = np.argsort(have, kind="stable")
    ordered = have[order]
    right = np.searchsorted(ordered, want)
    # Through the first of equal labels on the left.
    left = np.searchsorted(ordered, ordered[np.maximum(right - 1, 0)])
    right = np.minimum(right, len(ordered) - 1)
    place = np.where(np.abs(ordered[left] - want) <= np.abs(ordered[right] - want), left, right)
    step = np.minimum(_steps(ordered)[place], _steps_of(want))
    allowed = _PART * np.where(np.isfinite(step), step, 1.0)
    found = np.abs(ordered[place] - want) <= allowed
    return np.where(found, order[place] % count, -1)


def positions(have: npt.NDArray[Any], want: npt.NDArray[Any]) -> tuple[_Positions, _Positions]:
    """Positions in `want` and in `have` of the labels that both have, each once.

    Parameters
    ----------
    have, want
        As in `nearest`.

    Returns
    -------
    tuple of ndarray of int
        Positions, in the order of `want`.

    Examples
    --------
    >>> import numpy as np
    >>> positions(np.array([850.0, 500.0]), np.array([500.0, 500.0, 300.0]))
    (array([0]), array([1]))
    """
    index = nearest(have, want)
    _, first = np.unique(index, return_index=True)
    kept = np.sort(first[index[first] >= 0])
    return kept, index[kept]


def _steps(ordered: FloatArray) -> FloatArray:
    """Distance of each of some sorted numbers to its nearest neighbour that is not the same up to rounding."""
    steps = np.diff(ordered)
    known = steps[np.isfinite(steps) & (steps > 0)]
    if known.size == 0:
        return np.full(len(ordered), np.inf)
    same = 1e-5 * known.max()
    steps = np.where(steps > same, steps, np.inf)
    around = np.concatenate([[np.inf], steps, [np.inf]])
    near: FloatArray = np.minimum(around[:-1], around[1:])
    return np.where(np.isnan(near), 0.0, np.where(np.isinf(near), known[known > same].min(), near))


def _steps_of(values: FloatArray) -> FloatArray:
    order = np.argsort(values, kind="stable")
    steps = np.empty(len(values))
    steps[order] = _steps(values[order])
    return steps

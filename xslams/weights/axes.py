"""Positions along one ascending axis: neighbours, their weights, and overlaps of intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xslams.geometry.edges import unwrapped
from xslams.typing import FloatArray

__all__ = ["EPS", "Circle", "bracket", "snapped"]

EPS = 1e-9
"""Distance, in steps of a grid, within which a target lies on a centre."""

_Indices = npt.NDArray[np.intp]


def snapped(weight: FloatArray) -> FloatArray:
    """Weights in [0, 1], where those that differ from 0 or 1 by rounding are 0 or 1."""
    weight = np.clip(weight, 0.0, 1.0)
    # Rounding must not leave a second entry of 1e-16 where a target lies on a centre.
    return np.where(weight < EPS, 0.0, np.where(weight > 1.0 - EPS, 1.0, weight))


def bracket(axis: FloatArray, x: FloatArray, *, linear: bool) -> tuple[_Indices, FloatArray, npt.NDArray[np.bool_]]:
    """Lower neighbour, weight of the upper one, and whether `x` lies within the outermost cells of ascending `axis`."""
    if len(axis) == 1:
        return np.zeros(len(x), np.intp), np.zeros(len(x)), np.abs(x - axis[0]) <= 0.5 + EPS
    low = np.clip(np.searchsorted(axis, x, side="right") - 1, 0, len(axis) - 2)
    weight = snapped((x - axis[low]) / (axis[low + 1] - axis[low]))
    inside = (x >= axis[0] - 0.5 * (axis[1] - axis[0]) - EPS) & (x <= axis[-1] + 0.5 * (axis[-1] - axis[-2]) + EPS)
    return low, weight if linear else np.where(weight > 0.5 + EPS, 1.0, 0.0), inside


@dataclass(frozen=True)
class Circle:
    """Positions in ascending order on a circle or a part of it, closed where they go round it.

    Attributes
    ----------
    values
        Ascending positions; on a closed circle the first one again, a period later.
    index
        Which of the given positions each of `values` is.
    start, period
        Positions are counted from `start` to `start + period`; without a period the axis is a straight line.
    """

    values: FloatArray
    index: _Indices
    start: float
    period: float | None

    @classmethod
    def of(cls, values: FloatArray, period: float | None, *, closed: bool) -> Circle:
        """Circle of positions in any order and convention."""
        values = values if period is None else unwrapped(values, period)
        index = np.argsort(values)
        values = values[index]
        if period is None:
            return cls(values, index, float(values[0]), None)
        if closed:
            return cls(np.append(values, values[0] + period), np.append(index, index[0]), float(values[0]), period)
        return cls(values, index, float(0.5 * (values[0] + values[-1]) - 0.5 * period), period)

    def into(self, x: FloatArray) -> FloatArray:
        """Positions moved by whole periods to where they are counted."""
        if self.period is None:
            return np.asarray(x, float)
        moved = (np.asarray(x, float) - self.start) % self.period + self.start
        # Rounding may leave start + 360 - tiny for start - tiny.
        return np.where(moved - self.start > self.period - EPS, moved - self.period, moved)

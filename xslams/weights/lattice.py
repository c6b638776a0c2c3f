"""Weights along one axis of a lattice, and their products over the axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from xslams.geometry import Axis
from xslams.typing import FloatArray
from xslams.weights.axes import Circle, bracket
from xslams.weights.base import sparse
from xslams.weights.products import row_kron

__all__ = ["closest", "linear", "product", "shared"]


def linear(axis: Axis, x: FloatArray) -> sp.csr_array:
    """Weights of the two sites next to each position, shape (n, sites); rows are empty outside and for NaN.

    Examples
    --------
    >>> axis = Axis("lon", np.array([0.0, 90.0, 180.0, 270.0]), period=360.0)
    >>> linear(axis, np.array([-45.0])).toarray()
    array([[0.5, 0. , 0. , 0.5]])
    """
    return _neighbours(axis, x, linear=True)


def closest(axis: Axis, x: FloatArray) -> sp.csr_array:
    """Weight 1 of the site next to each position, shape (n, sites); rows are empty outside and for NaN.

    Examples
    --------
    >>> closest(Axis("x", np.arange(3.0)), np.array([1.2, 2.7])).toarray()
    array([[0., 1., 0.],
           [0., 0., 0.]])
    """
    return _neighbours(axis, x, linear=False)


def _neighbours(axis: Axis, x: FloatArray, *, linear: bool) -> sp.csr_array:
    circle = Circle.of(np.asarray(axis.values, float), axis.period, closed=axis.closed)
    known = np.isfinite(x)
    low, weight, inside = bracket(circle.values, circle.into(np.where(known, x, circle.values[0])), linear=linear)
    entries = []
    for site, part in ((low, 1 - weight), (np.minimum(low + 1, len(circle.values) - 1), weight)):
        found = np.flatnonzero(known & inside & (part > 0))
        entries.append((found, circle.index[site[found]], part[found]))
    return sparse((len(x), len(axis.values)), entries)


def shared(axis: Axis, intervals: FloatArray) -> sp.csr_array:
    """Lengths that intervals, shape (n, 2), share with the cells of an axis, shape (n, sites).

    Examples
    --------
    >>> axis = Axis("lon", np.array([45.0, 135.0, 225.0, 315.0]), period=360.0)
    >>> shared(axis, np.array([[-30.0, 100.0]])).toarray()
    array([[90., 10.,  0., 30.]])
    """
    cells = axis.intervals
    turns = np.zeros(1)
    if axis.period is not None:
        first = np.floor((intervals.min() - cells.max()) / axis.period)
        turns = axis.period * np.arange(first, np.ceil((intervals.max() - cells.min()) / axis.period) + 1)
    length = np.zeros((len(intervals), len(cells)))
    for turn in turns:
        low = np.maximum(cells[None, :, 0] + turn, intervals[:, None, 0])
        high = np.minimum(cells[None, :, 1] + turn, intervals[:, None, 1])
        length += np.maximum(high - low, 0.0)
    # What is smaller than this share of a cell is rounding at edges that touch.
    length[length < 1e-11 * np.ptp(cells, axis=1)] = 0.0
    return sp.csr_array(length)


def product(parts: Sequence[sp.csr_array], count: int) -> sp.csr_array:
    """Product over the axes of weights for each of `count` targets; 1 where there is no axis."""
    weights = sp.csr_array(np.ones((count, 1)))
    for part in parts:
        weights = row_kron(weights, part)
    return weights

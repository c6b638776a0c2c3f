"""Rows of weights of frames: means of some, or shares of periods that overlap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.typing import FloatArray

__all__ = ["covered", "equal", "mean", "shares"]


def _rows(first: npt.NDArray[np.intp], last: npt.NDArray[np.intp], frames: int) -> sp.csr_array:
    """Rows of ones from a first to before a last frame."""
    counts = np.maximum(last - first, 0)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    columns = np.repeat(first, counts) + np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts)
    return sp.csr_array((np.ones(indptr[-1]), columns, indptr), shape=(len(first), frames))


def equal(first: npt.NDArray[np.intp], last: npt.NDArray[np.intp], frames: int) -> sp.csr_array:
    """Rows of the mean of the frames from a first to before a last, shape (time, frame).

    Examples
    --------
    >>> equal(np.array([0, 1]), np.array([2, 1]), 3).toarray()
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]])
    """
    return mean(_rows(first, last, frames))


def shares(pairs: FloatArray, edges: FloatArray, slack: float, *, whole: bool) -> sp.csr_array:
    """Share of each period that lies in each frame, shape (time, frame).

    Parameters
    ----------
    pairs, edges
        Periods of values, shape (time, 2), and of frames, shape (frame, 2), in hours.
    slack
        Hours of overlap that are due to rounding.
    whole
        Whether there is no row where the frames do not cover all of a period; else shares are those of what is covered.

    Examples
    --------
    A day from six to six, and days from midnight to midnight:

    >>> shares(np.array([[6.0, 30.0]]), np.array([[0.0, 24.0], [24.0, 48.0]]), 0.0, whole=True).toarray()
    array([[0.75, 0.25]])
    """
    first = np.searchsorted(edges[:, 1], pairs[:, 0] + slack, "right")
    weights = _rows(first, np.searchsorted(edges[:, 0], pairs[:, 1] - slack, "left"), len(edges))
    row = np.repeat(np.arange(len(pairs)), np.diff(weights.indptr))
    begin, end = edges[weights.indices].T
    weights.data = np.minimum(pairs[row, 1], end) - np.maximum(pairs[row, 0], begin)
    if not whole:
        return mean(weights)
    weights.data /= (pairs[:, 1] - pairs[:, 0])[row]
    weights = covered(weights)
    # Frames that overlap, as running means, share what they have in common.
    return weights if np.asarray(weights.sum(axis=1)).max(initial=0.0) < 1 + 1e-3 else mean(weights)


def mean(weights: sp.csr_array) -> sp.csr_array:
    """Weights that add up to one in every row that has some; equal ones are exactly one over their number."""
    counts = np.diff(weights.indptr)
    counts, starts = counts[counts > 0], weights.indptr[:-1][counts > 0]
    if counts.size:
        weights.data = weights.data / np.repeat(np.maximum.reduceat(weights.data, starts), counts)
        weights.data /= np.repeat(np.add.reduceat(weights.data, starts), counts)
    return weights


def covered(weights: sp.csr_array) -> sp.csr_array:
    """Leave out rows of shares that do not add up to one."""
    enough = np.asarray(weights.sum(axis=1)) > 1 - 1e-3
    weights.data *= enough[np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))]
    weights.eliminate_zeros()
    return weights

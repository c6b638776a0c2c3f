"""Observations next to cells that never have a value, such as those of a coast."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

__all__ = ["mostly_known", "without_masked"]

# Least share of what a value sees that has to have values.
_LEAST = 0.5


def mostly_known(
    masked: npt.NDArray[np.bool_], horizontal: sp.csr_array, vertical: sp.csr_array
) -> npt.NDArray[np.bool_]:
    """Tell at which levels and places at least half of what is seen has values.

    Parameters
    ----------
    masked
        Cells without values, shape (channel, lat, lon).
    horizontal, vertical
        Weights of cells, shape (place, lat * lon), and of channels, shape (level, channel).

    Returns
    -------
    ndarray
        Shape (level, place).

    Examples
    --------
    >>> coast = np.array([[[True, False, False]]])
    >>> places = sp.csr_array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.8, 0.2, 0.0]])
    >>> mostly_known(coast, places, sp.csr_array([[1.0]]))
    array([[False,  True, False]])
    """
    known = (~masked).reshape(len(masked), -1).astype(float)
    share = vertical @ (horizontal @ known.T).T
    whole = vertical @ (horizontal @ np.ones_like(known).T).T
    found: npt.NDArray[np.bool_] = share >= _LEAST * whole
    return found


def without_masked(matrix: sp.csr_array, masked: npt.NDArray[np.bool_]) -> sp.csr_array:
    """Leave cells without values out of rows, and give the others more weight, so that a mean stays one.

    Parameters
    ----------
    matrix
        Rows over the channels and cells of all frames, each of which sees a cell with a value.
    masked
        Cells without values, shape (channel, lat, lon).

    Examples
    --------
    >>> without_masked(sp.csr_array([[0.5, 0.25, 0.25]]), np.array([[[True, False, False]]])).toarray()
    array([[0. , 0.5, 0.5]])
    """
    kept = matrix.data * ~masked.ravel()[matrix.indices % masked.size]
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    whole, left = (np.bincount(rows, weights, matrix.shape[0]) for weights in (matrix.data, kept))
    scale = np.divide(whole, left, out=np.zeros_like(whole), where=left != 0)
    found = sp.csr_array((kept * scale[rows], matrix.indices, matrix.indptr), shape=matrix.shape)
    found.eliminate_zeros()
    return found

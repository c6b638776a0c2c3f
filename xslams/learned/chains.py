r"""Errors of learned operators as a vector autoregression: errors of one place are followed by those of others.

What operators leave has the scale of the weather and moves with it: what is wrong at one place today is wrong
downstream tomorrow, and what all places share lasts longer than what each has for itself. With the correlations
:math:`G` of a time and :math:`B` of a time with the one before,

.. math:: \mathrm{Cov}[e_{t + h}, e_t] = A^h G , \qquad A = B G^{-1} ,

so that the errors of a time are independent of all earlier ones given those of the time before.
"""

from __future__ import annotations

import numpy as np

from xslams.typing import FloatArray

__all__ = ["MOST", "chained", "lagged_correlations", "positive"]

#: Values whose errors are followed from one time to the next, at most.
MOST = 300
# Largest correlation of a direction with the time before.
_LARGEST = 0.98
# Smallest eigenvalue of a correlation matrix: values are never quite redundant, and single precision has to invert it.
_LEAST_VALUE = 1e-3
# Correlations below which errors are forgotten, and lags after which they are in any case.
_FORGOTTEN, _LAGS = 1e-3, 60


def positive(correlation: FloatArray) -> FloatArray:
    """Nearest correlation matrix whose eigenvalues are positive, by clipping these."""
    values, vectors = np.linalg.eigh((correlation + correlation.T) / 2)
    matrix = (vectors * np.maximum(values, _LEAST_VALUE)) @ vectors.T
    own = np.sqrt(np.diag(matrix))
    matrix = matrix / (own[:, None] * own)
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix)


def chained(now: FloatArray, before: FloatArray) -> FloatArray:
    """Nearest correlations with the time before that go with those of a time.

    Parameters
    ----------
    now
        Correlations of a time, positive definite, shape ``(n, n)``.
    before
        Those of a time, in the rows, with the one before; of values with gaps, each pair of which has been seen at
        times of its own, some may seem to follow from others entirely.

    Examples
    --------
    >>> chained(np.eye(2), np.array([[0.0, 2.0], [0.5, 0.0]])).round(2) + 0.0
    array([[0.  , 0.98],
           [0.5 , 0.  ]])
    """
    values, vectors = np.linalg.eigh(now)
    root, back = (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T
    left, size, right = np.linalg.svd(back @ before @ back)
    return np.asarray(root @ ((left * np.minimum(size, _LARGEST)) @ right) @ root)


def lagged_correlations(now: FloatArray, before: FloatArray) -> FloatArray:
    """Return the correlations with lags of 0, 1 and more times until errors are forgotten, shape ``(lag, n, n)``.

    Parameters
    ----------
    now, before
        Correlations of a time, and with the time before, shape ``(n, n)``.

    Examples
    --------
    >>> lagged_correlations(np.eye(1), np.full((1, 1), 0.05)).ravel()
    array([1.    , 0.05  , 0.0025])
    """
    step = np.linalg.solve(now, before.T).T
    lags = [now]
    while len(lags) < _LAGS:
        following = step @ lags[-1]
        if np.abs(following).max(initial=0.0) < _FORGOTTEN:
            break
        lags.append(following)
    return np.stack(lags)

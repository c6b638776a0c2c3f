r"""How far errors must be inflated for analyses to be right where the state is known and was not learned from.

An operator that was learned from few samples has coefficients with errors of their own. What they add to the values is
part of the errors that held-out values show, but not independent of the state: it looks like information on directions
of the state of which the values tell nothing. The more values there are, the surer the analysis is of these. No
covariance of errors at the true state shows that; the analysis of a known state does.

With the innovations :math:`d` of held-out frames, their covariance :math:`HBH^T` by the prior and the error covariance
:math:`R`, the state at some cells has the Gaussian posterior

.. math:: K d, \qquad P - K (H P), \qquad K = P H^T (H B H^T + D R D)^{-1}

with a factor for each group of values in the diagonal :math:`D`. The factors minimise the logarithmic score of that
posterior in each cell, each in turn. The continuous ranked probability score would hardly tell an analysis that is too
sure by a tenth from a right one.

Where the spread of the posterior is too small even so, the covariances of state and errors are both too small: what a
prior and operators have learned of a few years is too sure of itself. Both are widened alike (`widened`), which changes
no mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from xslams.typing import FloatArray

__all__ = ["FACTORS", "HeldOut", "inflations", "widened"]

#: Factors of standard deviations that are tried; with the last one values count next to nothing.
FACTORS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0, 8.0)
# Rounds over the groups, and smallest share of the prior variance that a posterior keeps.
_ROUNDS, _LEAST = 3, 1e-6
# By how much a prior is widened at most.
_WIDEST = 1.5


@dataclass(frozen=True)
class HeldOut:
    """Values and the true state of one stretch of time.

    Attributes
    ----------
    innovation
        Values less what the prior expects, shape ``(n,)``.
    covariance
        That of what the values see, by the prior, shape ``(n, n)``.
    error
        Covariance of their errors, shape ``(n, n)``; of different groups it is zero.
    group
        Group of each value, shape ``(n,)``.
    state
        True state at some cells less its mean by the prior, shape ``(m,)``.
    variance
        That of the state by the prior, shape ``(m,)``.
    cross
        Covariance of the state with what the values see, shape ``(m, n)``.
    """

    innovation: FloatArray
    covariance: FloatArray
    error: FloatArray
    group: npt.NDArray[np.intp]
    state: FloatArray
    variance: FloatArray
    cross: FloatArray

    def score(self, factors: FloatArray) -> float:
        """Mean logarithmic score of the state in units of the prior's deviation, for a factor of each group."""
        share, square = self.posterior(factors)
        return float(0.5 * (square / share + np.log(share)).mean())

    def posterior(self, factors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Variance of the state and its squared error, over the variance by the prior."""
        scale = factors[self.group]
        known = cho_factor(self.covariance + scale[:, None] * self.error * scale)
        gain = cho_solve(known, self.cross.T).T
        left = self.variance - np.einsum("mn,mn->m", gain, self.cross)
        square = (self.state - gain @ self.innovation) ** 2
        return np.maximum(left / self.variance, _LEAST), square / self.variance


def inflations(samples: Sequence[HeldOut], groups: int) -> FloatArray:
    """Return the factor of the standard deviation of the errors of each group.

    Parameters
    ----------
    samples
        Stretches of time that were not learned from.
    groups
        Number of groups.

    Returns
    -------
    ndarray
        Shape ``(groups,)``, each one of `FACTORS`: 1 unless another is better by more than the standard error of the
        difference between stretches.

    Examples
    --------
    Errors have three times the standard deviation that is said:

    >>> rng = np.random.default_rng(0)
    >>> group, one, m = np.zeros(8, int), np.eye(8), np.ones(8)
    >>> samples = []
    >>> for _ in range(50):
    ...     x = rng.standard_normal(8)
    ...     samples.append(HeldOut(x + 3 * rng.standard_normal(8), one, one, group, x, m, one))
    >>> bool(2.5 <= inflations(samples, 1)[0] <= 4)
    True
    """
    factors = np.ones(groups)
    scores = np.array([s.score(factors) for s in samples])
    for _ in range(_ROUNDS if groups > 1 else 1):
        before = factors.copy()
        for group in range(groups):
            tried = {}
            for factor in FACTORS:
                guess = factors.copy()
                guess[group] = factor
                tried[factor] = scores if factor == factors[group] else np.array([s.score(guess) for s in samples])
            best = min(FACTORS, key=lambda f: float(tried[f].mean()))
            gain = tried[float(factors[group])] - tried[best]
            if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
                factors[group], scores = best, tried[best]
        if (before == factors).all():
            break
    return factors


def widened(samples: Sequence[HeldOut], groups: int) -> tuple[float, FloatArray]:
    """Return the factor of the standard deviation of the prior, and those of the errors of each group with it.

    Parameters
    ----------
    samples, groups
        As for `inflations`.

    Returns
    -------
    tuple of float and ndarray
        The first is at least 1: with it the spread of the posterior is that of the errors of its mean. The errors have
        that factor, too, and those of `inflations`.

    Examples
    --------
    Both the prior and the errors are half as large as they should be:

    >>> rng = np.random.default_rng(0)
    >>> group, one, m = np.zeros(8, int), np.eye(8), np.ones(8)
    >>> samples = []
    >>> for _ in range(50):
    ...     x = 1.4 * rng.standard_normal(8)
    ...     samples.append(HeldOut(x + 1.4 * rng.standard_normal(8), one, one, group, x, m, one))
    >>> prior, errors = widened(samples, 1)
    >>> bool(1.2 < prior < 1.5), bool(1.2 <= errors[0] <= 1.7)
    (True, True)
    """
    factors = inflations(samples, groups)
    found = [sample.posterior(factors) for sample in samples]
    spread, square = (np.mean([part[k].mean() for part in found]) for k in (0, 1))
    whole = min(max(float(np.sqrt(square / spread)), 1.0), _WIDEST)
    return whole, whole * factors

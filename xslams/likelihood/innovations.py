r"""Variances of errors that innovations tell: those of largest likelihood under a Gaussian prior.

The innovations :math:`d` of all sources have the covariance

.. math:: S = H B H^T + F + \sum_s r_s U_s

with what is known of the errors in :math:`F`, and a diagonal :math:`U_s` that is zero for the values of other sources.
The :math:`r_s` minimise :math:`\log |S| + d^T S^{-1} d`, all together, since sources that lie close to each other tell
each other's errors. Values that the others contradict, by more than four standard deviations of what is expected of
them given all others, are left out, and the rest is fitted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from xslams.typing import FloatArray

__all__ = ["InnovationSample", "error_variances"]

# Standard deviations beyond which a value is left out, and rounds of leaving out.
_FAR, _ROUNDS = 4.0, 6
# Least and largest variance of an error, relative to the mean square of innovations.
_SHARE = (2.5e-3, 2.0)


@dataclass(frozen=True)
class InnovationSample:
    """Innovations of one stretch of time.

    Attributes
    ----------
    innovation
        Observation less prior mean, shape (n,).
    prior
        Their covariance by the prior, shape (n, n).
    known
        Variance of what is known of their errors, shape (n,).
    unit
        What the unknown variance is multiplied by, shape (n,).
    source
        Number of the unknown variance of each value, -1 where there is none, shape (n,).
    curved
        Whether a value is seen through a transform that is not linear, shape (n,).
    """

    innovation: FloatArray
    prior: FloatArray
    known: FloatArray
    unit: FloatArray
    source: npt.NDArray[np.intp]
    curved: npt.NDArray[np.bool_]

    def keep(self, chosen: npt.NDArray[np.bool_]) -> InnovationSample:
        """Return some of the values."""
        square = self.prior[np.ix_(chosen, chosen)]
        curved = self.curved[chosen]
        source = self.source[chosen]
        return InnovationSample(self.innovation[chosen], square, self.known[chosen], self.unit[chosen], source, curved)

    def told(self, variances: FloatArray) -> InnovationSample:
        """Return the sample with the variances that are not NaN as known."""
        variance = np.where(self.source >= 0, variances[self.source], np.nan)
        known = np.isfinite(variance)
        return replace(
            self,
            known=self.known + np.where(known, variance * self.unit, 0.0),
            source=np.where(known, -1, self.source),
        )

    def solved(self, variances: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Return the logarithm of the determinant, the inverse and its product with the innovations."""
        own = np.where(self.source >= 0, variances[self.source], 0.0)
        diagonal = self.known + own * self.unit
        factor = cho_factor(self.prior + np.diag(diagonal + 1e-9 * np.mean(np.diag(self.prior))), lower=True)
        inverse = cho_solve(factor, np.eye(diagonal.size))
        return float(2 * np.log(np.diag(factor[0])).sum()), inverse, inverse @ self.innovation


def error_variances(samples: Sequence[InnovationSample], count: int) -> FloatArray:
    """Variances of largest likelihood.

    Parameters
    ----------
    samples
        Independent stretches of time.
    count
        Number of unknown variances; each has values.

    Returns
    -------
    ndarray
        Shape (count,), between 0.25 % of the mean square of the innovations of its values and twice that.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ones, which = np.ones(200), np.zeros(200, int)
    >>> sample = InnovationSample(rng.normal(0, 2, 200), np.eye(200), 0 * ones, ones, which, which > 0)
    >>> bool(2.5 < error_variances([sample], 1)[0] < 3.5)
    True
    """
    variances = np.full(count, np.nan)
    # What is linearised is a poor witness of what is not, which is told first.
    for curved in (False, True):
        seen = [s.told(variances) if curved else s.keep(~s.curved) for s in samples]
        asked = np.unique(np.concatenate([s.source[s.source >= 0] for s in seen]))
        if asked.size:
            numbered = [replace(s, source=np.where(s.source >= 0, np.searchsorted(asked, s.source), -1)) for s in seen]
            variances[asked] = _robust(numbered, asked.size)
    return variances


def _robust(kept: Sequence[InnovationSample], count: int) -> FloatArray:
    """Variances of largest likelihood without values that the others contradict."""
    variances = _fitted(kept, count)
    for _ in range(_ROUNDS):
        near = [_near(sample, variances) for sample in kept]
        if all(n.all() for n in near):
            break
        kept = [sample.keep(n) for sample, n in zip(kept, near, strict=True)]
        variances = _fitted(kept, count)
    return variances


def _near(sample: InnovationSample, variances: FloatArray) -> npt.NDArray[np.bool_]:
    """Which values are as far from what all others tell as may be."""
    _, inverse, weighted = sample.solved(variances)
    near: npt.NDArray[np.bool_] = np.abs(weighted) <= _FAR * np.sqrt(np.diag(inverse))
    return near | (sample.source < 0)


def _fitted(samples: Sequence[InnovationSample], count: int) -> FloatArray:
    # By medians, so that gross errors do not set the scale.
    scale = np.empty(count)
    for s in range(count):
        relative = np.concatenate([(v.innovation**2 / v.unit)[v.source == s] for v in samples])
        scale[s] = max(float(np.median(relative)) / 0.455, 1e-3 * float(np.mean(relative)), 1e-300)

    def cost(logs: FloatArray) -> tuple[float, FloatArray]:
        variances = scale * np.exp(logs)
        total, slope = 0.0, np.zeros(count)
        for v in samples:
            determinant, inverse, weighted = v.solved(variances)
            total += determinant + float(v.innovation @ weighted)
            each = (np.diag(inverse) - weighted**2) * v.unit
            slope += np.bincount(v.source[v.source >= 0], each[v.source >= 0], count)
        return total, slope * variances

    bounds = [tuple(np.log(_SHARE))] * count
    found = minimize(cost, np.full(count, np.log(0.2)), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(scale * np.exp(found.x))

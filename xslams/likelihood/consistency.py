r"""Whether errors are what they are said to be: statistics of departures of observations from predictions.

Observations :math:`y` with stated error variances :math:`r` are compared with the background :math:`H x_b` and with the
members of the analysis, of mean :math:`H \bar x` and variance :math:`h`. Where all errors are as stated,

- :math:`E[(y - H \bar x)^2] - h / M = r - h` with M members: the squares over what is expected, ``chi_square``, are
  1 in the mean. The analysis is closer to observations than the truth is, by as much as it knows from them;
- :math:`E[(y - H \bar x)(y - H x_b)] = r` (Desroziers et al. 2005, doi:10.1256/qj.05.108);
- :math:`\sum h / r` is the number of degrees of freedom for signal: how many numbers were learned from the source.

An error that is stated wrong also shifts the analysis, so that these lie between what is stated and what is true. With
the influence matrix :math:`K = H P_a H^T R^{-1}` (Cardinali et al. 2004, doi:10.1256/qj.03.205) of n values, and
:math:`k = \mathrm{tr} K / n`, :math:`k_2 = \mathrm{tr} K^2 / n`, the expected product over the stated variance is
:math:`1 + (\rho - 1)(1 - k)` where errors have :math:`\rho` times the stated variance, and the squares over what is
expected of them :math:`1 + (\rho - 1)(1 - 2 k + k_2) / (1 - k)`: `error_ratio` returns :math:`\rho`. Members tell
:math:`k_2`, which lies between :math:`k^2`, where every value sees something of its own, and :math:`k`, where many
see the same.

All this takes the spread of the prior for right. Where its true variance is :math:`\beta` times as large,
:math:`\rho` comes out too large by :math:`(\beta - 1) f`, with :math:`f = k / (1 - k)` by products and
:math:`f = (k - k_2) / (1 - 2 k + k_2)`, which is less, by squares: an overconfident prior makes errors of observations
look larger than they are. `prior_shift` returns :math:`f`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xslams.typing import FloatArray

__all__ = ["PRIOR", "Departures", "error_ratio", "prior_shift", "shift_of_products", "sums_by_frame"]

#: By how much the variance of a prior may be wrong: climates of models and errors of forecasts are no better known.
PRIOR = 0.2
_MOST = 0.95  # of the influence of a value that estimates take


@dataclass(frozen=True)
class Departures:
    """One source against an analysis.

    Attributes
    ----------
    values
        Observations, shape (n,).
    variance
        Stated error variances, shape (n,).
    predicted
        What members say of them, shape (member, n).
    frame
        Number of the frame of each value, shape (n,).
    background
        What the background says of them, shape (n,); None where there is none.
    independent
        Number of independent members that the error of the mean is that of; infinite for antithetic pairs, whose mean
        has none.
    """

    values: FloatArray
    variance: FloatArray
    predicted: FloatArray
    frame: np.ndarray[tuple[int], np.dtype[np.intp]]
    background: FloatArray | None = None
    independent: float | None = None

    @property
    def antithetic(self) -> bool:
        """Whether members are pairs around their mean."""
        return self.independent is not None and bool(np.isinf(self.independent))

    @property
    def spread(self) -> FloatArray:
        """Variance of predictions, shape (n,)."""
        members, ddof = len(self.predicted), 0 if self.antithetic else 1
        return np.asarray(self.predicted.var(0, ddof=ddof) if members > 1 else np.zeros(self.values.size))

    @property
    def shared_influence(self) -> float:
        r"""Trace of the square of the influence matrix, of values of the same frame.

        With S the sample covariance of M members, :math:`E[S_{ij}^2]` exceeds :math:`\Sigma_{ij}^2` by
        :math:`(\Sigma_{ii} \Sigma_{jj} + \Sigma_{ij}^2) / \nu` with :math:`\nu` degrees of freedom, which is taken
        off. NaN where there are too few members.
        """
        members = len(self.predicted)
        freedom = members / 2 if self.antithetic else members - 1.0
        if freedom <= 1.0:
            return float("nan")
        whitened = (self.predicted - self.predicted.mean(0)) / np.sqrt(self.variance)
        own = self.spread / self.variance
        alone = float((own**2).sum()) * freedom / (freedom + 2.0)
        shared = noise = 0.0
        for number in np.unique(self.frame):
            here = self.frame == number
            # Its nonzero eigenvalues are those of the covariance of the values of a frame, which may be many.
            gram = whitened[:, here] @ whitened[:, here].T / (members if self.antithetic else freedom)
            square = float((gram**2).sum() - np.trace(gram) ** 2 / freedom)
            shared += square * freedom**2 / ((freedom - 1.0) * (freedom + 2.0))
            noise += 2.0 * float((own[here] ** 2).sum()) ** 2 / freedom**2
        # What no more than chance makes of few members is no correlation.
        return shared if shared - alone > 3.0 * noise**0.5 else alone


def sums_by_frame(part: Departures, frames: int) -> FloatArray:
    """Sum up every frame; all estimates are made of these sums.

    Parameters
    ----------
    part
        Departures of a source.
    frames
        Number of frames.

    Returns
    -------
    ndarray
        Shape (frame, 7): number of values, squares of departures, what is expected of them, Desroziers' products, or
        what squares say of them where there is no background, stated variances, degrees of freedom for signal, and
        `prior_shift` times the number of values.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, n = rng.normal(size=4000), 4000
    >>> y = x + rng.normal(size=n)
    >>> members = y / 2 + rng.normal(size=(50, n)) / 2**0.5
    >>> part = Departures(y, np.ones(n), members, np.zeros(n, int), np.zeros(n))
    >>> count, square, expected, product, stated, signal, shift = sums_by_frame(part, 1)[0] / n
    >>> [round(float(v), 1) for v in (square / expected, product, signal)]
    [1.0, 1.0, 0.5]
    """
    departure = part.values - part.predicted.mean(0)
    number = len(part.predicted) if part.independent is None else part.independent
    # The mean of members has a sampling error of its own, which says nothing of observations.
    square = departure**2 - part.spread / number
    expected = part.variance - part.spread
    influence = min(float((part.spread / part.variance).mean()), _MOST) if part.values.size else 0.0
    shift = float(shift_of_products(influence))
    if part.background is None:
        # By squares, which say the same with another factor; that of the whole source, as it is noisy for a few values.
        common = part.shared_influence / max(part.values.size, 1)
        common = influence if np.isnan(common) else min(max(common, influence**2), influence)
        shift = (influence - common) / (1.0 - 2.0 * influence + common)
        product = part.variance + (square - expected) * (1.0 + shift)
    else:
        product = departure * (part.values - part.background)
    columns = [np.ones_like(departure), square, expected, product, part.variance, part.spread / part.variance]
    columns.append(np.full_like(departure, shift))
    return np.stack([np.bincount(part.frame, c, minlength=frames) for c in columns], axis=1)


def error_ratio(sums: FloatArray) -> FloatArray:
    """Return true over stated variance of errors, as the departures have it; no less than a hundredth.

    Parameters
    ----------
    sums
        What `sums_by_frame` returns, or sums or means of it, shape (..., column).

    Examples
    --------
    >>> error_ratio(np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.3])), error_ratio(np.array([1.0, 0.0, 0.0, 2.5, 4.0, 0.5]))
    (array(1.), array(0.25))
    """
    q, k = sums[..., 3] / sums[..., 4], np.minimum(sums[..., 5] / sums[..., 0], _MOST)
    return np.asarray(np.maximum((q - k) / (1.0 - k), 0.01))


def shift_of_products(influence: npt.ArrayLike) -> FloatArray:
    """Return what `prior_shift` is by products, for the degrees of freedom for signal of each value.

    Examples
    --------
    >>> shift_of_products([0.0, 0.5])
    array([0., 1.])
    """
    k = np.minimum(np.asarray(influence, float), _MOST)
    return np.asarray(k / (1.0 - k))


def prior_shift(sums: FloatArray) -> FloatArray:
    """Return by how much `error_ratio` grows with the ratio of true and supposed variance of the prior.

    Parameters
    ----------
    sums
        What `sums_by_frame` returns, or sums or means of it, shape (..., 7).

    Examples
    --------
    >>> prior_shift(np.array([10.0, 0.0, 0.0, 10.0, 10.0, 5.0, 10.0]))
    array(1.)
    """
    return np.asarray(sums[..., 6] / sums[..., 0])

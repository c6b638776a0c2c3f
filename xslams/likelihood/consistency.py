r"""Whether errors are what they are said to be: statistics of departures of observations from predictions.

Observations :math:`y` with stated error variances :math:`r` are compared with the background :math:`H x_b` and with the
members of the analysis, of mean :math:`H \bar x` and variance :math:`h`. Where all errors are as stated,

- :math:`E[(y - H \bar x)^2] - h / M = r - h` with M members: the squares over what is expected, ``chi_square``, are
  1 in the mean. The analysis is closer to observations than the truth is, by as much as it knows from them;
- :math:`E[(y - H \bar x)(y - H x_b)] = r` (Desroziers et al. 2005, doi:10.1256/qj.05.108);
- :math:`\sum h / r` is the number of degrees of freedom for signal: how many numbers were learned from the source.

An error that is stated wrong also shifts the analysis, so that Desroziers' estimate lies between what is stated and
what is true; iterated, it converges by the factor :math:`k = h / r`, slowly where observations are good. For one value
and a prior of variance :math:`b`, both ratios above are :math:`q = (b + r_t) / (b + r)` with the true variance
:math:`r_t`, and :math:`k = b / (b + r)`; so :math:`r_t / r = (q - k) / (1 - k)`, which `error_ratio` returns. It is
exact there and where many values share what they see (:math:`k \to 0`), and an estimate in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xslams.typing import FloatArray

__all__ = ["Departures", "error_ratio", "sums_by_frame"]


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
    def spread(self) -> FloatArray:
        """Variance of predictions, shape (n,)."""
        members = len(self.predicted)
        exact = self.independent is not None and np.isinf(self.independent)
        return np.asarray(self.predicted.var(0, ddof=0 if exact else 1) if members > 1 else np.zeros(self.values.size))


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
        Shape (frame, 6): number of values, squares of departures, what is expected of them, Desroziers' products,
        stated variances, and degrees of freedom for signal.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, n = rng.normal(size=4000), 4000
    >>> y = x + rng.normal(size=n)
    >>> members = y / 2 + rng.normal(size=(50, n)) / 2**0.5
    >>> part = Departures(y, np.ones(n), members, np.zeros(n, int), np.zeros(n))
    >>> count, square, expected, product, stated, signal = sums_by_frame(part, 1)[0] / n
    >>> [round(float(v), 1) for v in (square / expected, product, signal)]
    [1.0, 1.0, 0.5]
    """
    departure = part.values - part.predicted.mean(0)
    number = len(part.predicted) if part.independent is None else part.independent
    # The mean of members has a sampling error of its own, which says nothing of observations.
    square = departure**2 - part.spread / number
    expected = part.variance - part.spread
    if part.background is None:
        # The other ratio says the same; of sums, as one of single values would be biased by the error of the spread.
        product = square * part.variance.sum() / max(expected.sum(), 0.01 * part.variance.sum())
    else:
        product = departure * (part.values - part.background)
    columns = [np.ones_like(departure), square, expected, product, part.variance, part.spread / part.variance]
    return np.stack([np.bincount(part.frame, c, minlength=frames) for c in columns], axis=1)


def error_ratio(sums: FloatArray) -> FloatArray:
    """Return true over stated variance of errors, as the departures have it; no less than a hundredth.

    Parameters
    ----------
    sums
        What `sums_by_frame` returns, or sums or means of it, shape (..., 6).

    Examples
    --------
    >>> error_ratio(np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.3])), error_ratio(np.array([1.0, 0.0, 0.0, 2.5, 4.0, 0.5]))
    (array(1.), array(0.25))
    """
    q, k = sums[..., 3] / sums[..., 4], np.minimum(sums[..., 5] / sums[..., 0], 0.95)
    return np.asarray(np.maximum((q - k) / (1.0 - k), 0.01))

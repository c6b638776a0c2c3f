r"""Errors of learned operators: their correlation between values, and from frame to frame.

The correlation of what operators leave of values that they have not seen is that of a sample, and shrunk towards
independence by the share that minimises the expected squared error [1]_,

.. math:: \nu = \frac{\sum_{i \ne j} \mathrm{Var}[r_{ij}]}{\sum_{i \ne j} r_{ij}^2}, \qquad
    \mathrm{Var}[r_{ij}] \approx \frac{(1 - r_{ij}^2)^2}{T_{ij}} \, \frac{1 + \rho^2}{1 - \rho^2},

with :math:`T` samples whose correlation from one to the next is :math:`\rho`. The errors of few values follow each
other as a vector autoregression, see `xslams.learned.chains`. What a sample says of the correlation with the time
before is shrunk in the same way towards :math:`\rho` times that of a time. The errors of many values share
:math:`\rho`, that of an AR(1) process, which is not shrunk: errors of places that have nothing to do with each other
may persist all the same.

References
----------
.. [1] Schäfer and Strimmer, A shrinkage approach to large-scale covariance matrix estimation, 2005,
   doi:10.2202/1544-6115.1175.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xslams.learned.chains import MOST, chained, lagged_correlations, positive
from xslams.typing import FloatArray

__all__ = ["LearnedErrors", "joint_errors"]

# Share of the variance that is independent from value to value, at least: values are never quite redundant. It is
# larger where the errors of a time follow from those before, as then even less is left that values do not have in
# common, and what a sample says of that little is too sure of itself.
_LEAST_SHARE, _CHAINED_SHARE = 0.02, 0.1
# Correlation from frame to frame above which errors would never be forgotten, and below which they are independent.
_MOST, _LITTLE = 0.98, 0.02
# Share of what a sample says of the correlation with the time before that may be noise.
_UNCLEAR = 0.5


@dataclass(frozen=True, eq=False)
class LearnedErrors:
    """Correlation of the errors of all values of a variable, of whichever source.

    Attributes
    ----------
    between
        Correlation between values of the same time, shape ``(n, n)``.
    persistence
        Correlation from one frame to the next; 0 where there is none.
    independent
        Share of the variance that is independent from value to value, and not part of `between`.
    link
        What sources have in common whose errors these are together; None where they are of one source.
    before
        Correlation of the values of a time, in the rows, with those of the time before, shape ``(n, n)``; None where it
        is `persistence` times that of the same time.
    """

    between: FloatArray
    persistence: float
    independent: float
    link: str | None = None
    before: FloatArray | None = None

    @cached_property
    def lagged(self) -> FloatArray | None:
        """Correlation with the values of that many times before, ``(lag, n, n)``; None where `before` is."""
        return None if self.before is None else lagged_correlations(self.between, self.before)

    def hours(self, time_step: float) -> float | None:
        """Hours after which errors are forgotten, for frames `time_step` hours apart; None where they are at once."""
        return -time_step / float(np.log(self.persistence)) if self.persistence > 0 else None


def joint_errors(residual: FloatArray, link: str | None = None) -> LearnedErrors:
    """Estimate correlations.

    Parameters
    ----------
    residual
        What operators leave of consecutive frames, in units of its standard deviation; shape ``(frame, n)``, NaN where
        there is no value.
    link
        What the sources of the values have in common.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> common = rng.standard_normal((4000, 1))
    >>> errors = joint_errors((common + rng.standard_normal((4000, 3))) / np.sqrt(2))
    >>> bool(abs(errors.between[0, 1] - 0.5) < 0.05), errors.persistence
    (True, 0.0)
    """
    filled, known = np.nan_to_num(residual), np.isfinite(residual).astype(float)
    pairs, own = filled[1:] * filled[:-1], 0.5 * (filled[1:] ** 2 + filled[:-1] ** 2)
    together = known[1:] * known[:-1] > 0
    lagged = float(pairs[together].sum() / max(own[together].sum(), 1e-30)) if together.any() else 0.0
    count = known.T @ known
    square = (filled**2).T @ known
    scale = np.sqrt(np.maximum(square * square.T, 1e-30))
    # Of values that were never seen together nothing is known.
    correlation = np.where(count > 1, np.clip(filled.T @ filled / scale, -1, 1), 0.0)
    away = ~np.eye(len(correlation), dtype=bool)
    memory = min(max(lagged, 0.0), _MOST)
    # Of a correlation of zero.
    noise = (1 + memory**2) / (1 - memory**2) / np.maximum(count, 1)
    share = _share(((1 - correlation**2) ** 2 * noise)[away], correlation[away])
    # Divided by what belongs to all times, not to pairs of them: only then does it go together with that of a time.
    before = np.where(count > 1, filled[1:].T @ filled[:-1] / scale, 0.0)
    if len(correlation) > MOST or _share(noise, before) > _UNCLEAR:
        between = positive(np.where(away, 1 - share, 1.0) * correlation)
        persistence = min(lagged / (1 - _LEAST_SHARE), _MOST) if lagged > _LITTLE else 0.0
        return LearnedErrors(between, persistence, _LEAST_SHARE, link)
    now = positive(np.where(away, 1 - max(share, _CHAINED_SHARE), 1.0) * correlation)
    apart = before - lagged * correlation
    before = lagged * (now - _CHAINED_SHARE * ~away) + (1 - _CHAINED_SHARE) * (1 - _share(noise, apart)) * apart
    return LearnedErrors(now, memory, 0.0, link, chained(now, before))


def _share(noise: FloatArray, found: FloatArray) -> float:
    """Share of what a sample has found that is noise, given the variance of that."""
    signal = float((found**2).sum())
    return min(float(noise.sum()) / signal, 1.0) if signal > 0 else 1.0

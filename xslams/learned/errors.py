r"""Errors of learned operators: their correlation between values, and from frame to frame.

The correlation of what operators leave of values that they have not seen is that of a sample, and shrunk towards
independence by the share that minimises the expected squared error [1]_,

.. math:: \nu = \frac{\sum_{i \ne j} \mathrm{Var}[r_{ij}]}{\sum_{i \ne j} r_{ij}^2}, \qquad
    \mathrm{Var}[r_{ij}] \approx \frac{(1 - r_{ij}^2)^2}{T_{ij}} \, \frac{1 + \rho^2}{1 - \rho^2},

with :math:`T` samples whose correlation from one to the next is :math:`\rho`. Errors of one variable share one
:math:`\rho`, that of an AR(1) process, which is not shrunk: errors of places that have nothing to do with each other
may persist all the same.

References
----------
.. [1] Schäfer and Strimmer, A shrinkage approach to large-scale covariance matrix estimation, 2005,
   doi:10.2202/1544-6115.1175.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xslams.typing import FloatArray

__all__ = ["LearnedErrors", "joint_errors"]

# Share of the variance that is independent from value to value, and smallest eigenvalue of a correlation matrix:
# values are never quite redundant, and single precision has to invert it.
_LEAST_SHARE, _LEAST_VALUE = 0.02, 1e-3
# Correlation from frame to frame above which errors would never be forgotten, and below which they are independent.
_MOST, _LITTLE = 0.98, 0.02


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
        Share of the variance that is independent from value to value.
    link
        What sources have in common whose errors these are together; None where they are of one source.
    """

    between: FloatArray
    persistence: float
    independent: float
    link: str | None = None

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
    correlation = filled.T @ filled / np.sqrt(np.maximum(square * square.T, 1e-30))
    # Of values that were never seen together nothing is known.
    correlation = np.where(count > 1, np.clip(correlation, -1, 1), 0.0)
    away = ~np.eye(len(correlation), dtype=bool)
    memory = min(max(lagged, 0.0), _MOST)
    variance = (1 - correlation**2) ** 2 / np.maximum(count, 1) * (1 + memory**2) / (1 - memory**2)
    noise, signal = float(variance[away].sum()), float((correlation[away] ** 2).sum())
    share = min(noise / signal, 1.0) if signal > 0 else 1.0
    persistence = min(lagged / (1 - _LEAST_SHARE), _MOST) if lagged > _LITTLE else 0.0
    return LearnedErrors(_positive(np.where(away, 1 - share, 1.0) * correlation), persistence, _LEAST_SHARE, link)


def _positive(correlation: FloatArray) -> FloatArray:
    """Nearest correlation matrix whose eigenvalues are positive, by clipping these."""
    values, vectors = np.linalg.eigh((correlation + correlation.T) / 2)
    matrix = (vectors * np.maximum(values, _LEAST_VALUE)) @ vectors.T
    own = np.sqrt(np.diag(matrix))
    matrix = matrix / (own[:, None] * own)
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix)

r"""How well a regression of values on features finds the features again, where it has not seen them.

A regression is chosen to be inverted: an analysis asks which state made the values, not which values a state makes.
Coefficients that are learned from few samples may predict values well and yet misplace the state, since their errors
look like information on what the values tell nothing of; the more values, the worse. So what is judged is

.. math:: \hat f = \Sigma W (W^\top \Sigma W + R)^{-1} y

for the blocks that the coefficients :math:`W` have not seen, with the covariance :math:`\Sigma` of the features and
:math:`R` of what the regression leaves of values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xslams.typing import FloatArray

__all__ = ["ByBlock", "inverse_skill", "judged"]

#: Coefficients that were found without each block.
ByBlock = dict[int, FloatArray]
# Values that are inverted together, at most; those of which fewer than a share is there are left out.
_MOST, _PRESENT = 200, 0.6
# Smallest eigenvalue of the covariance of errors, relative to their mean.
_LEAST = 1e-3


def judged(known: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return the values that are inverted, of those there are for each sample, shape ``(sample, value)``."""
    enough = np.flatnonzero(known.mean(axis=0) >= _PRESENT)
    enough = enough if enough.size else np.flatnonzero(known.any(axis=0))
    return np.asarray(enough[np.unique(np.linspace(0, enough.size - 1, min(_MOST, enough.size)).round().astype(int))])


def inverse_skill(
    weights: list[ByBlock],
    features: FloatArray,
    values: FloatArray,
    residual: FloatArray,
    centre: npt.NDArray[np.intp],
    block: npt.NDArray[np.intp],
    wanted: npt.NDArray[np.bool_],
) -> float:
    """Share of the variance of some features that values explain, by coefficients that have not seen them.

    Parameters
    ----------
    weights
        Of each centre of the year, the coefficients ``(feature, value)`` without each block.
    features, values, residual
        Shapes ``(sample, feature)``, ``(sample, value)`` and ``(sample, value)``; the last two NaN where missing.
    centre, block
        Centre of the year and block of each sample, shape ``(sample,)``.
    wanted
        Features that count, shape ``(feature,)``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((1000, 2))
    >>> noise = rng.standard_normal((1000, 2))
    >>> exact = [{0: np.eye(2)}]
    >>> where = np.zeros(1000, int)
    >>> round(inverse_skill(exact, x, x + noise, noise, where, where, np.ones(2, bool)), 1)
    0.5
    """
    known, samples = np.isfinite(residual), len(features)
    filled = np.where(known, residual, 0.0)
    count = known.astype(float).T @ known
    error = filled.T @ filled / np.maximum(count, 1.0)
    found, directions = np.linalg.eigh(error)
    error = (directions * np.maximum(found, _LEAST * max(found.mean(), 1e-30))) @ directions.T
    covariance = features.T @ features / samples
    given, wrong, total = np.nan_to_num(values), 0.0, 0.0
    for number, by_block in enumerate(weights):
        for left_out, own in by_block.items():
            rows = np.flatnonzero((centre == number) & (block == left_out))
            if not rows.size:
                continue
            seen = covariance @ own
            guess = np.linalg.solve(own.T @ seen + error, given[rows].T).T @ seen[wanted].T
            wrong += float(((features[rows][:, wanted] - guess) ** 2).sum())
            total += float((features[rows][:, wanted] ** 2).sum())
    return 1 - wrong / max(total, 1e-30)

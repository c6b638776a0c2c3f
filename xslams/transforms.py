r"""Transforms that bring values closer to a Gaussian, for arrays of numpy and tensors of torch alike.

Of precipitation, a signed square root that is linear near zero, for a scale :math:`a`,

.. math:: g(x) = \mathrm{sign}(x) \left(\sqrt{1 + |x| / a} - 1\right) .

A square root, rather than a logarithm, keeps the slope of the inverse modest, which matters because guidance linearises
the observation operator.

Of any quantity, its *normal scores*: the deviate of a standard normal variable that has the rank of the value in a
sample. A value that many of the sample share, such as no rain, or a sky without clouds, has the mean of their scores:
occurrence and amount are then told by one number, with a step between none and the least amount. The curve is kept as a
few knots and goes on in straight lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from xslams.typing import FloatArray

__all__ = [
    "Knots",
    "from_scores",
    "from_square_root",
    "knots_of",
    "score_chord",
    "scores",
    "square_root",
    "square_root_slope",
]

Knots = Sequence[tuple[float, float]]
"""Values and their normal scores, both rising."""

# Knots of a curve at most, and digits of its numbers.
_MOST, _DIGITS = 33, 7
# Times the slope of the whole curve above which that of an end is none to go on with. Next to a value that many share,
# such as no rain, there may be one of 1e-9. Observations have noise and lie beyond it: on the line through the two they
# would have scores without end.
_STEEP = 10.0

_Array = TypeVar("_Array", "FloatArray", "Tensor")


def square_root(x: _Array, scale: _Array | float) -> _Array:
    """Transform values.

    Parameters
    ----------
    x
        Physical values, any shape.
    scale
        Value around which the transform starts to bend, above zero; broadcasts with `x`.

    Examples
    --------
    >>> import numpy as np
    >>> square_root(np.array([-6.0, 0.0, 16.0]), 2.0)
    array([-1.,  0.,  2.])
    """
    # Neither library has a sign for the arrays of the other.
    sign = (x > 0) * 1 - (x < 0) * 1
    transformed: _Array = sign * ((1 + abs(x) / scale) ** 0.5 - 1)
    return transformed


def from_square_root(g: _Array, scale: _Array | float) -> _Array:
    """Undo `square_root`.

    Parameters
    ----------
    g
        Transformed values, any shape.
    scale
        As for `square_root`.

    Examples
    --------
    >>> import numpy as np
    >>> from_square_root(np.array([-1.0, 0.0, 2.0]), 2.0)
    array([-6.,  0., 16.])
    """
    return g * (abs(g) + 2) * scale


def square_root_slope(g: _Array, scale: _Array | float) -> _Array:
    """Return the derivative of `from_square_root`, element by element."""
    return 2 * (abs(g) + 1) * scale


def knots_of(values: FloatArray) -> tuple[tuple[float, float], ...]:
    """Return the curve of normal scores of a sample.

    Parameters
    ----------
    values
        The sample, any shape; what is not finite does not count.

    Returns
    -------
    tuple
        Values and their scores; none where fewer than two values differ.

    Examples
    --------
    >>> import numpy as np
    >>> [(value, round(score, 2)) for value, score in knots_of(np.array([0.0, 0.0, 1.0, 8.0]))]
    [(0.0, -0.8), (1.0, 0.32), (8.0, 1.27)]
    """
    from scipy.special import ndtri

    found, counts = np.unique(values[np.isfinite(values)].astype(float), return_counts=True)
    if found.size < 2:
        return ()
    share = counts / counts.sum()
    # Mean of a standard normal variable between two quantiles.
    edges = ndtri(np.concatenate([[0.0], np.cumsum(share)[:-1], [1.0]]))
    mean = -np.diff(np.exp(-0.5 * edges**2)) / np.sqrt(2 * np.pi) / share
    if found.size > _MOST:
        wanted = np.linspace(mean[0], mean[-1], _MOST)
        nearest = np.abs(mean - wanted[:, None]).argmin(1)
        found, mean = found[np.unique(nearest)], mean[np.unique(nearest)]
    knots = [(float(f"{v:.{_DIGITS}g}"), float(f"{s:.{_DIGITS}g}")) for v, s in zip(found, mean, strict=True)]
    kept = knots[:1]
    for knot in knots[1:]:
        # Values that differ in less than their digits are the same.
        if knot[0] > kept[-1][0] and knot[1] > kept[-1][1]:
            kept.append(knot)
    return tuple(kept) if len(kept) > 1 else ()


def scores(x: _Array, knots: Knots) -> _Array:
    """Return the normal scores of values.

    Parameters
    ----------
    x
        Physical values, any shape.
    knots
        At least two.

    Examples
    --------
    >>> import numpy as np
    >>> scores(np.array([0.0, 1.0, 3.0]), [(0.0, -1.0), (2.0, 1.0)])
    array([-1.,  0.,  2.])
    """
    return _along(x, knots, steepest=_STEEP)


def from_scores(g: _Array, knots: Knots) -> _Array:
    """Undo `scores`.

    Parameters
    ----------
    g
        Scores, any shape.
    knots
        As for `scores`.
    """
    return _along(g, [(score, value) for value, score in knots], flattest=1 / _STEEP)


def score_chord(low: _Array, high: _Array, knots: Knots) -> _Array:
    """Return by how much the value rises with the score between two scores, those where it is one of a standard normal.

    Observations are linearised by it: a derivative would be that of one piece of the curve, and next to nothing where
    all is dry.

    Parameters
    ----------
    low, high
        Scores, `high` above `low`.
    knots
        As for `scores`.
    """
    rise: _Array = (from_scores(high, knots) - from_scores(low, knots)) / (high - low)
    return rise


def _along(x: _Array, knots: Knots, *, steepest: float = np.inf, flattest: float = 0.0) -> _Array:
    """Go from the first numbers of knots to the second, in straight lines; those at the ends go on.

    An end whose slope is outside of the bounds, in units of that of the whole, goes on with the slope of the whole.
    """
    (left, bottom), (right, top) = knots[0], knots[-1]
    whole = (top - bottom) / (right - left)
    total: _Array = x * 0.0 + bottom
    slopes = []
    for (start, value), (end, other) in pairwise(knots):
        slopes.append((other - value) / (end - start))
        # How far a value is along each of the pieces: sums of positive numbers do not cancel.
        total = total + (x - start).clip(min=0.0, max=end - start) * slopes[-1]
    below, above = (s if flattest * whole <= s <= steepest * whole else whole for s in (slopes[0], slopes[-1]))
    return total + (x - left).clip(max=0.0) * below + (x - right).clip(min=0.0) * above

r"""The transform that brings precipitation closer to a Gaussian, for arrays of numpy and tensors of torch alike.

A signed square root that is linear near zero, for a scale :math:`a`,

.. math:: g(x) = \mathrm{sign}(x) \left(\sqrt{1 + |x| / a} - 1\right) .

A square root, rather than a logarithm, keeps the slope of the inverse modest, which matters because guidance linearises
the observation operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from xslams.typing import FloatArray

__all__ = ["from_square_root", "square_root", "square_root_slope"]

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

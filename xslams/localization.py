"""Localisation: the correlation of Gaspari and Cohn, which tapers covariances to zero at a distance.

References
----------
.. [1] Gaspari and Cohn, Construction of correlation functions in two and three dimensions, 1999,
   doi:10.1002/qj.49712555417.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from xslams.typing import FloatArray

    _Array = TypeVar("_Array", FloatArray, Tensor)

__all__ = ["gaspari_cohn"]


def gaspari_cohn(distance: _Array, length: float) -> _Array:
    """Return the fifth-order correlation function of compact support, 1 at distance zero.

    Parameters
    ----------
    distance
        Distances, not negative, of any shape: a numpy array or a torch tensor.
    length
        Half of the distance at which the correlation becomes zero, in units of `distance`.

    Returns
    -------
    ndarray or Tensor
        Correlations, shape and type of `distance`.

    Examples
    --------
    >>> import numpy as np
    >>> gaspari_cohn(np.array([0.0, 500.0, 1000.0, 1500.0]), 1000.0).round(3)
    array([1.   , 0.685, 0.208, 0.016])
    """
    r = distance / length
    near = -0.25 * r**5 + 0.5 * r**4 + 0.625 * r**3 - 5 / 3 * r**2 + 1
    # Below 1 the second piece does not count, and must not divide by zero.
    s = r.clip(1, None)
    far = s**5 / 12 - 0.5 * s**4 + 0.625 * s**3 + 5 / 3 * s**2 - 5 * s + 4 - 2 / (3 * s)
    correlation: _Array = near * (r < 1) + far * ((r >= 1) & (r < 2))
    return correlation

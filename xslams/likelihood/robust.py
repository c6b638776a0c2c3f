r"""Likelihoods with heavy tails: Gaussian ones whose error variances depend on the residual.

With the residual :math:`e` in units of the standard deviation,

.. math:: D_i \to D_i / w(e_i), \qquad w(e) = \min(1, k / |e|) \text{ (Huber [1]_)}, \qquad
    w(e) = \frac{\nu + 1}{\nu + e^2} \text{ (Student [2]_)}

The weights use nothing but arithmetic that numpy arrays and torch tensors share, so that the likelihood and the report
on it weigh values by the same function.

References
----------
.. [1] Huber, Robust Estimation of a Location Parameter, 1964, doi:10.1214/aoms/1177703732.
.. [2] Lange, Little and Taylor, Robust Statistical Modeling Using the t Distribution, 1989, doi:10.2307/2290063.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from xslams.registries import Registry

__all__ = ["ROBUST", "Huber", "RobustLikelihood", "StudentT"]


_Array = TypeVar("_Array")  # a numpy array or a torch tensor


class RobustLikelihood(Protocol):
    """Weights of values, given how far they are from what is expected of them.

    Attributes
    ----------
    shape
        Parameter of the shape of the distribution.
    """

    @property
    def shape(self) -> float:
        """Parameter of the shape of the distribution."""
        ...

    def __init__(self, shape: float = ...) -> None: ...

    def weights(self, e: _Array) -> _Array:
        """Return weights between 0 and about 1.

        Parameters
        ----------
        e
            Residuals in standard deviations, a numpy array or torch tensor of any shape.
        """
        ...


#: Robust likelihoods by name; each is called with its shape parameter, or without.
ROBUST: Registry[type[RobustLikelihood]] = Registry("robust likelihood")


@ROBUST.register("huber")
@dataclass(frozen=True)
class Huber:
    """Gaussian for small residuals, with the tails of a Laplace distribution.

    Attributes
    ----------
    shape
        Number of standard deviations from which on a residual is large.

    Examples
    --------
    >>> import numpy as np
    >>> Huber(2.0).weights(np.array([1.0, -8.0]))
    array([1.  , 0.25])
    """

    shape: float = 1.345

    def weights(self, e: _Array) -> _Array:
        """Return weights for residuals in standard deviations."""
        residual: Any = e
        weights: _Array = self.shape / abs(residual).clip(min=self.shape)
        return weights


@ROBUST.register("student-t")
@dataclass(frozen=True)
class StudentT:
    """Student's t distribution.

    Attributes
    ----------
    shape
        Degrees of freedom.

    Examples
    --------
    >>> import numpy as np
    >>> StudentT(4.0).weights(np.array([1.0, -4.0]))
    array([1.  , 0.25])
    """

    shape: float = 4.0

    def weights(self, e: _Array) -> _Array:
        """Return weights for residuals in standard deviations."""
        residual: Any = e
        weights: _Array = (self.shape + 1) / (self.shape + residual * residual)
        return weights

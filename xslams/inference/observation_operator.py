"""What guidance asks of an observation operator, and the derivatives of one that knows none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from xslams.errors import OptionError
from xslams.linalg.autodiff import jvp

__all__ = ["LinearMaps", "ObservationOperator", "Operator", "linearize"]

#: Product with a linear map from states ``(B, *shape)`` to values ``(B, n)``, and product with its adjoint.
LinearMaps = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
#: Any observation operator, from states ``(B, *shape)`` to observed values ``(B, n)``.
Operator = Callable[[Tensor], Tensor]


@runtime_checkable
class ObservationOperator(Protocol):
    """An observation operator that knows how to be linearised."""

    def __call__(self, z: Tensor) -> Tensor:
        """From states ``(B, *shape)`` to observed values ``(B, n)``."""
        ...

    def linearize(self, z: Tensor) -> LinearMaps:
        """Return a linear map near `z` and its adjoint: the tangent, or a secant that leads to what was observed."""
        ...


def linearize(operator: Operator, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Linearise an observation operator.

    Parameters
    ----------
    operator
        From ``(B, *shape)`` to ``(B, n)``. If it has a method ``linearize(z)`` that returns products with the Jacobian
        and with its adjoint, these are used; otherwise they are found by differentiation.
    z
        Where, shape ``(B, *shape)``.

    Returns
    -------
    tuple
        Value ``(B, n)``; the product with the Jacobian, from ``(B, *shape)`` to ``(B, n)``; and with its adjoint, back.

    Examples
    --------
    >>> import torch
    >>> value, forward, adjoint = linearize(lambda z: z**2, torch.tensor([[1.0, 3.0]]))
    >>> value, forward(torch.ones(1, 2)), adjoint(torch.ones(1, 2))
    (tensor([[1., 9.]]), tensor([[2., 6.]]), tensor([[2., 6.]]))
    """
    if isinstance(operator, ObservationOperator):
        return operator(z), *operator.linearize(z)
    z = z.detach()
    with torch.enable_grad():
        leaf = z.clone().requires_grad_()
        y = operator(leaf)
    if not y.requires_grad:
        msg = (
            "The operator A cannot be differentiated: its values do not depend on the states by way of torch. Use "
            "torch functions throughout, and no detach(), numpy() or item()."
        )
        raise OptionError(msg)

    def forward(v: Tensor) -> Tensor:
        # Forward mode: reverse mode would have to differentiate the backward pass.
        return jvp(operator, z, v)

    def adjoint(w: Tensor) -> Tensor:
        return torch.autograd.grad(y, leaf, w, retain_graph=True)[0]

    return y.detach(), forward, adjoint

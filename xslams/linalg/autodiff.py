"""Derivatives of torch functions: products with Jacobians, in forward mode one thread at a time.

torch keeps the level of forward-mode differentiation per process and not per thread: of two threads that differentiate
at once, one loses its tangents or fails. Members are drawn in threads, and so are the tasks of dask.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["jacobian_product", "jvp"]

# A function that is differentiated may differentiate another.
_LOCK = threading.RLock()


def jvp(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """Product of the Jacobian of a function with a vector, in forward mode.

    Parameters
    ----------
    function
        Differentiable.
    x, v
        Where, and the vector; same shape.

    Examples
    --------
    >>> jvp(lambda x: x**2, torch.tensor([3.0]), torch.tensor([1.0]))
    tensor([6.])
    """
    with _LOCK:
        product: Tensor = torch.func.jvp(function, (x,), (v,))[1]
    return product


def jacobian_product(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """Product of the Jacobian of a function with a vector.

    Parameters
    ----------
    function
        Differentiable.
    x, v
        Where, and the vector; same shape.

    Examples
    --------
    >>> jacobian_product(lambda x: x**2, torch.tensor([3.0]), torch.tensor([1.0]))
    tensor([6.])
    """
    try:
        product = jvp(function, x, v)
    except (NotImplementedError, RuntimeError):
        # No forward mode for something in it: the adjoint is linear in its argument, and its adjoint is the product.
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            y = function(leaf)
            w = torch.zeros_like(y, requires_grad=True)
            back = torch.autograd.grad(y, leaf, w, create_graph=True)[0]
            product = torch.autograd.grad(back, w, v)[0]
    return product.detach()

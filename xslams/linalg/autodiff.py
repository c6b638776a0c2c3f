"""Forward-mode derivatives, one thread at a time.

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

__all__ = ["jvp"]

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

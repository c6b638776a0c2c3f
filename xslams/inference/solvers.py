"""Conjugate gradients that stop, row by row, when the row is solved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    system: Callable[[Tensor], Tensor],
    b: Tensor,
    x0: Tensor | None = None,
    *,
    tolerance: float = 1e-2,
    iterations: int = 50,
) -> Tensor:
    """Solve ``system(x) = b`` for a symmetric positive definite system.

    azula's solver makes a fixed number of iterations. How many are needed varies by an order of magnitude between noise
    levels, so here every row goes on until its residual is small. A row that is solved is left alone, hence no row
    depends on which others are solved with it.

    Parameters
    ----------
    system
        Linear map on ``(B, n)``, each row for itself.
    b
        Right-hand sides, shape ``(B, n)``.
    x0
        First guess; zero by default.
    tolerance
        Residual norm, relative to that of `b`, at which a row is solved.
    iterations
        Largest number of iterations.

    Returns
    -------
    Tensor
        Solutions, shape ``(B, n)``.

    Examples
    --------
    >>> import torch
    >>> conjugate_gradients(lambda x: 2 * x, torch.ones(1, 3), tolerance=1e-6)
    tensor([[0.5000, 0.5000, 0.5000]])
    """
    x = torch.zeros_like(b) if x0 is None else x0
    r = b.clone() if x0 is None else b - system(x0)
    goal = tolerance**2 * b.square().sum(-1, keepdim=True)
    rr = r.square().sum(-1, keepdim=True)
    p = r
    for _ in range(iterations):
        active = rr > goal
        if not bool(active.any()):
            break
        q = system(p)
        step = torch.where(active, rr / (p * q).sum(-1, keepdim=True).clamp(min=1e-30), 0.0)
        x = x + step * p
        r = r - step * q
        after = r.square().sum(-1, keepdim=True)
        p = r + torch.where(active, after / rr.clamp(min=1e-30), 0.0) * p
        rr = after
    return x

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
    absolute: float = 0.0,
    iterations: int = 50,
    precondition: Callable[[Tensor], Tensor] | None = None,
    least: float = 0.0,
) -> Tensor:
    """Solve ``system(x) = b`` for a symmetric positive definite system.

    azula's solver makes a fixed number of iterations. How many are needed varies by an order of magnitude between noise
    levels, so here every row goes on until its residual is small. A row that is solved is left alone, hence no row
    depends on which others are solved with it. So is a row that meets a direction in which the system is less than it
    can be (`least`): the covariance of a network is positive only up to what it has not learned, and steps along such
    directions can have any length.

    Parameters
    ----------
    system
        Linear map on ``(B, n)``, each row for itself.
    b
        Right-hand sides, shape ``(B, n)``.
    x0
        First guess; zero by default, and for rows in which zero is the better one.
    tolerance
        Residual norm, relative to that of `b`, at which a row is solved.
    absolute
        Residual norm at which a row is solved, whatever that of `b`.
    iterations
        Largest number of iterations.
    precondition
        Approximate inverse of `system`, itself symmetric and positive definite. It also sets the norm in which
        residuals are measured. Nothing by default.
    least
        Smallest possible ratio of the system and the inverse of `precondition`.

    Returns
    -------
    Tensor
        Solutions, shape ``(B, n)``.

    References
    ----------
    Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952, doi:10.6028/jres.049.044.

    Examples
    --------
    >>> import torch
    >>> conjugate_gradients(lambda x: 2 * x, torch.ones(1, 3), tolerance=1e-6)
    tensor([[0.5000, 0.5000, 0.5000]])
    """

    def solve(r: Tensor) -> Tensor:
        return r if precondition is None else precondition(r)

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1, keepdim=True)

    x, r, z = torch.zeros_like(b), b, solve(b)
    rz = dot(r, z)
    goal = (tolerance**2 * rz).clamp(min=absolute**2)
    if x0 is not None:
        left = b - system(x0)
        solved = solve(left)
        norm = dot(left, solved)
        # A guess that is worse than none is none.
        better = norm < rz
        x, r, z, rz = (torch.where(better, u, v) for u, v in ((x0, x), (left, r), (solved, z), (norm, rz)))
    p, s = z, r  # s is p before preconditioning
    active = rz > goal
    for _ in range(iterations):
        if not bool(active.any()):
            break
        q = system(p)
        curvature = dot(p, q)
        active = active & (curvature > least * dot(p, s))
        step = torch.where(active, rz / curvature, 0.0)
        x = x + step * p
        r = r - step * q
        z = solve(r)
        after = dot(r, z)
        ratio = torch.where(active, after / rz, 0.0)
        p, s = z + ratio * p, r + ratio * s
        rz = after
        active = active & (rz > goal)
    return x

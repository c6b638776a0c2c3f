"""Whether a torch function is a function, and its derivative a derivative.

The adjoint is checked against the product with the Jacobian, and this against differences: automatic derivatives agree
with each other where a part of a function left torch, and where somebody's backward pass is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AdjointTest", "adjoint_test", "contradicted", "is_repeatable", "writes_into"]

# Steps of differences in units of the disturbance: large ones drown rounding, small ones curves and kinks.
_STEPS = (0.1, 0.01, 0.001)
# Relative difference from which on a difference and a derivative are not the same.
_SAME = 0.02
_ROUNDINGS = 16


def writes_into(function: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether a function changes the tensor that it is given, by whatever way.

    Examples
    --------
    >>> writes_into(lambda x: x.numpy().sort(), torch.tensor([2.0, 1.0]))
    True
    """
    given = x.detach().clone()
    with torch.no_grad():
        function(given)
    return not torch.equal(given, x)


def is_repeatable(function: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether a function makes the same of the same, to rounding.

    Examples
    --------
    >>> is_repeatable(lambda x: x + torch.rand(1), torch.ones(1))
    False
    """
    with torch.no_grad():
        one, two = function(x.detach().clone()), function(x.detach().clone())
    rounding = _ROUNDINGS * torch.finfo(one.dtype).eps
    return torch.allclose(one, two, rtol=rounding, atol=rounding * float(one.abs().max()), equal_nan=True)


class AdjointTest(NamedTuple):
    """Inner products <J v, w> and <v, J* w>, and by how much of their size they differ."""

    forward: float
    backward: float
    mismatch: float


def adjoint_test(v: Tensor, product: Tensor, w: Tensor, back: Tensor) -> AdjointTest:
    """Compare inner products of the product with a Jacobian and of that with its adjoint.

    Parameters
    ----------
    v, product
        Disturbance, and its product with the Jacobian.
    w, back
        Weights of the shape of `product`, and their product with the adjoint.
    """
    one, two = float((product * w).sum()), float((v * back).sum())
    size = float(product.norm() * w.norm() + v.norm() * back.norm()) + 1e-300
    return AdjointTest(one, two, abs(one - two) / size)


def contradicted(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, product: Tensor) -> Tensor:
    """Elements at which a product with a Jacobian disagrees with central differences of every step, as a mask.

    Parameters
    ----------
    function
        Function of a tensor.
    x
        Where.
    v
        Disturbance of the size by which `x` varies.
    product
        Alleged product of the Jacobian at `x` with `v`.

    Examples
    --------
    >>> x, v = torch.rand(100) + 1, torch.rand(100) + 1
    >>> [int(contradicted(lambda x: x**2, x, v, product).sum()) for product in (2 * x * v, x * v)]
    [0, 100]
    """
    wrong = torch.ones_like(product, dtype=torch.bool)
    least = 0.1 * product.square().mean().sqrt()
    for step in _STEPS:
        with torch.no_grad():
            up, down = function(x + step * v), function(x - step * v)
        slope = (up - down) / (2 * step)
        rounding = _ROUNDINGS * torch.finfo(x.dtype).eps * (up.abs() + down.abs()) / step
        size = torch.maximum(slope.abs(), product.abs()).clamp(min=least)
        # Whatever is not finite disagrees.
        wrong &= ~((slope - product).abs() <= _SAME * size + rounding)
    return wrong

"""Observation operators without derivatives of their own, against the Jacobians of torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from xslams.inference.observation_operator import linearize

OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda z: z @ torch.arange(12.0).reshape(4, 3),
    "square": lambda z: z[:, :2] ** 2,
    "fields": lambda z: torch.sin(z.reshape(-1, 2, 2)).sum(1),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_linearised(name: str) -> None:
    operator = OPERATORS[name]
    generator = torch.Generator().manual_seed(0)
    z, v = torch.randn(2, 3, 4, generator=generator)
    value, forward, adjoint = linearize(operator, z)
    torch.testing.assert_close(value, operator(z))
    w = torch.randn(value.shape, generator=generator)
    jacobians = [torch.autograd.functional.jacobian(lambda u: operator(u[None])[0], row) for row in z]
    for i, jacobian in enumerate(jacobians):
        torch.testing.assert_close(forward(v)[i], jacobian @ v[i])
        torch.testing.assert_close(adjoint(w)[i], jacobian.T @ w[i])

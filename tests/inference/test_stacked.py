"""Several sources at once are one, and cost no more memory than one."""

from __future__ import annotations

import weakref

import pytest
import torch
from azula.denoise import GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance, IsotropicCovariance
from torch import Tensor

from tests.problems.posteriors import SCHEDULE, gaussian
from xslams.errors import OptionError
from xslams.inference import sample_posterior
from xslams.inference.guidance import guide
from xslams.inference.observation_operator import linearize
from xslams.inference.stacked import StackedOperator

SPLIT = (5, 4, 3)


def test_sources_are_the_operator_that_they_stack() -> None:
    problem = gaussian(16, 12)
    operators = [lambda z, part=part: z @ part.T for part in problem.operator.split(SPLIT)]
    sources = StackedOperator(
        problem.y.split(SPLIT), operators, [0.01, torch.full((4,), 0.01), IsotropicCovariance(0.01)]
    )
    one, many = (
        sample_posterior(
            problem.denoiser(), y, operator, error, shape=(16,), members=4, steps=16,
            generator=torch.Generator().manual_seed(0),
        )
        for y, operator, error in ((problem.y, problem.observe, 0.01), (sources.y, sources, sources.cov_y))
    )  # fmt: skip
    # A twentieth of the standard deviation: rounding decides when the solver stops.
    torch.testing.assert_close(one, many, rtol=0, atol=0.02)


def test_products_are_those_of_the_stacked_jacobian() -> None:
    class Doubles:
        """An operator that linearises itself."""

        def __call__(self, z: Tensor) -> Tensor:
            return 2 * z[:, :2]

        def linearize(self, z: Tensor):
            return (lambda v: 2 * v[:, :2]), (lambda w: torch.cat([2 * w, torch.zeros(len(w), 2)], dim=1))

    operators = [torch.sin, Doubles(), lambda z: z[:, 3:] ** 2]
    sources = StackedOperator([torch.zeros(4), torch.zeros(2), torch.zeros(1)], operators, [1.0] * 3)
    generator = torch.Generator().manual_seed(0)
    z, v = torch.randn(2, 3, 4, generator=generator)
    w = torch.randn(3, 7, generator=generator)
    value, forward, adjoint = linearize(sources, z)
    torch.testing.assert_close(value, torch.cat([z.sin(), 2 * z[:, :2], z[:, 3:] ** 2], dim=1))
    torch.testing.assert_close(forward(v), torch.cat([z.cos() * v, 2 * v[:, :2], 2 * z[:, 3:] * v[:, 3:]], dim=1))
    torch.testing.assert_close((w * forward(v)).sum(), (adjoint(w) * v).sum())


@pytest.mark.parametrize("guidance", ["mmps", "dps"])
def test_memory_does_not_grow_with_the_number_of_sources(guidance: str) -> None:
    size = 1000

    def peak(count: int) -> int:
        alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        most = 0

        class Noted(torch.autograd.Function):
            """The square, which keeps its argument for the backward pass."""

            @staticmethod
            def forward(z: Tensor) -> Tensor:
                return z**2

            @staticmethod
            def setup_context(ctx, inputs, output) -> None:
                nonlocal most
                kept = inputs[0].clone()
                alive.add(kept)
                most = max(most, len(alive))
                ctx.kept = kept
                ctx.save_for_forward(inputs[0])

            @staticmethod
            def backward(ctx, grad: Tensor) -> Tensor:
                return 2 * ctx.kept * grad

            @staticmethod
            def jvp(ctx, tangent: Tensor) -> Tensor:
                return 2 * ctx.saved_tensors[0] * tangent

        sources = StackedOperator([torch.ones(size)] * count, [Noted.apply] * count, [1.0] * count)
        prior = GaussianDenoiser(torch.ones(size), DiagonalCovariance(torch.ones(size)), SCHEDULE)
        guided = guide(prior, sources.y, sources, sources.cov_y, guidance)
        guided(torch.ones(2, size), torch.tensor(0.5))
        return most

    assert peak(16) <= peak(2)


def test_lists_have_to_match() -> None:
    with pytest.raises(OptionError, match="got 0, 0 and 0"):
        StackedOperator([], [], [])
    with pytest.raises(OptionError, match="got 1, 2 and 1"):
        StackedOperator([torch.ones(1)], [lambda z: z] * 2, [1.0])

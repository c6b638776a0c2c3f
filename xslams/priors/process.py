r"""Trajectories of a Markov process as a nonlinear least-squares problem with a block-tridiagonal matrix.

.. math:: -2 \log p(z) = z_1^\top C^{-1} z_1 + \sum_i \| z_{i+1} - M(z_i) \|^2_{Q^{-1}} + \mathrm{const}

What is known besides, of each frame by itself, adds to the blocks on the diagonal alone: noise on all frames
(`gauss_newton`), or observations (`xslams.inference.importance`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from xslams.linalg.block_tridiagonal import BlockTridiagonal, Factored

if TYPE_CHECKING:
    from xslams.networks.transition import Transition

__all__ = ["Linearized", "Process", "gauss_newton"]


class Linearized(NamedTuple):
    """The process, linearised about trajectories.

    Attributes
    ----------
    jacobian
        Of every step, shape ``(B, L - 1, n, n)``.
    residual
        What the steps leave of the next frame, over the variance of their noise, shape ``(B, L - 1, n)``.
    cost
        Twice the negative log-density of the trajectories, without constants, shape ``(B,)``.
    """

    jacobian: Tensor
    residual: Tensor
    cost: Tensor

    def where(self, better: Tensor, candidate: Linearized) -> Linearized:
        """Take the candidate for the trajectories for which it is better, shape ``(B,)``."""
        pairs = zip(self, candidate, strict=True)
        return Linearized(*(torch.where(better.view(-1, *[1] * (a.ndim - 1)), b, a) for a, b in pairs))


class Process:
    """A learned Markov process, in double precision: its noise is smaller than its states by orders of magnitude.

    Parameters
    ----------
    transition
        Learned step.
    """

    def __init__(self, transition: Transition) -> None:
        self.transition = transition
        self.noise = transition.noise.repeat_interleave(transition.sites).double()
        self.start = transition.start.double()

    def linearize(self, x: Tensor) -> Linearized:
        """Linearise about trajectories ``(B, L, n)``."""
        value, jacobian = (a.double() for a in self.transition.linearize(x[:, :-1].to(self.transition.noise)))
        residual = (x[:, 1:] - value) / self.noise
        cost = (residual.square() * self.noise).sum((1, 2)) + ((x[:, 0] @ self.start) * x[:, 0]).sum(1)
        return Linearized(jacobian, residual, cost)

    def system(self, x: Tensor, about: Linearized) -> tuple[BlockTridiagonal, Tensor]:
        """Return the matrix of the least-squares problem, and half the slope downhill, shape ``(B, L, n)``."""
        weighted = about.jacobian / self.noise[:, None]
        diagonal = x.new_zeros(*x.shape, x.shape[-1])
        diagonal[:, 0] += self.start
        diagonal[:, :-1] += about.jacobian.mT @ weighted
        diagonal[:, 1:] += torch.diag(1 / self.noise)
        downhill = torch.zeros_like(x)
        downhill[:, 0] -= x[:, 0] @ self.start
        downhill[:, :-1] += (about.jacobian.mT @ about.residual[..., None]).squeeze(-1)
        downhill[:, 1:] -= about.residual
        return BlockTridiagonal(diagonal, -weighted), downhill


def gauss_newton(
    transition: Transition, guess: Tensor, noisy: Tensor, ratio: float, steps: int = 1, *, checked: bool = True
) -> tuple[Tensor, Factored]:
    """Improve a guess of trajectories by steps of the Gauss-Newton method.

    Parameters
    ----------
    transition
        Learned step of the process.
    guess, noisy
        Guess, and the trajectories with noise, shape ``(B, L, n)``.
    ratio
        Standard deviation of the noise.
    steps
        Number of steps.
    checked
        Whether the last step, too, is only taken where it leads downhill, at the price of one more evaluation.

    Returns
    -------
    tuple
        Improved trajectories, and the factored matrix of the last step, the precision of the posterior.
    """
    process, noisy = Process(transition), noisy.double()

    def misfit(x: Tensor) -> Tensor:
        return ((noisy - x) / ratio).square().sum((1, 2))

    def system(x: Tensor, about: Linearized) -> tuple[Factored, Tensor]:
        matrix, downhill = process.system(x, about)
        matrix.diagonal.diagonal(dim1=-2, dim2=-1).add_(1 / ratio**2)
        return matrix.factored(), downhill + (noisy - x) / ratio**2

    x = guess.double()
    about = process.linearize(x)
    cost = about.cost + misfit(x)
    matrix, downhill = system(x, about)
    for n in range(steps):
        tried = x + matrix.solve(downhill)
        if n + 1 == steps and not checked:
            return tried.to(guess), matrix
        candidate = process.linearize(tried)
        candidate_cost = candidate.cost + misfit(tried)
        # A step that does not lead downhill is not taken: the guess was in another valley.
        better = candidate_cost < cost
        x = torch.where(better[:, None, None], tried, x)
        if n + 1 < steps:
            about = about.where(better, candidate)
            cost = torch.where(better, candidate_cost, cost)
            matrix, downhill = system(x, about)
    return x.to(guess), matrix

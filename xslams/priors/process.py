r"""Trajectories of a Markov process as a nonlinear least-squares problem with a block-tridiagonal matrix.

.. math:: -2 \log p(z) = z_1^\top C^{-1} z_1 + \sum_i \| z_{i+1} - M(z_i) \|^2_{Q^{-1}} + \mathrm{const}

What is known besides, of each frame by itself, adds to the blocks on the diagonal alone: noise on all frames
(`gauss_newton`), or observations (`xslams.inference.importance`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from xslams.networks.transition import Transition

__all__ = ["BlockTridiagonal", "Linearized", "Process", "gauss_newton"]

# Blocks larger than this are multiplied by a library, smaller ones element by element.
_WIDE = 8


class BlockTridiagonal:
    """Inverse of a symmetric positive definite block-tridiagonal matrix.

    Parameters
    ----------
    diagonal
        Diagonal blocks, shape ``(B, L, n, n)``.
    below
        Blocks below them, shape ``(B, L - 1, n, n)``: rows of frame ``i + 1``, columns of frame ``i``.

    Examples
    --------
    >>> import torch
    >>> matrix = BlockTridiagonal(4 * torch.eye(2).expand(1, 3, 2, 2), torch.eye(2).expand(1, 2, 2, 2))
    >>> matrix.solve(torch.tensor([[[5.0, 5.0], [6.0, 6.0], [5.0, 5.0]]])).round(decimals=3)
    tensor([[[1., 1.],
             [1., 1.],
             [1., 1.]]])
    """

    def __init__(self, diagonal: Tensor, below: Tensor) -> None:
        self._wide = diagonal.shape[-1] > _WIDE
        # Of the roots of the diagonal blocks that elimination leaves, and of the root of the matrix below them.
        self._inverses: list[Tensor] = []
        self._below: list[Tensor] = []
        if self._wide:
            self._factor_wide(diagonal, below)
        else:
            # With the batch last, the small sums over blocks run over whole vectors, several times as fast.
            self._factor(diagonal.permute(1, 2, 3, 0).contiguous(), below.permute(1, 2, 3, 0).contiguous())

    def _factor(self, diagonal: Tensor, below: Tensor) -> None:
        left = diagonal[0]
        for i in range(len(diagonal)):
            inverse = _inverse_root(left)
            self._inverses.append(inverse)
            if i + 1 < len(diagonal):
                lower = (below[i][:, None] * inverse).sum(2)
                self._below.append(lower)
                left = diagonal[i + 1] - (lower[:, None] * lower).sum(2)

    def _factor_wide(self, diagonal: Tensor, below: Tensor) -> None:
        eye = torch.eye(diagonal.shape[-1], dtype=diagonal.dtype, device=diagonal.device)
        left = diagonal[:, 0]
        for i in range(diagonal.shape[1]):
            root = torch.linalg.cholesky(left)
            inverse = torch.linalg.solve_triangular(root, eye.expand_as(root), upper=False)
            self._inverses.append(inverse)
            if i + 1 < diagonal.shape[1]:
                lower = below[:, i] @ inverse.mT
                self._below.append(lower)
                left = diagonal[:, i + 1] - lower @ lower.mT

    def log_determinant(self) -> Tensor:
        """Logarithm of the determinant of the matrix itself, shape ``(B,)``."""
        roots = [b if self._wide else b.movedim(-1, 0) for b in self._inverses]
        return -2 * torch.stack([b.diagonal(dim1=-2, dim2=-1).log().sum(-1) for b in roots]).sum(0)

    def solve(self, v: Tensor) -> Tensor:
        """Multiply with the inverse, shape ``(B, L, n)``."""
        if self._wide:
            return self._solve_wide(v)
        frames = v.permute(1, 2, 0).contiguous().unbind(0)
        done: list[Tensor] = []
        for i, inverse in enumerate(self._inverses):
            rest = frames[i] if not i else frames[i] - (self._below[i - 1] * done[-1]).sum(1)
            done.append((inverse * rest).sum(1))
        out: list[Tensor] = []
        for i in reversed(range(len(done))):
            rest = done[i] if not out else done[i] - (self._below[i] * out[-1][:, None]).sum(0)
            out.append((self._inverses[i] * rest[:, None]).sum(0))
        return torch.stack(out[::-1]).permute(2, 0, 1)

    def _solve_wide(self, v: Tensor) -> Tensor:
        done: list[Tensor] = []
        for i, inverse in enumerate(self._inverses):
            rest = v[:, i, :, None] if not i else v[:, i, :, None] - self._below[i - 1] @ done[-1]
            done.append(inverse @ rest)
        out: list[Tensor] = []
        for i in reversed(range(len(done))):
            rest = done[i] if not out else done[i] - self._below[i].mT @ out[-1]
            out.append(self._inverses[i].mT @ rest)
        return torch.stack(out[::-1], dim=1).squeeze(-1)


def _inverse_root(a: Tensor) -> Tensor:
    """Inverse of the lower triangular root of small matrices, shape ``(n, n, B)``."""
    root, inverse = a.clone(), torch.zeros_like(a)
    for j in range(len(a)):
        pivot = root[j, j].rsqrt()
        # Row j of the inverse: forward substitution for all columns at once.
        inverse[j, :j] = -(root[j, :j, None] * inverse[:j, :j]).sum(0) * pivot
        inverse[j, j] = pivot
        column = root[j + 1 :, j] * pivot
        root[j + 1 :, j] = column
        root[j + 1 :, j + 1 :] -= column[:, None] * column
    return inverse


class Linearized(NamedTuple):
    """The process about trajectories.

    Attributes
    ----------
    jacobian
        Of every step, shape ``(B, L - 1, n, n)``.
    wrong
        What the steps leave of the next frame, in units of the noise's variance, shape ``(B, L - 1, n)``.
    cost
        Twice the negative log-density of the trajectories, without constants, shape ``(B,)``.
    """

    jacobian: Tensor
    wrong: Tensor
    cost: Tensor

    def where(self, better: Tensor, there: Linearized) -> Linearized:
        """Take the trajectories of another place where that is better, shape ``(B,)``."""
        pairs = zip(self, there, strict=True)
        return Linearized(*(torch.where(better.view(-1, *[1] * (a.ndim - 1)), b, a) for a, b in pairs))


class Process:
    """A learned Markov process, in double precision: what it determines and what it leaves open differ by magnitudes.

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
        wrong = (x[:, 1:] - value) / self.noise
        cost = (wrong.square() * self.noise).sum((1, 2)) + ((x[:, 0] @ self.start) * x[:, 0]).sum(1)
        return Linearized(jacobian, wrong, cost)

    def system(self, x: Tensor, about: Linearized) -> tuple[Tensor, Tensor, Tensor]:
        """Return the blocks on the diagonal and below it, and half the slope downhill, shape ``(B, L, n)``."""
        weighted = about.jacobian / self.noise[:, None]
        diagonal = x.new_zeros(*x.shape, x.shape[-1])
        diagonal[:, 0] += self.start
        diagonal[:, :-1] += about.jacobian.mT @ weighted
        diagonal[:, 1:] += torch.diag(1 / self.noise)
        downhill = torch.zeros_like(x)
        downhill[:, 0] -= x[:, 0] @ self.start
        downhill[:, :-1] += (about.jacobian.mT @ about.wrong[..., None]).squeeze(-1)
        downhill[:, 1:] -= about.wrong
        return diagonal, -weighted, downhill


def gauss_newton(
    transition: Transition, guess: Tensor, noisy: Tensor, ratio: float, steps: int = 1, *, checked: bool = True
) -> tuple[Tensor, BlockTridiagonal]:
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
        Improved trajectories, and the matrix of the last step, the precision of the posterior.
    """
    process, seen = Process(transition), noisy.double()

    def misfit(x: Tensor) -> Tensor:
        return ((seen - x) / ratio).square().sum((1, 2))

    def system(x: Tensor, about: Linearized) -> tuple[BlockTridiagonal, Tensor]:
        diagonal, below, downhill = process.system(x, about)
        diagonal.diagonal(dim1=-2, dim2=-1).add_(1 / ratio**2)
        return BlockTridiagonal(diagonal, below), downhill + (seen - x) / ratio**2

    x = guess.double()
    about = process.linearize(x)
    cost = about.cost + misfit(x)
    matrix, downhill = system(x, about)
    for n in range(steps):
        tried = x + matrix.solve(downhill)
        if n + 1 == steps and not checked:
            return tried.to(guess), matrix
        there = process.linearize(tried)
        cost_there = there.cost + misfit(tried)
        # A step that does not lead downhill is not taken: the guess was in another valley.
        better = cost_there < cost
        x = torch.where(better[:, None, None], tried, x)
        if n + 1 < steps:
            about = about.where(better, there)
            cost = torch.where(better, cost_there, cost)
            matrix, downhill = system(x, about)
    return x.to(guess), matrix

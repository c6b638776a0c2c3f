r"""Symmetric block-tridiagonal matrices: precisions of Markov processes.

Frames of a Markov process depend on their neighbours alone, so that the matrix of the least-squares problem, the
precision of the posterior, has blocks on the diagonal and beside it. Elimination from the first frame to the last
factors it in a time proportional to the number of frames (the forward pass of a Kalman smoother), and a product with
the inverse costs a pass in each direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BlockTridiagonal", "Diagonal", "Factored", "Solvable"]

# Blocks larger than this are multiplied by a library, smaller ones element by element.
_WIDE = 8


class Solvable(Protocol):
    """A matrix over trajectories ``(B, L, n)`` whose inverse can be applied."""

    def solve(self, v: Tensor) -> Tensor:
        """Multiply with the inverse, shape ``(B, L, n)``."""
        ...


@dataclass(frozen=True, eq=False)
class Diagonal:
    """Diagonal matrix.

    Attributes
    ----------
    diagonal
        Elements, shape ``(B, L, n)``.
    """

    diagonal: Tensor

    def solve(self, v: Tensor) -> Tensor:
        """Multiply with the inverse, shape ``(B, L, n)``."""
        return v / self.diagonal


@dataclass(frozen=True, eq=False)
class BlockTridiagonal:
    """Symmetric block-tridiagonal matrix.

    Attributes
    ----------
    diagonal
        Diagonal blocks, shape ``(B, L, n, n)``.
    below
        Blocks below them, shape ``(B, L - 1, n, n)``: rows of frame ``i + 1``, columns of frame ``i``.

    Examples
    --------
    >>> matrix = BlockTridiagonal(4 * torch.eye(2).expand(1, 3, 2, 2), torch.eye(2).expand(1, 2, 2, 2))
    >>> matrix.factored().solve(torch.tensor([[[5.0, 5.0], [6.0, 6.0], [5.0, 5.0]]])).round(decimals=3)
    tensor([[[1., 1.],
             [1., 1.],
             [1., 1.]]])
    """

    diagonal: Tensor
    below: Tensor

    @classmethod
    def of_root(cls, diagonal: Tensor, below: Tensor) -> BlockTridiagonal:
        r"""Return :math:`L L^\top` for a block-bidiagonal root :math:`L`.

        Parameters
        ----------
        diagonal
            Diagonal blocks of the root, shape ``(B, L, n, n)``.
        below
            Blocks below them, shape ``(B, L - 1, n, n)``.
        """
        squares = diagonal @ diagonal.mT + F.pad(below @ below.mT, (0, 0, 0, 0, 1, 0))
        return cls(squares, below @ diagonal[:, :-1].mT)

    def quadratic(self, v: Tensor) -> Tensor:
        r"""Return :math:`v^\top A v` for several vectors, from ``(B, K, L, n)`` to ``(B, K)``."""
        own = torch.einsum("bkla,blac,bklc->bk", v, self.diagonal, v)
        return own + 2 * torch.einsum("bkla,blac,bklc->bk", v[:, :, 1:], self.below, v[:, :, :-1])

    def factored(self) -> Factored:
        """Factor the matrix, which has to be positive definite."""
        return Factored(self.diagonal, self.below)


class Factored:
    """Inverse of a symmetric positive definite block-tridiagonal matrix.

    Parameters
    ----------
    diagonal, below
        As of `BlockTridiagonal`.
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

"""Symmetric block-tridiagonal matrices: the precision of a Markov process over its frames."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["BlockTridiagonal"]

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

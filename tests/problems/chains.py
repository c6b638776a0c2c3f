"""Linear Markov chains, of which the precision matrix is known."""

from __future__ import annotations

import torch
from torch import Tensor


def blocks_of(matrix: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Diagonal and lower blocks of a block-tridiagonal matrix, shapes (L, n, n) and (L - 1, n, n)."""
    count = len(matrix) // n
    parts = matrix.reshape(count, n, count, n).movedim(1, 2)
    index = torch.arange(count)
    return parts[index, index], parts[index[1:], index[:-1]]


def step_of(n: int, seed: int = 0) -> Tensor:
    """Matrix of a step that keeps nine tenths, shape (n, n)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0] * 0.9


def chain(length: int, n: int, seed: int = 0) -> Tensor:
    """Precision of a linear Markov chain with unit starts, shape (L n, L n)."""
    step = step_of(n, seed)
    whiten = torch.eye(n, dtype=torch.float64) / 0.19
    precision = torch.zeros(length, n, length, n, dtype=torch.float64)
    precision[0, :, 0] += torch.eye(n, dtype=torch.float64)
    for i in range(length - 1):
        precision[i, :, i] += step.T @ whiten @ step
        precision[i + 1, :, i + 1] += whiten
        precision[i + 1, :, i] -= whiten @ step
        precision[i, :, i + 1] -= step.T @ whiten
    return precision.reshape(length * n, length * n)

"""A matrix of the channels in each latent cell."""

from __future__ import annotations

import torch
from torch import Tensor

from xslams.linalg.cells import in_cells

__all__ = ["CellMatrices"]


class CellMatrices:
    """A symmetric matrix of the channels in each latent cell, which frames of one pattern have in common.

    Parameters
    ----------
    matrices
        Shape ``(pattern, cell, z, z)``.
    pattern
        Pattern that each frame has, shape ``(L,)``.

    Examples
    --------
    >>> twice = CellMatrices(2 * torch.eye(1).reshape(1, 1, 1, 1), torch.zeros(3, dtype=torch.long))
    >>> twice(torch.ones(1, 3, 1, 1, 1)).flatten()
    tensor([2., 2., 2.])
    """

    def __init__(self, matrices: Tensor, pattern: Tensor) -> None:
        self.matrices = matrices
        self._frames = [torch.nonzero(pattern == k)[:, 0] for k in range(len(matrices))]

    def __call__(self, v: Tensor) -> Tensor:
        """Multiply the channels of every cell of ``(B, L, z, z_lat, z_lon)`` with the matrix of the cell."""
        if len(self.matrices) == 1:
            return self._times(self.matrices[0], v)
        out = torch.empty_like(v)
        for matrices, some in zip(self.matrices, self._frames, strict=True):
            out[:, some] = self._times(matrices, v[:, some])
        return out

    @staticmethod
    def _times(matrices: Tensor, v: Tensor) -> Tensor:
        return in_cells(v.flatten(0, 1), matrices).reshape(v.shape)

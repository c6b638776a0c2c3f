"""Products with a matrix of the channels in each cell of a grid."""

from __future__ import annotations

from torch import Tensor

__all__ = ["cells_first", "in_cells"]


def cells_first(z: Tensor) -> Tensor:
    """From ``(B, channel, lat, lon)`` to ``(cell, B, channel)``, as products with a matrix for each cell read it.

    In another order they take several times as long.
    """
    return z.flatten(2).permute(2, 0, 1).contiguous()


def in_cells(z: Tensor, matrices: Tensor) -> Tensor:
    """Multiply the channels of every cell with its matrix from the right.

    Parameters
    ----------
    z
        Shape ``(B, channel, lat, lon)``.
    matrices
        Shape ``(cell, channel, channel)``.

    Examples
    --------
    >>> import torch
    >>> in_cells(torch.ones(1, 1, 1, 2), torch.tensor([[[2.0]], [[3.0]]]))
    tensor([[[[2., 3.]]]])
    """
    return (cells_first(z) @ matrices).permute(1, 2, 0).reshape(z.shape)

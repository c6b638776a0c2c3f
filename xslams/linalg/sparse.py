"""Products of sparse matrices with dense vectors, row by row of a batch, and of their transposes.

On a CPU these are scipy's: for a single vector, torch's take ten times as long. Rows of a batch are multiplied one by
one, so that no row depends on which others are multiplied with it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SparseMatrix"]


class SparseMatrix:
    """Sparse matrix on a device, with its transpose at hand.

    Parameters
    ----------
    matrix
        Shape ``(n, k)``.
    device
        Where what it is multiplied with lies.

    Examples
    --------
    >>> matrix = SparseMatrix(sp.csr_array([[1.0, 2.0, 0.0]]), torch.device("cpu"))
    >>> matrix(torch.tensor([[1.0, 1.0, 5.0]])), matrix.adjoint(torch.tensor([[3.0]]))
    (tensor([[3.]]), tensor([[3., 6., 0.]]))
    """

    def __init__(self, matrix: sp.csr_array, device: torch.device) -> None:
        self._forward = _product(sp.csr_array(matrix), device)
        self._transposed = _product(sp.csr_array(matrix.T), device)

    def __call__(self, x: Tensor) -> Tensor:
        """From ``(B, k)`` to ``(B, n)``; differentiable."""
        return _Apply.apply(x, self._forward, self._transposed)  # type: ignore[no-untyped-call]

    def adjoint(self, w: Tensor) -> Tensor:
        """From ``(B, n)`` to ``(B, k)``: the product with the transpose; differentiable."""
        return _Apply.apply(w, self._transposed, self._forward)  # type: ignore[no-untyped-call]


class _Apply(torch.autograd.Function):
    """A product, and the product with the transpose for the backward pass."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        forward: Callable[[Tensor], Tensor],
        transposed: Callable[[Tensor], Tensor],
    ) -> Tensor:
        ctx.transposed = transposed  # type: ignore[attr-defined]
        return forward(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed(grad), None, None  # type: ignore[attr-defined]


def _product(matrix: sp.csr_array, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the product of a matrix with the rows of a batch, in single precision."""
    if device.type == "cpu":
        single = matrix.astype(np.float32)

        def by_scipy(x: Tensor) -> Tensor:
            return torch.from_numpy(np.stack([single @ row for row in x.detach().numpy()]))

        return by_scipy
    on_device = _to_torch(matrix, device)
    return lambda x: (on_device @ x.mT).mT


def _to_torch(matrix: sp.csr_array, device: torch.device) -> Tensor:
    """Sparse matrix of scipy as one of torch, in single precision."""
    with warnings.catch_warnings():
        # torch calls its compressed sparse tensors beta; products with dense matrices, all that is used here, are not
        # new.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        # On the way to a GPU torch forgets that its checks were declined.
        warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly", category=UserWarning)
        return torch.sparse_csr_tensor(
            torch.as_tensor(matrix.indptr.astype(np.int64)),
            torch.as_tensor(matrix.indices.astype(np.int64)),
            torch.as_tensor(matrix.data.astype(np.float32)),
            size=matrix.shape,
            check_invariants=False,
        ).to(device)

"""Eigenvalues of Hermitian matrices that are allowed to be degenerate."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

__all__ = ["eigh"]

# Of the largest element: tells equal eigenvalues apart in double precision, and is nothing in single.
_APART = 1e-12


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, smallest first, and eigenvectors of Hermitian matrices.

    The divide-and-conquer algorithm fails on some matrices with many equal eigenvalues, such as the covariance of
    fields that are constant in a part of the domain: it raises an error, or returns NaN. Those are solved again in
    double precision, and, should that fail too, with differences on the diagonal that are far below the rounding of the
    elements.

    Parameters
    ----------
    matrix
        Shape ``(*, n, n)``, real or complex, finite.

    Examples
    --------
    >>> eigh(torch.zeros(2, 2))[0]
    tensor([0., 0.])
    """
    found = _found(matrix)
    if found is None:
        exact = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
        found = _found(exact)
    if found is None:
        n = matrix.shape[-1]
        ramp = _APART * exact.abs().amax() * torch.linspace(0, 1, n, dtype=torch.float64, device=matrix.device)
        found = torch.linalg.eigh(exact + torch.diag(ramp))
    return found[0].to(matrix.real.dtype), found[1].to(matrix.dtype)


def _found(matrix: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return what the library finds; None where it fails, with or without an error."""
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except LinAlgError:
        return None
    # The sum of finite elements of unit vectors is finite; complex ones have no test of their own on all devices.
    finite = bool(torch.isfinite(values.sum())) and bool(torch.isfinite(vectors.abs().sum()))
    return (values, vectors) if finite else None

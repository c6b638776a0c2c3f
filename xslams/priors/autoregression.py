"""Autocovariances of any lag by the autoregression that the first ones imply, which is positive definite."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["extend", "extend_coupled", "levinson"]


def extend(cov: Tensor, length: int) -> Tensor:
    """Return autocovariances of lags 0 to ``length - 1``.

    Parameters
    ----------
    cov
        Those of the first lags, which lead, of processes that have nothing to do with each other, shape ``(lag, ...)``.
    length
        Number of lags.
    """
    order = len(cov) - 1
    if length <= order + 1:
        return cov[:length]
    coefficients = levinson(cov)
    lags = list(cov.unbind(0))
    for _ in range(order + 1, length):
        lags.append(
            sum((a * c for a, c in zip(coefficients, reversed(lags[-order:]), strict=True)), torch.zeros_like(lags[0]))
        )
    return torch.stack(lags)


def levinson(cov: Tensor) -> list[Tensor]:
    """Coefficients of the autoregression with autocovariances `cov` (lag leads), by the Levinson recursion."""
    variance = cov[0].real.clamp(min=1e-12)
    coefficients: list[Tensor] = []
    for order in range(1, len(cov)):
        predicted = sum((a * cov[order - 1 - i] for i, a in enumerate(coefficients)), torch.zeros_like(cov[0]))
        reflection = (cov[order] - predicted) / variance
        # A wave without noise has a reflection of one, and the slightest error would make the extension explode.
        reflection = reflection * (0.999 / reflection.abs().clamp(min=0.999))
        coefficients = [
            a - reflection * b.conj() for a, b in zip(coefficients, reversed(coefficients), strict=True)
        ] + [reflection]
        variance = (variance * (1 - reflection.abs().square())).clamp(min=1e-12)
    return coefficients


def extend_coupled(cov: Tensor, length: int) -> Tensor:
    """Return lag covariance matrices of lags 0 to ``length - 1``, those of a vector autoregression.

    Parameters
    ----------
    cov
        Matrices of the first lags, shape ``(lag, J, J)``, the later frame in the rows.
    length
        Number of lags.
    """
    order = len(cov) - 1
    if length <= order + 1:
        return cov[:length]
    # Yule-Walker: C(n) = sum_k A_k C(n - k), where C(-n) is the adjoint of C(n).
    both = torch.cat([cov[1:].flip(0).mH, cov])  # lags -order to order
    rows = [torch.cat(list(both[order - k + 1 : 2 * order - k + 1]), dim=1) for k in range(1, order + 1)]
    coefficients = torch.linalg.solve(torch.cat(rows).mH, torch.cat(list(cov[1:]), dim=1).mH).mH
    steps = coefficients.unflatten(1, (order, -1)).movedim(1, 0)
    lags = list(cov)
    for _ in range(order + 1, length):
        recent = torch.stack(lags[: -order - 1 : -1])
        lags.append((steps @ recent).sum(0))
    return torch.stack(lags)

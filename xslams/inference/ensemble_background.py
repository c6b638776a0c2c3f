r"""The errors of an ensemble as background: its localised sample covariance, and a static one.

With the deviations :math:`e_i` of the latents of :math:`N` members from their mean, the error covariance of the mean is

.. math:: R = \beta B + (1 - \beta) \frac{N + 1}{N (N - 1)} \sum_i e_i e_i^\top \circ \rho

with a static covariance :math:`B` and a correlation :math:`\rho` of latent cells, which takes away what distant cells
have in common by chance. The truth differs from the mean of members like itself by :math:`(N + 1) / N` of their
variance. With :math:`\rho = G G^\top`, of as many columns as matter, the second part is :math:`U U^\top` with a column
:math:`e_i \circ g_m` for every member and column of :math:`G`, and products with the inverse follow by the formula of
Sherman, Morrison and Woodbury.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import torch
from azula.linalg.covariance import Covariance
from torch import Tensor

from xslams.linalg.covariances import ProductCovariance

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HybridCovariance", "localized", "sampling_weight", "static_weight", "whitened"]

# Share of the localisation that is kept, and largest number of columns, and of numbers in all of them.
_KEPT, _COLUMNS, _NUMBERS = 0.95, 256, 2**25
# Products with the static covariance that are made at once.
_AT_ONCE = 16
_LEAST_STATIC = 0.05


def static_weight(members: int, directions: int | None = None) -> float:
    r"""Weight of the static covariance by the size of an ensemble.

    Where the static covariance knows nothing of the errors of the day it is :math:`2 / (N + 3)`, and 0.05 or more: a
    sample variance of :math:`N` members has a relative sampling variance of :math:`2 / (N - 1)`. Where true variances
    differ from place to place by as much as they are large, the estimate of least error gives their mean this weight.

    Where it has the variances of the day, members add correlations in :math:`N - 1` of :math:`n` directions of a place,
    and say nothing of the others: these must not look certain, and it is :math:`n / (n + N - 1)`.

    Parameters
    ----------
    members
        Number of members.
    directions
        Number of latents of a cell, where the static covariance has the variances of the day.

    Examples
    --------
    >>> static_weight(5)
    0.25
    >>> static_weight(5, 36)
    0.9
    """
    if directions is not None:
        return directions / (directions + members - 1)
    return max(2 / (members + 3), _LEAST_STATIC)


class StaticCovariance(Protocol):
    """A covariance that can whiten."""

    @property
    def inv(self) -> Covariance:
        """Inverse."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply."""
        ...

    def whiten(self, x: Tensor) -> Tensor:
        """Multiply by the transpose of the square root of the inverse."""
        ...


def whitened(static: StaticCovariance, columns: Tensor) -> Tensor:
    """Return columns ``(columns, n)`` in units of the static covariance."""
    return torch.cat([static.whiten(part) for part in columns.split(_AT_ONCE)])


def sampling_weight(white: Tensor, members: int) -> float:
    r"""Weight of the static covariance by what members have in common beyond chance, after Ledoit and Wolf [1]_.

    In units of the static covariance the sample covariance is a mean over members, :math:`S = \sum_i M_i / N`, which
    differs from the identity by its sampling error and by what is true of the day. The combination of least error
    gives the identity the weight

    .. math:: \frac{1}{N (N - 2)} \sum_i \| M_i - S \|^2 / \| S - I \|^2

    in the norm of Frobenius, and 1 at most; the denominator is :math:`N^2` where the mean of members is known. Two
    members, of which one deviates as the other does, cannot tell their own sampling error, and all is taken for it.

    Parameters
    ----------
    white
        Columns whose sum of squares is the localised sample covariance, in these units, ``(columns, n)``, those of
        member after member.
    members
        Number of members.

    References
    ----------
    .. [1] Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004,
       doi:10.1016/S0047-259X(03)00096-4.

    Examples
    --------
    Members that differ by what the static covariance expects say nothing more:

    >>> white = torch.randn(20, 400, generator=torch.Generator().manual_seed(0)) / 20**0.5
    >>> sampling_weight(white, 20) > 0.9
    True
    """
    gram = (white.double() @ white.double().mT).unflatten(1, (members, -1)).unflatten(0, (members, -1))
    squares = gram.square().sum((1, 3))
    whole = squares.sum()
    # Of the blocks of a member with itself and with all: the error of their mean.
    sampling = whole if members == 2 else (squares.diagonal().sum() - whole / members) * members / (members - 2)
    away = whole - 2 * white.double().square().sum() + white.shape[1]
    return float((sampling / away.clamp(min=1e-30)).clamp(0.0, 1.0))


def localized(deviations: Tensor, localization: Tensor) -> Tensor:
    """Columns whose sum of squares is the localised sample covariance.

    Parameters
    ----------
    deviations
        Of the latents of members from their mean, shape ``(N, L, z, z_lat, z_lon)``.
    localization
        Correlation of latent cells, shape ``(cells, cells)``.

    Returns
    -------
    Tensor
        Shape ``(columns, n)``.
    """
    count = len(deviations)
    values, vectors = torch.linalg.eigh(localization.double())
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    enough = int((values.cumsum(0) < _KEPT * values.sum()).sum()) + 1
    most = min(_COLUMNS // count, _NUMBERS // deviations.numel())
    # A few columns are all: what is small for one localisation is the whole of another.
    columns = len(values) if len(values) <= most else max(min(enough, most), 1)
    root = vectors[:, :columns] * values[:columns].sqrt()
    # What is left out must not take variance away.
    root = (root / root.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)).to(deviations)
    scale = math.sqrt((count + 1) / (count * (count - 1)))
    parts = scale * deviations.flatten(3)[:, None] * root.mT[None, :, None, None]
    return parts.flatten(0, 1).flatten(1)


class HybridCovariance(ProductCovariance):
    """The covariance ``weight B + U U^T``, or its inverse.

    Parameters
    ----------
    static
        The covariance ``B``, which can whiten: multiply by the transpose of the square root of its inverse.
    columns
        Columns of ``U``, shape ``(columns, n)``.
    weight
        Weight of ``B``.
    white
        The columns in units of ``B``, where they are known, see `whitened`.
    """

    def __init__(self, static: StaticCovariance, columns: Tensor, weight: float, white: Tensor | None = None) -> None:
        self._static, self._inverse, self._columns, self._weight = static, static.inv, columns, weight
        # By a square root, as the product with the inverse of a covariance of many scales is not positive to rounding.
        white = (whitened(static, columns) if white is None else white) / math.sqrt(weight)
        self._solved = torch.cat([self._inverse.color(part) for part in white.split(_AT_ONCE)]) / math.sqrt(weight)
        gram = white.double() @ white.double().mT
        small = gram + torch.eye(len(gram), dtype=torch.float64, device=gram.device)
        self._small = torch.cholesky_inverse(torch.linalg.cholesky(small)).to(columns)
        # What the inverse root takes off the identity, among the columns.
        values, vectors = torch.linalg.eigh(gram)
        root = (1 + values.clamp(min=0)).sqrt()
        self._taken = ((vectors / (root * (1 + root))) @ vectors.mT).to(columns)

    @property
    def shape(self) -> Sequence[int]:
        """Shape of what it multiplies."""
        return (self._columns.shape[1],)

    def color_inverse(self, x: Tensor) -> Tensor:
        r"""Multiply by a root of the inverse, :math:`(\beta B)^{-1/2}` times that of what is left in its units."""
        colored = self._inverse.color(x) / math.sqrt(self._weight)
        return colored - (colored @ self._columns.mT @ self._taken) @ self._solved

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._weight * self._static(x) + (x @ self._columns.mT) @ self._columns

    @property
    def inv(self) -> Covariance:
        """Inverse."""
        return _Inverse(self)

    def solve(self, x: Tensor) -> Tensor:
        """Product with the inverse."""
        return self._inverse(x) / self._weight - ((x @ self._solved.mT) @ self._small) @ self._solved


class _Inverse(ProductCovariance):
    """Inverse of a hybrid covariance."""

    def __init__(self, of: HybridCovariance) -> None:
        self._of = of

    @property
    def shape(self) -> Sequence[int]:
        """Shape of what it multiplies."""
        return self._of.shape

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._of.solve(x)

    def color(self, x: Tensor) -> Tensor:
        """Multiply by a square root."""
        return self._of.color_inverse(x)

    @property
    def inv(self) -> Covariance:
        """The covariance itself."""
        return self._of

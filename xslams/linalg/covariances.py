r"""Covariances of observation errors beyond those that azula has: biases that values share, and independent blocks.

Values of a group :math:`g` that share an unknown bias of standard deviation :math:`u` have the covariance

.. math:: C = \mathrm{diag}(D) + \sum_g u_g u_g^\top .

Groups have no value in common, so that the inverse is of the same form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from azula.linalg.covariance import Covariance, DiagonalCovariance, IsotropicCovariance
from torch import Tensor

from xslams.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BlockCovariance", "GroupCovariance", "ProductCovariance", "error_covariance"]


def error_covariance(cov_y: Covariance | Tensor | float) -> Covariance:
    """Covariance of observation errors from itself, from variances, or from one variance.

    Raises
    ------
    OptionError
        If a variance is not positive.
    """
    if isinstance(cov_y, Covariance):
        return cov_y
    variance = torch.as_tensor(cov_y)
    if not bool((variance > 0).all()):
        bad = ~(variance > 0)
        msg = (
            f"Error variances must be positive numbers; {int(bad.sum())} of {variance.numel()} are not, such as "
            f"{float(variance[bad].flatten()[0]):g}. Leave observations without an error out."
        )
        raise OptionError(msg)
    return DiagonalCovariance(variance) if variance.ndim else IsotropicCovariance(variance)


class ProductCovariance(Covariance):
    """A covariance of which products with it and with its inverse are all that is needed."""

    def __add__(self, other: Covariance) -> Covariance:
        return NotImplemented

    def __mul__(self, other: Covariance) -> Covariance:
        return NotImplemented

    def color(self, x: Tensor) -> Tensor:
        """Multiply by a square root, which not all of them know."""
        raise NotImplementedError

    def logdet(self) -> Tensor:
        """Logarithm of the determinant, which nobody needs."""
        raise NotImplementedError


class GroupCovariance(Covariance):
    r"""Diagonal covariance plus or minus one outer product for each group of elements.

    .. math:: C = \mathrm{diag}(D) \pm \sum_g u_g u_g^\top

    Parameters
    ----------
    D
        Diagonal, shape ``(n,)`` or ``(B, n)``.
    u
        Vectors of all groups, shape ``(n,)`` or ``(B, n)``; zero for elements that share nothing.
    group
        Group of each element, whole numbers from 0, shape ``(n,)``.
    sign
        1 or -1.

    Examples
    --------
    >>> covariance = GroupCovariance(torch.ones(3), torch.tensor([2.0, 2.0, 0.0]), torch.tensor([0, 0, 1]))
    >>> covariance(torch.eye(3))
    tensor([[5., 4., 0.],
            [4., 5., 0.],
            [0., 0., 1.]])
    >>> torch.allclose(covariance.inv(covariance(torch.eye(3))), torch.eye(3), atol=1e-6)
    True
    """

    def __init__(self, D: Tensor, u: Tensor, group: Tensor, sign: float = 1.0) -> None:
        self.D, self.u, self.group, self.sign = D, u, group, sign
        self.groups = int(group.max()) + 1

    @property
    def shape(self) -> Sequence[int]:
        """Shape of what it multiplies."""
        return self.D.shape[-1:]

    def _sum(self, x: Tensor) -> Tensor:
        """Hand the sum over its group to every element."""
        total = x.new_zeros((*x.shape[:-1], self.groups)).index_add(-1, self.group, x)
        return total[..., self.group]

    def __matmul__(self, x: Tensor) -> Tensor:
        return self.D * x + self.sign * self.u * self._sum(self.u * x)

    def __add__(self, other: Covariance) -> GroupCovariance:
        if isinstance(other, IsotropicCovariance):
            return GroupCovariance(self.D + other.lmbda, self.u, self.group, self.sign)
        if isinstance(other, DiagonalCovariance):
            return GroupCovariance(self.D + other.D, self.u, self.group, self.sign)
        return NotImplemented

    def __mul__(self, other: Covariance) -> GroupCovariance:
        if isinstance(other, IsotropicCovariance):
            root = torch.as_tensor(other.lmbda).sqrt()
            return GroupCovariance(self.D * other.lmbda, self.u * root, self.group, self.sign)
        return NotImplemented

    def color(self, x: Tensor) -> Tensor:
        """Multiply by a square root."""
        w = self.u * self.D.rsqrt()
        size = self._sum(w.square())
        factor = ((1 + self.sign * size).sqrt() - 1) / size.clamp(min=1e-30)
        return self.D.sqrt() * (x + factor * w * self._sum(w * x))

    @property
    def inv(self) -> GroupCovariance:
        """Inverse."""
        size = 1 + self.sign * self._sum(self.u.square() / self.D)
        return GroupCovariance(1 / self.D, self.u / self.D * size.rsqrt(), self.group, -self.sign)

    def logdet(self) -> Tensor:
        """Logarithm of the determinant."""
        sizes = (self.u.square() / self.D).new_zeros((*self.D.shape[:-1], self.groups))
        sizes = sizes.index_add(-1, self.group, self.u.square() / self.D)
        return self.D.log().sum(-1) + torch.log1p(self.sign * sizes).sum(-1)


class BlockCovariance(Covariance):
    """Block-diagonal covariance: sources whose errors have nothing to do with each other.

    Parameters
    ----------
    blocks
        Covariances.
    sizes
        Number of elements of each.

    Examples
    --------
    >>> import torch
    >>> from azula.linalg.covariance import IsotropicCovariance
    >>> covariance = BlockCovariance([IsotropicCovariance(1.0), IsotropicCovariance(4.0)], [2, 1])
    >>> covariance(torch.ones(1, 3))
    tensor([[1., 1., 4.]])
    """

    def __init__(self, blocks: Sequence[Covariance], sizes: Sequence[int]) -> None:
        self.blocks, self.sizes = list(blocks), list(sizes)

    @property
    def shape(self) -> Sequence[int]:
        """Shape of what it multiplies."""
        return (sum(self.sizes),)

    def _each(self, x: Tensor, function: Callable[[Covariance, Tensor], Tensor]) -> Tensor:
        parts = x.split(self.sizes, dim=-1)
        return torch.cat([function(b, p) for b, p in zip(self.blocks, parts, strict=True)], dim=-1)

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._each(x, lambda block, part: block(part))

    def __add__(self, other: Covariance) -> BlockCovariance:
        return BlockCovariance([block + other for block in self.blocks], self.sizes)

    def __mul__(self, other: Covariance) -> BlockCovariance:
        return BlockCovariance([block * other for block in self.blocks], self.sizes)

    def color(self, x: Tensor) -> Tensor:
        """Multiply by a square root."""
        return self._each(x, lambda block, part: block.color(part))

    @property
    def inv(self) -> BlockCovariance:
        """Inverse."""
        return BlockCovariance([block.inv for block in self.blocks], self.sizes)

    def logdet(self) -> Tensor:
        """Logarithm of the determinant."""
        return torch.stack([block.logdet() for block in self.blocks]).sum()

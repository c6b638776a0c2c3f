r"""Several sources of observations at once.

Sources :math:`y_i = A_i(z) + e_i` with independent errors are one source with the operators stacked,

.. math:: J v = (J_1 v, \dots, J_m v), \qquad J^\top w = \sum_i J_i^\top w_i,

and a block-diagonal error covariance. Products go through the sources one after the other, and what an operator holds
while it is evaluated and differentiated is freed before the next one begins. Its graph is therefore built anew for
every product: memory does not grow with the number of sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from azula.linalg.covariance import Covariance
from torch import Tensor

from xslams.errors import OptionError
from xslams.inference.guidance import Linearizable
from xslams.inference.posterior import error_covariance
from xslams.linalg.autodiff import jvp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    LinearMap = Callable[[Tensor], Tensor]

__all__ = ["BlockCovariance", "Sources"]


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


class Sources:
    """Operators of several sources, stacked.

    Parameters
    ----------
    y
        Observations of each source, shape ``(n_i,)`` or ``(B, n_i)``.
    A
        Operator of each source, from ``(B, *shape)`` to ``(B, n_i)``.
    cov_y
        Errors of each source: covariance, variances of shape ``(n_i,)``, or one variance.

    Raises
    ------
    OptionError
        If there is no source, or the lists differ in length.

    Examples
    --------
    Two instruments, of which the second sees the square:

    >>> import torch
    >>> from azula.denoise import GaussianDenoiser
    >>> from azula.linalg.covariance import DiagonalCovariance
    >>> from azula.noise import VESchedule
    >>> from xslams.inference import sample_posterior
    >>> prior = GaussianDenoiser(torch.ones(1), DiagonalCovariance(torch.ones(1)), VESchedule(0.01, 100.0))
    >>> both = Sources([torch.tensor([2.0]), torch.tensor([4.0])], [lambda z: z, lambda z: z**2], [0.1, 0.1])
    >>> z = sample_posterior(prior, both.y, both, both.cov_y, shape=(1,), members=64,
    ...                      generator=torch.Generator().manual_seed(0))
    >>> bool((z.mean() - 2).abs() < 0.1)
    True
    """

    def __init__(
        self,
        y: Sequence[Tensor],
        A: Sequence[Callable[[Tensor], Tensor]],
        cov_y: Sequence[Covariance | Tensor | float],
    ) -> None:
        if not y or not len(y) == len(A) == len(cov_y):
            msg = f"Sources need observations, operators and errors of each; got {len(y)}, {len(A)} and {len(cov_y)}."
            raise OptionError(msg)
        self.operators = list(A)
        self.sizes = [part.shape[-1] for part in y]
        self.y = torch.cat(list(y), dim=-1)
        self.cov_y = BlockCovariance([error_covariance(c) for c in cov_y], self.sizes)

    def __call__(self, z: Tensor) -> Tensor:
        """From states ``(B, *shape)`` to what all sources see of them, ``(B, n)``."""
        return torch.cat([operator(z) for operator in self.operators], dim=-1)

    def linearize(self, z: Tensor) -> tuple[LinearMap, LinearMap]:
        """Product with the Jacobian at `z`, and with its adjoint."""
        maps = [
            operator.linearize(z) if isinstance(operator, Linearizable) else _maps(operator, z.detach())
            for operator in self.operators
        ]

        def forward(v: Tensor) -> Tensor:
            return torch.cat([one(v) for one, _ in maps], dim=-1)

        def adjoint(w: Tensor) -> Tensor:
            total = torch.zeros_like(z)
            for (_, back), part in zip(maps, w.split(self.sizes, dim=-1), strict=True):
                total = total + back(part)
            return total

        return forward, adjoint


def _maps(operator: Callable[[Tensor], Tensor], z: Tensor) -> tuple[LinearMap, LinearMap]:
    """Products with the Jacobian of an operator and its adjoint, which keep nothing but `z`."""

    def forward(v: Tensor) -> Tensor:
        return jvp(operator, z, v)

    def adjoint(w: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = z.clone().requires_grad_()
            return torch.autograd.grad(operator(leaf), leaf, w)[0]

    return forward, adjoint

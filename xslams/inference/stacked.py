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
from torch import Tensor

from xslams.errors import OptionError
from xslams.inference.observation_operator import LinearMaps, ObservationOperator
from xslams.linalg.autodiff import jvp
from xslams.linalg.covariances import BlockCovariance, error_covariance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from azula.linalg.covariance import Covariance

__all__ = ["StackedOperator"]


class StackedOperator:
    """Observation operator of several sources at once.

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
    >>> both = StackedOperator([torch.tensor([2.0]), torch.tensor([4.0])], [lambda z: z, lambda z: z**2], [0.1, 0.1])
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
            got = f"{len(y)}, {len(A)} and {len(cov_y)}"
            msg = f"A StackedOperator needs observations, operators and errors of each source; got {got}."
            raise OptionError(msg)
        self.operators = list(A)
        self.sizes = [part.shape[-1] for part in y]
        self.y = torch.cat(list(y), dim=-1)
        self.cov_y = BlockCovariance([error_covariance(c) for c in cov_y], self.sizes)

    @property
    def one_slope(self) -> bool:
        """Whether all operators say that one slope may stand for their transforms, if they have any."""
        return all(getattr(operator, "one_slope", False) for operator in self.operators)

    def __call__(self, z: Tensor) -> Tensor:
        """From states ``(B, *shape)`` to what all sources see of them, ``(B, n)``."""
        return torch.cat([operator(z) for operator in self.operators], dim=-1)

    def linearize(self, z: Tensor) -> LinearMaps:
        """Product with the Jacobian at `z`, and with its adjoint."""
        maps = [
            operator.linearize(z) if isinstance(operator, ObservationOperator) else _maps(operator, z.detach())
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


def _maps(operator: Callable[[Tensor], Tensor], z: Tensor) -> LinearMaps:
    """Products with the Jacobian of an operator and its adjoint, which keep nothing but `z`."""

    def forward(v: Tensor) -> Tensor:
        return jvp(operator, z, v)

    def adjoint(w: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = z.clone().requires_grad_()
            return torch.autograd.grad(operator(leaf), leaf, w)[0]

    return forward, adjoint

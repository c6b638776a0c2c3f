r"""Errors of observations beyond independent Gaussian ones: biases that values share, and heavy tails.

**Bias.** Values of a group :math:`g` share an unknown bias of standard deviation :math:`u`. Estimated together with the
state and integrated out, it makes the error covariance

.. math:: C = \mathrm{diag}(D) + \sum_g u_g u_g^\top

(as in variational bias correction [1]_, where the bias is one more control variable). Groups have no value in common,
so that the inverse is of the same form.

**Heavy tails.** A robust likelihood is a Gaussian one whose error variances depend on the residual :math:`e`, in units
of the standard deviation,

.. math:: D_i \to D_i / w(e_i), \qquad w(e) = \min(1, k / |e|) \text{ (Huber [2]_)}, \qquad
    w(e) = \frac{\nu + 1}{\nu + e^2} \text{ (Student [3]_)}

Fixed-point iteration of weights and estimate leads to the mode of the posterior. Here an iteration is made at each call
of the guided denoiser: the residual is that of the estimate given the observations, which at the last noise level is
the sample itself, so that its uncertainty is in the residual. At high noise, where the prior is wide, values are fitted
whatever they are; they are down-weighted as it becomes clear that nothing else supports them.

References
----------
.. [1] Dee, Bias and data assimilation, 2005, doi:10.1256/qj.05.137.
.. [2] Huber, Robust Estimation of a Location Parameter, 1964, doi:10.1214/aoms/1177703732.
.. [3] Lange, Little and Taylor, Robust Statistical Modeling Using the t Distribution, 1989, doi:10.2307/2290063.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from azula.linalg.covariance import Covariance, DiagonalCovariance
from torch import Tensor

from xslams.linalg.covariances import GroupCovariance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.typing import SourceArrays

__all__ = ["RobustErrors", "observation_errors"]

_BIAS_ITERATIONS = 8


class RobustErrors:
    """Error covariance of a robust likelihood, given residuals.

    Parameters
    ----------
    covariance
        Of errors without heavy tails.
    parts
        Number of values, and likelihood, of each source in turn; None for a Gaussian one.

    Examples
    --------
    >>> errors = RobustErrors(DiagonalCovariance(torch.ones(2)), [(2, ("huber", 2.0))])
    >>> errors(torch.tensor([[1.0, 8.0]])).D
    tensor([[1., 4.]])
    """

    def __init__(
        self,
        covariance: DiagonalCovariance | GroupCovariance,
        parts: Sequence[tuple[int, tuple[str, float] | None]],
    ) -> None:
        self.covariance = covariance
        self.parts = list(parts)

    def weights(self, residual: Tensor) -> Tensor:
        """Weights of values with residuals ``(B, n)``, same shape."""
        weights = self._weigh(residual)
        if isinstance(self.covariance, GroupCovariance):
            # Of a residual, only what is not the bias of its group counts, and a gross error must not make that bias.
            for _ in range(_BIAS_ITERATIONS):
                variance = self.covariance.D / weights
                errors = GroupCovariance(variance, self.covariance.u, self.covariance.group)
                weights = self._weigh(variance * errors.inv(residual))
        return weights

    def _weigh(self, residual: Tensor) -> Tensor:
        """Weights for residuals that share nothing."""
        e = residual.abs() * self.covariance.D.rsqrt()
        each = []
        for part, (_, kind) in zip(e.split([n for n, _ in self.parts], dim=-1), self.parts, strict=True):
            if kind is None:
                each.append(torch.ones_like(part))
            elif kind[0] == "huber":
                each.append(kind[1] / part.clamp(min=kind[1]))
            else:
                each.append((kind[1] + 1) / (kind[1] + part.square()))
        return torch.cat(each, dim=-1)

    def __call__(self, residual: Tensor) -> Covariance:
        """Error covariance given residuals ``(B, n)``."""
        variance = self.covariance.D / self.weights(residual)
        if isinstance(self.covariance, GroupCovariance):
            return GroupCovariance(variance, self.covariance.u, self.covariance.group)
        return DiagonalCovariance(variance)


def observation_errors(
    sources: Sequence[SourceArrays], variance: Tensor
) -> tuple[DiagonalCovariance | GroupCovariance, RobustErrors | None]:
    """Error covariance of sources, and how it depends on residuals.

    Parameters
    ----------
    sources
        Observations.
    variance
        Variances of independent errors of all of them, shape ``(n,)``.

    Returns
    -------
    tuple
        Covariance, and robust errors; None where every likelihood is Gaussian.
    """
    covariance: DiagonalCovariance | GroupCovariance = DiagonalCovariance(variance)
    if any(s.bias_error is not None for s in sources):
        # Values that share nothing go into a group with a bias of zero.
        u, group, count = [], [], 1
        for s in sources:
            u.append(np.zeros(s.values.size) if s.bias_error is None else s.bias_error)
            group.append(np.zeros(s.values.size, np.int64) if s.group is None else s.group + count)
            count += 0 if s.group is None else int(s.group.max(initial=-1)) + 1
        covariance = GroupCovariance(
            variance,
            torch.as_tensor(np.concatenate(u)).to(variance),
            torch.as_tensor(np.concatenate(group).astype(np.int64), device=variance.device),
        )
    if all(s.robust is None for s in sources):
        return covariance, None
    return covariance, RobustErrors(covariance, [(s.values.size, s.robust) for s in sources])

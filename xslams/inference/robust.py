r"""Errors of observations beyond independent Gaussian ones: correlations, biases that values share, and heavy tails.

**Correlation.** Errors that are correlated between the values of a source have a sparse root of their inverse
covariance, see `xslams.linalg.precision`.

**Bias.** Values of a group :math:`g` share an unknown bias of standard deviation :math:`u`. Estimated together with the
state and integrated out, it makes the error covariance

.. math:: C = \mathrm{diag}(D) + \sum_g u_g u_g^\top

(as in variational bias correction [1]_, where the bias is one more control variable). Groups have no value in common,
so that the inverse is of the same form.

**Heavy tails.** A robust likelihood is a Gaussian one whose error variances depend on the residual, see
`xslams.likelihood.robust`.

Fixed-point iteration of weights and estimate leads to the mode of the posterior. Here an iteration is made at each call
of the guided denoiser: the residual is that of the estimate given the observations, which at the last noise level is
the sample itself, so that its uncertainty is in the residual. At high noise, where the prior is wide, values are fitted
whatever they are; they are down-weighted as it becomes clear that nothing else supports them.

References
----------
.. [1] Dee, Bias and data assimilation, 2005, doi:10.1256/qj.05.137.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
from azula.linalg.covariance import Covariance, DiagonalCovariance
from torch import Tensor

from xslams.errors import ObservationOptionError, OptionError
from xslams.likelihood.correlation import ErrorCorrelation
from xslams.linalg.covariances import BlockCovariance, GroupCovariance
from xslams.linalg.precision import RootCovariance, inverse_root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xslams.likelihood import RobustLikelihood, SourceLikelihood
    from xslams.likelihood.errors import IntArray
    from xslams.typing import FloatArray

__all__ = ["BlockErrors", "RobustErrors", "observation_errors"]

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
    >>> from xslams.likelihood import Huber
    >>> errors = RobustErrors(DiagonalCovariance(torch.ones(2)), [(2, Huber(2.0))])
    >>> errors(torch.tensor([[1.0, 8.0]])).D
    tensor([[1., 4.]])
    """

    def __init__(
        self,
        covariance: DiagonalCovariance | GroupCovariance,
        parts: Sequence[tuple[int, RobustLikelihood | None]],
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
        parts = e.split([n for n, _ in self.parts], dim=-1)
        each = [
            torch.ones_like(part) if likelihood is None else likelihood.weights(part)
            for part, (_, likelihood) in zip(parts, self.parts, strict=True)
        ]
        return torch.cat(each, dim=-1)

    def __call__(self, residual: Tensor) -> Covariance:
        """Error covariance given residuals ``(B, n)``."""
        variance = self.covariance.D / self.weights(residual)
        if isinstance(self.covariance, GroupCovariance):
            return GroupCovariance(variance, self.covariance.u, self.covariance.group)
        return DiagonalCovariance(variance)


class BlockErrors:
    """Errors that depend on residuals in some blocks of a covariance, and not in others.

    Parameters
    ----------
    covariance
        Without heavy tails.
    robust
        How the covariance of each block depends on residuals; None where it does not.
    """

    def __init__(self, covariance: BlockCovariance, robust: Sequence[Callable[[Tensor], Covariance] | None]) -> None:
        self.covariance, self.robust = covariance, list(robust)

    def __call__(self, residual: Tensor) -> Covariance:
        """Error covariance given residuals ``(B, n)``."""
        parts = residual.split(self.covariance.sizes, dim=-1)
        blocks = [
            block if robust is None else robust(part)
            for block, robust, part in zip(self.covariance.blocks, self.robust, parts, strict=True)
        ]
        return BlockCovariance(blocks, self.covariance.sizes)


def observation_errors(
    likelihoods: Sequence[SourceLikelihood], variance: Tensor
) -> tuple[Covariance, Callable[[Tensor], Covariance] | None]:
    """Error covariance of sources, and how it depends on residuals.

    Parameters
    ----------
    likelihoods
        Observations.
    variance
        Variances of all of them, biases apart, shape ``(n,)``.

    Returns
    -------
    tuple
        Covariance, and robust errors; None where every likelihood is Gaussian.

    Raises
    ------
    ObservationError
        If the covariance of correlated errors is singular.
    """
    runs = [list(run) for _, run in itertools.groupby(likelihoods, _correlated_with)]
    sizes = [sum(each.size for each in run) for run in runs]
    parts = [
        _independent_errors(run, part) if run[0].errors.correlation is None else (_correlated_errors(run, part), None)
        for run, part in zip(runs, variance.split(sizes), strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    covariance, robust = BlockCovariance([c for c, _ in parts], sizes), [r for _, r in parts]
    return covariance, None if all(r is None for r in robust) else BlockErrors(covariance, robust)


def _correlated_with(source: SourceLikelihood) -> object:
    """Key of those that are correlated with a source, which follow it; the same for all that are independent."""
    correlation = source.errors.correlation
    return None if correlation is None else correlation.link or id(source)


def _correlated_errors(likelihoods: Sequence[SourceLikelihood], variance: Tensor) -> RootCovariance:
    """Covariance of errors that are correlated between values."""
    errors, names = [each.errors for each in likelihoods], ", ".join(repr(each.name) for each in likelihoods)
    correlation = ErrorCorrelation.joined([e.correlation for e in errors if e.correlation is not None])
    std = np.concatenate([e.correlated for e in errors])

    def covariance(i: IntArray, j: IntArray) -> FloatArray:
        return std[i] * correlation.elements(i, j) * std[j]

    try:
        root = inverse_root(
            covariance,
            variance.double().cpu().numpy(),
            correlation.group,
            correlation.places,
            f"Source {names}: the error covariance",
            layer=correlation.layer,
        )
    except OptionError as e:
        raise ObservationOptionError(*e.args) from e
    return RootCovariance(root, variance.device)


def _independent_errors(
    likelihoods: Sequence[SourceLikelihood], variance: Tensor
) -> tuple[DiagonalCovariance | GroupCovariance, RobustErrors | None]:
    """Covariance of errors that are independent but for biases, and how it depends on residuals."""
    covariance: DiagonalCovariance | GroupCovariance = DiagonalCovariance(variance)
    if any(each.errors.bias is not None for each in likelihoods):
        # Values that share nothing go into a group with a bias of zero.
        std, group, count = [], [], 1
        for each in likelihoods:
            bias = each.errors.bias
            std.append(np.zeros(each.size) if bias is None else bias.std)
            group.append(np.zeros(each.size, np.int64) if bias is None else bias.group + count)
            count += 0 if bias is None else bias.groups
        covariance = GroupCovariance(
            variance,
            torch.as_tensor(np.concatenate(std)).to(variance),
            torch.as_tensor(np.concatenate(group).astype(np.int64), device=variance.device),
        )
    if all(each.errors.robust is None for each in likelihoods):
        return covariance, None
    return covariance, RobustErrors(covariance, [(each.size, each.errors.robust) for each in likelihoods])

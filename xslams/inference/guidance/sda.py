r"""Guidance of SDA [1]_: the likelihood of the denoised estimate with an inflated error.

.. math:: w = (R + \Gamma_t)^{-1} (y - A(\hat z))

SDA has :math:`\Gamma_t = \gamma \, \sigma_t^2 / \alpha_t^2` with a constant :math:`\gamma` set by hand, of which the
right value depends on the operator and on the prior. Without one, :math:`\Gamma_t` is found from the prior,

.. math:: \Gamma_t = \frac{\| M^2 s \|}{\| M s \|} D, \qquad M = D^{-1/2} J V_t J^\top D^{-1/2}, \qquad
    D = \mathrm{diag} \, J J^\top

with a fixed vector :math:`s` of random signs: two steps of the power method, which come near the largest eigenvalue of
:math:`M`, at the price of two gradients more. The diagonal of :math:`J V_t J^\top` would be too small: what
observations have in common would be counted as often as there are observations, spread would be lost, and Langevin
corrections would diverge. Being too large, :math:`\Gamma_t` draws too little towards the observations while there is
noise. Corrections make up for that.

References
----------
.. [1] Rozet and Louppe, Score-based Data Assimilation, 2023, arXiv 2306.10574.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from azula.linalg.covariance import Covariance, DiagonalCovariance, IsotropicCovariance
from torch import Tensor

from xslams.arguments import is_number, require
from xslams.errors import OptionError
from xslams.inference.guidance.base import GUIDANCE, Guidance, LinearProblem, require_derivative
from xslams.priors.posteriors import Derivative

__all__ = ["SDA"]


@GUIDANCE.register("sda")
@dataclass(frozen=True)
class SDA(Guidance):
    """Guidance of SDA, for independent errors.

    Attributes
    ----------
    gamma
        Constant of SDA; by default found from the prior.
    derivative
        ``"vjp"`` or ``"jvp"``, see `xslams.priors.posteriors.TweedieDenoiser`.
    """

    gamma: float | None = None
    derivative: Derivative = "vjp"

    def __post_init__(self) -> None:
        require(self.gamma is None or is_number(self.gamma, 0.0), "gamma", self.gamma, "a number of at least 0")
        require_derivative(self.derivative)

    def check(self, errors: Covariance) -> None:
        """Raise `OptionError` where errors are correlated."""
        _variance(errors)

    def weights(self, problem: LinearProblem, memory: object) -> tuple[Tensor, object]:
        """Return the weights of the observations; nothing is remembered."""
        variance, innovation = _variance(problem.errors), problem.innovation
        if self.gamma is not None:
            return innovation / (variance + self.gamma * (problem.sigma / problem.alpha) ** 2), None
        forward, gain = problem.forward, problem.gain
        signs = _signs(innovation)
        rows = _row_norms(forward, problem.mean).clamp(min=1e-30)
        once = forward(gain(signs / rows.sqrt())) / rows.sqrt()
        twice = forward(gain(once / rows.sqrt())) / rows.sqrt()
        size = torch.linalg.vector_norm(twice, dim=-1, keepdim=True)
        size = size / torch.linalg.vector_norm(once, dim=-1, keepdim=True).clamp(min=1e-30)
        return innovation / (variance + size * rows), None


def _variance(errors: Covariance) -> Tensor:
    """Variances of independent errors."""
    if isinstance(errors, IsotropicCovariance):
        return torch.as_tensor(errors.lmbda)
    if isinstance(errors, DiagonalCovariance):
        return errors.D
    msg = f"guidance='sda' needs independent errors; got a {type(errors).__name__}. Use guidance='mmps'; or "
    msg += "give a background independent errors, background_error=BackgroundError(..., correlation='none')."
    raise OptionError(msg)


def _signs(like: Tensor, seed: int = 0) -> Tensor:
    """Random signs, the same for every row and at every call."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, like.shape[1:], generator=generator) * 2 - 1
    return signs.to(like).expand_as(like)


def _row_norms(forward: Callable[[Tensor], Tensor], like: Tensor, probes: int = 8) -> Tensor:
    """Diagonal of :math:`J J^T`: exact for rows with one element, an estimate for others; shape ``(B, n)``."""
    return torch.stack([forward(_signs(like, seed)).square() for seed in range(probes)]).mean(0)

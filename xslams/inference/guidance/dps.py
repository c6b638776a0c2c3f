r"""Guidance of DPS [1]_: a step down the gradient of the distance to the observations.

.. math:: \hat z - \zeta \, \sigma_t \nabla_{z_t} \left\| y - A(\hat z) \right\|_{R^{-1}}

Unlike in azula's DPS, the distance is each member's own, so that the result does not depend on the batch, and the step
is in units of the noise level, so that it does not depend on the schedule.

References
----------
.. [1] Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2022, arXiv 2209.14687.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xslams.arguments import is_number, require
from xslams.inference.guidance.base import GUIDANCE, Guidance, LinearProblem, require_derivative
from xslams.priors.posteriors import Derivative

__all__ = ["DPS"]


@GUIDANCE.register("dps")
@dataclass(frozen=True)
class DPS(Guidance):
    """Guidance of DPS.

    Attributes
    ----------
    zeta
        Length of the step.
    derivative
        ``"vjp"`` or ``"jvp"``, see `xslams.priors.posteriors.TweedieDenoiser`.
    """

    zeta: float = 1.0
    derivative: Derivative = "vjp"

    def __post_init__(self) -> None:
        require(is_number(self.zeta, 0.0), "zeta", self.zeta, "a number of at least 0")
        require_derivative(self.derivative)

    def weights(self, problem: LinearProblem, memory: object) -> tuple[Tensor, object]:
        """Return the weights of the observations; nothing is remembered."""
        slope = problem.precision(problem.innovation)
        distance = (problem.innovation * slope).sum(-1, keepdim=True).clamp(min=1e-24).sqrt()
        # `gain` is the gradient through the network times sigma^2 / alpha.
        return self.zeta * problem.alpha / problem.sigma * slope / distance, None

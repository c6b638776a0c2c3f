r"""Moment matching [1]_: the system for the weights is solved by conjugate gradients.

.. math:: w = (R + J V_t J^\top)^{-1} (y - A(\hat z))

In units of the observation errors the system is the identity plus a positive matrix, which is what conjugate gradients
like. Where a denoiser knows an approximation of its posterior covariance (the Gaussian prior inside
`TrajectoryDenoiser`, the blocks that a `MarkovDenoiser` has learned), that one is used, and the network is called once
per noise level and never differentiated.

References
----------
.. [1] Rozet et al., Learning Diffusion Priors from Observations by Expectation Maximization, 2024, arXiv 2405.13712.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from xslams.inference.guidance.base import GUIDANCE, Guidance, LinearProblem
from xslams.linalg.conjugate_gradients import conjugate_gradients
from xslams.priors.posteriors import Derivative

__all__ = ["MMPS"]

# An iteration of the solver costs a product with the covariance. Systems that need more than these are too badly
# conditioned for single precision.
_MOST_ITERATIONS = 50

# Times and weights of the last two noise levels.
_Memory = tuple[tuple[float, Tensor], ...]


@GUIDANCE.register("mmps")
@dataclass(frozen=True)
class MMPS(Guidance):
    """Moment-matching guidance.

    Attributes
    ----------
    iterations
        Number of solver iterations per noise level; by default as many as it takes.
    tolerance
        Root mean square of the residual to which the system is solved, in units of the observation errors. Times the
        root of the number of observations, it bounds the error of the estimate in units of its own standard deviation.
        Unused where `iterations` is given.
    derivative
        ``"vjp"`` or ``"jvp"``, see `xslams.priors.posteriors.TweedieDenoiser`.

    Examples
    --------
    ``sample_posterior(..., guidance=MMPS(iterations=3))``
    """

    iterations: int | None = None
    tolerance: float = 0.03
    derivative: Derivative = "vjp"

    def weights(self, problem: LinearProblem, memory: object) -> tuple[Tensor, object]:
        """Return the weights of the observations; the memory holds those of the last two noise levels."""
        past, innovation = cast("_Memory", memory or ()), problem.innovation
        tolerance = 0.0 if self.iterations is not None else self.tolerance
        weights = conjugate_gradients(
            lambda w: problem.errors(w) + problem.forward(problem.gain(w)),
            innovation,
            _first_guess(past, problem.time),
            tolerance=0.0,
            absolute=tolerance * innovation.shape[-1] ** 0.5,
            iterations=_MOST_ITERATIONS if self.iterations is None else self.iterations,
            precondition=problem.precision,
            # A covariance of the prior that is not positive would make it less than one.
            least=0.9,
        )
        latest = (problem.time, weights)
        descends = bool(past) and problem.time < past[-1][0]
        return weights, (*past[-1:], latest) if descends else (latest,)


def _first_guess(past: _Memory, time: float) -> Tensor | None:
    """First guess of the weights: this noise level is close to the last one, and so is its solution."""
    if not past:
        return None
    latest, last = past[-1]
    # Three levels in a row: go on as before.
    return 2 * last - past[0][1] if len(past) == 2 and time < latest else last

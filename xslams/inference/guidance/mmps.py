r"""Moment matching [1]_: the system for the weights is solved by conjugate gradients.

.. math:: w = (R + J V_t J^\top)^{-1} (y - A(\hat z))

They go on until the error of the estimate is small in units of its own standard deviation, see
`xslams.linalg.conjugate_gradients`. The solutions of the last two noise levels tell that of the next one, which the
search begins with.

Where a denoiser knows an approximation of its posterior covariance (the Gaussian prior inside
`TrajectoryDenoiser`, the blocks that a `MarkovDenoiser` has learned), that one is used, and the network is called once
per noise level and never differentiated. It says how large errors are, and which of them go together on average over
all states. For a process far from Gaussian they depend on the state: observations then gain by the derivative of the
network, ``MMPS(covariance="derivative")``, which costs about as much as a call of the network for each product.

References
----------
.. [1] Rozet et al., Learning Diffusion Priors from Observations by Expectation Maximization, 2024, arXiv 2405.13712.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from torch import Tensor

from xslams.arguments import is_number, is_whole, require
from xslams.inference.guidance.base import GUIDANCE, Guidance, Increment, LinearProblem, require_derivative
from xslams.linalg.conjugate_gradients import LinearObservations, solve
from xslams.priors.posteriors import Derivative

__all__ = ["MMPS"]

# Problems that need more are too badly conditioned for single precision.
_MOST_ITERATIONS = 1000


class _Memory(NamedTuple):
    """What one noise level hands on to the next.

    Attributes
    ----------
    signal
        Degrees of freedom for signal, shape ``(B, 1)``.
    duals
        Duals of the increments of the last two noise levels, see `xslams.linalg.conjugate_gradients.Solution`.
    """

    signal: Tensor | float = 0.0
    duals: tuple[Tensor, ...] = ()

    def guesses(self) -> tuple[Tensor, ...]:
        """First guesses of the dual: the next noise level is close to the last ones, and so is its solution."""
        if len(self.duals) < 2:
            return self.duals
        # The difference for itself, as the two may agree to many digits.
        previous, last = self.duals
        return last, last - previous


@GUIDANCE.register("mmps")
@dataclass(frozen=True)
class MMPS(Guidance):
    """Moment-matching guidance.

    Attributes
    ----------
    iterations
        Number of solver iterations per noise level; by default as many as it takes.
    tolerance
        Root mean square error of the estimate, in units of its own standard deviation, over as many directions as the
        observations determine. Unused where `iterations` is given.
    largest
        Largest change of what an observation sees of the estimate in the last two iterations, in units of its error.
        Unused where `iterations` is given.
    derivative
        ``"vjp"`` or ``"jvp"``, see `xslams.priors.posteriors.TweedieDenoiser`.
    covariance
        ``"known"``: what the denoiser knows of its covariance, and its derivative where it knows nothing.
        ``"derivative"``: its derivative in any case.

    Examples
    --------
    ``sample_posterior(..., guidance=MMPS(iterations=3))``
    """

    iterations: int | None = None
    tolerance: float = 0.02
    largest: float = 0.4
    derivative: Derivative = "vjp"
    covariance: Literal["known", "derivative"] = "known"

    def __post_init__(self) -> None:
        given = self.iterations is not None
        require(not given or is_whole(self.iterations, 1), "iterations", self.iterations, "a positive whole number")
        for name in ("tolerance", "largest"):
            value = getattr(self, name)
            require(is_number(value, 0.0) and value > 0, name, value, "a positive number")
        require_derivative(self.derivative)
        covariance: object = self.covariance
        named = isinstance(covariance, str) and covariance in ("known", "derivative")
        require(named, "covariance", covariance, "'known' or 'derivative'")

    @property
    def differentiates(self) -> bool:
        """Whether the covariance is the derivative of the estimate even where a denoiser knows an approximation."""
        return self.covariance == "derivative"

    @property
    def remembers(self) -> bool:
        """Whether a solution nearby saves work: yes."""
        return True

    def increment(self, problem: LinearProblem, memory: object) -> Increment:
        """Return the increment."""
        past = cast("_Memory", memory or _Memory())
        fixed = self.iterations is not None
        found = solve(
            LinearObservations(
                problem.innovation, problem.covariance, problem.forward, problem.adjoint, problem.precision
            ),
            guesses=[dual.expand_as(problem.mean) for dual in past.guesses()],
            signal=past.signal,
            tolerance=0.0 if fixed else self.tolerance,
            largest=0.0 if fixed else self.largest,
            iterations=_MOST_ITERATIONS if self.iterations is None else self.iterations,
        )
        kept = _Memory(found.signal, (*past.duals[-1:], found.dual))
        return Increment(found.increment, kept, None if fixed else found.error)

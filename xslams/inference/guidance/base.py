r"""Guided denoisers, which estimate clean states given noisy ones and observations.

Given :math:`y = A(z) + e` with :math:`e \sim \mathcal{N}(0, R)`, the expectation of :math:`z` given both :math:`z_t`
and :math:`y` follows from :math:`p(z \mid z_t) \approx \mathcal{N}(\hat z, V_t)`,

.. math:: \mathbb{E}[z \mid z_t, y] \approx \hat z + V_t J^\top w, \qquad
    w = (R + J V_t J^\top)^{-1} (y - A(\hat z))

with :math:`J` the Jacobian of :math:`A` at :math:`\hat z`. Methods of guidance differ in the weights :math:`w` alone:

- moment matching (`xslams.inference.guidance.mmps`) solves the system, by conjugate gradients;
- SDA (`xslams.inference.guidance.sda`) puts a diagonal matrix in the place of :math:`J V_t J^\top`;
- DPS (`xslams.inference.guidance.dps`) takes a step of given length along :math:`R^{-1} (y - A(\hat z))`.

A guided denoiser is itself a denoiser, so that any sampler takes it, and it has no memory. What one noise level may
hand on to the next, such as a first guess for a solver, is a `GuidanceState` that the sampler carries.

Where a posterior depends on where it is linearised (`xslams.priors.posteriors.Posterior.relinearized`), it is
linearised about what the observations make of the estimate: an iterated smoother. Without observations the estimate may
lie in another valley, and a covariance that is small there holds it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol, get_args

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.linalg.covariance import Covariance
from torch import Tensor

from xslams.arguments import require
from xslams.inference.foreign import DENOISER, OPERATOR, calling, checked, guarded
from xslams.inference.foreign import GUIDANCE as GUIDANCE_EXPECTED
from xslams.inference.observation_operator import Operator, linearize
from xslams.options import GUIDANCE
from xslams.priors.posteriors import Derivative, conditional

if TYPE_CHECKING:
    from azula.noise import Schedule

    from xslams.priors.posteriors import Posterior

__all__ = [
    "GUIDANCE",
    "Guidance",
    "GuidanceState",
    "GuidedDenoiser",
    "Increment",
    "LinearProblem",
    "Observed",
    "guide",
    "require_derivative",
]


@dataclass(frozen=True)
class LinearProblem:
    r"""What a guidance finds weights for: a Gaussian prior, and observations of it by a linear map.

    Attributes
    ----------
    innovation
        Observations less what the prior expects of them, shape ``(B, n)``.
    mean
        Mean of the prior, shape ``(B, *shape)``.
    forward, adjoint
        Product with :math:`J`, from ``(B, *shape)`` to ``(B, n)``, and with its adjoint.
    covariance
        Product with :math:`V_t`, on ``(B, *shape)``.
    errors
        Error covariance :math:`R` of the observations.
    precision
        Its inverse.
    time, alpha, sigma
        Time, and scales of signal and noise.
    """

    innovation: Tensor
    mean: Tensor
    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    covariance: Callable[[Tensor], Tensor]
    errors: Covariance
    precision: Covariance
    time: float
    alpha: Tensor
    sigma: Tensor

    def gain(self, w: Tensor) -> Tensor:
        r"""Product with :math:`V_t J^\top`, from ``(B, n)`` to ``(B, *shape)``."""
        return self.covariance(self.adjoint(w))


class Increment(NamedTuple):
    """What observations add to the mean of a prior.

    Attributes
    ----------
    value
        Increment, shape ``(B, *shape)``.
    memory
        What is handed on to the next noise level.
    error
        Root mean square error of the increment in units of its own standard deviation, shape ``(B,)``; None where the
        method solves nothing, or to a number of iterations that was asked for.
    """

    value: Tensor
    memory: object
    error: Tensor | None = None


class Guidance(Protocol):
    """A method of guidance with its settings: a frozen dataclass, which holds no state.

    A method implements `weights`, or `increment` where it finds the increment along with them.

    Attributes
    ----------
    derivative
        How to multiply with the Jacobian of a denoiser that does not know its covariance, see
        `xslams.priors.posteriors.TweedieDenoiser`.
    """

    @property
    def derivative(self) -> Derivative:
        """How to multiply with the Jacobian of a denoiser that does not know its covariance."""
        return "vjp"

    @property
    def differentiates(self) -> bool:
        """Whether the covariance is the derivative of the estimate even where a denoiser knows an approximation: no."""
        return False

    @property
    def remembers(self) -> bool:
        """Whether the memory of one noise level, or of another member, saves work at the next."""
        return False

    def check(self, errors: Covariance) -> None:
        """Raise `OptionError` where the method cannot use errors of this kind."""

    def weights(self, problem: LinearProblem, memory: object) -> tuple[Tensor, object]:
        """Return the weights of the observations, shape ``(B, n)``, and what is handed on to the next noise level.

        Parameters
        ----------
        problem
            Prior and observations.
        memory
            What the last call returned; None at the first.
        """
        raise NotImplementedError

    def increment(self, problem: LinearProblem, memory: object) -> Increment:
        """Return what the weights add to the mean.

        Parameters
        ----------
        problem, memory
            As for `weights`.
        """
        weights, memory = self.weights(problem, memory)
        return Increment(problem.gain(weights), memory)


def require_derivative(derivative: object) -> None:
    """Raise `OptionError` unless this says how to multiply with a Jacobian."""
    known = isinstance(derivative, str) and derivative in get_args(Derivative)
    require(known, "derivative", derivative, " or ".join(map(repr, get_args(Derivative))))


@dataclass(frozen=True)
class Observed:
    """Observations as guidance takes them.

    Attributes
    ----------
    y
        Observed values, shape ``(n,)`` or ``(B, n)``.
    operator
        Observation operator from ``(B, *shape)`` to ``(B, n)``, see `xslams.inference.observation_operator`.
    errors
        Error covariance.
    reweight
        Error covariance given the residuals ``(B, n)`` of the latest estimate, for the next noise level; see
        `xslams.inference.robust.RobustErrors`. None where errors are Gaussian.
    """

    y: Tensor
    operator: Operator
    errors: Covariance
    reweight: Callable[[Tensor], Covariance] | None = None

    @cached_property
    def precision(self) -> Covariance:
        """Inverse of the error covariance; all members share what it makes for itself."""
        return self.errors.inv


@dataclass(frozen=True)
class GuidanceState:
    """What a guided denoiser hands on from one noise level to the next.

    Attributes
    ----------
    errors
        Error covariance, with weights of a robust likelihood.
    precision
        Its inverse.
    memory
        Memory of the guidance.
    estimate
        Estimate of clean states; None before the first.
    """

    errors: Covariance
    precision: Covariance
    memory: object = None
    estimate: Tensor | None = None


class GuidedDenoiser(Denoiser):
    """Denoiser of a prior together with observations of what it denoises.

    Parameters
    ----------
    denoiser
        Denoiser of the prior. The covariance of a `ConditionalDenoiser` is used, unless the guidance differentiates;
        that of others is found by differentiation.
    observed
        Observations.
    guidance
        Method.
    first
        What `start` returns; by default a state that knows nothing.
    monitor
        Called with the error of every increment, see `Increment.error`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        observed: Observed,
        guidance: Guidance,
        *,
        first: GuidanceState | None = None,
        monitor: Callable[[Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        with calling(guidance, GUIDANCE_EXPECTED):
            guidance.check(observed.errors)
            derivative, differentiates = guidance.derivative, guidance.differentiates
        self.denoiser, self.observed, self.guidance, self.monitor = denoiser, observed, guidance, monitor
        self._first = GuidanceState(observed.errors, observed.precision) if first is None else first
        self._conditional = conditional(denoiser, derivative, differentiated=differentiates)

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]  # azula declares an attribute
        """Noise schedule of the prior."""
        return self.denoiser.schedule

    def start(self) -> GuidanceState:
        """Return the state before the first noise level."""
        return self._first

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        """Estimate clean states given noisy ones and the observations, without anything from other noise levels.

        Parameters
        ----------
        x_t
            Noisy states, shape ``(B, *shape)``.
        t
            Time, shape ``()``.
        """
        return self.advance(x_t, t, self.start(), **kwargs)[0]

    @torch.no_grad()
    def advance(
        self, x_t: Tensor, t: Tensor, state: GuidanceState, **kwargs: object
    ) -> tuple[DiracPosterior, GuidanceState]:
        """Estimate clean states given noisy ones and the observations, and what the last noise level handed on.

        Parameters
        ----------
        x_t, t
            As for `forward`.
        state
            What the last call returned, or `start`.

        Returns
        -------
        tuple
            The estimate, and the state for the next noise level.
        """
        with calling(self.denoiser, DENOISER):
            posterior = self._conditional.posterior(x_t, t, **kwargs)
            checked(posterior.mean, self.denoiser, DENOISER, tuple(x_t.shape))
        memory, guess = state.memory, None
        if posterior.relinearizations and posterior.nearby:
            guess = state.estimate
        if guess is None:
            guess, memory = self._update(posterior, t, state, memory)
        for _ in range(posterior.relinearizations):
            guess, memory = self._update(posterior.relinearized(guess), t, state, memory)
        errors, precision = state.errors, state.precision
        if self.observed.reweight is not None:
            errors = self.observed.reweight(self.observed.y - self.observed.operator(guess))
            precision = errors.inv
        return DiracPosterior(mean=guess), GuidanceState(errors, precision, memory, guess)

    def first_guess(self, like: Tensor) -> GuidanceState:
        """Return a state for all members to start from: that of the mean of the prior at the largest noise.

        There, what distinguishes members is small next to what the observations say of all of them.

        Parameters
        ----------
        like
            States of any values, shape ``(1, *shape)``.

        Returns
        -------
        GuidanceState
            As `start`, with a memory where that saves work.
        """
        state = self.start()
        if not self.guidance.remembers:
            return state
        nothing, t = torch.zeros_like(like), torch.ones((), device=like.device, dtype=like.dtype)
        posterior = self._conditional.posterior(nothing, t)
        if posterior.relinearizations:
            # Members of a process that is not linear have valleys of their own.
            return state
        return replace(state, memory=self._update(posterior, t, state, None)[1])

    def _update(self, posterior: Posterior, t: Tensor, state: GuidanceState, memory: object) -> tuple[Tensor, object]:
        """Bring a Gaussian, mean and covariance, together with the observations."""
        mean, y, guidance = posterior.mean, self.observed.y, self.guidance
        with calling("The operator A", OPERATOR):
            expected, forward, adjoint = linearize(self.observed.operator, mean)
        checked(expected, "The operator A", OPERATOR, (len(mean), y.shape[-1]))
        problem = LinearProblem(
            y - expected, mean,
            guarded(forward, "The operator A", OPERATOR, guidance, mean.shape),
            guarded(adjoint, "The operator A", OPERATOR, guidance, expected.shape),
            guarded(posterior.covariance, self.denoiser, DENOISER, guidance, mean.shape),
            state.errors, state.precision, float(t), *self.schedule(t),
        )  # fmt: skip
        with calling(guidance, GUIDANCE_EXPECTED):
            found = guidance.increment(problem, memory)
            checked(found.value, guidance, GUIDANCE_EXPECTED, tuple(mean.shape))
        if self.monitor is not None and found.error is not None:
            self.monitor(found.error)
        return mean + found.value, found.memory


def guide(
    denoiser: Denoiser,
    y: Tensor,
    A: Operator,
    cov_y: Covariance,
    guidance: str | Guidance = "mmps",
    *,
    reweight: Callable[[Tensor], Covariance] | None = None,
) -> GuidedDenoiser:
    """Wrap a denoiser by a guidance.

    Parameters
    ----------
    denoiser
        Denoiser of the prior.
    y, A, cov_y, reweight
        Observations, their operator and error covariance, see `Observed`.
    guidance
        A name in `GUIDANCE`, or a guidance with its settings: ``MMPS(iterations=3)``, ``SDA(gamma=0.1)``,
        ``DPS(zeta=0.5)``.

    Raises
    ------
    OptionError
        If there is no guidance of that name, or it cannot use errors of this kind.

    Examples
    --------
    >>> import torch
    >>> from azula.denoise import GaussianDenoiser
    >>> from azula.linalg.covariance import DiagonalCovariance, IsotropicCovariance
    >>> from azula.noise import VESchedule
    >>> prior = GaussianDenoiser(torch.zeros(2), DiagonalCovariance(torch.ones(2)), VESchedule(0.01, 100.0))
    >>> guided = guide(prior, torch.ones(1), lambda z: z[:, :1], IsotropicCovariance(1.0), "mmps")
    >>> guided(torch.zeros(1, 2), torch.tensor(1.0)).mean.round(decimals=3)
    tensor([[0.5000, 0.0000]])
    """
    return GuidedDenoiser(denoiser, Observed(y, A, cov_y, reweight), GUIDANCE.instance(guidance))

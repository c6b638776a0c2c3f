"""Draw from the posterior: a denoiser, observations, their operator and their error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from azula.linalg.covariance import Covariance
from torch import Tensor

from xslams.errors import OptionError
from xslams.inference.foreign import OPERATOR, calling, checked
from xslams.inference.guidance import GUIDANCE, Guidance, GuidanceState, GuidedDenoiser, Observed
from xslams.inference.magnitudes import require_representable
from xslams.inference.noise import GeneratorNoise, Noise
from xslams.inference.posterior_checks import require_members, require_problem
from xslams.inference.samplers import Sampler, sample
from xslams.linalg.covariances import error_covariance
from xslams.options import SamplerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from azula.denoise import Denoiser
    from azula.noise import Schedule

__all__ = ["draw", "initial_noise", "sample_posterior"]


def initial_noise(schedule: Schedule) -> float:
    """Scale of the noise at time 1, in double precision."""
    return float(schedule(torch.ones((), dtype=torch.float64))[1])


def draw(
    denoiser: Denoiser,
    x: Tensor,
    noise: Noise,
    observed: Observed | None,
    options: SamplerOptions,
    *,
    t: Tensor | None = None,
    warm: bool = False,
    first: GuidanceState | None = None,
    monitor: Callable[[Tensor], None] | None = None,
    called: Callable[[int], None] | None = None,
) -> Tensor:
    """Draw members; the one driver of all that do.

    Parameters
    ----------
    denoiser
        Denoiser of the prior.
    x
        Pure noise of the first level, or states with noise, shape ``(members, *shape)``.
    noise
        Source of noise; draw 0 made `x`.
    observed
        Observations; None draws from the prior.
    options
        Guidance, sampler, and number of calls.
    t
        Times from 1 to 0; by default uniform in log-SNR.
    warm
        Whether `x` is states and noise instead of noise alone.
    first, monitor
        State that guidance starts from, and what is called with errors of its solutions; see `GuidedDenoiser`.
    called
        Called with the number of members after every call of the denoiser.

    Returns
    -------
    Tensor
        Members, shape of `x`.
    """
    guided = denoiser
    if observed is not None:
        guidance = GUIDANCE.instance(options.guidance)
        guided = GuidedDenoiser(denoiser, observed, guidance, first=first, monitor=monitor)
    return sample(
        guided, x, noise, sampler=options.sampler, steps=options.steps, corrections=options.corrections, t=t,
        warm=warm, called=called,
    )  # fmt: skip


def sample_posterior(
    denoiser: Denoiser,
    y: Tensor,
    A: Callable[[Tensor], Tensor],
    cov_y: Covariance | Tensor | float,
    *,
    shape: Sequence[int],
    members: int,
    steps: int = SamplerOptions.steps,
    guidance: str | Guidance = SamplerOptions.guidance,
    sampler: str | Sampler = SamplerOptions.sampler,
    corrections: int = SamplerOptions.corrections,
    generator: torch.Generator | None = None,
    t: Tensor | None = None,
    start: Tensor | None = None,
    antithetic: bool = SamplerOptions.antithetic,
) -> Tensor:
    r"""Draw members from the posterior of a diffusion prior given observations.

    Where prior and operator are Gaussian and linear, the members have the mean and covariance of the exact posterior,
    to within the errors in :doc:`/solvers`. Elsewhere guidance is an approximation, which corrections improve.

    Parameters
    ----------
    denoiser
        Denoiser of the prior (azula), whose schedule maps times in [0, 1] to signal and noise scales.
        Its noise at time 1 should be several times the largest standard deviation of the prior.
    y
        Observations, shape ``(n,)``; or ``(members, n)``, where every member has its own: many cases in one batch.
    A
        Observation operator, from ``(members, *shape)`` to ``(members, n)``; differentiable, or with a method
        ``linearize``. For several sources at once see `xslams.inference.stacked.StackedOperator`.
    cov_y
        Error covariance: azula Covariance, or variances of shape ``(n,)``, or one variance.
    shape
        Shape of the state.
    members
        Number of members.
    steps
        Network calls per member, without corrections.
    guidance
        A name in `xslams.inference.guidance.GUIDANCE`, or a guidance with its settings: ``MMPS(iterations=3)``.
    sampler
        A name in `xslams.inference.samplers.SAMPLERS`, or a sampler.
    corrections
        Langevin corrections per step, one more call each. For priors that are far from Gaussian, and for nonlinear
        operators.
    generator
        Source of randomness; torch's global generator by default.
    t
        Times from 1 to 0, one call each; by default uniform in log-SNR, see
        `xslams.inference.noise_levels.time_grid`.
    start
        Members that are nearly right, shape ``(members, *shape)``: of a forecast, or after
        `xslams.inference.resample`. Noise of the time ``t[0]`` is added to them, and sampling begins there; it should
        be larger than what is wrong with them.
    antithetic
        Whether to draw members in pairs, ``2 k + 1`` with the negated noise of ``2 k``. Every member is still a draw
        from the posterior, but the two of a pair are not independent: where the posterior is Gaussian they lie opposite
        to each other about its mean, so that the mean over whole pairs is exact up to the solver, and elsewhere it is
        better than that of as many independent members. What is computed from the spread has to know: with the mean
        known, the mean square of deviations divides by the number of members :math:`M`, not by :math:`M - 1`; a
        covariance has the sampling error of :math:`M / 2` members, and the fair CRPS, made for independent members, is
        biased, low by a little.

    Returns
    -------
    Tensor
        Members, shape ``(members, *shape)``.

    Raises
    ------
    OptionError
        If a name is unknown, a variance is not positive, shapes disagree, there is a `start` without `t`, or values
        are not finite or too large to be held next to others.

    Examples
    --------
    The posterior mean of a standard normal variable observed as 1 with unit error is 1/2:

    >>> import torch
    >>> from azula.denoise import GaussianDenoiser
    >>> from azula.linalg.covariance import DiagonalCovariance
    >>> from azula.noise import VESchedule
    >>> from xslams.inference import sample_posterior
    >>> prior = GaussianDenoiser(torch.zeros(1), DiagonalCovariance(torch.ones(1)), VESchedule(0.01, 100.0))
    >>> z = sample_posterior(prior, torch.ones(1), lambda z: z, 1.0, shape=(1,), members=4096,
    ...                      generator=torch.Generator().manual_seed(0))
    >>> bool((z.mean() - 0.5).abs() < 0.05), bool((z.std() - 0.5**0.5).abs() < 0.03)
    (True, True)
    """
    options = SamplerOptions(guidance, sampler, steps, corrections, antithetic)
    require_problem(denoiser, y, A, cov_y, shape=shape, members=members, generator=generator)
    require_members(t, start, (members, *shape))
    noise = GeneratorNoise((members, *shape), generator, y, antithetic=antithetic)
    alpha, sigma = denoiser.schedule(torch.ones((), device=y.device, dtype=y.dtype) if t is None else t[0].to(y))
    x = sigma * noise(0) if start is None else alpha * start + sigma * noise(0)
    with calling("The operator A", OPERATOR):
        predicted = checked(A(x[:1].clone()), "The operator A", OPERATOR)
    if y.ndim not in (1, 2) or predicted.shape[1:] != y.shape[-1:] or y.shape[:-1] not in ((), (members,)):
        msg = (
            f"The operator gives values of shape {tuple(predicted.shape)} for one member, and y has shape "
            f"{tuple(y.shape)}; expected (1, n) of the operator, and (n,) or ({members}, n) of y."
        )
        raise OptionError(msg)
    covariance = error_covariance(cov_y)
    require_representable(y, predicted, None if isinstance(cov_y, Covariance) else torch.as_tensor(cov_y))
    observed = Observed(y, A, covariance)
    z = draw(denoiser, x, noise, observed, options, t=t, warm=start is not None)
    if not bool(torch.isfinite(z).any()):
        first = torch.ones((), device=y.device, dtype=y.dtype) if t is None else t[0].to(y)
        _require_finite(denoiser, observed, GUIDANCE.instance(options.guidance), x, first)
    return z


def _require_finite(denoiser: Denoiser, observed: Observed, guidance: Guidance, x: Tensor, t: Tensor) -> None:
    """Raise where the first estimate has no finite value; members that diverge later are left as they are."""
    with torch.no_grad():
        plain = denoiser(x, t).mean
        guided = GuidedDenoiser(denoiser, observed, guidance)(x, t).mean
    for part, mean in ((denoiser, plain), (guidance, guided)):
        if not bool(torch.isfinite(mean).any()):
            msg = (
                f"{type(part).__name__} makes no value that is finite of states of pure noise, which are: no member "
                "has one. Call it on such states, and look at what it returns."
            )
            raise OptionError(msg)

"""Draw from the posterior: a denoiser, observations, their operator and their error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from azula.linalg.covariance import Covariance, DiagonalCovariance, IsotropicCovariance
from torch import Tensor

from xslams.errors import OptionError
from xslams.inference.guidance import DPS, MMPS, SDA, guide
from xslams.inference.samplers import GeneratorNoise, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from azula.denoise import Denoiser

__all__ = ["error_covariance", "sample_posterior"]


def error_covariance(cov_y: Covariance | Tensor | float) -> Covariance:
    """Covariance of observation errors from itself, from variances, or from one variance.

    Raises
    ------
    OptionError
        If a variance is not positive.
    """
    if isinstance(cov_y, Covariance):
        return cov_y
    variance = torch.as_tensor(cov_y)
    if not bool((variance > 0).all()):
        msg = f"Error variances must be positive; got a smallest value of {float(variance.min())}."
        raise OptionError(msg)
    return DiagonalCovariance(variance) if variance.ndim else IsotropicCovariance(variance)


def sample_posterior(
    denoiser: Denoiser,
    y: Tensor,
    A: Callable[[Tensor], Tensor],
    cov_y: Covariance | Tensor | float,
    *,
    shape: Sequence[int],
    members: int,
    steps: int = 32,
    guidance: str | MMPS | SDA | DPS = "mmps",
    sampler: str = "auto",
    corrections: int = 0,
    generator: torch.Generator | None = None,
    t: Tensor | None = None,
    start: Tensor | None = None,
    antithetic: bool = False,
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
        ``linearize``. For several sources at once see `xslams.inference.sources.Sources`.
    cov_y
        Error covariance: azula Covariance, or variances of shape ``(n,)``, or one variance.
    shape
        Shape of the state.
    members
        Number of members.
    steps
        Network calls per member, without corrections.
    guidance
        ``"mmps"``, ``"sda"`` or ``"dps"``, or one of them with options: ``MMPS(iterations=3)``.
    sampler
        One of `xslams.inference.samplers.SAMPLERS`.
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
        If a name is unknown, a variance is not positive, shapes disagree, or there is a `start` without `t`.

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
    noise = GeneratorNoise((members, *shape), generator, y, antithetic=antithetic)
    if start is not None and (t is None or start.shape != (members, *shape)):
        msg = f"start needs times t that begin where its noise is, and the shape {(members, *shape)}; got "
        msg += f"t={None if t is None else tuple(t.shape)} and the shape {tuple(start.shape)}."
        raise OptionError(msg)
    alpha, sigma = denoiser.schedule(torch.ones((), device=y.device, dtype=y.dtype) if t is None else t[0].to(y))
    x = sigma * noise(0) if start is None else alpha * start + sigma * noise(0)
    predicted = A(x[:1])
    if y.ndim not in (1, 2) or predicted.shape[1:] != y.shape[-1:] or y.shape[:-1] not in ((), (members,)):
        msg = (
            f"The operator gives {tuple(predicted.shape[1:])} per member, but y has shape {tuple(y.shape)}; expected "
            f"(n,) or ({members}, n)."
        )
        raise OptionError(msg)
    guided = guide(denoiser, y, A, error_covariance(cov_y), guidance)
    return sample(guided, x, noise, sampler=sampler, steps=steps, corrections=corrections, t=t, warm=start is not None)

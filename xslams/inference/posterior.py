"""Draw from the posterior: a denoiser, observations, their operator and their error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from azula.linalg.covariance import Covariance, DiagonalCovariance, IsotropicCovariance
from torch import Tensor

from xslams.errors import SlamsError
from xslams.inference.guidance import guide
from xslams.inference.samplers import GeneratorNoise, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from azula.denoise import Denoiser

__all__ = ["error_covariance", "sample_posterior"]


def error_covariance(cov_y: Covariance | Tensor | float) -> Covariance:
    """Covariance of observation errors from itself, from variances, or from one variance.

    Raises
    ------
    SlamsError
        If a variance is not positive.
    """
    if isinstance(cov_y, Covariance):
        return cov_y
    variance = torch.as_tensor(cov_y)
    if not bool((variance > 0).all()):
        msg = f"Error variances must be positive; got a smallest value of {float(variance.min())}."
        raise SlamsError(msg)
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
    guidance: str = "mmps",
    sampler: str = "auto",
    corrections: int = 0,
    generator: torch.Generator | None = None,
    t: Tensor | None = None,
) -> Tensor:
    """Draw members from the posterior of a diffusion prior given observations.

    Parameters
    ----------
    denoiser
        Denoiser of the prior (azula), whose schedule maps times in [0, 1] to signal and noise scales.
    y
        Observations, shape ``(n,)``.
    A
        Observation operator, from ``(members, *shape)`` to ``(members, n)``; differentiable.
    cov_y
        Error covariance: azula Covariance, or variances of shape ``(n,)``, or one variance.
    shape
        Shape of the state.
    members
        Number of members.
    steps
        Network calls per member.
    guidance
        ``"mmps"``, ``"sda"`` or ``"dps"``.
    sampler
        One of `xslams.inference.samplers.SAMPLERS`.
    corrections
        Langevin corrections per step, one more call each.
    generator
        Source of randomness; torch's global generator by default.
    t
        Times from 1 to 0, shape ``(steps + 1,)``; by default uniform in time.

    Returns
    -------
    Tensor
        Members, shape ``(members, *shape)``.

    Raises
    ------
    SlamsError
        If a name is unknown, a variance is not positive, or shapes disagree.

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
    noise = GeneratorNoise((members, *shape), generator, y)
    _, sigma = denoiser.schedule(torch.ones((), device=y.device, dtype=y.dtype) if t is None else t[0])
    x = sigma * noise(0)
    predicted = A(x[:1])
    if predicted.shape[1:] != y.shape:
        msg = f"The operator gives {tuple(predicted.shape[1:])} per member, but y has shape {tuple(y.shape)}."
        raise SlamsError(msg)
    guided = guide(denoiser, y, A, error_covariance(cov_y), guidance)
    return sample(guided, x, noise, sampler=sampler, steps=steps, corrections=corrections, t=t)

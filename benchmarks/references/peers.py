"""Samplers of others on the networks of this package: that of SDA, from a clone of its repository, and azula's MMPS.

Both differentiate an estimate of clean states. There are two of them for each model: the network alone, differentiated
as the authors do, and the whole denoiser of this package, whose derivative is the covariance that it knows itself (by
Tweedie's formula). Nothing of SDA's code is here: `load_sda` imports it from where the user has cloned it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import azula.sample
import torch
from azula.denoise import Denoiser, DiracPosterior, GaussianDenoiser
from azula.guidance import MMPSDenoiser
from azula.linalg.covariance import Covariance, DiagonalCovariance
from azula.noise import Schedule, VESchedule
from torch import Tensor, nn

from xslams.inference.noise_levels import time_at
from xslams.priors.latent_denoiser import TrajectoryDenoiser
from xslams.priors.markov_denoiser import MarkovDenoiser

__all__ = [
    "SDA_REPOSITORY",
    "Estimate",
    "NoiseEstimate",
    "check_sda",
    "load_sda",
    "of_denoiser",
    "of_network",
    "sample_azula",
    "sample_sda",
]

SDA_REPOSITORY = "https://github.com/francois-rozet/sda"

#: Clean states given ``z + ratio noise`` and the ratio; differentiable.
Estimate = Callable[[Tensor, Tensor], Tensor]


def of_network(denoiser: Denoiser) -> Estimate:
    """Return the estimate of the network of a model, to be differentiated as it is.

    For a Markov process without the steps of Gauss and Newton, which are not differentiable; the network was trained
    at all noise levels. For the gridded models with the Gaussian prior that it corrects.
    """
    if isinstance(denoiser, MarkovDenoiser):
        filters = denoiser.networks.filters

        def estimate(z: Tensor, ratio: Tensor) -> Tensor:
            return filters(z.flatten(3), ratio.to(z).expand(len(z))).mean.reshape(z.shape)

    else:

        def estimate(z: Tensor, ratio: Tensor) -> Tensor:
            return denoiser(z, _time(denoiser, ratio)).mean

    return _in_range(estimate, denoiser)


def of_denoiser(denoiser: TrajectoryDenoiser | MarkovDenoiser) -> Estimate:
    """Return the estimate of the whole denoiser of a model; its derivative is the covariance that the model knows."""

    def estimate(z: Tensor, ratio: Tensor) -> Tensor:
        return _Known.apply(z, denoiser, ratio)

    return _in_range(estimate, denoiser)


def _time(denoiser: Denoiser, ratio: Tensor) -> Tensor:
    """Time at which a denoiser with signals of unit scale has this noise."""
    return time_at(denoiser.schedule, ratio).float()


class _Known(torch.autograd.Function):
    """Mean of a denoiser, whose derivative is its covariance over the variance of the noise."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, denoiser: TrajectoryDenoiser | MarkovDenoiser, ratio: Tensor) -> Tensor:
        posterior = denoiser(z, _time(denoiser, ratio))
        ctx.posterior, ctx.ratio = posterior, ratio
        return posterior.mean.clone()

    @staticmethod
    def backward(ctx: Any, *v: Tensor) -> tuple[Tensor, None, None]:
        return ctx.posterior.covariance(v[0]) / ctx.ratio**2, None, None


def _in_range(estimate: Estimate, denoiser: Denoiser) -> Estimate:
    """Move noise levels outside of those of training to their ends, with the noisy states scaled to fit."""
    ends = denoiser.schedule(torch.tensor([0.0, 1.0]))
    low, high = (ends[1] / ends[0]).tolist()

    def within(z: Tensor, ratio: Tensor) -> Tensor:
        return estimate(z * (high / ratio).clamp(max=1.0), ratio.clamp(low, high))

    return within


class _OfEstimate(Denoiser):
    """An estimate as a denoiser of azula."""

    def __init__(self, estimate: Estimate, schedule: Schedule) -> None:
        super().__init__()
        self.estimate, self.schedule = estimate, schedule

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        """Estimate clean states."""
        alpha, sigma = self.schedule(t)
        return DiracPosterior(self.estimate(x_t / alpha, sigma / alpha))


def sample_azula(
    estimate: Estimate,
    schedule: Schedule,
    shape: tuple[int, ...],
    y: Tensor,
    A: Callable[[Tensor], Tensor],
    cov_y: Covariance,
    *,
    sampler: str,
    steps: int,
    seed: int,
    **options: Any,
) -> Tensor:
    """Draw members by azula's MMPS and one of its samplers.

    Parameters
    ----------
    estimate, schedule
        Of the model.
    shape
        Of a state.
    y, A, cov_y
        Observations, shape ``(members, n)``, their operator and error covariance.
    sampler, steps
        Name in `azula.sample`, and number of steps.
    seed
        Seed of torch's generator.
    **options
        Of `azula.guidance.MMPSDenoiser`.
    """
    guided = MMPSDenoiser(_OfEstimate(estimate, schedule), y, A, cov_y, **options)
    method = getattr(azula.sample, sampler)(guided, steps=steps, silent=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        z: Tensor = method(method.init((len(y), *shape)))
    return z


def load_sda(clone: Path) -> ModuleType:
    """Import ``sda/score.py`` of a clone of SDA's repository, without the rest of its package and what that needs.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModuleNotFoundError
        If zuko, which it needs, is not installed.
    """
    folder = clone / "sda"
    if not (folder / "score.py").is_file():
        msg = f"{clone} is no clone of SDA: it has no sda/score.py. Clone {SDA_REPOSITORY} and give its path."
        raise FileNotFoundError(msg)
    # A package of another name, because the one in the clone imports jax, POT and h5py.
    package = ModuleType("sda_clone")
    package.__path__ = [str(folder)]
    sys.modules["sda_clone"] = package
    score = importlib.import_module("sda_clone.score")
    score.tqdm = lambda steps, **_: steps  # no progress bars within a table
    return score


class NoiseEstimate(nn.Module):
    """An estimate of clean states as the estimate of noise that SDA's code asks for.

    Parameters
    ----------
    estimate
        Of the model.

    Attributes
    ----------
    sde
        Their noise schedule, with methods ``mu`` and ``sigma``; it is made with this module, and set afterwards.
    """

    def __init__(self, estimate: Estimate) -> None:
        super().__init__()
        self.estimate = estimate
        self._sde: list[Any] = []

    def schedule(self, sde: Any) -> None:
        """Set the schedule; it holds this module, so that it must not become a part of it."""
        self._sde = [sde]

    def forward(self, x: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """Estimate the noise in ``x = mu z + sigma noise``."""
        (sde,) = self._sde
        mu, sigma = sde.mu(t), sde.sigma(t)
        return (x - mu * self.estimate(x / mu, sigma / mu)) / sigma


def sample_sda(
    sda: ModuleType,
    estimate: Estimate,
    shape: tuple[int, ...],
    y: Tensor,
    A: Callable[[Tensor], Tensor],
    std: float,
    *,
    steps: int,
    corrections: int,
    seed: int,
    gamma: float = 3e-2,
    tau: float = 0.25,
) -> Tensor:
    """Draw members by SDA's sampler and guidance, with the constants of its experiments by default.

    Parameters
    ----------
    sda
        From `load_sda`.
    estimate
        Of the model.
    shape
        Of a state.
    y, A, std
        Observations, shape ``(members, n)``, their operator and standard error.
    steps, corrections
        Steps, and Langevin corrections per step.
    seed
        Seed of torch's generator.
    gamma, tau
        Variance of the estimate over that of the noise, and length of Langevin steps.
    """
    noise = NoiseEstimate(estimate)
    prior = sda.VPSDE(noise, shape=())
    noise.schedule(prior)
    posterior = sda.VPSDE(sda.GaussianScore(y, A=A, std=std, sde=prior, gamma=gamma), shape=shape)
    return _sampled(posterior, len(y), steps=steps, corrections=corrections, tau=tau, seed=seed)


def _sampled(sde: Any, members: int, *, seed: int, **options: Any) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        z: Tensor = sde.sample((members,), **options)
    return z.detach()


def check_sda(sda: ModuleType, *, steps: int = 256, members: int = 4096) -> tuple[float, float]:
    """Sample a Gaussian posterior that is known, to see that networks are handed to SDA's code as it expects.

    Two independent variables with standard deviations 1 and 1/2, the first observed as 1 with an error of 1/2. At
    every step gamma is the value for which SDA's guidance is exact here.

    Returns
    -------
    tuple
        Largest error of the mean in standard deviations, and largest relative error of the standard deviation.
    """
    spread, error, mean = torch.tensor([1.0, 0.5]), 0.5, torch.tensor([0.3, -1.0])
    prior = GaussianDenoiser(mean, DiagonalCovariance(spread.square()), VESchedule(1e-3, 1e3))
    noise = NoiseEstimate(lambda z, ratio: prior(z, _time(prior, ratio)).mean)
    sde = sda.VPSDE(noise, shape=())
    noise.schedule(sde)
    guided = sda.GaussianScore(torch.ones(members, 1), A=lambda z: z[:, :1], std=error, sde=sde)

    class Exact(nn.Module):
        def forward(self, x: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
            mu, sigma = sde.mu(t), sde.sigma(t)
            guided.gamma = mu**2 / (mu**2 + sigma**2)
            return guided(x, t)

    z = _sampled(sda.VPSDE(Exact(), shape=(2,)), members, steps=steps, corrections=0, tau=0.25, seed=0)
    gain = 1 / (1 + error**2)
    right = torch.tensor([0.3 + gain * 0.7, -1.0]), torch.tensor([(1 - gain) ** 0.5, 0.5])
    offset = ((z.mean(0) - right[0]) / right[1]).abs().max()
    return float(offset), float((z.std(0) / right[1] - 1).abs().max())

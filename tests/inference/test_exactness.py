"""Posterior samples against posteriors that are known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior, GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance, IsotropicCovariance
from azula.noise import CosineSchedule, RectifiedSchedule, Schedule, VESchedule, VPSchedule
from torch import Tensor

from tests.problems.posteriors import (
    GAUSSIANS,
    SCHEDULE,
    GaussianProblem,
    MixtureDenoiser,
    UnitNoise,
    distance_over_floor,
    gaussian,
    mixture,
    moments,
    projected,
    sliced_wasserstein,
)
from xslams.errors import OptionError
from xslams.inference import sample_posterior
from xslams.inference.guidance import MMPS, guide
from xslams.inference.noise_levels import time_at
from xslams.inference.samplers import sample

MEMBERS = 4096


class Counted(Denoiser):
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.schedule, self.calls = denoiser, denoiser.schedule, 0

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        self.calls += 1
        return self.denoiser(x_t, t, **kwargs)


def exact_errors(problem: GaussianProblem, schedule: Schedule = SCHEDULE, draws: int = 1, **options) -> dict:
    """Errors of a sampler without sampling error, the linear system being solved exactly."""
    noise = UnitNoise(problem.size, draws)
    guided = guide(problem.denoiser(schedule), problem.y, problem.observe, problem.error, MMPS(tolerance=1e-6))
    _, sigma = schedule(torch.ones((), dtype=torch.float64))
    return problem.errors(*moments(sample(guided, sigma * noise(0), noise, **options)))


@pytest.mark.parametrize("name", GAUSSIANS)
def test_gaussian_posteriors_without_sampling_error(name: str) -> None:
    found = exact_errors(gaussian(**GAUSSIANS[name], dtype=torch.float64))
    # 0.05 posterior deviations, 3 % and 10 % are asked for.
    assert found["mean"] < 0.001
    assert found["std"] < 0.004
    assert found["covariance"] < 0.002


@pytest.mark.parametrize("name", GAUSSIANS)
def test_gaussian_posteriors_at_the_defaults(name: str) -> None:
    problem = gaussian(**GAUSSIANS[name])
    denoiser = Counted(problem.denoiser())
    z = sample_posterior(
        denoiser, problem.y, problem.observe, problem.error, shape=(problem.size,), members=MEMBERS,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert denoiser.calls <= 64
    mean = (z.mean(0) - problem.mean) / problem.std
    std = z.std(0) / problem.std - 1
    # The sampling error of a mean is 1/64 of a deviation, that of a deviation 1.1 %: at most four times that anywhere,
    # and much less when pooled over elements.
    assert mean.abs().max() < 0.05 + 4 / MEMBERS**0.5
    assert mean.square().mean().sqrt() < 0.05
    assert std.abs().max() < 0.03 + 4 / (2 * MEMBERS) ** 0.5
    assert std.mean().abs() < 0.02
    # That of a covariance is ((tr P)^2 + tr P^2) / M in square.
    exact = problem.covariance
    floor = (exact.trace() ** 2 + exact.square().sum()) / MEMBERS
    distance = (torch.cov(z.T) - exact).square().sum()
    assert distance < 0.10**2 * exact.square().sum() + 1.5 * floor


@pytest.mark.parametrize(
    "schedule",
    [VESchedule(1e-3, 1e3), CosineSchedule(1e-2, 1e-2), VPSchedule(1e-2, 1e-2), RectifiedSchedule(1e-2, 1e-2)],
)
def test_every_schedule_serves(schedule: Schedule) -> None:
    found = exact_errors(gaussian(16, 6, dtype=torch.float64), schedule)
    assert found["mean"] < 0.001
    assert found["std"] < 0.005


@pytest.mark.parametrize("mean", [-20.0, 5.0])
def test_a_prior_far_from_zero_is_found(mean: float) -> None:
    variances = torch.tensor([4.0, 400.0], dtype=torch.float64)
    prior = GaussianDenoiser(torch.full_like(variances, mean), DiagonalCovariance(variances), SCHEDULE)
    noise = UnitNoise(2)
    guided = guide(prior, torch.tensor([mean]).double(), lambda z: z[:, :1], IsotropicCovariance(1.0))
    found, covariance = moments(sample(guided, 100 * noise(0), noise))
    std = torch.tensor([0.8**0.5, 20.0])
    # Without the first step to the start, the mean would be off by 0.2 of these, and the wide one would lose 2 %.
    assert ((found - mean) / std).abs().max() < 0.01
    assert (covariance.diagonal().sqrt() / std - 1).abs().max() < 0.004


@pytest.mark.parametrize("corrections", [1, 2, 3])
def test_corrections_keep_gaussian_posteriors(corrections: int) -> None:
    problem = gaussian(16, 6, "ar", operator="sparse", errors="different", error=0.2, dtype=torch.float64)
    found = exact_errors(problem, draws=32 * 4, steps=32, corrections=corrections)
    assert found["mean"] < 0.001
    # DDIM steps instead of compensated ones lose 3 to 4 %.
    assert found["std"] < 0.012
    assert found["covariance"] < 0.025


@pytest.mark.parametrize("corrections", [0, 2])
def test_members_may_be_where_sampling_starts(corrections: int) -> None:
    # Draws from another posterior, of which the noise at the start leaves hardly anything.
    problem, other = (gaussian(16, 6, "flat", error=0.5, seed=seed, dtype=torch.float64) for seed in (0, 1))
    generator = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(other.covariance)
    start = other.mean + torch.randn(MEMBERS, 16, generator=generator, dtype=torch.float64) @ root.T
    t = time_at(SCHEDULE, torch.as_tensor(np.geomspace(40.0, 0.01, 28)))
    z = sample_posterior(
        problem.denoiser(), problem.y, problem.observe, problem.error, shape=(16,), members=MEMBERS, t=t, start=start,
        corrections=corrections, generator=generator,
    )  # fmt: skip
    found = problem.errors(z.mean(0), torch.cov(z.T))
    assert found["mean"] < 0.1
    assert found["std"] < 0.06
    assert problem.errors(start.mean(0), torch.cov(start.T))["mean"] > 1
    with pytest.raises(OptionError, match="start needs times"):
        sample_posterior(
            problem.denoiser(), problem.y, problem.observe, problem.error, shape=(16,), members=MEMBERS, start=start
        )


def test_mixtures_need_corrections() -> None:
    problem = mixture(0.5, 1)
    # Mean and covariance of the prior are not enough.
    linear = problem.prior.gaussian().given(problem.y, problem.operator, problem.error)
    assert distance_over_floor(linear.draw(MEMBERS, torch.Generator().manual_seed(2)), problem.posterior) > 4

    def distance(**options) -> float:
        z = sample_posterior(
            MixtureDenoiser(problem.prior), problem.y, problem.observe, problem.error**2, shape=(8,), members=MEMBERS,
            generator=torch.Generator().manual_seed(1), **options,
        )  # fmt: skip
        return distance_over_floor(z, problem.posterior)

    assert distance() > 2
    assert distance(corrections=3) < 1.5


NONLINEAR: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "exponential": (lambda z: torch.exp(z[:, :1] + z[:, 1:] / 2), 3.0, 0.5),
    "product": (lambda z: z[:, :1] * z[:, 1:] + z[:, :1], 1.5, 0.3),
    "ring": (lambda z: torch.sqrt(z.square().sum(-1, keepdim=True) + 1e-6), 1.5, 0.1),
}


@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear_operators(name: str) -> None:
    operator, value, error = NONLINEAR[name]
    prior = GaussianDenoiser(torch.zeros(2), DiagonalCovariance(torch.ones(2)), SCHEDULE)
    generator = torch.Generator().manual_seed(3)
    axis = torch.linspace(-5, 5, 801)
    grid = torch.cartesian_prod(axis, axis)
    density = torch.exp(-grid.square().sum(-1) / 2 - ((operator(grid)[:, 0] - value) / error) ** 2 / 2)

    def exact() -> Tensor:
        where = torch.multinomial(density, MEMBERS, replacement=True, generator=generator)
        return grid[where] + (torch.rand(MEMBERS, 2, generator=generator) - 0.5) * (axis[1] - axis[0])

    draws = [projected(exact()) for _ in range(8)]
    floor = sum(sliced_wasserstein(a, b) for a, b in zip(draws[::2], draws[1::2], strict=True)) / 4

    def distance(**options) -> float:
        z = sample_posterior(
            prior, torch.tensor([value]), operator, error**2, shape=(2,), members=MEMBERS,
            generator=torch.Generator().manual_seed(1), **options,
        )  # fmt: skip
        own = projected(z)
        return sum(sliced_wasserstein(own, d) for d in draws[::2]) / 4 / floor

    uncorrected = distance()
    corrected = distance(steps=64, corrections=3)
    assert corrected < 1.8
    assert corrected < 0.5 * uncorrected


def test_the_floor_is_one() -> None:
    # What the distances above are measured by.
    posterior = mixture().posterior
    ratio = distance_over_floor(posterior.draw(MEMBERS, torch.Generator().manual_seed(7)), posterior)
    assert 0.75 < ratio < 1.25
    shifted = posterior.draw(MEMBERS, torch.Generator().manual_seed(7)) + 0.1 / math.sqrt(8)
    assert distance_over_floor(shifted, posterior) > 1.25

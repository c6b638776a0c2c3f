"""Samplers: their order, azula's as reference, their calls, members that do not depend on each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior, GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance
from azula.noise import CosineSchedule, Schedule, VESchedule
from azula.sample import DDIMSampler, HeunSampler, xEABSampler, zABSampler
from azula.sample import Sampler as AzulaSampler
from torch import Tensor

from tests.problems.posteriors import SCHEDULE, UnitNoise, gaussian, moments
from xslams.errors import OptionError
from xslams.inference import sample_posterior
from xslams.inference.guidance import GUIDANCE, MMPS, guide
from xslams.inference.noise import GeneratorNoise
from xslams.inference.noise_levels import GRIDS, time_grid
from xslams.inference.samplers import SAMPLERS, Run, Sampler, Step, StepSampler, UniPC, sample
from xslams.typing import GuidanceName, SamplerName

PROBLEM = gaussian(12, 5, "ar", operator="sparse", error=0.2, dtype=torch.float64)


def std_error(**options) -> float:
    noise = UnitNoise(PROBLEM.size, options.pop("draws", 1))
    guided = guide(PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, PROBLEM.error, MMPS(tolerance=1e-9))
    z = sample(guided, 100 * noise(0), noise, **options)
    return PROBLEM.errors(*moments(z))["std"]


@pytest.mark.parametrize(
    ("sampler", "order"), [("ddim", 1), ("ddpm", 1), ("heun", 2), ("ab2", 2), ("dpmpp2m", 2), ("unipc", 3)]
)
def test_error_falls_with_the_order(sampler: str, order: int) -> None:
    # Twice the steps; Heun's method has two calls in each.
    few, many = (25, 49) if sampler != "heun" else (49, 97)
    draws = many + 1 if sampler == "ddpm" else 1
    ratio = std_error(sampler=sampler, steps=few, draws=draws) / std_error(sampler=sampler, steps=many, draws=draws)
    assert ratio > 2 ** (order - 0.3)


def test_auto_has_the_smallest_error() -> None:
    errors = {name: std_error(sampler=name, steps=20, draws=21) for name in SAMPLERS}
    best = errors.pop("auto")
    assert best == errors.pop("unipc")
    assert best < 0.01
    assert best < 0.2 * min(errors.values())


@pytest.mark.parametrize(
    ("sampler", "reference", "options"),
    [
        ("ddim", DDIMSampler, {}),
        ("heun", HeunSampler, {}),
        ("ab2", zABSampler, {"order": 2}),
        ("dpmpp2m", xEABSampler, {"order": 2}),
    ],
)
@pytest.mark.parametrize("schedule", [VESchedule(1e-5, 1e5), CosineSchedule(1e-5, 1e-5)])
def test_solvers_are_azulas_between_the_ends(
    sampler: str, reference: type[AzulaSampler], options: dict, schedule: Schedule
) -> None:
    # With so wide a schedule there is nothing to do at its ends.
    cov = DiagonalCovariance(torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64))
    denoiser = GaussianDenoiser(torch.zeros(3, dtype=torch.float64), cov, schedule)
    t = time_grid(schedule, 40)
    x = schedule(t[0])[1] * torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Timed(reference):
        timesteps = t

    expected = Timed(denoiser, silent=True, **options)(x)
    torch.testing.assert_close(sample(denoiser, x, None, sampler=sampler, t=t), expected, rtol=1e-3, atol=1e-4)


class Counted(Denoiser):
    """Denoiser of a standard normal variable that remembers at which times it was called."""

    schedule = SCHEDULE

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        self.times.append(float(t))
        alpha, sigma = self.schedule(t)
        return DiracPosterior(mean=alpha / (alpha**2 + sigma**2) * x_t)


@pytest.mark.parametrize("sampler", SAMPLERS.names)
@pytest.mark.parametrize("corrections", [0, 2])
def test_calls_are_as_many_as_promised(sampler: str, corrections: int) -> None:
    denoiser = Counted()
    noise = GeneratorNoise((8, 3), torch.Generator().manual_seed(0), torch.zeros(1))
    z = sample(denoiser, 100 * noise(0), noise, sampler=sampler, steps=33, corrections=corrections)
    assert torch.isfinite(z).all()
    if sampler == "heun":
        assert len(denoiser.times) == 33 + 15 * corrections
    else:
        assert len(denoiser.times) == 33 + 31 * corrections
    assert denoiser.times == sorted(denoiser.times, reverse=True)


@pytest.mark.parametrize("sampler", SAMPLERS.names)
def test_a_standard_normal_variable_stays_one(sampler: str) -> None:
    noise = GeneratorNoise((20000, 1), torch.Generator().manual_seed(0), torch.zeros(1))
    z = sample(Counted(), 100 * noise(0), noise, sampler=sampler, steps=129)
    # The sampling error is 0.005; first-order solvers lose 2 to 4 %.
    assert abs(float(z.std()) - 1) < 0.055
    assert abs(float(z.mean())) < 0.03


def test_the_last_noise_is_taken_away() -> None:
    # The schedule ends at half of the standard deviation of the data: left as it is, spread would be 12 % too large.
    prior = GaussianDenoiser(torch.zeros(1), DiagonalCovariance(torch.tensor([0.04])), VESchedule(0.1, 10.0))
    noise = UnitNoise(1)
    for sampler in SAMPLERS:
        if sampler != "ddpm":
            _, cov = moments(sample(prior, 10 * noise(0).float(), noise, sampler=sampler, steps=65).double())
            assert abs(float(cov.sqrt()) / 0.2 - 1) < 0.03, sampler


def test_times_may_be_given() -> None:
    denoiser = Counted()
    t = torch.tensor([1.0, 0.6, 0.3, 0.0])
    sample(denoiser, torch.full((1, 1), 100.0), None, t=t)
    torch.testing.assert_close(torch.tensor(denoiser.times), torch.tensor([1.0, 1.0, 0.6, 0.3]))


def test_bad_options_are_named() -> None:
    x = torch.ones(1, 1)
    with pytest.raises(OptionError, match="sampler 'magic'"):
        sample(Counted(), x, None, sampler="magic")
    with pytest.raises(OptionError, match=r"sampler=UniPC; expected a name or an instance, such as UniPC\(\)"):
        sample(Counted(), x, None, sampler=UniPC)
    with pytest.raises(OptionError, match="steps=0; expected"):
        sample(Counted(), x, None, steps=0)
    with pytest.raises(OptionError, match="corrections=-1; expected"):
        sample(Counted(), x, None, steps=8, corrections=-1)
    with pytest.raises(OptionError, match=r"shape \(1,\)"):
        sample(Counted(), x, None, t=torch.ones(1))


@dataclass(frozen=True)
class Midpoint(StepSampler):
    """A toy of the user: the midpoint rule in the noise level, with two calls per step."""

    def intervals(self, steps: int) -> int:
        return (steps - 1) // 2

    def stepper(self, run: Run) -> Step:
        def step(x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
            level, slope = run.levels[i], (x - mean) / run.levels[i]
            # The slope at half the way, from the estimate at the next level.
            guess = x + (run.levels[i + 1] - level) * slope
            after = (guess - run.estimate(guess, i + 1)) / run.levels[i + 1]
            return x + (target - level) * (slope + after) / 2, slope

        return step


@dataclass(frozen=True)
class OnePass(Sampler):
    """A toy of the user that takes the estimate of the first level for the truth."""

    share: float = 1.0

    def sample(self, run: Run, x: Tensor) -> Tensor:
        return self.share * run.estimate(run.scaled(x), 0)


@pytest.fixture
def toys() -> Iterator[None]:
    SAMPLERS.register("midpoint")(Midpoint)
    SAMPLERS.register("one-pass")(OnePass)
    yield
    SAMPLERS.unregister("midpoint")
    SAMPLERS.unregister("one-pass")


@pytest.mark.usefixtures("toys")
def test_samplers_from_outside_of_the_package() -> None:
    assert SAMPLERS.names[-2:] == ("midpoint", "one-pass")

    def draw(**options) -> Tensor:
        return sample_posterior(
            PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, PROBLEM.error, shape=(PROBLEM.size,), members=64,
            antithetic=True, generator=torch.Generator().manual_seed(0), **options,
        )  # fmt: skip

    assert torch.equal(draw(sampler="midpoint"), draw(sampler=Midpoint()))
    for options in ({}, {"corrections": 2}):
        z = draw(sampler="midpoint", steps=65, **options)
        assert ((z.mean(0) - PROBLEM.mean) / PROBLEM.std).square().mean().sqrt() < 0.1
        assert (z.std(0) / PROBLEM.std - 1).mean().abs() < 0.2
    z = draw(sampler="one-pass")
    assert ((z.mean(0) - PROBLEM.mean) / PROBLEM.std).square().mean().sqrt() < 0.05
    torch.testing.assert_close(draw(sampler=OnePass(share=0.5)), z / 2)


# Members.


@pytest.mark.parametrize("options", [{}, {"sampler": "ddpm"}, {"steps": 16, "corrections": 2}])
def test_antithetic_pairs_have_the_exact_mean_of_a_gaussian(options: dict) -> None:
    problem = gaussian(16, 6)

    def draw(members: int, *, antithetic: bool) -> Tensor:
        return sample_posterior(
            problem.denoiser(), problem.y, problem.observe, problem.error, shape=(16,), members=members,
            antithetic=antithetic, generator=torch.Generator().manual_seed(1), **options,
        )  # fmt: skip

    def mean_error(z: Tensor) -> float:
        return float(((z.mean(0) - problem.mean) / problem.std).square().mean().sqrt())

    assert mean_error(draw(8, antithetic=True)) < 0.02
    assert mean_error(draw(8, antithetic=False)) > 0.2  # expected: 8 ** -0.5
    # Every member is a draw: odd and even ones alone have the right mean and spread.
    z = draw(8192, antithetic=True)
    slack = 0.1 if options.get("sampler") == "ddpm" else 0.0  # DDPM loses spread by itself
    for part in (z[::2], z[1::2]):
        assert mean_error(part) < 0.05
        assert (part.std(0) / problem.std - 1).abs().max() < 0.05 + slack
    # A pair lies opposite to each other, so with the mean known the square deviations divide by the number of members.
    torch.testing.assert_close(z[::2] + z[1::2], 2 * problem.mean.expand(4096, -1), atol=0.05, rtol=0)


def test_same_generator_same_members_and_the_global_one_is_untouched() -> None:
    prior = GaussianDenoiser(torch.zeros(2), DiagonalCovariance(torch.ones(2)), SCHEDULE)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for options in ({"sampler": "ddpm"}, {"corrections": 1}, {}):
        draws = [
            sample_posterior(
                prior, torch.ones(2), lambda x: x, 1.0, shape=(2,), members=3, steps=8,
                generator=torch.Generator().manual_seed(7), **options,
            )
            for _ in range(2)
        ]  # fmt: skip
        assert torch.equal(*draws)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "options", [{}, {"sampler": "heun"}, {"corrections": 1}, {"guidance": "sda"}, {"guidance": "dps"}]
)
def test_a_member_does_not_depend_on_the_others(options: dict) -> None:
    problem = gaussian(16, 6)

    class Scaled:
        """Noise of which all members but the first are another's."""

        def __init__(self, factor: float) -> None:
            self.factor = factor

        def __call__(self, draw: int) -> Tensor:
            noise = torch.randn(4, 16, generator=torch.Generator().manual_seed(draw))
            return torch.cat([noise[:1], self.factor * noise[1:]])

    results = []
    for factor in (1.0, -0.3):
        settings = {"guidance": "mmps"} | options
        guided = guide(
            problem.denoiser(), problem.y, problem.observe, problem.error, settings.pop("guidance")
        )  # fmt: skip
        noise = Scaled(factor)
        results.append(sample(guided, 100 * noise(0), noise, steps=12, **settings))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0)
    assert not torch.allclose(results[0][1:], results[1][1:])


def test_levels_need_not_be_those_of_the_default() -> None:
    noise = UnitNoise(PROBLEM.size)
    guided = guide(PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, PROBLEM.error, MMPS(tolerance=1e-9))
    for grid in GRIDS:
        z = sample(guided, 100 * noise(0), noise, t=time_grid(SCHEDULE, 128, grid))
        assert PROBLEM.errors(*moments(z))["std"] < 0.02, grid
    assert math.isclose(float(time_grid(SCHEDULE, 4, "rho", rho=1e9)[2]), 0.5, abs_tol=1e-3)


def test_types_list_what_registers_itself() -> None:
    for names, registry in ((GuidanceName, GUIDANCE), (SamplerName, SAMPLERS)):
        assert registry.shipped == get_args(names) == registry.names
        for name in registry.names:
            assert registry.instance(name) == registry[name]()

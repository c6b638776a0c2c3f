"""Solvers: their order, azula's as reference, their calls; time grids; noise that belongs to its member."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior, GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance
from azula.noise import CosineSchedule, DecaySchedule, RectifiedSchedule, Schedule, VESchedule, VPSchedule
from azula.sample import DDIMSampler, HeunSampler, Sampler, xEABSampler, zABSampler
from torch import Tensor

from tests.problems.posteriors import SCHEDULE, UnitNoise, gaussian, moments
from xslams.errors import OptionError
from xslams.inference import sample_posterior
from xslams.inference.guidance import GUIDANCE, MMPS, guide
from xslams.inference.noise import GeneratorNoise, KeyedNoise
from xslams.inference.noise_levels import GRIDS, time_at, time_grid
from xslams.inference.samplers import SAMPLERS, sample
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
    sampler: str, reference: type[Sampler], options: dict, schedule: Schedule
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
    with pytest.raises(OptionError, match="steps=0; expected"):
        sample(Counted(), x, None, steps=0)
    with pytest.raises(OptionError, match="corrections=-1; expected"):
        sample(Counted(), x, None, steps=8, corrections=-1)
    with pytest.raises(OptionError, match=r"shape \(1,\)"):
        sample(Counted(), x, None, t=torch.ones(1))
    with pytest.raises(OptionError, match="grid 'magic'"):
        time_grid(SCHEDULE, 4, "magic")
    with pytest.raises(OptionError, match="at least one step"):
        time_grid(SCHEDULE, 0)


# Time grids.

SCHEDULES = [SCHEDULE, CosineSchedule(), VPSchedule(), RectifiedSchedule(), DecaySchedule()]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("grid", GRIDS)
def test_grids_fall_from_one_to_zero(schedule: Schedule, grid: str) -> None:
    t = time_grid(schedule, 50, grid)
    assert t.shape == (51,)
    assert t[0] == 1
    assert t[-1] == 0
    assert (t.diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_grids_are_uniform_in_what_they_say(schedule: Schedule) -> None:
    maps = {"log-snr": torch.log, "cosine": torch.atan, "rho": lambda r: r ** (1 / 7)}
    for grid, function in maps.items():
        alpha, sigma = schedule(time_grid(schedule, 20, grid))
        steps = function(sigma / alpha).diff()
        torch.testing.assert_close(steps, steps.mean().expand_as(steps), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_times_invert_the_schedule(schedule: Schedule) -> None:
    t = torch.linspace(0.01, 0.99, 23, dtype=torch.float64)
    alpha, sigma = schedule(t)
    torch.testing.assert_close(time_at(schedule, sigma / alpha), t, atol=1e-9, rtol=0)


def test_cosine_grid_is_uniform_time_on_a_cosine_schedule() -> None:
    t = time_grid(CosineSchedule(1e-4, 1e-4), 16, "cosine")
    torch.testing.assert_close(t, torch.linspace(1, 0, 17, dtype=torch.float64), atol=1e-4, rtol=0)


# Noise.


def test_noise_belongs_to_member_and_time() -> None:
    noise = KeyedNoise(3, [0, 1, 2], [0, 24, -48], (2, 2))(0)
    part = KeyedNoise(3, [2], [24], (2, 2))(0)
    torch.testing.assert_close(noise[2, 1], part[0, 0])
    assert len(torch.unique(noise.reshape(9, -1), dim=0)) == 9
    assert not torch.equal(noise, KeyedNoise(3, [0, 1, 2], [0, 24, -48], (2, 2))(1))


def test_antithetic_members_have_negated_noise() -> None:
    plain = KeyedNoise(3, [0, 1], [0, 24], (2,))
    pairs = KeyedNoise(3, [0, 1, 2, 3], [0, 24], (2,), antithetic=True)
    for draw in (0, 5):
        noise = pairs(draw)
        torch.testing.assert_close(noise[1::2], -noise[::2], rtol=0, atol=0)
        # Pairs are keyed by their own number, so that they do not depend on where a batch begins.
        torch.testing.assert_close(noise[::2], plain(draw), rtol=0, atol=0)
        torch.testing.assert_close(KeyedNoise(3, [3], [24], (2,), antithetic=True)(draw)[0, 0], noise[3, 1])
    for members in (1, 4, 5):
        noise = GeneratorNoise((members, 3), torch.Generator().manual_seed(0), torch.zeros(1), antithetic=True)(0)
        assert noise.shape == (members, 3)
        torch.testing.assert_close(noise[1::2], -noise[: members // 2 * 2 : 2], rtol=0, atol=0)


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
        z = sample(guided, 100 * noise(0), noise, t=time_grid(SCHEDULE, 256, grid))
        assert PROBLEM.errors(*moments(z))["std"] < 0.02, grid
    assert math.isclose(float(time_grid(SCHEDULE, 4, "rho", rho=1e9)[2]), 0.5, abs_tol=1e-3)


def test_types_list_what_registers_itself() -> None:
    assert set(get_args(GuidanceName)) == set(GUIDANCE.names)
    assert set(get_args(SamplerName)) == set(SAMPLERS.names)

"""Samplers of others get from the benchmark what they expect: checked on Gaussians, whose posteriors are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from azula.denoise import GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance, IsotropicCovariance
from azula.noise import VESchedule
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from benchmarks.references.peers import NoiseEstimate, load_sda, of_denoiser, of_network, sample_azula
from benchmarks.reports.peers import crps
from xslams.inference import prior_of

MEAN, STD = torch.tensor([0.3, -1.0]), torch.tensor([1.0, 0.5])
GAUSSIAN = GaussianDenoiser(MEAN, DiagonalCovariance(STD.square()), VESchedule(1e-3, 1e3))


@given(mu=st.floats(1e-2, 1.0), sigma=st.floats(1e-2, 1.0))
@settings(max_examples=10, deadline=None)
def test_noise_is_that_of_the_clean_states_at_any_scale_of_the_signal(mu: float, sigma: float) -> None:
    schedule = SimpleNamespace(mu=lambda t: torch.tensor(mu), sigma=lambda t: torch.tensor(sigma))
    noise = NoiseEstimate(of_network(GAUSSIAN))
    noise.schedule(schedule)
    x = torch.tensor([[1.5, 0.2], [-3.0, 1.0]])
    # By Tweedie's formula the estimate of the noise is minus sigma times the score of the noisy states.
    expected = sigma * (x - mu * MEAN) / (mu**2 * STD**2 + sigma**2)
    torch.testing.assert_close(noise(x, torch.tensor(0.5)), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("sampler", ["DDPMSampler", "zABSampler"])
def test_azula_samples_the_posterior_of_a_gaussian(sampler: str) -> None:
    def estimate(z: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
        return MEAN + STD.square() / (STD.square() + ratio**2) * (z - MEAN)

    y = torch.ones(2048, 1)
    z = sample_azula(
        estimate, GAUSSIAN.schedule, (2,), y, lambda z: z[:, :1], IsotropicCovariance(torch.tensor(0.25)),
        sampler=sampler, steps=64, seed=0, iterations=1,
    )  # fmt: skip
    torch.testing.assert_close(z.mean(0), torch.tensor([0.3 + 0.8 * 0.7, -1.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([0.2**0.5, 0.5]), atol=0.05, rtol=0)


@pytest.mark.parametrize(("name", "frames"), [("lorenz63", 9), ("kolmogorov", 5)])
@pytest.mark.parametrize("ratio", [0.05, 5.0])
def test_estimates_are_differentiable_and_those_of_the_model(name: str, frames: int, ratio: float) -> None:
    prior = prior_of(xslams.open_model(name), frames)
    prior.denoiser.requires_grad_(False)
    z = torch.randn(2, *prior.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    v, level = torch.ones_like(z), torch.tensor(ratio)
    whole = of_denoiser(prior.denoiser)(z, level)
    (gradient,) = torch.autograd.grad(whole, z, v)
    alone = of_network(prior.denoiser)(z, level)
    (of_its_own,) = torch.autograd.grad(alone, z, v)
    t = torch.log(level / prior.denoiser.schedule.sigma_min) / np.log(
        prior.denoiser.schedule.sigma_max / prior.denoiser.schedule.sigma_min
    )
    known = prior.denoiser(z.detach(), t)
    torch.testing.assert_close(whole, known.mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(gradient, known.covariance(v) / ratio**2, rtol=1e-2, atol=1e-3)
    assert of_its_own.isfinite().all()
    assert of_its_own.abs().max() > 0
    if name == "kolmogorov":
        torch.testing.assert_close(alone, whole)


def test_levels_beyond_those_of_training_are_moved_to_their_ends() -> None:
    seen = []
    denoiser = GaussianDenoiser(MEAN, DiagonalCovariance(STD.square()), VESchedule(0.1, 10.0))
    denoiser.register_forward_pre_hook(lambda _, given: seen.append([*given[0][0].tolist(), *given[1:]]))
    for ratio in (100.0, 1.0, 0.01):
        of_network(denoiser)(torch.full((1, 2), ratio), torch.tensor(ratio))
    assert np.allclose([one[0] for one in seen], [10.0, 1.0, 0.01])
    assert np.allclose([float(one[2]) for one in seen], [1.0, 0.5, 0.0], atol=1e-5)


def test_a_folder_without_sda_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no sda/score\.py"):
        load_sda(tmp_path)


def test_crps_of_members_is_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(0)
    x, truth = rng.standard_normal((5, 7)), rng.standard_normal(7)
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1)) / (5 * 4)
    assert crps(x, truth) == pytest.approx(np.mean(np.abs(x - truth).mean(0) - pairs / 2))

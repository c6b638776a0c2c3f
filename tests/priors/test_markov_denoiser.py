"""Trajectories of small systems: learned blocks of a precision matrix, and what guidance makes of them."""

from __future__ import annotations

import pytest
import torch
from azula.noise import VESchedule
from torch import Tensor, nn

import xslams
from benchmarks.counting import counted
from tests.problems.chains import blocks_of, chain, step_of
from xslams.inference import prior_of, sample_posterior
from xslams.inference.guidance import MMPS, guide
from xslams.inference.noise_levels import time_at
from xslams.linalg.covariances import error_covariance
from xslams.networks.transition import Transition
from xslams.networks.two_filter import TrajectoryEstimate, TwoFilter
from xslams.options import SystemTrainingOptions
from xslams.priors.markov_denoiser import MarkovDenoiser
from xslams.priors.process import gauss_newton
from xslams.systems import Lorenz63
from xslams.training.trajectories import fit_trajectories


class ExactNetwork(nn.Module):
    """What a perfect network would say of a linear chain."""

    blocks = True

    def __init__(self, precision: Tensor, n: int) -> None:
        super().__init__()
        self.precision, self.n = precision, n

    def forward(self, z_t: Tensor, sigma: Tensor) -> TrajectoryEstimate:
        level = float(sigma[0])
        total = self.precision + torch.eye(len(self.precision), dtype=torch.float64) / level**2
        flat = z_t.flatten(1).double()
        mean = torch.linalg.solve(total, flat.T / level**2).T.reshape(z_t.shape).to(z_t)
        scale = sigma * torch.rsqrt(1 + sigma**2)
        diagonal, below = blocks_of(torch.linalg.cholesky(total) * float(scale[0]), self.n)
        neighbour = torch.cat([below, torch.zeros_like(below[:1])])
        repeat = (len(z_t), -1, -1, -1)
        return TrajectoryEstimate(mean, scale, diagonal.expand(*repeat).to(z_t), neighbour.expand(*repeat).to(z_t))


class LinearStep(nn.Module):
    """The transition of `chain`, exactly."""

    def __init__(self, n: int, seed: int = 0) -> None:
        super().__init__()
        self.step, self.noise, self.start, self.sites = (
            step_of(n, seed).float(),
            torch.full((n,), 0.19),
            torch.eye(n),
            1,
        )

    def linearize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z @ self.step.to(z).T, self.step.to(z).expand(*z.shape[:-1], -1, -1)


class Networks(nn.Module):
    """A denoiser's parts: which of them is used is for the test to say."""

    def __init__(self, filters: nn.Module, transition: nn.Module, refine: float = 0.0, bare: float = 0.0) -> None:
        super().__init__()
        self.filters, self.transition, self.refine, self.bare = filters, transition, refine, bare


def test_the_likelihood_is_that_of_the_gaussian() -> None:
    n, length = 3, 5
    network = ExactNetwork(chain(length, n), n)
    generator = torch.Generator().manual_seed(1)
    z, z_t = torch.randn(2, 4, length, n, 1, generator=generator).double().unbind(0)
    sigma = torch.full((4,), 0.7, dtype=torch.float64)
    estimate = network(z_t, sigma)
    total = network.precision + torch.eye(length * n) / 0.7**2
    exact = torch.distributions.MultivariateNormal(estimate.mean.flatten(1), precision_matrix=total)
    scale = float(estimate.scale[0])
    constant = n * torch.log(torch.tensor(2 * torch.pi)) / 2 + n * torch.log(torch.tensor(scale))
    expected = -exact.log_prob(z.flatten(1)) / length - constant
    assert torch.allclose(estimate.negative_log_likelihood(z), expected, atol=1e-8)


@pytest.mark.parametrize(("refine", "bare", "calls"), [(0.0, 0.0, 32), (5.0, 0.5, 19), (200.0, 200.0, 0)])
def test_a_linear_chain_gets_its_exact_posterior(refine: float, bare: float, calls: int) -> None:
    # By what the network says, by steps from its estimate, by steps from the noisy frames, and by each in its place.
    n, length = 3, 24
    precision = chain(length, n)
    networks = Networks(ExactNetwork(precision, n), LinearStep(n), refine, bare)
    denoiser = MarkovDenoiser(networks, VESchedule(0.01, 100.0))

    def observe(z: Tensor) -> Tensor:
        return z[:, ::4, 0, 0, 0]

    y = torch.tensor([1.0, -2.0, 0.5, 0.0, 1.5, -1.0])
    rows = torch.zeros(6, length * n, dtype=torch.float64)
    rows[torch.arange(6), 4 * n * torch.arange(6)] = 1
    total = precision + rows.T @ rows / 0.2**2
    covariance = torch.linalg.inv(total)
    mean = covariance @ rows.T @ y.double() / 0.2**2
    generator = torch.Generator().manual_seed(0)
    with counted(networks.filters) as count:
        z = sample_posterior(
            denoiser, y, observe, 0.2**2, shape=(length, n, 1, 1), members=2048, generator=generator
        ).flatten(1)
    # Batches of 256.
    assert count.samples == 2048 * calls
    std = covariance.diagonal().sqrt()
    # Sampling errors are 1/45 of a deviation and 1.6 %.
    assert float(((z.mean(0) - mean) / std).square().mean().sqrt()) < 0.035
    assert float((z.std(0) / std - 1).square().mean().sqrt()) < 0.03
    # The term that bounds the covariance takes a thirtieth at most where it is largest, and most of that back later.
    exact = covariance.float()
    floor = (exact.trace() ** 2 + exact.square().sum()) / 2048
    assert (torch.cov(z.T) - exact).square().sum() < 0.1**2 * exact.square().sum() + 1.5 * floor


def test_guidance_linearises_the_dynamics_up_to_the_noise_it_is_told() -> None:
    # A network of other dynamics is wrong; steps from whatever it says are right, as the chain is linear.
    n, length, level = 3, 8, 3.0
    networks = Networks(ExactNetwork(chain(length, n, seed=1), n), LinearStep(n), refine=1.0)
    y = torch.tensor([1.0, -2.0])
    noisy = torch.randn(2, length, n, 1, 1, generator=torch.Generator().manual_seed(0)) * level
    rows = torch.zeros(2, length * n, dtype=torch.float64)
    rows[torch.arange(2), 4 * n * torch.arange(2)] = 1
    total = chain(length, n) + torch.eye(length * n) / level**2 + rows.T @ rows / 0.2**2
    right = noisy.flatten(1).double() / level**2 + rows.T @ y.double() / 0.2**2
    exact = torch.linalg.solve(total, right.T).T
    errors = {}
    for limit in (None, 10.0):
        denoiser = MarkovDenoiser(networks, VESchedule(0.01, 100.0), relinearized=limit, relinearizations=1)
        guided = guide(denoiser, y, lambda z: z[:, ::4, 0, 0, 0], error_covariance(0.2**2), MMPS(tolerance=1e-6))
        t = time_at(denoiser.schedule, torch.tensor(level)).float()
        errors[limit] = float((guided(noisy, t).mean.flatten(1) - exact).abs().max())
    assert errors[10.0] < 1e-3 < 0.1 < errors[None]


def test_little_noise_needs_few_linearisations() -> None:
    # Once near, about the estimate of the level before; and the same in the end as from nothing.
    prior = prior_of(xslams.open_model("lorenz63-ode"), length=41)
    denoiser = prior.denoiser
    assert isinstance(denoiser, MarkovDenoiser)
    system = Lorenz63(dt=0.05, substeps=5)
    states = torch.as_tensor(system.state(system.simulate(40, trajectories=1, seed=3))).float()
    truth = prior.encode(states[:, :, :, None, None])
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    observe = error_covariance(0.01)
    y = truth[0, ::5, 0, 0, 0]
    going = guide(denoiser, y, lambda z: z[:, ::5, 0, 0, 0], observe, MMPS(tolerance=1e-5))
    state = going.start()
    for level in (0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.008):
        t = time_at(denoiser.schedule, torch.tensor(level)).float()
        handed_on, state = going.advance(truth + level * noise, t, state)
        estimates = [handed_on.mean, going(truth + level * noise, t).mean]
        posterior = denoiser.posterior(truth + level * noise, t)
        count, near = posterior.relinearizations, posterior.nearby
        assert near == (level <= float(denoiser.networks.bare)) and count == (1 if near and level < 0.15 else 2)
        best = estimates[0]
        for _ in range(5):
            best, _ = going._update(posterior.relinearized(best), t, going.start(), None)
        # The estimate itself is off by a tenth of the noise.
        assert float((estimates[0] - best).square().mean().sqrt()) < 0.01 * level
        assert float((estimates[1] - best).square().mean().sqrt()) < 0.04 * level
    far = denoiser.posterior(truth, torch.tensor(1.0))
    assert (far.relinearizations, far.nearby) == (0, False)


def test_a_forecast_goes_on_with_the_step_and_its_noise() -> None:
    step = Transition(1, 6, hidden=4, reach=1, substeps=1)
    nn.init.normal_(step.last.weight, std=0.1)
    step.noise.fill_(0.04)
    denoiser = MarkovDenoiser(Networks(network(channels=1, sites=6, memory=8, hidden=16, blocks=False), step))
    z = torch.randn(3, 2, 1, 1, 6).repeat(500, 1, 1, 1, 1)
    coming = denoiser.forecast(z, 2, generator=torch.Generator().manual_seed(0))
    assert coming.shape == (1500, 2, 1, 1, 6)
    with torch.no_grad():
        for before, after in ((z[:, 1], coming[:, 0]), (coming[:, 0], coming[:, 1])):
            error = after.flatten(2) - step(before.flatten(2))
            assert float(error.mean().abs()) < 0.01 and float(error.std()) == pytest.approx(0.2, rel=0.03)
    again = denoiser.forecast(z, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again[:, 0], coming[:, 0])


def network(**options) -> TwoFilter:
    torch.manual_seed(0)
    made = TwoFilter(**{"reach": 0, "blocks": True} | options)
    for parameter in (made.last.weight, made.modulate.weight):
        nn.init.normal_(parameter, std=0.1)
    return made.eval()


@pytest.mark.parametrize("blocks", [True, False])
def test_a_member_does_not_depend_on_its_company(blocks: bool) -> None:
    made = network(channels=2, sites=1, memory=8, hidden=16, blocks=blocks)
    z = torch.randn(5, 9, 2, 1)
    sigma = torch.linspace(0.1, 2, 5)
    together, alone = made(z, sigma), made(z[3:4], sigma[3:4])
    assert torch.allclose(together.mean[3:4], alone.mean, atol=1e-6)
    assert torch.allclose(together.diagonal[3:4], alone.diagonal, atol=1e-6)


def test_sites_are_alike() -> None:
    made = network(channels=1, sites=12, memory=8, hidden=16, reach=2, blocks=False)
    z, sigma = torch.randn(2, 7, 1, 12), torch.tensor([0.3, 3.0])
    shifted = made(z.roll(5, dims=-1), sigma).mean
    assert torch.allclose(shifted, made(z, sigma).mean.roll(5, dims=-1), atol=1e-5)


def test_every_frame_hears_of_every_other() -> None:
    made = network(channels=1, sites=1, memory=8, hidden=16)
    z = torch.randn(1, 30, 1, 1, requires_grad=True)
    for frame in (0, 15, 29):
        (gradient,) = torch.autograd.grad(made(z, torch.ones(1)).mean[0, frame].sum(), z)
        assert bool((gradient != 0).all())


def test_the_step_serves_where_there_are_no_blocks() -> None:
    made = network(channels=1, sites=6, memory=8, hidden=16, reach=1, blocks=False)
    torch.manual_seed(1)
    denoiser = MarkovDenoiser(Networks(made, Transition(1, 6, hidden=4, reach=1, substeps=1)))
    y = torch.zeros(3)
    guided = guide(denoiser, y, lambda z: z[:, 0, 0, 0, ::2], error_covariance(0.1))
    assert guided(torch.randn(2, 4, 1, 1, 6), torch.tensor(0.5)).mean.shape == (2, 4, 1, 1, 6)


def test_training_comes_near_the_exact_filter() -> None:
    # One channel: a process whose exact denoiser is known.
    length = 16
    precision = chain(length, 1, seed=3)
    generator = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(torch.linalg.inv(precision)).float()
    data = (torch.randn(2048, length, generator=generator) @ root.T)[..., None, None]
    torch.manual_seed(0)
    made = TwoFilter(1, 1, memory=16, hidden=32, reach=0, blocks=True)
    options = SystemTrainingOptions(length=length, steps=500, batch=64, noise=(0.1, 10.0))
    fit_trajectories(made, data, options, progress=False)
    fresh = (torch.randn(512, length, generator=generator) @ root.T)[..., None, None]
    for level in (0.3, 1.0, 3.0):
        sigma = torch.full((512,), level)
        z_t = fresh + level * torch.randn(fresh.shape, generator=generator)
        exact = ExactNetwork(precision, 1)(z_t, sigma)
        with torch.no_grad():
            found = made(z_t, sigma)
        assert float((found.mean - fresh).square().mean() / (exact.mean - fresh).square().mean()) < 1.15
        gap = found.negative_log_likelihood(fresh).mean() - exact.negative_log_likelihood(fresh).mean()
        # A network that says nothing of neighbours, or nothing at all, is off by 0.4 and more.
        assert -0.02 < float(gap) < 0.1


def test_a_step_that_leads_uphill_is_not_taken() -> None:
    class Cubic(nn.Module):
        noise, start, sites = torch.full((1,), 1e-4), torch.eye(1), 1

        def linearize(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return z**3, (3 * z**2)[..., None]

    guess = torch.full((1, 4, 1), 0.02)
    noisy = torch.tensor([0.9, 0.8, 0.5, 0.1])[None, :, None]
    found, _ = gauss_newton(Cubic(), guess, noisy, 0.5, 3)

    def cost(x: Tensor) -> float:
        return float(((x[:, 1:] - x[:, :-1] ** 3) ** 2 / 1e-4).sum() + ((noisy - x) ** 2).sum() / 0.25 + x[0, 0] ** 2)

    bold, _ = gauss_newton(Cubic(), guess, noisy, 0.5, 1, checked=False)
    assert cost(bold) > cost(guess)
    assert torch.equal(found, guess)

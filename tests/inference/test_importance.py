"""Weights of members in several valleys against integrals on a grid, and what resampling makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from azula.denoise import GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance
from azula.noise import VESchedule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import xslams
from xslams.errors import OptionError
from xslams.inference import importance_weights, prior_of, resample
from xslams.priors.markov_denoiser import MarkovDenoiser
from xslams.systems import Lorenz63, Lorenz96

#: Step and variance of its noise of a chain with unit variance.
STEP, NOISE = 0.8, 0.36


class Step(nn.Module):
    """One component, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.noise, self.start, self.sites = torch.full((1,), NOISE), torch.eye(1), 1

    def linearize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return STEP * z, torch.full((*z.shape, 1), STEP).to(z)


class Networks(nn.Module):
    """A step alone."""

    def __init__(self) -> None:
        super().__init__()
        self.transition, self.refine = Step(), 0.0


CHAIN = MarkovDenoiser(Networks(), VESchedule(0.01, 100.0))  # type: ignore[arg-type]


def square_then_linear(z: Tensor) -> Tensor:
    """Square of the first frame, which has two roots, and the second frame as it is."""
    return torch.stack([z[:, 0, 0, 0, 0].square(), z[:, 1, 0, 0, 0]], dim=1)


@pytest.mark.parametrize("right", [1, 4, 7])
def test_what_a_valley_is_worth_is_what_the_integral_says(right: int) -> None:
    # However many of eight members happen to be in the right one.
    y, variance = np.array([1.0, 0.35]), np.array([0.01, 0.4])
    a, b = np.meshgrid(np.linspace(-2, 2, 1601), np.linspace(-4, 4, 1601), indexing="ij")
    cost = a**2 + (b - STEP * a) ** 2 / NOISE + (y[0] - a**2) ** 2 / variance[0] + (y[1] - b) ** 2 / variance[1]
    density = np.exp(-cost / 2)
    exact = density[a > 0].sum() / density.sum()
    assert 0.6 < exact < 0.9
    z = torch.tensor([[0.9, 0.5]] * right + [[-1.1, -0.4]] * (8 - right))[:, :, None, None, None]
    weights = importance_weights(
        CHAIN, z, torch.as_tensor(y).float(), square_then_linear, torch.as_tensor(variance).float()
    )
    assert float(weights[:right].sum()) == pytest.approx(exact, abs=0.01)
    assert torch.allclose(weights[:right], weights[0]) and torch.allclose(weights[right:], weights[-1])


def test_cases_are_weighed_by_themselves() -> None:
    z = torch.tensor([[0.9, 0.5], [-1.1, -0.4], [1.5, 0.5], [-1.3, -0.4]])[:, :, None, None, None]
    y = torch.tensor([[1.0, 0.35], [2.0, -0.5]])
    weights = importance_weights(CHAIN, z, y.repeat_interleave(2, 0), square_then_linear, 0.05, members=2)
    for k in range(2):
        alone = importance_weights(CHAIN, z[2 * k : 2 * k + 2], y[k], square_then_linear, 0.05)
        assert torch.allclose(weights[2 * k : 2 * k + 2], alone)
    assert float(weights[0]) > 0.5 > float(weights[2])


def test_a_lost_member_of_lorenz63_weighs_nothing() -> None:
    prior = prior_of(xslams.open_model("lorenz63-ode"), length=41)
    system = Lorenz63(dt=0.05, substeps=5)
    states = torch.as_tensor(system.state(system.simulate(40, trajectories=2, seed=3))).float()
    z = prior.encode(states[:, :, :, None, None])
    right, other = z[:1], z[1:]
    y = right[:, ::5, :, 0, 0].flatten(1)[0]
    members = torch.cat([right, right, other])
    members = members + 0.005 * torch.randn(members.shape, generator=torch.Generator().manual_seed(0))
    weights = importance_weights(prior.denoiser, members, y, lambda z: z[:, ::5, :, 0, 0].flatten(1), 0.03)
    assert weights[:2].numpy() == pytest.approx([0.5, 0.5], abs=0.02)
    assert float(weights[2]) < 1e-6
    kept = resample(members, weights, generator=torch.Generator().manual_seed(0))
    assert torch.equal(kept[:2], members[:2])
    assert torch.equal(kept[2], members[0]) or torch.equal(kept[2], members[1])


def test_bent_valleys_are_followed_to_their_bottom() -> None:
    # Members of one valley of Lorenz-96, whose step has hardly any noise: whole steps of Gauss and Newton lead up its
    # sides, and members that stayed there would have no weight beside one that did not.
    prior = prior_of(xslams.open_model("lorenz96"), length=33)
    denoiser = prior.denoiser
    assert isinstance(denoiser, MarkovDenoiser)
    system = Lorenz96()
    states = torch.as_tensor(system.state(system.simulate(32, trajectories=1, seed=3))).float()
    truth = prior.encode(states.reshape(1, 33, 1, 1, 40))
    starts = truth[:, :1] + 0.02 * torch.randn(8, 1, 1, 1, 40, generator=torch.Generator().manual_seed(0))
    members = torch.cat([starts, denoiser.forecast(starts, 32)], dim=1)
    y = truth[:, ::8, 0, 0, ::2].flatten(1)[0]
    weights = importance_weights(denoiser, members, y, lambda z: z[:, ::8, 0, 0, ::2].flatten(1), 0.04)
    assert weights.numpy() == pytest.approx(np.full(8, 0.125), abs=0.02)


def test_what_weights_need() -> None:
    z = torch.zeros(4, 3, 1, 1, 1)
    with pytest.raises(OptionError, match="connects frames"):
        importance_weights(CHAIN, z, torch.zeros(1), lambda z: z.mean((1, 2, 3, 4))[:, None], 0.1)
    with pytest.raises(OptionError, match="divisor of 4"):
        importance_weights(CHAIN, z, torch.zeros(1), lambda z: z[:, 0, 0, 0], 0.1, members=3)
    gaussian = GaussianDenoiser(torch.zeros(3), DiagonalCovariance(torch.ones(3)), VESchedule(0.01, 100.0))
    with pytest.raises(OptionError, match="learned step"):
        importance_weights(gaussian, z, torch.zeros(1), lambda z: z[:, 0, 0, 0], 0.1)


@settings(max_examples=100, deadline=None)
@given(
    weights=st.lists(st.floats(0, 1), min_size=1, max_size=12).filter(lambda w: sum(w) > 0.01),
    cases=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_copies_are_as_many_as_weights_say(weights: list[float], cases: int, seed: int) -> None:
    one = torch.tensor(weights, dtype=torch.float64)
    one = one / one.sum()
    n = len(one)
    z = torch.arange(cases * n)
    generator = torch.Generator().manual_seed(seed)
    kept = resample(z, one.repeat(cases), members=n, generator=generator)
    for k in range(cases):
        part = kept[k * n : (k + 1) * n] - k * n
        counts = torch.bincount(part, minlength=n)
        assert bool(((counts - n * one).abs() < 1 + 1e-5).all())
        stays = counts > 0  # whoever is kept at all is kept in its place
        assert bool((part[stays] == torch.arange(n)[stays]).all())


def test_resampling_is_unbiased() -> None:
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([resample(torch.arange(4), weights, generator=generator) for _ in range(4000)])
    shares = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    assert shares.numpy() == pytest.approx(weights.numpy(), abs=0.01)

"""Pretrained models of small systems: what they say of themselves, and how close they come to what is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xslams
from xslams.errors import OptionError, VariableError
from xslams.inference import prior_of, sample_posterior
from xslams.priors.markov import MarkovPrior
from xslams.spec import Spec, VariableSpec
from xslams.systems import Lorenz63

NAMES = ("lorenz63", "lorenz63-ode", "lorenz96", "kolmogorov")


@pytest.fixture
def small() -> xslams.Model:
    spec = Spec(
        variables=(VariableSpec("x", "1"), VariableSpec("y", "1")), lat=(0.0,), lon=(0.0,), periodic=False,
        time_step=0.1, name="small", kind="markov", architecture={
            "memory": 4, "hidden": 8, "reach": 0, "blocks": True, "products": 4, "step_reach": 0,
        },
        system={"name": "Nothing"},
    )  # fmt: skip
    torch.manual_seed(0)
    networks = MarkovPrior(spec).eval().requires_grad_(requires_grad=False)
    networks.mean.fill_(3.0)
    networks.std.fill_(2.0)
    return xslams.Model(spec, prior=networks)


def test_a_file_gives_back_what_went_in(small, tmp_path):
    path = small.save(tmp_path / "small.safetensors")
    again = xslams.Model.load(path)
    assert again.spec == small.spec
    z = torch.randn(2, 5, 2, 1, 1)
    before, after = (prior_of(m, 5).denoiser(z, torch.tensor(0.4)) for m in (small, again))
    assert torch.equal(before.mean, after.mean)
    assert torch.equal(before.covariance(z), after.covariance(z))


def test_states_and_back(small):
    prior = prior_of(small, 4)
    z = torch.randn(3, *prior.shape)
    assert torch.allclose(prior.states(z), 3 + 2 * z)
    assert torch.allclose(prior.encode(prior.states(z)), z, atol=1e-6)


def test_what_it_is_not_for(small):
    with pytest.raises(VariableError, match="no variable of this name"):
        xslams.open_tutorial().slams.encode(small)
    with pytest.raises(OptionError, match="at least one frame"):
        prior_of(small, 0)


def test_a_prior_of_the_atmosphere():
    model = xslams.open_model("ncep-na")
    with pytest.raises(OptionError, match="season"):
        prior_of(model, 3, season=torch.zeros(2))
    prior = prior_of(model, 3, season=0.5)
    z = sample_posterior(
        prior.denoiser, torch.tensor([300.0]), lambda z: prior.states(z)[:, 1, 0, 10, 20, None], 0.01,
        shape=prior.shape, members=2, steps=12, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert float((prior.states(z)[:, 1, 0, 10, 20] - 300).abs().max()) < 0.5


@pytest.mark.parametrize("name", NAMES)
def test_pretrained_models_know_their_system(name):
    spec = xslams.open_model(name).spec
    parameters = {k: v for k, v in spec.system.items() if k != "name"}
    system = getattr(xslams.systems, spec.system["name"])(**parameters)
    assert tuple(v.name for v in spec.variables) == system.variables
    assert spec.time_step == system.dt
    assert np.prod(spec.frame_shape) == np.prod(system.shape)
    assert spec.system["name"] in xslams.list_models().loc[name, "grid"]


def smoother_errors(system: Lorenz63, states: np.ndarray, level: float) -> np.ndarray:
    """Root mean square error of the exact smoother, linearised about the truth, for every trajectory; standardised."""
    scale, (count, length) = system.scale, states.shape[:2]
    noise = np.diag(scale**2 / (system.noise**2 * system.dt))
    steps = [(system.step(states[:, :-1] + d) - system.step(states[:, :-1] - d)) / 2e-4 for d in 1e-4 * np.eye(3)]
    jacobians = np.stack(steps, -1) / scale[:, None] * scale
    errors = []
    for b in range(count):
        precision = np.eye(3 * length) / level**2
        precision[:3, :3] += np.eye(3)
        for i, m in enumerate(jacobians[b]):
            rows = np.concatenate([-m, np.eye(3)], axis=1)
            precision[3 * i : 3 * i + 6, 3 * i : 3 * i + 6] += rows.T @ noise @ rows
        errors.append(np.trace(np.linalg.inv(precision)) / (3 * length))
    return np.sqrt(errors)


@pytest.mark.parametrize("level", [0.01, 0.02, 0.05, 0.1])
def test_lorenz63_is_as_good_as_the_exact_smoother(level):
    # At low noise the posterior is Gaussian, and its covariance follows from the derivative of the dynamics.
    system = Lorenz63(noise=1.0)
    states = system.state(system.simulate(48, trajectories=64, seed=77))
    prior = prior_of(xslams.open_model("lorenz63"), 49)
    x = prior.encode(torch.as_tensor(states, dtype=torch.float32)[..., None, None])
    generator = torch.Generator().manual_seed(0)
    schedule = prior.denoiser.schedule
    t = torch.linspace(0, 1, 100001)
    t = t[(schedule(t)[1] - level).abs().argmin()]
    with torch.no_grad():
        estimate = prior.denoiser(x + level * torch.randn(x.shape, generator=generator), t)
    error = (estimate.mean - x).flatten(1)
    ratios = []
    exact = smoother_errors(system, states, level)
    assert float(error.square().mean().sqrt()) < 1.04 * np.sqrt((exact**2).mean())
    # Errors are as large as the covariance says, in directions along the attractor and across it.
    for v in (torch.randn(20, *x.shape[1:], generator=generator), error[:20].reshape(20, *x.shape[1:])):
        for direction in v.split(1):
            expected = (direction * estimate.covariance(direction.expand_as(x))).flatten(1).sum(1)
            ratios.append(((direction.flatten(1) * error).sum(1).square() / expected)[20:])
    assert 0.9 < float(torch.cat(ratios).mean()) < 1.1

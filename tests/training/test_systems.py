"""Training of models of small systems."""

import numpy as np
import pytest
import torch

from xslams.errors import DimensionError, OptionError
from xslams.inference import prior_of
from xslams.model import Model
from xslams.options import SystemTrainingOptions
from xslams.spec import Spec, VariableSpec
from xslams.training import fit_system

SPEC = Spec(variables=(VariableSpec("x", "1"),), lat=(0.0,), lon=(0.0,), periodic=False, time_step=0.1, name="ar")
SMALL = {
    "memory": 8, "hidden": 16, "products": 4, "length": 12, "steps": 200, "batch": 32, "noise": (0.01, 10.0),
    "transition_steps": 200, "transition_batch": 128,
}  # fmt: skip


def trajectories(count: int, frames: int, seed: int) -> np.ndarray:
    """Autoregression of standard deviation 2 about 5."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((count, frames))
    for i in range(1, frames):
        z[:, i] = 0.9 * z[:, i - 1] + np.sqrt(0.19) * z[:, i]
    return (5 + 2 * z)[:, :, None, None, None]


def fit(seed: int = 0, **options: object) -> Model:
    states, unseen = trajectories(64, 40, seed=0), trajectories(16, 20, seed=1)
    settings = SystemTrainingOptions.of(SMALL, **options)
    return fit_system(SPEC, states, unseen, settings, mean=5.0, std=2.0, seed=seed, progress=False)


def test_step_and_noise_are_learned_and_survive_a_file(tmp_path) -> None:
    before = torch.get_rng_state()
    model = fit()
    assert torch.equal(before, torch.get_rng_state())
    prior = model.prior()
    assert model.spec.kind == "markov"
    assert abs(float(prior.step(torch.ones(1, 1, 1))) - 0.9) < 0.1
    assert abs(float(prior.step.noise) - 0.19) < 0.05
    again = Model.load(model.save(tmp_path / "ar.safetensors"))
    assert again.spec == model.spec
    z = torch.randn(2, 6, 1, 1, 1)
    estimates = [prior_of(m, 6).denoiser(z, torch.tensor(0.4)).mean for m in (model, again)]
    assert torch.equal(*estimates)


def test_one_step_of_training_is_enough_to_run() -> None:
    fit(steps=1, transition_steps=1, substeps=2)


def test_the_seed_decides() -> None:
    weights = [next(fit(seed, steps=2, transition_steps=2).prior().filters.parameters()) for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_data_that_do_not_fit_are_refused() -> None:
    states = trajectories(8, 40, seed=0)
    with pytest.raises(DimensionError, match=r"unseen has the shape \(8, 40\)"):
        fit_system(SPEC, states, states[:, :, 0, 0, 0], mean=0.0, std=1.0)
    with pytest.raises(DimensionError, match=r"40 frames; expected at least length=48"):
        fit_system(SPEC, states, states, mean=0.0, std=1.0)
    wide = Spec(variables=(VariableSpec("x", "1"),), lat=(0.0,), lon=(0.0, 1.0), periodic=True)
    two = np.concatenate([states, states], axis=-1)
    with pytest.raises(OptionError, match="blocks=True; expected False"):
        fit_system(wide, two, two, SystemTrainingOptions(length=8), mean=0.0, std=1.0)

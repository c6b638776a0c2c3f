"""The denoiser of latent trajectories: the covariance that it says its estimate has."""

import numpy as np
import pytest
import torch

from xslams.model import Model
from xslams.options import TrainingOptions
from xslams.priors.latent import LatentPrior
from xslams.priors.latent_denoiser import TrajectoryDenoiser
from xslams.priors.posteriors import TweedieDenoiser
from xslams.spec import Spec, VariableSpec
from xslams.training import fit_arrays

LENGTH = 5
T = torch.tensor(0.4)


@pytest.fixture(scope="module", params=[6, 1], ids=["cell", "pixels"])
def prior(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LatentPrior:
    """Prior of a row of six points, as a latent cell and as they are, from a file; its network corrects at random."""
    spec = Spec(
        (VariableSpec("v", "K"),), lat=(40.0,), lon=tuple(2.5 * np.arange(6)), periodic=False, window=3, name="row"
    )
    rng = np.random.default_rng(0)
    x = 280 + rng.standard_normal((400, 1, 1, 6)).cumsum(-1).astype(np.float32)
    options = TrainingOptions(
        epochs=1, patch=request.param, latent_channels=2 if request.param > 1 else None, width=(16,), blocks=1
    )
    model = fit_arrays(spec, [(x, (np.arange(400) % 365) / 365.25)], options, progress=False, device="cpu")
    prior = model.prior()
    assert isinstance(prior, LatentPrior)
    assert prior.score is not None
    torch.nn.init.normal_(prior.score.last.weight, std=0.3, generator=torch.Generator().manual_seed(0))
    model.save(tmp_path_factory.mktemp("models") / "row.safetensors")
    assert model.path is not None
    loaded = Model.load(model.path).prior()
    assert isinstance(loaded, LatentPrior)
    return loaded


def noisy(prior: LatentPrior, length: int, seed: int) -> torch.Tensor:
    return torch.randn(4, length, *prior.shape, generator=torch.Generator().manual_seed(seed))


def test_a_single_cell_has_the_covariance_of_its_network(prior: LatentPrior) -> None:
    denoiser = TrajectoryDenoiser(prior, torch.zeros(LENGTH))
    x, v = (noisy(prior, LENGTH, seed) for seed in (1, 2))
    said, derivative = (d.posterior(x, T) for d in (denoiser, TweedieDenoiser(denoiser)))
    gaussian = denoiser(x, T)
    torch.testing.assert_close(said.mean, gaussian.mean)
    alike, other = (derivative, gaussian) if prior.shape[1:] == (1, 1) else (gaussian, derivative)
    torch.testing.assert_close(said.covariance(v), alike.covariance(v))
    assert (said.covariance(v) - other.covariance(v)).norm() > 0.1 * said.covariance(v).norm()


def test_half_precision_has_the_same_kind_of_covariance(prior: LatentPrior) -> None:
    x = noisy(prior, LENGTH, 1)
    full, half = (
        TrajectoryDenoiser(prior.accelerated(precision, compiled=False), torch.zeros(LENGTH)).posterior(x, T)
        for precision in ("float32", "bf16")
    )
    assert (half.covariance(x) - full.covariance(x)).norm() < 0.1 * full.covariance(x).norm()


def test_trajectories_without_a_window_have_that_of_the_gaussian(prior: LatentPrior) -> None:
    denoiser = TrajectoryDenoiser(prior, torch.zeros(2))
    x = noisy(prior, 2, 1)
    said = denoiser.posterior(x, T)
    alpha, sigma = denoiser.schedule(T)
    torch.testing.assert_close(said.mean, denoiser.gaussian.mean(x, alpha, sigma))
    ratio = prior.variance_ratio(torch.log(sigma / alpha))
    torch.testing.assert_close(said.covariance(x), ratio * denoiser.gaussian.covariance(x, alpha, sigma))

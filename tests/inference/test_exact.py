"""Members by one solve each: their distribution without sampling error, and that of the reverse process."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import xarray as xr
from azula.linalg.covariance import DiagonalCovariance
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from tests.inference.test_correlated_errors import correlation, dense, source
from tests.inference.test_ensemble_background import KIND, members
from tests.inference.test_latent_background import LENGTH, SIZE, gaussian_model, pieces, sources
from tests.problems.posteriors import moments
from xslams.inference import exact as exact_module
from xslams.inference.exact import draw_exactly, exact_prior
from xslams.inference.guidance import MMPS, Observed
from xslams.inference.latent_background import LatentBackground
from xslams.inference.noise import KeyedNoise
from xslams.inference.observed import ObservedFrames
from xslams.inference.robust import observation_errors
from xslams.likelihood import ErrorModel, SourceLikelihood
from xslams.likelihood.identity import named
from xslams.options import SamplerOptions
from xslams.priors.latent_denoiser import TrajectoryDenoiser
from xslams.priors.posteriors import GaussianPrior


def unit_noise(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise of the state and of values, of which row 0 is zero and every other one a unit vector of both together."""
    both = torch.cat([torch.zeros(1, size + count), torch.eye(size + count)])
    return both[:, :size], both[:, size:]


@settings(max_examples=25)
@given(
    kinds=st.lists(st.sampled_from(["space", "time", "space time kinds", "kinds groups", "chain", ""]), max_size=3),
    size=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_moments_are_those_of_the_posterior(kinds, size, seed):
    """Whatever the errors: of several sources, independent, correlated, or linked in time."""
    rng = np.random.default_rng(seed)
    given = [source(None if kind == "" else correlation(kind, size, rng), size, rng) for kind in [*kinds, ""]]
    H = np.concatenate([s.matrix.toarray() for s in given])
    y = np.concatenate([s.values for s in given])
    root = rng.normal(size=(6, 6)) * np.array([3.0, 1.0, 1.0, 0.3, 0.3, 0.1])[:, None]
    P, R = root @ root.T + 1e-3 * np.eye(6), dense(given)
    A, C = torch.as_tensor(H).float(), torch.as_tensor(P).float()
    lower = torch.linalg.cholesky(C)
    variance = torch.as_tensor(np.concatenate([s.errors.variance for s in given])).float()
    observed = Observed(torch.as_tensor(y).float(), lambda z: z @ A.T, observation_errors(given, variance)[0])
    noise, disturbance = unit_noise(6, len(y))
    prior = GaussianPrior(lambda v: v @ C, lambda v: v @ lower.T)
    # Each row has an error of its own, which differences of rows would show many times over.
    with mock.patch.multiple(exact_module, _TOLERANCE=1e-5, _LARGEST=1e-4):
        mean, covariance = moments(draw_exactly(prior, noise, observed, disturbance).double())
    gain = np.linalg.solve(H @ P @ H.T + R, H @ P).T
    exact = P - gain @ H @ P
    std = np.sqrt(np.diag(exact))
    assert np.abs((mean.numpy() - gain @ y) / std).max() < 0.01
    np.testing.assert_allclose(covariance.numpy() / std / std[:, None], exact / std / std[:, None], atol=0.01)


@pytest.mark.parametrize("ensemble", [False, True])
def test_a_background_is_disturbed_by_its_own_errors(ensemble):
    model, (_, _, P) = gaussian_model(), pieces()
    given = members(KIND)[0] if ensemble else sources(KIND, 0.8)[0]
    prior, season = model.prior(), torch.zeros(LENGTH)
    rest = torch.zeros(1, LENGTH, *prior.shape)
    background = LatentBackground(prior, model.spec, prior.fields(season), given, rest)
    noise, disturbance = (v.unflatten(1, rest.shape[1:]) for v in unit_noise(SIZE, SIZE))
    gaussian = prior.denoiser(LENGTH, season).gaussian_prior()
    observed = Observed(background.y, background, background.errors)
    z = draw_exactly(gaussian, noise, observed, disturbance.flatten(1)).flatten(1)
    mean, covariance = moments(z.double())
    R = background.errors(torch.eye(SIZE)).double().numpy()
    exact = P - P @ np.linalg.solve(P + R, P)
    expected = P @ np.linalg.solve(P + R, background.y.double().numpy())
    std = np.sqrt(np.diag(exact))
    assert np.abs((mean.numpy() - expected) / std).max() < 0.05
    assert np.abs(np.sqrt(np.diag(covariance.numpy())) / std - 1).max() < 0.05


def test_only_what_is_left_open_is_drawn_exactly():
    denoiser = gaussian_model().prior().denoiser(LENGTH, torch.zeros(LENGTH))
    assert exact_prior(denoiser, None, SamplerOptions()) is not None
    assert exact_prior(denoiser, None, SamplerOptions(guidance=MMPS())) is not None
    for asked in ({"sampler": "unipc"}, {"corrections": 1}, {"guidance": "sda"}, {"guidance": MMPS(iterations=3)}):
        assert exact_prior(denoiser, None, SamplerOptions(**asked)) is None
    one = Observed(torch.ones(1), lambda z: z.flatten(1)[:, :1], None)
    assert exact_prior(denoiser, one, SamplerOptions()) is None


@settings(max_examples=40)
@given(seed=st.integers(0, 999), count=st.integers(1, 12), frames=st.integers(1, 4))
def test_names_do_not_depend_on_order_or_on_other_values(seed, count, frames):
    rng = np.random.default_rng(seed)
    size = 7
    # No two values of a frame see the same, so that it has as many as there are cells, at most.
    counts = np.bincount(rng.integers(0, frames, count), minlength=frames).clip(max=size)
    cells = np.concatenate([rng.permutation(size)[:n] for n in counts]).astype(int)
    frame = np.repeat(np.arange(frames), counts)
    rows = sp.csr_array(np.eye(frames * size)[frame * size + cells])
    one = SourceLikelihood("a", rows, np.zeros(len(cells)), ErrorModel(np.ones(len(cells))))
    np.testing.assert_array_equal(one.first_frame(frames), frame)
    names = one.identity(frame, frames)
    for f in range(frames):
        assert len(set(names[frame == f].tolist())) == (frame == f).sum()
    order = rng.permutation(len(cells))
    some = order[: rng.integers(1, len(cells) + 1)]
    np.testing.assert_array_equal(named("a", rows[some], frame[some], size), names[some])
    # Nor on where a stretch begins.
    later = SourceLikelihood("a", rows, one.values, one.errors).shifted(2, 1, frames)
    np.testing.assert_array_equal(later.identity(frame + 2, frames + 3), names)
    assert not np.isin(named("b", rows, frame, size), names).any()


def test_values_that_see_the_same_have_noise_of_their_own():
    twice = sp.csr_array(np.eye(3)[[0, 1, 1, 1]])
    assert len(set(named("a", twice, np.zeros(4, int), 3).tolist())) == 4


def test_noise_of_values_is_standard_normal_and_theirs():
    frame, name = np.repeat([0, 1], 4000), np.tile(np.arange(4000, dtype=np.uint64), 2)
    noise = KeyedNoise(0, [0, 1, 2], [0, 24], (1,), antithetic=True).of_values(frame, name, 1)
    torch.testing.assert_close(noise[1], -noise[0], rtol=0, atol=0)
    independent = noise[[0, 2]].reshape(4, 4000).double()
    np.testing.assert_allclose(np.cov(independent.numpy()), np.eye(4), atol=0.06)
    assert abs(float(independent.mean())) < 0.03 and abs(float((independent**4).mean()) - 3) < 0.3
    some = KeyedNoise(0, [2], [24], (1,), antithetic=True).of_values(frame[:10], name[5:15], 1)
    torch.testing.assert_close(some[0], noise[2, 4005:4015], rtol=0, atol=0)


def _case(count: int = 40) -> tuple[xr.Dataset, list[xslams.Observation]]:
    spec = gaussian_model().spec
    time = np.datetime64("2001-01-01", "ns") + np.arange(count) * np.timedelta64(1, "D")
    rng = np.random.default_rng(5)
    t = xr.DataArray(
        270 + rng.normal(size=(count, 2, 3, 4)), dims=("time", "level", "lat", "lon"), name="t", attrs={"units": "K"},
        coords={"time": time, "level": [850.0, 500.0], "lat": list(spec.lat), "lon": list(spec.lon)},
    )  # fmt: skip
    parts = [xslams.Observation(t.isel(level=[k], lon=[k, 2]), error=1.0, name=f"level {k}") for k in (0, 1)]
    return t.to_dataset(), parts


def test_members_are_those_of_the_reverse_process(monkeypatch):
    """Means over antithetic pairs have no sampling error, and the spread that of few degrees of freedom."""
    truth, obs = _case()
    options = {"members": 24, "antithetic": True, "background_error": None}
    other = truth.slams.assimilate(obs, gaussian_model(), sampler="unipc", steps=24, **options)["t"]
    monkeypatch.setattr(TrajectoryDenoiser, "forward", lambda *_: pytest.fail("the denoiser was called"))
    exact = truth.slams.assimilate(obs, gaussian_model(), **options)["t"]
    std = other.std("member")
    assert float(np.abs((exact.mean("member") - other.mean("member")) / std).max()) < 0.05
    assert float(exact.var("member").mean() / other.var("member").mean()) == pytest.approx(1, abs=0.05)


def test_neither_the_order_of_sources_nor_others_nor_windows_matter_to_noise():
    truth, obs = _case()
    options = {"members": 2, "background_error": None}
    both = truth.slams.assimilate(obs, gaussian_model(), **options)["t"]
    turned = truth.slams.assimilate(obs[::-1], gaussian_model(), **options)["t"]
    np.testing.assert_allclose(both, turned, atol=0.02)
    # A stretch that ends elsewhere, far from its ends.
    part = truth.isel(time=slice(8, 40)).slams.assimilate(obs, gaussian_model(), **options)["t"]
    np.testing.assert_allclose(both.isel(time=slice(18, 30)), part.isel(time=slice(10, 22)), atol=0.02)


class Curved:
    """Two values of one variable, through a transform that is three times as steep on one side."""

    one_slope = True

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        return torch.where(z > 0, 3 * z, z).expand(-1, 2)

    def linearize(self, z: torch.Tensor):
        # Towards what is observed, 2, which lies on the steep side.
        slope = (2 - torch.where(z > 0, 3 * z, z)) / (2 / 3 - z)
        return lambda v: (slope * v).expand(-1, 2), lambda w: (slope * w).sum(1, keepdim=True)


def test_transformed_values_lead_to_the_posterior_as_far_as_they_are_nearly_linear():
    noise = torch.randn(4096, 3, generator=torch.Generator().manual_seed(0))
    observed = Observed(torch.tensor([2.0, 2.0]), Curved(), DiagonalCovariance(torch.tensor([1.0, 2.0])))
    z = draw_exactly(GaussianPrior(lambda v: v, lambda v: v), noise[:, :1], observed, noise[:, 1:])[:, 0].double()
    grid = np.linspace(-5, 5, 4001)
    seen = np.where(grid > 0, 3 * grid, grid)
    density = np.exp(-0.5 * grid**2 - 0.5 * (2 - seen) ** 2 * 1.5)
    density /= density.sum()
    mean = (grid * density).sum()
    std = np.sqrt(((grid - mean) ** 2 * density).sum())
    assert abs(float(z.mean()) - mean) < 0.15 * std
    assert float(z.std()) == pytest.approx(std, rel=0.15)


def test_what_disturbs_is_as_long_as_what_is_observed():
    prior, season = gaussian_model().prior(), torch.zeros(LENGTH)
    rest = torch.zeros(1, LENGTH, *prior.shape)
    background, seen = sources(KIND, 0.8)
    for some in ([seen], background, [*background, seen]):
        problem = ObservedFrames.of(prior, prior.fields(season), some, gaussian_model(), rest)
        noise = KeyedNoise(0, [0, 3], [0, 24, 48], prior.shape)
        assert problem.noise(noise).shape == (2, problem.all.y.numel())

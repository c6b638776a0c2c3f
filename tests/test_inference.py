"""Posterior samples against posteriors that are known exactly, and the reproducibility of every draw."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from azula.denoise import GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance, FullCovariance
from azula.noise import CosineSchedule, VESchedule

from xslams.errors import SlamsError
from xslams.inference import sample_posterior
from xslams.inference.assimilation import assimilate_arrays, climatology_arrays, decode_arrays, encode_arrays
from xslams.inference.denoiser import TrajectoryDenoiser
from xslams.inference.operators import FieldOperator
from xslams.inference.samplers import SAMPLERS, KeyedNoise
from xslams.inference.solvers import conjugate_gradients
from xslams.models import Model
from xslams.typing import SourceArrays

MEMBERS = 4096


def gaussian_problem(size: int, observed: int, error: float, seed: int = 0):
    """Prior with a red spectrum, a dense operator, and the exact posterior."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator))
    spectrum = 4.0 / torch.arange(1, size + 1) ** 1.0
    cov = basis @ torch.diag(spectrum) @ basis.T
    operator = torch.randn(observed, size, generator=generator) / size**0.5
    y = operator @ (basis @ (spectrum.sqrt() * torch.randn(size, generator=generator)))
    y = y + error * torch.randn(observed, generator=generator)
    gain = cov @ operator.T @ torch.linalg.inv(operator @ cov @ operator.T + error**2 * torch.eye(observed))
    return FullCovariance(basis, spectrum), operator, y, gain @ y, cov - gain @ operator @ cov


@pytest.mark.parametrize(("size", "observed", "error"), [(8, 3, 0.1), (32, 12, 0.3), (64, 16, 0.1)])
@pytest.mark.parametrize("schedule", [VESchedule(0.01, 100.0)])
def test_gaussian_posterior_is_exact(size: int, observed: int, error: float, schedule: VESchedule) -> None:
    cov, operator, y, mean, posterior = gaussian_problem(size, observed, error)
    prior = GaussianDenoiser(torch.zeros(size), cov, schedule)
    z = sample_posterior(
        prior, y, lambda x: x @ operator.T, error**2, shape=(size,), members=MEMBERS, steps=64,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    std = posterior.diagonal().sqrt()
    # Monte-Carlo error of 4096 members: 1/64 of a deviation in the mean, 1.1 % in the deviation; four times that at
    # most.
    assert ((z.mean(0) - mean) / std).abs().max() < 0.05 + 4 / MEMBERS**0.5
    assert (z.std(0) / std - 1).abs().max() < 0.03 + 4 * 0.011
    assert ((z.std(0) / std - 1).mean()).abs() < 0.03
    found = torch.cov(z.T)
    assert torch.linalg.norm(found - posterior) / torch.linalg.norm(posterior) < 0.10


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_finds_the_posterior(sampler: str) -> None:
    cov, operator, y, mean, posterior = gaussian_problem(8, 3, 0.3)
    prior = GaussianDenoiser(torch.zeros(8), cov, VESchedule(0.01, 100.0))
    z = sample_posterior(
        prior, y, lambda x: x @ operator.T, 0.09, shape=(8,), members=2048, steps=128, sampler=sampler,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    std = posterior.diagonal().sqrt()
    assert ((z.mean(0) - mean) / std).abs().max() < 0.2
    assert (z.std(0) / std - 1).abs().max() < 0.2


def test_corrections_keep_the_posterior() -> None:
    cov, operator, y, mean, posterior = gaussian_problem(8, 3, 0.3)
    prior = GaussianDenoiser(torch.zeros(8), cov, VESchedule(0.01, 100.0))
    z = sample_posterior(
        prior, y, lambda x: x @ operator.T, 0.09, shape=(8,), members=2048, steps=64, corrections=1,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    std = posterior.diagonal().sqrt()
    assert ((z.mean(0) - mean) / std).abs().max() < 0.15
    assert (z.std(0) / std - 1).abs().max() < 0.15


def test_errors_may_differ_and_be_correlated() -> None:
    cov, operator, y, _, _ = gaussian_problem(6, 4, 0.2)
    prior = GaussianDenoiser(torch.zeros(6), cov, VESchedule(0.01, 100.0))
    dense = cov.Q @ torch.diag(cov.L) @ cov.Q.T
    mix, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3)))
    variances = torch.tensor([0.01, 0.04, 0.25, 1.0])
    cases = [(variances, torch.diag(variances)), (FullCovariance(mix, variances), mix @ torch.diag(variances) @ mix.T)]
    for given, matrix in cases:
        gain = dense @ operator.T @ torch.linalg.inv(operator @ dense @ operator.T + matrix)
        posterior = dense - gain @ operator @ dense
        z = sample_posterior(
            prior, y, lambda x: x @ operator.T, given, shape=(6,), members=MEMBERS, steps=64,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        std = posterior.diagonal().sqrt()
        assert ((z.mean(0) - gain @ y) / std).abs().max() < 0.12
        assert (z.std(0) / std - 1).abs().max() < 0.08


@pytest.mark.parametrize(("guidance", "tolerance"), [("sda", 0.5), ("dps", 0.9)])
def test_other_guidance_draws_towards_the_observations(guidance: str, tolerance: float) -> None:
    cov, operator, y, mean, _ = gaussian_problem(16, 6, 0.3)
    prior = GaussianDenoiser(torch.zeros(16), cov, VESchedule(0.01, 100.0))
    z = sample_posterior(
        prior, y, lambda x: x @ operator.T, 0.09, shape=(16,), members=1024, steps=128, guidance=guidance,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert torch.isfinite(z).all()
    assert torch.linalg.norm(z.mean(0) - mean) < tolerance * torch.linalg.norm(mean)


def test_other_schedules_serve_too() -> None:
    cov, operator, y, mean, posterior = gaussian_problem(8, 3, 0.3)
    prior = GaussianDenoiser(torch.zeros(8), cov, CosineSchedule(1e-2, 1e-2))
    z = sample_posterior(
        prior, y, lambda x: x @ operator.T, 0.09, shape=(8,), members=2048, steps=64,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    std = posterior.diagonal().sqrt()
    assert ((z.mean(0) - mean) / std).abs().max() < 0.2
    assert (z.std(0) / std - 1).abs().max() < 0.2


def test_same_generator_same_members_and_the_global_one_is_untouched() -> None:
    prior = GaussianDenoiser(torch.zeros(2), DiagonalCovariance(torch.ones(2)), VESchedule(0.01, 100.0))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    draws = [
        sample_posterior(
            prior, torch.ones(2), lambda x: x, 1.0, shape=(2,), members=3, sampler="ddpm",
            generator=torch.Generator().manual_seed(7),
        )
        for _ in range(2)
    ]  # fmt: skip
    assert torch.equal(*draws)
    assert torch.equal(before, torch.get_rng_state())


def test_bad_arguments_are_named() -> None:
    prior = GaussianDenoiser(torch.zeros(2), DiagonalCovariance(torch.ones(2)), VESchedule(0.01, 100.0))
    y = torch.ones(2)
    with pytest.raises(SlamsError, match="guidance 'magic'"):
        sample_posterior(prior, y, lambda x: x, 1.0, shape=(2,), members=2, guidance="magic")
    with pytest.raises(SlamsError, match="sampler 'magic'"):
        sample_posterior(prior, y, lambda x: x, 1.0, shape=(2,), members=2, sampler="magic")
    with pytest.raises(SlamsError, match="positive"):
        sample_posterior(prior, y, lambda x: x, 0.0, shape=(2,), members=2)
    with pytest.raises(SlamsError, match=r"gives \(1,\)"):
        sample_posterior(prior, y, lambda x: x[:, :1], 1.0, shape=(2,), members=2)


def test_conjugate_gradients_leave_solved_rows_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(20, 20, generator=generator)
    matrix = root @ root.T + torch.eye(20)
    b = torch.randn(3, 20, generator=generator)
    b[1] = matrix[:, 0]
    together = conjugate_gradients(lambda v: v @ matrix, b, tolerance=1e-5, iterations=200)
    torch.testing.assert_close(together, torch.linalg.solve(matrix, b.T).T, atol=1e-3, rtol=1e-3)
    apart = torch.cat(
        [conjugate_gradients(lambda v: v @ matrix, row[None], tolerance=1e-5, iterations=200) for row in b]
    )
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=1e-5)


# From here on: on a model.

LENGTH = 5
SEASON = np.arange(LENGTH) / 365.25
LABELS = np.arange(LENGTH) * 24


def station_source(model: Model, value: float, error: float = 0.1) -> SourceArrays:
    """Every fourth cell of the first channel is `value`, at all times."""
    channels, lat, lon = model.spec.frame_shape
    cells = np.arange(0, lat * lon, 4)
    columns = (np.arange(LENGTH)[:, None] * channels * lat * lon + cells).ravel()
    matrix = sp.csr_array(
        (np.ones(len(columns)), (np.arange(len(columns)), columns)), shape=(len(columns), LENGTH * channels * lat * lon)
    )
    return SourceArrays("stations", matrix, np.full(len(columns), value), np.full(len(columns), error**2))


def assimilate(model: Model, sources: list[SourceArrays], **options) -> np.ndarray:
    settings = {"members": [0, 1, 2], "steps": 8, "seed": 0, "device": "cpu"} | options
    return assimilate_arrays(model, year_fraction=SEASON, labels=LABELS, sources=sources, **settings)


def test_members_follow_the_observations(tiny_model: Model) -> None:
    # Truths are draws from the prior, so that they are something the model can reach.
    truths = assimilate(tiny_model, [], members=[96, 97, 98, 99], steps=16)[:, None, :, 0]
    template = station_source(tiny_model, 0.0, error=0.5)
    values = truths.reshape(4, LENGTH, -1)[:, :, ::4].reshape(4, -1)
    sources = [SourceArrays("stations", template.operator, v, template.variance) for v in values]
    free = assimilate(tiny_model, [], steps=16)[:, :, 0]
    guided = np.stack([assimilate(tiny_model, [source], steps=16)[:, :, 0] for source in sources])
    assert guided.shape == (4, 3, LENGTH, 8, 16)
    observed = np.zeros((8, 16), bool)
    observed.ravel()[::4] = True
    for cells, gain in ((observed, 0.25), (~observed, 0.75)):
        assert np.abs(guided - truths)[..., cells].mean() < gain * np.abs(free - truths)[..., cells].mean()


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_members_do_not_depend_on_the_batch(tiny_model: Model, batch_size: int | str) -> None:
    source = [station_source(tiny_model, 290.0)]
    reference = assimilate(tiny_model, source, batch_size=3)
    np.testing.assert_array_equal(assimilate(tiny_model, source, batch_size=batch_size), reference)


def test_a_member_is_the_same_alone_and_in_company(tiny_model: Model) -> None:
    source = [station_source(tiny_model, 290.0)]
    alone = assimilate(tiny_model, source, members=[2])
    np.testing.assert_array_equal(alone[0], assimilate(tiny_model, source)[2])


def test_seed_decides(tiny_model: Model) -> None:
    np.testing.assert_array_equal(assimilate(tiny_model, []), assimilate(tiny_model, []))
    assert np.abs(assimilate(tiny_model, [], seed=1) - assimilate(tiny_model, [])).max() > 0.1


def test_noise_belongs_to_member_and_time() -> None:
    noise = KeyedNoise(3, [0, 1, 2], [0, 24, -48], (2, 2))(0)
    part = KeyedNoise(3, [2], [24], (2, 2))(0)
    torch.testing.assert_close(noise[2, 1], part[0, 0])
    flat = noise.reshape(9, -1)
    assert len(torch.unique(flat, dim=0)) == 9
    assert not torch.equal(noise, KeyedNoise(3, [0, 1, 2], [0, 24, -48], (2, 2))(1))


def test_one_network_call_per_step(tiny_model: Model) -> None:
    denoiser = TrajectoryDenoiser(tiny_model.networks(), torch.zeros(LENGTH))
    operator = FieldOperator(tiny_model.networks(), torch.zeros(LENGTH), [station_source(tiny_model, 290.0)])
    from xslams.inference.guidance import guide
    from xslams.inference.posterior import error_covariance
    from xslams.inference.samplers import sample

    noise = KeyedNoise(0, [0], LABELS.tolist(), tiny_model.networks().autoencoder.latent_shape)
    guided = guide(denoiser, operator.y, operator, error_covariance(operator.variance), "mmps")
    sample(guided, 100 * noise(0), noise, steps=32)
    assert denoiser.calls == 32


@pytest.mark.parametrize("transformed", [True, False])
def test_observation_operator_has_its_adjoint_and_jacobian(tiny_model: Model, transformed: bool) -> None:
    networks = tiny_model.networks()
    channels, lat, lon = tiny_model.spec.frame_shape
    size = LENGTH * channels * lat * lon
    dense = sp.random_array((50, size), density=0.01, rng=np.random.default_rng(0)).toarray()
    if not transformed:
        dense.reshape(50, LENGTH, channels, lat, lon)[:, :, 2] = 0  # no precipitation
    matrix = sp.csr_array(dense)
    source = SourceArrays("random", sp.csr_array(matrix), np.zeros(50), np.ones(50))
    operator = FieldOperator(networks, torch.as_tensor(SEASON, dtype=torch.float32), [source])
    generator = torch.Generator().manual_seed(0)
    shape = (2, LENGTH, *networks.autoencoder.latent_shape)
    z, v = (torch.randn(shape, generator=generator) for _ in range(2))
    w = torch.randn(2, 50, generator=generator)
    forward, adjoint = operator.linearize(z)
    # <w, J v> = <J^T w, v>
    torch.testing.assert_close((w * forward(v)).sum(), (adjoint(w) * v).sum(), rtol=1e-3, atol=1e-2)
    if transformed:
        return  # the slope is that of a secant, see the test of it
    step = 1e-2
    difference = (operator(z + step * v) - operator(z - step * v)) / (2 * step)
    torch.testing.assert_close(forward(v), difference, rtol=2e-2, atol=0.2)


def test_no_observation_leaves_the_climatology(tiny_model: Model) -> None:
    members = assimilate(tiny_model, [], members=list(range(48)), steps=16)
    mean, std = climatology_arrays(tiny_model, SEASON)
    assert np.abs((members.mean(0) - mean[:, :2]) / std[:, :2]).mean() < 0.3
    assert 0.7 < (members.std(0) / std[:, :2]).mean() < 1.3


def test_encoding_and_decoding_are_near_inverses(tiny_model: Model) -> None:
    _, std = climatology_arrays(tiny_model, SEASON)
    x = decode_arrays(
        tiny_model,
        np.random.default_rng(0).standard_normal((LENGTH, *tiny_model.networks().autoencoder.latent_shape)),
        SEASON,
    )
    again = decode_arrays(tiny_model, encode_arrays(tiny_model, x, SEASON), SEASON)
    assert np.abs((again - x)[:, :2] / std[:, :2]).mean() < 0.3
    # What is not there counts as climatology.
    x[:, 2] = np.nan
    assert np.isfinite(encode_arrays(tiny_model, x, SEASON)).all()

"""Covariances that differ from place to place along latitude circles, against dense linear algebra."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams.localization import gaspari_cohn
from xslams.model import Model
from xslams.options import TrainingOptions
from xslams.priors.estimation import Sample
from xslams.priors.gaussian import StationaryGaussian
from xslams.priors.local import LocalMixing, TaperFunctions
from xslams.spec import Spec, VariableSpec
from xslams.training import fit_arrays
from xslams.training.taper import taper_functions

LENGTH = 6000.0


def spec_of(channels: int, lat: int, lon: int) -> Spec:
    names = ("t", "q", "u")[:channels]
    return Spec(
        tuple(VariableSpec(n, "K") for n in names), lat=tuple(np.linspace(-50, 60, lat)),
        lon=tuple(360.0 / lon * np.arange(lon)), periodic=True, time_step=24.0, window=3,
    )  # fmt: skip


def frames(channels: int, lat: int, lon: int, count: int = 60, seed: int = 0) -> torch.Tensor:
    """Neighbours are alike on one half of the circle, and opposite on the other."""
    z = torch.randn(count, channels, lat, lon, generator=torch.Generator().manual_seed(seed))
    half = lon // 2
    z[..., 1:half] += 0.9 * z[..., : half - 1]
    z[..., half + 1 :] -= 0.9 * z[..., half:-1]
    return z


def fitted(
    z: torch.Tensor, *, modes: int = 10**6, count: int = 10**6, locality: float = 0.5, cut: int = 1, folds: int = 0
) -> tuple[StationaryGaussian, LocalMixing, TaperFunctions]:
    """Process and mixing of fields ``(T, channel, lat, lon)``, which are cut into patches."""
    _, channels, lat, lon = z.shape
    latents = F.pixel_unshuffle(z, cut) if cut > 1 else z
    process = StationaryGaussian(tuple(latents.shape[1:]), periodic=True, modes=modes, lags=2, cut=cut)
    sample = Sample(process.layout, [latents[:35], latents[35:]], folds=folds)
    process.estimate(sample)
    taper = taper_functions(process.layout, cut, spec_of(channels, lat, lon), LENGTH)
    mixing = LocalMixing(process.layout, modes, count)
    mixing.estimate(process, sample, taper, locality=locality)
    return process, mixing, taper


def taper_matrix(taper: TaperFunctions, channels: int, lat: int, lon: int) -> torch.Tensor:
    """Taper between all cells of all channels."""
    apart = 2 * np.pi / lon * (torch.arange(lon)[:, None] - torch.arange(lon))
    found = torch.zeros(lat, lon, lat, lon)
    for wave, profiles in zip(taper.waves, taper.profiles, strict=True):
        found += (profiles.T @ profiles)[:, None, :, None] * torch.cos(wave * apart)[None, :, None, :]
    return found.flatten(2).flatten(0, 1).repeat(channels, channels)


def dense(process: StationaryGaussian, mixing: LocalMixing | None, length: int = 1) -> torch.Tensor:
    """Covariance of trajectories of latents as a matrix."""
    gaussian = process.trajectory(length)
    eye = torch.eye(length * int(np.prod(process.latent_shape))).reshape(-1, length, *process.latent_shape)
    if mixing is None:
        return gaussian.apply(lambda d: d, eye).flatten(1)
    mixed = mixing.of(process)
    return mixed(gaussian.apply(lambda d: d, mixed.adjoint(eye))).flatten(1)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 2), lat=st.integers(1, 3), lon=st.integers(3, 8), cut=st.integers(1, 2),
    modes=st.integers(1, 7), count=st.integers(1, 40), locality=st.floats(0, 1), folds=st.sampled_from([0, 3]),
)  # fmt: skip
def test_adjoint_and_inverse_are_those_of_the_map(channels, lat, lon, cut, modes, count, locality, folds):
    z = frames(channels, lat * cut, lon * cut)
    process, mixing, _ = fitted(z, modes=modes, count=count, locality=locality, cut=cut, folds=folds)
    mixed = mixing.of(process)
    v, w = torch.randn(2, 2, 3, *process.latent_shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((mixed(v) * w).sum(), (v * mixed.adjoint(w)).sum(), rtol=1e-3, atol=2e-2)
    torch.testing.assert_close(mixed.inverse(mixed(v)), v, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(mixed(mixed.inverse(v)), v, rtol=1e-3, atol=2e-3)
    # Trajectories do not depend on those beside them.
    torch.testing.assert_close(mixed(v)[1:], mixed(v[1:]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lon", [7, 8])
@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("locality", [0.0, 0.4, 1.0])
def test_the_covariance_is_that_of_the_circle_and_of_the_place_in_the_proportion_asked_for(lon, cut, locality):
    z = frames(2, 2 * cut, lon * cut)
    process, mixing, taper = fitted(z, locality=locality, cut=cut)
    assert len(mixing.index) == z[0].numel()
    sample = z.flatten(1).T @ z.flatten(1) / len(z)
    local = taper_matrix(taper, 2, 2 * cut, lon * cut) * sample
    eye = torch.eye(len(local)).reshape(-1, *z.shape[1:])
    cells = F.pixel_unshuffle(eye, cut).flatten(1) if cut > 1 else eye.flatten(1)
    homogeneous, found = (cells @ dense(process, m) @ cells.T for m in (None, mixing))
    torch.testing.assert_close(found, (1 - locality) * homogeneous + locality * local, rtol=0, atol=2e-3)


def test_modes_that_do_not_lead_keep_their_covariance():
    z = frames(1, 4, 12)
    process, mixing, _ = fitted(z, modes=3, count=9, locality=0.6)
    v = torch.randn(200, 1, *process.latent_shape, generator=torch.Generator().manual_seed(2))
    mixed = mixing.of(process)
    leading = mixed.coordinates(process.to_blocks(mixed(v))[: mixed._blocks].flatten(1, 2))
    before = mixed.coordinates(process.to_blocks(v)[: mixed._blocks].flatten(1, 2))
    assert leading.shape == (200, 9)
    torch.testing.assert_close(leading, before @ (torch.eye(9) + mixing.change).T, rtol=1e-3, atol=1e-4)
    # What is added lies in the span of the leading modes, whose amplitudes are orthonormal coordinates.
    added = (mixed(v) - v).flatten(1)
    torch.testing.assert_close(added.square().sum(1), (leading - before).square().sum(1), rtol=1e-3, atol=1e-4)
    own = mixed.coordinates(process.to_blocks(z[:, None])[: mixed._blocks].flatten(1, 2))
    assert not torch.allclose(own.T @ own / len(z), torch.diag(own.square().mean(0)), atol=0.05)


@pytest.mark.parametrize("length", [1, 4])
def test_a_covariance_of_trajectories_is_positive_and_that_of_its_draws(length):
    process, mixing, _ = fitted(frames(2, 3, 8), modes=4, count=21, locality=0.8, folds=3)
    covariance = dense(process, mixing, length).double()
    torch.testing.assert_close(covariance, covariance.T, rtol=0, atol=1e-3)
    assert float(torch.linalg.eigvalsh(covariance)[0]) > -1e-3
    eye = torch.eye(len(covariance)).reshape(-1, length, *process.latent_shape)
    gaussian, mixed = process.trajectory(length), mixing.of(process)
    root = mixed(gaussian.apply(torch.sqrt, eye)).flatten(1).double()
    torch.testing.assert_close(root.T @ root, covariance, rtol=0, atol=2e-3)


def test_likelihoods_are_those_of_the_dense_covariance():
    # Latents of the process have the density of the fields but for the determinant of the map.
    process, mixing, _ = fitted(frames(1, 3, 8), locality=0.7, folds=3)
    z = frames(1, 3, 8, count=5, seed=1)[:, None]
    w = mixing.of(process).inverse(z)
    found = (w * process.trajectory(1).apply(lambda d: 1 / d, w)).flatten(1).sum(1)
    found = found + process.trajectory(1).apply(torch.log, torch.eye(24).reshape(-1, 1, 1, 3, 8)).flatten(1).trace()
    found = found + 2 * torch.linalg.slogdet(torch.eye(24) + mixing.change)[1]
    covariance = dense(process, mixing).double()
    x = z.flatten(1).double()
    exact = (x * torch.linalg.solve(covariance, x.T).T).sum(1) + torch.linalg.slogdet(covariance)[1]
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-2)


def test_what_a_short_sample_has_by_chance_is_not_taken_for_a_place():
    # White noise: the covariance of the leading modes is the same everywhere.
    z = torch.randn(80, 1, 4, 12, generator=torch.Generator().manual_seed(3))
    sizes = []
    for folds in (0, 4):
        _, mixing, _ = fitted(z, locality=1.0, folds=folds)
        root = torch.eye(len(mixing.change)) + mixing.change
        sizes.append(torch.linalg.svdvals(root))
    inside, outside = (float((s - 1).abs().mean()) for s in sizes)
    assert inside > 0.1
    assert outside < 0.5 * inside


def test_without_weight_nothing_changes():
    process, mixing, _ = fitted(frames(1, 3, 8), count=20, locality=0.0)
    w = torch.randn(2, 3, 1, 3, 8)
    torch.testing.assert_close(mixing.of(process)(w), w)


def test_fields_that_do_not_vary_do_no_harm():
    for size in (0.0, 1e-6):
        z = frames(2, 3, 8)
        z[:, 1] *= size
        process, mixing, _ = fitted(z, locality=1.0, folds=3)
        w = torch.randn(2, 3, *process.latent_shape)
        mixed = mixing.of(process)
        torch.testing.assert_close(mixed(w)[:, :, 1], w[:, :, 1], rtol=0, atol=1e-3)
        torch.testing.assert_close(mixed.inverse(mixed(w)), w, rtol=1e-3, atol=2e-3)
        # As a file holds it.
        assert bool(torch.isfinite(mixing.change.half()).all())


def test_a_change_of_the_weights_is_seen_by_the_next_map():
    process, mixing, _ = fitted(frames(1, 3, 8), count=20)
    before = mixing.of(process)
    assert mixing.of(process) is before
    twin = copy.deepcopy(mixing)
    mixing.change.mul_(2.0)
    assert mixing.of(process) is not before
    w = torch.randn(1, 1, 1, 3, 8)
    torch.testing.assert_close(mixing.of(process)(w) - w, 2 * (before(w) - w), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(twin.of(process)(w), before(w))


@settings(max_examples=15, deadline=None)
@given(lat=st.integers(1, 7), length=st.floats(1500, 30000))
def test_functions_of_place_make_up_the_taper(lat, length):
    spec, lon = spec_of(1, lat, 12), 12
    process = StationaryGaussian((1, lat, lon), periodic=True, modes=1, lags=0)
    found = taper_matrix(taper_functions(process.layout, 1, spec, length), 1, lat, lon).double()
    phi, lam = (np.deg2rad(a).ravel() for a in np.meshgrid(spec.lat, spec.lon, indexing="ij"))
    xyz = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], 1)
    apart = 6371.0 * np.linalg.norm(xyz[:, None] - xyz, axis=2)
    expected = torch.as_tensor(gaspari_cohn(apart, length))
    torch.testing.assert_close(found.diagonal(), torch.ones(len(found), dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.1)
    assert float(torch.linalg.eigvalsh(found)[0]) > -1e-5 * len(found)


# ---------------------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------------------
def trained(**given: object) -> Model:
    z = frames(1, 4, 8, count=730)
    spec = spec_of(1, 4, 8)
    options = TrainingOptions.of({"epochs": 0, "modes": 4, "mean_order": 0, "std_order": 0} | given)
    return fit_arrays(spec, [(280 + z.numpy(), np.arange(730) / 365.25 % 1)], options, progress=False, device="cpu")


@pytest.mark.parametrize(
    "given",
    [
        {}, {"seasonal": 4, "coupled": 2}, {"patch": 2}, {"patch": 2, "latent_channels": 2}, {"localization": 3e3},
        {"epochs": 1, "width": (8,), "blocks": 1},
    ],
)  # fmt: skip
def test_a_model_is_stored_and_maps_there_and_back(given: dict[str, object], tmp_path: Path) -> None:
    model = trained(local=20, locality=0.8, **given)
    model.save(tmp_path / "model.safetensors")
    prior, again = model.prior(), Model.load(tmp_path / "model.safetensors").prior()
    for name, weights in prior.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weights, rtol=0, atol=0)
    season, z = torch.arange(6) / 365.25, torch.randn(2, 6, *prior.shape)
    x = prior.decode(z, season)
    torch.testing.assert_close(again.decode(z, season), x, rtol=0, atol=0)
    if prior.autoencoder.complete or prior.autoencoder.identity:
        torch.testing.assert_close(prior.encode(x, season), z, rtol=1e-3, atol=5e-3)
        torch.testing.assert_close(prior.encode(x[0], season), z[0], rtol=1e-3, atol=5e-3)
    value, (forward, adjoint) = prior.fields(season).tangent(z)
    torch.testing.assert_close(value, x)
    torch.testing.assert_close(forward(z), x - prior.decode(torch.zeros_like(z), season), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close((forward(z) * x).sum(), (z * adjoint(x)).sum(), rtol=1e-3, atol=0.5)


def test_a_model_knows_where_neighbours_are_alike_and_where_opposite() -> None:
    for local, half in ((0, 0.0), (32, 0.25)):
        prior = trained(local=local, locality=0.8, modes=8).prior()
        white = torch.randn(4000, 1, *prior.shape, generator=torch.Generator().manual_seed(0))
        drawn = prior.decode(prior.gaussian.trajectory(1).apply(torch.sqrt, white), torch.zeros(1))[:, 0, 0] - 280
        apart = (drawn[..., 1:] * drawn[..., :-1]).mean((0, 1))
        west, east = float(apart[:3].mean()), float(apart[4:].mean())
        assert west > half - 0.05
        assert east < 0.05 - half
        if not local:
            assert abs(west - east) < 0.1


def test_weights_without_local_covariances_are_those_of_files_without_them() -> None:
    model = trained()
    assert model.prior().local is None
    assert not [name for name in model.prior().state_dict() if name.startswith("local")]


def test_other_grids_have_none() -> None:
    spec = Spec((VariableSpec("t", "K"),), lat=(40.0, 45.0), lon=(0.0, 2.5, 5.0, 7.5), periodic=False, window=3)
    z = frames(1, 2, 4, count=730)
    options = TrainingOptions(epochs=0, modes=4, local=20)
    model = fit_arrays(spec, [(z.numpy(), np.arange(730) / 365.25 % 1)], options, progress=False, device="cpu")
    assert model.prior().local is None


def test_an_analysis_has_the_mean_of_the_dense_posterior() -> None:
    model, length = trained(local=24, locality=1.0, modes=4), 3
    prior, spec = model.prior(), model.spec
    time = pd.date_range("2001-03-01", periods=length)
    truth = 280 + frames(1, 4, 8, count=length, seed=9)[:, 0].numpy()
    ds = xr.Dataset(
        {"t": (("time", "lat", "lon"), truth, {"units": "K"})},
        {"time": time, "lat": list(spec.lat), "lon": list(spec.lon)},
    )
    seen = ds["t"].where(np.arange(8) % 3 == 0)
    obs = xslams.Observation(seen, error=0.5)
    analysis = ds.slams.assimilate([obs], model, members=2, antithetic=True, background_error=None, progress=False)
    rest = torch.zeros(1, length, *prior.shape)
    mean, (forward, _) = prior.fields(torch.zeros(length)).tangent(rest)
    size = rest.numel()
    eye = torch.eye(size).reshape(-1, *rest.shape[1:])
    covariance = prior.gaussian.trajectory(length).apply(lambda d: d, eye).flatten(1).double()
    rows = forward(eye).flatten(1).double()
    cov = rows.T @ covariance @ rows
    known = np.flatnonzero(seen.notnull().to_numpy().ravel())
    departure = torch.as_tensor(truth.ravel()[known]).double() - mean.flatten().double()[known]
    system = cov[np.ix_(known, known)] + 0.25 * torch.eye(len(known), dtype=cov.dtype)
    exact = mean.flatten().double() + cov[:, known] @ torch.linalg.solve(system, departure)
    found = analysis["t"].mean("member").transpose("time", "lat", "lon").to_numpy().ravel()
    np.testing.assert_allclose(found, exact.numpy(), rtol=0, atol=0.05)
    # Observations of one half of the circle tell of their neighbours what they do not on the other.
    assert float((exact - mean.flatten()).abs().max()) > 0.5

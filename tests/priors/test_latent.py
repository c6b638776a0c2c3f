"""Normalisation, autoencoder, network and the file that holds them."""

import dataclasses
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xslams.errors import ModelError
from xslams.model import Model
from xslams.networks.autoencoder import Autoencoder, PadConv2d
from xslams.networks.normalization import Normalization
from xslams.networks.unet import ScoreNetwork
from xslams.priors.denoiser import windows
from xslams.spec import Spec, VariableSpec

SPEC = Spec(
    variables=(
        VariableSpec("t", "K", levels=(0.9, 0.5), level_dim="sigma"),
        VariableSpec("pr", "mm day-1", role="aux", transform="sqrt", scale=2.0),
    ),
    lat=tuple(np.linspace(-70, 70, 8)),
    lon=tuple(np.arange(16) * 22.5),
    periodic=True,
)


def fields(days: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Seasonal temperature and skewed precipitation."""
    rng = np.random.default_rng(seed)
    season = (np.arange(days) % 365) / 365.25
    t = 270 + 15 * np.cos(2 * np.pi * season)[:, None, None, None] + 3 * rng.standard_normal((days, 2, 8, 16))
    pr = 5 * rng.standard_normal((days, 1, 8, 16)).clip(0) ** 2
    return torch.as_tensor(np.concatenate([t, pr], 1), dtype=torch.float32), torch.as_tensor(
        season, dtype=torch.float32
    )


def test_normalized_fields_have_unit_variance_and_come_back() -> None:
    x, season = fields(730)
    normalization = Normalization(SPEC, 2, 1)
    normalization.fit(x, season)
    u = normalization.normalize(x, season)
    torch.testing.assert_close(u.std((0, 2, 3)), torch.ones(3), atol=0.08, rtol=0)
    assert u.mean((0, 2, 3)).abs().max() < 0.05
    torch.testing.assert_close(normalization.denormalize(u, season), x, atol=2e-3, rtol=1e-4)


def test_missing_values_become_no_anomaly() -> None:
    x, season = fields(400)
    normalization = Normalization(SPEC, 1, 1)
    normalization.fit(x, season)
    x[3, 1] = torch.nan
    assert (normalization.normalize(x, season)[3, 1] == 0).all()


@given(st.floats(-50, 300))
def test_transform_has_its_inverse_and_slope(value: float) -> None:
    normalization = Normalization(SPEC, 1, 1)
    x = torch.full((3, 8, 16), value, dtype=torch.float64)
    g = normalization.transform(x)
    torch.testing.assert_close(normalization.inverse_transform(g), x)
    step = 1e-6
    difference = (normalization.inverse_transform(g + step) - normalization.inverse_transform(g - step)) / (2 * step)
    torch.testing.assert_close(normalization.slope(g), difference, rtol=1e-4, atol=1e-4)


@given(st.floats(-3, 8), st.floats(-3, 8))
def test_secant_leads_from_the_estimate_to_the_target(start: float, end: float) -> None:
    normalization = Normalization(SPEC, 1, 1)
    g, target = (torch.full((3, 8, 16), v, dtype=torch.float64) for v in (start, end))
    there = normalization.inverse_transform(g) + normalization.secant(g, target) * (target - g)
    torch.testing.assert_close(there, normalization.inverse_transform(target), atol=1e-5, rtol=1e-6)


def test_no_spread_is_too_small_to_divide_by() -> None:
    x, season = fields(400)
    x[:, 2, :, :4] = 0.0  # a desert
    normalization = Normalization(SPEC, 1, 1)
    normalization.fit(x, season)
    _, std = normalization.climatology(season)
    assert std.min() > 0.1 * std[:, 2].median()


def test_identity_autoencoder_is_the_identity() -> None:
    autoencoder = Autoencoder((3, 5, 7), 3, 1, periodic=False)
    u = torch.randn(2, 4, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(u)), u)


@pytest.mark.parametrize("shape", [(3, 8, 16), (2, 7, 9)])
def test_autoencoder_with_room_enough_loses_nothing(shape: tuple[int, int, int]) -> None:
    autoencoder = Autoencoder(shape, shape[0] * 4, 2, periodic=False, hidden=8)
    u = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))
    autoencoder.start_from_patches(u, torch.ones(shape[0]))
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(u)), u, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("periodic", [False, True])
def test_whitening_decorrelates_the_channels_of_every_cell(periodic: bool) -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder((2, 8, 16), 8, 2, periodic=periodic, hidden=0)
    u = torch.randn(2000, 2, 8, 16)
    u[:, 1, :, 8:] += 2 * u[:, 0, :, 8:]  # over half of the longitudes the two fields go together
    autoencoder.start_from_patches(u, torch.ones(2))
    before = autoencoder.encode(u[:5])
    autoencoder.whiten(u.split(500), shrinkage=0.0)
    z = autoencoder.encode(u).permute(2, 3, 1, 0)
    torch.testing.assert_close(z @ z.mT / 2000, torch.eye(8).expand(4, 8, 8, 8), atol=2e-3, rtol=0)
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(u)), u, atol=1e-3, rtol=1e-3)
    # Channels keep their meaning: each is still most like itself.
    likeness = torch.einsum("bcij,bdij->cd", autoencoder.encode(u[:5]), before).abs()
    assert (likeness.argmax(1) == torch.arange(8)).all()
    if periodic:
        autoencoder.whiten(u.split(500), shrinkage=1.0)
        assert torch.allclose(autoencoder.mixing, autoencoder.mixing[:, :1].expand_as(autoencoder.mixing), atol=1e-5)


def test_some_channels_decode_as_all_do() -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder((3, 8, 16), 5, 4, periodic=True, hidden=0)
    z = torch.randn(2, 5, 2, 4)
    torch.testing.assert_close(autoencoder.decode(z, [0, 2]), autoencoder.decode(z)[:, [0, 2]])


def test_padding_is_periodic_in_longitude_only() -> None:
    torch.manual_seed(0)
    layer = PadConv2d(1, 1, periodic=True)
    x = torch.randn(1, 1, 6, 8)
    torch.testing.assert_close(layer(x.roll(2, -1)), layer(x).roll(2, -1))
    assert not torch.allclose(layer(x.roll(2, -2)), layer(x).roll(2, -2), atol=1e-3)
    # A change at the north pole must not be felt at the south pole.
    changed = x.clone()
    changed[..., 0, :] += 10
    torch.testing.assert_close(layer(changed)[..., 2:, :], layer(x)[..., 2:, :])


@pytest.mark.parametrize("latent_shape", [(4, 12, 24), (2, 7, 13)])
def test_untrained_network_corrects_nothing(latent_shape: tuple[int, int, int]) -> None:
    network = ScoreNetwork(latent_shape, 3, periodic=True, width=(16, 16), blocks=1)
    x = torch.randn(2, 3, *latent_shape)
    out = network(x, x, torch.zeros(2), torch.zeros(2))
    assert out.shape == x.shape
    assert (out == 0).all()


@given(st.integers(1, 9), st.integers(0, 40))
def test_windows_cover_every_frame_once(window: int, more: int) -> None:
    length = window + more
    seen: list[int] = []
    for start, begin, end in windows(length, window):
        assert 0 <= start <= begin < end <= start + window <= length
        seen.extend(range(begin, end))
    assert seen == list(range(length))


def test_model_survives_its_file(tiny_model: Model, tmp_path: Path) -> None:
    path = tiny_model.save(tmp_path / "tiny.safetensors")
    loaded = Model.load(path)
    assert loaded.spec == dataclasses.replace(tiny_model.spec, architecture=loaded.spec.architecture)
    assert loaded._prior is None  # only the header was read
    for (name, a), b in zip(tiny_model.prior().state_dict().items(), loaded.prior().state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not loaded.prior().training
    assert list(tmp_path.iterdir()) == [path]


def test_saved_model_pickles_as_a_handle(tiny_model: Model, tmp_path: Path) -> None:
    model = Model.load(tiny_model.save(tmp_path / "tiny.safetensors"))
    model.prior()
    assert len(pickle.dumps(model)) < 20_000
    assert pickle.loads(pickle.dumps(model)).sha256 == model.sha256


def _damage_truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _damage_foreign(data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = {"format": "pt"}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _damage_future(data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    spec = json.loads(header["__metadata__"]["spec"]) | {"format_version": 99}
    header["__metadata__"]["spec"] = json.dumps(spec)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damage_truncate, "truncated"),
        (_damage_foreign, "not an xslams model"),
        (_damage_future, "Update xslams"),
        (lambda _: b"\x80\x04K\x01.", "not an xslams model"),
        (lambda _: b"", "not an xslams model"),
    ],
)
def test_bad_files_are_refused(tiny_model: Model, tmp_path: Path, damage, message: str) -> None:
    path = tiny_model.save(tmp_path / "tiny.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=message):
        Model.load(path)


def test_weights_that_do_not_fit_the_header_are_refused(tiny_model: Model, tmp_path: Path) -> None:
    path = tiny_model.save(tmp_path / "tiny.safetensors")
    model = Model.load(path)
    model.spec = dataclasses.replace(model.spec, architecture=model.spec.architecture | {"latent_channels": 3})
    with pytest.raises(ModelError, match="do not fit"):
        model.prior()


def test_missing_file_and_wrong_suffix(tiny_model: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"list_models"):
        Model.load(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="safetensors"):
        tiny_model.save(tmp_path / "model.pt")

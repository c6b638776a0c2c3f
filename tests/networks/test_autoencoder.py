"""The autoencoder: what it keeps, and what its latents look like."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xslams.networks.autoencoder import Autoencoder
from xslams.networks.layers import Periodic


def test_identity_autoencoder_is_the_identity() -> None:
    autoencoder = Autoencoder((3, 5, 7), 3, 1, periodic=False, hidden=8)
    u = torch.randn(2, 4, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(u)), u)


@pytest.mark.parametrize("shape", [(3, 8, 16), (2, 7, 9)])
def test_autoencoder_with_room_enough_loses_nothing(shape: tuple[int, int, int]) -> None:
    autoencoder = Autoencoder(shape, shape[0] * 4, 2, periodic=False, hidden=8)
    u = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))
    autoencoder.start_from_patches(u, torch.ones(shape[0]))
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(u)), u, atol=1e-4, rtol=1e-4)


def test_latents_that_leave_nothing_out_are_the_values_of_a_patch() -> None:
    autoencoder = Autoencoder((2, 4, 6), 8, 2, periodic=True, hidden=0)
    u = torch.randn(50, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    autoencoder.start_from_patches(u, torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(autoencoder.encode(u), torch.nn.functional.pixel_unshuffle(u, 2))


def in_half_of_the_longitudes() -> torch.Tensor:
    """Two fields that go together over half of the longitudes, where neighbours do, too."""
    u = torch.randn(2000, 2, 8, 16, generator=torch.Generator().manual_seed(0))
    u[..., 8:] += u[..., 8:].roll(1, -1)
    u[:, 1, :, 8:] += 2 * u[:, 0, :, 8:]
    return u


@pytest.mark.parametrize("periodic", [False, True])
def test_whitening_decorrelates_the_channels_of_every_cell(periodic: bool) -> None:
    autoencoder = Autoencoder((2, 8, 16), 7, 2, periodic=periodic, hidden=0)
    u = in_half_of_the_longitudes()
    autoencoder.start_from_patches(u, torch.ones(2))
    before, decoded = autoencoder.encode(u[:5]), autoencoder.decode(autoencoder.encode(u))
    autoencoder.whiten(u.split(500), shrinkage=0.0)
    z = autoencoder.encode(u).permute(2, 3, 1, 0)
    torch.testing.assert_close(z @ z.mT / 2000, torch.eye(7).expand(4, 8, 7, 7), atol=2e-3, rtol=0)
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(u)), decoded, atol=1e-3, rtol=1e-3)
    # Channels keep their meaning: each is still most like itself.
    likeness = torch.einsum("bcij,bdij->cd", autoencoder.encode(u[:5]), before).abs()
    assert (likeness.argmax(1) == torch.arange(7)).all()
    if periodic:
        autoencoder.whiten(u.split(500), shrinkage=1.0)
        assert torch.allclose(autoencoder.mixing, autoencoder.mixing[:, :1].expand_as(autoencoder.mixing), atol=1e-5)


@pytest.mark.parametrize("channels", [2, 7, 8])
def test_cells_that_never_vary_have_latents_of_modest_size_once_they_do(channels: int) -> None:
    """As sea under ice, at the temperature of freezing in the few years of training."""
    patch = 1 if channels == 2 else 2
    autoencoder = Autoencoder((2, 8, 16), channels, patch, periodic=True, hidden=0)
    u = torch.randn(60, 2, 8, 16, generator=torch.Generator().manual_seed(0))
    other = u.clone()
    u[:, :, :2, :8] = 0.0
    if patch > 1:
        autoencoder.start_from_patches(u, torch.ones(2))
    autoencoder.whiten([u])
    with torch.no_grad():
        assert float(autoencoder.encode(other).abs().max()) < 30
        if channels != 7:
            torch.testing.assert_close(autoencoder.decode(autoencoder.encode(other)), other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("periodic", [False, True])
def test_whitening_of_all_values_of_a_patch_is_that_of_single_cells(periodic: bool) -> None:
    autoencoder = Autoencoder((2, 8, 16), 8, 2, periodic=periodic, hidden=0)
    u = in_half_of_the_longitudes()
    autoencoder.start_from_patches(u, torch.ones(2))
    autoencoder.whiten(u.split(500), shrinkage=0.0)
    z = autoencoder.encode(u)
    # Latents of the two fields, on the grid of the fields.
    cells = torch.nn.functional.pixel_shuffle(z, 2).permute(2, 3, 1, 0)
    torch.testing.assert_close(cells @ cells.mT / 2000, torch.eye(2).expand(8, 16, 2, 2), atol=2e-3, rtol=0)
    torch.testing.assert_close(autoencoder.decode(z), u, atol=1e-3, rtol=1e-3)
    # Neighbours go together as they did.
    alike = (cells[:, 12, 0] * cells[:, 13, 0]).mean(-1)
    assert (alike > 0.3).all()


@pytest.mark.parametrize(("shape", "patch", "channels"), [((2, 8, 16), 2, 7), ((1, 1, 12), 12, 4)])
@torch.no_grad()
def test_latents_have_the_variances_that_they_stand_for(shape: tuple[int, int, int], patch: int, channels: int) -> None:
    """Noise on the latents is as large in every pattern of the fields, wherever the fields have these patterns."""
    torch.manual_seed(0)
    autoencoder = Autoencoder(shape, channels, patch, periodic=False, hidden=0)
    # Patterns of very different sizes, the same everywhere.
    size = shape[0] * patch**2
    patterns = torch.linalg.qr(torch.randn(size, size))[0] * torch.logspace(0, -1.2, size)
    amplitudes = torch.randn(4000, -(-shape[1] // patch), shape[2] // patch, size)
    whole = torch.nn.functional.pixel_shuffle((amplitudes @ patterns.T).movedim(-1, 1), patch)
    u = whole[..., : shape[1], :]
    autoencoder.start_from_patches(u, torch.ones(shape[0]))
    decoded = autoencoder.decode(autoencoder.encode(u))
    autoencoder.whiten(u.split(500), shrinkage=0.0)
    autoencoder.weigh(u.split(500))
    z = autoencoder.encode(u)
    torch.testing.assert_close(autoencoder.decode(z), decoded, atol=1e-3, rtol=1e-3)
    assert float(z.square().mean()) == pytest.approx(1, abs=0.02)
    # All channels of all cells stand for fields of the same size, up to what a sample knows of each cell.
    unit = torch.eye(z[0].numel()).reshape(-1, *z.shape[1:])
    fields = autoencoder.decoder()(unit).flatten(1)
    gram = fields @ fields.T
    torch.testing.assert_close(
        gram, gram.diagonal().mean() * torch.eye(len(gram)), atol=0.2 * float(gram[0, 0]), rtol=0
    )
    assert float(autoencoder.scale.std()) < 0.05 * float(autoencoder.scale.mean())


@torch.no_grad()
def test_a_direction_that_stands_for_nothing_is_not_lost_in_the_noise() -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder((1, 1, 6), 3, 6, periodic=False, hidden=0)
    u = torch.randn(2000, 1, 1, 6) * torch.tensor([1.0, 1.0, 1e-3, 0.0, 0.0, 0.0])
    autoencoder.start_from_patches(u, torch.ones(1))
    autoencoder.whiten([u])
    autoencoder.weigh([u])
    variances = torch.linalg.eigvalsh(torch.cov(autoencoder.encode(u).flatten(1).T))
    assert float(variances[0]) == pytest.approx(0.01, rel=0.05)


def test_some_channels_decode_as_all_do() -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder((3, 8, 16), 5, 4, periodic=True, hidden=0)
    z = torch.randn(2, 5, 2, 4)
    torch.testing.assert_close(
        autoencoder.decoder([0, 2])(z) + autoencoder.decoder([0, 2]).offset, autoencoder.decode(z)[:, [0, 2]]
    )


@given(
    lat=st.integers(2, 9),
    lon=st.integers(2, 9),
    patch=st.integers(1, 3),
    latent=st.integers(1, 4),
    periodic=st.sampled_from([False, True, "both"]),
    channels=st.sampled_from([None, [0], [1, 0]]),
    alone=st.booleans(),
)
def test_the_adjoint_of_the_decoder_is_its_adjoint(
    lat: int, lon: int, patch: int, latent: int, periodic: Periodic, channels: list[int] | None, alone: bool
) -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder((2, lat, lon), latent, patch, periodic=periodic, hidden=0).double()
    autoencoder.scale.copy_(torch.rand_like(autoencoder.scale) + 0.5)
    if not autoencoder.identity:
        autoencoder.mixing.add_(0.3 * torch.randn_like(autoencoder.mixing))
        if alone:
            # As patterns of single patches do, which no training has changed.
            middle = autoencoder.decode_linear.weight[:, :, 1:2, 1:2].detach().clone()
            with torch.no_grad():
                autoencoder.decode_linear.weight.zero_()[:, :, 1:2, 1:2] = middle
        assert autoencoder.decode_linear.alone == alone
    decoder = autoencoder.decoder(channels)
    z = torch.randn(3, 2, *autoencoder.latent_shape, dtype=torch.float64)
    u = torch.randn_like(decoder(z))
    torch.testing.assert_close((decoder(z) * u).sum(), (z * decoder.adjoint(u)).sum())
    # What it is the linear part of.
    chosen = [0, 1] if channels is None else channels
    torch.testing.assert_close(decoder(z) + decoder.offset, autoencoder.decode(z)[..., chosen, :, :])
    torch.testing.assert_close(decoder(0 * z), torch.zeros_like(u))

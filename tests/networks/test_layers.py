"""Layers that networks share."""

import torch

from xslams.networks.layers import NOISE_FEATURES, PadConv2d, Sites, noise_features


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


def test_padding_of_a_square_is_periodic_in_both_directions() -> None:
    torch.manual_seed(0)
    layer = PadConv2d(1, 1, periodic="both")
    x = torch.randn(1, 1, 6, 8)
    for dim in (-1, -2):
        torch.testing.assert_close(layer(x.roll(2, dim)), layer(x).roll(2, dim))


def test_sites_see_their_neighbours_and_no_others() -> None:
    torch.manual_seed(0)
    layer = Sites(2, 3, reach=1)
    x = torch.randn(4, 8, 2)
    torch.testing.assert_close(layer(x.roll(3, -2)), layer(x).roll(3, -2))
    changed = x.clone()
    changed[:, 0] += 1
    felt = (layer(changed) != layer(x)).any(-1).any(0)
    assert felt.nonzero().flatten().tolist() == [0, 1, 7]


def test_features_tell_noise_levels_apart() -> None:
    log_sigma = torch.linspace(-5, 5, 41)
    features = torch.cat(noise_features(log_sigma), dim=1)
    assert features.shape == (41, NOISE_FEATURES)
    assert features.abs().max() <= 1
    assert torch.cdist(features, features).fill_diagonal_(torch.inf).min() > 0.3

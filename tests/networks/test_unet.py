"""The score network."""

import pytest
import torch

from xslams.networks.unet import ScoreNetwork


@pytest.mark.parametrize("latent_shape", [(4, 12, 24), (2, 7, 13)])
def test_untrained_network_corrects_nothing(latent_shape: tuple[int, int, int]) -> None:
    network = ScoreNetwork(latent_shape, 3, periodic=True, width=(16, 16), blocks=1, location=4, dropout=0.0)
    x = torch.randn(2, 3, *latent_shape)
    out = network(x, x, torch.zeros(2), torch.zeros(2))
    assert out.shape == x.shape
    assert (out == 0).all()


def test_damping_scales_the_correction() -> None:
    torch.manual_seed(0)
    network = ScoreNetwork((2, 4, 8), 3, periodic=True, width=(8,), blocks=1, location=2, dropout=0.0)
    torch.nn.init.normal_(network.last.weight)
    x, level = torch.randn(2, 3, 2, 4, 8), torch.zeros(2)
    before = network(x, x, level, level)
    network.damp(0.25)
    torch.testing.assert_close(network(x, x, level, level), 0.25 * before)

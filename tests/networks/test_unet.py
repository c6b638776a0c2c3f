"""The score network."""

import pytest
import torch

from xslams.networks.layers import PadConv2d, Periodic
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


@pytest.mark.parametrize(("latent_shape", "kernel"), [((6, 1, 1), (1, 1)), ((1, 1, 9), (1, 3)), ((2, 4, 5), (3, 3))])
@pytest.mark.parametrize("periodic", [False, True, "both"])
def test_layers_reach_no_further_than_the_grid(
    latent_shape: tuple[int, int, int], kernel: tuple[int, int], periodic: Periodic
) -> None:
    """A trimmed network is one with three taps whose copies of the same cell are added up."""
    torch.manual_seed(0)
    sizes = {"periodic": periodic, "width": (8,), "blocks": 1, "location": 2, "dropout": 0.0}
    trimmed = ScoreNetwork(latent_shape, 3, **sizes)
    whole = ScoreNetwork(latent_shape, 3, **sizes, trimmed=False)
    layers = {name: m for name, m in trimmed.named_modules() if isinstance(m, PadConv2d)}
    assert len(layers) == 2
    assert all(m.kernel_size == kernel for m in layers.values())
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = whole.state_dict()
    for name in layers:
        summed = [dim for dim, taps in zip((-2, -1), kernel, strict=True) if taps == 1]
        state[f"{name}.weight"] = (
            state[f"{name}.weight"].sum(summed, keepdim=True) if summed else state[f"{name}.weight"]
        )
    trimmed.load_state_dict(state)
    x, level = torch.randn(2, 3, *latent_shape), torch.zeros(2)
    torch.testing.assert_close(trimmed(x, x, level, level), whole(x, x, level, level), rtol=1e-4, atol=1e-4)

"""The loop that all stages share."""

import numpy as np
import torch
from torch import nn

from xslams.training.loop import Batches, minimize, one_cycle


def test_every_sample_is_in_each_epoch_once() -> None:
    torch.manual_seed(0)
    parts = list(Batches(10, 4, 3))
    assert [len(p) for p in parts] == [4, 4, 2] * 3
    epochs = torch.cat(parts).reshape(3, 10)
    assert (epochs.sort(1).values == torch.arange(10)).all()
    assert not torch.equal(epochs[0], epochs[1])


def trained(*, ema: float | None = None, clip: float | None = 1.0) -> list[float]:
    """Weights after each of four steps of gradient descent, and the one that remains."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    seen: list[float] = []

    def losses():
        for _ in range(4):
            yield (5 * (network.weight - 1)).square().sum()
            seen.append(network.weight.item())

    minimize(network, losses(), optimizer, schedule, steps=4, label="", progress=False, ema=ema, clip=clip)
    assert not network.training
    return [*seen, network.weight.item()]


def test_each_loss_is_one_step_and_gradients_are_clipped() -> None:
    np.testing.assert_allclose(trained(), [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-5)
    assert trained(clip=None)[0] == 5.0


def test_the_moving_average_of_the_weights_remains() -> None:
    # The average begins with the weights after the first step.
    expected = 0.1
    for weight in (0.2, 0.3, 0.4):
        expected = 0.9 * expected + 0.1 * weight
    assert abs(trained(ema=0.9)[-1] - expected) < 1e-6


def test_the_learning_rate_rises_to_its_largest_and_falls() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = one_cycle(optimizer, 1000, warm_up=20, final=100.0)
    rates = []
    for _ in range(1000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert 18 <= rates.index(max(rates)) <= 20
    assert abs(max(rates) - 0.5) < 1e-6
    assert abs(rates[0] / rates[-1] - 100) < 10

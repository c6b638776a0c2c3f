"""The loop of every stage: a step of the optimiser per loss, the moving average of the weights, the progress bar."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["batches", "minimize", "one_cycle"]

# Losses whose mean the progress bar shows.
_RECENT = 100


def batches(count: int, size: int, epochs: int) -> Iterator[Tensor]:
    """Yield the indices of all samples in batches, in another random order in each epoch."""
    for _ in range(epochs):
        yield from torch.randperm(count).split(size)


def one_cycle(optimizer: torch.optim.Optimizer, steps: int, *, warm_up: float = 200, final: float = 1e3) -> LRScheduler:
    """Return a schedule that rises to the optimiser's learning rate and falls to nearly nothing.

    Parameters
    ----------
    optimizer
        Its learning rate is the largest one.
    steps
        Number of steps.
    warm_up
        Steps in which the learning rate rises, a tenth of all at most.
    final
        Learning rate at the beginning over that at the end.
    """
    largest = optimizer.param_groups[0]["lr"]
    share = min(0.1, warm_up / steps)
    return OneCycleLR(optimizer, largest, total_steps=steps, pct_start=share, final_div_factor=final)


def minimize(
    network: nn.Module,
    losses: Iterable[Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    *,
    steps: int,
    label: str,
    progress: bool,
    clip: float | None = 1.0,
    ema: float | None = None,
) -> None:
    """Train a network in place: a step of the optimiser for each loss. Afterwards it is in evaluation mode.

    Parameters
    ----------
    network
        The network.
    losses
        Losses, each of which is computed with the weights after the step before: a generator.
    optimizer, schedule
        What takes the steps, and sets the learning rate after each.
    steps
        Number of losses, for the progress bar.
    label
        Title of the progress bar.
    progress
        Whether to show it.
    clip
        Largest norm of the gradient; None: any.
    ema
        Decay per step of the moving average of the weights, which the network is left with; None: no average.
    """
    average = None if ema is None else AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema))
    recent: deque[float] = deque(maxlen=_RECENT)
    network.train()
    with tqdm(total=steps, desc=label, disable=not progress, unit="step", mininterval=5) as bar:
        for loss in losses:
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            schedule.step()
            if average is not None:
                average.update_parameters(network)
            recent.append(loss.item())
            bar.update()
            bar.set_postfix(loss=f"{sum(recent) / len(recent):.4g}", refresh=False)
    if average is not None:
        network.load_state_dict(average.module.state_dict())
    network.eval()

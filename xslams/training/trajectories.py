r"""Train a network that denoises whole trajectories of a system, by the likelihood of its Gaussian output.

.. math:: \mathbb{E} \left[ -\log \mathcal{N}(z; \hat z(z_t), V_t(z_t)) \right]

over noise levels that are uniform in their logarithm. The likelihood weighs errors by what is known: along the flow,
where trajectories are hard to tell apart, it asks for less than across it, where the dynamics leave no doubt.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from tqdm import tqdm

if TYPE_CHECKING:
    from xslams.models.twofilter import TwoFilter

__all__ = ["fit_trajectories"]

# A single trajectory that is far off must not undo what was learned from the others.
_WORST = 50.0


def fit_trajectories(
    network: TwoFilter,
    data: Tensor,
    *,
    length: int,
    steps: int,
    batch: int = 256,
    learning_rate: float = 3e-3,
    noise: tuple[float, float] = (0.004, 30.0),
    ema: float = 0.99,
    progress: bool = True,
) -> None:
    """Train in place, and leave the moving average of the weights.

    Parameters
    ----------
    network
        The network.
    data
        Standardised trajectories, shape ``(trajectory, time, channel, site)``.
    length
        Frames of a training sample.
    steps, batch, learning_rate, ema
        Number of steps, samples in each, largest learning rate, and decay of the moving average.
    noise
        Smallest and largest noise level.
    progress
        Whether to show a progress bar.
    """
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(ema))
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=min(0.1, 200 / steps), final_div_factor=1e3
    )
    low, high = map(math.log, noise)
    frames = torch.arange(length)
    network.train()
    recent = 0.0
    with tqdm(total=steps, desc="trajectories", disable=not progress, unit="step", mininterval=10) as bar:
        for _ in range(steps):
            which = torch.randint(data.shape[0], (batch,))
            start = torch.randint(data.shape[1] - length + 1, (batch,))
            z = data[which[:, None], start[:, None] + frames]
            # One sample in each part of the range: less noise in the gradient than from independent ones.
            u = (torch.arange(batch) + torch.rand(batch)) / batch
            sigma = torch.exp(low + (high - low) * u)
            estimate = network(z + sigma[:, None, None, None] * torch.randn_like(z), sigma)
            loss = estimate.negative_log_likelihood(z).clamp(max=_WORST * z[0, 0].numel()).mean()
            error = (estimate.mean - z).square().mean((1, 2, 3)) / estimate.scale**2
            optimizer.zero_grad()
            (loss / z[0, 0].numel() + 0.1 * error.mean()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            recent += 0.01 * (loss.item() / z[0, 0].numel() - recent)
            bar.update()
            bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
    network.load_state_dict(average.module.state_dict())
    network.eval()

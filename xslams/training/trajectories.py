r"""Training of a network that denoises trajectories, by the likelihood of its output.

.. math:: \mathbb{E} \left[ -\log \mathcal{N}(z; \hat z(z_t), V_t(z_t)) \right]

over noise levels that are uniform in their logarithm. The likelihood weighs errors by what is known: along the flow,
where trajectories are hard to tell apart, it asks for less than across it, where the dynamics leave no doubt.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.training.loop import minimize, one_cycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xslams.networks.two_filter import TwoFilter
    from xslams.options import SystemTrainingOptions

__all__ = ["fit_trajectories"]

# A single trajectory that is far off must not undo what was learned from the others.
_WORST = 50.0
# Weight of the squared error of the mean, without which a network that is far off learns slowly.
_ERROR = 0.1


def fit_trajectories(network: TwoFilter, data: Tensor, options: SystemTrainingOptions, *, progress: bool) -> None:
    """Train in place, and leave the moving average of the weights.

    Parameters
    ----------
    network
        The network.
    data
        Standardised trajectories, shape ``(trajectory, time, channel, site)``.
    options
        Options of training.
    progress
        Whether to show a progress bar.
    """
    low, high = map(math.log, options.noise)
    batch, frames = options.batch, torch.arange(options.length)

    def losses() -> Iterator[Tensor]:
        for _ in range(options.steps):
            which = torch.randint(data.shape[0], (batch,))
            start = torch.randint(data.shape[1] - options.length + 1, (batch,))
            z = data[which[:, None], start[:, None] + frames]
            # One sample in each part of the range: less noise in the gradient than from independent ones.
            u = (torch.arange(batch) + torch.rand(batch)) / batch
            sigma = torch.exp(low + (high - low) * u)
            yield _loss(network, z, sigma)

    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=1e-4, betas=(0.9, 0.99))
    schedule = one_cycle(optimizer, options.steps)
    minimize(
        network, losses(), optimizer, schedule,
        steps=options.steps, label="trajectories", progress=progress, ema=options.ema,
    )  # fmt: skip


def _loss(network: TwoFilter, z: Tensor, sigma: Tensor) -> Tensor:
    """Negative log-likelihood per element of a frame."""
    estimate = network(z + sigma[:, None, None, None] * torch.randn_like(z), sigma)
    size = z[0, 0].numel()
    loss = estimate.negative_log_likelihood(z).clamp(max=_WORST * size).mean()
    error = (estimate.mean - z).square().mean((1, 2, 3)) / estimate.scale**2
    return loss / size + _ERROR * error.mean()

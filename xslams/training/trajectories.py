r"""Train a model of trajectories of a system: its step, and a network that denoises, by the likelihood of its output.

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

from xslams.priors.markov import steps_at
from xslams.priors.process import gauss_newton

if TYPE_CHECKING:
    from xslams.networks.transition import Transition
    from xslams.networks.two_filter import TwoFilter
    from xslams.priors.system_networks import SystemNetworks

__all__ = ["fit_trajectories", "fit_transition", "measure_levels"]

# Noise levels at which the two are compared.
_LEVELS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)

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


def fit_transition(
    transition: Transition,
    data: Tensor,
    *,
    steps: int,
    batch: int = 4096,
    learning_rate: float = 3e-3,
    least: float = 1e-4,
    progress: bool = True,
) -> None:
    """Train the step of a process in place, and measure its noise on the last tenth of the trajectories.

    Parameters
    ----------
    transition
        The step.
    data
        Standardised trajectories, shape ``(trajectory, time, channel, site)``.
    steps, batch, learning_rate
        Number of steps, pairs of frames in each, and largest learning rate.
    least
        Smallest standard deviation of the noise, in standard deviations of the data.
    progress
        Whether to show a progress bar.
    """
    count = len(data) - max(len(data) // 10, 1)
    known, hidden = data[:count], data[count:]
    unit = (known[:, 1:] - known[:, :-1]).std((0, 1, 3))[:, None]
    optimizer = torch.optim.Adam(transition.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=0.1, final_div_factor=1e4
    )
    transition.train()
    with tqdm(total=steps, desc="transition", disable=not progress, unit="step", mininterval=10) as bar:
        for _ in range(steps):
            which = torch.randint(len(known), (batch,))
            frame = torch.randint(known.shape[1] - 1, (batch,))
            error = (transition(known[which, frame]) - known[which, frame + 1]) / unit
            loss = error.square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(transition.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update()
            bar.set_postfix(error=f"{loss.item() ** 0.5:.2e}", refresh=False)
    transition.eval()
    with torch.no_grad():
        left = hidden[:, 1:] - transition(hidden[:, :-1])
        transition.noise.copy_(left.square().mean((0, 1, 3)).clamp(min=least**2))
        frames = known.flatten(2).flatten(0, 1).double()
        # A little more than the sample says, so that what it lacks is possible too.
        covariance = frames.T @ frames / len(frames) + 0.01 * torch.eye(frames.shape[1], dtype=torch.float64)
        transition.start.copy_(torch.linalg.inv(covariance))


@torch.no_grad()
def measure_levels(networks: SystemNetworks, data: Tensor) -> None:
    """Find up to which noise levels a step of Gauss and Newton improves on the filters, and serves without them.

    Parameters
    ----------
    networks
        Filters and transition, trained.
    data
        Standardised trajectories that they have not seen, shape ``(trajectory, time, channel, site)``.
    """
    z = data.flatten(2)
    refine = bare = previous = 0.0
    for level in _LEVELS:
        noisy = data + level * torch.randn_like(data)
        guess = networks.filters(noisy, torch.full((len(data),), level)).mean.flatten(2)
        seen = noisy.flatten(2)
        # As the denoiser takes them.
        refined = gauss_newton(networks.transition, guess, seen, level, steps_at(level))[0]
        error, refined_error = ((x - z).square().mean() for x in (guess, refined))
        if not refined_error < error:
            break
        refine = level
        if bare == previous:
            alone = gauss_newton(networks.transition, seen, seen, level, 2, checked=False)[0]
            bare = level if (alone - z).square().mean() < 1.02 * refined_error else bare
        previous = level
    networks.refine.fill_(refine)
    networks.bare.fill_(bare)

"""Training of the step of a process from one frame to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.training.loop import minimize, one_cycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xslams.networks.transition import Transition
    from xslams.options import SystemTrainingOptions

__all__ = ["fit_transition"]

# Smallest standard deviation of the noise, in standard deviations of the data: of a single application of the layers,
# and of several, which come closer to a process without noise.
_LEAST_NOISE = 1e-4
_LEAST_NOISE_SUBSTEPS = 1e-5
# Largest learning rate of several applications, which begin with what a single one has learned.
_REFINING_RATE = 1e-3


def fit_transition(transition: Transition, data: Tensor, options: SystemTrainingOptions, *, progress: bool) -> None:
    """Train the step of a process in place, and measure its noise on the last tenth of the trajectories.

    Parameters
    ----------
    transition
        The step. One of several substeps is first trained as a single one, of which each substep then takes its share.
    data
        Standardised trajectories, shape ``(trajectory, time, channel, site)``.
    options
        Options of training.
    progress
        Whether to show a progress bar.
    """
    count = len(data) - max(len(data) // 10, 1)
    known, unseen = data[:count], data[count:]
    steps, batch, substeps = options.transition_steps, options.transition_batch, transition.substeps
    transition.substeps = 1
    _train(transition, known, steps, batch, options.transition_learning_rate, progress=progress)
    if substeps > 1:
        transition.substeps = substeps
        with torch.no_grad():
            for part in transition.last.parameters():
                part.div_(substeps)
        _train(transition, known, max(2 * steps // 3, 1), batch, _REFINING_RATE, progress=progress)
    _measure(transition, known, unseen, _LEAST_NOISE if substeps == 1 else _LEAST_NOISE_SUBSTEPS)


def _train(
    transition: Transition, data: Tensor, steps: int, batch: int, learning_rate: float, *, progress: bool
) -> None:
    """Train for the squared error of the next frame, relative to the changes from frame to frame."""
    unit = (data[:, 1:] - data[:, :-1]).std((0, 1, 3))[:, None]

    def losses() -> Iterator[Tensor]:
        for _ in range(steps):
            which = torch.randint(len(data), (batch,))
            frame = torch.randint(data.shape[1] - 1, (batch,))
            error = (transition(data[which, frame]) - data[which, frame + 1]) / unit
            yield error.square().mean()

    optimizer = torch.optim.Adam(transition.parameters(), lr=learning_rate)
    schedule = one_cycle(optimizer, steps, warm_up=steps, final=1e4)
    minimize(transition, losses(), optimizer, schedule, steps=steps, label="transition", progress=progress)


@torch.no_grad()
def _measure(transition: Transition, known: Tensor, unseen: Tensor, least: float) -> None:
    """Set the noise to what the step leaves of unseen frames, and the starts to the climate."""
    residual = unseen[:, 1:] - transition(unseen[:, :-1])
    transition.noise.copy_(residual.square().mean((0, 1, 3)).clamp(min=least**2))
    frames = known.flatten(2).flatten(0, 1).double()
    # A little more than the covariance of the sample, so that states that it lacks are possible too.
    covariance = frames.T @ frames / len(frames) + 0.01 * torch.eye(frames.shape[1], dtype=torch.float64)
    transition.start.copy_(torch.linalg.inv(covariance))

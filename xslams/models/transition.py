r"""The step of a Markov process from one frame to the next, learned from trajectories.

.. math:: p(z_{i+1} \mid z_i) \approx \mathcal{N}\big(z_{i+1} \mid M(z_i), Q\big), \qquad p(z_1) \approx \mathcal{N}(0, C)

:math:`M` is a network of products: every layer multiplies linear maps of its input with each other, since that is what
the equations of fluids do, and a step of a solver does several times. It is local on a circle of sites. :math:`Q` is
diagonal, what the network leaves of the changes in data that it has not seen, and :math:`C` is that of the climate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xslams.models.twofilter import Sites

__all__ = ["Transition"]


class Transition(nn.Module):
    """Learned step, its noise, and where trajectories start.

    Parameters
    ----------
    channels, sites
        Shape of a frame.
    hidden
        Width of the two layers of products.
    reach
        Sites on both sides that each of them sees.
    """

    noise: Tensor
    start: Tensor

    def __init__(self, channels: int, sites: int, *, hidden: int = 48, reach: int = 0) -> None:
        super().__init__()
        self.channels, self.sites, self.reach = channels, sites, reach
        self.first = Sites(channels, 3 * hidden, reach)
        self.second = Sites(2 * hidden, 3 * hidden, reach)
        self.last = nn.Linear(2 * hidden + 2 * hidden + channels, channels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        # Variances of the noise, and the inverse of the covariance of starts.
        self.register_buffer("noise", torch.ones(channels))
        self.register_buffer("start", torch.eye(channels * sites))

    @property
    def size(self) -> int:
        """Number of elements of a frame."""
        return self.channels * self.sites

    def forward(self, z: Tensor) -> Tensor:
        """Expected next frames, shape ``(*, channel, site)`` as the frames."""
        x = z.mT
        first = _products(self.first(x))
        second = _products(self.second(first))
        step: Tensor = self.last(torch.cat([first, second, x], dim=-1))
        return z + step.mT

    def linearize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected next frames ``(*, n)`` and the Jacobian ``(*, n, n)`` there, for frames ``(*, n)``.

        Sites that are too far apart to have a common neighbour share a forward derivative.
        """
        shape = (self.channels, self.sites)
        frames = z.unflatten(-1, shape)
        span = min(4 * self.reach + 1, self.sites)
        while self.sites % span:
            span += 1
        jacobian = z.new_zeros(*z.shape, *shape)  # (*, n, channel, site), the last two those of the argument
        site = torch.arange(self.sites, device=z.device)
        value = frames
        for channel in range(self.channels):
            for color in range(span):
                seed = torch.zeros_like(frames)
                seed[..., channel, color::span] = 1
                value, change = torch.func.jvp(self, (frames,), (seed,))
                # Which of the seeds a site can have heard of: the nearest.
                nearest = (color + span * torch.round((site - color) / span).long()) % self.sites
                column = nearest.expand(*change.shape)[..., None]
                into = jacobian.unflatten(-3, shape)[..., channel, :]
                into.scatter_(-1, column, change[..., None])
        return value.flatten(-2), jacobian.flatten(-2)


def _products(h: Tensor) -> Tensor:
    """A third as it is, and the product of the others."""
    plain, left, right = h.chunk(3, dim=-1)
    return torch.cat([plain, left * right], dim=-1)

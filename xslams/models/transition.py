r"""The step of a Markov process from one frame to the next, learned from trajectories.

.. math:: p(z_{i+1} \mid z_i) \approx \mathcal{N}\big(z_{i+1} \mid M(z_i), Q\big), \qquad
    p(z_1) \approx \mathcal{N}(0, C)

:math:`M` is a network of products: every layer multiplies linear maps of its input with each other, since that is what
the equations of fluids do, and a step of a solver does several times. It is local on a circle of sites. :math:`Q` is
diagonal: what the network leaves of the changes in data that it has not seen. :math:`C` is that of the climate.
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
        """Return expected next frames, shape ``(*, channel, site)`` as the frames."""
        # Small matrices that do not lie in order are multiplied several times more slowly.
        x = z.mT.contiguous()
        first = _products(self.first(x))
        second = _products(self.second(first))
        step: Tensor = self.last(torch.cat([first, second, x], dim=-1))
        return z + step.mT

    def linearize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected next frames ``(*, n)`` and the Jacobian ``(*, n, n)`` there, for frames ``(*, n)``.

        Sites that are too far apart to have a common neighbour share a forward derivative.
        """
        shape = (self.channels, self.sites)
        x = z.unflatten(-1, shape).mT.contiguous()
        before = self.first(x)
        first = _products(before)
        middle = self.second(first)
        second = _products(middle)
        value = x + self.last(torch.cat([first, second, x], dim=-1))
        span = min(4 * self.reach + 1, self.sites)
        while self.sites % span:
            span += 1
        jacobian = z.new_zeros(*z.shape, *shape)  # (*, n, channel, site), the last two those of the argument
        site = torch.arange(self.sites, device=z.device)
        for channel in range(self.channels):
            for color in range(span):
                # Forward derivatives by hand: torch's own take ten times as long for layers as small as these.
                seed = z.new_zeros(self.sites, self.channels)
                seed[color::span, channel] = 1
                d_first = _products_derivative(before, self.first.derivative(seed).expand_as(before))
                d_second = _products_derivative(middle, self.second.derivative(d_first))
                total = torch.cat([d_first, d_second, seed.expand_as(x)], dim=-1)
                change = seed + total @ self.last.weight.T
                # Which of the seeds a site can have heard of: the nearest.
                nearest = (color + span * torch.round((site - color) / span).long()) % self.sites
                column = nearest.expand(*change.mT.shape)[..., None]
                into = jacobian.unflatten(-3, shape)[..., channel, :]
                into.scatter_(-1, column, change.mT[..., None])
        return value.mT.flatten(-2), jacobian.flatten(-2)


def _products(h: Tensor) -> Tensor:
    """Keep a third as it is, and multiply the others."""
    plain, left, right = h.chunk(3, dim=-1)
    return torch.cat([plain, left * right], dim=-1)


def _products_derivative(h: Tensor, change: Tensor) -> Tensor:
    """Forward derivative of `_products` at `h`."""
    _, left, right = h.chunk(3, dim=-1)
    plain, d_left, d_right = change.chunk(3, dim=-1)
    return torch.cat([plain, d_left * right + left * d_right], dim=-1)

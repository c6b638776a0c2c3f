r"""The step of a Markov process from one frame to the next, learned from trajectories.

.. math:: p(z_{i+1} \mid z_i) \approx \mathcal{N}\big(z_{i+1} \mid M(z_i), Q\big), \qquad
    p(z_1) \approx \mathcal{N}(0, C)

:math:`M` is a network of products: every layer multiplies linear maps of its input with each other, as the equations
of fluids do, and as a step of a solver does several times. Two layers are polynomials of fourth degree; where that is
not enough, the step consists of several that are alike. It is local on a circle of sites. :math:`Q` is the diagonal
covariance of the residuals of the step in data that it was not trained on, :math:`C` the covariance of the climate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xslams.networks.layers import Sites

__all__ = ["Transition"]

# Neighbours of sites that are linearised together: more do not fit into a processor's cache.
_BATCH = 16384


class Transition(nn.Module):
    """Learned step, its noise, and the distribution of first frames.

    Parameters
    ----------
    channels, sites
        Shape of a frame.
    hidden
        Width of the two layers of products.
    reach
        Sites on both sides of a site that each layer sees.
    substeps
        How many times the layers are applied from frame to frame.
    """

    noise: Tensor
    start: Tensor

    def __init__(self, channels: int, sites: int, *, hidden: int, reach: int, substeps: int) -> None:
        super().__init__()
        self.channels, self.sites, self.reach, self.substeps = channels, sites, reach, substeps
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
        for _ in range(self.substeps):
            first = _products(self.first(x))
            second = _products(self.second(first))
            x = x + self.last(torch.cat([first, second, x], dim=-1))
        return x.mT

    def linearize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected next frames ``(*, n)`` and the Jacobian ``(*, n, n)`` of the step, for frames ``(*, n)``."""
        values, jacobians = [], []
        for frames in z.reshape(-1, self.size).split(max(_BATCH // (self.sites * (2 * self.reach + 1)), 1)):
            x, jacobian = self._linearize(frames)
            for _ in range(self.substeps - 1):
                x, further = self._linearize(x)
                jacobian = further @ jacobian
            values.append(x)
            jacobians.append(jacobian)
        return torch.cat(values).reshape(z.shape), torch.cat(jacobians).reshape(*z.shape, self.size)

    def _linearize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Value ``(B, n)`` and Jacobian ``(B, n, n)`` of one application of the layers at ``(B, n)``.

        It goes backward from each component of the next frame, since a site has few, and each depends on the sites
        nearby only. It is written by hand, as torch's own derivatives take ten times as long for layers as small as
        these.
        """
        x = z.unflatten(-1, (self.channels, self.sites)).mT.contiguous()
        before = self.first(x)
        first = _products(before)
        middle = self.second(first)
        value = x + self.last(torch.cat([first, _products(middle), x], dim=-1))
        near = 2 * self.reach + 1
        far = 2 * near - 1
        # Factors of the products of each site's neighbours.
        around = torch.stack([before.roll(-k, dims=-2) for k in range(-self.reach, self.reach + 1)], dim=-2)
        site = torch.arange(self.sites, device=x.device)[:, None]
        column = (site + torch.arange(far, device=x.device) - 2 * self.reach) % self.sites
        column = column[:, None].expand(len(x), -1, self.channels, -1)
        jacobian = x.new_zeros(len(x), self.channels, self.sites, self.channels, self.sites)
        for channel, weight in enumerate(self.last.weight):
            on_first, on_second, on_x = weight.split([first.shape[-1], first.shape[-1], self.channels])
            back = _through(self.second.linear.weight, middle, on_second)
            back = back.unflatten(-1, (near, -1))  # (B, site, neighbour, 2 hidden)
            back[..., self.reach, :] += on_first
            back = _through(self.first.linear.weight, around, back).unflatten(-1, (near, -1))
            band = x.new_zeros(*x.shape[:2], far, self.channels)
            for k in range(near):
                band[:, :, k : k + near] += back[:, :, k]
            band[:, :, 2 * self.reach] += on_x
            band[:, :, 2 * self.reach, channel] += 1
            jacobian[:, channel].scatter_add_(-1, column, band.mT)
        return value.mT.flatten(-2), jacobian.flatten(-2).flatten(1, 2)


def _products(h: Tensor) -> Tensor:
    """Keep a third as it is, and multiply the others."""
    plain, left, right = h.chunk(3, dim=-1)
    return torch.cat([plain, left * right], dim=-1)


def _through(weight: Tensor, h: Tensor, back: Tensor) -> Tensor:
    """Adjoint of the derivative of `_products` at `h`, and of the linear map that made `h`."""
    _, left, right = h.chunk(3, dim=-1)
    plain, product = back.chunk(2, dim=-1)
    size = plain.shape[-1]
    return plain @ weight[:size] + torch.cat([product * right, product * left], dim=-1) @ weight[size:]

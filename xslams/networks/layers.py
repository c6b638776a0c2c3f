"""Layers that several networks share: convolutions on grids, maps of sites on a circle, features of a noise level."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NOISE_FEATURES", "PadConv2d", "Periodic", "Sites", "noise_features"]

#: Whether a grid is periodic: nowhere, in longitude, or also across its rows (the square of a system).
Periodic = bool | Literal["both"]

#: Number of features of a noise level.
NOISE_FEATURES = 32


class PadConv2d(nn.Conv2d):
    """Convolution that keeps the grid: periodic where the grid is, edge values elsewhere.

    Parameters
    ----------
    inputs, outputs
        Channels.
    periodic
        Whether longitudes close the circle, or both dimensions do.
    kernel
        Cells that it sees in latitude and longitude, odd numbers.
    """

    def __init__(self, inputs: int, outputs: int, *, periodic: Periodic, kernel: tuple[int, int] = (3, 3)) -> None:
        super().__init__(inputs, outputs, kernel)
        self.periodic = periodic
        self.margins = kernel[0] // 2, kernel[1] // 2

    @property
    def alone(self) -> bool:
        """Whether no cell sees those next to it, as the kernel is zero but for its middle."""
        if self.weight.is_meta:
            # Where only sizes are counted, there are no weights.
            return False
        rest = self.weight.detach().clone()
        rest[:, :, self.margins[0], self.margins[1]] = 0
        return not bool(rest.any())

    def extend(self, x: Tensor) -> Tensor:
        """Add the margins that the kernel needs to ``(B, inputs, lat, lon)``."""
        lat, lon = self.margins
        if lon:
            x = F.pad(x, (lon, lon, 0, 0), mode="circular" if self.periodic else "replicate")
        if lat:
            x = F.pad(x, (0, 0, lat, lat), mode="circular" if self.periodic == "both" else "replicate")
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, lat, lon)`` to ``(B, outputs, lat, lon)``."""
        return super().forward(self.extend(x))

    def folded(self, x: Tensor) -> Tensor:
        """Add the margins to the cells that they were taken from: the adjoint of `extend`."""
        lat, lon = self.margins
        if lat:
            x = _folded(x, -2, lat, wrapped=self.periodic == "both")
        return _folded(x, -1, lon, wrapped=bool(self.periodic)) if lon else x


def _folded(x: Tensor, dim: int, margin: int, *, wrapped: bool) -> Tensor:
    """Add margins at both ends of a dimension to the cells at the other end, or to those at the edge."""
    size = x.shape[dim] - 2 * margin
    first, inside, last = x.split([margin, size, margin], dim)
    if not wrapped:
        first, last = last.sum(dim, keepdim=True), first.sum(dim, keepdim=True)
    inside = inside.clone()
    width = first.shape[dim]
    inside.narrow(dim, size - width, width).add_(first)
    inside.narrow(dim, 0, width).add_(last)
    return inside


class Sites(nn.Module):
    """Linear map of the channels of a site and of its neighbours on the circle, over tensors ``(*, site, channel)``."""

    def __init__(self, inputs: int, outputs: int, reach: int = 0, *, bias: bool = True) -> None:
        super().__init__()
        self.reach = reach
        self.linear = nn.Linear((2 * reach + 1) * inputs, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(*, site, inputs)`` to ``(*, site, outputs)``."""
        return self.linear(self._gather(x))

    def _gather(self, x: Tensor) -> Tensor:
        if not self.reach:
            return x
        return torch.cat([x.roll(-k, dims=-2) for k in range(-self.reach, self.reach + 1)], dim=-1)


def noise_features(log_sigma: Tensor) -> list[Tensor]:
    """Cosines and sines of a logarithm of noise over signal, of wavelengths from three to sixty.

    Parameters
    ----------
    log_sigma
        Shape ``(B,)``.

    Returns
    -------
    list
        Cosines and sines, ``(B, NOISE_FEATURES / 2)`` each.
    """
    count = NOISE_FEATURES // 2
    k = torch.arange(count, device=log_sigma.device, dtype=log_sigma.dtype)
    phase = log_sigma[:, None] * torch.exp(-k * math.log(20.0) / (count - 1)) * 2
    return [torch.cos(phase), torch.sin(phase)]

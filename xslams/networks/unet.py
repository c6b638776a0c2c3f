"""The score network: a U-Net over short windows of latent frames that corrects the Gaussian denoiser."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xslams.networks.layers import NOISE_FEATURES, PadConv2d, Periodic, noise_features

__all__ = ["ScoreNetwork"]


class _Block(nn.Module):
    """Residual block whose second normalisation is modulated by noise level and season."""

    def __init__(
        self, inputs: int, outputs: int, embedding: int, *, periodic: Periodic, kernel: tuple[int, int], dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inputs)
        self.conv1 = PadConv2d(inputs, outputs, periodic=periodic, kernel=kernel)
        self.modulate = nn.Linear(embedding, 2 * outputs)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = PadConv2d(outputs, outputs, periodic=periodic, kernel=kernel)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulate(e)[..., None, None].chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))


class ScoreNetwork(nn.Module):
    r"""U-Net over a window of frames.

    Its inputs are the noisy window, scaled to unit variance, and what the Gaussian prior makes of it; its output is the
    correction in units of the Gaussian's own posterior standard deviation. The last layer starts at zero, so that an
    untrained network leaves the Gaussian denoiser as it is.

    Parameters
    ----------
    latent_shape
        Shape (z, z_lat, z_lon) of a frame.
    window
        Number of frames.
    periodic
        Whether longitudes close the circle, or both dimensions do.
    width
        Channels at each resolution, finest first; resolution halves from one to the next.
    blocks
        Residual blocks at each resolution, on the way down and again on the way up.
    location
        Number of learned features per latent cell, which stand for coasts, orography and latitude.
    dropout
        Dropout rate inside blocks.
    trimmed
        Whether convolutions see a single cell along an axis that has no more. Three would be copies of the same cell:
        they cost three times as much, and together take steps three times as long as others.
    """

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        window: int,
        *,
        periodic: Periodic,
        width: tuple[int, ...],
        blocks: int,
        location: int,
        dropout: float,
        trimmed: bool = True,
    ) -> None:
        super().__init__()
        channels, lat, lon = latent_shape
        kernel = (1 if trimmed and lat == 1 else 3, 1 if trimmed and lon == 1 else 3)
        self.window = window
        self.latent_shape = latent_shape
        #: Whether it sees a single cell, and is hence about as cheap as the Gaussian prior.
        self.pointwise = kernel == (1, 1)
        frames = window * channels
        embedding = 64
        self.embed = nn.Sequential(
            nn.Linear(NOISE_FEATURES + 2, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.location = nn.Parameter(torch.empty(location, lat, lon))
        # Random numbers without memory, as where sizes are compared with a file, import the compiler of torch.
        if not self.location.is_meta:
            nn.init.normal_(self.location, std=0.5)
        self.first = nn.Conv2d(2 * frames + location, width[0], 1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        previous = width[0]
        for w in width:
            self.down.append(
                nn.ModuleList(
                    _Block(previous if i == 0 else w, w, embedding, periodic=periodic, kernel=kernel, dropout=dropout)
                    for i in range(blocks)
                )
            )
            previous = w
        for i in reversed(range(len(width) - 1)):
            self.up.append(
                nn.ModuleList(
                    _Block(
                        width[i + 1] + width[i] if j == 0 else width[i],
                        width[i],
                        embedding,
                        periodic=periodic,
                        kernel=kernel,
                        dropout=dropout,
                    )
                    for j in range(blocks)
                )
            )
        self.norm = nn.GroupNorm(8, width[0])
        self.last = nn.Conv2d(width[0], frames, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, gaussian: Tensor, log_sigma: Tensor, season: Tensor) -> Tensor:
        """Correct a Gaussian estimate.

        Parameters
        ----------
        x
            Noisy windows of unit variance, shape ``(B, window, z, z_lat, z_lon)``.
        gaussian
            Estimates by the Gaussian prior, same shape.
        log_sigma
            Logarithm of noise over signal, shape ``(B,)``.
        season
            Fraction of the year at the middle frame, shape ``(B,)``.

        Returns
        -------
        Tensor
            Corrections, same shape as `x`.
        """
        year = 2 * math.pi * season[:, None]
        e = self.embed(torch.cat([*noise_features(log_sigma), torch.cos(year), torch.sin(year)], dim=1))
        location = self.location.expand(len(x), *self.location.shape)
        h = self.first(torch.cat([x.flatten(1, 2), gaussian.flatten(1, 2), location], dim=1))
        skips = []
        for i, level in enumerate(self.down):
            if i:
                skips.append(h)
                # Ceil mode, so that odd grids lose no row.
                h = F.avg_pool2d(h, 2, ceil_mode=True, count_include_pad=False)
            assert isinstance(level, nn.ModuleList)
            for block in level:
                h = block(h, e)
        for level in self.up:
            skip = skips.pop()
            h = F.interpolate(h, size=skip.shape[-2:], mode="nearest")
            h = torch.cat([h, skip], dim=1)
            assert isinstance(level, nn.ModuleList)
            for block in level:
                h = block(h, e)
        return self.last(F.silu(self.norm(h))).reshape(x.shape)

    @torch.no_grad()
    def damp(self, factor: float) -> None:
        """Scale every correction from now on."""
        self.last.weight.mul_(factor)
        assert self.last.bias is not None
        self.last.bias.mul_(factor)

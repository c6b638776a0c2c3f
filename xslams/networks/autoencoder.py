r"""Autoencoders from frames of anomalies to latent frames that are coarser in space.

The latent grid is ``patch`` times coarser. The decoder is one transposed convolution, whose kernel overlaps its
neighbours and hence leaves no seams. It is linear: what it costs to linearise an observation operator is then small
next to the score network. The encoder is the matching strided convolution plus a convolutional residual, which learns
to place the latents where the decoder does best.

The channels of a latent cell are decorrelated. Which channels go together differs between land and sea, or between
tropics and storm tracks: taken out here, cell by cell, it need not be learned by a prior that is the same along a
latitude circle. The symmetric square root of the correlation matrix (as in ZCA whitening [1]_) is the one that changes
the channels least, so that they keep their meaning from cell to cell. Where latents are all values of a patch, the
channels of each of its cells are decorrelated on their own.

Otherwise the channels then get the variances that they stand for in the fields, with a mean of one, by a symmetric
matrix that is the same for all cells. Noise on the latents is thus about as large in all patterns of a patch, as noise
on pixels is: from noise to state the large patterns are settled first, and what is small next to the noise is left to
later.

What the decoder cannot represent is kept as a standard deviation per channel and cell: it is part of the observation
error (representativeness) and of the spread of the analysis,

.. math:: p(u \mid z) = \mathcal{N}\left(u \mid D(z), \mathrm{diag}(\rho^2)\right) .

References
----------
.. [1] Kessy, Lewin and Strimmer, Optimal whitening and decorrelation, 2018, doi:10.1080/00031305.2016.1277159.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xslams.linalg.cells import cells_first, in_cells
from xslams.linalg.eigen import eigh
from xslams.networks.layers import PadConv2d, Periodic

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Autoencoder", "LinearDecoder"]

# Frames that are taken together where a covariance is summed up.
_PART = 64
# Frames of the mean variance of a channel that a cell has at least: that it does not vary in a few of them is no reason
# for latents of other years to be thousands of standard deviations.
_FEW = 5.0
# Least standard deviation of a direction of the channels, relative to their root mean square: what is smaller than the
# noise at which sampling ends would never be told from it.
_SMALLEST = 0.1


class Autoencoder(nn.Module):
    """Convolutional autoencoder; with ``patch=1`` and as many latents as channels it is the identity.

    Parameters
    ----------
    frame_shape
        Channels, latitudes and longitudes of a frame.
    latent_channels
        Channels of a latent frame.
    patch
        Factor by which the latent grid is coarser.
    periodic
        Whether longitudes close the circle, or both dimensions do.
    hidden
        Width of the encoder's residual branch; 0 leaves the linear branch alone.
    """

    scale: Tensor
    mixing: Tensor
    residual_std: Tensor

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        latent_channels: int,
        patch: int,
        *,
        periodic: Periodic,
        hidden: int,
    ) -> None:
        super().__init__()
        channels, lat, lon = frame_shape
        self.patch = patch
        self.periodic = periodic
        self.identity = patch == 1 and latent_channels == channels
        self.frame_shape = frame_shape
        # Grids that the patch does not divide are extended by their edge values and cut again after decoding.
        self.padding = (-lat % patch, -lon % patch)
        self.latent_shape = (latent_channels, (lat + self.padding[0]) // patch, (lon + self.padding[1]) // patch)
        self.register_buffer("scale", torch.ones(self.latent_shape))
        self.register_buffer("residual_std", torch.zeros(frame_shape))
        if self.identity:
            return
        # Symmetric roots of the correlation matrices of channels, cell by cell.
        mixing = torch.zeros(*self.latent_shape[1:], latent_channels, latent_channels)
        # Not `torch.eye`: without memory, as where sizes are compared with a file, it imports the compiler of torch.
        mixing.diagonal(dim1=-2, dim2=-1).fill_(1.0)
        self.register_buffer("mixing", mixing)
        size = channels * patch * patch
        self.encode_linear = nn.Conv2d(size, latent_channels, 1)
        self.decode_linear = PadConv2d(latent_channels, size, periodic=periodic)
        self.encode_residual: nn.Module | None = None
        if hidden:
            last = PadConv2d(hidden, latent_channels, periodic=periodic)
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)
            self.encode_residual = nn.Sequential(PadConv2d(size, hidden, periodic=periodic), nn.SiLU(), last)

    @property
    def complete(self) -> bool:
        """Whether a latent frame has as many channels as a patch has values."""
        return self.latent_shape[0] == self.frame_shape[0] * self.patch**2

    @torch.no_grad()
    def start_from_patches(self, u: Tensor, weights: Tensor) -> None:
        """Start from the empirical orthogonal functions of single patches; where none is left out, from the values.

        All values of a patch have about the same variance; the last functions have next to none, which would be scaled
        to that of the first, cell by cell.

        Parameters
        ----------
        u
            Anomalies, shape ``(T, channel, lat, lon)``.
        weights
            Importance of each channel, shape ``(channel,)``.
        """
        w = weights.repeat_interleave(self.patch**2)
        for layer in (self.encode_linear, self.decode_linear):
            assert layer.bias is not None
            layer.bias.zero_()
        self.decode_linear.weight.zero_()
        if self.complete:
            whole = torch.eye(len(w), device=w.device)
            self.encode_linear.weight.copy_(whole[..., None, None])
            self.decode_linear.weight[:, :, 1, 1] = whole
            return
        gram, count = w.new_zeros(len(w), len(w)), 0
        for part in u.split(_PART):
            x = self._patches(part.to(w.device)).movedim(1, -1).flatten(0, 2) * w
            gram.addmm_(x.T, x)
            count += len(x)
        _, vectors = eigh(gram / count)
        vectors = vectors.flip(1)[:, : self.latent_shape[0]]
        self.encode_linear.weight.copy_((vectors.T * w)[..., None, None])
        self.decode_linear.weight[:, :, 1, 1] = vectors / w[:, None]

    @torch.no_grad()
    def whiten(self, frames: Sequence[Tensor], shrinkage: float = 0.3) -> None:
        """Set scale and mixing so that the latents of every cell have unit variance and are uncorrelated.

        Latents of cells that hardly vary in the frames have less.

        Where they leave nothing out, those of the same cell of the fields are.

        Parameters
        ----------
        frames
            Batches of anomalies ``(T, channel, lat, lon)``.
        shrinkage
            Weight of the mean correlation matrix of a latitude circle against that of the cell.
        """
        self.scale.fill_(1.0)
        if not self.identity:
            self.mixing.copy_(torch.eye(self.latent_shape[0]))
        count = sum(map(len, frames))
        square = torch.zeros_like(self.scale)
        for u in frames:
            square += self.encode(u.to(square.device)).square().sum(0)
        least = _FEW / (count + _FEW) * square.mean((1, 2), keepdim=True)
        self.scale.copy_((torch.maximum(square, least) / count).sqrt().clamp(min=1e-3))
        if self.identity:
            return
        correlation = torch.zeros_like(self.mixing)
        for u in frames:
            cells = self.encode(u.to(self.scale.device)).permute(2, 3, 1, 0)
            correlation += cells @ cells.mT / count
        correlation.diagonal(dim1=-2, dim2=-1).fill_(1.0)
        if self.periodic:
            correlation = torch.lerp(correlation, correlation.mean(1, keepdim=True), shrinkage)
        if self.complete:
            # Values of one cell only: how cells go together within a patch is the prior's to learn, as between patches.
            place = torch.arange(len(correlation[0, 0]), device=correlation.device) % self.patch**2
            correlation = correlation * (place[:, None] == place)
        values, vectors = eigh(correlation)
        self.mixing.copy_(vectors @ torch.diag_embed(values.clamp(min=1e-4).sqrt()) @ vectors.mT)

    @torch.no_grad()
    def weigh(self, frames: Sequence[Tensor]) -> None:
        """Give whitened latents the variances that they have in the fields, unless they leave nothing out.

        Parameters
        ----------
        frames
            As for `whiten`, which comes before.
        """
        if self.identity or self.complete:
            return
        count = sum(map(len, frames))
        loadings = self.scale.new_zeros(*self.latent_shape[1:], self.frame_shape[0] * self.patch**2, len(self.scale))
        for u in frames:
            part = u.to(self.scale.device)
            loadings += torch.einsum("bvij,bcij->ijvc", self._patches(part), self.encode(part)) / count
        # What a latent stands for in its own patch, in every cell and on average.
        energy = loadings.mT @ loadings
        values, vectors = eigh(energy.mean((0, 1)))
        values = values / values.mean().clamp(min=1e-12)
        inverse = vectors @ torch.diag(values.clamp(min=_SMALLEST**2).rsqrt()) @ vectors.mT
        # The scale is that of the cell, and all the rest is in the mixing: the scale weighs errors of training.
        scale = (inverse @ energy @ inverse).diagonal(dim1=-2, dim2=-1).mean(-1).sqrt().clamp(min=1e-3)
        whole = self.scale.permute(1, 2, 0)[..., None] * self.mixing @ inverse
        self.mixing.copy_(whole / scale[..., None, None])
        self.scale.copy_(scale.expand_as(self.scale))

    def _patches(self, u: Tensor) -> Tensor:
        """Turn fields ``(T, channel, lat, lon)`` into patches ``(T, channel * patch^2, z_lat, z_lon)``."""
        return F.pixel_unshuffle(F.pad(u, (0, self.padding[1], 0, self.padding[0]), mode="replicate"), self.patch)

    def encode(self, u: Tensor) -> Tensor:
        """Map anomalies ``(*, channel, lat, lon)`` to latents ``(*, z, z_lat, z_lon)``."""
        if self.identity:
            return u / self.scale
        batch = u.shape[:-3]
        x = self._patches(u.reshape(-1, *u.shape[-3:]))
        z = self.encode_linear(x)
        if self.encode_residual is not None:
            z = z + self.encode_residual(x)
        z = torch.einsum("ijcd,bdij->bcij", torch.linalg.inv(self.mixing), z / self.scale)
        return z.reshape(*batch, *self.latent_shape)

    def decode(self, z: Tensor) -> Tensor:
        """Map latents ``(*, z, z_lat, z_lon)`` to anomalies ``(*, channel, lat, lon)``."""
        decoder = self.decoder()
        return decoder(z) + decoder.offset

    def decoder(self, channels: Sequence[int] | None = None) -> LinearDecoder:
        """Return the decoder of some channels; of all by default."""
        return LinearDecoder(self, channels)


class LinearDecoder:
    """Linear part of the decoder for some channels, at a cost in proportion to their number, and its adjoint.

    What does not depend on the latents is made once.

    Parameters
    ----------
    autoencoder
        Whose decoder.
    channels
        Channels to decode; all by default.

    Attributes
    ----------
    offset
        What latents of zero decode to, shape ``(channel, lat, lon)``.
    """

    def __init__(self, autoencoder: Autoencoder, channels: Sequence[int] | None = None) -> None:
        self._shape, (_, *self._size) = autoencoder.latent_shape, autoencoder.frame_shape
        self._channels = list(range(autoencoder.frame_shape[0])) if channels is None else list(channels)
        self._scale = autoencoder.scale
        self.offset = autoencoder.scale.new_zeros(len(self._channels), *self._size)
        self._identity = autoencoder.identity
        if self._identity:
            return
        self._patch, self._padding = autoencoder.patch, autoencoder.padding
        # From latents to the units of the convolution, cell by cell: (cell, to, from). Both it and its transpose lie in
        # memory as they are read: otherwise they take as long as the convolution.
        mixing = (self._scale.permute(1, 2, 0)[..., None] * autoencoder.mixing).flatten(0, 1)
        self._mixing = mixing.mT.contiguous(), mixing.contiguous()
        self._layer = layer = autoencoder.decode_linear
        assert layer.bias is not None
        weight, bias = (a.unflatten(0, (-1, self._patch**2))[self._channels] for a in (layer.weight, layer.bias))
        self._weight = weight.flatten(0, 1)
        #: Maps of single cells, (cell, from, to), and their transposes, where no cell decodes to those next to it.
        self._single: tuple[Tensor, Tensor] | None = None
        if layer.alone:
            single = self._mixing[0] @ self._weight[:, :, layer.margins[0], layer.margins[1]].T
            self._single = single, single.mT.contiguous()
        self.offset = self._cut(bias.flatten()[:, None, None].expand(-1, *self._shape[1:]))

    def _cut(self, x: Tensor) -> Tensor:
        """From patches ``(*, channel * patch^2, z_lat, z_lon)`` to fields ``(*, channel, lat, lon)``."""
        lat, lon = self._size
        return F.pixel_shuffle(x, self._patch)[..., :lat, :lon]

    def __call__(self, z: Tensor) -> Tensor:
        """From latents ``(*, z, z_lat, z_lon)`` to fields ``(*, channel, lat, lon)``, without the offset."""
        if self._identity:
            return (z * self._scale)[..., self._channels, :, :]
        x = z.reshape(-1, *self._shape)
        if self._single is not None:
            x = self._joined(cells_first(x) @ self._single[0])
        else:
            x = self._cut(F.conv2d(self._layer.extend(in_cells(x, self._mixing[0])), self._weight))
        return x.reshape(*z.shape[:-3], *x.shape[1:])

    def adjoint(self, u: Tensor) -> Tensor:
        """From fields ``(*, channel, lat, lon)`` to latents ``(*, z, z_lat, z_lon)``."""
        if self._identity:
            z = u.new_zeros(*u.shape[:-3], *self._shape)
            z[..., self._channels, :, :] = u
            return z * self._scale
        x = F.pad(u.reshape(-1, *u.shape[-3:]), (0, self._padding[1], 0, self._padding[0]))
        if self._single is not None:
            x = self._gathered(x) @ self._single[1]
            x = x.permute(1, 2, 0)
        else:
            x = F.conv_transpose2d(F.pixel_unshuffle(x, self._patch), self._weight)
            x = in_cells(self._layer.folded(x), self._mixing[1])
        return x.reshape(*u.shape[:-3], *self._shape)

    def _joined(self, patches: Tensor) -> Tensor:
        """From patches ``(cell, B, channel * patch^2)`` to fields ``(B, channel, lat, lon)``, as `_cut`."""
        lat, lon = self._size
        rows, columns = self._shape[1:]
        x = patches.reshape(rows, columns, patches.shape[1], -1, self._patch, self._patch).permute(2, 3, 0, 4, 1, 5)
        return x.reshape(*x.shape[:2], rows * self._patch, columns * self._patch)[..., :lat, :lon]

    def _gathered(self, u: Tensor) -> Tensor:
        """From whole patches of fields to ``(cell, B, channel * patch^2)``."""
        rows, columns = self._shape[1:]
        x = u.reshape(*u.shape[:2], rows, self._patch, columns, self._patch).permute(2, 4, 0, 1, 3, 5)
        return x.reshape(rows * columns, len(u), -1)

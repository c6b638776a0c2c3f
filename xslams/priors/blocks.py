"""The blocks of a latent frame that a covariance does not mix: zonal wavenumbers, or the frame as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Blocks"]


@dataclass(frozen=True)
class Blocks:
    """How latent frames fall into blocks.

    Parameters
    ----------
    shape
        Shape (z, z_lat, z_lon) of a frame.
    periodic
        True: a block per zonal wavenumber. False: one of the whole frame.

    Examples
    --------
    >>> blocks = Blocks((1, 2, 4), periodic=True)
    >>> blocks.count, blocks.size
    (3, 2)
    """

    shape: tuple[int, int, int]
    periodic: bool

    @property
    def count(self) -> int:
        """Number of blocks."""
        return self.shape[2] // 2 + 1 if self.periodic else 1

    @property
    def size(self) -> int:
        """Numbers in a block."""
        channels, lat, lon = self.shape
        return channels * lat * (1 if self.periodic else lon)

    def is_real(self, m: int) -> bool:
        """Whether a block of real frames is real: the mean and the Nyquist wave are."""
        return not self.periodic or m == 0 or 2 * m == self.shape[2]

    def split(self, z: Tensor) -> Tensor:
        """From ``(B, L, z, z_lat, z_lon)`` to ``(blocks, B, L, size)``, complex on a periodic grid."""
        if not self.periodic:
            return z.flatten(2)[None]
        f = torch.fft.rfft(z, dim=-1, norm="ortho")
        return f.flatten(2, 3).permute(3, 0, 1, 2)

    def join(self, f: Tensor) -> Tensor:
        """Invert `split`."""
        if not self.periodic:
            return f[0].unflatten(2, self.shape)
        f = f.permute(1, 2, 3, 0).unflatten(2, self.shape[:2])
        return torch.fft.irfft(f, n=self.shape[2], dim=-1, norm="ortho")

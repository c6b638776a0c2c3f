"""The blocks of a latent frame that a covariance does not mix: zonal wavenumbers, or the frame as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
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
    cut
        Where the channels of a latent cell are the values of ``cut`` x ``cut`` cells, wavenumbers are those of these
        cells: patches hide that statistics are the same along a latitude circle for shifts by one cell, too.

    Examples
    --------
    >>> blocks = Blocks((1, 2, 4), periodic=True)
    >>> blocks.count, blocks.size
    (3, 2)
    >>> blocks = Blocks((4, 2, 4), periodic=True, cut=2)
    >>> blocks.count, blocks.size
    (5, 4)
    """

    shape: tuple[int, int, int]
    periodic: bool
    cut: int = 1

    @property
    def cells(self) -> tuple[int, int, int]:
        """Shape of a frame of cells."""
        channels, lat, lon = self.shape
        return channels // self.cut**2, lat * self.cut, lon * self.cut

    @property
    def count(self) -> int:
        """Number of blocks."""
        return self.cells[2] // 2 + 1 if self.periodic else 1

    @property
    def size(self) -> int:
        """Numbers in a block."""
        channels, lat, lon = self.cells
        return channels * lat * (1 if self.periodic else lon)

    def is_real(self, m: int) -> bool:
        """Whether a block of real frames is real: the mean and the Nyquist wave are."""
        return not self.periodic or m == 0 or 2 * m == self.cells[2]

    def split(self, z: Tensor) -> Tensor:
        """From ``(B, L, z, z_lat, z_lon)`` to ``(blocks, B, L, size)``, complex on a periodic grid."""
        if self.cut > 1:
            z = F.pixel_shuffle(z, self.cut)
        if not self.periodic:
            return z.flatten(2)[None]
        f = torch.fft.rfft(z, dim=-1, norm="ortho")
        return f.flatten(2, 3).permute(3, 0, 1, 2)

    def join(self, f: Tensor) -> Tensor:
        """Invert `split`."""
        if self.periodic:
            f = f.permute(1, 2, 3, 0).unflatten(2, self.cells[:2])
            z = torch.fft.irfft(f, n=self.cells[2], dim=-1, norm="ortho")
        else:
            z = f[0].unflatten(2, self.cells)
        return F.pixel_unshuffle(z, self.cut) if self.cut > 1 else z

"""Windows of latent frames, which the score network is trained and calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Windows"]


@dataclass(frozen=True)
class Windows:
    """All windows of consecutive frames within stretches of data.

    Attributes
    ----------
    latents
        Stretches of latent frames, shape ``(T, z, z_lat, z_lon)`` each.
    seasons
        Fractions of the year of these frames, shape ``(T,)`` each.
    length
        Frames of a window.
    """

    latents: Sequence[Tensor]
    seasons: Sequence[Tensor]
    length: int

    @cached_property
    def _starts(self) -> list[tuple[int, int]]:
        """Stretch and first frame of each window."""
        return [(run, i) for run, z in enumerate(self.latents) for i in range(len(z) - self.length + 1)]

    def __len__(self) -> int:
        return len(self._starts)

    def select(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the windows of some numbers, and the fraction of the year at the middle frame of each.

        Parameters
        ----------
        index
            Numbers of windows, shape ``(B,)``.

        Returns
        -------
        tuple
            Shapes ``(B, length, z, z_lat, z_lon)`` and ``(B,)``.
        """
        chosen = [self._starts[i] for i in index.tolist()]
        z = torch.stack([self.latents[run][i : i + self.length] for run, i in chosen])
        season = torch.stack([self.seasons[run][i + self.length // 2] for run, i in chosen])
        # Frames that do not fit into memory stay where they are.
        return z.to(season.device), season

    def spread_out(self, count: int) -> tuple[Tensor, Tensor]:
        """Return at most `count` windows at equal distances from each other, as `select` does."""
        return self.select(torch.linspace(0, len(self) - 1, min(count, len(self))).long())

    def split(self, holdout: float) -> tuple[Windows, Windows]:
        """Split off a share at the end of each stretch, of which at least one window remains if it has any.

        Returns
        -------
        tuple
            Windows of the frames that remain, and of those that were split off; the latter may be none.
        """
        kept = [max(round((1 - holdout) * len(z)), min(len(z), self.length)) for z in self.latents]
        pairs = list(zip(self.latents, self.seasons, kept, strict=True))
        before = Windows([z[:n] for z, _, n in pairs], [s[:n] for _, s, n in pairs], self.length)
        after = Windows([z[n:] for z, _, n in pairs], [s[n:] for _, s, n in pairs], self.length)
        return before, after

"""The season as an input of networks: harmonics of the year, and what stands for days that no data covered."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xslams.seasons import DAYS

__all__ = ["Gaps", "daily_harmonics", "harmonics", "nearest_covered"]

#: Gaps in the year that training data leave, as pairs of the last and the next covered fraction of the year.
Gaps = Sequence[tuple[float, float]]


def harmonics(season: Tensor, order: int, gaps: Gaps = ()) -> Tensor:
    """Constant, cosines and sines of the year up to `order`, interpolated linearly across gaps.

    Parameters
    ----------
    season
        Fraction of the year, shape ``(*)``.
    order
        Number of harmonics.
    gaps
        Parts of the year that training data do not cover.

    Returns
    -------
    Tensor
        Shape ``(*, 1 + 2 order)``.
    """
    k = 2 * math.pi * torch.arange(1, order + 1, device=season.device, dtype=season.dtype)
    phase = season[..., None] * k
    found = torch.cat([torch.ones_like(season[..., None]), torch.cos(phase), torch.sin(phase)], dim=-1)
    for start, stop in gaps:
        before, after = (harmonics(torch.full_like(season, end), order) for end in (start, stop))
        share, inside = _across(season, start, stop)
        found = torch.where(inside[..., None], torch.lerp(before, after, share[..., None]), found)
    return found


def daily_harmonics(season: Tensor, order: int) -> Tensor:
    """Cosines and sines of the day (UTC) up to `order`.

    Parameters
    ----------
    season
        Fraction of the year, which has the time of the day, shape ``(*)``.
    order
        Number of harmonics.

    Returns
    -------
    Tensor
        Shape ``(*, 2 order)``.
    """
    # The day of a year is few bits of single precision.
    day = season.double() * DAYS % 1.0
    phase = day[..., None] * 2 * math.pi * torch.arange(1, order + 1, device=season.device)
    return torch.cat([torch.cos(phase), torch.sin(phase)], dim=-1).to(season.dtype)


def nearest_covered(season: Tensor, gaps: Gaps) -> Tensor:
    """Return the nearest fraction of the year that training data cover, shape of `season`."""
    for start, stop in gaps:
        share, inside = _across(season, start, stop)
        season = torch.where(inside, torch.where(share < 0.5, start, stop), season)
    return season


def _across(season: Tensor, start: float, stop: float) -> tuple[Tensor, Tensor]:
    """Place in a gap, 0 at its start and 1 at its end, and whether seasons lie in it."""
    # A period of a single day has a gap that is the whole year.
    share = ((season - start) % 1.0) / ((stop - start) % 1.0 or 1.0)
    return share, (share > 0) & (share < 1)

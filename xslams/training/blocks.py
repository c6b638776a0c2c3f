"""Blocks of frames that are left out of training in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xslams.typing import FloatArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.spec import Spec

__all__ = ["Fold", "Run", "deal", "starts"]

Run = tuple[FloatArray, FloatArray]
"""Fields ``(T, channel, lat, lon)`` and fractions of the year ``(T,)`` of consecutive frames."""
Fold = tuple[list[Run], list[Run]]
"""Stretches to train on, and blocks that are left out."""

# The data are dealt out to so many parts, block by block.
_PARTS = 5
# Frames of which a part says anything.
_FEWEST = 60
# Days of a block: as long as the weather remembers, and short next to a season. Blocks that are examined per part.
_BLOCK_DAYS, _BLOCKS = 30, 16


def deal(spec: Spec, runs: Sequence[Run], folds: int) -> list[Fold]:
    """Leave out one part of the frames after another.

    Parameters
    ----------
    spec
        Its time step and window.
    runs
        Stretches of frames.
    folds
        How many of the five parts are left out in turn.

    Returns
    -------
    list
        None where there are fewer than 60 frames, or five blocks of the length of a window.
    """
    frames = sum(len(season) for _, season in runs)
    if frames < _FEWEST:
        return []
    block = max(round(_BLOCK_DAYS * 24 / spec.time_step), 1)
    block = max(min(block, frames // (2 * _PARTS)), spec.window)
    pieces = []
    for fields, season in runs:
        cuts = range(0, max(len(season) - block + 1, 1), block)
        ends = [*list(cuts)[1:], len(season)]
        pieces += [(fields[i:j], season[i:j]) for i, j in zip(cuts, ends, strict=True)]
    if len(pieces) < _PARTS:
        return []
    parts = []
    for part in range(folds):
        left_out = pieces[part::_PARTS]
        chosen = np.linspace(0, len(left_out) - 1, min(_BLOCKS, len(left_out))).round().astype(int)
        parts.append(([p for i, p in enumerate(pieces) if i % _PARTS != part], [left_out[i] for i in chosen]))
    return parts


def starts(frames: int, length: int, most: int) -> list[int]:
    """First frames of at most so many stretches of a block, equally far apart; none overlaps another."""
    count = max(min(most, frames // length), 1)
    first: list[int] = np.linspace(0, frames - length, count).round().astype(int).tolist()
    return first

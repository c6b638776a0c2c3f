"""What the stated errors of a background are in the latents of each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xslams.linalg.eigen import eigh

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xslams.likelihood import SourceLikelihood
    from xslams.priors.fields import LinearMaps
    from xslams.typing import FloatArray

__all__ = ["InColumns", "cell_squares", "patterns"]

# Directions of a latent cell that are seen less than this share of others are not seen.
_SEEN = 1e-3
# Least of what a background says of a latent of unit variance: next to nothing.
_KNOWN = 1e-3


class InColumns:
    """Covariance of the errors of values that are correlated with those above and below them.

    Parameters
    ----------
    sources
        Variables of the background, of which every row sees one element.
    correlation
        Correlation of channels, shape ``(channel, channel)``.
    length
        Number of frames.
    variance
        Variances of the values of all sources, shape ``(n,)``.
    """

    def __init__(
        self, sources: Sequence[SourceLikelihood], correlation: FloatArray, length: int, variance: Tensor
    ) -> None:
        device = variance.device
        self._element = torch.as_tensor(
            np.concatenate([s.matrix.indices for s in sources]).astype(np.int64), device=device
        )
        self._correlation = torch.as_tensor(correlation, dtype=torch.float32, device=device)
        self._shape, self._std = (length, len(correlation), -1), variance.sqrt()
        self._size = sources[0].matrix.shape[1]

    def __call__(self, w: Tensor) -> Tensor:
        """Multiply values ``(1, n)``."""
        field = torch.zeros(self._size, dtype=w.dtype, device=w.device)
        field[self._element] = (self._std * w)[0]
        field = torch.einsum("cd,ldx->lcx", self._correlation, field.reshape(self._shape))
        return (self._std * field.flatten()[self._element])[None]


def patterns(sources: Sequence[SourceLikelihood], length: int) -> np.ndarray:
    """Tell frames with the same elements by a number, ``(L,)``.

    Parameters
    ----------
    sources
        Variables of the background.
    length
        Number of frames.
    """
    width = sources[0].matrix.shape[1]
    there = np.zeros(width, bool)
    for source in sources:
        there[source.matrix.indices] = True
    return np.unique(there.reshape(length, -1), axis=0, return_inverse=True)[1].ravel()


def cell_squares(
    maps: LinearMaps,
    scale: Tensor,
    variance: Tensor,
    left_out: Tensor,
    rest: Tensor,
    pattern: Tensor,
    column: InColumns | None = None,
    *,
    positive: bool = False,
) -> Tensor:
    """Return the matrix ``S S`` of each pattern and latent cell, ``(pattern, cell, z, z)``.

    Fields that are the same in all cells show what a cell is to the fields around it.

    Parameters
    ----------
    maps
        From latents to the values of the background, and the adjoint.
    scale, variance, left_out
        Climatological standard deviation of the values, variance of their errors, and variance up to which latents need
        not fit them, each of shape ``(n,)``.
    rest
        Trajectory of latents that are zero, shape ``(1, L, z, z_lat, z_lon)``.
    pattern
        Pattern that each frame has, shape ``(L,)``.
    column
        Covariance of errors that are correlated between levels; by default they are correlated as in the prior.
    positive
        Whether to mend matrices that are not positive. What fields that are the same in all cells show is an
        approximation, by which a direction may seem to have an error of less than nothing.
    """
    weight, squared, known = scale**-2, variance * scale**-4, 1 / left_out
    stated_by: Callable[[Tensor], Tensor] = lambda seen: squared * seen  # noqa: E731
    if column is not None:
        in_columns = column
        stated_by = lambda seen: weight * in_columns(weight * seen)  # noqa: E731
    parts = _in_cells(maps, [lambda seen: weight * seen, stated_by, lambda seen: known * seen], rest, pattern)
    own, stated, precision = ((m + m.mT) / 2 for m in parts)
    values, vectors = eigh(own)
    least = _SEEN * values.amax(-1, keepdim=True).clamp(min=1e-30)
    # Relative to the prior, or what the decoder makes a covariance of; of what is not seen it says nothing.
    factor = values.clamp(min=least).rsqrt()
    if column is not None:
        factor = torch.where(values > least, 1 / values.clamp(min=least), 0.0)
    inverse = (vectors * factor[..., None, :]) @ vectors.mT
    known_by, basis = eigh(precision)
    square = inverse @ stated @ inverse
    if positive:
        size, axes = eigh((square + square.mT) / 2)
        square = (axes * size.clamp(min=0)[..., None, :]) @ axes.mT
    total = square + (basis / known_by.clamp(min=_KNOWN)[..., None, :]) @ basis.mT
    return ((total + total.mT) / 2).float()


def _in_cells(
    maps: LinearMaps, functions: Sequence[Callable[[Tensor], Tensor]], rest: Tensor, pattern: Tensor
) -> list[Tensor]:
    """Products of the adjoint, a function of values, and the map, each ``(pattern, cell, z, z)``."""
    forward, adjoint = maps
    columns: list[list[Tensor]] = [[] for _ in functions]
    for c in range(rest.shape[2]):
        unit = torch.zeros_like(rest)
        unit[:, :, c] = 1
        seen = forward(unit)
        for kept, function in zip(columns, functions, strict=True):
            back = adjoint(function(seen))[0].flatten(2)  # (L, z, cell)
            mean = [back[pattern == k].mean(0) for k in range(int(pattern.max()) + 1)]
            kept.append(torch.stack(mean).mT)  # (pattern, cell, z)
    return [torch.stack(each, -1).double() for each in columns]

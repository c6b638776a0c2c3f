"""How large errors of a background are at each place, where what is stated is a mean over places and seasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.likelihood import SourceLikelihood
    from xslams.priors.base import Prior
    from xslams.spec import Spec

__all__ = ["alone", "areas", "distributed", "of_year", "pooled"]

# Times of the year of which the climatology is averaged.
_SEASONS = 12


def distributed(
    sources: Sequence[SourceLikelihood], variance: Tensor, scale: Tensor, weight: Tensor, year: Tensor
) -> Tensor:
    """Variances of errors that are larger where the climate varies more, ``(n,)``.

    Parameters
    ----------
    sources
        Variables of the background, of which every row sees one element.
    variance
        Stated variances, each a mean over the values of a variable for which the same is stated, ``(n,)``. What is
        stated for one value alone is taken as it is.
    scale
        Climatological standard deviation of the values.
    weight
        Weights of values in the mean, see `areas`.
    year
        Climatological variance in the mean over the year in units of that of the season, see `of_year`.
    """
    own = torch.where(alone(sources, weight, variance), 1.0, year) * scale**2
    return variance / pooled(sources, weight, variance, own).clamp(min=1e-30) * scale**2


def pooled(sources: Sequence[SourceLikelihood], weight: Tensor, variance: Tensor, own: Tensor) -> Tensor:
    """Mean squares of the values of a variable for which the same is stated, together, ``(n,)``.

    Parameters
    ----------
    sources
        Variables of the background.
    weight
        Weights of values in the mean, ``(n,)``.
    variance, own
        What is stated, and mean squares of values, ``(n,)``.
    """
    means = []
    for w, stated, squares in zip(*(_by_source(sources, v) for v in (weight, variance, own)), strict=True):
        same = stated.unique(return_inverse=True)[1]
        sums = torch.zeros(2, int(same.max()) + 1, dtype=torch.float64, device=own.device)
        sums[0].index_add_(0, same, (w * squares).double())
        sums[1].index_add_(0, same, w.double())
        means.append((sums[0] / sums[1])[same].to(own))
    return torch.cat(means)


def alone(sources: Sequence[SourceLikelihood], weight: Tensor, variance: Tensor) -> Tensor:
    """Whether what is stated for a value is stated for no other of its variable that counts, ``(n,)``.

    Parameters
    ----------
    sources
        Variables of the background.
    weight
        Weights of values in a mean, ``(n,)``; those of weight zero do not count.
    variance
        What is stated, ``(n,)``.
    """
    single = []
    for w, stated in zip(*(_by_source(sources, v) for v in (weight, variance)), strict=True):
        same = stated.unique(return_inverse=True)[1]
        single.append(torch.bincount(same, weights=(w > 0).double())[same] <= 1)
    return torch.cat(single)


def _by_source(sources: Sequence[SourceLikelihood], values: Tensor) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = values.split([len(s.values) for s in sources])
    return parts


def of_year(prior: Prior, sources: Sequence[SourceLikelihood], spread: Tensor) -> Tensor:
    """Climatological variance in the mean over the year, in units of that of the season, ``(n,)``.

    Parameters
    ----------
    prior
        The model's.
    sources
        Variables of the background, of which every row sees one element.
    spread
        Climatological standard deviation of the values.
    """
    seasons = prior.climatology((torch.arange(_SEASONS, device=spread.device) + 0.5) / _SEASONS)[1]
    variance = seasons.square().mean(0).flatten()
    element = np.concatenate([s.matrix.indices for s in sources]).astype(np.int64) % len(variance)
    return variance[torch.as_tensor(element, device=spread.device)] / spread.square()


def areas(sources: Sequence[SourceLikelihood], spec: Spec, spread: Tensor) -> Tensor:
    """Weights of values in a mean over the area, and over variables in units of their climatology, ``(n,)``.

    Cells that never have a value do not count.

    Parameters
    ----------
    sources
        Variables of the background, of which every row sees one element.
    spec
        The model's.
    spread
        Climatological standard deviation of the values.
    """
    lat = np.ones(len(spec.lat)) if spec.flat else np.cos(np.deg2rad(spec.lat)).clip(min=1e-6)
    out = []
    for source, own in zip(sources, _by_source(sources, spread), strict=True):
        element = source.matrix.indices.astype(np.int64)
        known = 1.0 if spec.masked is None else ~spec.masked.ravel()[element % spec.masked.size]
        area = lat[element // len(spec.lon) % len(spec.lat)] * known
        weight = torch.as_tensor(area, dtype=spread.dtype, device=spread.device)
        out.append(weight / (weight @ own.square()))
    return torch.cat(out)

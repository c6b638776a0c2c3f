"""How many annual harmonics the climatology has, by how well it foretells blocks of days that were left out.

A wrong seasonal cycle looks like an anomaly of all variables at once, which observations of one spread to the others.
Its order takes seconds to find, and no Gaussian: that of the mean by its squared error, in units of the variance of
each channel, and then that of the standard deviation by the likelihood of what is left.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xslams.networks.normalization import Normalization

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xslams.spec import Spec
    from xslams.training.blocks import Fold, Run

__all__ = ["seasonal_orders"]

# Numbers of the sample that are enough: beyond these, only every second, third, ... cell along both axes is looked at.
_ENOUGH = 2**24


@torch.no_grad()
def seasonal_orders(
    spec: Spec, folds: Sequence[Fold], mean_orders: Sequence[int], std_orders: Sequence[int]
) -> tuple[int, int]:
    """Choose the orders of the mean and of the standard deviation.

    Parameters
    ----------
    spec
        Variables and grid.
    folds
        Stretches to fit to, and blocks that are left out.
    mean_orders, std_orders
        Orders to choose from, in the order in which they are tried: the first holds until another is better by more
        than the standard error of its gain over the blocks.
    """
    mean, std = mean_orders[0], std_orders[0]
    if len(mean_orders) == len(std_orders) == 1:
        return mean, std
    coarse, thinned = _thinned(spec, folds)
    found = _losses(coarse, thinned, mean, std, _squared_error)
    for order in mean_orders[1:]:
        tried = _losses(coarse, thinned, order, std, _squared_error)
        if _is_better(tried, found):
            mean, found = order, tried
    found = _losses(coarse, thinned, mean, std, _surprise)
    for order in std_orders[1:]:
        tried = _losses(coarse, thinned, mean, order, _surprise)
        if _is_better(tried, found):
            std, found = order, tried
    return mean, std


def _is_better(tried: Tensor, found: Tensor) -> bool:
    """Whether losses of blocks are lower by more than the standard error of the difference."""
    gain = found - tried
    return len(gain) > 1 and float(gain.mean()) > float(gain.std()) / math.sqrt(len(gain))


def _losses(
    spec: Spec, folds: Sequence[Fold], mean: int, std: int, measure: Callable[[Normalization, Tensor, Tensor], Tensor]
) -> Tensor:
    """Loss of each block that is left out."""
    losses = []
    for kept, left_out in folds:
        normalization = Normalization(spec, mean, std)
        normalization.fit_blocks([_tensors(run) for run in kept])
        losses += [measure(normalization, *_tensors(run)) for run in left_out]
    return torch.stack(losses).double()


def _squared_error(normalization: Normalization, x: Tensor, season: Tensor) -> Tensor:
    """Squared error of the mean, in units of the variance of each channel at the mean of the year."""
    mean, _ = normalization.climatology(season)
    scale = torch.exp(2 * normalization.log_std[0]).mean((1, 2), keepdim=True)
    return torch.nanmean((normalization.transform(x) - mean).square() / scale)


def _surprise(normalization: Normalization, x: Tensor, season: Tensor) -> Tensor:
    """Negative logarithm of the likelihood, but for a constant."""
    mean, std = normalization.climatology(season)
    u = (normalization.transform(x) - mean) / std
    return torch.nanmean(0.5 * u.square() + std.log())


def _tensors(run: Run) -> tuple[Tensor, Tensor]:
    fields, season = run
    return torch.as_tensor(np.asarray(fields, np.float32)), torch.as_tensor(np.asarray(season, np.float32))


def _thinned(spec: Spec, folds: Sequence[Fold]) -> tuple[Spec, list[Fold]]:
    """Grid and frames with fewer cells, where there are more than enough."""
    frames = sum(len(season) for _, season in folds[0][0])
    step = math.ceil(math.sqrt(max(frames * math.prod(spec.frame_shape) / _ENOUGH, 1)))

    def thin(runs: Sequence[Run]) -> list[Run]:
        return [(fields[..., ::step, ::step], season) for fields, season in runs]

    coarse = dataclasses.replace(spec, lat=spec.lat[::step], lon=spec.lon[::step])
    return coarse, [(thin(kept), thin(left_out)) for kept, left_out in folds]

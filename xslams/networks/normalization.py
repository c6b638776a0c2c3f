r"""Climatology-aware normalisation: seasonal mean and spread per cell and channel, and a transform for precipitation.

A physical value :math:`x` becomes

.. math:: u = \frac{g(x) - m(s)}{d(s)}

where :math:`s` is the fraction of the year, :math:`m` a few annual harmonics per cell, :math:`d` the standard deviation
of what is left, also with its own harmonics, and :math:`g` the identity or the square root of `xslams.transforms`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xslams.networks.seasons import harmonics
from xslams.seasons import gaps_between
from xslams.transforms import from_square_root, square_root, square_root_slope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.spec import Spec

__all__ = ["Normalization"]

# Values of the mean of the channel that a cell with gaps counts besides its own.
_PULL = 2.0


class Normalization(nn.Module):
    """Maps physical fields to anomalies of near unit variance, and back.

    Parameters
    ----------
    spec
        Variables, grid, and the days of the year that training data cover.
    mean_order, std_order
        Number of annual harmonics of the mean and of the logarithm of the standard deviation.
    """

    mean: Tensor
    log_std: Tensor
    scales: Tensor

    def __init__(self, spec: Spec, mean_order: int, std_order: int) -> None:
        super().__init__()
        self.mean_order, self.std_order = mean_order, std_order
        self.gaps = gaps_between(spec.covered_days)
        shape = spec.frame_shape
        self.register_buffer("mean", torch.zeros(1 + 2 * mean_order, *shape))
        self.register_buffer("log_std", torch.zeros(1 + 2 * std_order, *shape))
        scales = [v.scale if v.transform == "sqrt" else 0.0 for v in spec.variables for _ in range(v.channels)]
        self.register_buffer("scales", torch.tensor(scales)[:, None, None], persistent=False)

    def climatology(self, season: Tensor) -> tuple[Tensor, Tensor]:
        """Seasonal mean and standard deviation in transformed units, each of shape ``(T, channel, lat, lon)``."""
        mean = torch.einsum("tk,k...->t...", harmonics(season, self.mean_order, self.gaps), self.mean)
        log_std = torch.einsum("tk,k...->t...", harmonics(season, self.std_order, self.gaps), self.log_std)
        return mean, torch.exp(log_std)

    def transform(self, x: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Apply :math:`g` to the channels that have one; shape ``(*, channel, lat, lon)``."""
        scales = self.scales if channels is None else self.scales[list(channels)]
        scale = torch.where(scales > 0, scales, 1.0)
        return torch.where(scales > 0, square_root(x, scale), x)

    def inverse_transform(self, g: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Apply the inverse of :math:`g`; differentiable.

        Parameters
        ----------
        g
            Transformed fields, shape ``(*, channel, lat, lon)``.
        channels
            Which channels these are; all by default.
        """
        scales = self.scales if channels is None else self.scales[list(channels)]
        return torch.where(scales > 0, from_square_root(g, scales), g)

    def slope(self, g: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Return the derivative of `inverse_transform`, element by element."""
        scales = self.scales if channels is None else self.scales[list(channels)]
        return torch.where(scales > 0, square_root_slope(g, scales), torch.ones_like(g))

    def secant(self, g: Tensor, target: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Slope of `inverse_transform` from `g` to `target`, element by element; the derivative where close."""
        rise = self.inverse_transform(target, channels) - self.inverse_transform(g, channels)
        run = target - g
        near = run.abs() < 1e-3
        return torch.where(near, self.slope(g, channels), rise / torch.where(near, 1.0, run))

    def normalize(self, x: Tensor, season: Tensor) -> Tensor:
        """From physical fields ``(*, T, channel, lat, lon)`` to anomalies; missing values become zero anomaly."""
        mean, std = self.climatology(season)
        return torch.nan_to_num((self.transform(x) - mean) / std, nan=0.0)

    def denormalize(self, u: Tensor, season: Tensor) -> Tensor:
        """From anomalies ``(*, T, channel, lat, lon)`` to physical fields."""
        mean, std = self.climatology(season)
        return self.inverse_transform(mean + std * u)

    @torch.no_grad()
    def widen(self, factors: Sequence[float]) -> None:
        """Multiply the standard deviations of the leading channels, all the year."""
        self.log_std[0, : len(factors)] += self.log_std.new_tensor(factors).log()[:, None, None]

    @torch.no_grad()
    def fit(self, x: Tensor, season: Tensor, floor: float = 0.3) -> None:
        """Estimate the coefficients by least squares.

        Parameters
        ----------
        x
            Physical fields, shape ``(T, channel, lat, lon)``, NaN where missing. Where a cell has none of a channel,
            its mean is that of the channel.
        season
            Fraction of the year, shape ``(T,)``.
        floor
            Smallest standard deviation, relative to the channel's root-mean-square over all cells. Where it hardly ever
            rains the standard deviation is nearly zero, and one shower would be an anomaly of twenty.
        """
        g = self.transform(x)
        known = torch.isfinite(g)
        gaps = not bool(known.all())
        basis = harmonics(season.double(), self.mean_order)
        if gaps:
            self.mean.copy_(_with_gaps(basis, g, known))
            g = torch.where(known, g, torch.einsum("tk,k...->t...", basis.float(), self.mean))
        else:
            # The product is of modest size where the inverse, of data that cover a season, is not.
            weights = (torch.linalg.inv(basis.T @ basis) @ basis.T).float()
            self.mean.copy_(torch.einsum("kt,t...->k...", weights, g))
        residual = g - torch.einsum("tk,k...->t...", basis.float(), self.mean)
        square = residual.square_()
        if gaps:
            # Over the values that there are; a cell without any has the variance of its channel.
            total = square.sum(dim=(0, 2, 3)) / known.sum(dim=(0, 2, 3)).clamp(min=1)
            own = square.sum(0) / known.sum(0).clamp(min=1)
            filled = torch.where(known.any(0), own, total[:, None, None])
            square = torch.where(known, square, filled)
        channel_std = square.mean(dim=(0, 2, 3)).sqrt()[:, None, None]
        # Mean of log of monthly variances would be noisy; the variance itself is fitted and its logarithm refitted on a
        # regular calendar, so that the result is positive whatever the season.
        basis = harmonics(season.double(), self.std_order).float()
        gram = torch.linalg.inv((basis.T @ basis).double()).float()
        coef = torch.einsum("kj,tj,t...->k...", gram, basis, square)
        days = torch.arange(48, device=x.device, dtype=x.dtype) / 48
        calendar = harmonics(days, self.std_order)
        variance = torch.einsum("tk,k...->t...", calendar, coef)
        variance = torch.maximum(variance, 0.15 * coef[0])
        log_std = 0.5 * torch.log(torch.maximum(variance, (floor * channel_std) ** 2))
        gram = torch.linalg.inv(calendar.T @ calendar)
        self.log_std.copy_(torch.einsum("kj,tj,t...->k...", gram, calendar, log_std))


def _with_gaps(basis: Tensor, g: Tensor, known: Tensor) -> Tensor:
    """Coefficients of each cell by least squares over the values that there are, shape ``(K, channel, lat, lon)``.

    A pull of a few values towards the mean of the channel keeps cells with hardly any from running away.
    """
    values = torch.where(known, g, 0.0)
    centre = (values.sum(dim=(0, 2, 3)) / known.sum(dim=(0, 2, 3)).clamp(min=1))[:, None, None]
    values = torch.where(known, g - centre, 0.0).flatten(1).double()
    products = (basis[:, :, None] * basis[:, None, :]).flatten(1)
    gram = (products.T @ known.flatten(1).double()).T.unflatten(1, (basis.shape[1], -1))
    gram = gram + _PULL * torch.eye(basis.shape[1], dtype=gram.dtype, device=gram.device)
    coefficients = torch.linalg.solve(gram, (basis.T @ values).T[..., None])[..., 0].T
    mean = coefficients.unflatten(1, g.shape[1:]).float()
    mean[0] += centre
    return mean

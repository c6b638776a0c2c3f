r"""Climatology-aware normalisation: seasonal mean and spread per cell and channel, and a transform for precipitation.

A physical value :math:`x` becomes

.. math:: u = \frac{g(x) - m(s)}{d(s)}

where :math:`s` is the fraction of the year, :math:`m` a few annual harmonics per cell, of frames within the day also
daily ones that change with the season, :math:`d` the standard deviation of what is left, with annual harmonics of its
own, and :math:`g` the identity or one of `xslams.transforms`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xslams.networks.seasons import daily_harmonics, harmonics
from xslams.seasons import gaps_between
from xslams.transforms import from_scores, from_square_root, score_chord, scores, square_root, square_root_slope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xslams.networks.seasons import Gaps
    from xslams.spec import Spec
    from xslams.transforms import Knots

__all__ = ["Normalization"]

# Values of the mean of the channel that a cell with gaps counts besides its own.
_PULL = 2.0
# Share of its mean that single precision makes a constant vary by.
_ROUNDING = 1e-6
# Scores on either side between which a curve is linearised: one standard deviation of the sample.
_REACH = 1.0


class Normalization(nn.Module):
    """Maps physical fields to anomalies of near unit variance, and back.

    Parameters
    ----------
    spec
        Variables, grid, and the days of the year that training data cover.
    mean_order, std_order
        Number of annual harmonics of the mean and of the logarithm of the standard deviation.
    day_order
        Number of daily harmonics of the mean, which vary with the first annual one where there is any.
    """

    mean: Tensor
    log_std: Tensor
    scales: Tensor

    def __init__(self, spec: Spec, mean_order: int, std_order: int, day_order: int = 0) -> None:
        super().__init__()
        self.mean_order, self.std_order, self.day_order = mean_order, std_order, day_order
        self.gaps = gaps_between(spec.covered_days)
        shape = spec.frame_shape
        daily = 2 * day_order * (1 + 2 * min(mean_order, 1))
        self.register_buffer("mean", torch.zeros(1 + 2 * mean_order + daily, *shape))
        self.register_buffer("log_std", torch.zeros(1 + 2 * std_order, *shape))
        scales = [v.scale if v.transform == "sqrt" else 0.0 for v in spec.variables for _ in range(v.channels)]
        self.register_buffer("scales", torch.tensor(scales)[:, None, None], persistent=False)
        self._knots = {
            channel: v.knots
            for v in spec.variables
            for channel in range(*spec.channel_slice(v.name).indices(spec.channels))
            if v.knots
        }

    @property
    def curved(self) -> Tensor:
        """Which channels have a transform that is not linear, booleans of shape ``(channel,)``."""
        curved = self.scales.flatten() > 0
        curved[list(self._knots)] = True
        return curved

    @property
    def scored(self) -> list[int]:
        """Channels that are normal scores."""
        return list(self._knots)

    def climatology(self, season: Tensor) -> tuple[Tensor, Tensor]:
        """Seasonal mean and standard deviation in transformed units, each of shape ``(T, channel, lat, lon)``."""
        mean = torch.einsum("tk,k...->t...", self._basis(season, self.gaps), self.mean)
        log_std = torch.einsum("tk,k...->t...", harmonics(season, self.std_order, self.gaps), self.log_std)
        return mean, torch.exp(log_std)

    def _basis(self, season: Tensor, gaps: Gaps = ()) -> Tensor:
        """Return what the mean is a combination of, shape ``(T, K)``; the first is the constant."""
        annual = harmonics(season, self.mean_order, gaps)
        if not self.day_order:
            return annual
        # The constant, and the first cosine and sine.
        slow = annual[..., [0, 1, 1 + self.mean_order] if self.mean_order else [0]]
        daily = daily_harmonics(season, self.day_order)
        return torch.cat([annual, (daily[..., :, None] * slow[..., None, :]).flatten(-2)], dim=-1)

    def transform(self, x: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Apply :math:`g` to the channels that have one; shape ``(*, channel, lat, lon)``."""
        scales = self.scales if channels is None else self.scales[list(channels)]
        scale = torch.where(scales > 0, scales, 1.0)
        made = torch.where(scales > 0, square_root(x, scale), x)
        return self._with_knots(made, channels, scores, x)

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
        made = torch.where(scales > 0, from_square_root(g, scales), g)
        return self._with_knots(made, channels, from_scores, g)

    def slope(self, g: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Return the derivative of `inverse_transform`, element by element.

        Of normal scores, which are pieces of straight lines, the slope between one standard deviation below and above.
        """
        scales = self.scales if channels is None else self.scales[list(channels)]
        made = torch.where(scales > 0, square_root_slope(g, scales), torch.ones_like(g))
        return self._with_knots(made, channels, _slope_of_scores, g)

    def secant(
        self, g: Tensor, target: Tensor, channels: Sequence[int] | None = None, error: Tensor | None = None
    ) -> Tensor:
        """Slope of `inverse_transform` from `g` to `target`, element by element; the derivative where close.

        Parameters
        ----------
        g, target
            Transformed fields, shape ``(*, channel, lat, lon)``.
        channels
            Which channels these are; all by default.
        error
            Standard deviation of the error of what the target was made of, in physical units. Of normal scores the
            slope is that between all that this allows: amounts below the error are not told from none.
        """
        rise = self.inverse_transform(target, channels) - self.inverse_transform(g, channels)
        run = target - g
        near = run.abs() < 1e-3
        made = torch.where(near, self.slope(g, channels), rise / torch.where(near, 1.0, run))
        error = torch.zeros_like(target) if error is None else error
        return self._with_knots(made, channels, _secant_of_scores, g, target, error.expand_as(g))

    def _with_knots(
        self, made: Tensor, channels: Sequence[int] | None, function: Callable[..., Tensor], *fields: Tensor
    ) -> Tensor:
        """Put in what a function makes of the channels that have normal scores."""
        for place, channel in enumerate(range(len(self.scales)) if channels is None else channels):
            if channel in self._knots:
                parts = (field.expand_as(made)[..., place, :, :] for field in fields)
                made[..., place, :, :] = function(*parts, self._knots[channel])
        return made

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
        self.fit_blocks([(x, season)], floor)

    @torch.no_grad()
    def fit_blocks(self, blocks: Iterable[tuple[Tensor, Tensor]], floor: float = 0.3) -> None:
        """Estimate the coefficients by least squares, from frames that are read twice, block by block.

        Parameters
        ----------
        blocks
            Blocks of frames and fractions of the year, as for `fit`; iterated over twice.
        floor
            As for `fit`.
        """
        self.mean.copy_(self._mean_of(blocks))
        square, gram, channel_std = self._squares_of(blocks)
        # A channel that is the same throughout has no anomalies, but for rounding, and any scale will do.
        rounding = _ROUNDING * self.mean[0].square().mean((1, 2)).sqrt()[:, None, None]
        channel_std = torch.where(channel_std > rounding, channel_std, 1 / floor)
        coef = torch.einsum("kj,j...->k...", torch.linalg.inv(gram), square).float()
        # Mean of log of monthly variances would be noisy; the variance itself is fitted and its logarithm refitted on a
        # regular calendar, so that the result is positive whatever the season.
        days = torch.arange(48, device=coef.device, dtype=coef.dtype) / 48
        calendar = harmonics(days, self.std_order)
        variance = torch.einsum("tk,k...->t...", calendar, coef)
        variance = torch.maximum(variance, 0.15 * coef[0])
        log_std = 0.5 * torch.log(torch.maximum(variance, (floor * channel_std) ** 2))
        gram = torch.linalg.inv(calendar.T @ calendar)
        self.log_std.copy_(torch.einsum("kj,tj,t...->k...", gram, calendar, log_std))

    def _mean_of(self, blocks: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Coefficients of the mean ``(K, channel, lat, lon)``, by one pass over the frames."""
        sums: Tensor | float = 0.0
        gram: Tensor | float = 0.0
        origin = lacking = None
        for x, season in blocks:
            g, basis = self.transform(x), self._basis(season.double())
            missing = ~torch.isfinite(g)
            if origin is None:
                # Sums of what differs from it stay small, and single precision is enough for a block of them.
                origin = torch.nan_to_num(torch.where(missing, torch.nan, g).nanmean(0))
            gram = gram + basis.T @ basis
            if missing.any():
                products = (basis[:, :, None] * basis[:, None, :]).flatten(1).float()
                lost = torch.einsum("tk,t...->k...", products, missing.float()).double()
                lacking = lost if lacking is None else lacking + lost
            values = torch.where(missing, 0.0, g - origin)
            sums = sums + torch.einsum("tk,t...->k...", basis.float(), values).double()
        assert origin is not None
        assert isinstance(sums, Tensor)
        assert isinstance(gram, Tensor)
        if lacking is not None:
            return _with_gaps(sums, gram, lacking.unflatten(0, gram.shape), origin)
        # The product is of modest size where the inverse, of data that cover a season, is not.
        # Two or four times of the day do not tell the sine of their shortest wave.
        inverse = torch.linalg.pinv(gram, hermitian=True) if self.day_order else torch.linalg.inv(gram)
        mean = torch.einsum("kj,j...->k...", inverse, sums)
        mean[0] += origin
        return mean

    def _squares_of(self, blocks: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Products of harmonics with squared anomalies and with each other, and the standard deviation of channels.

        Missing values have the mean square of their cell, or that of the channel where the cell has none.
        """
        square: Tensor | float = 0.0
        lost: Tensor | float = 0.0
        gram: Tensor | float = 0.0
        frames = 0
        for x, season in blocks:
            g = self.transform(x)
            anomaly = g - torch.einsum("tk,k...->t...", self._basis(season), self.mean)
            missing = ~torch.isfinite(g)
            basis = harmonics(season.double(), self.std_order)
            weights = basis.float()
            values = torch.where(missing, 0.0, anomaly).square_()
            square = square + torch.einsum("tk,t...->k...", weights, values).double()
            lost = lost + torch.einsum("tk,t...->k...", weights, missing.float()).double()
            gram, frames = gram + basis.T @ basis, frames + len(g)
        assert isinstance(square, Tensor)
        assert isinstance(lost, Tensor)
        assert isinstance(gram, Tensor)
        # The first harmonic is the constant.
        known = frames - lost[0]
        total = square[0].sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
        square = square + lost * torch.where(known > 0, square[0] / known.clamp(min=1), total[:, None, None])
        return square, gram, (square[0].mean((1, 2)) / frames).sqrt().float()[:, None, None]


def _slope_of_scores(g: Tensor, knots: Knots) -> Tensor:
    return score_chord(g - _REACH, g + _REACH, knots)


def _secant_of_scores(g: Tensor, target: Tensor, error: Tensor, knots: Knots) -> Tensor:
    """Slope between the least and the largest of what is expected, what was observed, and its error on either side."""
    seen = from_scores(target, knots)
    # Nothing is outside of the sample because of an error.
    low, high = ((seen + e).clip(min=knots[0][0], max=knots[-1][0]) for e in (-error, error))
    low = torch.minimum(torch.minimum(scores(low, knots), target), g)
    high = torch.maximum(torch.maximum(scores(high, knots), target), g)
    near = high - low < 1e-3
    return torch.where(near, _slope_of_scores(g, knots), score_chord(low, torch.where(near, low + 1.0, high), knots))


def _with_gaps(sums: Tensor, gram: Tensor, lacking: Tensor, origin: Tensor) -> Tensor:
    """Coefficients of each cell by least squares over the values that there are, shape ``(K, channel, lat, lon)``.

    A pull of a few values towards the mean of the channel keeps cells with hardly any from running away.

    Parameters
    ----------
    sums
        Products of harmonics with known values, without `origin`, shape ``(K, channel, lat, lon)``.
    gram, lacking
        Products of harmonics with each other over all frames, shape ``(K, K)``, and over the missing values of each
        cell.
    origin
        What was taken from the values, shape ``(channel, lat, lon)``.
    """
    cells = gram[:, :, None, None, None] - lacking
    known = cells[0, 0]
    centre = (sums[0] + known * origin).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    away = centre[:, None, None] - origin
    matrices = cells.movedim((0, 1), (3, 4)) + _PULL * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    sides = (sums - away * cells[0]).movedim(0, 3)[..., None]
    mean = torch.linalg.solve(matrices, sides)[..., 0].movedim(3, 0)
    mean[0] += centre[:, None, None]
    return mean

r"""Errors of forecasts that vary as the truth does: those of a state of the prior some time before.

Errors of a forecast are not the same part of the weather at every scale. A forecast knows planetary waves when it has
forgotten fronts, and has the fronts of another day: its errors have more of small scales than the prior has, and depend
on the truth. In every mode :math:`k` of the prior, of variance :math:`p_k`, a state of :math:`\tau` before is

.. math:: f_k = \rho_k x_k + \eta_k, \qquad \mathrm{Var}[f_k - x_k] = 2 p_k (1 - \rho_k), \qquad
    \mathrm{Var}[\eta_k] = p_k (1 - \rho_k^2)

with the autocorrelation :math:`\rho_k(\tau)` of the mode, and :math:`\eta` independent of the truth. So
:math:`f_k / \rho_k` is an observation of the mode with the error variance :math:`p_k (1 - \rho_k^2) / \rho_k^2`, and
says nothing of modes that are forgotten. The mean of an ensemble of such forecasts is :math:`\rho_k f_k`, and its
spread is that of :math:`x_k` about it, :math:`p_k (1 - \rho_k^2)`: together with the prior it must not count twice. Of
:math:`N` members the mean has a sampling error as well, :math:`p_k (1 - \rho_k^2) / N`, which is all that it tells of
modes that are forgotten: the error variance of the observation of the mode is :math:`1 + 1 / (N \rho_k^2)` times as
large. The lead :math:`\tau` is the one at which errors have the size that is stated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xslams.inference.background_sizes import alone, pooled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xslams.likelihood import BackgroundCorrelation, SourceLikelihood
    from xslams.priors.fields import LinearMaps
    from xslams.priors.gaussian import StationaryGaussian, TrajectoryGaussian
    from xslams.spec import Spec

__all__ = ["Increments"]

# Longest lead in frames, and least correlation of a forecast with the truth: next to nothing is known then.
_MOST, _KNOWN = 8, 0.1
# Frames that are drawn to find the size of increments, trajectories at once, and the seed of the draws.
_DRAWS, _NUMBERS, _SEED = 192, 2**22, 0
# Largest factor between stated errors and increments.
_FACTOR = 1e3


class Increments:
    r"""Increments of the prior of the size that is stated.

    Parameters
    ----------
    process
        Gaussian process of the latents.
    maps
        From latents to the values of the background, and the adjoint.
    rest
        Trajectory of latents that are zero, shape ``(1, L, z, z_lat, z_lon)``.
    sources
        Variables of the background.
    variance, weight
        Stated mean squares of the errors of all values, each a mean over the values of a variable for which the same is
        stated; and weights of values in such means, of shape ``(n,)`` both.
    year
        Climatological variance in the mean over the year, in units of that of the season, shape ``(n,)``: what is
        stated for many values is a mean over seasons as well.
    members
        Number of members of the ensemble of which the background is the mean, and the stated errors are those of the
        truth about it; 0 where it is a single state.

    Attributes
    ----------
    lead
        Frames between the states.
    ratio
        Variance of :math:`\eta` by what is stated, in units of the climatological one, shape ``(n,)``.
    size
        The same of the increments themselves, as a mean over modes.
    """

    def __init__(
        self,
        process: StationaryGaussian,
        maps: LinearMaps,
        rest: Tensor,
        sources: Sequence[SourceLikelihood],
        variance: Tensor,
        weight: Tensor,
        year: Tensor,
        *,
        members: int = 0,
    ) -> None:
        self._process, self._length = process, rest.shape[1]
        self._correlations, self._members = process.correlations(_MOST), members
        self._year = torch.ones_like(year) if members else torch.where(alone(sources, weight, variance), 1.0, year)
        self.lead, own = self._sized(maps, rest, weight, float(weight @ variance))
        own = pooled(sources, weight, variance, own)
        ratio = (variance / own.clamp(min=1e-30)).clamp(1 / _FACTOR, _FACTOR)
        now, later = int(self.lead), min(int(self.lead) + 1, _MOST)
        both = torch.cat([torch.ones_like(self._correlations[:1]), self._correlations])
        share = self.lead - now
        self._gain = ((1 - share) * both[now] + share * both[later]).clamp(_KNOWN, 1 - 1e-6)
        prior = process.variances()
        self.size = float(((1 - self._gain**2) * prior).sum() / prior.sum())
        self.ratio = self.size * ratio

    def _sized(self, maps: LinearMaps, rest: Tensor, weight: Tensor, target: float) -> tuple[float, Tensor]:
        """Lead at which the mean of squares is as stated, and the mean squares of values."""
        before = torch.zeros_like(weight)
        for lead in range(1, _MOST + 1):
            own = self._mean_squares(lead, maps, rest)
            low, high = float(weight @ before), float(weight @ own)
            if high >= target:
                share = (target - low) / (high - low)
                return lead - 1 + share, (1 - share) * before + share * own
            before = own if high > low else before
        return float(_MOST), before

    def _mean_squares(self, lead: int, maps: LinearMaps, rest: Tensor) -> Tensor:
        """Mean squares of increments over a lead, of all values, and of the same draws for all leads."""
        known = self._correlations[lead - 1].clamp(min=0)
        size = (1 - known**2) * (1 + 1 / self._members) if self._members else 2 * (1 - known)
        variance = self._process.variances() * size
        frames = self._process.like(variance, torch.zeros_like(variance)).trajectory(1)
        generator = torch.Generator().manual_seed(_SEED)
        count = -(-_DRAWS // self._length)
        total = torch.zeros_like(self._year)
        for some in torch.arange(count).split(max(_NUMBERS // rest.numel(), 1)):
            white = torch.randn(len(some) * self._length, 1, *rest.shape[2:], generator=generator).to(rest)
            drawn = frames.apply(lambda d: d.sqrt(), white).reshape(len(some), *rest.shape[1:])
            total = total + maps[0](drawn).square().sum(0)
        return self._year * total / count

    def trajectory(self, stated: BackgroundCorrelation, spec: Spec) -> TrajectoryGaussian:
        """Gaussian of the errors of what `observed` returns, in units of `ratio`.

        Parameters
        ----------
        stated
            Its `time` is that in which errors are forgotten; by default those of a forecast over two frames are taken,
            of which the correlation from frame to frame is ``c / (1 + c^2)`` with that of the mode.
        spec
            The model's.
        """
        now = self._correlations[0].clamp(0, 0.99)
        after = now / (1 + now**2)
        if stated.time is not None:
            after = torch.full_like(now, np.exp(-spec.time_step / stated.time))
        known = self._gain**2
        variance = self._process.variances() * self._sampling * (1 - known) / (self.size * known)
        return self._process.like(variance, after).trajectory(self._length)

    def observed(self, z: Tensor, scaled: Callable[[Tensor], Tensor]) -> Tensor:
        """From latents of backgrounds ``(B, L, z, z_lat, z_lon)`` to observations of the truth.

        The mean of an ensemble is that of the truth given a forecast, which has the gain once already.

        Parameters
        ----------
        z
            Latents.
        scaled
            Product with the root in each cell of `ratio`, but `size` at most. Where errors are less than those of
            increments, gains are nearer to one.
        """
        return self._regressed(z, scaled, self._gain ** (-2 if self._members else -1))

    def deviations(self, z: Tensor, scaled: Callable[[Tensor], Tensor]) -> Tensor:
        """From deviations of members to errors of observations of the truth, but for the factor of `localized`."""
        return self._regressed(z, scaled, (self._sampling / (1 + 1 / self._members)).sqrt() / self._gain)

    @property
    def _sampling(self) -> Tensor:
        """By how much the variance of errors is larger for the sampling error of a mean, for each mode."""
        return 1 + self._gain**-2 / self._members if self._members else torch.ones_like(self._gain)

    def _regressed(self, z: Tensor, scaled: Callable[[Tensor], Tensor], factor: Tensor) -> Tensor:
        more = (factor - 1) / self.size
        frames = self._process.like(more, torch.zeros_like(more)).trajectory(1)
        return z + scaled(frames.apply(lambda d: d, scaled(z).flatten(0, 1)[:, None]).reshape(z.shape))

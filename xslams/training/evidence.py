r"""How well a Gaussian prior predicts frames that it has not seen, from a few observations of them.

For some held-out stretches, a part of the cells is observed with errors. The mean of the posterior of the Gaussian
prior is exact and takes one solve. Its variance depends on which cells are observed and not on the values: it is the
mean square of what is left of draws of the prior :math:`z` once they are observed themselves,

.. math:: z - V J^\top (J V J^\top + R)^{-1} (J z + e) , \qquad e \sim \mathcal{N}(0, R)

(Matheron's rule [1]_), over the draws of all cases. What is judged is the state in all cells, with what the decoder
leaves out. Everything is in units of one climatological standard deviation for each channel, the same for all priors
that are compared. The CRPS of what is transformed is that of the physical values, by the quantiles of the posterior, so
that transforms can be compared; the spread of it, which a factor brings to its error, is that after the transform.

What is transformed is observed as instruments do, with errors that are of one size in physical units: a gauge is wrong
by a millimetre, in light rain and in heavy rain. Which transform serves best depends on that, and each is linearised as
an analysis does, from the climatology to what is observed.

References
----------
.. [1] Journel and Huijbregts, Mining Geostatistics, 1978.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.linalg.conjugate_gradients import LinearObservations, solve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.priors.latent import LatentPrior
    from xslams.spec import Spec

__all__ = ["Examination", "Scores", "variability"]

# Share of the cells that are observed, of all channels and, in every other case of a model with auxiliary variables,
# of these alone; errors of these observations in climatological standard deviations; draws per case.
_SHARE, _AUX_SHARE, _ERROR, _DRAWS = 0.05, 0.2, 0.3, 2
# Errors of auxiliary variables, in units of how much their physical values vary: where all channels are observed, and
# where these alone are.
_PHYSICAL_ERRORS = 0.3, 0.2
# Quantiles by which the distribution of a physical value is told.
_QUANTILES = 21
# Iterations of a solve, and its tolerance in posterior standard deviations: far below what cases differ by.
_ITERATIONS, _TOLERANCE = 40, 0.1


@dataclass(frozen=True)
class Scores:
    """What a prior made of held-out cases: means over area and frames, in climatological standard deviations.

    Attributes
    ----------
    crps, climatology
        Continuous ranked probability score, and that of the climatology, shape ``(case, channel of the state)``.
    square_error, variance
        Squared error of the mean, and variance of the posterior, of the same shape.
    """

    crps: Tensor
    climatology: Tensor
    square_error: Tensor
    variance: Tensor

    @property
    def spread_skill(self) -> float:
        """Spread over error."""
        return float((self.variance.mean() / self.square_error.mean()).sqrt())

    def widening(self) -> tuple[float, ...]:
        """Return error over spread of each channel."""
        ratio = (self.square_error.mean(0) / self.variance.mean(0).clamp(min=1e-12)).sqrt()
        return tuple(float(x) for x in ratio.clamp(min=1e-6))

    @property
    def worst_spread(self) -> float:
        """By which factor the spread of a channel is off its error, as a logarithm, at most."""
        return max(abs(math.log(x)) for x in self.widening())

    @classmethod
    def together(cls, parts: Sequence[Scores]) -> Scores:
        """Join the cases of several examinations."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))


class Examination:
    """Held-out cases with observations, the same for every prior.

    Parameters
    ----------
    spec
        Variables and grid.
    cases
        Stretches of physical fields ``(T, channel, lat, lon)`` and fractions of the year ``(T,)`` that no prior was
        fitted to, all of one length.
    transform
        Makes physical fields closer to normal.
    scale
        Climatological standard deviation of each channel after the transform, shape ``(channel,)``.
    size
        How much each channel of the state varies in physical units, in which its CRPS is told, shape ``(channel,)``.
    seed
        Seed of the observed cells, of their errors and of the draws.
    """

    def __init__(
        self,
        spec: Spec,
        cases: Sequence[tuple[Tensor, Tensor]],
        *,
        transform: LatentPrior,
        scale: Tensor,
        size: Tensor,
        seed: int,
    ) -> None:
        self._scale, self._size = scale[:, None, None], size[:, None, None]
        self._state = spec.state_channels
        curved = transform.normalization.curved.tolist()
        #: Channels of the state that are transformed, and all channels that are observed in physical units.
        self._curved = [i for i in range(spec.state_channels) if curved[i]]
        self._own = self._curved + list(range(spec.state_channels, spec.channels))
        fields = torch.stack([fields for fields, _ in cases])
        self._truth = transform.normalization.transform(fields)
        self._season = torch.stack([season for _, season in cases])
        self._generator = torch.Generator().manual_seed(seed)
        noise = self._normal(*self._truth.shape)
        # Cells are observed in all frames, as by stations, and those of one channel say nothing of the others'.
        frame = self._truth.shape[2:]
        draw = torch.rand(frame, generator=self._generator).to(self._truth.device)
        aux = (torch.arange(frame[0], device=draw.device) >= spec.state_channels)[:, None, None]
        # Auxiliary variables that are known in a few cells are observed in all of these.
        known = torch.isfinite(self._truth).any(1).any(0).float().mean((1, 2), keepdim=True)
        few = _AUX_SHARE / known.clamp(min=1e-6)
        patterns = [draw < _SHARE] + ([aux & (draw < few)] if spec.aux else [])
        self._kinds = len(patterns)
        errors = torch.tensor(_PHYSICAL_ERRORS, device=draw.device)[torch.arange(len(cases)) % self._kinds]
        own = fields[:, :, self._own]
        #: Physical values of the state that is transformed.
        self._values = own[:, :, : len(self._curved)]
        #: Errors in physical units, shape (case, 1, channel, 1, 1).
        sizes = errors[:, None, None, None, None] * variability(own)
        sizes[:, :, : len(self._curved)] = _ERROR * self._size[self._curved]
        self._physical = sizes
        self._observed = self._truth + _ERROR * self._scale * noise
        if self._own:
            disturbed = own + self._physical * noise[:, :, self._own]
            self._observed[:, :, self._own] = transform.normalization.transform(disturbed, self._own)
        seen = torch.stack([patterns[i % self._kinds] for i in range(len(cases))])[:, None]
        self._seen = seen & torch.isfinite(self._truth)
        area = torch.as_tensor(spec.area_weights(), dtype=draw.dtype, device=draw.device)[:, None]
        if spec.masked is not None:
            known = torch.as_tensor(~spec.masked, device=draw.device)
            self._seen, area = self._seen & known, (area * known)[: spec.state_channels]
        self._weight = area / area.mean((-2, -1), keepdim=True)
        self._seed = seed

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator).to(self._truth.device)

    @torch.no_grad()
    def scores(self, prior: LatentPrior, hidden: slice | None = None) -> Scores:
        """Examine a prior; its score network is left out.

        Parameters
        ----------
        prior
            Fitted to other frames.
        hidden
            Channels whose observations are withheld.
        """
        seen = self._seen
        if hidden is not None:
            seen = seen.clone()
            seen[:, :, hidden] = False
        cases, length = self._truth.shape[:2]
        mean, std = prior.normalization.climatology(self._season.flatten())
        mean, std = (a.unflatten(0, (cases, length)) for a in (mean, std))
        residual = prior.autoencoder.residual_std
        decoder = _Decoder(prior, self._season, 1 + _DRAWS)
        precision = torch.where(seen, 1 / ((self._error(prior, mean) / std).square() + residual.square()), 0.0)
        observed = torch.where(seen, (self._observed - mean) / std, 0.0)
        found, variance = self._posterior(prior, decoder, observed - decoder.offset, precision)
        expected = mean + std * (found + decoder.offset)
        spread = std * (variance + residual.square()).sqrt()
        state = [(a / self._scale)[:, :, : self._state] for a in (self._truth, expected, spread, mean, std)]
        truth, expected, spread, mean, std = state
        parts = (
            self._crps(prior, truth, expected, spread),
            self._crps(prior, truth, mean, std),
            (truth - expected).square(),
            spread.square(),
        )
        return Scores(*((self._weight * part).mean((1, 3, 4)) for part in parts))

    def _error(self, prior: LatentPrior, mean: Tensor) -> Tensor:
        """Return the standard deviation of the errors of observations after the transform."""
        error = (_ERROR * self._scale).expand_as(mean).clone()
        if self._own:
            expected, observed = mean[:, :, self._own], self._observed[:, :, self._own]
            physical = self._physical.expand_as(expected)
            error[:, :, self._own] = physical / prior.normalization.secant(expected, observed, self._own, physical)
        return error

    def _crps(self, prior: LatentPrior, truth: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        """CRPS of the state from normal distributions of it after the transform, in units of `scale`."""
        found = _crps(truth - mean, spread)
        if self._curved:
            scale, size = self._scale[self._curved], self._size[self._curved]
            chances = (torch.arange(_QUANTILES, dtype=scale.dtype, device=scale.device) + 0.5) / _QUANTILES
            deviates = torch.special.ndtri(chances)[:, None, None, None, None, None]
            chosen, spread = (scale * a[:, :, self._curved] for a in (mean, spread))
            values = prior.normalization.inverse_transform(chosen + deviates * spread, self._curved)
            found[:, :, self._curved] = _crps_of_quantiles(self._values, values) / size
        return found

    def _posterior(
        self, prior: LatentPrior, decoder: _Decoder, innovation: Tensor, precision: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of the anomalies that the latents decode to."""
        self._generator.manual_seed(self._seed + 1)
        cases, length = innovation.shape[:2]
        gaussian = prior.gaussian.trajectory(length)
        drawn = gaussian.apply(torch.sqrt, self._normal(_DRAWS * cases, length, *prior.shape))
        errors = precision.clamp(min=1e-12).rsqrt().repeat(_DRAWS, 1, 1, 1, 1)
        errors = errors * self._normal(*errors.shape)
        # The first trajectories are those of the cases, the others are drawn.
        fields = decoder(torch.cat([torch.zeros_like(drawn[:cases]), drawn]))[cases:]
        weights = precision.repeat(1 + _DRAWS, 1, 1, 1, 1).flatten(1)
        solution = solve(
            LinearObservations(
                torch.cat([innovation, fields + errors]).flatten(1),
                lambda v: gaussian.apply(lambda d: d, v),
                lambda v: decoder(v).flatten(1),
                lambda w: decoder.adjoint(w.unflatten(1, innovation.shape[1:])),
                lambda w: w * weights,
            ),
            tolerance=_TOLERANCE,
            iterations=_ITERATIONS,
        )
        found = decoder(solution.increment)
        left = (fields - found[cases:]).square().unflatten(0, (_DRAWS, cases)).mean(0)
        # Cases of the same kind have the same observed cells, and about the same variance of anomalies.
        variance = torch.empty_like(left)
        for kind in range(min(self._kinds, cases)):
            variance[kind :: self._kinds] = left[kind :: self._kinds].mean(0)
        return found[:cases], variance


class _Decoder:
    """Linear part of the map from the process to anomalies, of repeated trajectories in different seasons."""

    def __init__(self, prior: LatentPrior, season: Tensor, repeats: int) -> None:
        self._decoder = prior.autoencoder.decoder()
        self._mixing = prior.mixing(season.repeat(repeats, 1))
        self.offset = self._decoder.offset

    def __call__(self, v: Tensor) -> Tensor:
        return self._decoder(v if self._mixing is None else self._mixing(v))

    def adjoint(self, w: Tensor) -> Tensor:
        v = self._decoder.adjoint(w)
        return v if self._mixing is None else self._mixing.adjoint(v)


def variability(fields: Tensor) -> Tensor:
    """Return how much each channel varies, shape ``(channel, 1, 1)``; of a normal variable the standard deviation.

    It is made of the mean absolute deviation from the mean of a cell: a few downpours make the standard deviation of
    rain several times as large as what gauges err by.
    """
    deviation = (fields - fields.nanmean((0, 1))).abs()
    return math.sqrt(math.pi / 2) * deviation.nanmean((0, 1, 3, 4)).nan_to_num(1.0)[:, None, None]


def _crps_of_quantiles(truth: Tensor, values: Tensor) -> Tensor:
    """CRPS of the distribution whose quantiles are the values, rising along their first dimension."""
    count = len(values)
    # Half of the mean distance between two of them.
    weight = (2 * torch.arange(count, dtype=values.dtype, device=values.device) - count + 1) / count**2
    return (values - truth).abs().mean(0) - torch.einsum("k,k...->...", weight, values)


def _crps(error: Tensor, spread: Tensor) -> Tensor:
    """CRPS of a normal distribution, element by element."""
    error = error / spread
    density = torch.exp(-0.5 * error.square()) / math.sqrt(2 * math.pi)
    return spread * (error * torch.erf(error / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))

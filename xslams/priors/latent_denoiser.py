r"""The denoiser of latent trajectories: a Gaussian prior, corrected by the score network window by window.

.. math:: \mathbb{E}[z \mid z_t] \approx G_t(z_t) + s_t \, F_\theta\big(c_t z_t, G_t(z_t), t\big)

:math:`G_t` is the Wiener filter of the Gaussian prior over the whole trajectory, :math:`s_t` its mean posterior
standard deviation, and :math:`F_\theta` a U-Net over windows of ``2k + 1`` frames (the local blankets of SDA [1]_). The
Gaussian part carries what is linear, global in space and unlimited in time; the network what is not Gaussian. Because
the Gaussian's posterior covariance is known in closed form, moment-matching guidance needs no derivative of the
network. Where a latent frame is a single cell, such as that of a small system, a derivative costs no more than the
Gaussian's covariance; it knows which errors go together in the state at hand, and takes the place of that covariance.

References
----------
.. [1] Rozet and Louppe, Score-based Data Assimilation, 2023, arXiv 2306.10574.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from azula.denoise import Denoiser
from azula.noise import Schedule, VESchedule
from torch import Tensor

from xslams.priors.posteriors import CorrelatedPosterior, GaussianPrior, TweedieDenoiser
from xslams.priors.windows import pieces

if TYPE_CHECKING:
    from xslams.networks.unet import ScoreNetwork
    from xslams.priors.latent import LatentPrior


__all__ = ["SIGMA_MAX", "SIGMA_MIN", "TrajectoryDenoiser"]

# Latents have unit variance, but their leading modes have a standard deviation of up to thirty over a trajectory.
SIGMA_MAX = 100.0
SIGMA_MIN = 0.02


class TrajectoryDenoiser(Denoiser):
    """Denoiser of trajectories of any length.

    Parameters
    ----------
    networks
        Modules of a model.
    season
        Fraction of the year of every frame, shape ``(L,)``.
    schedule
        Noise schedule; by default variance exploding and uniform in the logarithm of the noise level.
    batch_size
        Number of windows that go through the network at once.
    """

    def __init__(
        self, networks: LatentPrior, season: Tensor, schedule: Schedule | None = None, batch_size: int = 64
    ) -> None:
        super().__init__()
        self.schedule = VESchedule(SIGMA_MIN, SIGMA_MAX) if schedule is None else schedule
        self.score = networks.score
        self.variance_ratio = networks.variance_ratio
        self.season = season
        self.batch_size = batch_size
        self.gaussian = networks.gaussian.trajectory(len(season))

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> CorrelatedPosterior:
        """Estimate clean trajectories.

        Parameters
        ----------
        x_t
            Noisy trajectories, shape ``(B, L, z, z_lat, z_lon)``.
        t
            Time, shape ``()``.
        """
        alpha, sigma = self.schedule(t)
        mean = self.gaussian.mean(x_t, alpha, sigma)
        if (score := self._score_for(x_t)) is not None:
            mean = mean + self.spread(alpha, sigma) * self._correction(score, x_t, mean, alpha, sigma)
        return CorrelatedPosterior(mean, lambda v: self._covariance(v, alpha, sigma))

    def posterior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> CorrelatedPosterior:
        """Return clean trajectories given noisy ones, as `forward` does; the covariance may be the better one."""
        if (score := self._score_for(x_t)) is not None and score.pointwise:
            return TweedieDenoiser(self).posterior(x_t, t, **kwargs)
        found: CorrelatedPosterior = self(x_t, t, **kwargs)
        return found

    def _score_for(self, x_t: Tensor) -> ScoreNetwork | None:
        """Return the network if trajectories have a window; the Gaussian prior knows the statistics of shorter ones."""
        return None if self.score is None or x_t.shape[1] < self.score.window else self.score

    def gaussian_prior(self) -> GaussianPrior | None:
        """Return the Gaussian prior where no network corrects it, of which nothing else is known; else None."""
        if self.score is not None:
            return None
        gaussian, nothing, one = self.gaussian, torch.zeros(()), torch.ones(())
        # The covariance given noise alone is that of the prior.
        return GaussianPrior(lambda v: gaussian.covariance(v, nothing, one), lambda v: gaussian.apply(torch.sqrt, v))

    def _correction(self, score: ScoreNetwork, x_t: Tensor, gaussian: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return what the network adds to the Gaussian estimate, in units of `spread`, window by window."""
        window = score.window
        scaled = x_t * torch.rsqrt(alpha**2 + sigma**2)
        # Interior windows give all but their first and last frame, which have the least context.
        cover = pieces(x_t.shape[1], window, 1 if window > 2 else 0, "interior")
        inputs = torch.stack([scaled[:, i : i + window] for i, *_ in cover], dim=1).flatten(0, 1)
        guesses = torch.stack([gaussian[:, i : i + window] for i, *_ in cover], dim=1).flatten(0, 1)
        season = torch.stack([self.season[i + window // 2] for i, *_ in cover]).repeat(len(x_t)).to(x_t)
        level = torch.log(sigma / alpha).expand(len(inputs)).to(x_t)
        outputs = torch.cat(
            [
                score(a, b, c, d)
                for a, b, c, d in zip(
                    inputs.split(self.batch_size),
                    guesses.split(self.batch_size),
                    level.split(self.batch_size),
                    season.split(self.batch_size),
                    strict=True,
                )
            ]
        ).unflatten(0, (len(x_t), len(cover)))
        return torch.cat([outputs[:, n, counted] for n, (_, _, counted, _) in enumerate(cover)], dim=1)

    def spread(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Mean posterior standard deviation under the Gaussian prior, the unit of the network's output."""
        return self.gaussian.mean_variance(alpha, sigma).sqrt()

    def _covariance(self, v: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Apply the posterior covariance of the clean trajectory to `v`.

        It is that of the Gaussian prior, scaled by how much less the corrected denoiser errs at this noise level.
        Without the scaling observations are drawn to more closely than the estimate deserves, and the spread comes out
        too small.
        """
        return self.variance_ratio(torch.log(sigma / alpha)) * self.gaussian.covariance(v, alpha, sigma)

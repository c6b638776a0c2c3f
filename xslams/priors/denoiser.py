r"""The denoiser of latent trajectories: a Gaussian prior, corrected by the score network window by window.

.. math:: \mathbb{E}[z \mid z_t] \approx G_t(z_t) + s_t \, F_\theta\big(c_t z_t, G_t(z_t), t\big)

:math:`G_t` is the Wiener filter of the Gaussian prior over the whole trajectory, :math:`s_t` its mean posterior
standard deviation, and :math:`F_\theta` a U-Net over windows of ``2k + 1`` frames (the local blankets of SDA [1]_). The
Gaussian part carries what is linear, global in space and unlimited in time; the network what is not Gaussian. Because
the Gaussian's posterior covariance is known in closed form, moment-matching guidance needs no derivative of the
network.

References
----------
.. [1] Rozet and Louppe, Score-based Data Assimilation, 2023, arXiv 2306.10574.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import Schedule, VESchedule
from torch import Tensor

if TYPE_CHECKING:
    from xslams.priors.latent import Networks


__all__ = ["SIGMA_MAX", "SIGMA_MIN", "TrajectoryDenoiser", "windows"]

# Latents have unit variance, but their leading modes have a standard deviation of up to thirty over a trajectory.
SIGMA_MAX = 100.0
SIGMA_MIN = 0.02


def windows(length: int, window: int) -> list[tuple[int, int, int]]:
    """Cover a trajectory with windows.

    Parameters
    ----------
    length
        Number of frames, at least `window`.
    window
        Number of frames of a window.

    Returns
    -------
    list
        Per window its first frame, and the range of frames for which it is used. Interior windows give all but their
        first and last frame, which have the least context.

    Examples
    --------
    >>> windows(10, 5)
    [(0, 0, 4), (3, 4, 7), (5, 7, 10)]
    """
    margin = 1 if window > 2 else 0
    cover, done, start = [], 0, 0
    while done < length:
        start = min(max(done - margin, 0), length - window)
        stop = length if start + window == length else start + window - margin
        cover.append((start, done, stop))
        done = stop
    return cover


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
        self, networks: Networks, season: Tensor, schedule: Schedule | None = None, batch_size: int = 64
    ) -> None:
        super().__init__()
        self.schedule = VESchedule(SIGMA_MIN, SIGMA_MAX) if schedule is None else schedule
        self.score = networks.score
        self.variance_ratio = networks.variance_ratio
        self.season = season
        self.batch_size = batch_size
        self.gaussian = networks.gaussian.trajectory(len(season))
        self.calls = 0

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        """Estimate clean trajectories.

        Parameters
        ----------
        x_t
            Noisy trajectories, shape ``(B, L, z, z_lat, z_lon)``.
        t
            Time, shape ``()``.
        """
        alpha, sigma = self.schedule(t)
        gaussian = self.gaussian.mean(x_t, alpha, sigma)
        self.calls += 1
        if self.score is None:
            return DiracPosterior(mean=gaussian)
        window, length = self.score.window, x_t.shape[1]
        scaled = x_t * torch.rsqrt(alpha**2 + sigma**2)
        if length < window:
            # A short trajectory has no window of its own; the Gaussian prior alone still knows its statistics.
            return DiracPosterior(mean=gaussian)
        cover = windows(length, window)
        inputs = torch.stack([scaled[:, i : i + window] for i, _, _ in cover], dim=1).flatten(0, 1)
        guesses = torch.stack([gaussian[:, i : i + window] for i, _, _ in cover], dim=1).flatten(0, 1)
        season = torch.stack([self.season[i + window // 2] for i, _, _ in cover]).repeat(len(x_t)).to(x_t)
        level = torch.log(sigma / alpha).expand(len(inputs)).to(x_t)
        outputs = torch.cat(
            [
                self.score(a, b, c, d)
                for a, b, c, d in zip(
                    inputs.split(self.batch_size),
                    guesses.split(self.batch_size),
                    level.split(self.batch_size),
                    season.split(self.batch_size),
                    strict=True,
                )
            ]
        ).unflatten(0, (len(x_t), len(cover)))
        correction = torch.cat([outputs[:, n, begin - i : end - i] for n, (i, begin, end) in enumerate(cover)], dim=1)
        return DiracPosterior(mean=gaussian + self.spread(alpha, sigma) * correction)

    def spread(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Mean posterior standard deviation under the Gaussian prior, the unit of the network's output."""
        return self.gaussian.mean_variance(alpha, sigma).sqrt()

    def covariance(self, v: Tensor, t: Tensor) -> Tensor:
        """Apply the posterior covariance of the clean trajectory to `v`.

        It is that of the Gaussian prior, scaled by how much less the corrected denoiser errs at this noise level.
        Without the scaling observations are drawn to more closely than the estimate deserves, and the spread comes out
        too small.
        """
        alpha, sigma = self.schedule(t)
        return self.variance_ratio(torch.log(sigma / alpha)) * self.gaussian.covariance(v, alpha, sigma)

r"""Training of the score network.

The network learns the correction to the Gaussian denoiser :math:`G_t` in units of the Gaussian's posterior standard
deviation :math:`s_t`, that is it minimises

.. math:: \mathbb{E} \left\| F_\theta - \frac{z - G_t(z_t)}{s_t} \right\|^2_W

over noise levels drawn log-normally, where :math:`W` weighs latents by the physical standard deviation that they stand
for. Whatever the network fails to learn, the Gaussian prior remains: with little data, a network that starts from
scratch first has to learn what a covariance matrix already says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.training.loop import batches, minimize, one_cycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xslams.networks.unet import ScoreNetwork
    from xslams.options import TrainingOptions
    from xslams.priors.gaussian import TrajectoryGaussian
    from xslams.priors.latent import LatentPrior
    from xslams.training.windows import Windows

__all__ = ["fit_score", "noisy_windows"]


def fit_score(networks: LatentPrior, windows: Windows, options: TrainingOptions, *, progress: bool) -> None:
    """Train the score network in place, and leave it with the moving average of its weights.

    Parameters
    ----------
    networks
        Prior of a model, all of it trained but the score network.
    windows
        Windows of latent frames to train on.
    options
        Options of training.
    progress
        Whether to show a progress bar.
    """
    score = networks.score
    assert score is not None
    gaussian = networks.gaussian.trajectory(windows.length)
    weight = networks.autoencoder.scale / networks.autoencoder.scale.mean()

    def losses() -> Iterator[Tensor]:
        for index in batches(len(windows), options.batch, options.epochs):
            z, season = windows.select(index)
            sigma = options.sigma_median * torch.exp(options.sigma_spread * torch.randn(len(z), device=z.device))
            yield _loss(score, gaussian, z, sigma, season, weight, half=options.half_precision)

    optimizer = torch.optim.AdamW(score.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    steps = options.epochs * -(-len(windows) // options.batch)
    schedule = one_cycle(optimizer, steps)
    minimize(
        score, losses(), optimizer, schedule, steps=steps, label="score network", progress=progress, ema=options.ema
    )


@torch.no_grad()
def noisy_windows(gaussian: TrajectoryGaussian, z: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Add noise to windows, and let the Gaussian prior estimate them.

    Parameters
    ----------
    gaussian
        Gaussian prior over a window.
    z
        Windows, shape ``(B, window, z, z_lat, z_lon)``.
    sigma
        Noise level of each, shape ``(B,)``.

    Returns
    -------
    tuple
        Noisy windows of unit variance and their estimates, shape of `z`; posterior standard deviations of the
        estimates, which broadcast against them.
    """
    level = sigma[:, None, None, None, None]
    one = torch.ones_like(sigma)
    z_t = z + level * torch.randn_like(z)
    mean = gaussian.mean(z_t, one, sigma)
    spread = gaussian.mean_variance(one, sigma).sqrt()[:, None, None, None, None]
    return z_t * torch.rsqrt(1 + level**2), mean, spread


def _loss(
    score: ScoreNetwork,
    gaussian: TrajectoryGaussian,
    z: Tensor,
    sigma: Tensor,
    season: Tensor,
    weight: Tensor,
    *,
    half: bool,
) -> Tensor:
    """Weighted error of the network's correction, relative to the Gaussian's own posterior variance."""
    noisy, mean, spread = noisy_windows(gaussian, z, sigma)
    # The network alone: the Gaussian's small eigenvalues would drown in bfloat16.
    with torch.autocast(z.device.type, torch.bfloat16, enabled=half):
        output = score(noisy, mean, torch.log(sigma), season)
    return (weight * (output.float() - (z - mean) / spread).square()).mean()

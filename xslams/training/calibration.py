"""Calibration of a trained score network: how far to trust it, and how large its errors are at each noise level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from xslams.priors.latent import CALIBRATION_LEVELS
from xslams.training.score import noisy_windows

if TYPE_CHECKING:
    from xslams.priors.latent import LatentPrior
    from xslams.training.windows import Windows

__all__ = ["calibrate"]

# Windows that are enough to measure a variance with.
_COUNT = 48


@torch.no_grad()
def calibrate(networks: LatentPrior, windows: Windows, trust: float) -> None:
    """Measure how good the score network is on frames that it has not seen: damp it, and set the variance ratio.

    A network trained on a few years recognises them, and is too sure of itself in others: its correction is damped by
    the factor that serves best. The ratio is what is then left of the Gaussian's error on the same frames. It is not
    relative to the variance that the Gaussian expects: a few hundred frames may be calmer than others by a fifth, which
    is not the merit of the network. Latents count by the physical variance that they stand for, as in what is observed.

    Parameters
    ----------
    networks
        Prior of a model, all of it trained.
    windows
        Windows of latent frames that the score network was not trained on.
    trust
        Factor on the ratio, for models whose members follow the observations too closely.
    """
    score = networks.score
    assert score is not None
    score.eval()
    z, season = windows.spread_out(_COUNT)
    gaussian = networks.gaussian.trajectory(windows.length)
    weight = networks.autoencoder.scale.square()
    products = []  # of correction and correction, correction and error, relative to those of error and error
    for level in CALIBRATION_LEVELS:
        sigma = torch.full((len(z),), level, device=z.device)
        noisy, mean, spread = noisy_windows(gaussian, z, sigma)
        correction, error = spread * score(noisy, mean, torch.log(sigma), season), z - mean
        products.append(
            torch.stack([(weight * correction * other).mean() for other in (correction, error)])
            / (weight * error.square()).mean()
        )
    own, common = torch.stack(products).unbind(1)
    damping = (common.sum() / own.sum().clamp(min=1e-12)).clamp(0.0, 1.0)
    score.damp(float(damping))
    networks.calibration.copy_(trust * (1 - 2 * damping * common + damping**2 * own).clamp(0.1, 3.0))

"""Noise levels at which a model of trajectories relies on its filters, on its step, or on both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.priors.markov_denoiser import steps_at
from xslams.priors.process import gauss_newton

if TYPE_CHECKING:
    from xslams.priors.markov import MarkovPrior

__all__ = ["measure_levels"]

# Noise levels at which the filters and a Gauss-Newton step are compared.
_LEVELS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)
# How much larger the squared error without the filters may be, for them to be left out.
_TOLERANCE = 1.02


@torch.no_grad()
def measure_levels(networks: MarkovPrior, data: Tensor) -> None:
    """Find up to which noise levels a Gauss-Newton step improves on the filters, and serves without them.

    Parameters
    ----------
    networks
        Filters and transition, trained.
    data
        Standardised trajectories that they have not seen, shape ``(trajectory, time, channel, site)``.
    """
    z = data.flatten(2)
    refine = bare = previous = 0.0
    for level in _LEVELS:
        noisy = data + level * torch.randn_like(data)
        guess = networks.filters(noisy, torch.full((len(data),), level)).mean.flatten(2)
        observed = noisy.flatten(2)
        # As many steps as the denoiser takes.
        refined = gauss_newton(networks.transition, guess, observed, level, steps_at(level))[0]
        error, refined_error = ((x - z).square().mean() for x in (guess, refined))
        if not refined_error < error:
            break
        refine = level
        if bare == previous:
            alone = gauss_newton(networks.transition, observed, observed, level, 2, checked=False)[0]
            bare = level if (alone - z).square().mean() < _TOLERANCE * refined_error else bare
        previous = level
    networks.refine.fill_(refine)
    networks.bare.fill_(bare)

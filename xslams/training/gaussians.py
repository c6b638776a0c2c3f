"""Estimate the Gaussian prior of latent frames, once or for many candidates that share most of the work."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

import torch

from xslams.priors.estimation import Sample
from xslams.priors.latent import LatentPrior
from xslams.training.taper import taper_functions, taper_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from xslams.options import TrainingOptions
    from xslams.priors.mixing import Mixing
    from xslams.spec import Spec

__all__ = ["Candidates", "Latents", "estimate", "make_stationary", "sample_of"]

# Frames that are turned at once.
_BLOCK = 512

Latents = tuple[LatentPrior, "list[Tensor]", "list[Tensor]"]
"""A prior whose latent space is fitted; latent frames and fractions of the year of each stretch."""


@torch.no_grad()
def sample_of(
    networks: LatentPrior, spec: Spec, latents: list[Tensor], seasons: list[Tensor], options: TrainingOptions
) -> Sample:
    """Fit the mixing by season, if there is one, and return what the stationary process is estimated from.

    Parameters
    ----------
    networks
        Its latent space is fitted; the mixing is fitted in place.
    spec
        Grid.
    latents, seasons
        Latent frames and fractions of the year of each stretch.
    options
        Settings of the Gaussian.

    Returns
    -------
    Sample
        Of latent frames, or where there is a mixing by season of what it mixes.
    """
    if networks.seasonal is not None:
        networks.seasonal.fit(latents, seasons, seasonality=options.seasonality)
        latents = [_unmixed(networks.seasonal.at(own), run) for run, own in zip(latents, seasons, strict=True)]
    taper = None
    if options.localization is not None and not spec.flat:
        layout, patch = networks.gaussian.layout, networks.autoencoder.patch
        taper = taper_of(layout, patch, spec, options.localization).to(latents[0].device)
    return Sample(networks.gaussian.layout, latents, folds=options.folds, taper=taper)


@torch.no_grad()
def make_stationary(networks: LatentPrior, latents: list[Tensor], seasons: list[Tensor]) -> None:
    """Turn latent frames into those of the stationary process in place, block by block, as they may lie on disk.

    Parameters
    ----------
    networks
        Its mixing by season and place, if there is one, is fitted.
    latents, seasons
        Latent frames and fractions of the year of each stretch.
    """
    if networks.seasonal is None and networks.local is None:
        return
    for run, season in zip(latents, seasons, strict=True):
        for part, own in zip(run.split(_BLOCK), season.split(_BLOCK), strict=True):
            part.copy_(_unmixed(networks.mixing(own), part.to(own.device)))


def _unmixed(mixing: Mixing | None, run: Tensor) -> Tensor:
    """Return frames of the process for latent frames ``(T, z, z_lat, z_lon)``."""
    return run if mixing is None else mixing.inverse(run[None])[0]


def estimate(networks: LatentPrior, spec: Spec, sample: Sample, options: TrainingOptions) -> None:
    """Estimate the stationary process of a prior, and the mixing of places if there is one, in place.

    Parameters
    ----------
    networks
        Its latent space is fitted.
    spec
        Grid.
    sample
        What to estimate it from.
    options
        Settings of the Gaussian.
    """
    networks.gaussian.estimate(
        sample, shrinkage=options.shrinkage, smoothing=options.smoothing, coupling=options.coupling
    )
    if networks.local is not None:
        layout, patch = networks.gaussian.layout, networks.autoencoder.patch
        taper = taper_functions(layout, patch, spec, options.local_length, networks.calibration.device)
        networks.local.estimate(networks.gaussian, sample, taper, locality=options.locality)
    networks.gaussian.inflate(options.inflation)


class Candidates:
    """Gaussian priors of the same frames with different settings; what the last one had in common is not made again.

    Parameters
    ----------
    fit_latents
        Fits the latent space for given options; called where they differ in more than the Gaussian.
    """

    def __init__(self, fit_latents: Callable[[Spec, TrainingOptions], Latents]) -> None:
        self._fit_latents = fit_latents
        self._latents: tuple[TrainingOptions, Latents] | None = None
        self._sample: tuple[TrainingOptions, LatentPrior, Sample] | None = None

    def prior(self, spec: Spec, options: TrainingOptions) -> LatentPrior:
        """Return the prior with given settings; it shares its latent space with the others.

        Parameters
        ----------
        spec
            With the architecture that the options name.
        options
            Settings without a score network.
        """
        # Of what is made of the sample alone, nothing matters to the sample, and of the sample nothing to the latents.
        own = dataclasses.replace(options, modes=1, lags=0, coupled=0, coupling=0.0, smoothing=1, inflation=1.0)
        own = dataclasses.replace(own, shrinkage=0.0, spread=(), local=0, locality=0.0, local_length=8000.0)
        plain = dataclasses.replace(own, folds=0, localization=None, seasonal=0, seasonality=0.0)
        if self._latents is None or self._latents[0] != plain:
            # No two latent spaces are kept at once, as each is as large as the data.
            self._latents = self._sample = None
            self._latents = plain, self._fit_latents(spec, options)
        fitted, latents, seasons = self._latents[1]
        prior = LatentPrior(spec).to(fitted.calibration.device)
        # Their climatologies may be widened.
        prior.normalization, prior.autoencoder = copy.deepcopy(fitted.normalization), fitted.autoencoder
        if self._sample is None or self._sample[0] != own:
            self._sample = None
            self._sample = own, prior, sample_of(prior, spec, latents, seasons, options)
        prior.seasonal = self._sample[1].seasonal
        estimate(prior, spec, self._sample[2], options)
        prior.normalization.widen(options.spread)
        return prior.eval().requires_grad_(requires_grad=False)

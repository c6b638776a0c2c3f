"""Train a latent model: normalisation, autoencoder, Gaussian prior, score network, one after the other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from xslams.errors import ModelError, OptionError, warn
from xslams.model import Model
from xslams.networks.acceleration import device_of
from xslams.networks.architecture import LatentArchitecture
from xslams.options import TrainingOptions
from xslams.priors.latent import LatentPrior
from xslams.priors.stored import UNTRAINED, check_finite
from xslams.seasons import covered_days, periods_in_words, supported_order
from xslams.training.autoencoder import encode_runs, fit_autoencoder
from xslams.training.calibration import calibrate
from xslams.training.gaussians import Latents, estimate, sample_of
from xslams.training.score import fit_score
from xslams.training.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from xslams.spec import Spec
    from xslams.typing import FloatArray

__all__ = ["fit_arrays", "fit_gaussian_stages", "fit_latents", "supported", "with_architecture"]


def fit_arrays(
    spec: Spec,
    runs: Sequence[tuple[FloatArray, FloatArray]],
    options: TrainingOptions | None = None,
    *,
    device: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Model:
    """Train a model on arrays.

    Parameters
    ----------
    spec
        Variables, grid, time step and window; its architecture is filled in.
    runs
        Contiguous stretches: fields ``(T, channel, lat, lon)`` in physical units and fractions of the year ``(T,)``.
        Windows never cross from one stretch to the next.
    options
        Sizes of the networks and settings of their training; the defaults where None.
    device
        Torch device; by default the GPU where there is one.
    seed
        Seed of initial weights, noise and order.
    progress
        Whether to show progress bars.

    Returns
    -------
    Model
        The trained model, in memory.

    Raises
    ------
    ModelError
        If the data are too short for one window, or training ends with weights that are not finite.
    OptionError
        If there are more latent channels than a patch has values, or other factors of spread than channels.
    """
    options = options or TrainingOptions()
    _require_window(runs, spec.window)
    if len(options.spread) not in (0, spec.state_channels):
        msg = (
            f"spread has {len(options.spread)} factors; expected one for each of {spec.state_channels} channels, or ()."
        )
        raise OptionError(msg)
    spec, options = _with_season(spec, runs, options)
    spec = with_architecture(spec, options)
    where = device_of(device)
    # The caller's random state is not ours to change.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks, latents, seasons = fit_gaussian_stages(spec, runs, options, where, progress=progress)
        if networks.score is not None:
            windows = Windows(latents, seasons, spec.window)
            training, unseen = windows.split(options.holdout)
            fit_score(networks, training, options, progress=progress)
            calibrate(networks, unseen if len(unseen) else windows, options.trust)
    networks = networks.eval().requires_grad_(requires_grad=False)
    networks.round_to_storage()
    check_finite(networks.state_dict(), *UNTRAINED)
    return Model(spec, prior=networks)


def _tensor(values: FloatArray, device: torch.device) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float32), device=device)


def _require_window(runs: Sequence[tuple[FloatArray, FloatArray]], window: int) -> None:
    longest = max((len(fields) for fields, _ in runs), default=0)
    if longest < window:
        msg = (
            f"Training needs at least {window} consecutive frames (the window); the longest stretch has {longest}. "
            "Take more data, or a smaller window=."
        )
        raise ModelError(msg)


def supported(spec: Spec, runs: Sequence[tuple[FloatArray, FloatArray]], options: TrainingOptions) -> TrainingOptions:
    """Return the options with no more of the seasonal cycle than the data can support.

    Parameters
    ----------
    spec, runs, options
        As for `fit_arrays`.
    """
    if spec.flat:
        return dataclasses.replace(options, seasonal=0)
    season = _days(runs)
    return dataclasses.replace(
        options,
        mean_order=supported_order(season, spec.time_step, options.mean_order),
        std_order=supported_order(season, spec.time_step, options.std_order, everywhere=True),
        # Like spreads, covariances are those of an annual harmonic.
        seasonal=options.seasonal * supported_order(season, spec.time_step, 1, everywhere=True),
    )


def _with_season(
    spec: Spec, runs: Sequence[tuple[FloatArray, FloatArray]], options: TrainingOptions
) -> tuple[Spec, TrainingOptions]:
    """Which days of the year the data cover, and the harmonics that they can support; warn where that is not all.

    Parameters
    ----------
    spec, runs, options
        As for `fit_arrays`.
    """
    if spec.flat:
        return spec, supported(spec, runs, options)
    season = _days(runs)
    covered = covered_days(season, spec.time_step)
    fewer = supported(spec, runs, options)
    orders = f"mean_order={fewer.mean_order}, std_order={fewer.std_order}"
    if options.seasonal:
        orders += f", seasonal={fewer.seasonal}"
    if covered:
        warn(
            f"The training data cover {periods_in_words(covered)} of the year. They support a seasonal cycle with "
            f"{orders}, and no climatology of other days of the year, of which an analysis will warn. Train on whole "
            "years if you can."
        )
    elif fewer != options:
        warn(f"The training data have {np.unique(season).size} days of the year, which support {orders} at most.")
    return dataclasses.replace(spec, covered_days=covered), fewer


def _days(runs: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
    return np.concatenate([np.asarray(season, float) for _, season in runs])


def with_architecture(spec: Spec, options: TrainingOptions) -> Spec:
    """Return the specification with the sizes that options name, and those that follow from the variables.

    Parameters
    ----------
    spec
        Variables and grid.
    options
        Sizes of the networks.

    Raises
    ------
    OptionError
        If there are more latent channels than a patch has values.
    """
    return dataclasses.replace(spec, architecture=_architecture(spec, options).to_header())


def fit_gaussian_stages(
    spec: Spec,
    runs: Sequence[tuple[FloatArray, FloatArray]],
    options: TrainingOptions,
    device: torch.device,
    *,
    progress: bool,
) -> Latents:
    """Train all of a model but its score network.

    Parameters
    ----------
    spec
        With its architecture.
    runs, options, progress
        As for `fit_arrays`.
    device
        Where to train.

    Returns
    -------
    tuple
        The prior, and for each stretch the frames of its stationary process and fractions of the year.
    """
    networks, latents, seasons = fit_latents(spec, runs, options, device, progress=progress)
    sample, frames = sample_of(networks, spec, latents, seasons, options)
    estimate(networks, sample, options)
    return networks, frames, seasons


def fit_latents(
    spec: Spec,
    runs: Sequence[tuple[FloatArray, FloatArray]],
    options: TrainingOptions,
    device: torch.device,
    *,
    progress: bool,
) -> Latents:
    """Train the normalisation and the autoencoder of a model.

    Parameters
    ----------
    spec, runs, options, device, progress
        As for `fit_gaussian_stages`.

    Returns
    -------
    tuple
        The prior, whose Gaussian is not yet estimated, and latent frames and fractions of the year of each stretch.
    """
    networks = LatentPrior(spec).to(device)
    seasons = [_tensor(season, device) for _, season in runs]
    latents = _fit_latent_space(networks, spec, [f for f, _ in runs], seasons, options, progress=progress)
    return networks, latents, seasons


def _architecture(spec: Spec, options: TrainingOptions) -> LatentArchitecture:
    """Sizes of the networks: those that the options name, and those that follow from the variables."""
    most = spec.channels * options.patch**2
    channels = options.latent_channels
    if channels is None:
        channels = spec.channels if options.patch == 1 else max(most * 3 // 10, 4)
    if channels > most:
        msg = (
            f"latent_channels={channels}; expected at most {most}, the number of values of a patch of "
            f"{options.patch} x {options.patch} cells with {spec.channels} channels. Take fewer, or a larger patch."
        )
        raise OptionError(msg)
    return LatentArchitecture(
        latent_channels=channels,
        patch=options.patch,
        hidden=options.hidden,
        modes=options.modes,
        lags=options.lags,
        coupled=options.coupled,
        seasonal=options.seasonal,
        mean_order=options.mean_order,
        std_order=options.std_order,
        width=options.width if options.epochs else (),
        blocks=options.blocks,
        location=options.location,
        dropout=options.dropout,
    )


def _fit_latent_space(
    networks: LatentPrior,
    spec: Spec,
    runs: Sequence[FloatArray],
    seasons: list[Tensor],
    options: TrainingOptions,
    *,
    progress: bool,
) -> list[Tensor]:
    """Train normalisation and autoencoder; return the latents of each stretch."""
    fields = [_tensor(run, seasons[0].device) for run in runs]
    networks.normalization.fit(torch.cat(fields), torch.cat(seasons))
    frames = [networks.normalization.normalize(f, s) for f, s in zip(fields, seasons, strict=True)]
    del fields  # as large as the data
    fit_autoencoder(networks.autoencoder, spec, torch.cat(frames), options, progress=progress)
    return encode_runs(networks.autoencoder, frames)

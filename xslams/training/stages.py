"""Train a latent model: normalisation, autoencoder, Gaussian prior, score network, one after the other."""

from __future__ import annotations

import contextlib
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
from xslams.seasons import covered_days, periods_in_words, supported_day_order, supported_order
from xslams.training.autoencoder import encode_into, fit_autoencoder
from xslams.training.calibration import calibrate
from xslams.training.channels import usual_channels
from xslams.training.curves import with_normal_scores
from xslams.training.frames import Blocks, Room, size_of, spread
from xslams.training.gaussians import Latents, estimate, make_stationary, sample_of
from xslams.training.monitor import Monitor, named, set_random_state, watched
from xslams.training.score import fit_score, require_precision
from xslams.training.windows import Windows

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from xslams.spec import Spec
    from xslams.training.frames import Stretch
    from xslams.typing import FloatArray

__all__ = [
    "fit_arrays",
    "fit_gaussian_stages",
    "fit_latents",
    "fit_stages",
    "supported",
    "with_architecture",
]


def fit_arrays(
    spec: Spec,
    runs: Sequence[Stretch],
    options: TrainingOptions | None = None,
    *,
    device: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
) -> Model:
    """Train a model on arrays.

    Parameters
    ----------
    spec
        Variables, grid, time step and window; its architecture is filled in.
    runs
        Contiguous stretches: fields ``(T, channel, lat, lon)`` in physical units and fractions of the year ``(T,)``.
        Windows never cross from one stretch to the next. Fields are arrays, or anything that has a shape, gives a
        stretch of itself for a slice, and becomes an array when it is asked for, see `xslams.training.frames.Frames`.
    options
        Sizes of the networks and settings of their training; the defaults where None.
    device
        Torch device; by default the GPU where there is one.
    seed
        Seed of initial weights, noise and order.
    progress
        Whether to show progress bars; by default where a person waits.
    checkpoint
        A ``.safetensors`` file that is kept up to date while the training runs, and from which the same call goes on.
    log
        A ``.csv`` file, or a folder for event files of TensorBoard.

    Returns
    -------
    Model
        The trained model, in memory.

    Raises
    ------
    ModelError
        If the data are too short for one window, or training ends with weights that are not finite.
    OptionError
        If there are more latent channels than a patch has values, other factors of spread than channels, or the device
        does not know the precision.
    VariableError
        If normal scores are asked of a variable that is not there or has levels.
    StoreError
        If the checkpoint is of another training or damaged, or the disk is full.
    FileError
        If checkpoint or log name files that are not to be overwritten.
    """
    options = options or TrainingOptions()
    with watched(
        spec, runs, dataclasses.asdict(options), seed=seed, device=device, progress=progress, checkpoint=checkpoint,
        log=log,
    ) as monitor:  # fmt: skip
        return fit_stages(spec, runs, options, device=device, seed=seed, monitor=monitor)


def fit_stages(
    spec: Spec,
    runs: Sequence[Stretch],
    options: TrainingOptions,
    *,
    device: str | None,
    seed: int,
    monitor: Monitor,
) -> Model:
    """Train a model on arrays; see `fit_arrays`.

    Parameters
    ----------
    spec, runs, options, device, seed
        As for `fit_arrays`.
    monitor
        Who watches, and knows from where to go on.
    """
    _require_window(runs, spec.window)
    if len(options.spread) not in (0, spec.state_channels):
        msg = (
            f"spread has {len(options.spread)} factors; expected one for each of {spec.state_channels} channels, or ()."
        )
        raise OptionError(msg)
    spec, options = _with_season(with_normal_scores(spec, runs, options), runs, options)
    spec = with_architecture(spec, options)
    where = device_of(device)
    require_precision(options, where)
    # The caller's random state is not ours to change.
    with torch.random.fork_rng(devices=[]), _room(runs, options, where, monitor) as room:
        torch.manual_seed(seed)
        if (saved := monitor.saved_in("done")) is not None:
            networks = LatentPrior(spec).to(where)
            monitor.restore(networks, saved)
        else:
            networks, latents, seasons = fit_gaussian_stages(spec, runs, options, where, monitor=monitor, room=room)
            if networks.score is not None:
                windows = Windows(latents, seasons, spec.window)
                training, unseen = windows.split(options.holdout)
                _require_unseen(unseen, options)
                fit_score(networks, training, options, unseen=unseen, monitor=monitor)
                calibrate(networks, unseen if len(unseen) else windows, options.trust)
            # At the end, as the frames of a training that goes on are encoded anew by the climatology of a checkpoint.
            networks.normalization.widen(options.spread)
    networks = networks.eval().requires_grad_(requires_grad=False)
    networks.round_to_storage()
    check_finite(networks.state_dict(), *UNTRAINED)
    monitor.finish(networks)
    if monitor.remarks:
        spec = dataclasses.replace(spec, training=spec.training | {"ended": list(monitor.remarks)})
    return Model(spec, prior=networks)


@contextlib.contextmanager
def _room(
    runs: Sequence[Stretch],
    options: TrainingOptions,
    device: torch.device,
    monitor: Monitor | None,
) -> Iterator[Room]:
    """Room for the frames: in memory, or on the disk where the checkpoint is, or else that of temporary files."""
    near = None if monitor is None else monitor.folder
    with Room.for_size(size_of(runs), options.memory * 2**30, device, near) as room:
        yield room


def _require_unseen(unseen: Windows, options: TrainingOptions) -> None:
    if options.patience is not None and not len(unseen):
        msg = (
            f"patience={options.patience} looks at frames that are held out, of which there is no window: "
            f"holdout={options.holdout} of the longest stretch is shorter. Take a larger holdout, or no patience."
        )
        raise OptionError(msg)


def _require_window(runs: Sequence[Stretch], window: int) -> None:
    longest = max((len(fields) for fields, _ in runs), default=0)
    if longest < window:
        msg = (
            f"Training needs at least {window} consecutive frames (the window); the longest stretch has {longest}. "
            "Take more data, or a smaller window=."
        )
        raise ModelError(msg)


def supported(spec: Spec, runs: Sequence[Stretch], options: TrainingOptions) -> TrainingOptions:
    """Return the options with no more of the seasonal cycle than the data can support.

    Parameters
    ----------
    spec, runs, options
        As for `fit_arrays`.
    """
    if spec.flat:
        # There are no seasons, and no distances in km.
        return dataclasses.replace(
            options, seasonal=0, mean_order=0, std_order=0, day_order=0, localization=None, local=0
        )
    season = _days(runs)
    return dataclasses.replace(
        options,
        mean_order=supported_order(season, spec.time_step, options.mean_order),
        std_order=supported_order(season, spec.time_step, options.std_order, everywhere=True),
        day_order=supported_day_order(season, spec.time_step, options.day_order),
        # Like spreads, covariances are those of an annual harmonic.
        seasonal=options.seasonal * supported_order(season, spec.time_step, 1, everywhere=True),
        # Where no circle closes, covariances differ from place to place without a mixing.
        local=options.local * spec.periodic,
    )


def _with_season(spec: Spec, runs: Sequence[Stretch], options: TrainingOptions) -> tuple[Spec, TrainingOptions]:
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
    elif dataclasses.replace(fewer, day_order=options.day_order, local=options.local) != options:
        warn(f"The training data have {np.unique(season).size} days of the year, which support {orders} at most.")
    return dataclasses.replace(spec, covered_days=covered), fewer


def _days(runs: Sequence[Stretch]) -> FloatArray:
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
    runs: Sequence[Stretch],
    options: TrainingOptions,
    device: torch.device,
    *,
    progress: bool = False,
    monitor: Monitor | None = None,
    room: Room | None = None,
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
    monitor
        Who watches, and knows from where to go on; progress is its own.
    room
        Where frames are kept; by default in memory.

    Returns
    -------
    tuple
        The prior, and for each stretch the frames of its stationary process and fractions of the year.
    """
    monitor = monitor or Monitor(progress=progress)
    networks, latents, seasons = fit_latents(spec, runs, options, device, monitor=monitor, room=room)
    complete = monitor.saved_in("gaussian", "score")
    if complete is None:
        _fit_gaussian(networks, spec, latents, seasons, options)
        monitor.keep("gaussian", lambda: named(networks, device))
    elif complete.stage == "gaussian":
        set_random_state(complete, device)
    make_stationary(networks, latents, seasons)
    return networks, latents, seasons


def fit_latents(
    spec: Spec,
    runs: Sequence[Stretch],
    options: TrainingOptions,
    device: torch.device,
    *,
    progress: bool = False,
    monitor: Monitor | None = None,
    room: Room | None = None,
) -> Latents:
    """Train the normalisation and the autoencoder of a model.

    Parameters
    ----------
    spec, runs, options, device, progress, monitor, room
        As for `fit_gaussian_stages`.

    Returns
    -------
    tuple
        The prior, whose Gaussian is not yet estimated, and latent frames and fractions of the year of each stretch.
    """
    monitor = monitor or Monitor(progress=progress)
    networks = LatentPrior(spec).to(device)
    begun = monitor.saved_in("autoencoder", "gaussian", "score")
    if begun is not None:
        monitor.restore(networks, begun)
    blocks, room = Blocks(runs, device), room or Room(None, device)
    if begun is None:
        networks.normalization.fit_blocks(blocks)
    frames = _anomalies(networks, blocks, room, spec)
    if monitor.saved_in("gaussian", "score") is None:
        fit_autoencoder(networks, spec, frames, options, monitor)
    lengths = [len(season) for _, season in runs]
    latents = list(encode_into(networks.autoencoder, frames, room).split(lengths))
    seasons = [blocks.season(run) for run in range(len(blocks))]
    return networks, latents, seasons


@torch.no_grad()
def _anomalies(networks: LatentPrior, blocks: Blocks, room: Room, spec: Spec) -> Tensor:
    """Anomalies of all frames ``(T, channel, lat, lon)``."""
    seasons = [blocks.season(run) for run in range(len(blocks))]
    frames = room.empty((sum(map(len, seasons)), *spec.frame_shape))
    for run, own in enumerate(frames.split([len(season) for season in seasons])):
        for part, fields, season in blocks.of(run):
            own[part] = networks.normalization.normalize(fields, season)
    return frames


def _architecture(spec: Spec, options: TrainingOptions) -> LatentArchitecture:
    """Sizes of the networks: those that the options name, and those that follow from the variables."""
    most = spec.channels * options.patch**2
    channels = options.latent_channels
    if channels is None:
        channels = usual_channels(spec, options.patch)
    if channels > most:
        msg = (
            f"latent_channels={channels}; expected at most {most}, the number of values of a patch of "
            f"{options.patch} x {options.patch} cells with {spec.channels} channels. Take fewer, or a larger patch."
        )
        raise OptionError(msg)
    # Values of patches that close the circle are a frame of the fields, whose waves the Gaussian prior can have.
    whole = channels == most and spec.periodic and spec.frame_shape[2] % options.patch == 0
    return LatentArchitecture(
        latent_channels=channels,
        cut=options.patch if whole else 1,
        patch=options.patch,
        hidden=options.hidden,
        modes=options.modes,
        lags=options.lags,
        coupled=options.coupled,
        seasonal=options.seasonal,
        local=options.local,
        mean_order=options.mean_order,
        std_order=options.std_order,
        day_order=options.day_order,
        width=options.width if options.epochs else (),
        blocks=options.blocks,
        location=options.location,
        dropout=options.dropout,
        trimmed=True,
    )


def _fit_gaussian(
    networks: LatentPrior, spec: Spec, latents: list[Tensor], seasons: list[Tensor], options: TrainingOptions
) -> None:
    most = options.memory * 2**30 / (4 * latents[0][0].numel())
    parts, device = spread(list(map(len, latents)), most), networks.calibration.device
    chosen = [latents[run][part].to(device) for run, part in parts]
    sample = sample_of(networks, spec, chosen, [seasons[run][part] for run, part in parts], options)
    estimate(networks, spec, sample, options)

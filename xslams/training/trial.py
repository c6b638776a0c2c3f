"""Whether a score network improves on the Gaussian prior, by its error as a denoiser of frames that it has not seen."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.networks.acceleration import device_of
from xslams.options import TrainingOptions
from xslams.priors.latent import CALIBRATION_LEVELS, LatentPrior
from xslams.training.autoencoder import encode_runs
from xslams.training.blocks import deal
from xslams.training.calibration import calibrate
from xslams.training.curves import with_normal_scores
from xslams.training.gaussians import make_stationary
from xslams.training.score import fit_score, noisy_windows
from xslams.training.selection import Trial
from xslams.training.stages import fit_gaussian_stages, with_architecture
from xslams.training.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.spec import Spec
    from xslams.training.blocks import Run

__all__ = ["time_for_network", "try_network"]

# Passes that are enough for some years of daily fields, and those below which a network has learned nothing. A year or
# two determine little more than a Gaussian: below so many windows no network is tried.
_EPOCHS, _LEAST_EPOCHS, _LEAST_WINDOWS = 30, 5, 1000
# Share of the time that the trial takes. What it trains for some passes gains more by more of them, up to so many times
# as many, as a network that has hardly overfitted in the trial has not in the end.
_TRIAL, _MORE = 0.25, 3
# Share of a budget that is kept for the network, whose gain is larger than that of all but the first changes of the
# Gaussian; of the time that is left, what the estimate of a step may be off by.
_RESERVED, _SAFE = 0.7, 0.85
# Least gain, as a share of the Gaussian's error, for which a network is worth its calls, as members need none without
# one.
_WORTH = 0.005
# Steps of the optimiser that tell how long one takes; windows of each half of the held-out frames.
_TIMED, _COUNT = 2, 64
# Before the search, when nothing is known of how long a step may take: windows of the first ones, and the share of the
# budget up to which a step of all windows is measured, too.
_FEW, _SHORT = 4, 0.01


def try_network(
    spec: Spec,
    runs: Sequence[Run],
    options: TrainingOptions,
    *,
    budget: float,
    device: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Trial | str:
    """Train a network without one part of the data, and compare its errors there with those of the Gaussian.

    Parameters
    ----------
    spec, runs
        As for `xslams.training.fit_arrays`.
    options
        Settings of the Gaussian.
    budget
        Seconds that are left; a quarter is for this trial, and most of the others for the final training.
    device, seed, progress
        As for `xslams.training.fit_arrays`.

    Returns
    -------
    Trial or str
        The trial, with the number of epochs of the final training, or why there was none.
    """
    if not options.width:
        return "no network was tried: width=() asks for none"
    options = dataclasses.replace(options, epochs=_EPOCHS, spread=())
    folds = deal(spec, runs, 1)
    if not folds or sum(len(season) for _, season in runs) < _LEAST_WINDOWS:
        return f"no network was tried: fewer than {_LEAST_WINDOWS} frames determine no more than a Gaussian"
    (kept, left_out), where = folds[0], device_of(device)
    spec = with_architecture(with_normal_scores(spec, kept, options), options)
    start = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks, latents, seasons = fit_gaussian_stages(spec, kept, options, where, progress=False)
        windows = Windows(latents, seasons, spec.window)
        begun = {k: v.clone() for k, v in networks.state_dict().items()}
        per_step = _time_of_a_step(networks, windows, options)
        steps = -(-len(windows) // options.batch)
        left = budget - (time.monotonic() - start)
        epochs = min(int(_TRIAL * left / (per_step * steps)), _EPOCHS)
        if epochs < _LEAST_EPOCHS:
            hours = _whole(per_step * steps) / 3600
            return f"no network was tried: trial and training take about {hours:.1f} h; see budget"
        networks.load_state_dict(begun)
        fit_score(networks, windows, dataclasses.replace(options, epochs=epochs), progress=progress)
        gain, score = _gain(networks, spec, left_out)
    mean, error = float(gain.mean()), float(gain.std() / len(gain) ** 0.5)
    # All of the data have more windows.
    left = (budget - (time.monotonic() - start)) * len(windows) / sum(len(season) for _, season in runs)
    final = min(max(int(_SAFE * left / (per_step * steps)), epochs), _MORE * epochs, _EPOCHS)
    return Trial({"epochs": final}, score, mean, error, None, mean > max(error, _WORTH))


def time_for_network(
    spec: Spec, runs: Sequence[Run], options: TrainingOptions, *, budget: float, device: str | None = None
) -> float:
    """Return the seconds of a budget that are to be kept for a network.

    Parameters
    ----------
    spec, runs, device
        As for `xslams.training.fit_arrays`.
    options
        Settings with which the search begins.
    budget
        Seconds for the search, the trial of a network and its training.

    Returns
    -------
    float
        What trial and training take, and at most 0.7 of the budget; 0 if that is not half of what they take, or the
        data are too few for a network.
    """
    frames = sum(len(season) for _, season in runs)
    if frames < _LEAST_WINDOWS or not budget or not options.width:
        return 0.0
    options = dataclasses.replace(options, epochs=_EPOCHS, spread=())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = LatentPrior(with_architecture(spec, options)).to(device_of(device))
        per_step = 0.0
        for batch in sorted({min(_FEW, options.batch), options.batch}):
            # Small grids take as long for a few windows as for many, and of large ones a few tell enough.
            if per_step > _SHORT * budget:
                break
            count = batch + spec.window - 1
            latents = torch.randn((count, *networks.shape), device=networks.calibration.device)
            windows = Windows([latents], [torch.zeros(count, device=latents.device)], spec.window)
            few = dataclasses.replace(options, batch=batch)
            per_step = _time_of_a_step(networks, windows, few) * options.batch / batch
    whole = _whole(per_step * -(-frames // options.batch))
    share = _RESERVED * budget
    return min(whole, share) if share >= whole / 2 else 0.0


def _whole(per_epoch: float) -> float:
    """Seconds of a trial and of the final training that is as long as any."""
    return (_EPOCHS / _MORE + _EPOCHS) * per_epoch / _SAFE


def _time_of_a_step(networks: LatentPrior, windows: Windows, options: TrainingOptions) -> float:
    """Seconds of a step of the optimiser; the network is left with other weights."""
    # A first stretch may be shorter than a window, and have none.
    longest = max(range(len(windows.latents)), key=lambda run: len(windows.latents[run]))
    frames = slice(options.batch + windows.length - 1)
    few = Windows([windows.latents[longest][frames]], [windows.seasons[longest][frames]], windows.length)
    # The first step of a process loads and plans, and tells nothing of the others.
    fit_score(networks, few, dataclasses.replace(options, epochs=1), progress=False)
    start = time.monotonic()
    fit_score(networks, few, dataclasses.replace(options, epochs=_TIMED), progress=False)
    return (time.monotonic() - start) / _TIMED


@torch.no_grad()
def _gain(networks: LatentPrior, spec: Spec, left_out: Sequence[Run]) -> tuple[Tensor, float]:
    """By how much the network lowers the squared error of each held-out window, and its error over the Gaussian's."""
    device = networks.calibration.device
    pairs = [[torch.as_tensor(a, dtype=torch.float32, device=device) for a in run] for run in left_out]
    frames = [networks.normalization.normalize(fields, season) for fields, season in pairs]
    seasons = [season for _, season in pairs]
    latents = encode_runs(networks.autoencoder, frames)
    make_stationary(networks, latents, seasons)
    # The network is damped by what is best on one half, and judged on the other.
    halves = [Windows(latents[half::2], seasons[half::2], spec.window) for half in (0, 1)]
    calibrate(networks, halves[0], 1.0)
    z, season = halves[1].spread_out(_COUNT)
    gaussian, weight = networks.gaussian.trajectory(spec.window), networks.autoencoder.scale.square()
    score = networks.score
    assert score is not None
    gains = []
    for level in CALIBRATION_LEVELS:
        sigma = torch.full((len(z),), level, device=device)
        noisy, mean, spread = noisy_windows(gaussian, z, sigma)
        corrected = mean + spread * score(noisy, mean, torch.log(sigma), season)
        own, other = ((weight * (a - z).square()).mean((1, 2, 3, 4)) for a in (mean, corrected))
        gains.append((own - other) / own.mean())
    gain = torch.stack(gains).mean(0).double()
    return gain, float(1 - gain.mean())

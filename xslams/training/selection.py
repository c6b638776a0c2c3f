"""Choose the settings of a model on frames that are held out of its training.

Contiguous blocks of the data are left out in turn. Settings are changed one by one, beginning with the plainest
Gaussian, and a change is kept if it lowers the CRPS of the held-out cases by more than its own standard error; see
`xslams.training.evidence`. Settings that the user gives stay as they are. The network comes last, where the time allows
it, and is judged by its error as a denoiser of held-out frames; see `xslams.training.trial`.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from xslams.networks.acceleration import device_of
from xslams.networks.architecture import LatentArchitecture
from xslams.options import TrainingOptions
from xslams.priors.blocks import Blocks
from xslams.priors.estimation import FRAMES
from xslams.progress import pace
from xslams.training.auxiliary import Benefit
from xslams.training.blocks import deal, starts
from xslams.training.channels import wider_latents
from xslams.training.curves import can_have_scores, with_normal_scores
from xslams.training.evidence import Examination, Scores, variability
from xslams.training.frames import spread
from xslams.training.gaussians import Candidates, Latents
from xslams.training.interrupts import stop_requested
from xslams.training.stages import fit_latents, supported, with_architecture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from xslams.priors.latent import LatentPrior
    from xslams.spec import Spec
    from xslams.training.blocks import Fold, Run

__all__ = ["Choice", "Trial", "choose", "first_options"]

# Changes, in the order in which they are tried against the best so far. Those come first that matter most to any data:
# too few modes, correlations of distant places by chance, and covariances that differ along a latitude circle.
_FIRST_CHANGES: tuple[dict[str, Any], ...] = (
    {"modes": 300},
    {"modes": 1000},
    {"localization": 5000.0},
    {"localization": 8000.0},
    {"localization": 3000.0},
    {"localization": 1500.0},
    {"local": 300},
    {"local": 1000},
    {"local_length": 5000.0},
    {"local_length": 12000.0},
    {"locality": 1.0},
    {"locality": 0.5},
)
# Then curves of auxiliary variables and wider latents, and then these.
_CHANGES: tuple[dict[str, Any], ...] = (
    {"autoencoder_epochs": 6},
    {"modes": 30},
    {"mean_order": 2},
    {"mean_order": 3},
    {"mean_order": 4},
    {"mean_order": 0},
    {"day_order": 1},
    {"day_order": 0},
    {"std_order": 1},
    {"coupled": 10},
    {"coupled": 30},
    {"coupling": 0.8},
    {"coupling": 0.9},
    {"seasonal": 10},
    {"seasonal": 30},
    {"seasonal": 100},
    {"seasonality": 0.8},
    {"seasonality": 1.0},
    {"seasonality": 0.3},
    {"smoothing": 9},
    {"smoothing": 31},
    # The dearest.
    {"local": 2000},
)
# Frames of a case, cases per block, and numbers in the cases of one part.
_LENGTH, _CASES, _LARGEST_SET = 6, 2, 4_000_000
# Coupled modes, in all or for each of many wavenumbers, whose covariance over some forty frames is diagonalised in
# seconds.
_MOST_COUPLED, _MOST_COUPLED_WAVES = 30, 10
# Modes of each of many wavenumbers whose covariances vary with the season.
_MOST_SEASONAL_WAVES = 30
# Functions of place in a taper of usual length.
_PLACES = 30
# Trials that there has to be time for, or else none is made; and where a change makes them all longer.
_LEAST_TRIALS = _ROOM = 4
# Trials of a search that comes to an end, for which frames are left out of it; and frames that are not, for each value
# of which the Gaussian has covariances: with as many, eigenvectors take as long as covariances, and trials would hardly
# be shorter with fewer.
_MANY_TRIALS, _FRAMES_PER_VALUE = 30, 12
# Trials whose middle one tells how long the next takes: one may be slow by chance.
_RECENT = 3
# Least gain of the CRPS, relative to that of the climatology, for which a variable of the state is transformed.
_WORTH = 0.01
# Times that the spread of each channel is corrected, and by which factor at most.
_WIDENINGS, _WIDEST = 2, 2.0
# Standard errors by which a change that raises the CRPS of the first parts is not examined on the others: once in a
# thousand times by chance.
_HOPELESS = 3.0
# A spread that is off by so little, as a logarithm, is right; and what a right spread may cost of the CRPS, relative to
# that of the climatology: where errors of days differ by more than a prior knows, the best CRPS is that of a narrower
# spread.
_NEAR, _COST = 0.01, 0.002
# Factors by which latent grids are coarser; seconds that a fit may take if another is faster.
_PATCHES, _LONGEST_FIT = (1, 2, 4, 8, 16), 60.0
# Operations of a fit that a core of a processor does in a second, and a GPU (an H200).
_SPEED, _SPEED_OF_GPU = 3e10, 1e12


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and what the held-out cases said of them.

    Attributes
    ----------
    change
        What differs from the settings that were the best so far.
    score
        CRPS of the state over that of the climatology; of a network, its error over that of the Gaussian.
    gain, error
        By how much it is lower than the best so far, and the standard error of that; None for the first.
    spread_skill
        Spread over error; None for a network.
    kept
        Whether the change was kept.
    """

    change: dict[str, Any]
    score: float
    gain: float | None = None
    error: float | None = None
    spread_skill: float | None = None
    kept: bool = True

    def to_record(self) -> dict[str, Any]:
        """Return what the header of a model file holds, rounded to what it means."""
        found = {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(self).items()}
        # The header of a model file holds lists and no tuples.
        return found | {"change": {k: list(v) if isinstance(v, tuple) else v for k, v in self.change.items()}}


@dataclass(frozen=True)
class Choice:
    """Settings that were chosen.

    Attributes
    ----------
    options
        Given and chosen settings.
    trials
        What was tried, in order; none where data or time were too short.
    scores
        What the held-out cases said of the Gaussian that was chosen; None where nothing was tried.
    benefits
        What observations of each auxiliary variable were worth there.
    why_none
        Why nothing was tried; None where something was.
    frames
        Number of frames on which settings were tried.
    """

    options: TrainingOptions
    trials: list[Trial]
    scores: Scores | None
    benefits: dict[str, Benefit] = field(default_factory=dict)
    why_none: str | None = None
    frames: int = 0


def choose(
    spec: Spec,
    runs: Sequence[Run],
    given: Mapping[str, Any],
    *,
    budget: float,
    device: str | None = None,
    seed: int = 0,
    progress: bool = True,
    wider: bool = True,
) -> Choice:
    """Choose the settings that the user leaves open.

    Parameters
    ----------
    spec, runs
        As for `xslams.training.fit_arrays`.
    given
        Settings that stay as they are.
    budget
        Seconds after which nothing more is tried.
    device, seed
        As for `xslams.training.fit_arrays`.
    progress
        Whether to print what is tried.
    wider
        Whether to try latents of more channels than usual, for which a network would be too small and too slow.

    Raises
    ------
    OptionError
        If a setting is unknown or out of range.
    """
    end = time.monotonic() + budget
    options = first_options(spec, runs, given, device)
    found = {name: getattr(options, name) for name in ("patch", "mean_order", "std_order", "day_order")}
    best = {**given, **found}
    runs = _fewer(spec, runs, options, budget / _MANY_TRIALS, device)
    seconds = _seconds(with_architecture(spec, options), runs, options, device)
    if seconds >= budget / _LEAST_TRIALS:
        why = f"no settings were tried: one trial takes about {seconds:.0f} s of the {max(budget, 0):.0f} s; see budget"
        return Choice(options, [], None, why_none=why)
    frames = sum(len(season) for _, season in runs)
    folds = deal(spec, runs, 3 if 30 * seconds < budget else 1)
    if not folds:
        return Choice(options, [], None, why_none="no settings were tried: the data are too short to leave a part out")
    examine = _Examined(spec, folds, device, seed)
    changes = _wanted(spec, given, lambda: best, wider=wider)
    with tqdm(desc="settings", disable=not progress, unit="trial", **pace()) as bar:
        scores, seconds = examine(best)
        recent = deque([seconds], maxlen=_RECENT)
        climatology = float(scores.climatology.mean())
        trials = [Trial(best, float(scores.crps.mean()) / climatology, spread_skill=scores.spread_skill)]
        for wanted in changes:
            if given.keys() & wanted.keys():
                continue
            change = _joined(wanted, best)
            bar.update()
            bar.set_postfix_str(f"CRPS {float(scores.crps.mean()) / climatology:.4f} of climatology")
            if stop_requested() or time.monotonic() + seconds * (1 + len(spec.aux) + _WIDENINGS) > end:
                break
            before, settings = TrainingOptions.of(best), TrainingOptions.of(best | change)
            if settings == before:
                continue
            if not _applies(spec, before, settings, change) or supported(spec, runs, settings) != settings:
                continue
            longer = len(folds) * _longer(spec, runs, before, settings, device)
            if longer > 0 and time.monotonic() + (seconds + longer) * _ROOM > end:
                continue
            tried, seconds = examine(best | change, against=scores)
            recent.append(seconds)
            seconds = statistics.median(recent)
            trial = _compare(change, scores, tried, climatology)
            if {v.name for v in spec.state} & set(wanted.get("normal_scores", ())):
                # An analysis is no longer linear.
                trial = dataclasses.replace(trial, kept=trial.kept and (trial.gain or 0.0) > _WORTH)
            trials.append(trial)
            if trial.kept:
                best, scores = best | change, tried
        if "spread" not in given:
            best, scores = _widened(examine, best, scores, trials, climatology)
        benefits = {v.name: Benefit.of(scores, examine(best, spec.channel_slice(v.name))[0]) for v in spec.aux}
    return Choice(TrainingOptions.of(best), trials, scores, benefits, frames=frames)


def first_options(
    spec: Spec, runs: Sequence[Run], given: Mapping[str, Any], device: str | None = None
) -> TrainingOptions:
    """Return the settings with which the search begins.

    Parameters
    ----------
    spec, runs, given, device
        As for `choose`.

    Raises
    ------
    OptionError
        If a setting is unknown or out of range.
    """
    return supported(spec, runs, TrainingOptions.of({"patch": _patch(spec, runs, given, device), **given}))


def _wanted(
    spec: Spec, given: Mapping[str, Any], best: Callable[[], Mapping[str, Any]], *, wider: bool
) -> Iterator[dict[str, Any]]:
    """Yield the changes to try, of which some follow from the best settings so far."""
    # What is analysed matters most.
    yield from ({"normal_scores": (v.name,)} for v in spec.state if can_have_scores(v))
    yield from _FIRST_CHANGES
    yield from ({"normal_scores": (v.name,)} for v in spec.aux if can_have_scores(v))
    if wider:
        yield from wider_latents(spec, TrainingOptions.of(best()), given)
    yield from _CHANGES


def _joined(change: dict[str, Any], best: Mapping[str, Any]) -> dict[str, Any]:
    """Add a curve to those that the best settings have; other changes are as they are."""
    own = change.get("normal_scores")
    return change if own is None else {"normal_scores": (*best.get("normal_scores", ()), *own)}


def _compare(change: dict[str, Any], scores: Scores, tried: Scores, climatology: float) -> Trial:
    """Whether a change lowers the CRPS by more than the standard error of its gain over the cases."""
    before = scores.crps[: len(tried.crps)]
    mean, error = _gain(before, tried.crps, climatology)
    # Of the first parts alone, what it would be of all.
    score = float(scores.crps.mean() - before.mean() + tried.crps.mean()) / climatology
    return Trial(change, score, mean, error, tried.spread_skill, mean > error)


def _gain(before: Tensor, after: Tensor, climatology: float) -> tuple[float, float]:
    """By how much the CRPS of the same cases is lower, relative to that of the climatology, and its standard error."""
    gain = ((before - after).mean(1) / climatology).double()
    return float(gain.mean()), float(gain.std() / len(gain) ** 0.5) if len(gain) > 1 else math.inf


def _widened(
    examine: _Examined, best: dict[str, Any], scores: Scores, trials: list[Trial], climatology: float
) -> tuple[dict[str, Any], Scores]:
    """Bring the spread of each channel of the state to its error; return settings and scores, and add to the trials."""
    for _ in range(_WIDENINGS):
        if scores.worst_spread < _NEAR:
            break
        wanted = [min(max(x, 1 / _WIDEST), _WIDEST) for x in scores.widening()]
        factors = TrainingOptions.of(best).spread or (1.0,) * len(wanted)
        change = {"spread": tuple(round(a * b, 4) for a, b in zip(factors, wanted, strict=True))}
        # The climatology is that without the factors.
        tried = dataclasses.replace(examine(best | change)[0], climatology=scores.climatology)
        trial = _compare(change, scores, tried, climatology)
        # It is for the spread: the CRPS has no more to do than not to rise by much.
        cost = max(trial.error or 0.0, _COST)
        kept = tried.worst_spread < scores.worst_spread and (trial.gain or 0.0) > -cost
        trials.append(dataclasses.replace(trial, kept=kept))
        if not kept:
            break
        best, scores = best | change, tried
    return best, scores


def _applies(spec: Spec, before: TrainingOptions, settings: TrainingOptions, change: Mapping[str, Any]) -> bool:
    """Whether a change goes with the grid and with the settings that it leads to."""
    if "localization" in change and spec.flat:
        return False
    if "autoencoder_epochs" in change:
        latents = LatentArchitecture.from_header(with_architecture(spec, settings).architecture)
        # All values of a patch come back as they are, which no training makes better.
        return latents.latent_channels < spec.channels * latents.patch**2
    if ("coupling" in change and not settings.coupled) or ("seasonality" in change and not settings.seasonal):
        return False
    if {"locality", "local_length"} & set(change) and not settings.local:
        return False
    blocks, size = _blocks(with_architecture(spec, settings))
    if "local" in change and before.local >= 2 * blocks * min(settings.modes, size):
        # All modes, as before.
        return False
    if settings.seasonal > min(_MOST_SEASONAL_WAVES if spec.periodic else size, size):
        return False
    if set(change) == {"modes"} and min(settings.modes, before.modes) >= size:
        # All of them, as before.
        return False
    return settings.coupled <= min(_MOST_COUPLED_WAVES if spec.periodic else _MOST_COUPLED, settings.modes)


def _patch(spec: Spec, runs: Sequence[Run], given: Mapping[str, Any], device: str | None) -> int:
    """Finest latent grid whose modes can be found in reasonable time, and that has the latent channels asked for.

    Latents of coarser grids have more channels, and may take longer again: where none is fast, the fastest is taken.
    """
    seconds: dict[int, float] = {}
    for patch in _PATCHES:
        options = TrainingOptions.of({"patch": patch, **given, "latent_channels": None})
        if (given.get("latent_channels") or 1) <= spec.channels * patch**2:
            seconds[patch] = _seconds(with_architecture(spec, options), runs, options, device)
            if seconds[patch] < _LONGEST_FIT:
                return patch
    return min(seconds, key=seconds.__getitem__, default=_PATCHES[-1])


def _seconds(spec: Spec, runs: Sequence[Run], options: TrainingOptions, device: str | None) -> float:
    """About how long it takes to fit the Gaussian, whose eigenvectors are most of it.

    It is the same on all processors and on all GPUs, so that the latent grid that follows from it is.
    """
    blocks, size = _blocks(spec)
    frames = sum(len(season) for _, season in runs)
    operations = (1 + options.folds) * blocks * (25 * size**3 + 2 * frames * size**2) * (4 if spec.periodic else 1)
    if options.local:
        # Amplitudes of frames times some functions of place, their products, and eigenvectors.
        operations += _PLACES * min(frames, FRAMES) * (8 * size + 2 * options.local) * options.local
        operations += (1 + options.folds) * 10 * options.local**3
    return operations / (_SPEED if device_of(device).type == "cpu" else _SPEED_OF_GPU)


def _fewer(
    spec: Spec, runs: Sequence[Run], options: TrainingOptions, seconds: float, device: str | None
) -> Sequence[Run]:
    """Return stretches that are spread over the data and few enough that a fit takes no longer, if it can be helped."""
    spec = with_architecture(spec, options)
    least = _FRAMES_PER_VALUE * _blocks(spec)[1]
    while _seconds(spec, runs, options, device) > seconds:
        lengths = [len(season) for _, season in runs]
        parts = spread(lengths, sum(lengths) // 2)
        left = sum(part.stop - part.start for _, part in parts)
        # No part is shorter than a stretch.
        if left < least or left == sum(lengths):
            break
        runs = [(runs[run][0][part], runs[run][1][part]) for run, part in parts]
    return runs


def _longer(
    spec: Spec, runs: Sequence[Run], before: TrainingOptions, settings: TrainingOptions, device: str | None
) -> float:
    """By about how many seconds settings make the fit of the Gaussian longer."""
    old, new = (_seconds(with_architecture(spec, options), runs, options, device) for options in (before, settings))
    return new - old


def _blocks(spec: Spec) -> tuple[int, int]:
    """Return the number of blocks of the covariance of a latent frame, and their size."""
    shape = LatentArchitecture.from_header(spec.architecture)
    lat, lon = (-(-n // shape.patch) for n in spec.frame_shape[1:])
    layout = Blocks((shape.latent_channels, lat, lon), spec.periodic, shape.cut)
    return layout.count, layout.size


def _is_hopeless(tried: Scores, scores: Scores) -> bool:
    """Whether the cases of the first parts leave no hope for a gain over all."""
    mean, error = _gain(scores.crps[: len(tried.crps)], tried.crps, 1.0)
    return mean < -_HOPELESS * error


class _Examined:
    """Fit a Gaussian prior with given settings part by part, and examine it on the blocks left out."""

    def __init__(self, spec: Spec, folds: Sequence[Fold], device: str | None, seed: int) -> None:
        self._spec, self._folds, self._seed = spec, folds, seed
        self._device = device_of(device)
        # Those of the same curves are the same; fields of the state are judged in the same units by all.
        self._examinations: dict[tuple[int, tuple[str, ...]], Examination] = {}
        self._sizes: dict[int, Tensor] = {}
        self._candidates = [Candidates(partial(self._fit, kept)) for kept, _ in folds]

    def __call__(
        self, settings: Mapping[str, Any], hidden: slice | None = None, against: Scores | None = None
    ) -> tuple[Scores, float]:
        """Return the scores of all parts, or of the first ones if these are hopeless, and the seconds for all."""
        start = time.monotonic()
        options = TrainingOptions.of({**settings, "epochs": 0})
        parts = []
        with torch.random.fork_rng(devices=[]):
            for fold, (kept, _) in enumerate(self._folds):
                spec = with_architecture(with_normal_scores(self._spec, kept, options), options)
                prior = self._candidates[fold].prior(spec, options)
                key = fold, options.normal_scores
                if key not in self._examinations:
                    self._examinations[key] = self._examine(prior, fold)
                parts.append(self._examinations[key].scores(prior, hidden))
                if against is not None and _is_hopeless(Scores.together(parts), against):
                    break
        return Scores.together(parts), (time.monotonic() - start) * len(self._folds) / len(parts)

    def _fit(self, kept: Sequence[Run], spec: Spec, options: TrainingOptions) -> Latents:
        torch.manual_seed(self._seed)
        return fit_latents(spec, kept, options, self._device, progress=False)

    def _examine(self, prior: LatentPrior, fold: int) -> Examination:
        """Make the cases of a part; the state is told in units of the climatology of the first prior."""
        kept, left_out = self._folds[fold]
        season = torch.as_tensor(kept[0][1][:1], dtype=torch.float32, device=self._device)
        _, std = prior.normalization.climatology(season)
        scale = std[0].square().mean((1, 2)).sqrt()
        length = min([_LENGTH, *(len(season) for _, season in left_out)])
        tensor = partial(torch.tensor, dtype=torch.float32, device=self._device)
        cases = [
            (tensor(fields[i : i + length]), tensor(season[i : i + length]))
            for fields, season in left_out
            for i in starts(len(season), length, _CASES)
        ]
        most = max(_LARGEST_SET // (length * cases[0][0][0].numel()), 4)
        chosen = np.linspace(0, len(cases) - 1, min(most, len(cases))).round().astype(int)
        some = [cases[i] for i in chosen]
        # What is transformed has another scale in each transform, and one size.
        state = self._spec.state_channels
        curved = prior.normalization.curved[:state]
        if fold not in self._sizes:
            own = variability(torch.stack([fields for fields, _ in some]))[:state, 0, 0]
            self._sizes[fold] = torch.where(curved, own, scale[:state])
        size = self._sizes[fold]
        scale[:state] = torch.where(curved, scale[:state], size)
        return Examination(self._spec, some, transform=prior, scale=scale, size=size, seed=self._seed + fold)

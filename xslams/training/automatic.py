"""Train a model whose settings are chosen by what its prior makes of frames that were held out."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from xslams.networks.acceleration import device_of
from xslams.options import TrainingOptions
from xslams.training.auxiliary import harmful, without
from xslams.training.frames import sample
from xslams.training.interrupts import stop_requested
from xslams.training.monitor import watched
from xslams.training.score import require_precision
from xslams.training.selection import choose, first_options
from xslams.training.stages import fit_stages
from xslams.training.trial import time_for_network, try_network

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from xslams.model import Model
    from xslams.spec import Spec
    from xslams.training.blocks import Run
    from xslams.training.evidence import Scores
    from xslams.training.frames import Stretch
    from xslams.training.monitor import Monitor

__all__ = ["fit_chosen"]


def fit_chosen(
    spec: Spec,
    runs: Sequence[Stretch],
    given: Mapping[str, Any] | None = None,
    *,
    budget: float = 300.0,
    device: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
) -> Model:
    """Choose the settings that are not given by cross-validation, and train a model with them on all of the data.

    Parameters
    ----------
    spec, runs, device, seed, progress, checkpoint, log
        As for `fit_arrays`.
    given
        Settings of `xslams.options.TrainingOptions` that stay as they are.
    budget
        Seconds for trials and training. 0 tries nothing: what is not given has its default.

    Returns
    -------
    Model
        Its ``spec.training`` holds the settings and what was tried, its ``spec.scores`` the scores of its Gaussian
        prior on the frames that were held out.

    Raises
    ------
    ModelError
        If the data are too short for one window.
    OptionError
        If a setting is unknown or out of range.
    StoreError, FileError
        As by `fit_arrays`.
    """
    given = dict(given or {})
    options = TrainingOptions.of(given)
    require_precision(options, device_of(device))
    with watched(
        spec, runs, given, seed=seed, device=device, progress=progress, checkpoint=checkpoint, log=log
    ) as monitor:
        chosen = monitor.carried("chosen")
        if chosen is None:
            # Larger data are not gone through again for every trial: these are on a part that memory holds.
            some = sample(runs, options.memory * 2**30)
            chosen = _chosen(spec, some, given, budget=budget, device=device, seed=seed, monitor=monitor)
        record = chosen["training"] | {"seed": seed}
        spec, runs = without(spec, runs, record.get("left_out", []))
        spec = dataclasses.replace(spec, training=spec.training | record, scores=spec.scores | chosen["scores"])
        options = TrainingOptions.of(record["settings"])
        return fit_stages(spec, runs, options, device=device, seed=seed, monitor=monitor)


def _chosen(
    spec: Spec,
    runs: Sequence[Run],
    given: Mapping[str, Any],
    *,
    budget: float,
    device: str | None,
    seed: int,
    monitor: Monitor,
) -> dict[str, dict[str, Any]]:
    """Choose the settings; return what the header of the model is to hold of training and scores, as plain values."""
    end = time.monotonic() + budget
    kept = 0.0
    if "epochs" not in given:
        first = first_options(spec, runs, given, device)
        kept = time_for_network(spec, runs, first, budget=budget, device=device)
    left = end - time.monotonic() - kept
    choice = choose(spec, runs, given, budget=left, device=device, seed=seed, progress=monitor.progress, wider=not kept)
    options, trials = choice.options, list(choice.trials)
    left_out = harmful(choice.benefits)
    spec, some = without(spec, runs, left_out)
    scored = tuple(name for name in options.normal_scores if name not in left_out)
    options = dataclasses.replace(options, normal_scores=scored)
    runs = [(np.asarray(fields, np.float32), season) for fields, season in some]
    record: dict[str, Any] = {"left_out": left_out} if left_out else {}
    if 0 < choice.frames < sum(len(season) for _, season in runs):
        record["searched"] = choice.frames
    if choice.why_none and budget:
        record["search"] = choice.why_none
    if choice.scores is not None and "epochs" not in given and not stop_requested():
        trial = try_network(
            spec, runs, options, budget=end - time.monotonic(), device=device, seed=seed, progress=monitor.progress
        )
        if isinstance(trial, str):
            record["network"] = trial
        else:
            trials.append(trial)
            options = dataclasses.replace(options, epochs=trial.change["epochs"] if trial.kept else 0)
    for number, trial in enumerate(trials):
        monitor.note("settings", number, score=trial.score)
    record |= {
        "settings": dataclasses.asdict(options),
        "trials": [trial.to_record() for trial in trials],
    }
    scores = {} if choice.scores is None else _per_variable(spec, choice.scores)
    if choice.benefits:
        scores["auxiliary"] = {name: benefit.to_record() for name, benefit in choice.benefits.items()}
    # As a file gives it back, where sequences are lists.
    chosen: dict[str, dict[str, Any]] = json.loads(json.dumps({"training": record, "scores": scores}))
    if stop_requested():
        monitor.close()
    else:
        monitor.carry(chosen=chosen)
        monitor.keep("settings", dict)
    return chosen


def _per_variable(spec: Spec, scores: Scores) -> dict[str, Any]:
    """CRPS over that of the climatology, and spread over error, per variable and level."""
    crps, climatology = scores.crps.mean(0), scores.climatology.mean(0)
    ratio = (scores.variance.mean(0) / scores.square_error.mean(0)).sqrt()
    return {
        "held_out": {
            v.name: {
                "relative_crps": [round(float(x), 4) for x in (crps / climatology)[spec.channel_slice(v.name)]],
                "spread_skill": [round(float(x), 3) for x in ratio[spec.channel_slice(v.name)]],
            }
            for v in spec.state
        }
    }

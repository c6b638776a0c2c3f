"""Train a model whose settings are chosen by what its prior makes of frames that were held out."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from xslams.training.auxiliary import without_harmful
from xslams.training.selection import choose
from xslams.training.stages import fit_arrays
from xslams.training.trial import try_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xslams.model import Model
    from xslams.spec import Spec
    from xslams.training.blocks import Run
    from xslams.training.evidence import Scores

__all__ = ["fit_chosen"]


def fit_chosen(
    spec: Spec,
    runs: Sequence[Run],
    given: Mapping[str, Any] | None = None,
    *,
    budget: float = 300.0,
    device: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Model:
    """Choose the settings that are not given by cross-validation, and train a model with them on all of the data.

    Parameters
    ----------
    spec, runs, device, seed, progress
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
    """
    given = dict(given or {})
    end = time.monotonic() + budget
    choice = choose(spec, runs, given, budget=budget, device=device, seed=seed, progress=progress)
    options, trials = choice.options, list(choice.trials)
    spec, runs, harmful = without_harmful(spec, runs, choice.benefits)
    record: dict[str, Any] = {"left_out": harmful} if harmful else {}
    if choice.scores is not None and "epochs" not in given:
        trial = try_network(
            spec, runs, options, budget=end - time.monotonic(), device=device, seed=seed, progress=progress
        )
        if isinstance(trial, str):
            record["network"] = trial
        else:
            trials.append(trial)
            options = dataclasses.replace(options, epochs=trial.change["epochs"] if trial.kept else 0)
    record |= {
        "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(options).items()},
        "trials": [trial.to_record() for trial in trials],
        "seed": seed,
    }
    scores = {} if choice.scores is None else _per_variable(spec, choice.scores)
    if choice.benefits:
        scores["auxiliary"] = {name: benefit.to_record() for name, benefit in choice.benefits.items()}
    spec = dataclasses.replace(spec, training=spec.training | record, scores=spec.scores | scores)
    return fit_arrays(spec, runs, options, device=device, seed=seed, progress=progress)


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

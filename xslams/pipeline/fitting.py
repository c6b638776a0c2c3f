"""Train a model on a Dataset: which variables, which grid, and the stretches of time without gaps."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from xslams.arguments import is_number, is_whole, require, require_text, require_whole
from xslams.errors import CoverageError, DimensionError, warn
from xslams.labels.calendar import (
    frame_numbers,
    hours,
)
from xslams.labels.channels import require_not_empty
from xslams.labels.domain import domain_of
from xslams.labels.flat import lies_flat
from xslams.labels.valid_values import limits_in_words
from xslams.masks import packed
from xslams.observations import learn_sources
from xslams.options import MOST_SEED, TrainingOptions
from xslams.pipeline import workers
from xslams.pipeline.drift import YearlyMeans
from xslams.pipeline.frames import Survey, filled_frames, frames_of, survey
from xslams.pipeline.held_out import held_out_factors
from xslams.pipeline.training_data import of_globe, of_system, split_aux
from xslams.pipeline.windows import contiguous
from xslams.progress import require_progress
from xslams.spec import Spec, VariableSpec

if TYPE_CHECKING:
    from xslams.model import Model
    from xslams.pipeline.training_data import Aux

__all__ = ["fit"]

# Stretches whose first and last frames a model's header names.
_MOST_PERIODS = 20


def fit(
    ds: xr.Dataset,
    aux: Aux = None,
    *,
    window: int = 5,
    latent_channels: int | None = None,
    epochs: int | None = None,
    budget: str | float | None = "5min",
    device: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    name: str = "unnamed",
    summary: str = "",
    license: str = "",
    **options: Any,
) -> Model:
    """Train a model on a Dataset; see ``ds.slams.fit``.

    Parameters
    ----------
    ds, aux, window, latent_channels, epochs, budget, device, seed, progress, checkpoint, log
        As in ``ds.slams.fit``.
    name, summary, license
        What the model says of itself.
    **options
        Further settings of training, see `xslams.options.TrainingOptions`.

    Returns
    -------
    Model
        In memory; save it with ``model.save(path)``.
    """
    from xslams import __version__
    from xslams.training import check_checkpoint, check_log, fit_chosen, wider

    named = {"latent_channels": latent_channels, "epochs": epochs}
    given = options | {k: v for k, v in named.items() if v is not None}
    settings = TrainingOptions.of(given)
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    if log is not None:
        check_log(log)
    seconds = _seconds(budget)
    require(is_whole(window, 1) and window % 2 == 1, "window", window, "an odd number of frames")
    require_whole("seed", seed, 0, MOST_SEED)
    require_progress(progress)
    require_text(name=name, summary=summary, license=license)
    workers.check_device(device)
    require_not_empty(ds)
    aux, sources = split_aux(aux)
    state, about = ds, {"window": window, "name": name, "summary": summary, "license": license}
    ds, names, spec, stretches = (of_system if lies_flat(ds) else of_globe)(ds, aux, about)
    parts = [fields.isel(time=part) for fields in stretches for part in _runs(fields, spec)]
    runs = [frames_of(part, settings.memory * 2**30) for part in parts]
    seasons = [domain_of(spec).season(part["time"]) for part in parts]
    years = [YearlyMeans(spec, len(frames)) for frames in runs]
    surveys = [survey(frames, spec, own) for frames, own in zip(runs, years, strict=True)]
    spec = replace(spec, variables=tuple(_masked(v, [s[v.name] for s in surveys]) for v in spec.variables))
    _require_complete(surveys, spec, ds)
    for v in spec.state:
        _warn_of_fill_values(v, [s[v.name] for s in surveys])
    runs = [filled_frames(frames, spec) for frames in runs]
    _require_some(surveys, spec)
    for own in years:
        own.warn()
    record = {"data": _provenance(ds, spec, parts), "version": __version__}
    variables = tuple(_bounded(v, [s[v.name] for s in surveys]) for v in spec.variables)
    spec = replace(spec, variables=variables, training=record)
    # Before the training, which may take hours: what cannot be learned is an error.
    lessons = learn_sources(sources, state[list(names["state"])], spec) if sources else None
    model = fit_chosen(
        spec, list(zip(runs, seasons, strict=True)), given, budget=seconds, device=device, seed=seed,
        progress=progress, checkpoint=checkpoint, log=log,
    )  # fmt: skip
    if lessons is None:
        return model
    factor, operators = held_out_factors(sources, lessons, model, widen="spread" not in given)
    return wider(model, factor).with_operators(operators)


def _seconds(budget: str | float | None) -> float:
    """Seconds of a time span, none where there is none."""
    seconds = 0.0 if budget is None else float(budget) if is_number(budget) else math.nan
    if isinstance(budget, str):
        with contextlib.suppress(ValueError):
            letters = any(c.isalpha() for c in budget)
            seconds = float(pd.Timedelta(budget).total_seconds() if letters else budget)
    require(seconds >= 0, "budget", budget, 'seconds or a time span such as "5min" or "2h", of at least 0')
    return seconds


def _provenance(ds: xr.Dataset, spec: Spec, parts: Sequence[xr.DataArray]) -> dict[str, Any]:
    """Which data a model was trained on: first, last and number of frames, and the stretches without gaps."""
    # Systems count their time from 0, without dates.
    times = [hours(part["time"]).round(6) if spec.flat else part["time"].values for part in parts]
    periods = [[str(time[i])[:19] for i in (0, -1)] for time in times]
    names = {k: str(ds.attrs[k]) for k in ("title", "source", "institution") if k in ds.attrs}
    own = {
        "start": periods[0][0],
        "end": periods[-1][1],
        "frames": sum(part.sizes["time"] for part in parts),
        "variables": [v.name for v in spec.variables],
        "stretches": len(periods),
    }
    # Of a great many, as those of a season of each year, the number is enough.
    return own | ({"periods": periods} if len(periods) <= _MOST_PERIODS else {}) | names


def _runs(fields: xr.DataArray, spec: Spec) -> list[slice]:
    """Stretches that are long enough for the window of the score network."""
    stretches = contiguous(frame_numbers(fields["time"], spec))
    runs = [run for run in stretches if run.stop - run.start >= spec.window]
    if not runs:
        msg = (
            f"No stretch of {spec.window} frames without a gap: there are {fields.sizes['time']} frames in "
            f"{len(stretches)} stretches. Take a smaller window or more data."
        )
        raise DimensionError(msg)
    return runs


def _bounded(variable: VariableSpec, surveys: Sequence[Survey]) -> VariableSpec:
    """Give a variable the bounds of its quantity, if its values keep to them: those of anomalies do not."""
    low, high = variable.valid_range
    # Auxiliary variables may have gaps, in some stretches of time altogether.
    known = [s for s in surveys if s.count]
    least, most = min(s.least for s in known), max(s.most for s in known)
    slack = 0.05 * max(s.std for s in known)
    below, above = least < low - slack, most > high + slack
    if below or above:
        warn(
            f"{variable.name!r} has values from {least:g} to {most:g} {variable.units}; its quantity goes from {low:g} "
            f"to {high:g}. It is taken for something else, such as anomalies, and analyses are not kept within that."
        )
    return replace(
        variable,
        bounds=(
            None if below or np.isinf(low) else low,
            None if above or np.isinf(high) else high,
        ),
    )


def _require_some(surveys: Sequence[Mapping[str, Survey]], spec: Spec) -> None:
    for v in spec.aux:
        if not any(survey[v.name].count for survey in surveys):
            msg = f"All values of {v.name!r} are missing. Leave it out of aux, or give data of the period of the state."
            raise CoverageError(msg)


def _masked(variable: VariableSpec, surveys: Sequence[Survey]) -> VariableSpec:
    """Give a state variable the cells in which it never has a value, as it has none of the ocean on land."""
    if variable.role != "state":
        return variable
    masked = ~np.any([s.ever for s in surveys], axis=0)
    if (count := int(masked.all((-2, -1)).sum())) and not masked.all():
        msg = (
            f"{variable.name!r} has no value at {count} of {variable.channels} levels. Leave these out: "
            f"ds.isel({variable.level_dim}=...)."
        )
        raise CoverageError(msg)
    return variable if masked.all() else replace(variable, masked=packed(masked))


def _warn_of_fill_values(variable: VariableSpec, surveys: Sequence[Survey]) -> None:
    """Warn of cells that always have one value, beyond all that others ever have: a fill value that is not declared."""
    lowest = np.fmin.reduce([s.lowest for s in surveys])
    highest = np.fmax.reduce([s.highest for s in surveys])
    constant, varies = lowest == highest, lowest < highest
    if not constant.any() or not varies.any():
        return
    least, most = lowest[varies].min(), highest[varies].max()
    # By more than they differ among themselves.
    slack = most - least
    beyond = constant & ((lowest < least - slack) | (lowest > most + slack))
    if beyond.any():
        values, counts = np.unique(lowest[beyond], return_counts=True)
        fill = float(values[counts.argmax()])
        warn(
            f"The training data: {int(beyond.sum())} of {beyond.size} cells of {variable.name!r} are {fill:g} in all "
            f"frames, while all others lie between {least:g} and {most:g} {variable.units}. If that stands for no "
            f"value, as on land, mask it: ds.where(ds[{variable.name!r}] != {fill:g})."
        )


def _require_complete(surveys: Sequence[Mapping[str, Survey]], spec: Spec, ds: xr.Dataset) -> None:
    parts, limits = [], ""
    remedies = ["Fill them (ds.interpolate_na, ds.fillna)"]
    for v in spec.variables:
        own = [survey[v.name] for survey in surveys]
        size = sum(s.count + s.missing + s.infinite for s in own)
        # Auxiliary variables may have gaps, as they are observed and not analysed.
        absent, what = sum(s.infinite for s in own), "infinite"
        if v.role == "state":
            ever, always = np.any([s.ever for s in own], axis=0), np.all([s.always for s in own], axis=0)
            never = ever.size - int(ever.sum()) if ever.any() else 0
            absent += sum(s.missing for s in own) - never * size // ever.size
            what = "missing or infinite"
            if absent and ever.any():
                what += f" (in {int((ever & ~always).sum())} of {ever.size} cells)"
                if never:
                    # What fills all gaps would make water of the land.
                    land = f".where(ds[{v.name!r}].notnull().any('time'))"
                    remedies[0] = f"Fill them (ds.interpolate_na('time'), or ds.fillna(...){land}, which keeps land)"
                else:
                    remedies.append("drop the frames that lack them (ds.dropna('time'))")
                remedies.append(f"leave such cells out (ds.where(ds[{v.name!r}].notnull().all('time')))")
        if absent:
            parts.append(f"{absent} of {size} values of {v.name!r} are {what}")
            limits += limits_in_words(ds[v.name])
    if parts:
        msg = (
            f"{' and '.join(parts)}. Training needs all values of the state, except in cells that never have one, such "
            f"as land in data of the ocean.{limits} {', or '.join(dict.fromkeys(remedies))}."
        )
        raise CoverageError(msg)

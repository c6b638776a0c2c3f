"""Train a model on a Dataset: which variables, which grid, and the stretches of time without gaps."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from xslams.arguments import is_number, is_whole, require, require_text, require_whole
from xslams.errors import DimensionError
from xslams.labels.calendar import frame_numbers, hours
from xslams.labels.channels import require_not_empty
from xslams.labels.domain import domain_of
from xslams.labels.flat import lies_flat
from xslams.observations import learn_sources
from xslams.options import MOST_SEED, TrainingOptions
from xslams.pipeline import workers
from xslams.pipeline.examination import examined
from xslams.pipeline.frames import frames_of
from xslams.pipeline.held_out import held_out_factors
from xslams.pipeline.training_data import of_globe, of_system, split_aux
from xslams.pipeline.windows import contiguous
from xslams.progress import require_progress
from xslams.spec import Spec

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
    spec, runs = examined(runs, spec, ds)
    record = {"data": _provenance(ds, spec, parts), "version": __version__}
    spec = replace(spec, training=record)
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

"""What one worker does: the analysis of one window, from observations to members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams import observations
from xslams.labels.domain import domain_of
from xslams.options import ComputeOptions, SamplerOptions
from xslams.pipeline import workers
from xslams.pipeline.windows import AnalysisWindow
from xslams.spec import Spec
from xslams.typing import FloatArray, SourceArrays

if TYPE_CHECKING:
    from xslams.model import Model
    from xslams.observations.observation import Observation

__all__ = ["Run", "analyse", "prepare", "visible"]


@dataclass(frozen=True)
class Run:
    """What a worker has to know about a run besides model and observations.

    Attributes
    ----------
    members
        Numbers of the members to draw.
    sampling, compute
        How they are drawn, and where.
    seed
        Seed of the run.
    """

    members: tuple[int, ...]
    sampling: SamplerOptions
    compute: ComputeOptions
    seed: int


def analyse(
    model: Model,
    sources: Sequence[Observation],
    background: Observation | None,
    time: xr.DataArray,
    window: AnalysisWindow,
    run: Run,
    *,
    progress: bool = False,
    strict: bool = False,
    report: bool = False,
) -> tuple[npt.NDArray[np.float32], FloatArray]:
    """Analyse one window and cut its overlap off, and sum up its observations if asked to."""
    from xslams.inference.arrays import assimilate_arrays

    model = workers.resident(model)
    spec = model.spec
    frames = time.isel({time.dims[0]: slice(window.start, window.stop)})
    arrays, guesses = prepare(model, sources, background, time, window, strict=strict, report=report)
    # The prior sees no fewer frames than its own window; frames that are added are not observed.
    before, after = divmod(max(spec.window - frames.size, 0), 2)
    before, after = before + after, before
    fraction, labels = domain_of(spec).frames(frames, before, after)
    count = sum(source.values.size for source in arrays)
    # Without observations there is nothing to report.
    predicted = np.empty((len(run.members), count)) if report and arrays else None
    values = assimilate_arrays(
        model,
        year_fraction=fraction,
        labels=labels,
        sources=[_embed(source, before, after, frames.size) for source in arrays],
        members=run.members,
        options=run.sampling,
        compute=run.compute,
        seed=run.seed,
        progress=progress,
        predicted=predicted,
    )
    block = values[:, before : values.shape[1] - after][:, window.kept]
    if predicted is None:
        return block, np.zeros((0, len(observations.COLUMNS)))
    ends = np.cumsum([source.values.size for source in arrays])[:-1]
    each = [
        observations.statistics(*part) for part in zip(arrays, guesses, np.split(predicted, ends, axis=1), strict=True)
    ]
    return block, np.reshape(each, (len(each), len(observations.COLUMNS)))


def prepare(
    model: Model,
    sources: Sequence[Observation],
    background: Observation | None,
    time: xr.DataArray,
    window: AnalysisWindow,
    *,
    strict: bool,
    report: bool,
) -> tuple[list[SourceArrays], list[observations.Guess]]:
    """Likelihoods of all variables of all sources, the background last, and what is expected of them if need be."""
    frames = time.isel({time.dims[0]: slice(window.start, window.stop)})
    owner = observations.Owner(time, window.first, window.last) if report else None
    parts = [p for s in sources for p in s.to_parts(model.spec, frames, strict=strict, owner=owner)]
    behind = [] if background is None else background.to_parts(model.spec, frames, strict=strict, owner=owner)
    fraction = domain_of(model.spec).season(frames)
    if any(p.subgrid is not None for p in parts):
        from xslams.inference.arrays import variogram_arrays

        variogram = variogram_arrays(model, fraction)
        parts = [observations.subgrid(p, variogram) for p in parts]
    if not report and all(p.background_check is None for p in parts):
        return [*(observations.reduced(p) for p in parts), *behind], []
    from xslams.inference.arrays import climatology_arrays, observe_arrays

    climatology = climatology_arrays(model, fraction)
    mean, std = observations.first_guess(*climatology, behind)
    seen = [(mean, std) if p.function is None else observe_arrays(model, p.function, mean, std) for p in parts]
    checked = []
    for part, fields in zip(parts, seen, strict=True):
        left = observations.background_check(part, observations.innovations(part, *fields))
        if strict and part.values.size and not left.values.size:
            observations.warn(
                f"Source {part.name!r}: all {part.values.size} values are further than {part.background_check:g} "
                "standard deviations from the first guess and are rejected. Check units and levels, or raise "
                "background_check=."
            )
        # Only now: a mean over good and bad values is no better than a bad one.
        checked.append(observations.reduced(left))
    guesses = [observations.innovations(p, *fields) for p, fields in zip(checked, seen, strict=True)]
    # The background is judged by climatology alone.
    return [*checked, *behind], [*guesses, *(observations.innovations(p, *climatology) for p in behind)]


def visible(
    sources: Sequence[Observation],
    time: xr.DataArray,
    window: AnalysisWindow,
    spec: Spec,
    count: int,
    *,
    report: bool = False,
) -> list[Observation]:
    """Leave out of sources what only other windows see; a period in one piece sees all."""
    # What no frame sees is counted by the first window, see `Observation._owned`: for a report it has to have it.
    if count == 1 or (report and window.first == 0):
        return list(sources)
    frames = time.isel({time.dims[0]: slice(window.start, window.stop)})
    return [observations.around(source, frames, spec.time_step) for source in sources]


def _embed(source: SourceArrays, before: int, after: int, frames: int) -> SourceArrays:
    """Let an operator on some frames act on a trajectory with more of them."""
    if not before + after:
        return source
    operator = source.operator
    size = operator.shape[1] // frames
    shape = operator.shape[0], operator.shape[1] + (before + after) * size
    indices = operator.indices.astype(np.int64) + before * size
    return replace(source, operator=type(operator)((operator.data, indices, operator.indptr), shape=shape))

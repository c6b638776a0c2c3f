"""Errors of sources for which none are given: those of largest likelihood of their innovations under the prior.

A bounded sample is looked at: a few stretches of frames, spread evenly over the period in which there are values, and
in each a number of values of every source. The result depends neither on chunks nor on analysis windows, and is rounded
to three digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xslams import observations
from xslams.errors import ObservationError, warn
from xslams.labels.calendar import frame_numbers
from xslams.labels.domain import domain_of
from xslams.likelihood import SourceLikelihood
from xslams.likelihood.innovations import InnovationSample, error_variances
from xslams.pipeline.windows import AnalysisWindow, contiguous

if TYPE_CHECKING:
    from xslams.labels.frames import Frames
    from xslams.model import Model
    from xslams.observations import BoundSource, Observation

__all__ = ["Estimated", "with_errors"]

# Stretches of frames, frames of a stretch at most, and values of all sources in it.
_STRETCHES, _LONGEST, _VALUES = 4, 31, 160
# Values that an error needs.
_LEAST = 10


@dataclass(frozen=True)
class Estimated:
    """An error that was estimated.

    Attributes
    ----------
    source, variable
        Name of the source, and of its variable.
    error
        Standard deviation.
    units
        Its units.
    """

    source: str
    variable: str
    error: float
    units: str

    def __str__(self) -> str:
        return f"{self.source}: {self.variable} {self.error:g} {self.units}"


def with_errors(
    given: Sequence[Observation], model: Model, frames: Frames, time: xr.DataArray
) -> tuple[list[Observation], list[Estimated]]:
    """Give errors to sources that have none.

    Parameters
    ----------
    given
        Sources as the user gave them.
    model
        The model.
    frames
        Frames of the analysis.
    time
        Their times as dates, shape (time,).

    Returns
    -------
    tuple of list
        Sources with errors, and what was estimated; the sources as they are where the prior has no covariance.

    Raises
    ------
    ObservationError
        If there are too few values, an operator makes them, or ``error="auto"`` is asked of such a prior.

    Warns
    -----
    SlamsWarning
        Of the errors that were taken where a user gave none.
    """
    bare = [s for s in given if observations.lacks_errors(s)]
    if not bare:
        return list(given), []
    from xslams.inference.innovations import knows_covariance

    if not knows_covariance(model):
        if asked := [s.name for s in bare if s.error == "auto"]:
            msg = (
                f"Source {asked[0]!r}: error='auto' needs the covariance of a Gaussian prior, which the model "
                f"{model.spec.name!r} does not have. Give the standard deviation: error=..."
            )
            raise ObservationError(msg)
        return list(given), []
    bound = [(s.replace(error=1.0) if s in bare else s).bind(model.spec, frames) for s in given]
    unknown = [(i, v.name) for i, s in enumerate(given) if s in bare for v in bound[i].variables]
    samples = _samples(model, bound, unknown, time)
    variances = error_variances(samples, len(unknown))
    found: dict[int, dict[str, float]] = {}
    estimates = []
    for (i, name), variance in zip(unknown, variances, strict=True):
        error = float(f"{np.sqrt(variance):.3g}")
        found.setdefault(i, {})[name] = error
        units = next(str(v.values.attrs.get("units", "")) for v in bound[i].variables if v.name == name)
        estimates.append(Estimated(given[i].name, name, error, units))
    if unasked := [e for e in estimates if any(s.name == e.source and s.error is None for s in bare)]:
        warn(
            f"No error= is given; taken from the innovations under the model's climatology: "
            f"{'; '.join(map(str, unasked))}. Give error=, or calibrate the source where the truth is known: "
            "xslams.Observation(data).calibrated(truth)."
        )
    return [s.replace(error=found[i]) if i in found else s for i, s in enumerate(given)], estimates


def _samples(
    model: Model, bound: Sequence[BoundSource], unknown: Sequence[tuple[int, str]], time: xr.DataArray
) -> list[InnovationSample]:
    """Innovations of stretches of frames in which there are values."""
    from xslams.inference.innovations import innovation_arrays

    number = {key: n for n, key in enumerate(unknown)}
    counts = np.zeros(len(unknown), int)
    samples = []
    for stretch in _stretches(model, bound, unknown, time):
        parts: list[SourceLikelihood] = []
        sources: list[int] = []
        curved: list[bool] = []
        for i, source in enumerate(bound):
            seen = source.within(stretch)
            for variable, part in zip(seen.variables, _usable(model, seen, time, stretch), strict=True):
                _require_variable((i, variable.name) in number, part, variable.source)
                if part.size and part.function is None:
                    parts.append(part)
                    sources.append(number.get((i, variable.name), -1))
                    curved.append(variable.observed.transform != "identity")
        parts = [_thinned(part, _VALUES // max(len(parts), 1)) for part in parts]
        if not parts:
            continue
        season = domain_of(model.spec).season(time[stretch.start : stretch.stop])
        innovation, prior, decoder = innovation_arrays(model, parts, season)
        which = np.repeat(np.array(sources, np.intp), [part.size for part in parts])
        independent, instrument = (
            np.concatenate([getattr(p.errors, name) for p in parts]) for name in ("independent", "instrument")
        )
        known = decoder + np.where(which >= 0, independent - instrument, independent)
        bent = np.repeat(np.array(curved, bool), [part.size for part in parts])
        samples.append(InnovationSample(innovation, prior, known, instrument, which, bent))
        counts += np.bincount(which[which >= 0], minlength=len(unknown))
    for (i, name), count in zip(unknown, counts, strict=True):
        if count < _LEAST:
            msg = (
                f"Source {bound[i].name!r}: the error of {name!r} is missing, and {count} values in a sample of the "
                f"period are too few to estimate it; at least {_LEAST} are needed. Give its standard deviation: "
                "xslams.Observation(data, error=...)."
            )
            raise ObservationError(msg)
    return samples


def _require_variable(unknown: bool, part: SourceLikelihood, source: str) -> None:
    if unknown and part.function is not None:
        msg = f"Source {source!r}: the error of what an operator= makes cannot be estimated. Give error=."
        raise ObservationError(msg)


def _stretches(
    model: Model, bound: Sequence[BoundSource], unknown: Sequence[tuple[int, str]], time: xr.DataArray
) -> list[AnalysisWindow]:
    """Stretches of frames, spread evenly over those with values whose errors are unknown."""
    names = set(unknown)
    wanted = [v for i, source in enumerate(bound) for v in source.variables if (i, v.name) in names]
    # A mean over many frames is judged where they all are.
    spans = [int(np.diff(v.match.weights.indptr).max(initial=1)) for v in wanted]
    length = min(max(model.spec.window, *spans), _LONGEST)
    has = np.zeros(time.size + 1, bool)
    for v in wanted:
        has[v.match.first[v.match.matched]] = True
    found = []
    for run in contiguous(frame_numbers(time, model.spec)):
        for start in range(run.start, run.stop, length):
            stop = min(start + length, run.stop)
            if has[start:stop].any():
                found.append(AnalysisWindow(start, stop, start, stop))
    chosen = np.linspace(0, len(found) - 1, _STRETCHES).round().astype(int) if found else np.zeros(0, int)
    return [found[i] for i in np.unique(chosen)]


def _usable(model: Model, source: BoundSource, time: xr.DataArray, stretch: AnalysisWindow) -> list[SourceLikelihood]:
    """Values of each variable in a stretch, without gross errors, thinned and averaged as in the analysis."""
    from xslams.inference.arrays import climatology_arrays

    climatology = climatology_arrays(model, domain_of(model.spec).season(time[stretch.start : stretch.stop]))
    bounds = observations.plausible_range(*climatology, model.spec.variables)
    gross = observations.GrossErrors()
    parts = source.audited()
    return [
        observations.reduced(
            part if part.likelihood.function is not None else observations.gross_error_check(part, bounds, gross)
        ).likelihood
        for part in parts
    ]


def _thinned(part: SourceLikelihood, most: int) -> SourceLikelihood:
    """Keep some of the values, evenly."""
    if part.size <= most:
        return part
    chosen = np.zeros(part.size, bool)
    chosen[np.linspace(0, part.size - 1, max(most, 1)).round().astype(int)] = True
    return part.keep(chosen)

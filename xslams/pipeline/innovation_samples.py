"""Innovations of a bounded sample of a period: what errors that are not given are estimated from.

A few stretches of frames are looked at, spread evenly over the period in which there are values: in each a number of
values of every source, and of sources with few enough places some values of each of these. The sample depends neither
on chunks nor on analysis windows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams import observations
from xslams.errors import ObservationError
from xslams.labels.calendar import frame_numbers
from xslams.labels.domain import domain_of
from xslams.likelihood import SourceLikelihood
from xslams.likelihood.innovations import InnovationSample
from xslams.likelihood.place_errors import PlaceSample
from xslams.pipeline.windows import AnalysisWindow, contiguous
from xslams.sphere import unit_vectors
from xslams.typing import FloatArray

if TYPE_CHECKING:
    from xslams.model import Model
    from xslams.observations import AuditedLikelihood, BoundSource, Sites

__all__ = ["LEAST", "Network", "Samples", "read_samples"]

#: Values that an error needs.
LEAST = 10
# Stretches of frames, frames of a stretch, and values of all sources in it.
_STRETCHES, _SHORTEST, _LONGEST, _VALUES = 4, 10, 31, 160
# Values of places in a stretch, values of each place there, and values that a place has in all on average.
_PLACE_VALUES, _EACH, _REPEATED = 800, 4, 3.0


@dataclass(frozen=True)
class Network:
    """Innovations at the places of sources whose errors are told place by place.

    Attributes
    ----------
    lat, lon
        In degrees, shape (place,).
    source
        Number of the unknown error of each place, shape (place,).
    stretches
        Innovations of each stretch, and the place of each, -1 for values of other sources.
    """

    lat: FloatArray
    lon: FloatArray
    source: npt.NDArray[np.intp]
    stretches: list[tuple[InnovationSample, npt.NDArray[np.intp]]]

    @property
    def at(self) -> FloatArray:
        """Direction of each place, shape (place, 3)."""
        return unit_vectors(self.lat, self.lon)

    def samples(self, variances: FloatArray) -> list[PlaceSample]:
        """Innovations of each stretch, once one variance of each unknown error is told.

        Parameters
        ----------
        variances
            Shape (unknown,).
        """
        others = variances.copy()
        others[self.source] = np.nan
        return [
            PlaceSample(sample.innovation, sample.prior, sample.told(others).known, sample.unit, place)
            for sample, place in self.stretches
        ]


@dataclass(frozen=True)
class Samples:
    """What errors are estimated from.

    Attributes
    ----------
    pooled
        Innovations of each stretch, of which one error of each source is told.
    network
        Those at places; None where no source has few enough of them, with several values each.
    repeats
        Values of one place that see the same frame, on average; their mean counts as one. Shape (unknown,).
    """

    pooled: list[InnovationSample]
    network: Network | None
    repeats: FloatArray


@dataclass(frozen=True)
class _Part:
    """Values of one variable in one stretch.

    Attributes
    ----------
    likelihood
        The values.
    unknown
        Number of their unknown error; -1 where it is known.
    curved
        Whether they are seen through a transform.
    sites
        Where they lie; None where that is not asked.
    repeats
        Values that each of them is the mean of, on average.
    """

    likelihood: SourceLikelihood
    unknown: int
    curved: bool
    sites: Sites | None = None
    repeats: float = 1.0

    def keep(self, chosen: npt.NDArray[np.bool_]) -> _Part:
        """Return some of the values."""
        sites = None if self.sites is None else self.sites.keep(chosen)
        return replace(self, likelihood=self.likelihood.keep(chosen), sites=sites)

    def thinned(self, most: int) -> _Part:
        """Keep some of the values, evenly."""
        size = self.likelihood.size
        if size <= most:
            return self
        chosen = np.zeros(size, bool)
        chosen[np.linspace(0, size - 1, max(most, 1)).round().astype(int)] = True
        return self.keep(chosen)


def read_samples(
    model: Model, bound: Sequence[BoundSource], unknown: Sequence[tuple[int, str]], time: xr.DataArray
) -> Samples:
    """Read innovations of stretches of frames in which there are values.

    Parameters
    ----------
    model
        A model whose prior knows its covariance.
    bound
        Sources, those without errors with an error of one.
    unknown
        Number of the source and name of the variable of each unknown error.
    time
        Times of the frames, shape (time,).

    Raises
    ------
    ObservationError
        If there are too few values, or an operator makes them.
    """
    stretches = _stretches(model, bound, unknown, time)
    parts = [_parts(model, bound, unknown, time, stretch) for stretch in stretches]
    seasons = [domain_of(model.spec).season(time[stretch.start : stretch.stop]) for stretch in stretches]
    pooled, counts = [], np.zeros(len(unknown), int)
    for own, season in zip(parts, seasons, strict=True):
        few = [part.thinned(_VALUES // max(len(own), 1)) for part in own]
        if few:
            pooled.append(_pooled(model, few, season))
            which = pooled[-1].source
            counts += np.bincount(which[which >= 0], minlength=len(unknown))
    for (i, name), count in zip(unknown, counts, strict=True):
        if count < LEAST:
            msg = (
                f"Source {bound[i].name!r}: the error of {name!r} is missing, and {count} values in a sample of the "
                f"period are too few to estimate it; at least {LEAST} are needed. Give its standard deviation: "
                "xslams.Observation(data, error=...)."
            )
            raise ObservationError(msg)
    repeats = np.ones(len(unknown))
    for n in range(len(unknown)):
        mine = [part for own in parts for part in own if part.unknown == n]
        sizes = np.array([part.likelihood.size for part in mine])
        repeats[n] = float(sizes @ [part.repeats for part in mine]) / max(int(sizes.sum()), 1)
    return Samples(pooled, _network(model, parts, seasons, len(unknown)), repeats)


def _pooled(model: Model, parts: Sequence[_Part], season: FloatArray) -> InnovationSample:
    from xslams.inference.innovations import innovation_arrays

    innovation, prior, decoder = innovation_arrays(model, [part.likelihood for part in parts], season)
    which = _each(parts, "unknown").astype(np.intp)
    independent, instrument = (
        np.concatenate([getattr(part.likelihood.errors, name) for part in parts])
        for name in ("independent", "instrument")
    )
    known = decoder + np.where(which >= 0, independent - instrument, independent)
    return InnovationSample(innovation, prior, known, instrument, which, _each(parts, "curved").astype(bool))


def _each(parts: Sequence[_Part], name: str) -> FloatArray:
    """Return an attribute of the part of each value."""
    return np.repeat([float(getattr(part, name)) for part in parts], [part.likelihood.size for part in parts])


def _network(
    model: Model, parts: Sequence[Sequence[_Part]], seasons: Sequence[FloatArray], count: int
) -> Network | None:
    """Values at the places of sources that have few enough of them, with several values each."""
    every = [part for own in parts for part in own]
    keys: dict[int, npt.NDArray[np.int64]] = {}
    for n in range(count):
        mine = [part for part in every if part.unknown == n]
        sites = [part.sites for part in mine if part.sites is not None and not part.curved]
        if len(sites) < len(mine):
            continue
        values = np.concatenate([own.key for own in sites])
        places = np.unique(values)
        if values.size >= _REPEATED * places.size and sum(k.size for k in keys.values()) + places.size <= _PLACE_VALUES:
            keys[n] = places
    total = sum(k.size for k in keys.values())
    if not total:
        return None
    first = dict(zip(keys, np.cumsum([0, *(k.size for k in keys.values())]), strict=False))
    most = min(_PLACE_VALUES // total, _EACH)
    lat, lon = np.zeros(total), np.zeros(total)
    stretches = []
    for own, season in zip(parts, seasons, strict=True):
        chosen: list[_Part] = []
        belongs: list[npt.NDArray[np.intp]] = []
        for part in own:
            if part.unknown in keys and part.sites is not None:
                place = first[part.unknown] + np.searchsorted(keys[part.unknown], part.sites.key)
                few = few_of_each(place, part.sites.frame, most)
                lat[place], lon[place] = part.sites.lat, part.sites.lon
                chosen.append(part.keep(few))
                belongs.append(place[few])
            else:
                chosen.append(part.thinned(_VALUES // len(own)))
                belongs.append(np.full(chosen[-1].likelihood.size, -1))
        if chosen:
            stretches.append((_pooled(model, chosen, season), np.concatenate(belongs)))
    source = np.repeat(list(keys), [k.size for k in keys.values()])
    return Network(lat, lon, source.astype(np.intp), stretches)


def few_of_each(place: npt.NDArray[np.intp], frame: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.bool_]:
    """Choose some values of each place, evenly in time, and others than at the next place.

    Parameters
    ----------
    place, frame
        Of each value, shape (n,).
    most
        Number of values of each place.

    Examples
    --------
    >>> few_of_each(np.array([0, 0, 0, 0, 1]), np.arange(5), 2)
    array([False,  True, False,  True,  True])
    """
    order = np.lexsort((frame, place))
    own, first, count = np.unique(place[order], return_index=True, return_counts=True)
    rank = np.arange(order.size) - np.repeat(first, count)
    share = np.repeat(np.minimum(most / count, 1.0), count)
    # Multiples of the golden ratio are spread evenly, whatever their number.
    shift = np.repeat(own * 0.6180339887498949 % 1.0, count)
    chosen = np.zeros(order.size, bool)
    chosen[order] = np.floor((rank + 1) * share + shift) > np.floor(rank * share + shift)
    return chosen


def _parts(
    model: Model,
    bound: Sequence[BoundSource],
    unknown: Sequence[tuple[int, str]],
    time: xr.DataArray,
    stretch: AnalysisWindow,
) -> list[_Part]:
    """Values of all variables in a stretch, those of one place and frame as their mean."""
    number = {key: n for n, key in enumerate(unknown)}
    out = []
    for i, source in enumerate(bound):
        seen = source.within(stretch)
        for variable, part in zip(seen.variables, _usable(model, seen, time, stretch), strict=True):
            n = number.get((i, variable.name), -1)
            likelihood = part.likelihood
            if n >= 0 and likelihood.function is not None:
                what = "the error of what an operator= makes cannot be estimated"
                msg = f"Source {variable.source!r}: {what}. Give error=."
                raise ObservationError(msg)
            if not likelihood.size or likelihood.function is not None:
                continue
            curved = variable.observed.transform != "identity"
            # Biases are found in the units of the model, with the sign that they have there.
            upright = bool(np.all(np.asarray(variable.factor) > 0))
            sites = observations.sites_of(variable, part, _PLACE_VALUES) if n >= 0 and upright else None
            repeats = 1.0
            if sites is not None:
                size = likelihood.size
                likelihood, sites = observations.one_of_each_frame(likelihood, sites)
                repeats = size / likelihood.size
            out.append(_Part(likelihood, n, curved, sites, repeats))
    # Of sources with many places there may be more values than memory holds for all stretches.
    return [part if part.sites is not None else part.thinned(_VALUES // len(out)) for part in out]


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
        frames = run.stop - run.start
        count = max(-(-frames // length), min(_STRETCHES, frames // _SHORTEST), 1)
        edges = run.start + np.arange(count + 1) * frames // count
        for start, stop in itertools.pairwise(edges.tolist()):
            if has[start:stop].any():
                found.append(AnalysisWindow(start, stop, start, stop))
    chosen = np.linspace(0, len(found) - 1, _STRETCHES).round().astype(int) if found else np.zeros(0, int)
    return [found[i] for i in np.unique(chosen)]


def _usable(model: Model, source: BoundSource, time: xr.DataArray, stretch: AnalysisWindow) -> list[AuditedLikelihood]:
    """Values of each variable in a stretch, without gross errors, thinned and averaged as in the analysis."""
    from xslams.inference.arrays import climatology_arrays

    climatology = climatology_arrays(model, domain_of(model.spec).season(time[stretch.start : stretch.stop]))
    bounds = observations.plausible_range(*climatology, model.spec.variables)
    gross = observations.GrossErrors()
    return [
        observations.reduced(
            part if part.likelihood.function is not None else observations.gross_error_check(part, bounds, gross)
        )
        for part in source.audited()
    ]

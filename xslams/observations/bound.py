"""A source bound to a model and to the frames of an analysis: read and matched once, then cut for each window.

What a variable observes, in which units, and which frames a time stamp stands for is told from all of the data: whether
stamps are those of months shows in several of them. An analysis window sees a part of the frames, and gets the values
that observe these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import CoverageError, ObservationError, warn
from xslams.geometry import Geometry
from xslams.labels.calendar import check_order, hours
from xslams.labels.domain import domain_of
from xslams.labels.frames import Frames
from xslams.labels.grid import geometry_of_spec
from xslams.labels.periods import SECOND
from xslams.learned import LearnedOperator
from xslams.likelihood import SourceLikelihood
from xslams.observations.assemble import assemble
from xslams.observations.audit import AuditedLikelihood
from xslams.observations.cuts import Cuts
from xslams.observations.error_covariance import ErrorCovariance, without_covariance
from xslams.observations.footprints import Footprints
from xslams.observations.profiles import with_levels
from xslams.observations.quality import QualityControl
from xslams.observations.reading import drop_padding, read
from xslams.observations.stated_errors import Error
from xslams.observations.superob import reduced
from xslams.observations.temporal import TimeMatch, matched, time_of
from xslams.observations.variables import choose, conversion, learned_by, made_by
from xslams.spec import Spec, VariableSpec
from xslams.typing import FieldFunction, FloatArray, Method
from xslams.weights.engines import engine_of

if TYPE_CHECKING:
    from xslams.observations.observation import Observation

__all__ = ["BoundSource", "BoundVariable", "Window", "bind_variable"]

# Quality control that may be given per value.
_PER_VALUE = ("bias", "bias_error", "representativeness")


class Window(Protocol):
    """A part of the time axis: frames `start` to `stop` are seen, and observations of `first` to `last` are counted."""

    @property
    def start(self) -> int:
        """First frame that is seen."""
        ...

    @property
    def stop(self) -> int:
        """Frame after the last that is seen."""
        ...

    @property
    def first(self) -> int:
        """First frame whose observations are counted."""
        ...

    @property
    def last(self) -> int:
        """Frame after the last whose observations are counted."""
        ...


@dataclass(frozen=True)
class BoundVariable:
    """One variable of a source, matched with a variable and the frames of a model.

    Attributes
    ----------
    source, label, name
        Name of the source, name in reports, and name in the data.
    observed
        Variable of the model that it observes.
    spec
        Variables that the rows act on: those of the model, or the one that a user's operator makes.
    data
        Dataset that holds it. Where time has a dimension of its own, values that observe no frame are left out.
    time
        Name of its time coordinate.
    times
        Number of time stamps of the data, all counted.
    frames
        Times of the frames, shape (time,).
    match
        Frames that each time stamp observes.
    factor, offset
        To the units of the model; a factor for each time where sums become rates.
    error, qc
        As the user gave them, cut like the data; of correlated errors the standard deviation.
    covariance
        How errors are correlated; None where they are independent.
    method, engine, function, footprints
        As the user gave them.
    learned
        Operator that was learned for the places of the source; None where there is none.
    given
        Number of elements of the data that are counted.
    rejected
        Of these, elements that take no part, by reason.
    owned
        Which time stamps have values that are counted, shape (observation time,).
    """

    source: str
    label: str
    name: str
    observed: VariableSpec
    spec: Spec
    data: xr.Dataset
    time: str
    times: int
    frames: xr.DataArray
    match: TimeMatch
    factor: float | FloatArray
    offset: float
    error: Error | None
    qc: QualityControl
    method: Method
    engine: str
    function: FieldFunction | None
    footprints: Footprints | None
    given: int
    rejected: Mapping[str, int]
    owned: npt.NDArray[np.bool_]
    covariance: ErrorCovariance | None = None
    learned: LearnedOperator | None = None

    @property
    def values(self) -> xr.DataArray:
        """The variable itself, in the units of the data; lazy where the data are."""
        return self.data[self.name]

    @property
    def stamps(self) -> xr.DataArray:
        """Time stamps of the values."""
        return self.values[self.time]

    @property
    def names(self) -> tuple[str, str]:
        """Names under which errors may be given: that in the data, then that of the model."""
        return self.name, self.observed.name

    @property
    def geometry(self) -> Geometry:
        """Geometry of the model."""
        return geometry_of_spec(self.spec)

    @property
    def width(self) -> int:
        """Number of elements that the rows act on."""
        return self.frames.size * math.prod(self.spec.frame_shape)

    @property
    def each(self) -> int:
        """Number of elements for each time stamp."""
        return int(self.values.size // max(self.stamps.size, 1))

    def within(self, window: Window, cut: Cuts) -> BoundVariable:
        """Return what a window of the time axis sees, and counts."""
        match, first = self.match.within(window.start, window.stop), self.match.first
        owned = self.owned & (first >= window.first) & (first < window.last)
        given = int(owned.sum()) * self.each
        unmatched = int((owned & ~match.matched).sum()) * self.each
        rejected = {"time": unmatched}
        if window.first == 0:
            # What observes no frame at all is counted by the first window.
            missed = int((self.owned & ~self.match.matched).sum()) * self.each
            rejected = {**self.rejected, "time": unmatched + self.rejected.get("time", 0) - missed}
            given += self.given - int(self.owned.sum()) * self.each
        part = replace(
            self, frames=self.frames[window.start : window.stop], match=match, given=given, rejected=rejected,
            owned=owned,
        )  # fmt: skip
        return part._seen(cut)

    def _seen(self, cut: Cuts) -> BoundVariable:
        """Leave out values that observe no frame, where time has a dimension of its own: they are not even read."""
        stamps = self.stamps
        if stamps.ndim != 1 or self.match.matched.all():
            return self
        rows = np.flatnonzero(self.match.matched)
        dim = str(stamps.dims[0])

        def part(value: Any) -> Any:
            return cut(value, self.data, dim, rows)

        quality = {n: part(getattr(self.qc, n)) for n in _PER_VALUE}
        return replace(
            self,
            data=part(self.data),
            match=self.match.keep(rows),
            factor=self.factor[rows] if isinstance(self.factor, np.ndarray) else self.factor,
            error=part(self.error),
            qc=replace(self.qc, **quality),
            owned=self.owned[rows],
        )


def bind_variable(source: Observation, name: str, observed: VariableSpec, spec: Spec, frames: Frames) -> BoundVariable:
    """Bind one variable of a source that observes what is no variable of the model.

    Parameters
    ----------
    source
        Observations.
    name, observed
        Variable of the data, and what it is to be understood as.
    spec, frames
        The model's, and the frames.
    """
    ds = domain_of(spec).adopt(read(source.data, source.name))
    return _bound(source, ds, name, observed, source.name, spec, frames, Cuts())


@dataclass(frozen=True)
class BoundSource:
    """A source of observations bound to a model and to frames.

    Attributes
    ----------
    name
        Name of the source.
    spec
        The model's.
    frames
        Ascending times of the frames, shape (time,).
    variables
        What it observes.
    """

    name: str
    spec: Spec
    frames: xr.DataArray
    variables: tuple[BoundVariable, ...]

    @classmethod
    def of(cls, source: Observation, spec: Spec, frames: xr.DataArray | Frames) -> BoundSource:
        """Bind observations.

        Parameters
        ----------
        source
            Observations. Of lazy data only coordinates are read.
        spec
            The model's.
        frames
            Ascending times of the frames, shape (time,), or `Frames`, which say what these stand for.

        Raises
        ------
        VariableError, UnitError, ObservationError, DimensionError
            If the data cannot be understood as observations of the model's variables.
        """
        frames = frames if isinstance(frames, Frames) else Frames.of(frames, spec)
        check_order(frames.time)
        ds = domain_of(spec).adopt(read(source.data, source.name))
        if source.learned is not None:
            chosen = learned_by(source.learned, ds, source.variable, source.name)
        elif source.operator is None:
            chosen = choose(ds, source.variable, spec, source.name)
        else:
            chosen = made_by(source.operator, ds, source.variable, source.name)
        cut = Cuts()
        variables = []
        for name, observed in chosen.items():
            label = source.name if len(chosen) == 1 else f"{source.name}:{name}"
            variables.append(_bound(source, ds, name, observed, label, spec, frames, cut))
        return cls(source.name, spec, frames.time, tuple(variables))

    @property
    def labels(self) -> list[str]:
        """Name of each variable in reports: that of the source, with the variable's where it has several."""
        return [v.label for v in self.variables]

    @property
    def within_days(self) -> list[str]:
        """Labels of the variables whose values are those of times of the day, at different ones or past noon."""
        return [v.label for v in self.variables if v.match.matched.any() and not v.match.averages and _has_clock(v)]

    @property
    def units(self) -> list[str]:
        """Units of the values of each variable in the likelihood."""
        # Of a learned operator they are standard deviations of the transformed values.
        return [v.observed.units if v.learned is None else "1" for v in self.variables]

    def within(self, window: Window) -> BoundSource:
        """Return what a window of the time axis sees of the source.

        Parameters
        ----------
        window
            Frames that are seen, and frames whose observations are counted.

        Returns
        -------
        BoundSource
            With lazy data where they are lazy.
        """
        if window.start == window.first == 0 and window.stop == window.last == self.frames.size:
            return self
        cut = Cuts()
        frames = self.frames[window.start : window.stop]
        return replace(self, frames=frames, variables=tuple(v.within(window, cut) for v in self.variables))

    @property
    def lazy(self) -> bool:
        """Whether there are values that have yet to be computed."""
        return any(da.chunks is not None for v in self.variables for da in v.data.data_vars.values())

    def without_lazy(self) -> tuple[BoundSource, list[Any]]:
        """Return the source without what is lazy in it, and that, each thing once: a task computes it first."""
        found: dict[int, Any] = {}
        for variable in self.variables:
            for part in (variable.data, variable.error):
                if _is_lazy(part):
                    found.setdefault(id(part), part)
        position = {key: i for i, key in enumerate(found)}

        def bare(part: Any) -> Any:
            return _Missing(position[id(part)]) if id(part) in position else part

        variables = tuple(replace(v, data=bare(v.data), error=bare(v.error)) for v in self.variables)
        return replace(self, variables=variables), list(found.values())

    def with_computed(self, parts: Sequence[Any]) -> BoundSource:
        """Return the source with what `without_lazy` took out of it."""

        def filled(part: Any) -> Any:
            return parts[part.position] if isinstance(part, _Missing) else part

        variables = tuple(replace(v, data=filled(v.data), error=filled(v.error)) for v in self.variables)
        return replace(self, variables=variables)

    def check(self) -> None:
        """Raise or warn as `audited` does, without reading lazy data.

        Raises
        ------
        VariableError, UnitError, ObservationError, DimensionError, CoverageError
            As `audited`.
        """
        self._assembled(strict=True, read=not self.lazy, rows=False)

    def audited(self, *, strict: bool = False) -> list[AuditedLikelihood]:
        """Likelihood of each variable, not yet thinned and averaged, and what became of its values.

        Parameters
        ----------
        strict
            Raise where there is nothing to assimilate, and warn about what is dropped. A pipeline that works through
            the period in windows checks the whole period first, and then goes through the windows with False.

        Returns
        -------
        list of AuditedLikelihood
            One for each variable, also for those without any value; named like `labels`. Values and errors are in the
            model's units.

        Raises
        ------
        ObservationError, DimensionError, UnitError
            If errors, flags, places or levels cannot be understood.
        CoverageError
            If no value lies in the period and domain of the model, or all are missing.
        """
        return self._assembled(strict=strict)

    def likelihood(self, *, strict: bool = False) -> SourceLikelihood:
        """Likelihood of all variables together, thinned and averaged; see `audited`."""
        parts = [reduced(p).likelihood for p in self.audited(strict=strict)]
        some = [p for p in parts if p.size]
        return SourceLikelihood.joined(self.name, some or parts[:1])

    def _assembled(self, *, strict: bool, read: bool = True, rows: bool = True) -> list[AuditedLikelihood]:
        parts: list[AuditedLikelihood] = []
        empty: list[str] = []
        for variable in self.variables:
            part, why = assemble(variable, strict=strict, read=read, rows=rows)
            parts.append(part)
            if why:
                empty.append(why)
        if strict and len(empty) == len(parts):
            raise CoverageError("\n".join(empty))
        if strict:
            for text in empty:
                warn(text)
        return parts


@dataclass(frozen=True)
class _Missing:
    """Stands for something lazy that is computed elsewhere: its position among all such things of a source."""

    position: int


def _has_clock(variable: BoundVariable) -> bool:
    """Whether stamps tell times of the day apart; at one time of the day, before noon, days would be the same."""
    clock = (hours(variable.stamps).ravel() + SECOND) % 24.0
    return bool(np.ptp(clock) > 2 * SECOND or clock.max() > 12.0 + 2 * SECOND)


def _is_lazy(part: Any) -> bool:
    """Whether this is a DataArray or Dataset with something in it that has yet to be computed."""
    if isinstance(part, xr.DataArray):
        part = part.coords.to_dataset().assign(values=part.variable)
    return isinstance(part, xr.Dataset) and any(v.chunks is not None for v in part.variables.values())


def _bound(
    source: Observation,
    ds: xr.Dataset,
    name: str,
    observed: VariableSpec,
    label: str,
    spec: Spec,
    frames: Frames,
    cut: Cuts,
) -> BoundVariable:
    """Match one variable with a variable and the frames of a model."""
    ds, padding = drop_padding(with_levels(ds, name, observed), name)
    da = ds[name]
    at = time_of(da, source.name)
    if da.dtype.kind not in "fiub":
        msg = f"Source {source.name!r}: {name!r} is of type {da.dtype}; expected numbers. Convert it: .astype(float)."
        raise ObservationError(msg)
    times = da[at].size
    if da.size:
        hours = (spec.frame.hours if spec.frame is not None else 0.0) or spec.time_step
        factor, offset = conversion(ds, da, at, observed, source.name, hours)
        meaning = frames.meaning(observed, spec)
        match = matched(ds, da, at, frames.time, spec.time_step, source.tolerance, source.name, meaning)
    else:
        factor, offset = 1.0, 0.0
        match = TimeMatch(sp.csr_array((times, frames.time.size)), averages=False, missed=0)
    missed = int((~match.matched).sum()) * (da.size // max(times, 1))
    error, covariance = without_covariance(source.error)
    variable = BoundVariable(
        source=source.name,
        label=label,
        name=name,
        observed=observed,
        # What an operator makes is as good as the only variable of a model.
        spec=spec if source.operator is None else replace(spec, variables=(observed,)),
        data=ds,
        time=at,
        times=times,
        frames=frames.time,
        match=match,
        factor=factor,
        offset=offset,
        error=_adopted(error, spec),
        qc=source.qc,
        method=source.method,
        engine=engine_of(source.engine),
        function=source.operator,
        footprints=source.footprints,
        given=da.size + padding,
        rejected={"time": missed, "missing": padding},
        owned=np.ones(times, bool),
        covariance=covariance,
        learned=source.learned,
    )
    return variable._seen(cut) if match.matched.any() else variable


def _adopted(error: Error | None, spec: Spec) -> Error | None:
    """Error with the times of the model, where it varies with time."""
    domain = domain_of(spec)
    if isinstance(error, xr.DataArray):
        return domain.adopt(error)
    if isinstance(error, xr.Dataset):
        return domain.adopt(error)
    if isinstance(error, Mapping):
        return {str(k): domain.adopt(v) if isinstance(v, xr.DataArray) else v for k, v in error.items()}
    return error

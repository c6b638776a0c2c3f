"""A source bound to a model and to the frames of an analysis: read and matched once, then cut for each window.

What a variable observes, in which units, and which frames a time stamp stands for is told from all of the data: whether
stamps are those of months shows in several of them. An analysis window sees a part of the frames, and gets the values
that observe these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import CoverageError, DimensionError, ObservationError, UnitError, warn
from xslams.geometry import Grid
from xslams.labels.calendar import check_order, hours
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.grid import grid_of_spec
from xslams.likelihood import SourceLikelihood
from xslams.observations.assemble import assemble
from xslams.observations.audit import AuditedLikelihood
from xslams.observations.footprints import Footprints
from xslams.observations.quality import QualityControl
from xslams.observations.reading import drop_padding, read
from xslams.observations.stated_errors import Error
from xslams.observations.superob import reduced
from xslams.observations.temporal import TimeMatch, bounds_of, is_sum, match_times, period_lengths
from xslams.observations.variables import choose, factors
from xslams.spec import Spec, VariableSpec
from xslams.typing import FieldFunction, FloatArray, Method

if TYPE_CHECKING:
    from xslams.observations.observation import Observation

__all__ = ["BoundSource", "BoundVariable", "Segment"]

# Quality control that may be given per value.
_PER_VALUE = ("bias", "bias_error", "representativeness")


class Segment(Protocol):
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


class _Cuts:
    """Parts of data along a dimension; what several variables share is cut once, and stays shared."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, str, bytes], Any] = {}

    def __call__(self, value: Any, data: xr.Dataset, dim: str, rows: npt.NDArray[np.intp]) -> Any:
        """Restrict what goes with the data by position; what has labels of its own finds its place by them.

        Parameters
        ----------
        value
            The data themselves, or a DataArray, Dataset or mapping that may vary along with them; anything else is
            returned as it is.
        data
            The data.
        dim, rows
            Dimension, and positions along it.
        """
        if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
            return {k: self(v, data, dim, rows) for k, v in value.items()}
        if not isinstance(value, xr.DataArray | xr.Dataset) or value.sizes.get(dim) != data.sizes[dim]:
            return value
        if dim in value.indexes and dim in data.indexes and not value.indexes[dim].equals(data.indexes[dim]):
            return value
        key = id(value), dim, rows.tobytes()
        if key not in self._parts:
            # A slice of what is lazy costs less than a list of positions.
            run = rows.size and rows[-1] - rows[0] + 1 == rows.size
            self._parts[key] = value.isel({dim: slice(int(rows[0]), int(rows[-1]) + 1) if run else rows})
        return self._parts[key]


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
        As the user gave them, cut like the data.
    method, function, footprints
        As the user gave them.
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
    function: FieldFunction | None
    footprints: Footprints | None
    given: int
    rejected: Mapping[str, int]
    owned: npt.NDArray[np.bool_]

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
    def grid(self) -> Grid:
        """Grid of the model."""
        return grid_of_spec(self.spec)

    @property
    def width(self) -> int:
        """Number of elements that the rows act on."""
        return self.frames.size * self.spec.channels * len(self.spec.lat) * len(self.spec.lon)

    @property
    def each(self) -> int:
        """Number of elements for each time stamp."""
        return int(self.values.size // max(self.stamps.size, 1))

    def within(self, segment: Segment, cut: _Cuts) -> BoundVariable:
        """Return what a segment of the time axis sees, and counts."""
        match, first = self.match.within(segment.start, segment.stop), self.match.first
        owned = self.owned & (first >= segment.first) & (first < segment.last)
        given = int(owned.sum()) * self.each
        unmatched = int((owned & ~match.matched).sum()) * self.each
        rejected = {"time": unmatched}
        if segment.first == 0:
            # What observes no frame at all is counted by the first segment.
            missed = int((self.owned & ~self.match.matched).sum()) * self.each
            rejected = {**self.rejected, "time": unmatched + self.rejected.get("time", 0) - missed}
            given += self.given - int(self.owned.sum()) * self.each
        part = replace(
            self, frames=self.frames[segment.start : segment.stop], match=match, given=given, rejected=rejected,
            owned=owned,
        )  # fmt: skip
        return part._seen(cut)

    def _seen(self, cut: _Cuts) -> BoundVariable:
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
    def of(cls, source: Observation, spec: Spec, frames: xr.DataArray) -> BoundSource:
        """Bind observations.

        Parameters
        ----------
        source
            Observations. Of lazy data only coordinates are read.
        spec
            The model's.
        frames
            Ascending times of the frames, shape (time,).

        Raises
        ------
        VariableError, UnitError, ObservationError, DimensionError
            If the data cannot be understood as observations of the model's variables.
        """
        check_order(frames)
        ds = read(source.data, source.name)
        chosen = _chosen(source, ds, spec)
        cut = _Cuts()
        variables = []
        for name, observed in chosen.items():
            label = source.name if len(chosen) == 1 else f"{source.name}:{name}"
            variables.append(_bound(source, ds, name, observed, label, spec, frames, cut))
        return cls(source.name, spec, frames, tuple(variables))

    @property
    def labels(self) -> list[str]:
        """Name of each variable in reports: that of the source, with the variable's where it has several."""
        return [v.label for v in self.variables]

    @property
    def units(self) -> list[str]:
        """Units of the values of each variable in the likelihood."""
        return [v.observed.units for v in self.variables]

    def within(self, segment: Segment) -> BoundSource:
        """Return what a segment of the time axis sees of the source.

        Parameters
        ----------
        segment
            Frames that are seen, and frames whose observations are counted.

        Returns
        -------
        BoundSource
            With lazy data where they are lazy.
        """
        if segment.start == segment.first == 0 and segment.stop == segment.last == self.frames.size:
            return self
        cut = _Cuts()
        frames = self.frames[segment.start : segment.stop]
        return replace(self, frames=frames, variables=tuple(v.within(segment, cut) for v in self.variables))

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
        self._assembled(strict=True, read=not self.lazy)

    def audited(self, *, strict: bool = False) -> list[AuditedLikelihood]:
        """Likelihood of each variable, not yet thinned and averaged, and what became of its values.

        Parameters
        ----------
        strict
            Raise where there is nothing to assimilate, and warn about what is dropped. A pipeline that works through
            the period in segments checks the whole period first, and then goes through the segments with False.

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
        return self._assembled(strict=strict, read=True)

    def likelihood(self, *, strict: bool = False) -> SourceLikelihood:
        """Likelihood of all variables together, thinned and averaged; see `audited`."""
        parts = [reduced(p).likelihood for p in self.audited(strict=strict)]
        some = [p for p in parts if p.size]
        return SourceLikelihood.joined(self.name, some or parts[:1])

    def _assembled(self, *, strict: bool, read: bool) -> list[AuditedLikelihood]:
        parts: list[AuditedLikelihood] = []
        empty: list[str] = []
        for variable in self.variables:
            part, why = assemble(variable, strict=strict, read=read)
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


def _is_lazy(part: Any) -> bool:
    """Whether this is a DataArray or Dataset that is backed by dask."""
    return isinstance(part, xr.DataArray | xr.Dataset) and bool(part.chunks)


def _chosen(source: Observation, ds: xr.Dataset, spec: Spec) -> dict[str, VariableSpec]:
    """Variables of the data and what they observe."""
    if source.operator is None:
        return choose(ds, source.variable, spec, source.name)
    asked = [source.variable] if isinstance(source.variable, str) else list(source.variable or ds.data_vars)
    if len(asked) != 1 or asked[0] not in ds.data_vars:
        msg = (
            f"Source {source.name!r}: an operator= makes one variable; the data have {listed(ds.data_vars)}"
            f"{f', and variable= names {listed(asked)}' if source.variable is not None else ''}. "
            "Choose one of them: variable='name'."
        )
        raise ObservationError(msg)
    name = str(asked[0])
    units = getattr(source.operator, "units", None) or ds[name].attrs.get("units", "1")
    return {name: VariableSpec(name, str(units))}


def _bound(
    source: Observation,
    ds: xr.Dataset,
    name: str,
    observed: VariableSpec,
    label: str,
    spec: Spec,
    frames: xr.DataArray,
    cut: _Cuts,
) -> BoundVariable:
    """Match one variable with a variable and the frames of a model."""
    ds, padding = drop_padding(ds, name)
    da = ds[name]
    at = _time_of(da, source.name)
    if da.dtype.kind not in "fiub":
        msg = f"Source {source.name!r}: {name!r} is of type {da.dtype}; expected numbers. Convert it: .astype(float)."
        raise ObservationError(msg)
    times = da[at].size
    if da.size:
        factor, offset = _conversion(ds, da, at, observed, source.name)
        match = _match(source, ds, da, at, spec, frames)
    else:
        factor, offset = 1.0, 0.0
        match = TimeMatch(sp.csr_array((times, frames.size)), averages=False, missed=0)
    missed = int((~match.matched).sum()) * (da.size // max(times, 1))
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
        frames=frames,
        match=match,
        factor=factor,
        offset=offset,
        error=source.error,
        qc=source.qc,
        method=source.method,
        function=source.operator,
        footprints=source.footprints,
        given=da.size + padding,
        rejected={"time": missed, "missing": padding},
        owned=np.ones(times, bool),
    )
    return variable._seen(cut) if match.matched.any() else variable


def _time_of(da: xr.DataArray, source: str) -> str:
    """Name of the time coordinate of some data."""
    at = coordinate(da, "time")
    if at is None:
        called = f" ({'time'!r} is of type {da['time'].dtype}, which is no time)" if "time" in da.coords else ""
        msg = (
            f"Source {source!r}: {str(da.name)!r} has no time coordinate among {listed(da.coords)}{called}. "
            "Assign one: .assign_coords(time=pandas.to_datetime(...))."
        )
        raise DimensionError(msg)
    return at


def _conversion(
    ds: xr.Dataset, da: xr.DataArray, at: str, observed: VariableSpec, source: str
) -> tuple[float | FloatArray, float]:
    """Factor and offset to the units of the model; a factor for each time where amounts become rates."""
    try:
        return factors(da, observed, source)
    except UnitError:
        if not is_sum(da.attrs):
            raise
        lengths = period_lengths(da[at], da.attrs, bounds_of(ds, da[at]))
        if lengths is None:
            raise
        rate = da.assign_attrs(units=f"{da.attrs['units']} day-1")
        daily, offset = factors(rate, observed, source)
        return daily * 24.0 / lengths.ravel(), offset


def _match(
    source: Observation, ds: xr.Dataset, da: xr.DataArray, at: str, spec: Spec, frames: xr.DataArray
) -> TimeMatch:
    """Match time stamps with frames."""
    stamps = da[at]
    if stamps.dims == (at,) and (repeated := int(stamps.to_index().duplicated().sum())):
        msg = (
            f"Source {source.name!r}: {repeated} of {stamps.size} times repeat an earlier one. "
            f"Drop or average them: .drop_duplicates({at!r}) or .groupby({at!r}).mean()."
        )
        raise DimensionError(msg)
    try:
        hours(stamps)
    except DimensionError as e:
        msg = f"Source {source.name!r}: {e}"
        raise DimensionError(msg) from e
    limits = bounds_of(ds, stamps)
    return match_times(stamps, frames, spec.time_step, tolerance=source.tolerance, attrs=da.attrs, bounds=limits)

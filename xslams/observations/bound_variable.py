"""A variable of a source, matched with a variable and the frames of a model, and what a window of them sees of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import ObservationError
from xslams.geometry import Geometry
from xslams.labels.domain import domain_of
from xslams.labels.frames import Frames
from xslams.labels.grid import geometry_of_spec
from xslams.learned import LearnedOperator
from xslams.observations.cuts import Cuts
from xslams.observations.error_covariance import ErrorCovariance, without_covariance
from xslams.observations.footprints import Footprints
from xslams.observations.profiles import with_levels
from xslams.observations.quality import QualityControl
from xslams.observations.reading import drop_padding, read
from xslams.observations.stated_errors import Error
from xslams.observations.temporal import TimeMatch, matched, time_of
from xslams.observations.variables import conversion
from xslams.spec import Spec, VariableSpec
from xslams.typing import FieldFunction, FloatArray, Method
from xslams.weights.engines import engine_of

if TYPE_CHECKING:
    from xslams.observations.observation import Observation

__all__ = ["BoundVariable", "Window", "bind_variable", "bound_variable"]

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
    return bound_variable(source, ds, name, observed, source.name, spec, frames, Cuts())


def bound_variable(
    source: Observation,
    ds: xr.Dataset,
    name: str,
    observed: VariableSpec,
    label: str,
    spec: Spec,
    frames: Frames,
    cut: Cuts,
) -> BoundVariable:
    """Match one variable of a source with a variable and the frames of a model; `cut` leaves out what sees no frame."""
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

"""Learn what an instrument reports from a past of state and observations, and find the operator of a source.

What is learned is the forward model: the distribution of a value given the state near it, of neighbouring frames, with
the errors that this leaves of values that were not seen. See `xslams.learned`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import CoverageError, ObservationError, ObservationOptionError, UnitError, warn
from xslams.labels.calendar import frame_numbers, stamp
from xslams.labels.coordinates import listed
from xslams.labels.domain import domain_of
from xslams.labels.frames import Frames
from xslams.learned import FEWEST, Learned, LearnedOperator, States, Values, in_step, joint_errors, learn
from xslams.observations.belonging import measured
from xslams.observations.bound_variable import bind_variable
from xslams.observations.flags import quality_flags
from xslams.observations.learned_rows import elements
from xslams.observations.observation import Observation
from xslams.observations.reading import as_dataset
from xslams.quantities import bounds_of_quantity
from xslams.spec import VariableSpec

if TYPE_CHECKING:
    from xslams.observations.learned_rows import Elements
    from xslams.spec import Spec
    from xslams.typing import FloatArray

__all__ = ["Lessons", "learn_sources", "learned_variables", "with_learned"]

#: Values of one variable whose errors can be correlated with each other.
_MOST = 4000


@dataclass(frozen=True)
class Lessons:
    """What was learned of some sources, and from what.

    Attributes
    ----------
    states, frames
        The state, and what its frames stand for.
    values, found
        What each variable of each source was learned from, and what was learned.
    """

    states: States
    frames: Frames
    values: tuple[Values, ...]
    found: tuple[Learned, ...]

    @property
    def operators(self) -> tuple[LearnedOperator, ...]:
        """One for each variable of each source; errors are correlated where variables are the same."""
        return _together(self.found, self.states)

    def without(self, hidden: npt.NDArray[np.bool_]) -> tuple[LearnedOperator, ...]:
        """Return operators of the same settings that have not seen some frames, shape ``(T,)``."""
        states = self.states.keep(~hidden)
        found = [learn(states, v.keep(~hidden), f.settings) for v, f in zip(self.values, self.found, strict=True)]
        return _together(found, states)


def learn_sources(sources: Sequence[Observation], state: xr.Dataset, spec: Spec) -> Lessons:
    """Learn the operators of all variables of some sources.

    Parameters
    ----------
    sources
        Observations of a period in which the state is known.
    state
        The state variables of the model in that period.
    spec
        The model's.

    Raises
    ------
    CoverageError
        If the observations share no period with the state, or have too few values.
    ObservationError, UnitError, DimensionError
        If the data cannot be understood.

    Warns
    -----
    SlamsWarning
        Of variables that tell nothing of the state.
    """
    states, frames = _states(state, spec)
    values, found = [], []
    for source in sources:
        names = learned_variables(source)
        for name in names:
            label = source.name if len(names) == 1 else f"{source.name}:{name}"
            given = _values(source, name, label, spec, states, frames)
            one = learn(states, given)
            values.append(given)
            found.append(one)
            if not one.operator.informative.any():
                warn(
                    f"Source {label!r}: {name!r} tells nothing of the state in blocks of time that were held out "
                    f"(skill {one.operator.held_out_skill:.3f}); it gets no weight."
                )
    return Lessons(states, frames, tuple(values), tuple(found))


def with_learned(sources: Sequence[Observation], operators: Sequence[LearnedOperator]) -> list[Observation]:
    """Give the sources that a model has learned their operators.

    Parameters
    ----------
    sources
        Observations. Those with an error or an operator of their own stay as they are.
    operators
        Of the model.

    Returns
    -------
    list of Observation
        One for each variable that has an operator; those whose errors are correlated follow each other.
    """
    out: list[Observation] = []
    for source in sources:
        if source.error is not None or source.operator is not None or source.learned is not None:
            out.append(source)
            continue
        names = learned_variables(source)
        known = {n: one for n in names if (one := _operator_of(source, n, len(names), operators)) is not None}
        rest = [n for n in names if n not in known]
        for name, operator in known.items():
            label = source.name if len(names) == 1 else f"{source.name}:{name}"
            out.append(source.replace(variable=name, operator=operator, name=label))
        if not known:
            out.append(source)
        elif rest and source.variable is not None:
            kept = {n: source.variable[n] for n in rest} if isinstance(source.variable, Mapping) else rest
            out.append(source.replace(variable=kept))
    links = [None if s.learned is None else s.learned.errors.link for s in out]
    order = sorted(range(len(out)), key=lambda i: (i if links[i] is None else links.index(links[i]), i))
    return [out[i] for i in order]


def _operator_of(
    source: Observation, name: str, count: int, operators: Sequence[LearnedOperator]
) -> LearnedOperator | None:
    """Operator that was learned for a variable: by the name of the source, else the one that knows most places."""
    same = [one for one in operators if one.variable == name]
    if len(same) < 2:
        return same[0] if same else None
    label = source.name if count == 1 else f"{source.name}:{name}"
    named = [one for one in same if one.name in (label, source.name)]
    if named:
        return named[0]
    ds = as_dataset(source.data)
    lat, lon = (next((ds[n] for n in names if n in ds), None) for names in (("lat", "latitude"), ("lon", "longitude")))
    if lat is None or lon is None or lat.dims != lon.dims:
        return same[0]
    places = np.asarray(lat.values, float).ravel(), np.asarray(lon.values, float).ravel()
    return max(same, key=lambda one: int((one.places(*places) >= 0).sum()))


def learned_variables(source: Observation) -> list[str]:
    """Return the names of the variables of the data that a source is about, each of which has an operator."""
    if source.variable is None:
        return measured(as_dataset(source.data))
    return [source.variable] if isinstance(source.variable, str) else [str(n) for n in source.variable]


def _states(state: xr.Dataset, spec: Spec) -> tuple[States, Frames]:
    """Frames of the state as arrays, and what they stand for."""
    domain = domain_of(spec)
    fields = domain.to_channels(state, allow_missing=True)
    fields = fields.isel(channel=slice(spec.state_channels))
    time = domain.label(domain.adopt(domain.template(state)))
    values = spec.filled(np.asarray(fields.transpose("time", "channel", "lat", "lon").values, np.float32))
    if not np.isfinite(values).all():
        msg = "The state has missing values; an operator is learned from whole states. Drop the frames that lack some."
        raise CoverageError(msg)
    states = States(
        values, np.asarray(domain.season(time), float), frame_numbers(time, spec), np.asarray(spec.lat, float),
        np.asarray(spec.lon, float), spec.time_step, spec.frame_shape,
    )  # fmt: skip
    return states, Frames.of(time, spec, state)


def _values(source: Observation, name: str, label: str, spec: Spec, states: States, frames: Frames) -> Values:
    """Values of one variable of a source on the frames of the state."""
    ds = as_dataset(source.data)
    if name not in ds.data_vars:
        msg = f"Source {source.name!r}: there is no variable {name!r}; the data have {listed(ds.data_vars)}."
        raise ObservationError(msg)
    attrs = ds[name].attrs
    if "units" not in attrs:
        msg = (
            f"Source {label!r}: {name!r} has no units, without which it cannot be observed. Add them: "
            "ds[name].attrs['units'] = 'K', or the like."
        )
        raise UnitError(msg)
    units, standard = str(attrs["units"]), attrs.get("standard_name")
    observed = VariableSpec(name, units, standard_name=standard)
    variable = bind_variable(source, name, observed, spec, frames)
    if not variable.match.matched.any():
        msg = (
            f"Source {label!r}: no value lies in the period of the state, {stamp(frames.time.values[0])} to "
            f"{stamp(frames.time.values[-1])}. An operator is learned from a period in which both are known; take "
            "the past of the source from that period, or check years and calendar."
        )
        raise CoverageError(msg)
    at = elements(variable)
    if at.lat.size > _MOST:
        msg = (
            f"Source {label!r}: {at.lat.size} places; operators are learned for at most {_MOST}. Average the data over "
            "boxes first, or bring gridded data to the grid of the model, .slams.regrid()."
        )
        raise ObservationOptionError(msg)
    good = np.array(variable.values.values, float)
    for flag in quality_flags(variable.data, variable.values, source.qc.flags, label):
        good[~flag.passes()] = np.nan
    values = _on_frames(good, at, len(states.season))
    count = np.isfinite(values).sum(axis=0)
    if int(count.max(initial=0)) < FEWEST:
        msg = (
            f"Source {label!r}: at most {int(count.max(initial=0))} values at a place in the period of the state "
            f"({int(np.isfinite(good).sum())} of {good.size} in all are finite and not flagged, and "
            f"{int(at.inside.sum())} of {at.inside.size} places lie in its domain, {variable.geometry}); an operator "
            f"needs {FEWEST} at least, and a year or more to know the season. Give a longer past of state and source; "
            "for a platform that moves, give error= in place of an operator."
        )
        raise CoverageError(msg)
    if lacking := int((count < FEWEST).sum()):
        warn(f"Source {label!r}: {lacking} of {count.size} places have fewer than {FEWEST} values and are left out.")
    bounds = _bounds(values, bounds_of_quantity(name, units, standard, attrs.get("long_name")))
    return Values(values, at.lat, at.lon, label, name, units, standard, bounds)


def _bounds(values: FloatArray, bounds: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    """Bounds of the quantity where the values keep to them: those of anomalies do not."""
    low, high = bounds
    slack = 0.05 * float(np.nanstd(values))
    return (
        None if low is None or np.nanmin(values) < low - slack else low,
        None if high is None or np.nanmax(values) > high + slack else high,
    )


def _on_frames(values: FloatArray, at: Elements, frames: int) -> FloatArray:
    """Bring values to frames and places ``(T, n)``; the mean of several of one frame."""
    total, count = np.zeros((frames, at.lat.size)), np.zeros((frames, at.lat.size))
    good = np.isfinite(values) & at.matched[at.stamp] & at.inside[at.place]
    where = at.frame[at.stamp[good]], at.place[good]
    np.add.at(total, where, values[good])
    np.add.at(count, where, 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _together(found: Sequence[Learned], states: States) -> tuple[LearnedOperator, ...]:
    """Correlate the errors of several sources of one variable with each other."""
    out = [part.operator for part in found]
    for name in dict.fromkeys(one.variable for one in out):
        same = [i for i, one in enumerate(out) if one.variable == name]
        sizes = np.cumsum([0, *(out[i].lat.size for i in same)])
        if len(same) == 1 or sizes[-1] > _MOST:
            continue
        residual = np.concatenate([found[i].residual for i in same], axis=1)
        errors = joint_errors(in_step(residual, states), link=f"learned {name}")
        for i, first in zip(same, sizes[:-1], strict=True):
            out[i] = out[i].with_errors(errors, first + np.arange(out[i].lat.size))
    return tuple(out)

"""What a frame of a model stands for: an instant, or a period, as the data tell that it was made for.

`learn` reads it from training data, in this order: bounds of the times, an ``avg_period``, the calendar where frames
are months, and the time step where ``cell_methods`` say that values are means. The state of an analysis is read in the
same way by `Frames.of`: its own bounds come first, then what the model knows, and else what the state itself says.
Where nothing tells, frames a day apart are taken for means of their calendar days and others for instants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import xarray as xr

from xslams.errors import VariableError, warn
from xslams.labels.calendar import hours
from xslams.labels.coordinates import coordinate
from xslams.labels.periods import (
    SECOND,
    averaging_period,
    bounds_of,
    doubts,
    is_monthly,
    month_edges,
    time_method,
    usable,
)
from xslams.labels.variables import match_variables
from xslams.spec import FramePeriod, Spec, VariableSpec
from xslams.typing import FloatArray

__all__ = ["Frames", "Meaning", "learn", "meaning_of_stamps", "periods_of_frames", "rounding"]

_DAY = 24.0
# Lengths of months, and of periods that are the same but for leap days, differ by less than this part.
_ALIKE = 0.1


class Meaning(NamedTuple):
    """What frames are for one variable.

    Attributes
    ----------
    edges
        Begin and end of their periods in hours, shape (time, 2); None where they are instants.
    told
        Whether model or data say so.
    own
        Whether the values to match are those of the frames themselves, so that equal stamps are all that counts.
    """

    edges: FloatArray | None
    told: bool
    own: bool = False


@dataclass(frozen=True)
class Frames:
    """Frames of an analysis, and what they stand for.

    Attributes
    ----------
    time
        Ascending stamps, shape (time,).
    edges
        Begin and end of their periods in hours, shape (time, 2); None where there are none or nothing tells.
    methods
        What the values of variables are in time: "point", "mean", "sum" and so on; without those of which nothing is
        said.
    told
        Whether model or data say what frames are, of variables that are not those of an instant.
    background
        Whether it is the state itself that observes them.
    """

    time: xr.DataArray
    edges: FloatArray | None
    methods: Mapping[str, str]
    told: bool
    background: bool = False

    @property
    def points(self) -> frozenset[str]:
        """Variables that are those of an instant."""
        return frozenset(name for name, method in self.methods.items() if method == "point")

    @property
    def own(self) -> Frames:
        """The same for values of the state itself, which observe the frames of their stamps."""
        return replace(self, background=True)

    def assumed(self, spec: Spec) -> bool:
        """Whether frames are taken for days because they are stamped at midnight, and for no other reason."""
        if spec.flat or self.edges is not None or self.points >= {v.name for v in spec.state}:
            return False
        meaning = meaning_of_stamps(self.time, spec.time_step)
        return meaning.edges is not None and meaning.told

    def meaning(self, variable: VariableSpec, spec: Spec) -> Meaning:
        """Return what frames are for a variable of the model, or for what a user's operator makes of the state."""
        known = {v.name for v in spec.variables}
        names = {variable.name} if variable.name in known else {v.name for v in spec.state}
        if self.background:
            return Meaning(None, told=True, own=True)
        if spec.flat or names <= self.points:
            return Meaning(None, told=True)
        if self.edges is not None:
            return Meaning(self.edges, self.told)
        return meaning_of_stamps(self.time, spec.time_step)

    @classmethod
    def of(cls, time: xr.DataArray, spec: Spec, ds: xr.Dataset | None = None) -> Frames:
        """Read what the frames of an analysis stand for.

        Parameters
        ----------
        time
            Ascending stamps, shape (time,).
        spec
            The model's.
        ds
            State, which may have bounds of its times and ``cell_methods``. Where it contradicts the model, a warning
            says so and the model is right.

        Examples
        --------
        >>> days = xr.DataArray(np.arange("2001-01-01", "2001-01-03", dtype="M8[D]").astype("M8[ns]"), dims="time")
        >>> spec = Spec((), (), (), periodic=False, frame=FramePeriod(hours=24.0, stamp=1.0, begin=0.0))
        >>> Frames.of(days, spec).edges - hours(days)[:, None]
        array([[-24.,   0.],
               [-24.,   0.]])
        """
        methods = {v.name: v.cell_method for v in spec.variables if v.cell_method}
        period = spec.frame
        if spec.flat or ds is None:
            edges = None if spec.flat or period is None else _edges(time, period)[0]
            return cls(time, edges, methods, period is not None)
        said = _methods_of(ds, spec)
        contrary = _contradiction(methods, said, period)
        methods = {**{name: method for name, method in said.items() if method}, **methods}
        stamps = ds[str(coordinate(ds, "time"))]
        if period is None and not all(methods.get(v.name) == "point" for v in spec.state):
            period = _period(ds, stamps, methods.values(), spec.time_step)
        if period is None:
            if contrary:
                warn(f"The state: {contrary}. The analysis is one of such frames.")
            return cls(time, None, methods, told=False)
        edges, why = _edges(time, period)
        bounds = bounds_of(ds, stamps)
        if bounds is not None and (bad := doubts(ds, stamps)) and spec.frame is not None:
            why = f"{bad}; frames are read without them"
        elif bounds is not None and usable(stamps, bounds) and not bad:
            own = np.sort(hours(bounds), axis=1)
            if _alike(own, edges):
                edges, why = own, ""
            else:
                why = (
                    f"its bounds say {np.median(own[:, 1] - own[:, 0]):g} h, while frames of the model are those of "
                    f"{period.length}, which they are taken for"
                )
        # Averages often keep the attributes of what they are averages of: alone, these say too little for a warning.
        if why and (told := "; ".join(text for text in (contrary, why) if text)):
            warn(f"The state: {told}. Give it bounds of time, as CF has them, to say more.")
        return cls(time, edges, methods, told=True)


def learn(ds: xr.Dataset, names: Iterable[str]) -> tuple[FramePeriod | None, dict[str, str]]:
    """Learn what the frames of training data stand for.

    Parameters
    ----------
    ds
        Training data.
    names
        Variables of the model.

    Returns
    -------
    tuple
        Period of a frame, None where there is none or nothing tells; and the cell method in time of each variable that
        has one.

    Examples
    --------
    >>> days = np.arange("2001-01-01T12", "2001-01-03T12", 24, dtype="M8[h]").astype("M8[ns]")
    >>> ds = xr.Dataset({"t": ("time", [280.0, 281.0], {"cell_methods": "time: mean"})}, {"time": days})
    >>> learn(ds, ["t"])
    (FramePeriod(hours=24.0, months=0, stamp=0.5, begin=0.0), {'t': 'mean'})
    """
    stamps = ds[str(coordinate(ds, "time"))]
    methods = {name: time_method(ds[name].attrs) for name in names}
    if all(method == "point" for method in methods.values()):
        return None, methods
    step = float(np.median(np.diff(hours(stamps))))
    period = _period(ds, stamps, methods.values(), step)
    return period, {name: method for name, method in methods.items() if method}


def periods_of_frames(ds: xr.Dataset, names: Iterable[str]) -> Meaning:
    """Return the periods that frames of training data stand for.

    Parameters
    ----------
    ds
        Training data.
    names
        Variables whose frames are meant.
    """
    stamps = ds[str(coordinate(ds, "time"))]
    period, methods = learn(ds, names)
    if period is not None:
        return Meaning(_edges(stamps, period)[0], told=True)
    if "point" in methods.values():
        return Meaning(None, told=True)
    return meaning_of_stamps(stamps, float(np.median(np.diff(hours(stamps)))))


def meaning_of_stamps(time: xr.DataArray, step: float) -> Meaning:
    """Return what frames are taken for where nothing tells: means of calendar days, or instants.

    Frames that are stamped at midnight are those of days by convention, and count as told.

    Parameters
    ----------
    time
        Stamps, shape (time,).
    step
        Hours between frames.
    """
    if step != _DAY:
        return Meaning(None, told=False)
    at, slack = hours(time), rounding(step)
    begin = np.floor((at + slack) / _DAY) * _DAY
    return Meaning(np.stack([begin, begin + _DAY], axis=1), told=bool((np.abs(at - begin) <= slack).all()))


def rounding(step: float) -> float:
    """Hours by which times that were kept as floats may be off."""
    return max(SECOND, 1e-3 * step)


def _methods_of(ds: xr.Dataset, spec: Spec) -> dict[str, str]:
    """Cell methods in time of the variables of the model that a Dataset has."""
    try:
        found = match_variables(ds, spec.variables, allow_missing=True)
    except VariableError:  # several may be meant; who needs the values says so
        return {}
    return {known: time_method(ds[given].attrs) for known, given in found.items()}


def _alike(own: FloatArray, edges: FloatArray) -> bool:
    """Whether periods are as long as others."""
    lengths = np.median(own[:, 1] - own[:, 0]), np.median(edges[:, 1] - edges[:, 0])
    return bool(abs(lengths[0] - lengths[1]) <= _ALIKE * lengths[1])


def _contradiction(model: Mapping[str, str], state: Mapping[str, str], period: FramePeriod | None) -> str:
    """Say where one of model and state has values of instants and the other has not; empty where none contradicts."""
    for name, method in state.items():
        known = model.get(name) or ("mean" if period is not None else "")
        if known and method and (known == "point") != (method == "point"):
            length = f" over {period.length}" if period is not None and known != "point" else ""
            return (
                f"cell_methods of {name!r} say 'time: {method}', while frames of the model are 'time: {known}'{length}"
            )
    return ""


def _period(ds: xr.Dataset, stamps: xr.DataArray, methods: Iterable[str], step: float) -> FramePeriod | None:
    """Period of a frame as some data tell it, with a warning where they tell part of it only."""
    if why := doubts(ds, stamps):
        warn(f"{why[0].upper()}{why[1:]}; frames are read without them. Correct the bounds of time, or drop them.")
    elif usable(stamps, bounds := bounds_of(ds, stamps)):
        assert bounds is not None
        return _of_bounds(stamps, np.sort(bounds.values, axis=1), np.sort(hours(bounds), axis=1))
    months, length = averaging_period(stamps.attrs.get("avg_period"), stamps.attrs.get("delta_t")) or (0, 0.0)
    stated = any(method and method != "point" for method in methods)
    if not months and not length and stamps.size > 1:
        spacings = np.diff(np.unique(hours(stamps)))
        months = int(bool(is_monthly(stamps, spacings, stated=stated)))
    if months:
        start = 0 if months % 12 == 0 else (int(stamps.dt.month.values[0]) - 1) % months
        return FramePeriod(months=months, stamp=_place(stamps, month_edges(stamps, months, hours)), begin=start)
    return _of_stamps(hours(stamps), length or step) if stated or length else None


def _of_bounds(stamps: xr.DataArray, pairs: np.ndarray, edges: FloatArray) -> FramePeriod:
    """Period that bounds say: months where all begin with one, else hours."""
    place = _place(stamps, edges)
    begin, end = (xr.DataArray(pairs[:, i], dims="time") for i in (0, 1))
    whole = all(bool(((t.dt.day == 1) & (t.dt.hour == 0) & (t.dt.minute == 0)).all()) for t in (begin, end))
    first, last = (t.dt.year.values * 12 + t.dt.month.values - 1 for t in (begin, end))
    if whole and np.unique(last - first).size == 1:
        months = int((last - first)[0])
        starts = np.unique(first % months)
        return FramePeriod(months=months, stamp=place, begin=float(starts[0]) if starts.size == 1 else None)
    length = float(np.median(edges[:, 1] - edges[:, 0]))
    return FramePeriod(hours=length, stamp=place, begin=_phase(edges[:, 0], length))


def _place(stamps: xr.DataArray, edges: FloatArray) -> float:
    """Where in their periods stamps lie: 0 to 1."""
    share = (hours(stamps) - edges[:, 0]) / (edges[:, 1] - edges[:, 0])
    return float(np.round(np.median(share), 6))


def _phase(begin: FloatArray, length: float) -> float | None:
    """When periods begin, modulo their length; None where that differs, or the clock of a day does not tell it."""
    away = (begin - begin[0] + 0.5 * length) % length - 0.5 * length
    if _DAY % length or np.abs(away).max() > rounding(length):
        return None
    return float(np.round((begin[0] + np.median(away)) % length, 6) % length)


def _of_stamps(at: FloatArray, length: float) -> FramePeriod:
    """Period of means of which only the length is known: the calendar day, else the one around or after the stamp."""
    slack = rounding(length)
    past = float(np.median((at + slack) % length) - slack)
    usual = abs(past) <= slack if length == _DAY else False
    if usual or abs(past - 0.5 * length) <= slack:
        return FramePeriod(hours=length, stamp=0.0 if usual else 0.5, begin=0.0 if _DAY % length == 0 else None)
    if length == _DAY:
        assumed, period = "the calendar days (UTC)", FramePeriod(hours=_DAY, stamp=round(past / _DAY, 6), begin=0.0)
    else:
        assumed, period = "the time from their stamps on", FramePeriod(hours=length, begin=_phase(at, length))
    warn(
        f"Frames are means over {length:g} h, and no bounds say where in these their stamps lie; they are taken for "
        f"{assumed}. Give bounds of time, as CF has them, to say otherwise."
    )
    return period


def _edges(time: xr.DataArray, period: FramePeriod) -> tuple[FloatArray, str]:
    """Begin and end of the period of each stamp, shape (time, 2), and what is assumed of stamps at another place."""
    if period.months:
        begin = None if period.begin is None else int(period.begin)
        ending = period.stamp > 1 - 1e-3
        return month_edges(time, period.months, hours, begin=begin, ending=ending), ""
    at, slack, length = hours(time), rounding(period.hours), period.hours
    wanted = at - period.stamp * length
    if period.begin is None:
        return np.stack([wanted, wanted + length], axis=1), ""
    start = period.begin + np.rint((wanted - period.begin) / length) * length
    away = np.abs(wanted - start) > slack
    start = np.where(away, period.begin + np.floor((at - period.begin + slack) / length) * length, start)
    why = (
        f"{int(away.sum())} of {at.size} stamps lie at another place in their periods than those of the model; they "
        f"are taken for the {period.length} that hold them"
    )
    return np.stack([start, start + length], axis=1), why if away.any() else ""

"""Which frames of a model an observation sees: those whose periods it overlaps, by their shares of the overlap.

What frames stand for is told by model and state, see `xslams.labels.frames`, and what an observed value stands
for by its data, see `xslams.labels.periods`: bounds of the time coordinate, an ``avg_period`` or ``delta_t``
attribute (as NOAA writes them), ``cell_methods`` with ``time: mean``, or stamps of months, also with gaps. What none of
these tell is assumed with a warning.

- A value of a period observes frames of periods in proportion to their overlap: a month its days, the mean of a local
  day two days of the model. Frames have to cover all of a period that is about as long as a frame or shorter; of a
  longer one they may cover a part.
- A value of an instant observes the frame in whose period it lies.
- Where frames are instants, a value of a period that is longer than a step observes the mean of those in it, and any
  other value the frame that is nearest to it, within a tolerance.

Where observations and frames use different calendars, dates of the same year, month, day and hour are the same. Those
that only one of the calendars has (29 February in a model of 365 days, 31 January in one of 360) match nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import DimensionError
from xslams.labels.calendar import calendar_of, hours, hours_in
from xslams.labels.coordinates import coordinate, is_time, listed
from xslams.labels.frames import Meaning, meaning_of_stamps, rounding
from xslams.labels.periods import LONGER, SECOND, Clock, Periods, bounds_of, doubts, periods, time_method
from xslams.observations.overlap import covered, equal, mean, shares
from xslams.typing import FloatArray

__all__ = ["TimeMatch", "match_times", "matched", "time_of"]


@dataclass(frozen=True)
class TimeMatch:
    """How observation times match the frames of a model.

    Attributes
    ----------
    weights
        Shape (observation time, frame); a row is empty where no frame matches.
    averages
        Whether the observations are averages over the period of a frame or more.
    missed
        Number of observation times that lie within the period of the frames but match none.
    undated
        Number of observation times whose date the calendar of the frames does not have.
    whole
        Whether observations see nothing where the frames do not cover all of their periods.
    assumed
        What is assumed of the periods of the observations or frames and not said by them, for a warning; else empty.
    """

    weights: sp.csr_array
    averages: bool
    missed: int
    undated: int = 0
    whole: bool = False
    assumed: str = ""

    @property
    def matched(self) -> npt.NDArray[np.bool_]:
        """Which observation times match a frame."""
        return np.asarray(np.diff(self.weights.indptr) > 0)

    @property
    def first(self) -> npt.NDArray[np.intp]:
        """First frame that each observation time matches; 0 where it matches none."""
        first, matched = np.zeros(self.weights.shape[0], np.intp), self.matched
        first[matched] = self.weights.indices[self.weights.indptr[:-1][matched]]
        return first

    @property
    def crowding(self) -> int:
        """Largest number of observation times that match the same frame, one for averages."""
        if self.averages:
            return 1
        return int(np.bincount(self.weights.indices, minlength=1).max())

    def keep(self, chosen: npt.NDArray[Any]) -> TimeMatch:
        """Match of some of the observation times, given as a mask or as positions."""
        return replace(self, weights=sp.csr_array(self.weights[chosen]))

    def within(self, first: int, last: int) -> TimeMatch:
        """Match with some of the frames, from `first` to before `last`.

        A longer average of which these frames cover a part is the mean of that part; others need all of their period.

        Examples
        --------
        >>> mean = TimeMatch(sp.csr_array([[0.25, 0.25, 0.25, 0.25]]), averages=True, missed=0)
        >>> mean.within(2, 4).weights.toarray()
        array([[0.5, 0.5]])
        """
        weights = sp.csr_array(self.weights[:, first:last])
        if self.whole:
            weights = covered(weights)
        elif self.averages:
            weights = mean(weights)
        return replace(self, weights=weights)


def time_of(da: xr.DataArray, source: str) -> str:
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


def matched(
    ds: xr.Dataset,
    da: xr.DataArray,
    at: str,
    frames: xr.DataArray,
    step: float,
    tolerance: float | None,
    source: str,
    meaning: Meaning | None = None,
) -> TimeMatch:
    """Match the time stamps of some data with frames.

    Parameters
    ----------
    ds, da
        Dataset that may hold the bounds of times, and the data.
    at
        Name of the time coordinate of the data.
    frames, step, tolerance, meaning
        As for `match_times`.
    source
        Name of the source, for messages.

    Raises
    ------
    DimensionError
        If times repeat, are missing or are not understood.
    """
    stamps = da[at]
    if stamps.dims == (at,) and (repeated := int(stamps.to_index().duplicated().sum())):
        msg = (
            f"Source {source!r}: {repeated} of {stamps.size} times repeat an earlier one. "
            f"Drop or average them: .drop_duplicates({at!r}) or .groupby({at!r}).mean()."
        )
        raise DimensionError(msg)
    try:
        hours(stamps)
    except DimensionError as e:
        msg = f"Source {source!r}: {e}"
        raise DimensionError(msg) from e
    if meaning is not None and meaning.own:
        instant = {"cell_methods": "time: point"}
        return match_times(stamps, frames, step, tolerance=tolerance, attrs=instant, meaning=meaning)
    limits = bounds_of(ds, stamps)
    match = match_times(stamps, frames, step, tolerance=tolerance, attrs=da.attrs, bounds=limits, meaning=meaning)
    if not (why := doubts(ds, stamps)):
        return match
    if limits is not None and match.averages and is_time(limits):
        return replace(match, assumed=f"{why}; the bounds are used")
    kind = match.assumed or ("means over the periods that attributes and spacing say" if match.averages else _NEAREST)
    return replace(match, assumed=f"{why}; values are taken for {kind}")


# First frame of each time, and the one after its last.
_Range = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
_DAY = 24.0
_NEAREST = "those of the nearest frames"


def match_times(
    time: xr.DataArray,
    frames: xr.DataArray,
    step: float,
    *,
    tolerance: float | None = None,
    attrs: Mapping[Any, Any] | None = None,
    bounds: xr.DataArray | None = None,
    meaning: Meaning | None = None,
) -> TimeMatch:
    """Match observation times with frames.

    Parameters
    ----------
    time
        Times of the observations, any shape.
    frames
        Ascending times of the frames, shape (time,); their calendar may be another.
    step
        Hours between frames.
    tolerance
        Hours between the stamps of a value of an instant and of its frame. By default it has to lie in the period of
        the frame; where frames are instants, at most half a step away. Of two that are equally near, the one of the
        same day is taken where frames are a day apart, and else the earlier.
    attrs
        Attributes of the observed variable (``cell_methods``, ``avg_period``).
    bounds
        Bounds of the times, shape (time, 2).
    meaning
        What frames stand for; by default what their stamps tell.

    Returns
    -------
    TimeMatch
        Weights, and what did not match.

    Raises
    ------
    DimensionError
        If observations or frames have no valid times.

    Examples
    --------
    >>> days = xr.DataArray(np.arange("2001-02-27", "2001-03-02", dtype="M8[D]").astype("M8[ns]"), dims="time")
    >>> match_times(days[1:], days, 24.0).weights.toarray()
    array([[0., 1., 0.],
           [0., 0., 1.]])
    """
    calendars = [calendar_of(time), calendar_of(frames)]
    clock: Clock = hours if calendars[0] == calendars[1] else lambda stamps: hours_in(calendars[1], stamps)
    at, frame = clock(time).ravel(), hours(frames)
    undated = int(np.isnan(at).sum())
    found = periods(time, step, attrs or {}, bounds, clock)
    meaning = meaning_of_stamps(frames, step) if meaning is None else meaning
    if found is not None:
        return _of_periods(found, at, frame, step, tolerance, meaning)
    edges = meaning.edges
    if edges is None:
        first, last, tied = _nearest(at, frame, step, tolerance, by_day=step == _DAY)
        inside = (at > frame[0] - 0.5 * step + SECOND) & (at <= frame[-1] + 0.5 * step)
        assumed = _tie(tied, at.size, step) if tied else ""
    else:
        first, last = _holding(at, frame, edges, step, tolerance)
        inside = (at >= edges[0, 0] - rounding(step)) & (at < edges[-1, 1])
        assumed = "" if meaning.told else _untold(at, frame, step, tolerance, (first, last))
        if (method := time_method(attrs or {})) != "point":
            first, last, assumed = _alike(at, frame, step, (first, last), assumed, stated=bool(method))
    missed = int((inside & (last <= first)).sum())
    return TimeMatch(equal(first, last, frame.size), False, missed, undated, assumed=assumed)


def _of_periods(
    found: Periods, at: FloatArray, frame: FloatArray, step: float, tolerance: float | None, meaning: Meaning
) -> TimeMatch:
    """Match values of periods with frames."""
    lost = np.isnan(found.edges).any(axis=1)
    begin, end = found.edges.T
    typical = step if lost.all() else float(np.median(found.lengths[~lost]))
    whole, slack = typical <= LONGER * step, rounding(step)
    if meaning.edges is not None:
        weights = shares(found.edges, meaning.edges, min(slack, 1e-3 * typical), whole=whole)
        reach = meaning.edges[0, 0], meaning.edges[-1, 1]
        inside = (begin >= reach[0] - slack) & (end <= reach[1] + slack)
    else:
        if whole:
            first, last, _ = _nearest(0.5 * (begin + end), frame, step, tolerance, by_day=step == _DAY)
        else:
            first, last = np.searchsorted(frame, begin - slack), np.searchsorted(frame, end - slack)
        weights = equal(first, last, frame.size)
        inside = (at > frame[0] - 0.5 * step + SECOND) & (at <= frame[-1] + 0.5 * step)
    missed = int((inside & (np.diff(weights.indptr) == 0)).sum())
    return TimeMatch(weights, typical >= step / LONGER, missed, int(lost.sum()), whole, found.assumed)


def _tie(tied: int, count: int, step: float) -> str:
    """Say which of two frames is taken."""
    which = "the frame of the same day" if step == _DAY else "the earlier frame"
    return f"those of {which}: {tied} of {count} stamps lie half way between two frames"


def _untold(
    at: FloatArray,
    frame: FloatArray,
    step: float,
    tolerance: float | None,
    taken: _Range,
) -> str:
    """Say how many values observe other frames than they would if frames were instants; nothing if none does."""
    first, last, _ = _nearest(at, frame, step, tolerance, by_day=False)
    seen, other = (np.where(stop > start, start, -1) for start, stop in (taken, (first, last)))
    count = int((seen != other).sum())
    if not count:
        return ""
    return (
        f"frames are taken for means of their days (UTC), as neither model nor state says what they are; {count} of "
        f"{at.size} values would be those of other frames if these were instants, 'time: point' in cell_methods"
    )


def _alike(
    at: FloatArray, frame: FloatArray, step: float, taken: _Range, assumed: str, *, stated: bool
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], str]:
    """Look at stamps that are those of frames, and lie in the period of the next one, as frames are stamped at the end.

    Means that are all stamped as frames are were made as these were. Of anything else the stamp is where it begins.
    """
    after = np.clip(np.searchsorted(frame, at), 0, len(frame) - 1)
    near = np.where(np.abs(at - frame[after]) <= rounding(step), after, np.maximum(after - 1, 0))
    same = np.abs(at - frame[near]) <= rounding(step)
    other = same & ((taken[0] != near) | (taken[1] <= taken[0]))
    if 2 * other.sum() <= at.size:
        return *taken, assumed
    text = f"{int(other.sum())} of {at.size} stamps are those of frames, which are stamped where their periods end"
    if stated and same.all():
        return near, near + 1, f"those of the frames of equal stamps: {text}"
    return *taken, f"those of the frames that begin at their stamps: {text}"


def _nearest(
    at: FloatArray, frame: FloatArray, step: float, tolerance: float | None, *, by_day: bool
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], int]:
    """Nearest frame of each time, as the first and the one after the last, and how many are half way between two.

    Half way between two frames, the one of the same calendar day or the earlier one is taken.
    """
    reach, slack = 0.5 * step if tolerance is None else tolerance, rounding(step)
    after = np.searchsorted(frame, at)
    before = np.clip(after - 1, 0, len(frame) - 1)
    after = np.clip(after, 0, len(frame) - 1)
    behind, ahead = np.abs(at - frame[before]), np.abs(frame[after] - at)
    half = np.abs(np.minimum(behind, ahead) - 0.5 * step) <= slack
    first = np.where(behind <= np.where(half, ahead + 2 * slack, ahead), before, after)
    if by_day:
        first[half] = np.where(_days(at, slack) == _days(frame[after], slack), after, before)[half]
    last = first + (np.abs(at - frame[first]) <= reach + (slack if tolerance is None else SECOND))
    if tolerance is None:
        # Half a step before the first frame lies a value that belongs to the frame before, which is not among them.
        wrong = _days(at, slack) != _days(frame[first], slack) if by_day else frame[first] > at
        last -= (last > first) & half & wrong
    return first, last, int((half & (last > first)).sum())


def _holding(at: FloatArray, frame: FloatArray, edges: FloatArray, step: float, tolerance: float | None) -> _Range:
    """Frames in whose periods times lie, as the first and the one after the last.

    A tolerance is one between stamps, and lets in times that lie in no period.
    """
    # Times that were kept as floats are off by some seconds; a whole minute is meant as it is.
    exact = np.abs(60.0 * at - np.rint(60.0 * at)) < 1e-5
    later = at + np.where(exact, 1e-6, rounding(step))
    first, last = np.searchsorted(edges[:, 1], later, "right"), np.searchsorted(edges[:, 0], later, "right")
    if tolerance is None:
        return first, last
    held = last > first
    near = np.abs(at - frame[np.minimum(first, frame.size - 1)]) <= tolerance + SECOND
    other, stop, _ = _nearest(at, frame, step, tolerance, by_day=False)
    return np.where(held, first, other), np.where(held, np.where(near, last, first), stop)


def _days(at: FloatArray, slack: float) -> FloatArray:
    """Return the number of the day of each time; what lies just before midnight belongs to the next."""
    return np.asarray(np.floor((at + slack) / _DAY))

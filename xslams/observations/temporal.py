"""Which frames of a model an observation sees: the nearest one, or the mean of those that an average covers.

A value is taken for an average over time where its data say so: bounds of the time coordinate, an ``avg_period`` or
``delta_t`` attribute (as NOAA writes them), ``cell_methods`` with ``time: mean``, or stamps of months, also with gaps,
see `xslams.observations.periods`; what none of these tell is assumed with a warning. It then observes
the mean of all frames whose time stamp lies in its period: the calendar month of a monthly stamp, the calendar day of a
daily one, else the step that begins at the stamp. Where its bounds are about one step long but straddle two frames (the
mean of a local day, in a model of daily means), it observes both, each by the share of the period that the frame covers
from its stamp on. Everything else observes the nearest frame within a tolerance.

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
from xslams.observations.periods import LONGER, SECOND, Clock, bounds_of, doubts, periods
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
        Whether the observations are averages over several frames.
    missed
        Number of observation times that lie within the period of the frames but match none.
    undated
        Number of observation times whose date the calendar of the frames does not have.
    straddling
        Whether averages begin between frames, so that they see each frame by its share of their period, and none where
        the frames do not cover all of it.
    assumed
        What is assumed of the periods of the observations and not said by them, for a warning; else empty.
    """

    weights: sp.csr_array
    averages: bool
    missed: int
    undated: int = 0
    straddling: bool = False
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

        An average of which these frames cover a part is the mean of that part; one that straddles frames needs all of
        its period.

        Examples
        --------
        >>> mean = TimeMatch(sp.csr_array([[0.25, 0.25, 0.25, 0.25]]), averages=True, missed=0)
        >>> mean.within(2, 4).weights.toarray()
        array([[0.5, 0.5]])
        """
        weights = sp.csr_array(self.weights[:, first:last])
        if self.straddling:
            weights = _covered(weights)
        elif self.averages:
            counts = np.diff(weights.indptr)
            weights.data = np.repeat(1.0 / np.maximum(counts, 1), counts)
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
) -> TimeMatch:
    """Match the time stamps of some data with frames.

    Parameters
    ----------
    ds, da
        Dataset that may hold the bounds of times, and the data.
    at
        Name of the time coordinate of the data.
    frames, step, tolerance
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
    limits = bounds_of(ds, stamps)
    match = match_times(stamps, frames, step, tolerance=tolerance, attrs=da.attrs, bounds=limits)
    if not (why := doubts(ds, stamps)):
        return match
    if limits is not None and (match.straddling or match.averages) and is_time(limits):
        return replace(match, assumed=f"{why}; the bounds are used")
    kind = match.assumed or ("means over the periods that attributes and spacing say" if match.averages else _NEAREST)
    return replace(match, assumed=f"{why}; values are taken for {kind}")


_SAME_DAY = "those of the frame of the same day"
_NEAREST = "those of the nearest frames"


def match_times(
    time: xr.DataArray,
    frames: xr.DataArray,
    step: float,
    *,
    tolerance: float | None = None,
    attrs: Mapping[Any, Any] | None = None,
    bounds: xr.DataArray | None = None,
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
        Hours within which the nearest frame is taken, by default half a step. Of two frames equally near the earlier is
        taken, so that a daily value stamped at noon belongs to the frame stamped at midnight of its day, and none
        where that day is not among the frames. Where frames are days stamped at noon, that of the same day is taken.
    attrs
        Attributes of the observed variable (``cell_methods``, ``avg_period``).
    bounds
        Bounds of the times, shape (time, 2).

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
    straddling = _straddling(time, frame, step, bounds, clock)
    found = periods(time, step, attrs or {}, bounds, clock) if straddling is None else None
    if straddling is not None:
        # A period that the frames cover in part lies at an end of the analysis, as others lie beyond it.
        return TimeMatch(
            _shares(straddling, _begins(frame, step), step), averages=True, missed=0, undated=undated, straddling=True
        )
    if found is not None:
        windows = found.edges
        undated = int(np.isnan(windows).any(axis=1).sum())
        first = np.searchsorted(frame, windows[:, 0] - _rounding(step))
        last = np.searchsorted(frame, windows[:, 1] - _rounding(step))
    else:
        first, last, tied = _nearest(at, frame, step, tolerance)
    counts = np.maximum(last - first, 0)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts)
    columns = np.repeat(first, counts) + within
    data = np.repeat(1.0 / np.maximum(counts, 1), counts)
    weights = sp.csr_array((data, columns, indptr), shape=(len(at), len(frame)))
    inside = (at > frame[0] - 0.5 * step + SECOND) & (at <= frame[-1] + 0.5 * step)
    assumed = found.assumed if found is not None else ""
    if found is None and tied:
        assumed = f"{_SAME_DAY}: {tied} of {len(at)} stamps lie half a day from frames"
    missed = int((inside & (counts == 0)).sum())
    return TimeMatch(weights, found is not None, missed, undated, assumed=assumed)


def _nearest(
    at: FloatArray, frame: FloatArray, step: float, tolerance: float | None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], int]:
    """Nearest frame of each time, as the first and the one after the last, and how many lie half a day from one.

    Half way between two frames, the earlier one is taken. Daily frames that are not stamped at midnight are those of
    the calendar day that holds their stamp, which may be the later one.
    """
    reach, slack = 0.5 * step if tolerance is None else tolerance, _rounding(step)
    after = np.searchsorted(frame, at)
    before = np.clip(after - 1, 0, len(frame) - 1)
    after = np.clip(after, 0, len(frame) - 1)
    behind, ahead = np.abs(at - frame[before]), np.abs(frame[after] - at)
    noon = _at_noon(frame, step)
    half = np.abs(np.minimum(behind, ahead) - 0.5 * step) <= slack
    first = np.where(behind <= np.where(half, ahead + 2 * slack, ahead), before, after)
    if noon:
        first[half] = np.where(_days(at, slack) == _days(frame[after], slack), after, before)[half]
    last = first + (np.abs(at - frame[first]) <= reach + (slack if tolerance is None else SECOND))
    if tolerance is None:
        # Half a step before the first frame lies a value that belongs to the frame before, which is not among them.
        wrong = _days(at, slack) != _days(frame[first], slack) if noon else frame[first] > at
        last -= (last > first) & half & wrong
    return first, last, int((half & (last > first)).sum()) if noon else 0


def _at_noon(frame: FloatArray, step: float) -> bool:
    """Whether frames are days that are stamped in their middle."""
    return step == 24.0 and bool((np.abs(frame % 24.0 - 12.0) <= _rounding(step)).all())


def _begins(frame: FloatArray, step: float) -> FloatArray:
    """Return when the period of each frame begins: at its stamp, but that of a day stamped at noon at midnight."""
    return frame - 12.0 if _at_noon(frame, step) else frame


def _rounding(step: float) -> float:
    """Hours by which times that were kept as floats may be off."""
    return max(SECOND, 1e-3 * step)


def _days(at: FloatArray, slack: float) -> FloatArray:
    """Return the number of the day of each time; what lies just before midnight belongs to the next."""
    return np.asarray(np.floor((at + slack) / 24.0))


def _straddling(
    time: xr.DataArray, frame: FloatArray, step: float, bounds: xr.DataArray | None, clock: Clock
) -> FloatArray | None:
    """Bounds about one step long of which some begin between two frames, in hours, shape (time, 2); else None.

    Where frames are days stamped at noon, stamps tell less than bounds, which are taken in any case.
    """
    if bounds is None or not is_time(bounds) or bounds.shape != (time.size, 2) or not time.size:
        return None
    pairs = np.sort(clock(bounds), axis=1)
    length = np.nanmedian(pairs[:, 1] - pairs[:, 0])
    phase = np.abs((pairs[:, 0] - _begins(frame, step)[0] + 0.5 * step) % step - 0.5 * step)
    if not step / LONGER <= length <= LONGER * step:
        return None
    if np.nanmax(phase) <= _rounding(step) and not _at_noon(frame, step):
        return None
    return pairs


def _shares(pairs: FloatArray, frame: FloatArray, step: float) -> sp.csr_array:
    """Share of each period that lies in each frame; no row where the frames do not cover all of it."""
    first = np.searchsorted(frame, pairs[:, 0] - step + SECOND)
    rows, columns, data = [], [], []
    for reach in range(3):
        column = np.minimum(first + reach, len(frame) - 1)
        shared = np.minimum(pairs[:, 1], frame[column] + step) - np.maximum(pairs[:, 0], frame[column])
        found = np.flatnonzero((first + reach < len(frame)) & (shared > SECOND))
        rows.append(found)
        columns.append(column[found])
        data.append(shared[found] / (pairs[found, 1] - pairs[found, 0]))
    weights = sp.csr_array(
        (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))), shape=(len(pairs), len(frame))
    )
    return _covered(weights)


def _covered(weights: sp.csr_array) -> sp.csr_array:
    """Leave out rows of shares that do not add up to one."""
    covered = np.asarray(weights.sum(axis=1)) > 1 - 1e-3
    weights.data *= covered[np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))]
    weights.eliminate_zeros()
    return weights

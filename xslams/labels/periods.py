"""The period that an observed value stands for, as bounds, attributes or the calendar tell.

Bounds come first, then an ``avg_period`` or ``delta_t`` attribute (as NOAA writes them), ``cell_methods``, and the
calendar: values of which each has a month of its own, at the same place in it, stand for their calendar months, also
where months are left out or of each year one is kept. The spacing tells the length of shorter periods only, and what is
assumed where the data do not say so is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xslams.labels.calendar import hours
from xslams.labels.coordinates import is_time
from xslams.typing import FloatArray

__all__ = [
    "LONGER",
    "SECOND",
    "Clock",
    "Periods",
    "averaging_period",
    "bounds_of",
    "doubts",
    "is_monthly",
    "is_sum",
    "length_of_each",
    "month_edges",
    "periods",
    "time_method",
    "usable",
]

# Dimensions, and what was done along them: "time: mean", "time: lat: lon: mean".
_METHOD = re.compile(r"((?:\w+\s*:\s*)+)(\w+)")
_PERIOD = re.compile(r"(\d+)-(\d+)-(\d+)(?:[ T](\d+):(\d+)(?::(\d+))?)?")
SECOND = 1.0 / 3600.0
#: An average is one where it spans clearly more than a frame.
LONGER = 1.5
_DAY = 24.0
# Stamps of two months that follow each other, in hours.
_MONTH = 27 * 24.0, 32 * 24.0

#: From times to hours, in the calendar of the frames.
Clock = Callable[[xr.DataArray], FloatArray]


@dataclass(frozen=True)
class Periods:
    """Periods of values.

    Attributes
    ----------
    edges
        Begin and end in hours, shape (time, 2); NaN where the calendar of the frames does not have them.
    assumed
        What the data do not say, for a warning; empty where they do.
    """

    edges: FloatArray
    assumed: str = ""

    @property
    def lengths(self) -> FloatArray:
        """Hours that each value covers, shape (time,)."""
        return self.edges[:, 1] - self.edges[:, 0]


def length_of_each(time: xr.DataArray, attrs: Mapping[Any, Any], bounds: xr.DataArray | None) -> FloatArray | None:
    """Hours over which each value is a sum; None where neither bounds nor attributes nor even spacing tell.

    Parameters
    ----------
    time
        Times of the observations, any shape.
    attrs
        Attributes of the variable.
    bounds
        Bounds of the times, shape (time, 2).

    Returns
    -------
    ndarray or None
        Shape of `time`.

    Examples
    --------
    >>> days = xr.DataArray(np.array(["2001-01-01", "2001-01-02", "2001-01-03"], "M8[ns]"), dims="time")
    >>> length_of_each(days, {}, None)
    array([24., 24., 24.])
    """
    found = periods(time, 0.0, {**attrs, "cell_methods": "time: sum"}, bounds, hours)
    return None if found is None else found.lengths.reshape(time.shape)


def bounds_of(ds: xr.Dataset, stamps: xr.DataArray) -> xr.DataArray | None:
    """Bounds of times, where a Dataset has them."""
    bounds = ds.variables.get(stamps.attrs.get("bounds", stamps.encoding.get("bounds")))
    return None if bounds is None else xr.DataArray(bounds)


def doubts(ds: xr.Dataset, stamps: xr.DataArray) -> str:
    """Say what is wrong with the bounds of times; empty where they are sound, or not spoken of.

    Examples
    --------
    >>> days = xr.DataArray(np.array(["2001-01-01"], "M8[ns]"), dims="time", name="time", attrs={"bounds": "time_bnds"})
    >>> doubts(xr.Dataset(), days)
    "the bounds 'time_bnds' of 'time' are not among the data"
    """
    name = stamps.attrs.get("bounds", stamps.encoding.get("bounds"))
    if name is None:
        return ""
    bounds = bounds_of(ds, stamps)
    called = f"the bounds {str(name)!r} of {str(stamps.name)!r}"
    if bounds is None:
        return f"{called} are not among the data"
    if not is_time(bounds):
        return f"{called} are of type {bounds.dtype}, which is no time"
    if bounds.shape != (stamps.size, 2):
        return f"{called} have shape {bounds.shape}, not {(stamps.size, 2)}"
    pairs, at = np.sort(hours(bounds), axis=1), hours(stamps).ravel()
    # Stamps of local days may lie beside their day in UTC.
    outside = int(((at < pairs[:, 0] - 24.0) | (at > pairs[:, 1] + 24.0)).sum())
    return f"{called} do not hold {outside} of {at.size} stamps" if outside else ""


def usable(time: xr.DataArray, bounds: xr.DataArray | None) -> bool:
    """Whether bounds are those of periods: of two times each, and not the same ones."""
    if bounds is None or not is_time(bounds) or bounds.shape != (time.size, 2) or not time.size:
        return False
    return bool(np.median(np.abs(np.diff(hours(bounds), axis=1))) > SECOND)


def is_sum(attrs: Mapping[Any, Any]) -> bool:
    """Whether values are sums over a period, as ``cell_methods`` say."""
    return time_method(attrs) == "sum"


def time_method(attrs: Mapping[Any, Any]) -> str:
    """Return what values are in time: "point", "mean", "sum" and so on; empty where ``cell_methods`` do not say.

    Examples
    --------
    >>> time_method({"cell_methods": "area: mean time: lat: lon: mean (interval: 6 hours)"})
    'mean'
    >>> time_method({"cell_methods": "area: mean"})
    ''
    """
    found = ""
    for dims, method in _METHOD.findall(re.sub(r"\([^()]*\)", " ", str(attrs.get("cell_methods", "")).lower())):
        # Of several the last one makes the values: "time: maximum within days time: mean over days".
        if any(dim.strip().endswith("time") or dim.strip() == "t" for dim in dims.split(":")):
            found = method
    return found


def averaging_period(*texts: object) -> tuple[int, float] | None:
    """Months and hours of the first period that is one as NOAA writes it, ``0000-00-01 00:00:00``; else None.

    Examples
    --------
    >>> averaging_period(None, "0000-00-01 06:00:00")
    (0, 30.0)
    """
    return next((period for text in texts if (period := _averaging_period(text)) not in (None, (0, 0.0))), None)


def _averaging_period(text: object) -> tuple[int, float] | None:
    found = _PERIOD.match(str(text)) if text is not None else None
    if found is None:
        return None
    years, months, days, hour, minute, second = (int(g or 0) for g in found.groups())
    return 12 * years + months, 24.0 * days + hour + minute / 60.0 + second / 3600.0


def periods(
    time: xr.DataArray, step: float, attrs: Mapping[Any, Any], bounds: xr.DataArray | None, clock: Clock
) -> Periods | None:
    """Periods that the values average over; None for values of an instant or of one frame.

    Parameters
    ----------
    time
        Times of the values, any shape.
    step
        Hours between frames.
    attrs
        Attributes of the variable.
    bounds
        Bounds of the times, shape (time, 2).
    clock
        From times to hours.
    """
    method = time_method(attrs)
    if method == "point":
        return None
    if bounds is not None and usable(time, bounds):
        return Periods(np.sort(clock(bounds), axis=1))
    texts = time.attrs.get("avg_period"), time.attrs.get("delta_t"), attrs.get("avg_period")
    months, length = averaging_period(*texts) or (0, 0.0)
    if months:
        return Periods(month_edges(time, months, clock))
    if length:
        # Of a day it is known when it begins, of a shorter period not.
        long = length > LONGER * step or length == _DAY
        return Periods(_fixed_periods(clock(time).ravel(), length)) if long else None
    if time.ndim != 1 or time.size < 2:
        return None
    stated = method in ("mean", "sum")
    spacings = np.diff(np.unique(hours(time)))
    if _MONTH[0] > LONGER * step and (sure := is_monthly(time, spacings, stated=stated)) is not None:
        return Periods(month_edges(time, 1, clock), "" if sure else _MONTHS_ASSUMED)
    if not stated or not spacings.size:
        return None
    spacing, sure = _even(spacings)
    if spacing <= LONGER * step:
        return None
    assumed = "" if sure and spacing <= _DAY else f"periods of {spacing:g} h from their stamps on, as times are spaced"
    return Periods(_fixed_periods(clock(time), spacing), assumed)


_MONTHS_ASSUMED = "means of the calendar months of their stamps, since these are at the same place in their months"


def is_monthly(time: xr.DataArray, spacings: FloatArray, *, stated: bool) -> bool | None:
    """Whether stamps are those of months, in their own calendar: True if sure, False if it seems so, None if not."""
    year, month, day = (np.asarray(getattr(time.dt, part)) for part in ("year", "month", "day"))
    number = year * 12 + month
    if len(set(number)) != number.size or spacings.min() < _MONTH[0]:
        return None
    if np.median(spacings) <= _MONTH[1]:
        return True
    left = np.asarray(time.dt.days_in_month) - day
    in_phase = bool((day <= 1).all() or (left <= 1).all() or ((day >= 14) & (day <= 17)).all())
    if spacings.min() <= _MONTH[1] and (in_phase or stated):
        return True
    return False if in_phase and (stated or time.size > 2) else None


def _even(spacings: FloatArray) -> tuple[float, bool]:
    """Length of periods that follow each other but for gaps, and whether they do; else the typical spacing."""
    least = float(spacings.min())
    ratio = spacings / least
    if np.allclose(ratio, np.rint(ratio), atol=0.02):
        return least, bool((ratio < LONGER).all())
    return float(np.median(spacings)), False


def _fixed_periods(at: FloatArray, length: float) -> FloatArray:
    start = np.floor(at / _DAY) * _DAY if length == _DAY else at
    return np.stack([start, start + length], axis=1)


def month_edges(
    time: xr.DataArray, months: int, clock: Clock, *, begin: int | None = None, ending: bool = False
) -> FloatArray:
    """Begin and end of whole months that hold the stamps, in hours, shape (time, 2).

    Parameters
    ----------
    time
        Stamps, any shape.
    months
        Number of months.
    clock
        From times to hours.
    begin
        Number of a month, counted from January as zero, in which periods begin, modulo `months`; by default that of the
        stamp, and January where these are years.
    ending
        Whether a stamp at the very begin of a month belongs to the period that ends there.
    """
    year, month = time.dt.year.values.ravel(), time.dt.month.values.ravel() - 1
    number = year * 12 + month
    if ending:
        first = (time.dt.day.values.ravel() == 1) & (time.dt.hour.values.ravel() == 0)
        number = number - (first & (time.dt.minute.values.ravel() == 0))
    if begin is None:
        start = number if months % 12 else year * 12
    else:
        start = number - (number - begin) % months
    unique, inverse = np.unique(np.stack([start, start + months]), return_inverse=True)
    if np.issubdtype(time.dtype, np.datetime64):
        stamps = (unique - 1970 * 12).astype("datetime64[M]").astype("datetime64[s]")
    else:
        midnight = time.values.flat[0].replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        stamps = np.array([midnight.replace(year=int(m) // 12, month=int(m) % 12 + 1) for m in unique], dtype=object)
    edges: FloatArray = clock(xr.DataArray(stamps, dims="edge"))[inverse].reshape(2, -1).T
    return edges

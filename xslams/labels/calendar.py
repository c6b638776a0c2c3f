"""Times as numbers: hours, labels, places in the year, steps, and the calendars that dates belong to."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xslams.errors import DimensionError
from xslams.labels.coordinates import coordinate, is_time, listed
from xslams.seasons import in_the_year
from xslams.spec import Spec
from xslams.typing import FloatArray

__all__ = [
    "calendar_of",
    "check_order",
    "frame_numbers",
    "hours",
    "hours_in",
    "on_time_axis",
    "stamp",
    "time_labels",
    "time_step",
    "times_at",
    "undecoded",
    "without_julian_dates",
    "without_zones",
    "year_fraction",
]

_Data = TypeVar("_Data", xr.Dataset, xr.DataArray)

_EPOCH = np.datetime64("1970-01-01T00:00:00", "s")


def hours(time: xr.DataArray) -> FloatArray:
    """Hours since 1970-01-01 in the calendar of the data, as floats, same shape as `time`.

    Parameters
    ----------
    time
        Times, datetime64 or cftime.

    Returns
    -------
    ndarray
        Hours.

    Raises
    ------
    DimensionError
        If these are not times, or some are missing (NaT).
    """
    if not is_time(time):
        msg = (
            f"{time.name!r} has type {time.dtype}; expected times. Decode them with xr.decode_cf(ds) "
            "or assign pandas datetimes."
        )
        raise DimensionError(msg)
    values = time.values
    if np.issubdtype(values.dtype, np.datetime64):
        if np.isnat(values).any():
            msg = f"{time.name!r} holds {int(np.isnat(values).sum())} missing times (NaT). {_without_missing(time)}"
            raise DimensionError(msg)
        # Through the data's own resolution: a coarse unit would round, and a fine one could overflow.
        seconds = (values - _EPOCH.astype(values.dtype)) / np.timedelta64(1, "s")
        return np.asarray(seconds / 3600.0, float)
    import cftime  # type: ignore[import-untyped]

    if missing := sum(not isinstance(v, cftime.datetime) for v in values.flat):
        msg = f"{time.name!r} holds {missing} missing times among cftime dates. {_without_missing(time)}"
        raise DimensionError(msg)
    calendars = {v.calendar for v in values.flat}
    if len(calendars) != 1:
        msg = f"{time.name!r} mixes the calendars {listed(sorted(calendars))}; expected one. Use ds.convert_calendar()."
        raise DimensionError(msg)
    return np.asarray(cftime.date2num(values, "hours since 1970-01-01", calendar=calendars.pop()), float)


def times_at(at: FloatArray, like: xr.DataArray) -> npt.NDArray[Any]:
    """Return the times at some hours since 1970-01-01, of the type and calendar of others, to the millisecond.

    Parameters
    ----------
    at
        Hours, any shape.
    like
        Times, datetime64 or cftime.

    Examples
    --------
    >>> days = xr.DataArray(np.array(["1970-01-02"], "datetime64[ns]"), dims="time")
    >>> times_at(hours(days) + 0.5, days)
    array(['1970-01-02T00:30:00.000000000'], dtype='datetime64[ns]')
    """
    if np.issubdtype(like.dtype, np.datetime64):
        since = np.rint(np.asarray(at, float) * 3.6e6).astype("timedelta64[ms]")
        return np.asarray((_EPOCH.astype("datetime64[ms]") + since).astype(like.dtype))
    import cftime

    milliseconds = np.rint(np.asarray(at, float) * 3.6e6).astype(np.int64)
    calendar = like.values.flat[0].calendar
    return np.asarray(cftime.num2date(milliseconds, "milliseconds since 1970-01-01", calendar=calendar))


def without_zones(data: _Data) -> _Data:
    """Bring times with a zone to UTC, and Python's datetimes to datetime64.

    Parameters
    ----------
    data
        Dataset or DataArray; returned as it is where all its times are datetime64 or cftime.

    Raises
    ------
    DimensionError
        If some times have a zone and others have none.

    Examples
    --------
    >>> import pandas as pd, xarray as xr
    >>> local = pd.date_range("2001-01-01", periods=1, tz="Europe/Paris")
    >>> str(without_zones(xr.Dataset(coords={"time": local}))["time"].values[0])[:16]
    '2000-12-31T23:00'
    """
    found = {}
    for name, coord in data.coords.items():
        if isinstance(coord.dtype, pd.DatetimeTZDtype):
            index = pd.DatetimeIndex(coord.variable.to_index())
        elif coord.dtype == object and coord.size and isinstance(coord.values.flat[0], datetime):
            zoned = _zoned(coord)
            try:
                index = pd.DatetimeIndex(pd.to_datetime(coord.values.ravel(), utc=zoned))
            except (TypeError, ValueError) as e:
                msg = f"{name!r} holds times that cannot be read together ({e}). Assign pandas datetimes in UTC."
                raise DimensionError(msg) from e
        else:
            continue
        values = (index.tz_convert("UTC").tz_localize(None) if index.tz is not None else index).values
        found[name] = (coord.dims, values.reshape(coord.shape), coord.attrs, coord.encoding)
    return data.assign_coords(found) if found else data


def without_julian_dates(ds: xr.Dataset) -> xr.Dataset:
    """Bring dates of the Julian calendar to the Gregorian one, where the same day has another date.

    Calendars of models, as that of 360 days, have dates of their own. Files with Julian day numbers are of real days.

    Parameters
    ----------
    ds
        Dataset; returned as it is where it has no such coordinates.

    Examples
    --------
    >>> import cftime
    >>> time = xr.DataArray([cftime.datetime(1998, 7, 8, calendar="julian")], dims="time", name="time")
    >>> str(without_julian_dates(xr.Dataset(coords={"time": time}))["time"].values[0])[:10]
    '1998-07-21'
    """
    found = {}
    for name, coord in ds.coords.items():
        if coord.dtype != object or not is_time(coord) or coord.isnull().any():
            continue
        if coord.values.flat[0].calendar == "julian":
            import cftime

            like = xr.DataArray(np.zeros(0, "datetime64[ns]"), dims="time")
            # What is 1970-01-01 elsewhere; numbers of days are the same in both calendars.
            since = cftime.date2num(coord.values, "hours since 1969-12-19", calendar="julian")
            found[name] = (coord.dims, times_at(np.asarray(since, float), like), coord.attrs)
    return ds.assign_coords(found) if found else ds


def _zoned(time: xr.DataArray) -> bool:
    """Whether times have zones, all or none."""
    zones = [isinstance(v, datetime) and v.tzinfo is not None for v in time.values.flat]
    if any(zones) and not all(zones):
        msg = (
            f"{sum(zones)} of {len(zones)} times of {time.name!r} have a time zone, the others none. Bring them to UTC."
        )
        raise DimensionError(msg)
    return all(zones)


def undecoded(data: xr.Dataset | xr.DataArray) -> str:
    """Say which coordinate holds times as numbers, and how to decode them; empty where none does.

    Examples
    --------
    >>> undecoded(xr.Dataset(coords={"time": ("time", [0.5, 1.5], {"units": "days since 2001-01-01"})}))
    "'time' holds numbers of type float64 in 'days since 2001-01-01', not times. Decode them: xr.decode_cf(ds)."
    """
    for name, coord in data.coords.items():
        units, kind = str(coord.attrs.get("units", "")), coord.dtype
        marked = " since " in units or coord.attrs.get("standard_name") == "time" or coord.attrs.get("axis") == "T"
        numbers = isinstance(kind, np.dtype) and kind.kind in "iuf"
        if numbers and (marked or str(name).lower() in ("time", "valid_time", "date")):
            what = f"{str(name)!r} holds numbers of type {kind}"
            if " since " in units:
                return f"{what} in {units!r}, not times. Decode them: xr.decode_cf(ds)."
            return (
                f"{what}, not times. Give them units such as 'days since 2001-01-01' and decode them, "
                "xr.decode_cf(ds), or assign pandas datetimes."
            )
    return ""


def on_time_axis(ds: xr.Dataset) -> xr.Dataset:
    """Dataset whose time, where it lies along a dimension of another name, is that dimension: forecasts by valid time.

    Of a valid time by reference time and lead, the dimension that has one value is taken out.

    Examples
    --------
    >>> import pandas as pd, xarray as xr
    >>> days = pd.date_range("2001-01-01", periods=2)
    >>> valid = ("time", days + pd.Timedelta("1D"), {"standard_name": "time"})
    >>> forecast = xr.Dataset(coords={"time": days, "valid_time": valid})
    >>> list(on_time_axis(forecast).dims)
    ['valid_time']
    """
    name = coordinate(ds, "time")
    if name is None or name in ds.dims:
        return ds
    single = [d for d in ds[name].dims if ds.sizes[d] == 1][: max(ds[name].ndim - 1, 0)]
    ds = ds.isel(dict.fromkeys(single, 0)) if single else ds
    if ds[name].ndim != 1:
        return ds
    return ds.swap_dims({ds[name].dims[0]: name})


def time_labels(time: xr.DataArray) -> npt.NDArray[np.int64]:
    """Whole hours since 1970-01-01, which key the noise of a frame whatever chunk it is in.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> time_labels(xr.DataArray(np.array(["1970-01-02"], "datetime64[ns]"), dims="time"))
    array([24])
    """
    return np.rint(hours(time)).astype(np.int64)


def year_fraction(time: xr.DataArray) -> FloatArray:
    """Position in the year, in [0, 1): ``(day of year - 1 + hour / 24) / 365.25``, shape (time,).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> year_fraction(xr.DataArray(np.array(["2001-01-01T12"], "datetime64[ns]"), dims="time")) * 365.25
    array([0.5])
    """
    hours(time)  # raises where these are no times
    hour = time.dt.hour + time.dt.minute / 60.0
    return in_the_year(np.asarray(time.dt.dayofyear - 1 + hour / 24.0, float))


def time_step(time: xr.DataArray) -> float | None:
    """Hours between frames; None where they are not evenly spaced."""
    if time.ndim != 1 or time.size < 2:
        return None
    steps = np.diff(hours(time))
    # Times that were kept as floats are rounded; a thousandth of a step is what `check_time` allows.
    typical = float(np.median(steps))
    return typical if np.allclose(steps, typical, rtol=1e-3, atol=1e-6) else None


def frame_numbers(time: xr.DataArray, spec: Spec) -> FloatArray:
    """Count times in frames of a model, so that frames that follow each other are one apart, shape (time,).

    Months are counted by the calendar, whatever their lengths.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xslams.spec import FramePeriod, Spec
    >>> months = xr.DataArray(np.array(["2001-01", "2001-02", "2001-03"], "datetime64[ns]"), dims="time")
    >>> np.diff(frame_numbers(months, Spec((), (), (), periodic=False, frame=FramePeriod(months=1))))
    array([1., 1.])
    """
    at = hours(time)
    if spec.frame is None or not spec.frame.months:
        return at / spec.time_step
    return np.asarray(time.dt.year.values * 12.0 + time.dt.month.values, float) / spec.frame.months


def check_order(time: xr.DataArray) -> None:
    """Raise unless times are one-dimensional and strictly ascending."""
    values = hours(time)
    if time.ndim != 1:
        each = " or ".join(f"ds.isel({{{str(d)!r}: 0}})" for d in time.dims)
        msg = f"Time {time.name!r} has dimensions {time.dims}; expected one. " + (
            f"Select along all but one of them, such as one reference time or one lead: {each}."
            if time.ndim
            else "Use ds.expand_dims('time') for a single frame."
        )
        raise DimensionError(msg)
    unique, counts = np.unique(values, return_counts=True)
    if (counts > 1).any():
        first = time.values[np.flatnonzero(values == unique[counts > 1][0])[0]]
        msg = (
            f"{int((counts > 1).sum())} times occur more than once, the first is {stamp(first)}; "
            "each frame needs a time of its own. "
            f"Drop the repetitions: ds.drop_duplicates({time.name!r})."
        )
        raise DimensionError(msg)
    if (np.diff(values) < 0).any():
        msg = f"The times are not in order; they must ascend. Sort them: ds.sortby({time.name!r})."
        raise DimensionError(msg)


def calendar_of(time: xr.DataArray) -> str:
    """Name of the calendar of times, one for all that are the same today."""
    hours(time.isel(dict.fromkeys(time.dims, slice(1))))  # raises where these are no times
    name = str(time.dt.calendar)
    return "standard" if name in ("gregorian", "proleptic_gregorian") else name


def hours_in(calendar: str, time: xr.DataArray) -> FloatArray:
    """Hours since 1970 in another calendar of the same dates; NaN for dates that it does not have.

    Parameters
    ----------
    calendar
        Name of a calendar, as `calendar_of` gives it.
    time
        Times, datetime64 or cftime, any shape.

    Returns
    -------
    ndarray
        Hours, in the shape of `time`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> leap = xr.DataArray(np.array(["1972-02-28", "1972-02-29", "1972-03-01"], "datetime64[ns]"), dims="time")
    >>> hours_in("noleap", leap) / 24
    array([788.,  nan, 789.])
    """
    import cftime

    flat = xr.DataArray(time.values.ravel(), dims="time")
    hours(flat)  # raises where some are missing
    year, month, day = (np.asarray(getattr(flat.dt, part)) for part in ("year", "month", "day"))
    dates, inverse = np.unique(np.stack([year, month, day]), axis=1, return_inverse=True)
    midnights = np.full(dates.shape[1], np.nan)
    for i, (y, m, d) in enumerate(dates.T.tolist()):
        try:
            date = cftime.datetime(y, m, d, calendar=calendar)
        except ValueError:
            continue
        midnights[i] = cftime.date2num(date, "hours since 1970-01-01", calendar=calendar)
    clock = flat.dt.hour.values + flat.dt.minute.values / 60.0 + flat.dt.second.values / 3600.0
    return np.asarray(midnights[inverse.ravel()] + clock, float).reshape(time.shape)


def _without_missing(time: xr.DataArray) -> str:
    """How to drop frames whose times are missing; `dropna` looks at values and leaves them."""
    if time.ndim != 1:
        return "Fill them, or select data without them."
    return f"Drop them: ds.isel({{{str(time.dims[0])!r}: ds[{str(time.name)!r}].notnull().values}})."


def stamp(value: Any) -> str:
    """Date and minute of a time, for a message."""
    return str(value)[:16]

"""Errors and biases of observations: a number, one per variable, or one per element, spread over the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.arguments import is_number, require, shown
from xslams.errors import ObservationError, ObservationOptionError
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.units import unit_factors
from xslams.observations.place_values import PlaceValues
from xslams.typing import FloatArray

__all__ = ["Error", "check_stated", "require_representable", "spread_over", "standard_error"]

Error = float | str | xr.DataArray | PlaceValues | Mapping[str, float | xr.DataArray | PlaceValues] | xr.Dataset
"""What ``error=`` accepts; the only text is ``"auto"``."""

# Parts of the date that an error may depend on, as in ``ds.groupby("time.month")``.
_DATE_PARTS = ("year", "month", "season", "day", "dayofyear", "dayofweek", "hour")
# Largest standard deviation in units of the model; single precision holds its square with some room.
_LARGEST = 1e18


def check_stated(value: object, what: str, *, signed: bool = False, positive: bool = False) -> None:
    """Raise unless a value may be an error or a bias, before it meets any data.

    Parameters
    ----------
    value
        Number, DataArray, or a mapping of names to either; or None. The values of arrays are checked with the data.
    what
        Name of the argument, for messages.
    signed
        Whether it may be negative.
    positive
        Whether it may not be zero.

    Raises
    ------
    ObservationOptionError
        If it is something else, or a number that is out of range.

    Examples
    --------
    >>> check_stated({"t": 1.0, "pr": -1.0}, "error")
    Traceback (most recent call last):
    xslams.errors.ObservationOptionError: error of 'pr'=-1.0 is negative; expected a number, ...
    """
    if value is None or isinstance(value, xr.Dataset | xr.DataArray | PlaceValues):
        return
    if isinstance(value, Mapping):
        for name, part in value.items():
            require(part is not None, f"{what} of {shown(name)}", part, "a number", ObservationOptionError)
            require(not isinstance(part, Mapping), f"{what} of {shown(name)}", part, "a number", ObservationOptionError)
            check_stated(part, f"{what} of {shown(name)}", signed=signed, positive=positive)
        return
    if what == "error" and isinstance(value, str) and value == "auto":
        return
    number = is_number(value)
    below = number and not signed and float(value) < 0  # type: ignore[arg-type]  # a number, as was found just before
    zero = number and positive and float(value) == 0  # type: ignore[arg-type]
    if not number or below or zero:
        least = "above zero" if positive else "zero or more"
        kind = "a number" if signed else f"a number, the standard deviation, {least}"
        got = f"{what}={shown(value)}{' is negative' if below else ''}"
        msg = f"{got}; expected {kind}; or a DataArray or mapping of them."
        raise ObservationOptionError(msg)


def require_representable(error: FloatArray, source: str, what: str) -> None:
    """Raise where the square of an error is too large for single precision, in which networks compute.

    Parameters
    ----------
    error
        Standard deviations, any shape, in the units of the model.
    source, what
        Name of the source and of the argument, for messages.

    Raises
    ------
    ObservationOptionError
        If there is one.

    Examples
    --------
    >>> require_representable(np.array([1.0, 1e30]), "gauges", "error")
    Traceback (most recent call last):
    xslams.errors.ObservationOptionError: Source 'gauges': error= is up to 1e+30 in units of the model; expected at ...
    """
    largest = float(np.max(error, initial=0.0, where=~np.isnan(error)))
    if largest > _LARGEST:
        msg = (
            f"Source {source!r}: {what}= is up to {largest:.3g} in units of the model; expected at most {_LARGEST:g}. "
            "Set the error of values that are not to be used to NaN, and check fill values of errors."
        )
        raise ObservationOptionError(msg)


def standard_error(
    error: Error | None, da: xr.DataArray, names: tuple[str, ...], source: str
) -> npt.NDArray[np.float64]:
    """Spread standard errors over the data, in the units of the data; NaN where unknown.

    Parameters
    ----------
    error
        Number, DataArray, or mapping of the variable's name to either.
    da
        Data that the error belongs to.
    names
        Names under which a mapping may hold the error: that of the data, then that of the model.
    source
        Name of the source, for messages.

    Returns
    -------
    ndarray
        Errors, zero or greater, with the shape of `da`.

    Raises
    ------
    ObservationError
        If the error is missing, negative, or does not fit the data.
    """
    if error is None or (isinstance(error, Mapping | xr.Dataset) and not any(n in error for n in names)):
        units = da.attrs.get("units", "unknown units")
        missing = (
            f"error= names {listed(error)}, but not {names[0]!r}"
            if error is not None
            else f"the error of {names[0]!r} is missing; the likelihood needs it"
        )
        how = f"error={{{names[0]!r}: ...}}" if error is not None else "xslams.Observation(data, error=...)"
        msg = (
            f"Source {source!r}: {missing}. Give its standard deviation in {units}, as a number, a mapping per "
            f"variable or a DataArray: {how}. Data may also name it in ancillary_variables, with standard_name "
            "'... standard_error'."
        )
        raise ObservationError(msg)
    return spread_over(error, da, names, source, "error")


def spread_over(
    value: Error, da: xr.DataArray, names: tuple[str, ...], source: str, what: str, *, signed: bool = False
) -> npt.NDArray[np.float64]:
    """Spread a quantity over the data, in the units of the data; NaN where unknown.

    Parameters
    ----------
    value
        Number, DataArray, or mapping of the variable's name to either; zero for variables that a mapping lacks.
    da
        Data that it belongs to.
    names
        Names under which a mapping may hold it: that of the data, then that of the model.
    source, what
        Name of the source and of the argument, for messages.
    signed
        Whether it may be negative.

    Returns
    -------
    ndarray
        Values with the shape of `da`.

    Raises
    ------
    ObservationError
        If it is negative, or does not fit the data.
    """
    units = da.attrs.get("units", "unknown units")
    if isinstance(value, xr.Dataset):
        value = {str(k): v for k, v in value.data_vars.items()}
    if isinstance(value, Mapping):
        value = next((value[n] for n in names if n in value), 0.0)
    if isinstance(value, PlaceValues):
        value = value.over(da)
    if isinstance(value, xr.DataArray):
        values = _spread(value, da, source, what)
    else:
        try:
            values = np.full(da.shape, float(value))
        except (TypeError, ValueError) as e:
            msg = (
                f"Source {source!r}: {what}= of {names[0]!r} is {value!r}; expected a number, "
                "a DataArray or a mapping of them."
            )
            raise ObservationError(msg) from e
        if not np.isfinite(values).all():
            msg = (
                f"Source {source!r}: {what}= of {names[0]!r} is {value!r}; expected a "
                f"{'number' if signed else 'standard deviation'} in {units}{'' if signed else ', zero or more'}."
            )
            raise ObservationError(msg)
    if not signed and (values < 0).any():
        msg = (
            f"Source {source!r}: {what}= of {names[0]!r} is negative at {int((values < 0).sum())} elements; "
            "it is a standard deviation."
        )
        raise ObservationOptionError(msg)
    return values


def _spread(error: xr.DataArray, da: xr.DataArray, source: str, what: str) -> npt.NDArray[np.float64]:
    """Align an array of errors with the data by label, and by month or hour where it has such a dimension."""
    if "units" in error.attrs and "units" in da.attrs:
        # An error is a difference, so that kelvin and degrees Celsius differ by the factor alone.
        error = error * abs(unit_factors(str(error.attrs["units"]), str(da.attrs["units"]))[0])
    time = coordinate(da, "time")
    for part in _DATE_PARTS:
        if part in error.dims and part not in da.dims and time is not None:
            wanted = getattr(da[time].dt, part)
            if part not in error.indexes:
                msg = (
                    f"Source {source!r}: {what}= varies along {part!r} and does not say which {part} is which. "
                    f"Assign the coordinate: .assign_coords({part}=...)."
                )
                raise ObservationError(msg)
            # Reindexing leaves NaN for months without an error, where sel would raise.
            error = error.reindex({part: np.unique(wanted.values)}).sel({part: wanted}).drop_vars(part)
    # An error per station of data that are lists of reports: every report names its station.
    for by in [d for d in error.dims if d not in da.dims and d in error.indexes and d in da.coords and da[d].ndim]:
        error = error.reindex({by: np.unique(da[by].values)}).sel({by: da[by]}).drop_vars([by])
    extra = [d for d in error.dims if d not in da.dims]
    if extra:
        msg = (
            f"Source {source!r}: {what}= has dimension {listed(extra)}, "
            f"which {da.name!r} with dimensions {da.dims} has not. "
            f"Besides those, it may have one of {', '.join(_DATE_PARTS)}."
        )
        raise ObservationError(msg)
    for dim in error.dims:
        if dim not in error.indexes or dim not in da.indexes:
            if error.sizes[dim] != da.sizes[dim]:
                msg = (
                    f"Source {source!r}: {what}= has size {error.sizes[dim]} along {str(dim)!r}, "
                    f"the data {da.sizes[dim]}; they must agree."
                )
                raise ObservationError(msg)
        elif not error.indexes[dim].equals(da.indexes[dim]):
            error = error.reindex({dim: da[dim]})
    values = error.reset_coords(drop=True).broadcast_like(da.reset_coords(drop=True)).transpose(*da.dims)
    return np.asarray(values.values, float)

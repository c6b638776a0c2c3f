"""Standard errors of observations: a number, one per variable, or one per element, spread over the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.coordinates import coordinate, listed
from xslams.errors import ObservationError
from xslams.units import unit_factors

__all__ = ["Error", "standard_error"]

Error = float | xr.DataArray | Mapping[str, float | xr.DataArray] | xr.Dataset
"""What ``error=`` accepts."""

# Parts of the date that an error may depend on, as in ``ds.groupby("time.month")``.
_DATE_PARTS = ("year", "month", "season", "day", "dayofyear", "dayofweek", "hour")


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
    units = da.attrs.get("units", "unknown units")
    if isinstance(error, xr.Dataset):
        error = {str(k): v for k, v in error.data_vars.items()}
    if isinstance(error, Mapping):
        found = [n for n in names if n in error]
        if not found:
            msg = (
                f"Source {source!r}: error= names {listed(error)}, but not {names[0]!r}. "
                f"Add its standard error in {units}: error={{{names[0]!r}: ...}}."
            )
            raise ObservationError(msg)
        error = error[found[0]]
    if error is None:
        msg = (
            f"Source {source!r}: the error of {names[0]!r} is missing; the likelihood needs it. "
            "Give its standard deviation in "
            f"{units}, as a number, a mapping per variable or a DataArray: xslams.Observation(data, error=...)."
        )
        raise ObservationError(msg)
    if isinstance(error, xr.DataArray):
        values = _spread(error, da, source)
    else:
        try:
            values = np.full(da.shape, float(error))
        except (TypeError, ValueError) as e:
            msg = (
                f"Source {source!r}: error= of {names[0]!r} is {error!r}; expected a number, "
                "a DataArray or a mapping of them."
            )
            raise ObservationError(msg) from e
        if not np.isfinite(values).all():
            msg = (
                f"Source {source!r}: error= of {names[0]!r} is {error!r}; expected a standard deviation in {units}, "
                "zero or more."
            )
            raise ObservationError(msg)
    if (values < 0).any():
        msg = (
            f"Source {source!r}: error= of {names[0]!r} is negative at {int((values < 0).sum())} elements; "
            "it is a standard deviation."
        )
        raise ObservationError(msg)
    return values


def _spread(error: xr.DataArray, da: xr.DataArray, source: str) -> npt.NDArray[np.float64]:
    """Align an array of errors with the data by label, and by month or hour where it has such a dimension."""
    if "units" in error.attrs and "units" in da.attrs:
        # An error is a difference, so that kelvin and degrees Celsius differ by the factor alone.
        error = error * abs(unit_factors(str(error.attrs["units"]), str(da.attrs["units"]))[0])
    time = coordinate(da, "time")
    for part in _DATE_PARTS:
        if part in error.dims and part not in da.dims and time is not None:
            wanted = getattr(da[time].dt, part)
            # Reindexing leaves NaN for months without an error, where sel would raise.
            error = error.reindex({part: np.unique(wanted.values)}).sel({part: wanted}).drop_vars(part)
    extra = [d for d in error.dims if d not in da.dims]
    if extra:
        msg = (
            f"Source {source!r}: error= has dimension {listed(extra)}, "
            f"which {da.name!r} with dimensions {da.dims} has not. "
            f"Besides those, an error may have one of {', '.join(_DATE_PARTS)}."
        )
        raise ObservationError(msg)
    for dim in error.dims:
        if dim not in error.indexes or dim not in da.indexes:
            if error.sizes[dim] != da.sizes[dim]:
                msg = (
                    f"Source {source!r}: error= has size {error.sizes[dim]} along {str(dim)!r}, "
                    f"the data {da.sizes[dim]}; they must agree."
                )
                raise ObservationError(msg)
        elif not error.indexes[dim].equals(da.indexes[dim]):
            error = error.reindex({dim: da[dim]})
    values = error.reset_coords(drop=True).broadcast_like(da.reset_coords(drop=True)).transpose(*da.dims)
    return np.asarray(values.values, float)

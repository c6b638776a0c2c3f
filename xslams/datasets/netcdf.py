"""Gridded fields in netCDF files: the check of a fetched file, and opening with clean metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xslams.addresses import cleaned
from xslams.datasets.arguments import days_in
from xslams.errors import DatasetError, UnitError
from xslams.labels.units import unit_factors

__all__ = ["Chunks", "Field", "check_file", "check_year", "clean", "join", "open_file"]

Chunks = Mapping[str, Any] | str | int
"""Chunks of dask, as `xarray.open_dataset` takes them."""

_HDF, _CLASSIC = b"\x89HDF\r\n\x1a\n", (b"CDF\x01", b"CDF\x02")
_COORDINATES: dict[str, dict[str, str]] = {
    "time": {"standard_name": "time", "axis": "T"},
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
    "level": {"standard_name": "air_pressure", "units": "hPa", "axis": "Z", "positive": "down"},
}


#: Encoding of times and their bounds, which must have the same units when they are written to a file.
_TIME = {"units": "hours since 1970-01-01", "calendar": "standard"}


@dataclass(frozen=True)
class Field:
    """A variable of a file and its metadata.

    Attributes
    ----------
    name
        Name in the file and in the returned Dataset.
    standard_name, units, long_name
        CF metadata.
    valid
        Smallest and largest possible value; values outside become missing.
    attrs
        Further metadata.
    total
        Units in the file if it holds totals over the period; the same numbers are mean rates in `units`.
    """

    name: str
    standard_name: str
    units: str
    long_name: str
    valid: tuple[float, float]
    attrs: Mapping[str, str] = field(default_factory=dict)
    total: str | None = None


def open_file(path: Path, chunks: Chunks | None = None) -> xr.Dataset:
    """Open a netCDF-4 or classic netCDF file.

    Parameters
    ----------
    path
        Path of the file.
    chunks
        Chunks of dask; None for lazily indexed arrays without dask.

    Returns
    -------
    Dataset
        Decoded.

    Raises
    ------
    DatasetError
        If it is another kind of file, or damaged.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(_HDF):
        engine = "h5netcdf"
    elif start.startswith(_CLASSIC):
        engine = "scipy"
    else:
        msg = f"it is not a netCDF file; it begins with {start[:32]!r}."
        raise DatasetError(msg)
    try:
        return xr.open_dataset(path, engine=engine, chunks=chunks)
    except Exception as e:  # h5py, scipy and xarray raise many kinds for a truncated or unknown file
        msg = f"it cannot be opened as netCDF ({type(e).__name__}: {e})."
        raise DatasetError(msg) from cleaned(e)


def check_file(path: Path, what: Field, dims: Sequence[str]) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Check that a file holds a variable in its units on ascending times and a grid, and is readable to its end.

    Parameters
    ----------
    path
        File to check.
    what
        Its variable.
    dims
        Dimensions that it must have, in this order; each needs a coordinate.

    Returns
    -------
    ndarray
        The times.

    Raises
    ------
    DatasetError
        If the file does not.
    """
    name = what.name
    with open_file(path) as ds:
        if name not in ds.data_vars or ds[name].dims != tuple(dims):
            shown = ", ".join(f"{n}({', '.join(map(str, v.dims))})" for n, v in ds.data_vars.items()) or "no variable"
            msg = f"it holds {shown}; expected {name}({', '.join(dims)})."
            raise DatasetError(msg)
        units = str(ds[name].attrs.get("units"))
        try:
            same = unit_factors(units, what.total or what.units) == (1.0, 0.0)
        except UnitError:
            same = False
        if not same:
            msg = f"{name} is in {units!r}; expected {what.total or what.units!r}."
            raise DatasetError(msg)
        for dim in dims:
            values = ds[dim].values if dim in ds.coords else np.zeros(0)
            steps = np.diff(values)
            zero = np.zeros((), steps.dtype)
            if not len(values) or not ((steps > zero).all() or (dim != "time" and (steps < zero).all())):
                fault = "not in strict order" if len(values) else "missing or empty"
                msg = f"its coordinate {dim!r} is {fault}."
                raise DatasetError(msg)
        times = ds["time"].values
        if not np.issubdtype(times.dtype, np.datetime64):
            msg = f"its times are {times.dtype}; expected dates of the standard calendar."
            raise DatasetError(msg)
        try:
            # The classic format does not record its length: a truncated file opens, and fails only when it is read.
            for index in {0, len(times) - 1}:
                ds[name].isel(time=index).load()
        except Exception as e:  # as above
            msg = f"its values cannot be read ({type(e).__name__}: {e})."
            raise DatasetError(msg) from cleaned(e)
    return np.asarray(times)


def check_year(
    times: np.ndarray[Any, np.dtype[np.datetime64]], year: int, step: int, *, partial: bool
) -> dict[str, Any]:
    """Check that times cover a year.

    Parameters
    ----------
    times
        Ascending times.
    year
        The year.
    step
        Hours between times.
    partial
        Whether the year may still be incomplete.

    Returns
    -------
    dict
        Number of ``times``, for the record.

    Raises
    ------
    DatasetError
        If times are missing or belong to another year.

    Examples
    --------
    >>> check_year(np.arange("2001-01-01", "2002-01-01", dtype="M8[D]"), 2001, 24, partial=False)
    {'times': 365}
    """
    count = days_in(year) * 24 // step
    expected = np.datetime64(f"{year}-01-01", "ns") + np.arange(count) * np.timedelta64(step, "h")
    got = times.astype("datetime64[ns]")
    if len(got) and (partial or len(got) == count) and np.array_equal(got, expected[: len(got)]):
        return {"times": len(got)}
    extent = f"{got[0]!s:.16} to {got[-1]!s:.16}" if len(got) else "none"
    msg = f"it has {len(got)} times ({extent}); expected {count} of {year}, {step} hours apart."
    raise DatasetError(msg)


def clean(ds: xr.Dataset, fields: Sequence[Field], *, mean: bool, step: int) -> xr.Dataset:
    """Select variables, and replace their metadata by those that the package recognises.

    Parameters
    ----------
    ds
        As returned by `open_file`.
    fields
        Variables to keep.
    mean
        Whether a value is the mean over the period that begins at its time; otherwise it is instantaneous.
    step
        Length of that period in hours.

    Returns
    -------
    Dataset
        Single precision, with impossible values missing; means have time bounds.
    """
    out = {}
    for f in fields:
        da = ds[f.name].astype("float32")
        # Fill values that the file does not declare, or declares in another precision, would count as data.
        da = da.where((da >= f.valid[0]) & (da <= f.valid[1]))
        attrs = {"standard_name": f.standard_name, "long_name": f.long_name, "units": f.units, **f.attrs}
        da.attrs = attrs | {"cell_methods": "time: mean" if mean else "time: point"}
        da.encoding = {}
        out[f.name] = da.variable
    dims = {d for v in out.values() for d in v.dims}
    coords = {str(d): ds[d].variable.copy() for d in dims}
    for name, variable in coords.items():
        variable.attrs = dict(_COORDINATES[name])
        variable.encoding = {}
    time = coords["time"].values.astype("datetime64[ns]")
    if mean:
        coords["time"].attrs["bounds"] = "time_bnds"
        ends = np.stack([time, time + np.timedelta64(step, "h")], axis=1)
        coords["time_bnds"] = xr.Variable(("time", "bnds"), ends, encoding=dict(_TIME))
    coords["time"] = xr.Variable("time", time, coords["time"].attrs, dict(_TIME))
    return xr.Dataset(out, coords)


def join(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Concatenate years; the grid must be the same.

    Raises
    ------
    DatasetError
        If the grids differ.
    """
    if len(parts) == 1:
        return parts[0]
    try:
        return xr.concat(
            parts, "time", data_vars="minimal", coords="minimal", compat="override", join="exact",
            combine_attrs="override",
        )  # fmt: skip
    except ValueError as e:
        msg = f"The files of these years are on different grids ({e}). Open them one by one."
        raise DatasetError(msg) from cleaned(e)

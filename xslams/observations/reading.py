"""Data as they come from a file: packed numbers, coordinates that are variables, ragged arrays of reports.

Discrete sampling geometries (CF conventions, chapter 9) come as one dimension of reports and one of the instances
(stations, trajectories) that they belong to. They are brought into the form that everything else understands: every
report with the coordinates of its instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xslams.errors import DimensionError, ObservationError
from xslams.labels.calendar import without_julian_dates, without_zones
from xslams.labels.coordinates import coordinate, is_time
from xslams.labels.valid_values import PACKING, decoded, with_valid_values

__all__ = ["as_dataset", "drop_padding", "read"]


def as_dataset(data: xr.DataArray | xr.Dataset) -> xr.Dataset:
    """Dataset of one variable, where a DataArray is given."""
    if isinstance(data, xr.Dataset):
        return data
    return data.to_dataset(name=data.name if data.name is not None else "observations")


def read(data: xr.DataArray | xr.Dataset, source: str) -> xr.Dataset:
    """Decode what is not, mask what is invalid, find coordinates, and give every report those of its instance.

    Parameters
    ----------
    data
        What was given.
    source
        Name of the source, for messages.

    Returns
    -------
    Dataset
        The same data; lazy where they are.

    Raises
    ------
    ObservationError
        If a ragged array contradicts itself.

    Examples
    --------
    Three reports of two stations, as a contiguous ragged array:

    >>> ds = xr.Dataset(
    ...     {"t": ("obs", [1.0, 2.0, 3.0]), "rowSize": ("station", [2, 1], {"sample_dimension": "obs"})},
    ...     coords={"lat": ("station", [50.0, 60.0])},
    ... )
    >>> read(ds, "stations")["t"]["lat"].values
    array([50., 50., 60.])
    """
    try:
        ds = without_zones(as_dataset(data))
    except DimensionError as e:
        msg = f"Source {source!r}: {e}"
        raise DimensionError(msg) from e
    if any(_is_raw(v) for v in ds.variables.values()):
        ds = decoded(ds)
    # Coordinates among the variables are no measurements.
    return _expand(with_valid_values(without_julian_dates(_promote(ds))), source)


def _is_raw(variable: xr.Variable) -> bool:
    """Whether a variable still carries the attributes that decoding takes away."""
    packed = any(name in variable.attrs for name in PACKING)
    return packed or (variable.dtype.kind in "iuf" and " since " in str(variable.attrs.get("units", "")))


def _promote(ds: xr.Dataset) -> xr.Dataset:
    """Make coordinates of variables that are latitude, longitude, time or height, or that a variable names as such."""
    named: set[str] = set()
    for da in ds.data_vars.values():
        named |= set(str(da.attrs.get("coordinates", da.encoding.get("coordinates", ""))).split())
    chosen = [str(n) for n in ds.data_vars if n in named]
    everything = ds.set_coords(list(ds.data_vars))
    for kind in ("time", "lat", "lon"):
        if coordinate(ds.set_coords(chosen), kind) is None and (found := coordinate(everything, kind)) is not None:
            chosen.append(found)
    # Pressure may be what is observed, and fluxes have a direction; what is an axis is a coordinate.
    chosen += [str(n) for n, da in ds.data_vars.items() if n not in chosen and da.attrs.get("axis") == "Z"]
    return ds.set_coords(chosen) if chosen else ds


def _expand(ds: xr.Dataset, source: str) -> xr.Dataset:
    """Give every report of a ragged array the coordinates of its instance."""
    for name, variable in list(ds.variables.items()):
        attrs: Mapping[Any, Any] = variable.attrs
        if "sample_dimension" in attrs and variable.ndim == 1:
            instance, sample = str(variable.dims[0]), str(attrs["sample_dimension"])
            counts = np.asarray(variable.values).astype(np.intp)
            if sample not in ds.dims or counts.sum() != ds.sizes[sample]:
                msg = (
                    f"Source {source!r}: {name!r} counts {int(counts.sum())} reports along {sample!r}, which has "
                    f"{ds.sizes.get(sample, 'no size')}. The file is incomplete, or was cut along one dimension only; "
                    "select reports and counts alike."
                )
                raise ObservationError(msg)
            index = np.repeat(np.arange(counts.size), counts)
        elif "instance_dimension" in attrs and variable.ndim == 1:
            instance, sample = str(attrs["instance_dimension"]), str(variable.dims[0])
            index = np.asarray(variable.values).astype(np.intp)
            size = ds.sizes.get(instance, 0)
            if index.size and not 0 <= index.min() <= index.max() < size:
                msg = (
                    f"Source {source!r}: {name!r} holds instances {index.min()} to {index.max()}, but {instance!r} has "
                    f"{size}. They count from zero; was the file cut along {instance!r}?"
                )
                raise ObservationError(msg)
        else:
            continue
        belongs = {n: v for n, v in ds.coords.items() if v.dims == (instance,)}
        taken = {n: (sample, v.values[index], v.attrs) for n, v in belongs.items()}
        ds = ds.drop_dims(instance).drop_vars([name], errors="ignore").assign_coords(taken)
    return ds


def drop_padding(ds: xr.Dataset, name: str) -> tuple[xr.Dataset, int]:
    """Flatten reports whose times are partly missing, and drop those.

    An incomplete multidimensional array pads short series with missing times. Missing times along a dimension that is
    time itself are left, and are an error elsewhere.

    Returns
    -------
    tuple
        Dataset with one dimension of reports, and how many were dropped; the same Dataset where no time is missing.

    Examples
    --------
    >>> time = np.array([["2001-01-01", "2001-01-02"], ["2001-01-01", "NaT"]], "datetime64[ns]")
    >>> ds = xr.Dataset({"t": (("station", "obs"), [[1.0, 2.0], [3.0, np.nan]])},
    ...                 coords={"time": (("station", "obs"), time), "lat": ("station", [50.0, 60.0])})
    >>> ds, dropped = drop_padding(ds, "t")
    >>> ds["t"].values, ds["lat"].values, dropped
    (array([1., 2., 3.]), array([50., 50., 60.]), 1)
    """
    at = coordinate(ds[name], "time")
    if at is None or ds[at].dims == (at,) or not is_time(ds[at]):
        return ds, 0
    missing = ds[at].isnull().values
    if not missing.any() or missing.all():
        return ds, 0
    dims = ds[at].dims
    related = [n for n, v in ds.variables.items() if n == name or set(v.dims) <= set(ds[name].dims)]
    ds = ds[[n for n in related if n in ds.data_vars]].assign_coords({n: ds[n] for n in related if n in ds.coords})
    dim = "report" if len(dims) > 1 else str(dims[0])
    if len(dims) > 1:
        ds = ds.stack({dim: dims}, create_index=False)
    return ds.isel({dim: np.flatnonzero(~missing.ravel())}), int(missing.sum())

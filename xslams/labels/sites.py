"""From the coordinates of xarray to sites on the flat axes of a small system."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr

from xslams.errors import DimensionError, GridError
from xslams.geometry import Axis, Lattice, Sites
from xslams.labels.bounds import edges_1d
from xslams.labels.coordinates import listed
from xslams.typing import FloatArray

__all__ = ["on_lattice"]

_Data = xr.Dataset | xr.DataArray


def on_lattice(obj: _Data, holder: _Data, lattice: Lattice) -> Lattice | Sites:
    """Where data lie on the axes of a lattice.

    Parameters
    ----------
    obj
        Dataset or DataArray with a coordinate for each axis, of the name of the axis.
    holder
        Dataset that holds the bounds.
    lattice
        Lattice of the model, which says which of the axes are periodic.

    Returns
    -------
    Lattice or Sites
        A lattice where each coordinate is that of a dimension, otherwise sites.

    Raises
    ------
    DimensionError
        If there is no coordinate for an axis.
    GridError
        If the coordinates of a lattice are not monotonic.

    Examples
    --------
    >>> model = Lattice((Axis("lon", np.arange(40) * 9.0, period=360.0),))
    >>> print(on_lattice(xr.Dataset(coords={"lon": [0.0, 90.0]}), xr.Dataset(), model))
    2 (lon 0 to 90)
    >>> print(on_lattice(xr.Dataset(coords={"lon": ("buoy", [93.0, 7.0, 93.0])}), xr.Dataset(), model))
    3 sites on the axes lon
    """
    missing = [name for name in lattice.coordinates if name not in obj.coords]
    if missing:
        msg = (
            f"Found no coordinate {listed(missing)} among {listed(obj.coords)}; the model has {lattice}. "
            f"Assign it: .assign_coords({missing[0]}=...)."
        )
        raise DimensionError(msg)
    coords = [obj[name] for name in lattice.coordinates]
    if all(coord.dims == (coord.name,) for coord in coords):
        return Lattice(tuple(_axis(holder, c, axis) for c, axis in zip(coords, lattice.axes, strict=True)))
    together = xr.broadcast(*(coord.reset_coords(drop=True) for coord in coords))
    first = together[0].dims
    values = np.stack([np.asarray(c.transpose(*first).values, float) for c in together])
    return Sites(lattice.coordinates, values, tuple(str(d) for d in first))


def _axis(holder: _Data, coord: xr.DataArray, axis: Axis) -> Axis:
    values = np.asarray(coord.values, float)
    steps = np.diff(values if axis.period is None else np.unwrap(values, period=axis.period))
    if lost := int((~np.isfinite(values)).sum()):
        msg = f"{lost} of {values.size} values of {coord.name!r} are missing or infinite. Correct or drop them."
        raise GridError(msg)
    if not ((steps > 0).all() or (steps < 0).all()):
        name = str(coord.name)
        msg = (
            f"{name!r} neither ascends nor descends strictly. Sort it: ds.sortby({name!r}); drop repetitions: "
            f"ds.drop_duplicates({str(coord.dims[0])!r})."
        )
        raise GridError(msg)
    return dataclasses.replace(axis, values=values, bounds=_sorted(edges_1d(holder, coord)))


def _sorted(bounds: FloatArray | None) -> FloatArray | None:
    return None if bounds is None else np.sort(bounds, axis=1)

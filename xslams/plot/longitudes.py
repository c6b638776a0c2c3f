"""One window of longitudes for all that is drawn, whatever conventions and orders the fields have."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import xarray as xr

from xslams.labels.coordinates import coordinate
from xslams.typing import FloatArray

__all__ = ["in_window", "middle_of", "moved"]

_Values = TypeVar("_Values", FloatArray, float)


def middle_of(lon: FloatArray) -> float:
    """Middle of the smallest window that holds longitudes; the convention stays where the window begins in it.

    Examples
    --------
    >>> import numpy as np
    >>> middle_of(np.array([200.0, 330.0])), middle_of(np.array([-180.0, -170.0, 160.0, 170.0]))
    (265.0, 175.0)
    """
    values = np.unique(lon[np.isfinite(lon)])
    if not values.size:
        return 0.0
    low, high = float(values[0]), float(values[-1])
    gaps = np.diff(values)
    first, second = np.sort(np.append(gaps, [0.0, 0.0]))[:-3:-1]
    # Wider than what is left of the circle, and no mere step of a grid: the window goes round the other way.
    if first > 360.0 - (high - low) and (first > 180.0 or first > 2.0 * second):
        at = int(gaps.argmax())
        low, high = float(values[at + 1]) - 360.0, float(values[at])
        low, high = (low, high) if low + high > 0 else (low + 360.0, high + 360.0)
    return 0.5 * (low + high)


def moved(lon: FloatArray, middle: float) -> FloatArray:
    """Longitudes moved by whole circles to within half a circle of the middle of a window.

    Examples
    --------
    >>> import numpy as np
    >>> moved(np.array([-105.0, 255.0, 10.0]), 265.0)
    array([255., 255., 370.])
    """
    lon = np.asarray(lon, float)
    return np.asarray(lon - 360.0 * np.round((lon - middle) / 360.0))


def in_window(field: xr.DataArray, middle: float) -> xr.DataArray:
    """Field whose longitudes are moved into a window, and its columns with them, each of them once."""
    name = coordinate(field, "lon")
    if name is None:
        return field
    lon = field[name]
    there = moved(lon.values, middle)
    if np.array_equal(there, lon.values) and (lon.ndim != 1 or (np.diff(there) > 0).all()):
        return field
    field = field.assign_coords({name: (lon.dims, there, lon.attrs)})
    if lon.dims != (name,):
        return field
    _, order = np.unique(np.round(there, 9), return_index=True)
    return field.isel({name: order})

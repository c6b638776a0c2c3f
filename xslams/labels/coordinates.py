"""Coordinates of a Dataset: which are time, latitude, longitude and level, and how two axes compare."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.typing import FloatArray

__all__ = ["coordinate", "is_time", "listed", "match_axis"]

_CF_NAMES = {"time": "time", "lat": "latitude", "lon": "longitude", "level": "vertical"}
_CF_AXES = {"time": "T", "lat": "Y", "lon": "X", "level": "Z"}
# Names for data without attributes; cf-xarray guesses too, but takes any "x" or "height" for an axis.
_PLAIN_NAMES = {
    "time": ("time", "valid_time", "date"),
    "lat": ("lat", "latitude", "nav_lat"),
    "lon": ("lon", "longitude", "nav_lon"),
    "level": ("level", "lev", "plev", "sigma", "pressure_level", "isobaricInhPa", "pressure", "height"),
}


def coordinate(obj: xr.Dataset | xr.DataArray, kind: str) -> str | None:
    """Name of a coordinate of one kind, by CF attributes, else by data type or plain name.

    Parameters
    ----------
    obj
        Dataset or DataArray.
    kind
        ``"time"``, ``"lat"``, ``"lon"`` or ``"level"``.

    Returns
    -------
    str or None
        The name; None where there is no such coordinate. A dimension coordinate is preferred.

    Examples
    --------
    >>> import xarray as xr
    >>> coordinate(xr.Dataset(coords={"latitude": [10.0, 20.0]}), "lat")
    'latitude'
    """
    # The tables of cf-xarray, not its accessor, which searches for everything each time and takes twenty times as long.
    from cf_xarray.criteria import coordinate_criteria

    def meets(attrs: Mapping[Any, Any], key: str) -> bool:
        return any(
            isinstance(attrs.get(a), str) and attrs[a] in values
            for a, values in coordinate_criteria.get(key, {}).items()
        )

    attributes = {n: obj.coords.variables[n].attrs for n in obj.coords}
    found: list[Hashable] = [n for n, a in attributes.items() if meets(a, _CF_NAMES[kind])]
    # An axis attribute alone also marks projection coordinates in metres and those of a rotated pole in degrees, which
    # are neither latitudes nor longitudes.
    found += [
        n
        for n, a in attributes.items()
        if n not in found
        and meets(a, _CF_AXES[kind])
        and (kind in ("time", "level") or (str(a.get("units", "")).startswith("degree") and "standard_name" not in a))
    ]
    if kind == "time":
        found += [n for n in obj.coords if n not in found and is_time(obj[n]) and n in obj.dims]
    found += [n for p in _PLAIN_NAMES[kind] for n in obj.coords if str(n).lower() == p.lower() and n not in found]
    if kind == "time":
        found = [n for n in found if is_time(obj[n])]
    found.sort(key=lambda n: n not in obj.dims)
    return str(found[0]) if found else None


def is_time(da: xr.DataArray) -> bool:
    """Whether these are datetime64 or cftime values."""
    return bool(np.issubdtype(da.dtype, np.datetime64)) or (
        da.dtype == object and da.size > 0 and type(da.values.flat[0]).__module__.startswith("cftime")
    )


def listed(names: Iterable[Hashable]) -> str:
    """Names for a message, quoted."""
    return ", ".join(repr(str(n)) for n in names) or "none"


def match_axis(have: FloatArray, want: FloatArray, *, period: float | None = None) -> npt.NDArray[np.intp] | None:
    """Positions in `have` of the values in `want`; None unless `have` holds every one within a hundredth of a step.

    Examples
    --------
    >>> import numpy as np
    >>> match_axis(np.array([-10.0, 0.0, 10.0]), np.array([10.0, 0.0, 350.0]), period=360.0)
    array([2, 1, 0])
    """
    if len(have) == 0 or len(want) == 0:
        return None
    distance = np.abs(np.asarray(want, float)[:, None] - np.asarray(have, float)[None, :])
    if period is not None:
        distance %= period
        distance = np.minimum(distance, period - distance)
    index = distance.argmin(axis=1)
    step = np.median(np.abs(np.diff(want))) if len(want) > 1 else 1.0
    off = distance[np.arange(len(want)), index]
    return index if (off <= 0.01 * step).all() and len(set(index)) == len(index) else None

"""Coordinates of a Dataset: which are time, latitude, longitude and level, and how two axes compare."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.typing import FloatArray

__all__ = ["coordinate", "is_time", "levels_along", "listed", "match_axis", "vertical"]

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

    A standard name comes before any other attribute, and these before names; dimensions break ties only.

    Parameters
    ----------
    obj
        Dataset or DataArray.
    kind
        ``"time"``, ``"lat"``, ``"lon"`` or ``"level"``.

    Returns
    -------
    str or None
        The name; None where there is no such coordinate.

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
    plain = [n for p in _PLAIN_NAMES[kind] for n in obj.coords if str(n).lower() == p.lower()]
    named = [n for n, a in attributes.items() if meets({"standard_name": a.get("standard_name")}, _CF_NAMES[kind])]
    # A standard name that is that of something else outweighs units: rotated latitudes are in degrees too.
    other = [n for n, a in attributes.items() if "standard_name" in a and n not in named]
    described = [n for n, a in attributes.items() if n not in other and meets(a, _CF_NAMES[kind])]
    misnamed = [n for n in other if meets(attributes[n], _CF_NAMES[kind])]
    # An axis attribute alone also marks projection coordinates in metres and those of a rotated pole in degrees, which
    # are neither latitudes nor longitudes.
    axes = [
        n
        for n, a in attributes.items()
        if meets(a, _CF_AXES[kind])
        and (kind in ("time", "level") or (str(a.get("units", "")).startswith("degree") and "standard_name" not in a))
    ]
    if kind == "time":
        dated = [n for n in obj.coords if is_time(obj[n])]
        on_axis = [n for n in dated if n in obj.dims]
        reference = [n for n in other if attributes[n]["standard_name"] == "forecast_reference_time"]
        found = [described, *([n for n in group if n not in reference] for group in (axes, on_axis, plain)), reference]
        found = [[n for n in group if n in dated] for group in (named, *found)]
    elif kind == "level":
        # A scalar height of two metres has a standard name; levels without one are those of the axis.
        hybrid = [n for n in other if meets({"standard_name": attributes[n]["standard_name"]}, _CF_AXES[kind])]
        found = [[*named, *hybrid, *described, *axes, *plain, *misnamed]]
    else:
        # Latitudes of a curvilinear grid may have no attributes, and its axes may be bare degrees.
        found = [named, described, plain, misnamed, axes]
    # The dimension breaks ties between those that are equally well described, in the order of the coordinates.
    best: list[Hashable] = next((group for group in found if group), [])
    return str(min(best, key=lambda n: n not in obj.dims)) if best else None


def levels_along(da: xr.Dataset | xr.DataArray, dim: Hashable) -> list[str]:
    """Names of the vertical coordinates along a dimension, the best described first.

    Examples
    --------
    >>> pressure = ("lev", [850.0, 500.0], {"standard_name": "air_pressure", "units": "hPa"})
    >>> levels_along(xr.DataArray([1.0, 2.0], {"lev": [1, 2], "p": pressure}, "lev"), "lev")
    ['p', 'lev']
    """
    # As coordinates of their own: a dimension is no evidence among those that share it.
    along = {n: c for n, c in da.coords.items() if c.dims == (dim,)}
    left = xr.Dataset(coords={n: xr.Variable(f"along {n}", c.values, c.attrs) for n, c in along.items()})
    found: list[str] = []
    while (name := coordinate(left, "level")) is not None:
        found.append(name)
        left = left.drop_vars(name)
    return found


def vertical(obj: xr.Dataset | xr.DataArray) -> tuple[Hashable, str] | None:
    """Dimension of the levels, and name of the coordinate that says best where they are; None where there is none.

    Examples
    --------
    >>> pressure = ("lev", [850.0, 500.0], {"standard_name": "air_pressure", "units": "hPa"})
    >>> vertical(xr.DataArray([1.0, 2.0], {"lev": ("lev", [1, 2], {"axis": "Z"}), "p": pressure}, "lev"))
    ('lev', 'p')
    """
    name = coordinate(obj, "level")
    if name is None or obj[name].ndim != 1:
        return None
    (dim,) = obj[name].dims
    return dim, next(iter(levels_along(obj, dim)), name)


def is_time(da: xr.DataArray) -> bool:
    """Whether these are datetime64 or cftime values."""
    kind: object = da.dtype
    if not isinstance(kind, np.dtype):  # pandas types: zones and periods
        return False
    if da.dtype != object:
        return bool(np.issubdtype(da.dtype, np.datetime64))
    some = next((v for v in da.values.flat if v is not None and v == v), None)  # NaN is not itself
    return type(some).__module__.startswith("cftime")


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

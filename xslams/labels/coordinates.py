"""Coordinates of a Dataset: which are time, latitude, longitude and level, and how two axes compare."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import DimensionError, GridError
from xslams.spec import Spec
from xslams.typing import FloatArray

__all__ = [
    "Grid",
    "check_degrees",
    "check_order",
    "coordinate",
    "grid_of",
    "hours",
    "is_periodic",
    "is_time",
    "listed",
    "match_axis",
    "stamp",
    "time_labels",
    "time_step",
    "year_fraction",
]

_EPOCH = np.datetime64("1970-01-01T00:00:00", "s")
_CF_NAMES = {"time": "time", "lat": "latitude", "lon": "longitude", "level": "vertical"}
_CF_AXES = {"time": "T", "lat": "Y", "lon": "X", "level": "Z"}
# Names for data without attributes; cf-xarray guesses too, but takes any "x" or "height" for an axis.
_PLAIN_NAMES = {
    "time": ("time", "valid_time", "date"),
    "lat": ("lat", "latitude", "nav_lat"),
    "lon": ("lon", "longitude", "nav_lon"),
    "level": ("level", "lev", "plev", "sigma", "pressure_level", "isobaricInhPa", "pressure", "height"),
}


@dataclass(frozen=True)
class Grid:
    """A rectilinear grid, in the order of its data.

    Attributes
    ----------
    lat, lon
        Cell centres in degrees, shapes (lat,) and (lon,); any order, any longitude convention.
    lat_dim, lon_dim
        Names of the dimensions.
    periodic
        Whether the longitudes close the circle.
    lat_bounds, lon_bounds
        Edges of the cells in degrees, shapes (lat, 2) and (lon, 2); None where they follow from the centres.
    """

    lat: FloatArray
    lon: FloatArray
    lat_dim: str = "lat"
    lon_dim: str = "lon"
    periodic: bool = False
    lat_bounds: FloatArray | None = None
    lon_bounds: FloatArray | None = None

    @classmethod
    def of_spec(cls, spec: Spec) -> Grid:
        """Grid of a model."""
        return cls(np.asarray(spec.lat, float), np.asarray(spec.lon, float), periodic=spec.periodic)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (lat, lon)."""
        return len(self.lat), len(self.lon)

    @property
    def dims(self) -> tuple[str, str]:
        """Names of the dimensions."""
        return self.lat_dim, self.lon_dim

    def __str__(self) -> str:
        nlat, nlon = self.shape
        around = ", periodic" if self.periodic else ""
        return f"{nlat} x {nlon} (lat {_range(self.lat)}, lon {_range(self.lon)}{around})"


def _range(values: FloatArray) -> str:
    return f"{values[0]:g} to {values[-1]:g}" if len(values) else "empty"


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


def is_periodic(lon: FloatArray) -> bool:
    """Whether evenly spaced longitudes close the circle.

    Examples
    --------
    >>> import numpy as np
    >>> is_periodic(np.arange(0, 360, 2.5)), is_periodic(np.arange(200, 332.5, 2.5))
    (True, False)
    """
    lon = np.asarray(lon, float)
    if len(lon) < 3:
        return False
    step = np.abs(np.diff(np.unwrap(lon, period=360.0)))
    return bool(abs(step.sum() + np.median(step) - 360.0) < 0.5 * np.median(step))


def grid_of(obj: xr.Dataset | xr.DataArray) -> Grid:
    """Rectilinear grid of a Dataset or DataArray.

    Parameters
    ----------
    obj
        Dataset or DataArray with 1-D latitude and longitude coordinates.

    Returns
    -------
    Grid
        Its grid.

    Raises
    ------
    DimensionError
        If there is no latitude or longitude.
    GridError
        If these are not two 1-D coordinates on dimensions of their own, or are not numbers within range.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> print(grid_of(xr.Dataset(coords={"lat": [10.0, 0.0], "lon": np.arange(0, 360, 90)})))
    2 x 4 (lat 10 to 0, lon 0 to 270, periodic)
    """
    names = [coordinate(obj, kind) for kind in ("lat", "lon")]
    if names[0] is None or names[1] is None:
        missing = " and ".join(w for w, n in zip(("latitude", "longitude"), names, strict=True) if n is None)
        msg = (
            f"Found no {missing} coordinate among {listed(obj.coords)}; "
            "a grid with 1-D latitudes and longitudes is needed. "
            "Name them 'lat' and 'lon', or give them standard_name or units attributes (units='degrees_north')."
        )
        raise DimensionError(msg)
    lat, lon = obj[names[0]], obj[names[1]]
    if lat.ndim != 1 or lon.ndim != 1 or lat.dims == lon.dims:
        msg = (
            f"Latitude has dimensions {lat.dims} and longitude {lon.dims}; "
            "a grid needs each to be 1-D on its own dimension. "
            "Points and curvilinear grids can be observed (pass them in obs=) and regridded (ds.slams.regrid), but not "
            "be a state."
        )
        raise GridError(msg)
    check_degrees(lat, lon)
    lats, lons = np.asarray(lat.values, float), np.asarray(lon.values, float)
    for what, values in (("latitudes", lats), ("longitudes", lons)):
        steps = np.diff(np.unwrap(values, period=360.0) if what == "longitudes" else values)
        if not np.isfinite(values).all() or not (len(values) < 2 or (steps > 0).all() or (steps < 0).all()):
            msg = f"The {what} are not strictly monotonic and finite ({_range(values)}). Sort them: ds.sortby(...)."
            raise GridError(msg)
    if np.abs(lats).max(initial=0.0) > 90.0 + 1e-6:
        msg = (
            f"Latitudes run {_range(lats)}; expected values from -90 to 90. "
            "Are the coordinates named the right way round?"
        )
        raise GridError(msg)
    return Grid(lats, lons, str(lat.dims[0]), str(lon.dims[0]), is_periodic(lons))


def check_degrees(*coordinates: xr.DataArray) -> None:
    """Raise where latitudes or longitudes are in radians, as those of icosahedral grids often are."""
    for coord in coordinates:
        units = str(coord.attrs.get("units", ""))
        if units.startswith("rad"):
            msg = (
                f"{coord.name!r} is in {units!r}; expected degrees. Convert it: "
                f"ds.assign_coords({coord.name}=numpy.rad2deg(ds[{coord.name!r}]).assign_attrs(units='degrees'))."
            )
            raise GridError(msg)


def listed(names: Iterable[Hashable]) -> str:
    """Names for a message, quoted."""
    return ", ".join(repr(str(n)) for n in names) or "none"


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
            msg = (
                f"{time.name!r} holds {int(np.isnat(values).sum())} missing times (NaT). Drop them: ds.dropna('time')."
            )
            raise DimensionError(msg)
        # Through the data's own resolution: a coarse unit would round, and a fine one could overflow.
        seconds = (values - _EPOCH.astype(values.dtype)) / np.timedelta64(1, "s")
        return np.asarray(seconds / 3600.0, float)
    import cftime  # type: ignore[import-untyped]

    calendar = values.flat[0].calendar
    return np.asarray(cftime.date2num(values, "hours since 1970-01-01", calendar=calendar), float)


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
    # Day 366 plus hours passes 365.25; the last quarter day of a leap year is the first of the next.
    return np.asarray(((time.dt.dayofyear - 1 + hour / 24.0) / 365.25) % 1.0, float)


def time_step(time: xr.DataArray) -> float | None:
    """Hours between frames; None where they are not evenly spaced."""
    if time.ndim != 1 or time.size < 2:
        return None
    steps = np.diff(hours(time))
    return float(steps[0]) if np.allclose(steps, steps[0], atol=1e-6) else None


def match_axis(have: FloatArray, want: FloatArray, *, period: float | None = None) -> npt.NDArray[np.intp] | None:
    """Positions in `have` of the values in `want`; None unless every one is there within a hundredth of a step.

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


def check_order(time: xr.DataArray) -> None:
    """Raise unless times are one-dimensional and strictly ascending."""
    values = hours(time)
    if time.ndim != 1:
        msg = (
            f"Time {time.name!r} has dimensions {time.dims}; expected one. "
            "Use ds.expand_dims('time') for a single frame."
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


def stamp(value: Any) -> str:
    """Date and minute of a time, for a message."""
    return str(value)[:16]

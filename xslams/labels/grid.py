"""From the coordinates of xarray to a geometry.

Readers recognise a kind of geometry in the coordinates of data; the one that was registered last is asked first, so
that a reader from outside of the package, which knows a special kind, comes before those that take any latitudes and
longitudes::

    @READERS.register("hexagons")
    def read_hexagons(obj, holder):
        return Hexagons(...) if "hexagon" in obj.coords else None
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from xslams.errors import DimensionError, GridError
from xslams.geometry import Axis, Curvilinear, Geometry, Grid, Lattice, Points, is_periodic
from xslams.geometry.base import span
from xslams.geometry.edges import seam, unwrapped
from xslams.labels.bounds import announce_missing, checked_lat, checked_lon, corners_2d, edges_1d
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.sites import on_lattice
from xslams.registries import Registry
from xslams.spec import Spec
from xslams.typing import FloatArray

__all__ = ["READERS", "geometry_of", "geometry_of_spec", "grid_of", "grid_of_spec"]

_Data = xr.Dataset | xr.DataArray
Reader = Callable[[_Data, _Data], Geometry | None]
"""Takes data, and the Dataset that holds their bounds; returns None where the data are not of its kind."""

READERS: Registry[Reader] = Registry("reader of coordinates")


def geometry_of(
    obj: _Data, parent: xr.Dataset | None = None, like: Geometry | None = None, *, cells: bool = False
) -> Geometry:
    """Where data lie.

    Latitudes and longitudes on dimensions of their own are a grid; on the same two dimensions a curvilinear grid, or a
    grid where they do not vary along both; otherwise points. Other kinds are what `READERS` recognise.

    Parameters
    ----------
    obj
        Dataset or DataArray with latitudes and longitudes, or with coordinates on the axes of `like`.
    parent
        Dataset that holds the bounds, for a DataArray.
    like
        Geometry of a model. Where it is flat, coordinates on its axes are read in place of latitudes and longitudes.
    cells
        Whether the cells matter, not the places alone: then bounds that are named but missing are announced.

    Returns
    -------
    Geometry
        The geometry.

    Raises
    ------
    DimensionError
        If there is no latitude or longitude, or no coordinate on an axis.
    GridError
        If the coordinates are out of range or not monotonic, or the bounds do not hold the centres.

    Warns
    -----
    SlamsWarning
        Where cells matter and a coordinate names bounds that are missing.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> lon, lat = np.meshgrid([0.0, 10.0, 20.0], [50.0, 60.0])
    >>> print(geometry_of(xr.Dataset(coords={"lat": (("y", "x"), lat), "lon": (("y", "x"), lon + 0.1 * lat)})))
    2 x 3, curvilinear
    """
    holder = obj if parent is None else parent
    if like is not None and like.lattice is not None:
        return on_lattice(obj, holder, like.lattice)
    for name in reversed(READERS.names):
        found = READERS[name](obj, holder)
        if found is not None:
            if cells and (located := _located(obj)) is not None:
                announce_missing(holder, *located)
            return found
    raise _missing(obj, "data lie at latitudes and longitudes")


@READERS.register("points")
def _read_points(obj: _Data, holder: _Data) -> Geometry | None:
    places = _broadcast(obj)
    return None if places is None else Points(*places)


@READERS.register("curvilinear")
def _read_curvilinear(obj: _Data, holder: _Data) -> Geometry | None:
    places, found = _broadcast(obj), _located(obj)
    if places is None or found is None or places[0].ndim != 2:
        return None
    corners = corners_2d(holder, *found, places[0].shape)
    # A single row without corners has neither cells nor neighbours across it: its places are points.
    return None if corners is None and min(places[0].shape) < 2 else Curvilinear(*places, corners)


@READERS.register("rectilinear")
def _read_rectilinear(obj: _Data, holder: _Data) -> Geometry | None:
    found = _located(obj)
    if found is None:
        return None
    lat, lon = found
    if lat.ndim == 1 and lon.ndim == 1 and lat.dims != lon.dims:
        return _bounded(grid_of(obj), lat, lon, holder)
    places = _broadcast(obj)
    if places is None or places[0].ndim != 2 or corners_2d(holder, lat, lon, places[0].shape) is not None:
        return None
    return _without_variation(*places)


def _bounded(grid: Grid, lat: xr.DataArray, lon: xr.DataArray, holder: _Data) -> Grid:
    """Grid with the bounds that data have."""
    lat_bounds, lon_bounds = edges_1d(holder, lat, "lat_b"), edges_1d(holder, lon, "lon_b")
    return Grid(
        grid.lat,
        grid.lon,
        grid.lat_dim,
        grid.lon_dim,
        grid.periodic,
        None if lat_bounds is None else checked_lat(lat_bounds, grid.lat, lat),
        None if lon_bounds is None else checked_lon(lon_bounds, grid.lon, lon),
    )


def _without_variation(lat: FloatArray, lon: FloatArray, dims: tuple[str, ...]) -> Grid | None:
    """Grid of 2-D coordinates that vary along one dimension each; None where they vary along both."""
    for a, b, (row, column) in ((lat, lon, dims), (lat.T, lon.T, dims[::-1])):
        if min(a.shape) > 1 and np.isfinite(a).all() and np.ptp(a, axis=1).max() == 0 == np.ptp(b, axis=0).max():
            try:
                grid = grid_of(xr.Dataset(coords={"lat": a[:, 0], "lon": b[0]}))
            except GridError:
                return None  # not in order: a swath that repeats a row
            return Grid(grid.lat, grid.lon, row, column, grid.periodic)
    return None


def _located(obj: _Data) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Latitudes and longitudes; None where one of them is missing."""
    lat, lon = coordinate(obj, "lat"), coordinate(obj, "lon")
    if lat is None or lon is None:
        return None
    _check_degrees(obj[lat], obj[lon])
    return obj[lat], obj[lon]


def _broadcast(obj: _Data) -> tuple[FloatArray, FloatArray, tuple[str, ...]] | None:
    """Latitudes and longitudes of one shape, and its dimensions."""
    found = _located(obj)
    if found is None:
        return None
    lat, lon = xr.broadcast(*(c.reset_coords(drop=True) for c in found))
    lon = lon.transpose(*lat.dims)
    lats = np.asarray(lat.values, float)
    _check_range(lats)
    return lats, np.asarray(lon.values, float), tuple(str(d) for d in lat.dims)


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
    found = _located(obj)
    if found is None:
        raise _missing(obj, "a grid with 1-D latitudes and longitudes is needed")
    lat, lon = found
    if lat.ndim != 1 or lon.ndim != 1 or lat.dims == lon.dims:
        msg = (
            f"Latitude has dimensions {lat.dims} and longitude {lon.dims}; "
            "a grid needs each to be 1-D on its own dimension. "
            "Points and curvilinear grids can be observed (pass them in obs=) and regridded (ds.slams.regrid), but not "
            "be a state."
        )
        raise GridError(msg)
    _check_degrees(lat, lon)
    lats, lons = np.asarray(lat.values, float), np.asarray(lon.values, float)
    _check_monotonic(lats, "latitudes")
    _check_monotonic(np.roll(unwrapped(lons), -seam(lons)), "longitudes")
    _check_range(lats)
    return Grid(lats, lons, str(lat.dims[0]), str(lon.dims[0]), is_periodic(lons))


def grid_of_spec(spec: Spec) -> Grid:
    """Grid of a model on the globe."""
    return Grid(np.asarray(spec.lat, float), np.asarray(spec.lon, float), periodic=spec.periodic)


def geometry_of_spec(spec: Spec) -> Geometry:
    """Geometry of the fields of a model: a grid on the globe, or the lattice of a small system.

    Examples
    --------
    >>> import xslams
    >>> print(geometry_of_spec(xslams.open_model("lorenz96").spec))
    40 (lon 0 to 351, periodic)
    """
    if not spec.flat:
        return grid_of_spec(spec)
    count = len(spec.dims)
    sites = [np.asarray(values, float) for values in (spec.lat, spec.lon)][2 - count :]
    return Lattice(tuple(Axis(d, v, _period(v, spec.periodic)) for d, v in zip(spec.dims, sites, strict=True)))


def _period(values: FloatArray, periodic: bool) -> float | None:
    """Length of a circle that evenly spaced sites close."""
    count = len(values)
    return float(abs(values[-1] - values[0])) * count / (count - 1) if periodic and count > 1 else None


def _missing(obj: _Data, why: str) -> DimensionError:
    missing = [w for w, kind in (("latitude", "lat"), ("longitude", "lon")) if coordinate(obj, kind) is None]
    return DimensionError(
        f"Found no {' and '.join(missing)} coordinate among {listed(obj.coords)}; {why}. "
        "Name them 'lat' and 'lon', or give them standard_name or units attributes (units='degrees_north')."
    )


def _check_monotonic(values: FloatArray, what: str) -> None:
    if lost := int((~np.isfinite(values)).sum()):
        msg = f"{lost} of {len(values)} {what} are missing or infinite. Correct them, or drop their cells."
        raise GridError(msg)
    steps = np.diff(values)
    if len(values) < 2 or (steps > 0).all() or (steps < 0).all():
        return
    if repeated := len(values) - np.unique(values).size:
        msg = f"{repeated} of {len(values)} {what} repeat others ({span(values)}). Drop them: ds.drop_duplicates(...)."
    else:
        msg = f"The {what} neither ascend nor descend ({span(values)}). Sort them: ds.sortby(...)."
    raise GridError(msg)


def _check_range(lat: FloatArray) -> None:
    reach = np.nanmax(np.abs(lat), initial=0.0)
    if reach > 90.0 + 1e-6:
        msg = f"Latitudes reach {reach:g}; expected values from -90 to 90. Are lat and lon swapped?"
        raise GridError(msg)


def _check_degrees(*coordinates: xr.DataArray) -> None:
    """Raise where latitudes or longitudes are no numbers, or in radians, as those of icosahedral grids often are."""
    for coord in coordinates:
        try:
            np.asarray(coord.values, float)
        except (TypeError, ValueError) as e:
            some = f", such as {str(coord.values.flat[0])!r}" if coord.size else ""
            msg = (
                f"{str(coord.name)!r} is of type {coord.dtype}{some}; expected degrees as numbers. "
                f"Convert it: .assign_coords({coord.name}=...)."
            )
            raise GridError(msg) from e
    for coord in coordinates:
        units = str(coord.attrs.get("units", ""))
        if units.startswith("rad"):
            msg = (
                f"{coord.name!r} is in {units!r}; expected degrees. Convert it: "
                f"ds.assign_coords({coord.name}=numpy.rad2deg(ds[{coord.name!r}]).assign_attrs(units='degrees'))."
            )
            raise GridError(msg)

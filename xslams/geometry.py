"""Where data lie on the sphere: rectilinear grids with the edges of their cells, curvilinear grids and swaths, points.

Cells are bounded by what the data say (CF bounds, or ``lat_b`` and ``lon_b`` as xESMF has them), else by the latitudes
that make the quadrature of a Gaussian grid exact, else half way to the neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import DimensionError, GridError
from xslams.labels.coordinates import Grid, check_degrees, coordinate, grid_of, is_periodic, listed
from xslams.typing import FloatArray

__all__ = [
    "Curvilinear",
    "Geometry",
    "Points",
    "around",
    "cell_edges",
    "gaussian_edges",
    "geometry_of",
    "lat_intervals",
    "lon_intervals",
]


@dataclass(frozen=True, eq=False)
class Curvilinear:
    """A grid or swath with latitudes and longitudes of its own for every cell.

    Attributes
    ----------
    lat, lon
        Centres in degrees, shape (y, x); NaN where there is no cell.
    dims
        Names of the dimensions.
    corners
        Latitudes and longitudes of the corners of each cell, shape (2, y, x, 4), in order around the cell; None where
        the data have none.
    """

    lat: FloatArray
    lon: FloatArray
    dims: tuple[str, ...] = ("y", "x")
    corners: FloatArray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (y, x)."""
        return self.lat.shape

    def __str__(self) -> str:
        return f"{self.shape[0]} x {self.shape[1]}, curvilinear"


@dataclass(frozen=True, eq=False)
class Points:
    """Points without extent.

    Attributes
    ----------
    lat, lon
        Degrees, of one shape; NaN where unknown.
    dims
        Names of the dimensions.
    """

    lat: FloatArray
    lon: FloatArray
    dims: tuple[str, ...] = ("point",)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the coordinates."""
        return self.lat.shape

    def __str__(self) -> str:
        return f"{self.lat.size} points"


Geometry = Grid | Curvilinear | Points
_Number = TypeVar("_Number", bound=np.generic)


def cell_edges(centres: FloatArray, *, latitude: bool) -> FloatArray:
    """Edges of cells, shape (n + 1,), in the order of the centres.

    Parameters
    ----------
    centres
        Monotonic cell centres in degrees.
    latitude
        Whether these are latitudes, whose edges stop at the poles and which may be Gaussian.

    Returns
    -------
    ndarray
        Edges: those of a Gaussian grid where the latitudes are Gaussian, else half way to the neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> cell_edges(np.array([80.0, 60.0, 40.0]), latitude=True)
    array([90., 70., 50., 30.])
    """
    centres = np.asarray(centres, float)
    if latitude:
        gaussian = gaussian_edges(centres)
        if gaussian is not None:
            return gaussian
    if len(centres) == 1:
        # Nothing says how wide a single cell is; one degree is narrow on any grid that a model has.
        edges = centres[0] + np.array([-0.5, 0.5])
    else:
        middle = 0.5 * (centres[1:] + centres[:-1])
        edges = np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
    if latitude:
        edges = np.clip(edges, -90.0, 90.0)
        for end, nxt in ((0, 1), (-1, -2)) if len(centres) > 1 else ():
            # Rows that widen towards the pole leave half a step past the last a little short of it.
            if 90.0 - abs(edges[end]) < 0.35 * abs(edges[end] - edges[nxt]):
                edges[end] = np.copysign(90.0, edges[end])
    return np.asarray(edges)


@lru_cache(maxsize=32)
def _gaussian(n: int) -> tuple[FloatArray, FloatArray]:
    """Latitudes of a Gaussian grid and the edges of its cells, ascending."""
    from scipy.special import roots_legendre

    x, w = roots_legendre(n)
    # The rows' areas are the weights of the quadrature, so that sums over cells are exact where the quadrature is.
    edges = np.concatenate([[-1.0], np.cumsum(w) - 1.0])
    # Rounding must not leave the poles or the equator.
    edges = 0.5 * (edges - edges[::-1])
    edges[[0, -1]] = -1.0, 1.0
    return np.rad2deg(np.arcsin(x)), np.rad2deg(np.arcsin(edges))


def gaussian_edges(lat: FloatArray) -> FloatArray | None:
    """Edges of the cells of Gaussian latitudes, or of a contiguous part of them; None where they are not Gaussian.

    A row's share of the sphere is its weight in the Gauss-Legendre quadrature.

    Parameters
    ----------
    lat
        Latitudes in degrees, ascending or descending, shape (n,).

    Returns
    -------
    ndarray or None
        Edges, shape (n + 1,), in the order of `lat`.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian_edges(np.rad2deg(np.arcsin([0.5773502692, -0.5773502692])))
    array([ 90.,   0., -90.])
    >>> gaussian_edges(np.array([30.0, 0.0, -30.0])) is None
    True
    """
    lat = np.asarray(lat, float)
    if len(lat) < 2 or not np.isfinite(lat).all():
        return None
    steps = np.abs(np.diff(lat))
    if steps.min() <= 0:
        return None
    # Two points of a few latitudes prove nothing: a part of a grid must show how its steps change.
    whole = abs(lat[0] + lat[-1]) < 1e-2 * steps[0] and 90.0 - abs(lat[0]) < steps[0]
    if not whole and (len(lat) < 8 or np.ptp(steps) < 1e-7 * steps[0]):
        return None
    ascending = lat if lat[-1] > lat[0] else lat[::-1]
    estimate = round(180.0 / float(np.median(steps)) - 0.5)
    for n in [len(lat)] if whole else [m for m in range(estimate - 2, estimate + 3) if m >= len(lat)]:
        if n > 8000:
            continue
        rows, edges = _gaussian(n)
        start = int(np.abs(rows - ascending[0]).argmin())
        part = rows[start : start + len(lat)]
        # Evenly spaced latitudes are off by a hundredth of a step; published tables are rounded to 1e-3 degrees.
        if len(part) == len(lat) and np.abs(part - ascending).max() <= max(2e-3 * steps.min(), 1e-5):
            found = edges[start : start + len(lat) + 1]
            return found if lat[-1] > lat[0] else found[::-1]
    return None


def lat_intervals(grid: Grid) -> FloatArray:
    """Southern and northern edge of every row of cells in degrees, shape (lat, 2)."""
    if grid.lat_bounds is not None:
        return np.sort(np.clip(grid.lat_bounds, -90.0, 90.0), axis=1)
    return _intervals(cell_edges(grid.lat, latitude=True))


def lon_intervals(grid: Grid) -> FloatArray:
    """Western and eastern edge of every column of cells in degrees, shape (lon, 2), without a jump by whole circles."""
    if grid.lon_bounds is not None:
        return np.asarray(grid.lon_bounds)
    pairs = _intervals(cell_edges(np.unwrap(grid.lon, period=360.0), latitude=False))
    if grid.periodic:
        # Uneven spacing must not leave a gap or an overlap where the circle closes.
        first, last = pairs[:, 0].argmin(), pairs[:, 1].argmax()
        pairs[last, 1] = pairs[first, 0] + 360.0
    return pairs


def _intervals(edges: FloatArray) -> FloatArray:
    return np.sort(np.stack([edges[:-1], edges[1:]], axis=1), axis=1)


def geometry_of(obj: xr.Dataset | xr.DataArray, parent: xr.Dataset | None = None) -> Geometry:
    """Where data lie.

    Latitudes and longitudes on dimensions of their own are a grid; on the same two dimensions a curvilinear grid, or a
    grid where they do not vary along both; otherwise points.

    Parameters
    ----------
    obj
        Dataset or DataArray with latitudes and longitudes.
    parent
        Dataset that holds the bounds, for a DataArray.

    Returns
    -------
    Grid, Curvilinear or Points
        The geometry.

    Raises
    ------
    DimensionError
        If there is no latitude or longitude.
    GridError
        If the coordinates are out of range or not monotonic, or the bounds do not hold the centres.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> lon, lat = np.meshgrid([0.0, 10.0, 20.0], [50.0, 60.0])
    >>> print(geometry_of(xr.Dataset(coords={"lat": (("y", "x"), lat), "lon": (("y", "x"), lon + 0.1 * lat)})))
    2 x 3, curvilinear
    """
    names = [coordinate(obj, kind) for kind in ("lat", "lon")]
    if names[0] is None or names[1] is None:
        grid_of(obj)  # raises, and says what is missing
        raise AssertionError
    lat, lon = obj[names[0]], obj[names[1]]
    check_degrees(lat, lon)
    holder = obj if parent is None else parent
    if lat.ndim == 1 and lon.ndim == 1 and lat.dims != lon.dims:
        grid = grid_of(obj)
        lat_bounds, lon_bounds = (_edges_1d(holder, c, b) for c, b in ((lat, "lat_b"), (lon, "lon_b")))
        return Grid(
            grid.lat,
            grid.lon,
            grid.lat_dim,
            grid.lon_dim,
            grid.periodic,
            None if lat_bounds is None else _checked_lat(lat_bounds, grid.lat, lat),
            None if lon_bounds is None else _checked_lon(lon_bounds, grid.lon, lon),
        )
    lat, lon = xr.broadcast(lat.reset_coords(drop=True), lon.reset_coords(drop=True))
    lon = lon.transpose(*lat.dims)
    lats, lons, dims = np.asarray(lat.values, float), np.asarray(lon.values, float), tuple(str(d) for d in lat.dims)
    if np.nanmax(np.abs(lats), initial=0.0) > 90.0 + 1e-6:
        msg = f"Latitudes reach {np.nanmax(np.abs(lats)):g}; expected values from -90 to 90. Are lat and lon swapped?"
        raise GridError(msg)
    if lats.ndim != 2:
        return Points(lats, lons, dims)
    corners = _corners(holder, obj[names[0]], obj[names[1]], lats.shape)
    if corners is None:
        for a, b, order in ((lats, lons, (0, 1)), (lats.T, lons.T, (1, 0))):
            if min(a.shape) > 1 and np.isfinite(a).all() and np.ptp(a, axis=1).max() == 0 == np.ptp(b, axis=0).max():
                axes = xr.Dataset(coords={"lat": a[:, 0], "lon": b[0]})
                try:
                    grid = grid_of(axes)
                except GridError:
                    break  # not in order: a swath that repeats a row
                return Grid(grid.lat, grid.lon, dims[order[0]], dims[order[1]], is_periodic(grid.lon))
    return Curvilinear(lats, lons, dims, corners)


def _bounds_variable(holder: xr.Dataset | xr.DataArray, coord: xr.DataArray) -> xr.Variable | None:
    name = coord.attrs.get("bounds", coord.encoding.get("bounds"))
    variables = (
        holder.variables if isinstance(holder, xr.Dataset) else {k: c.variable for k, c in holder.coords.items()}
    )
    return variables.get(name)


def _plain_edges(holder: xr.Dataset | xr.DataArray, name: str) -> npt.NDArray[np.floating] | None:
    variables = (
        holder.variables if isinstance(holder, xr.Dataset) else {k: c.variable for k, c in holder.coords.items()}
    )
    return np.asarray(variables[name].values, float) if name in variables else None


def _edges_1d(holder: xr.Dataset | xr.DataArray, coord: xr.DataArray, plain: str) -> FloatArray | None:
    """Bounds of a coordinate, shape (n, 2), as CF or as xESMF has them."""
    bounds = _bounds_variable(holder, coord)
    if bounds is not None and bounds.shape == (coord.size, 2):
        values = np.asarray(bounds.values, float)
    else:
        edges = _plain_edges(holder, plain)
        if edges is None or edges.shape != (coord.size + 1,):
            return None
        values = np.stack([edges[:-1], edges[1:]], axis=1)
    return values if np.isfinite(values).all() else None


def _outside(coord: xr.DataArray, what: str) -> GridError:
    return GridError(
        f"The bounds of {coord.name!r} do not hold its {what}. Correct them, or remove them so that cells reach half "
        f"way to their neighbours: ds.drop_vars({str(coord.attrs.get('bounds', 'bounds'))!r})."
    )


def _checked_lat(bounds: FloatArray, lat: FloatArray, coord: xr.DataArray) -> FloatArray:
    bounds = np.sort(bounds, axis=1)
    slack = 1e-3 * (bounds[:, 1] - bounds[:, 0]) + 1e-6
    if ((lat < bounds[:, 0] - slack) | (lat > bounds[:, 1] + slack) | (bounds[:, 1] <= bounds[:, 0])).any():
        raise _outside(coord, "latitudes")
    return bounds


def _checked_lon(bounds: FloatArray, lon: FloatArray, coord: xr.DataArray) -> FloatArray:
    """Bounds as intervals around the unwrapped longitudes; they may be in either convention, or descending."""
    lon = np.unwrap(lon, period=360.0)
    low, high = bounds.min(axis=1), bounds.max(axis=1)

    def holds(start: FloatArray, width: FloatArray) -> npt.NDArray[np.bool_]:
        slack = 1e-3 * width + 1e-6
        return np.asarray((width > 0) & ((lon - start + slack) % 360.0 <= width + 2 * slack))

    direct = holds(low, high - low)
    # From 359 to 1 degrees is two degrees, not 358.
    direct |= high - low <= 180.0
    start, width = np.where(direct, low, high), np.where(direct, high - low, 360.0 - (high - low))
    if not holds(start, width).all() or (width > 360.0 + 1e-6).any():
        raise _outside(coord, "longitudes")
    # Moved by whole circles to where the longitude is.
    start = start + 360.0 * np.round((lon - start - 0.5 * width) / 360.0)
    return np.stack([start, start + width], axis=1)


def _corners(
    holder: xr.Dataset | xr.DataArray, lat: xr.DataArray, lon: xr.DataArray, shape: tuple[int, ...]
) -> FloatArray | None:
    """Corners of curvilinear cells, shape (2, y, x, 4)."""
    pairs = [_bounds_variable(holder, c) for c in (lat, lon)]
    if all(b is not None and b.shape == (*shape, 4) for b in pairs) and lat.dims == lon.dims:
        return np.stack([np.asarray(b.values, float) for b in pairs if b is not None])
    nodes = [_plain_edges(holder, n) for n in ("lat_b", "lon_b")]
    if all(n is not None and n.shape == (shape[0] + 1, shape[1] + 1) for n in nodes) and lat.dims == lon.dims:
        return np.stack([around(n) for n in nodes if n is not None])
    if any(b is not None for b in pairs):
        sizes = [None if b is None else b.shape for b in pairs]
        msg = (
            f"The bounds of {listed([str(lat.name), str(lon.name)])} have shapes {sizes}; "
            f"expected {(*shape, 4)} for the four corners of each cell. Correct or remove them."
        )
        raise DimensionError(msg)
    return None


def around(nodes: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Corners of each cell from the nodes between them, shape (y + 1, x + 1, ...) to (y, x, 4, ...)."""
    return np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]], axis=2)

"""Bounds of cells as data have them, and whether they hold the centres.

They are what CF calls bounds, or ``lat_b`` and ``lon_b`` as xESMF has them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import DimensionError, GridError, warn
from xslams.geometry.corners import around_cells
from xslams.geometry.edges import gaussian_edges, unwrapped
from xslams.geometry.sphere import around, unit_vectors
from xslams.labels.coordinates import listed
from xslams.typing import FloatArray

__all__ = ["announce_missing", "checked_lat", "checked_lon", "corners_2d", "edges_1d"]

_Data = xr.Dataset | xr.DataArray


def _variables(holder: _Data) -> Mapping[Hashable, xr.Variable]:
    if isinstance(holder, xr.Dataset):
        return holder.variables
    return {name: coord.variable for name, coord in holder.coords.items()}


def _name_of_bounds(coord: xr.DataArray) -> Hashable | None:
    return coord.attrs.get("bounds", coord.encoding.get("bounds"))


def _bounds_of(holder: _Data, coord: xr.DataArray) -> xr.Variable | None:
    """Bounds that a coordinate names, the corners of each cell along the last dimension."""
    bounds = _variables(holder).get(_name_of_bounds(coord))
    if bounds is None or not set(coord.dims) < set(bounds.dims):
        return bounds
    return bounds.transpose(*coord.dims, ...)


def announce_missing(holder: _Data, lat: xr.DataArray, lon: xr.DataArray) -> None:
    """Warn where coordinates name bounds that are absent, or that cannot be used, and say what is assumed instead.

    Parameters
    ----------
    holder
        Dataset or DataArray that should hold the bounds.
    lat, lon
        Latitudes and longitudes, of a grid or a curvilinear grid.

    Warns
    -----
    SlamsWarning
        For each of them.

    Examples
    --------
    >>> lat, lon = xr.DataArray([0.0, 1.0], dims="lat"), xr.DataArray([0.0, 1.0], dims="lon")
    >>> announce_missing(xr.Dataset(), lat, lon)
    """
    for coord, plain in ((lat, "lat_b"), (lon, "lon_b")):
        named, bounds = _name_of_bounds(coord), _bounds_of(holder, coord)
        # Corners of 2-D coordinates that are there but have another shape are an error.
        if named is None or (bounds is not None and coord.ndim > 1):
            continue
        if _named(holder, plain) is not None if coord.ndim > 1 else edges_1d(holder, coord, plain) is not None:
            continue
        if bounds is None:
            what = "are not among the data"
        elif bounds.shape == (*coord.shape, 2):
            what = "have values that are missing or infinite"
        else:
            what = f"have shape {bounds.shape}, where {(*coord.shape, 2)} is expected"
        gaussian = coord.ndim == 1 and gaussian_edges(np.asarray(coord.values, float)) is not None
        assumed = (
            "its rows are those of a Gaussian grid" if gaussian else "its cells reach half way to their neighbours"
        )
        warn(
            f"{coord.name!r} names bounds {str(named)!r}, which {what}; it is assumed that {assumed}. Add the bounds, "
            f"or remove the attribute: del ds[{str(coord.name)!r}].attrs['bounds']."
        )


def _named(holder: _Data, name: str) -> FloatArray | None:
    found = _variables(holder).get(name)
    return None if found is None else np.asarray(found.values, float)


def edges_1d(holder: _Data, coord: xr.DataArray, plain: str = "") -> FloatArray | None:
    """Bounds of a coordinate, shape (n, 2), as CF or as xESMF has them."""
    bounds, edges = _bounds_of(holder, coord), _named(holder, plain)
    found = []
    if bounds is not None and bounds.shape == (coord.size, 2):
        found.append(np.asarray(bounds.values, float))
    if edges is not None and edges.shape == (coord.size + 1,):
        found.append(np.stack([edges[:-1], edges[1:]], axis=1))
    return next((values for values in found if np.isfinite(values).all()), None)


def _outside(coord: xr.DataArray, what: str) -> GridError:
    return GridError(
        f"The bounds of {coord.name!r} do not hold its {what}. Correct them, or remove them so that cells reach half "
        f"way to their neighbours: ds.drop_vars({str(coord.attrs.get('bounds', 'bounds'))!r})."
    )


def checked_lat(bounds: FloatArray, lat: FloatArray, coord: xr.DataArray) -> FloatArray:
    """Bounds from south to north, shape (n, 2), where they hold the latitudes."""
    bounds = np.sort(bounds, axis=1)
    slack = 1e-3 * (bounds[:, 1] - bounds[:, 0]) + 1e-6
    if ((lat < bounds[:, 0] - slack) | (lat > bounds[:, 1] + slack) | (bounds[:, 1] <= bounds[:, 0])).any():
        raise _outside(coord, "latitudes")
    return bounds


def checked_lon(bounds: FloatArray, lon: FloatArray, coord: xr.DataArray) -> FloatArray:
    """Bounds as intervals around the unwrapped longitudes; they may be in either convention, or descending."""
    lon = unwrapped(lon)
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
    # Moved by whole circles to the longitude of the centre.
    start = start + 360.0 * np.round((lon - start - 0.5 * width) / 360.0)
    return np.stack([start, start + width], axis=1)


def corners_2d(holder: _Data, lat: xr.DataArray, lon: xr.DataArray, shape: tuple[int, ...]) -> FloatArray | None:
    """Corners of curvilinear cells, shape (2, y, x, 4)."""
    pairs = [_bounds_of(holder, c) for c in (lat, lon)]
    if all(b is not None and b.shape == (*shape, 4) for b in pairs) and lat.dims == lon.dims:
        corners = np.stack([np.asarray(b.values, float) for b in pairs if b is not None])
        return np.take_along_axis(corners, around_cells(unit_vectors(*corners))[None], axis=-1)
    nodes = [_named(holder, n) for n in ("lat_b", "lon_b")]
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

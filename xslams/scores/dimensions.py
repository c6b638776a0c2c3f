"""Which dimensions of a field are time, space and members, and averages over them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr

from xslams.errors import ChunkError
from xslams.labels.coordinates import coordinate
from xslams.labels.coordinates import is_time as holds_times

__all__ = ["MEMBER", "area_weights", "average", "averaged", "is_time", "points", "require_one_chunk", "space"]

MEMBER = "member"


def area_weights(field: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Cosine of latitude on grids, each place once; 1 at points, and where there is no latitude.

    Parameters
    ----------
    field
        Anything with a latitude that CF conventions let one recognise.

    Returns
    -------
    DataArray
        Non-negative weights along latitude, and along longitude where a column is repeated (0 and 360 degrees). Of a
        place that a grid repeats all but the first have the weight 0, as has a place that is NaN.
    """
    lat, lon = (None if name is None else field.coords[name] for name in (coordinate(field, k) for k in ("lat", "lon")))
    weights = xr.DataArray(1.0)
    if lat is not None:
        lat = lat.astype(float)
        known = lat.notnull() if lon is None or lon.dims != lat.dims else lat.notnull() & lon.notnull()
        cosine = np.cos(np.deg2rad(np.asarray(lat.values)))
        area = xr.ones_like(lat) if points(field) else lat.copy(data=np.maximum(cosine, 0.0))
        weights = area.where(known, 0.0)
    if lon is not None and lon.ndim and not points(field):
        once = _once(lon, lat if lat is not None and lat.dims == lon.dims else None)
        weights = weights if once.all() else weights * once
    return weights.drop_vars([str(c) for c in weights.coords if c not in weights.dims])


def _once(lon: xr.DataArray, lat: xr.DataArray | None) -> xr.DataArray:
    """Which longitudes, or places of both, are the first of their kind."""
    axes = [lon] if lat is None else [lat, lon]
    # To a ten-thousandth of a degree, which is what single precision has.
    rounded = [np.round(np.asarray(axis.values, float).ravel(), 4) % 360.0 for axis in axes]
    _, first = np.unique(np.stack(rounded, axis=1), axis=0, return_index=True)
    once = np.zeros(lon.size, bool)
    once[first] = True
    return xr.DataArray(once.reshape(lon.shape), dims=lon.dims, coords={d: lon[d] for d in lon.dims if d in lon.coords})


def average(field: xr.DataArray, dims: Sequence[Hashable] | None, weights: xr.DataArray | None = None) -> xr.DataArray:
    """Average with the weights of area, over `averaged` dimensions; missing values are left out."""
    return field.weighted(area_weights(field) if weights is None else weights).mean(averaged(field, dims))


def averaged(field: xr.DataArray, dims: Sequence[Hashable] | None) -> list[Hashable]:
    """Dimensions to average over: those given, as far as the field has them, or by default time and space."""
    if dims is not None:
        return [d for d in dims if d in field.dims]
    return [*(d for d in field.dims if is_time(field, d)), *space(field)]


def space(field: xr.DataArray) -> list[Hashable]:
    """Horizontal dimensions: those of latitude and longitude, and the axes X and Y of fields on a plane."""
    found: list[Hashable] = []
    for axis in ("lat", "lon"):
        name = coordinate(field, axis)
        if name is not None:
            found += [d for d in field.coords[name].dims if d not in found]
        elif axis in field.dims:
            found.append(axis)
    found += [d for d in field.dims if d not in found and field[d].attrs.get("axis") in ("X", "Y")]
    return [d for d in found if not is_time(field, d)]


def points(field: xr.DataArray | xr.Dataset) -> bool:
    """Whether latitude and longitude lie along one and the same dimension."""
    names = [coordinate(field, kind) for kind in ("lat", "lon")]
    lat, lon = (() if name is None else field.coords[name].dims for name in names)
    return len(lat) == 1 and lat == lon


def is_time(field: xr.DataArray, dim: Hashable) -> bool:
    """Whether a dimension is time, by its name or by the type of its coordinate."""
    return dim == "time" or (dim in field.coords and holds_times(field.coords[dim]))


def require_one_chunk(field: xr.DataArray, dims: Sequence[Hashable]) -> None:
    """Raise unless a field is in memory, or in one chunk along each of some dimensions.

    Raises
    ------
    ChunkError
        With the rechunking that helps.
    """
    for dim in dims:
        if field.chunks is not None and len(field.chunksizes[dim]) > 1:
            msg = (
                f"{field.name!r} has {len(field.chunksizes[dim])} chunks along {dim!r}, where this score needs one. "
                f"Use .chunk({{{dim!r}: -1}}) first."
            )
            raise ChunkError(msg)

"""Which dimensions of a field are time, space and members, and averages over them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr

from xslams.errors import ChunkError
from xslams.labels.coordinates import coordinate

__all__ = ["MEMBER", "area_weights", "average", "averaged", "is_time", "require_one_chunk", "space"]

MEMBER = "member"


def area_weights(field: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Cosine of latitude, or 1 where there is no latitude.

    Parameters
    ----------
    field
        Anything with a latitude that CF conventions let one recognise.

    Returns
    -------
    DataArray
        Non-negative weights along latitude.
    """
    lat = coordinate(field, "lat")
    if lat is None:
        return xr.DataArray(1.0)
    weights: xr.DataArray = np.cos(np.deg2rad(field.coords[lat].astype(float)))  # type: ignore[assignment]
    return weights.clip(min=0.0).drop_vars([str(c) for c in weights.coords if c not in weights.dims])


def average(field: xr.DataArray, dims: Sequence[Hashable] | None) -> xr.DataArray:
    """Average with the weights of area, over `averaged` dimensions; missing values are left out."""
    return field.weighted(area_weights(field)).mean(averaged(field, dims))


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


def is_time(field: xr.DataArray, dim: Hashable) -> bool:
    """Whether a dimension is time, by its name or by the type of its coordinate."""
    return dim == "time" or (dim in field.coords and np.issubdtype(field.coords[dim].dtype, np.datetime64))


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

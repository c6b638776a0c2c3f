"""Fields of fewer dimensions than a map: the series of a place or of an area, and the mean over latitude."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xslams.errors import DimensionError
from xslams.labels.coordinates import coordinate
from xslams.plot import observed
from xslams.plot.fields import east, label_of
from xslams.scores.dimensions import average, space

__all__ = ["along_longitude", "band", "here", "observed_here", "place_in_words"]


# ---------------------------------------------------------------------------------------------------------------------
# Series
# ---------------------------------------------------------------------------------------------------------------------
def here(field: xr.DataArray, at: tuple[float, float] | None) -> xr.DataArray:
    """Series of a field at the nearest place, or without a place its mean over the area; as it is without space.

    Raises
    ------
    DimensionError
        If a place is given and the field has no latitude and longitude.
    """
    lat, lon = coordinate(field, "lat"), coordinate(field, "lon")
    if at is not None and (lat is None or lon is None):
        msg = f"at={tuple(at)!r} is a latitude and a longitude, and {field.name!r} has none; it has {field.dims}."
        raise DimensionError(msg)
    where = space(field)
    # A line of places is drawn as it is, or in a Hovmoeller diagram; a mean over it would hide what it is.
    if not where or (at is None and len(where) < 2 and (lat is None or lon is None)):
        return field
    if at is None:
        return average(field, where).assign_attrs(field.attrs)
    away = _distance(field[lat], field[lon], at)
    nearest = np.unravel_index(int(np.nanargmin(away.values)), away.shape)
    return field.isel(dict(zip(away.dims, map(int, nearest), strict=True)))


def observed_here(
    obs: xr.DataArray, field: xr.DataArray, at: tuple[float, float] | None
) -> tuple[Any, Any, Any] | None:
    """Observations within a row of the grid of a place; None beside the mean over an area."""
    if here(field, at) is field:
        return observed.points(obs)
    lat, lon, ours = coordinate(obs, "lat"), coordinate(obs, "lon"), coordinate(field, "lat")
    if at is None or lat is None or lon is None or ours is None:
        return None
    rows = np.unique(field[ours].values)
    reach = float(np.ptp(rows)) / max(rows.size - 1, 1) if field[ours].ndim == 1 and lat in obs.coords else 1.0
    return observed.points(obs.where(_distance(obs[lat], obs[lon], at) <= reach), lat)


def place_in_words(field: xr.DataArray, at: tuple[float, float] | None) -> str:
    """Where a series is, for a title."""
    if here(field, at) is field:
        return ""
    if at is None:
        return f"{_height(field)}, mean over the area"
    return f"{_height(field)}, near {abs(at[0]):g}°{'N' if at[0] >= 0 else 'S'} {east(at[1])}"


def _distance(lat: xr.DataArray, lon: xr.DataArray, at: tuple[float, float]) -> xr.DataArray:
    """Degrees along the great circle from a place."""
    ours, theirs, width = np.deg2rad(lat), np.deg2rad(at[0]), np.deg2rad(lon - at[1])
    half = np.sin((ours - theirs) / 2) ** 2 + np.cos(ours) * np.cos(theirs) * np.sin(width / 2) ** 2
    away: xr.DataArray = np.rad2deg(2 * np.arcsin(np.sqrt(half.clip(0.0, 1.0))))
    return away


# ---------------------------------------------------------------------------------------------------------------------
# Means over latitude
# ---------------------------------------------------------------------------------------------------------------------
def along_longitude(field: xr.DataArray) -> xr.DataArray:
    """Field along longitude, the mean over the latitudes of a grid by area; as it is where it has one dimension."""
    lat, lon = coordinate(field, "lat"), coordinate(field, "lon")
    if lat not in field.dims or lon not in field.dims:
        return field
    return average(field, [lat]).assign_attrs(field.attrs).assign_coords({lon: field[lon]})


def band(field: xr.DataArray) -> str:
    """Level, and latitudes of the mean over latitude, for a title."""
    lat = coordinate(field, "lat")
    if lat not in field.dims or len(space(field)) < 2:
        return _height(field)
    ends = float(field[lat].min()), float(field[lat].max())
    south, north = (f"{abs(x):.0f}°{'S' if x < 0 else 'N'}" for x in ends)
    return f"{_height(field)}, mean over {south} to {north}"


def _height(field: xr.DataArray) -> str:
    level = coordinate(field, "level")
    return f", {label_of(field[level])}" if level is not None and field[level].ndim == 0 else ""

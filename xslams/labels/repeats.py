"""Columns of a grid in an order that goes once round the circle: without a cyclic column that is repeated, or a halo.

A region that crosses the seam of its convention of longitudes has the gap in the middle of the array.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import xarray as xr

from xslams.geometry.edges import seam
from xslams.labels.coordinates import coordinate
from xslams.typing import FloatArray

__all__ = ["in_one_part", "once_around", "without_repeats"]

_Data = TypeVar("_Data", xr.Dataset, xr.DataArray)


def once_around(lon: FloatArray) -> slice:
    """Columns that go once round the circle; all of them where none is repeated.

    Parameters
    ----------
    lon
        Longitudes in degrees, shape (n,), in any convention.

    Returns
    -------
    slice
        Of one repeated column it leaves out the last, of a halo the outermost columns on both sides.

    Examples
    --------
    >>> import numpy as np
    >>> once_around(np.arange(0.0, 361.0, 90.0)), once_around(np.arange(-90.0, 361.0, 90.0))
    (slice(0, 4, None), slice(1, 5, None))
    """
    whole = slice(0, len(lon))
    if len(lon) < 4 or not np.isfinite(lon).all():
        return whole
    around = np.unwrap(lon, period=360.0)
    around = around if around[-1] > around[0] else -around
    steps = np.diff(around)
    near = 0.01 * np.median(steps)
    extra = int(np.sum(around >= around[0] + 360.0 - near))
    kept = len(lon) - extra
    # What is left over must repeat columns, in their order; an overlap that lies between them does not.
    if not extra or kept < 3 or steps.min() <= 0 or np.abs(around[kept:] - 360.0 - around[:extra]).max() > near:
        return whole
    return slice(extra // 2, extra // 2 + kept)


def without_repeats(data: _Data) -> _Data:
    """Select columns that go once round the circle; data in which none is repeated are returned as they are.

    Parameters
    ----------
    data
        Dataset or DataArray; without 1-D longitudes on a dimension of their own it is left as it is.

    Returns
    -------
    Dataset or DataArray
        With the bounds of the columns that are left, of which ``lon_b`` has one more.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> without_repeats(xr.Dataset(coords={"lat": [0.0, 1.0], "lon": np.arange(0.0, 361.0, 60.0)})).sizes["lon"]
    6
    """
    lat, lon = coordinate(data, "lat"), coordinate(data, "lon")
    if lat is None or lon is None or data[lon].ndim != 1 or data[lon].dims == data[lat].dims:
        return data
    (dim,) = data[lon].dims
    kept = once_around(np.asarray(data[lon].values, float))
    if kept == slice(0, data.sizes[dim]):
        return data
    chosen = {dim: kept}
    edges = getattr(data, "variables", {}).get("lon_b")
    if edges is not None and edges.shape == (data.sizes[dim] + 1,):
        chosen[edges.dims[0]] = slice(kept.start, kept.stop + 1)
    return data.isel(chosen)


def in_one_part(data: _Data) -> _Data:
    """Put the columns of a region that crosses the seam of its longitudes next to each other.

    Parameters
    ----------
    data
        Dataset or DataArray; without 1-D longitudes on a dimension of their own it is left as it is.

    Returns
    -------
    Dataset or DataArray
        The columns from one end of the region to the other.

    Examples
    --------
    >>> import xarray as xr
    >>> region = xr.Dataset(coords={"lat": [0.0, 1.0], "lon": [-180.0, -170.0, 160.0, 170.0]})
    >>> in_one_part(region)["lon"].values
    array([ 160.,  170., -180., -170.])
    """
    lat, lon = coordinate(data, "lat"), coordinate(data, "lon")
    if lat is None or lon is None or data[lon].ndim != 1 or data[lon].dims == data[lat].dims:
        return data
    first = seam(np.asarray(data[lon].values, float))
    (dim,) = data[lon].dims
    return data.isel({dim: np.roll(np.arange(data.sizes[dim]), -first)}) if first else data

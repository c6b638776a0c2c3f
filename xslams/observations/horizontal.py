"""Where an observation is: weights of the model's cells for the places of a source."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import DimensionError, GridError, ObservationError
from xslams.geometry import geometry_of
from xslams.labels.coordinates import Grid, coordinate, listed
from xslams.typing import Method
from xslams.weights.store import weights_between

__all__ = ["cells", "expand"]


def cells(
    ds: xr.Dataset, da: xr.DataArray, grid: Grid, method: Method, source: str
) -> tuple[sp.csr_array, xr.DataArray]:
    """Weights of the model's cells, shape (place, lat * lon), and the place of each element."""
    names = coordinate(da, "lat"), coordinate(da, "lon")
    if names[0] is None or names[1] is None:
        msg = (
            f"Source {source!r}: found no latitude and longitude for {da.name!r} among {listed(da.coords)}. "
            "Assign them: .assign_coords(lat=('station', ...), lon=('station', ...))."
        )
        raise DimensionError(msg)
    lat, lon = da[names[0]], da[names[1]]
    if np.nanmax(np.abs(np.asarray(lat.values, float)), initial=0.0) > 90.0 + 1e-6:
        msg = (
            f"Source {source!r}: latitudes reach {float(abs(lat).max()):g}; expected -90 to 90. "
            "Are lat and lon swapped?"
        )
        raise ObservationError(msg)
    try:
        where = geometry_of(da, ds)
        # Footprints of a swath are cells as those of a curvilinear grid are; points have none.
        weights = weights_between(grid, where, method)
    except (GridError, DimensionError) as e:
        msg = f"Source {source!r}: {da.name!r} has latitudes {lat.dims} and longitudes {lon.dims}. {e}"
        raise (ObservationError if isinstance(e, GridError) else DimensionError)(msg) from e
    return weights, xr.DataArray(np.arange(weights.shape[0]).reshape(where.shape), dims=where.dims)


def expand(index: xr.DataArray, da: xr.DataArray) -> npt.NDArray[np.intp]:
    """Bring indices that depend on some dimensions into the shape of the data."""
    ordered = index.transpose(*[d for d in da.dims if d in index.dims])
    shape = [index.sizes.get(d, 1) for d in da.dims]
    return np.broadcast_to(ordered.values.reshape(shape), da.shape)

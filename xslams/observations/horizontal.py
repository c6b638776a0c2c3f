"""Where an observation is: weights of the model's cells for the places of a source."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import DimensionError, GridError, ObservationError
from xslams.geometry import Geometry
from xslams.labels.grid import geometry_of
from xslams.typing import Method
from xslams.weights.store import weights_between

__all__ = ["cells", "expand"]


def cells(
    ds: xr.Dataset, da: xr.DataArray, geometry: Geometry, method: Method, source: str, engine: str = "embedded"
) -> tuple[sp.csr_array, xr.DataArray]:
    """Weights of the model's cells for the places of a source, and the place of each element.

    Parameters
    ----------
    ds
        Dataset that holds the bounds of cells.
    da
        Observed variable.
    geometry
        Geometry of the model.
    method
        How values come from the cells to a place.
    source
        Name of the source, for messages.
    engine
        Name of what builds the weights.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (place, cells of the model). Footprints of a swath are cells as those of a curvilinear grid are.
    DataArray
        Row of each element, over the dimensions of the places.

    Raises
    ------
    ObservationError, DimensionError
        If the places are not known, out of range, or have no cells where the method needs them.
    """
    try:
        places = geometry_of(da, ds, like=geometry, cells=method == "conservative")
        weights = weights_between(geometry, places, method, engine=engine)
    except GridError as e:
        msg = f"Source {source!r}: {da.name!r} has coordinates that cannot be used. {e}"
        raise ObservationError(msg) from e
    except DimensionError as e:
        msg = (
            f"Source {source!r}: the places of {da.name!r} are not known. {e} "
            "At stations: .assign_coords(lat=('station', ...), lon=('station', ...))."
        )
        raise DimensionError(msg) from e
    return weights, xr.DataArray(np.arange(weights.shape[0]).reshape(places.shape), dims=places.dims)


def expand(index: xr.DataArray, da: xr.DataArray) -> npt.NDArray[np.intp]:
    """Bring indices that depend on some dimensions into the shape of the data."""
    ordered = index.transpose(*[d for d in da.dims if d in index.dims])
    shape = [index.sizes.get(d, 1) for d in da.dims]
    return np.broadcast_to(ordered.values.reshape(shape), da.shape)

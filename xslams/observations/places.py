"""Where an observation is: weights of the model's cells and channels for places and levels of a source."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.coordinates import Grid, coordinate, listed
from xslams.errors import DimensionError, GridError, ObservationError
from xslams.geometry import geometry_of
from xslams.models.spec import Spec, VariableSpec
from xslams.schema import align_levels
from xslams.typing import Method
from xslams.weights import bracket
from xslams.weights.store import weights_between

__all__ = ["cells", "channels", "expand", "listed_levels"]


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


def channels(
    da: xr.DataArray, variable: VariableSpec, spec: Spec, method: Method, source: str
) -> tuple[sp.csr_array, xr.DataArray]:
    """Weights of the model's channels, shape (level, channel), and the level of each element."""
    start = spec.channel_slice(variable.name).start
    name = coordinate(da, "level")
    if name is None and variable.level_dim in da.coords:
        name = variable.level_dim
    single = sp.csr_array(([1.0], ([0], [start])), shape=(1, spec.channels))
    if name is None or not variable.levels:
        if variable.channels > 1:
            msg = (
                f"Source {source!r}: {da.name!r} says not at which level it is; "
                f"the model's {variable.name!r} has levels "
                f"{listed_levels(variable)}. Assign one: .assign_coords({variable.level_dim or 'level'}=...)."
            )
            raise ObservationError(msg)
        if name is not None and da[name].size > 1 and name in da.dims:
            msg = (
                f"Source {source!r}: {da.name!r} has {da[name].size} levels; the model's {variable.name!r} has none. "
                f"Select one: .sel({name}=...)."
            )
            raise ObservationError(msg)
        dims = [name] if name is not None and name in da.dims else []
        return single, xr.DataArray(np.zeros([1] * len(dims), int), dims=dims)
    level = da[name]
    have, want = align_levels(level, variable).ravel(), np.asarray(variable.levels)
    order = np.argsort(want)
    low, weight, inside = bracket(want[order], have, linear=method != "nearest")
    if len(want) == 1:
        inside = np.abs(have - want) <= 0.01 * np.abs(want)
    upper = order[np.minimum(low + 1, len(want) - 1)]
    rows = np.arange(len(have))
    weights = sp.csr_array(
        (
            np.concatenate([(1 - weight) * inside, weight * inside]),
            (np.concatenate([rows, rows]), start + np.concatenate([order[low], upper])),
        ),
        shape=(len(have), spec.channels),
    )
    weights.eliminate_zeros()
    return weights, xr.DataArray(rows.reshape(level.shape), dims=level.dims)


def listed_levels(variable: VariableSpec) -> str:
    """Levels of a variable of the model, for a message."""
    units = variable.level_attrs.get("units", "")
    return ", ".join(f"{v:g}" for v in variable.levels) + (f" {units}" if units not in ("", "1") else "")


def expand(index: xr.DataArray, da: xr.DataArray) -> npt.NDArray[np.intp]:
    """Bring indices that depend on some dimensions into the shape of the data."""
    ordered = index.transpose(*[d for d in da.dims if d in index.dims])
    shape = [index.sizes.get(d, 1) for d in da.dims]
    return np.broadcast_to(ordered.values.reshape(shape), da.shape)

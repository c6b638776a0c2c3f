"""Bring fields to another grid or to points: sparse weights, from the embedded engine or from xESMF, applied lazily.

The weights are a matrix that acts on the flattened grid; a missing value, or a target outside of the source, is missing
in the result (bilinear, nearest), or is left out of the mean as long as half of the target cell is covered
(conservative).

A task graph carries neither weights nor, more than once, coordinates: these are one array that all tasks refer to, and
every process builds the weights from it, or reads them from the cache, when the first block comes along.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Hashable
from typing import Any, TypeVar, get_args

import numpy as np
import xarray as xr

from xslams.arguments import require
from xslams.errors import ChunkError, DimensionError, GridError, SlamsWarning, VariableError
from xslams.geometry import Geometry
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.grid import geometry_of, geometry_of_spec, grid_of_spec
from xslams.labels.repeats import without_repeats
from xslams.labels.valid_values import PACKING, with_valid_values
from xslams.model import Model
from xslams.spec import Spec
from xslams.typing import Edges, Engine, FloatArray, Method
from xslams.weights import ENGINES, METHODS
from xslams.weights.engines import engine_of
from xslams.weights.recipe import Recipe, float_type, regridded

__all__ = ["Engine", "Target", "regrid"]

Target = xr.Dataset | xr.DataArray | Model | Spec
"""What names a grid: data with latitudes and longitudes, or a model."""

_Data = TypeVar("_Data", xr.Dataset, xr.DataArray)


def regrid(
    ds: _Data,
    target: Target,
    method: Method = "bilinear",
    engine: Engine = "auto",
    *,
    edges: Edges = "great_circle",
) -> _Data:
    """Bring every field of a Dataset to another grid, or to points.

    Parameters
    ----------
    ds
        Dataset or DataArray with latitudes and longitudes: 1-D each on dimensions of their own (a grid, in any order
        and longitude convention), 2-D (a curvilinear grid or a swath), or both along one dimension (points). Cells have
        CF bounds or ``lat_b`` and ``lon_b``, else they reach half way to their neighbours; rows of Gaussian latitudes
        have the areas of the quadrature. A repeated cyclic column, or a halo of columns, counts once.
    target
        Dataset or DataArray with the latitudes and longitudes that are wanted, in any of these forms; or a model.
    method
        ``"bilinear"`` (from grids), ``"conservative"`` (area means, between grids) or ``"nearest"``.
    engine
        ``"embedded"``, ``"xesmf"``, or ``"auto"``: the embedded engine, whose weights are defined as ESMF's are, and
        which does not depend on what happens to be installed.
    edges
        What joins neighbours along a parallel: ``"great_circle"``, as in ESMF, or ``"parallel"``, as in CDO, between
        1-D latitudes and longitudes: then bilinear weights are linear in both, and cells are bounded by parallels.

    Returns
    -------
    Dataset or DataArray
        Same variables and attributes; those without latitude and longitude unchanged, without those that vary along
        only one of the grid's dimensions (bounds, weights of rows), which describe the old grid. Missing where there
        is no value. Lazy where `ds` is.

    Raises
    ------
    OptionError
        If there is no such method, engine or kind of edges, or source or target are something else.
    GridError, DimensionError
        If source or target have no such coordinates, or the method needs cells and there are points.
    ChunkError
        If latitude or longitude are split into several dask chunks.
    VariableError
        If values are packed and were not decoded. Fill values that attributes name are missing values.
    SlamsError
        If ``engine="xesmf"`` and it is not installed.

    Warns
    -----
    SlamsWarning
        If fields are left out that are no numbers.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> ds = xr.Dataset({"t": (("lat", "lon"), [[0.0, 2.0], [4.0, 6.0]])}, {"lat": [-5.0, 5.0], "lon": [0.0, 10.0]})
    >>> target = xr.Dataset(coords={"lat": [0.0], "lon": [0.0, 5.0, 30.0]})
    >>> regrid(ds, target).t.values.round(12)
    array([[ 2.,  3., nan]])
    """
    require(isinstance(ds, xr.Dataset | xr.DataArray), "ds", ds, "a Dataset or a DataArray")
    how = f": xslams.open_model({target!r})" if isinstance(target, str) else ""
    expected = f"a Dataset or a DataArray with the latitudes and longitudes that are wanted, or a model{how}"
    require(isinstance(target, Target), "target", target, expected)
    name = engine_of(engine)
    METHODS[method]  # raises where there is none of this name
    require(edges in get_args(Edges), "edges", edges, f"one of {listed(get_args(Edges))}")
    if isinstance(ds, xr.Dataset):
        return _regrid(ds, target, method, name, edges)
    # Under a name that no coordinate has, as a DataArray may be called like one of its own.
    inner = "__regrid__" if ds.name is None or ds.name in ds.coords or ds.name in ds.dims else ds.name
    return _regrid(ds.to_dataset(name=inner), target, method, name, edges)[inner].rename(ds.name)


def _regrid(ds: xr.Dataset, target: Target, method: Method, engine: str, edges: Edges) -> xr.Dataset:
    ds = without_repeats(ds)
    cells = method == "conservative"
    wanted, coords = _target(ds, target, cells=cells)
    source = geometry_of(ds, like=wanted, cells=cells)
    if not source.size:
        sizes = dict(zip(source.dims, source.shape, strict=True))
        msg = f"The source has no places: {sizes}. Was something selected that is not there?"
        raise GridError(msg)
    ENGINES[engine].check(source, wanted, method, edges)
    recipe, coordinates = Recipe.of(source, wanted, method, edges, engine)
    core = source.dims
    out: dict[Hashable, xr.DataArray] = {}
    left: list[Hashable] = []
    for name, da in ds.data_vars.items():
        if not set(core) & set(da.dims):
            _check_dims(da, core, wanted.dims)
            out[name] = da
        elif set(core) <= set(da.dims):
            # What varies along only one of the dimensions, such as bounds and weights, describes the old grid.
            if da.dtype.kind in "fiub":
                out[name] = _regrid_one(da, core, wanted.dims, recipe, coordinates)
            else:
                left.append(name)
    if left:
        warnings.warn(
            f"Left out {listed(left)}: only numbers can be regridded. "
            f"Drop them beforehand to silence this: ds.drop_vars([{listed(left)}]).",
            SlamsWarning,
            stacklevel=3,
        )
    replaced = {*coords, coordinate(ds, "lat"), coordinate(ds, "lon")}
    kept: dict[Hashable, xr.DataArray] = {
        k: c for k, c in ds.coords.items() if not set(core) & set(c.dims) and k not in replaced
    }
    return xr.Dataset(out, coords=kept, attrs=ds.attrs).assign_coords(coords)


def _regrid_one(
    da: xr.DataArray, core: tuple[str, ...], dims: tuple[str, ...], recipe: Recipe, coordinates: FloatArray
) -> xr.DataArray:
    _check_whole(da, core)
    _check_dims(da, core, dims)
    _check_decoded(da)
    da = with_valid_values(da)
    dtype = float_type(da.dtype)
    # Under names of our own, since source and target often call dimensions of different sizes alike.
    inner = [f"__source_{i}" for i in range(len(core))]
    outer = [f"__target_{i}" for i in range(len(dims))]
    bare = da.drop_vars([c for c, v in da.coords.items() if set(v.dims) & set(core)])
    shared = xr.DataArray(coordinates, dims="__coordinates")
    if da.chunks is not None:
        import dask.array

        # One key that every task refers to: as an argument of each, it would be sent with each.
        lazy = dask.array.from_array(  # type: ignore[no-untyped-call]
            coordinates, chunks=-1, name=f"coordinates-{recipe.key}"
        )
        shared = shared.copy(data=lazy)
    result = xr.apply_ufunc(
        regridded,
        bare.rename(dict(zip(core, inner, strict=True))),
        shared,
        kwargs={"recipe": recipe},
        input_core_dims=[inner, ["__coordinates"]],
        output_core_dims=[outer],
        dask="parallelized",
        keep_attrs="override",
        dask_gufunc_kwargs={
            "output_sizes": dict(zip(outer, recipe.target.shape, strict=True)),
            "meta": np.empty((0,) * (da.ndim - len(core) + len(dims)), dtype),
        },
    )
    # New dimensions stand where the old ones stood.
    if len(core) == len(dims):
        places = {old: [new] for old, new in zip(core, outer, strict=True)}
    else:
        first = next(str(d) for d in da.dims if d in core)
        places = {d: outer if d == first else [] for d in core}
    order = [n for d in da.dims for n in places.get(str(d), [str(d)])]
    out: xr.DataArray = result.transpose(*order).rename(dict(zip(outer, dims, strict=True)))
    return out


def _check_whole(da: xr.DataArray, core: tuple[str, ...]) -> None:
    """Raise where a field lies in several chunks."""
    split = [d for d in core if len(da.chunksizes.get(d, (0,))) > 1]
    if split:
        fix = ", ".join(f"{d!r}: -1" for d in split)
        msg = (
            f"{listed(split)} of {da.name!r} {'is' if len(split) == 1 else 'are'} split into several dask chunks; "
            "a field must lie in one to be regridded. "
            f"Rechunk: ds.chunk({{{fix}}})."
        )
        raise ChunkError(msg)


def _check_decoded(da: xr.DataArray) -> None:
    """Raise where values are packed: reading a file takes these attributes away, so it was read without decoding."""
    packing = [a for a in PACKING if a in da.attrs]
    # Floats whose attributes still name fill values may be as they are measured; those fill values are masked.
    if packing and (da.dtype.kind in "iu" or {"scale_factor", "add_offset"} & set(packing)):
        msg = (
            f"{da.name!r} is packed ({listed(packing)} among its attributes), and a mean of packed values "
            "and fill values is wrong. Decode it: xr.decode_cf(ds)."
        )
        raise VariableError(msg)


def _check_dims(da: xr.DataArray, core: tuple[str, ...], dims: tuple[str, ...]) -> None:
    """Raise where a dimension of the target means something else in the data."""
    clash = [d for d in dims if d in da.dims and d not in core]
    if clash:
        msg = (
            f"{da.name!r} and the target both have dimension {listed(clash)}. Rename it in one of them: "
            f"ds.rename({{{clash[0]!r}: ...}})."
        )
        raise DimensionError(msg)


def _target(ds: xr.Dataset, target: Target, *, cells: bool) -> tuple[Geometry, dict[Hashable, Any]]:
    """Where values are wanted, and the coordinates of the result."""
    if isinstance(target, Model | Spec):
        return _of_model(ds, target.spec if isinstance(target, Model) else target)
    places = target if isinstance(target, xr.Dataset) else target.coords.to_dataset()
    names = [name for kind in ("lat", "lon") if (name := coordinate(target, kind)) is not None]
    if len(names) == 2 and all(places[name].ndim == 0 for name in names):
        places = places[names].reset_coords().expand_dims("point").set_coords(names)
    try:
        geometry = geometry_of(places, cells=cells)
    except DimensionError as e:
        msg = f"The target is not understood. {e}"
        raise DimensionError(msg) from e
    # The names of stations and the bounds of cells come along.
    coords: dict[Hashable, Any] = {}
    for name in (*names, *geometry.dims):
        if name in places.coords and set(places[name].dims) <= set(geometry.dims):
            coords[name] = places.variables[name]
            bounds = places[name].attrs.get("bounds")
            if bounds in places.variables:
                coords[bounds] = places.variables[bounds]
    return geometry, coords


def _of_model(ds: xr.Dataset, spec: Spec) -> tuple[Geometry, dict[Hashable, Any]]:
    """Geometry of a model under the names that the coordinates have in the data, and these coordinates."""
    lattice = geometry_of_spec(spec).lattice
    if lattice is not None:
        return lattice, {axis.name: _renewed(ds, axis.name, axis.values) for axis in lattice.axes}
    grid = grid_of_spec(spec)
    lat, lon = (str(coordinate(ds, kind)) for kind in ("lat", "lon"))
    coords: dict[Hashable, Any] = {lat: _renewed(ds, lat, grid.lat), lon: _renewed(ds, lon, grid.lon)}
    return dataclasses.replace(grid, lat_dim=lat, lon_dim=lon), coords


def _renewed(ds: xr.Dataset, name: str, values: FloatArray) -> xr.DataArray:
    """Coordinate with other values; its bounds are those of the old ones."""
    attrs = {k: v for k, v in ds.variables[name].attrs.items() if k != "bounds"} if name in ds.variables else {}
    return xr.DataArray(values, dims=name, name=name, attrs=attrs)

"""Bring fields to another grid or to points: sparse weights, from the embedded engine or from xESMF, applied lazily.

The weights are a matrix that acts on the flattened grid; a missing value, or a target outside of the source, is missing
in the result (bilinear, nearest), or is left out of the mean as long as half of the target cell is covered
(conservative).

A task graph carries the coordinates, and every process builds the weights once: a matrix in each task would cost
gigabytes.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.coordinates import Grid, coordinate, grid_of, is_periodic, listed
from xslams.errors import ChunkError, DimensionError, GridError, SlamsError
from xslams.models.model import Model
from xslams.models.spec import Spec
from xslams.typing import FloatArray, Method
from xslams.weights import cell_edges, grid_weights, point_weights

__all__ = ["Engine", "Target", "regrid"]

Engine = Literal["auto", "xesmf", "embedded"]
Target = xr.Dataset | xr.DataArray | Model | Spec
"""What names a grid: data with latitudes and longitudes, or a model."""

_Data = TypeVar("_Data", xr.Dataset, xr.DataArray)
_ESMF = {"bilinear": "bilinear", "conservative": "conservative", "nearest": "nearest_s2d"}
# Share of the weights that must fall on values: all of them, or half of a cell.
_COVER = {"bilinear": 1.0 - 1e-6, "nearest": 1.0 - 1e-6, "conservative": 0.5 - 1e-9}


@dataclass(frozen=True)
class _Recipe:
    """What determines the weights; small and hashable, so that it travels in a graph and keys a cache."""

    lat: tuple[float, ...]
    lon: tuple[float, ...]
    to_lat: tuple[float, ...]
    to_lon: tuple[float, ...]
    points: bool
    method: Method
    engine: Literal["xesmf", "embedded"]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Shape of the result of one field."""
        return (len(self.to_lat),) if self.points else (len(self.to_lat), len(self.to_lon))

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (
            type(self).__name__,
            self.lat,
            self.lon,
            self.to_lat,
            self.to_lon,
            self.points,
            self.method,
            self.engine,
        )


@lru_cache(maxsize=16)
def _weights(recipe: _Recipe) -> sp.csr_array:
    lat, lon = np.asarray(recipe.lat), np.asarray(recipe.lon)
    grid = Grid(lat, lon, periodic=is_periodic(lon))
    to_lat, to_lon = np.asarray(recipe.to_lat), np.asarray(recipe.to_lon)
    if recipe.engine == "xesmf":
        return _xesmf_weights(grid, to_lat, to_lon, points=recipe.points, method=recipe.method)
    if recipe.points:
        return point_weights(grid, to_lat, to_lon, recipe.method)
    return grid_weights(grid, Grid(to_lat, to_lon, periodic=is_periodic(to_lon)), recipe.method)


def _xesmf_weights(grid: Grid, lat: FloatArray, lon: FloatArray, *, points: bool, method: Method) -> sp.csr_array:
    """Weights of ESMF, which works with great circles; its cells are closed by the same edges as ours."""
    import xesmf

    def described(lat: FloatArray, lon: FloatArray, dims: tuple[str, str]) -> xr.Dataset:
        ds = xr.Dataset(coords={"lat": (dims[0], lat), "lon": (dims[1], lon)})
        if method == "conservative":
            ds = ds.assign_coords(
                lat_b=("lat_b", cell_edges(lat, latitude=True)),
                lon_b=("lon_b", cell_edges(np.unwrap(lon, period=360.0), latitude=False)),
            )
        return ds

    regridder = xesmf.Regridder(
        described(grid.lat, grid.lon, ("lat", "lon")),
        described(lat, lon, ("point", "point") if points else ("lat", "lon")),
        _ESMF[method],
        # ESMF closes the circle by itself where the cells have edges.
        periodic=grid.periodic and method != "conservative",
        locstream_out=points,
    )
    return sp.csr_array(regridder.weights.data.to_scipy_sparse())


def _apply(field: npt.NDArray[Any], *, recipe: _Recipe) -> npt.NDArray[Any]:
    """Regrid an array, shape (..., lat, lon) to (..., *sizes)."""
    weights = _weights(recipe)
    flat = field.reshape(-1, field.shape[-2] * field.shape[-1]).astype(float).T
    valid = np.isfinite(flat)
    if valid.all():
        share = np.broadcast_to(np.asarray(weights.sum(axis=1)).reshape(-1, 1), (weights.shape[0], flat.shape[1]))
    else:
        share = weights @ valid.astype(float)
        flat = np.where(valid, flat, 0.0)
    total = weights @ flat
    enough = share >= _COVER[recipe.method]
    out = np.divide(total, share, out=np.full(total.shape, np.nan), where=enough)
    return np.asarray(out.T.reshape(*field.shape[:-2], *recipe.sizes), _float_type(field.dtype))


def _float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.kind == "f" else np.dtype(float)


def regrid(ds: _Data, target: Target, method: Method = "bilinear", engine: Engine = "auto") -> _Data:
    """Bring every field of a Dataset to another grid, or to points.

    Parameters
    ----------
    ds
        Dataset or DataArray on a grid with 1-D latitude and longitude, in any order and longitude convention.
    target
        Dataset or DataArray with the latitudes and longitudes that are wanted, 1-D each: on dimensions of their own (a
        grid), or on the same one (points); or a model.
    method
        ``"bilinear"``, ``"conservative"`` (area means, grids only) or ``"nearest"``.
    engine
        ``"embedded"``, ``"xesmf"``, or ``"auto"``: xESMF where it is installed.

    Returns
    -------
    Dataset or DataArray
        Same variables and attributes; those without latitude and longitude unchanged. Lazy where `ds` is.

    Raises
    ------
    GridError, DimensionError
        If source or target have no such coordinates, or the method needs cells and the target has points.
    ChunkError
        If latitude or longitude are split into several dask chunks.
    SlamsError
        If ``engine="xesmf"`` and it is not installed.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> ds = xr.Dataset({"t": (("lat", "lon"), [[0.0, 2.0], [4.0, 6.0]])}, {"lat": [0.0, 10.0], "lon": [0.0, 10.0]})
    >>> target = xr.Dataset(coords={"lat": [5.0], "lon": [0.0, 5.0]})
    >>> regrid(ds, target, engine="embedded").t.values
    array([[2., 3.]])
    """
    if method not in _ESMF or engine not in ("auto", "xesmf", "embedded"):
        msg = (
            f"Got method={method!r}, engine={engine!r}; expected a method of {listed(_ESMF)} and an engine of "
            "'auto', 'xesmf', 'embedded'."
        )
        raise GridError(msg)
    if isinstance(ds, xr.DataArray):
        # Under a name that no coordinate has, as a DataArray may be called like one of its own.
        inner = regrid(ds.to_dataset(name="__regrid__"), target, method, engine)["__regrid__"]
        return inner.rename(ds.name)
    grid = grid_of(ds)
    to_lat, to_lon, points = _target(ds, target)
    if points and method == "conservative":
        msg = (
            "method='conservative' averages over cells, and the target has points. "
            f"Use {listed(['bilinear', 'nearest'])}."
        )
        raise GridError(msg)
    recipe = _Recipe(
        lat=tuple(grid.lat.tolist()),
        lon=tuple(grid.lon.tolist()),
        to_lat=tuple(np.asarray(to_lat.values, float).tolist()),
        to_lon=tuple(np.asarray(to_lon.values, float).tolist()),
        points=points,
        method=method,
        engine=_engine(engine),
    )
    dims = (str(to_lat.dims[0]),) if points else (str(to_lat.dims[0]), str(to_lon.dims[0]))
    core = (grid.lat_dim, grid.lon_dim)
    out: dict[Hashable, xr.DataArray] = {}
    for name, da in ds.data_vars.items():
        if set(core) <= set(da.dims) and da.dtype.kind in "fiub":
            out[name] = _regrid_one(da, core, dims, recipe)
        elif not set(core) & set(da.dims):
            out[name] = da
    kept = {k: c for k, c in ds.coords.items() if not set(core) & set(c.dims) and k not in (to_lat.name, to_lon.name)}
    return xr.Dataset(out, coords=kept, attrs=ds.attrs).assign_coords({str(c.name): c for c in (to_lat, to_lon)})


def _regrid_one(da: xr.DataArray, core: tuple[str, str], dims: tuple[str, ...], recipe: _Recipe) -> xr.DataArray:
    split = [d for d in core if len(da.chunksizes.get(d, (0,))) > 1]
    if split:
        fix = ", ".join(f"{d!r}: -1" for d in split)
        msg = (
            f"{listed(split)} of {da.name!r} is split into several dask chunks; "
            "a field must lie in one to be regridded. "
            f"Rechunk: ds.chunk({{{fix}}})."
        )
        raise ChunkError(msg)
    clash = [d for d in dims if d in da.dims and d not in core]
    if clash:
        msg = f"{da.name!r} and the target both have dimension {listed(clash)}. Rename it in one of them."
        raise DimensionError(msg)
    dtype = _float_type(da.dtype)
    # Under names of our own, since source and target often call dimensions of different sizes alike.
    inner = [f"__source_{d}" for d in core]
    bare = da.drop_vars([c for c, v in da.coords.items() if set(v.dims) & set(core)])
    result = xr.apply_ufunc(
        _apply,
        bare.rename(dict(zip(core, inner, strict=True))),
        kwargs={"recipe": recipe},
        input_core_dims=[inner],
        output_core_dims=[list(dims)],
        dask="parallelized",
        keep_attrs=True,
        dask_gufunc_kwargs={
            "output_sizes": dict(zip(dims, recipe.sizes, strict=True)),
            "meta": np.empty((0,) * (da.ndim - 2 + len(dims)), dtype),
        },
    )
    # New dimensions stand where the old ones stood.
    places = {core[0]: dims[:1], core[1]: dims[1:]}
    order = [n for d in da.dims for n in places.get(str(d), (d,))]
    regridded: xr.DataArray = result.transpose(*order)
    return regridded


def _target(ds: xr.Dataset, target: Target) -> tuple[xr.DataArray, xr.DataArray, bool]:
    """Latitudes and longitudes that are wanted, and whether they are points."""
    if isinstance(target, Model | Spec):
        spec = target.spec if isinstance(target, Model) else target
        names = [str(coordinate(ds, kind)) for kind in ("lat", "lon")]
        lat, lon = (
            xr.DataArray(np.asarray(v), dims=n, name=n, attrs=ds[n].attrs)
            for n, v in zip(names, (spec.lat, spec.lon), strict=True)
        )
        return lat.assign_coords({names[0]: lat}), lon.assign_coords({names[1]: lon}), False
    found = coordinate(target, "lat"), coordinate(target, "lon")
    if found[0] is None or found[1] is None:
        msg = f"The target has no latitude and longitude among {listed(target.coords)}. Name them 'lat' and 'lon'."
        raise DimensionError(msg)
    lat, lon = target[found[0]], target[found[1]]
    if lat.ndim == 1 and lat.dims == lon.dims:
        return lat, lon, True
    if lat.ndim == 0 and lon.ndim == 0:
        return lat.expand_dims("point").drop_vars(found), lon.expand_dims("point").drop_vars(found), True
    grid_of(target)
    return lat, lon, False


def _engine(engine: Engine) -> Literal["xesmf", "embedded"]:
    if engine == "embedded":
        return "embedded"
    try:
        import xesmf  # noqa: F401
    except ImportError as e:
        if engine == "auto":
            return "embedded"
        msg = (
            "engine='xesmf' needs the package xesmf, which needs ESMF (conda install -c conda-forge xesmf). "
            "Or use engine='embedded'."
        )
        raise SlamsError(msg) from e
    return "xesmf"

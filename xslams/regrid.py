"""Bring fields to another grid or to points: sparse weights, from the embedded engine or from xESMF, applied lazily.

The weights are a matrix that acts on the flattened grid; a missing value, or a target outside of the source, is missing
in the result (bilinear, nearest), or is left out of the mean as long as half of the target cell is covered
(conservative).

A task graph carries neither weights nor, more than once, coordinates: these are one array that all tasks refer to, and
every process builds the weights from it, or reads them from the cache, when the first block comes along.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import ChunkError, DimensionError, GridError, SlamsWarning, VariableError
from xslams.geometry import Curvilinear, Geometry, Points, geometry_of
from xslams.labels.coordinates import Grid, coordinate, listed
from xslams.model import Model
from xslams.spec import Spec
from xslams.typing import Edges, FloatArray, Method
from xslams.weights import check_method
from xslams.weights.esmf import require_xesmf
from xslams.weights.store import build_weights, key_of, stored

__all__ = ["Engine", "Target", "regrid"]

Engine = Literal["auto", "xesmf", "embedded"]
Target = xr.Dataset | xr.DataArray | Model | Spec
"""What names a grid: data with latitudes and longitudes, or a model."""

_Data = TypeVar("_Data", xr.Dataset, xr.DataArray)
_CHOICES: dict[str, tuple[str, ...]] = {
    "method": ("bilinear", "conservative", "nearest"),
    "engine": ("auto", "xesmf", "embedded"),
    "edges": ("great_circle", "parallel"),
}
# Share of the weights that must fall on values: all of them, or half of a cell.
_COVER = {"bilinear": 1.0 - 1e-6, "nearest": 1.0 - 1e-6, "conservative": 0.5 - 1e-9}
# Values that are converted to double precision and multiplied at once.
_SLAB = 4_000_000


@dataclass(frozen=True)
class _Packed:
    """How to read a geometry from the array that a graph carries."""

    kind: type[Geometry]
    shapes: tuple[tuple[int, ...] | None, ...]
    periodic: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a field."""
        first, second = self.shapes[:2]
        assert first is not None and second is not None
        return (*first, *second) if self.kind is Grid else first

    @classmethod
    def of(cls, geometry: Geometry) -> tuple[_Packed, FloatArray]:
        """Header and array."""
        parts: list[FloatArray | None] = [geometry.lat, geometry.lon]
        if isinstance(geometry, Grid):
            parts += [geometry.lat_bounds, geometry.lon_bounds]
        elif isinstance(geometry, Curvilinear):
            parts.append(geometry.corners)
        flat = [np.ravel(p) for p in parts if p is not None]
        header = cls(
            type(geometry), tuple(None if p is None else p.shape for p in parts), getattr(geometry, "periodic", False)
        )
        return header, np.concatenate(flat)

    @property
    def size(self) -> int:
        """Length of the array."""
        return sum(int(np.prod(s)) for s in self.shapes if s is not None)

    def read(self, flat: FloatArray) -> Geometry:
        """Geometry, without the names of its dimensions."""
        parts: list[Any] = []
        for shape in self.shapes:
            size = 0 if shape is None else int(np.prod(shape))
            parts.append(None if shape is None else flat[:size].reshape(shape))
            flat = flat[size:]
        if self.kind is Grid:
            return Grid(parts[0], parts[1], "lat", "lon", self.periodic, parts[2], parts[3])
        if self.kind is Curvilinear:
            return Curvilinear(parts[0], parts[1], ("y", "x"), parts[2])
        return Points(parts[0], parts[1])


@dataclass(frozen=True)
class _Recipe:
    """What determines the weights, but for the coordinates; small, so that it may be in every task of a graph."""

    key: str
    source: _Packed
    target: _Packed
    sizes: tuple[int, ...]
    method: Method
    edges: Edges
    engine: Literal["xesmf", "embedded"]

    def __dask_tokenize__(self) -> tuple[str, str]:
        return type(self).__name__, self.key


def _apply(field: npt.NDArray[Any], coordinates: FloatArray, *, recipe: _Recipe) -> npt.NDArray[Any]:
    """Regrid an array, shape (..., *source) to (..., *target)."""

    def build() -> sp.csr_array:
        source, target = coordinates[: recipe.source.size], coordinates[recipe.source.size :]
        return build_weights(
            recipe.source.read(source), recipe.target.read(target), recipe.method, recipe.edges, recipe.engine
        )

    weights = stored(recipe.key, build)
    cover = np.asarray(weights.sum(axis=1)).reshape(-1, 1)
    loop = field.shape[: field.ndim - len(recipe.source.shape)]
    flat = field.reshape(-1, weights.shape[1])
    out = np.empty((len(flat), weights.shape[0]), _float_type(field.dtype))
    step = max(1, _SLAB // max(weights.shape))
    for start in range(0, len(flat), step):
        slab = slice(start, start + step)
        out[slab] = _product(weights, cover, flat[slab].T.astype(float), _COVER[recipe.method]).T
    return out.reshape(*loop, *recipe.sizes)


def _product(weights: sp.csr_array, cover: FloatArray, fields: FloatArray, enough: float) -> FloatArray:
    """Weights times fields, shape (source, n) to (target, n), where enough of the weights fall on values."""
    valid = np.isfinite(fields)
    share = cover
    if not valid.all():
        share = weights @ valid.astype(float)
        fields = np.where(valid, fields, 0.0)
    total = weights @ fields
    where = np.broadcast_to(share >= enough, total.shape)
    return np.asarray(np.divide(total, share, out=np.full(total.shape, np.nan), where=where))


def _float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.kind == "f" else np.dtype(float)


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
        have the areas of the quadrature.
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
    GridError, DimensionError
        If source or target have no such coordinates, or the method needs cells and there are points.
    ChunkError
        If latitude or longitude are split into several dask chunks.
    VariableError
        If integers are packed and were not decoded.
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
    for what, got in (("method", method), ("engine", engine), ("edges", edges)):
        if got not in _CHOICES[what]:
            msg = f"Got {what}={got!r}; expected one of {listed(_CHOICES[what])}."
            raise GridError(msg)
    if isinstance(ds, xr.DataArray):
        # Under a name that no coordinate has, as a DataArray may be called like one of its own.
        name = "__regrid__" if ds.name is None or ds.name in ds.coords or ds.name in ds.dims else ds.name
        inner = regrid(ds.to_dataset(name=name), target, method, engine, edges=edges)[name]
        return inner.rename(ds.name)
    source = geometry_of(ds)
    coords: dict[Hashable, Any]
    wanted, coords = _target(ds, target)
    check_method(source, wanted, method, edges)
    if engine == "xesmf":
        require_xesmf()
        if edges != "great_circle":
            msg = f"ESMF joins neighbours by great circles; got edges={edges!r}. Use engine='embedded'."
            raise GridError(msg)
    chosen: Literal["xesmf", "embedded"] = "xesmf" if engine == "xesmf" else "embedded"
    packed = [_Packed.of(g) for g in (source, wanted)]
    recipe = _Recipe(
        key_of(source, wanted, method, edges, chosen), packed[0][0], packed[1][0], wanted.shape, method, edges, chosen
    )
    coordinates = np.concatenate([p[1] for p in packed])
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
            stacklevel=2,
        )
    replaced = {*coords, coordinate(ds, "lat"), coordinate(ds, "lon")}
    kept: dict[Hashable, xr.DataArray] = {
        k: c for k, c in ds.coords.items() if not set(core) & set(c.dims) and k not in replaced
    }
    return xr.Dataset(out, coords=kept, attrs=ds.attrs).assign_coords(coords)


def _regrid_one(
    da: xr.DataArray, core: tuple[str, ...], dims: tuple[str, ...], recipe: _Recipe, coordinates: FloatArray
) -> xr.DataArray:
    split = [d for d in core if len(da.chunksizes.get(d, (0,))) > 1]
    if split:
        fix = ", ".join(f"{d!r}: -1" for d in split)
        msg = (
            f"{listed(split)} of {da.name!r} is split into several dask chunks; "
            "a field must lie in one to be regridded. "
            f"Rechunk: ds.chunk({{{fix}}})."
        )
        raise ChunkError(msg)
    _check_dims(da, core, dims)
    packing = [a for a in ("scale_factor", "add_offset", "_FillValue", "missing_value") if a in da.attrs]
    if packing and da.dtype.kind in "iu":
        msg = (
            f"{da.name!r} is packed ({listed(packing)} among its attributes), and a mean of packed values and fill "
            "values is wrong. Decode it: xr.decode_cf(ds)."
        )
        raise VariableError(msg)
    dtype = _float_type(da.dtype)
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
        _apply,
        bare.rename(dict(zip(core, inner, strict=True))),
        shared,
        kwargs={"recipe": recipe},
        input_core_dims=[inner, ["__coordinates"]],
        output_core_dims=[outer],
        dask="parallelized",
        keep_attrs="override",
        dask_gufunc_kwargs={
            "output_sizes": dict(zip(outer, recipe.sizes, strict=True)),
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
    regridded: xr.DataArray = result.transpose(*order).rename(dict(zip(outer, dims, strict=True)))
    return regridded


def _check_dims(da: xr.DataArray, core: tuple[str, ...], dims: tuple[str, ...]) -> None:
    """Raise where a dimension of the target means something else in the data."""
    clash = [d for d in dims if d in da.dims and d not in core]
    if clash:
        msg = (
            f"{da.name!r} and the target both have dimension {listed(clash)}. Rename it in one of them: "
            f"ds.rename({{{clash[0]!r}: ...}})."
        )
        raise DimensionError(msg)


def _target(ds: xr.Dataset, target: Target) -> tuple[Geometry, dict[Hashable, Any]]:
    """Where values are wanted, and the coordinates of the result."""
    coords: dict[Hashable, Any] = {}
    if isinstance(target, Model | Spec):
        spec = target.spec if isinstance(target, Model) else target
        grid = Grid.of_spec(spec)
        lat, lon = (str(coordinate(ds, kind)) for kind in ("lat", "lon"))
        for name, values in ((lat, grid.lat), (lon, grid.lon)):
            attrs = {k: v for k, v in ds[name].attrs.items() if k != "bounds"}
            coords[name] = xr.DataArray(values, dims=name, name=name, attrs=attrs)
        return Grid(grid.lat, grid.lon, lat, lon, grid.periodic), coords
    given: object = target
    if not isinstance(given, xr.Dataset | xr.DataArray):
        how = f": xslams.open_model({given!r})" if isinstance(given, str) else ""
        msg = (
            f"Got a target of type {type(given).__name__}; expected a Dataset or DataArray with the latitudes and "
            f"longitudes that are wanted, or a model{how}."
        )
        raise DimensionError(msg)
    lat_name, lon_name = coordinate(target, "lat"), coordinate(target, "lon")
    if lat_name is None or lon_name is None:
        msg = f"The target has no latitude and longitude among {listed(target.coords)}. Name them 'lat' and 'lon'."
        raise DimensionError(msg)
    places = target if isinstance(target, xr.Dataset) else target.coords.to_dataset()
    if places[lat_name].ndim == 0 and places[lon_name].ndim == 0:
        places = places[[lat_name, lon_name]].reset_coords().expand_dims("point").set_coords([lat_name, lon_name])
    geometry = geometry_of(places)
    # The names of stations and the bounds of cells come along.
    for name in (lat_name, lon_name, *geometry.dims):
        if name in places.coords and set(places[name].dims) <= set(geometry.dims):
            coords[name] = places.variables[name]
            bounds = places[name].attrs.get("bounds")
            if bounds in places.variables:
                coords[bounds] = places.variables[bounds]
    return geometry, coords

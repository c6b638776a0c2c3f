"""Observations of a known truth, for twin experiments: thinned, coarsened or at stations, with noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import xarray as xr

from xslams.arguments import is_number, is_whole, require_whole, shown
from xslams.errors import DimensionError, ObservationError, ObservationOptionError
from xslams.geometry import Grid
from xslams.labels.calendar import time_step
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.grid import grid_of
from xslams.labels.periods import time_method
from xslams.labels.repeats import in_one_part
from xslams.labels.valid_values import with_valid_values, without_limits
from xslams.observations.footprints import BoxMeans, Footprints
from xslams.observations.observation import Observation
from xslams.observations.stated_errors import check_stated
from xslams.options import MOST_SEED
from xslams.typing import FloatArray, Method
from xslams.weights import point_weights

__all__ = ["simulate_observations"]


def simulate_observations(
    truth: xr.DataArray,
    *,
    coarsen: int | Mapping[str, int] | None = None,
    every: int | Mapping[str, int] | None = None,
    stations: int | xr.Dataset | None = None,
    mask: xr.DataArray | float | None = None,
    error: float | xr.DataArray = 0.0,
    seed: int = 0,
) -> Observation:
    """Observe a known field, with a Gaussian error.

    Parameters
    ----------
    truth
        Field on a grid with 1-D latitude and longitude, or of one of `xslams.systems`.
    coarsen
        Cells to average along latitude and longitude, or along the axes of a system: a mapping
        ``{"lat": 2, "lon": 2}``, or a number for all. Cells that fill no box are left out.
    every
        Keep every n-th frame, or with a mapping every n-th position along the dimensions that it names.
    stations
        Number of random cells whose values are reported, or a Dataset of points with latitudes and longitudes, at which
        the field is interpolated bilinearly.
    mask
        True where there is an observation, with some of the dimensions of the field; or the share of cells, drawn at
        random once and the same in all frames, that are observed.
    error
        Standard deviation of the error in the units of the field.
    seed
        Of the random cells and of the noise.

    Returns
    -------
    Observation
        Observations with their error, whose rows are exact for a model on the grid of the field.

    Raises
    ------
    DimensionError, GridError
        If the field has no such grid, or has no dimension of that name.
    ObservationError
        If arguments contradict each other or are out of range.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xslams
    >>> truth = xr.DataArray(
    ...     np.arange(16.0).reshape(1, 4, 4),
    ...     coords={"time": np.array(["2000-01"], "M8[ns]"), "lat": [-45.0, -15, 15, 45], "lon": [0, 90, 180, 270.0]},
    ...     dims=("time", "lat", "lon"),
    ...     name="olr",
    ...     attrs={"units": "W m-2"},
    ... )
    >>> xslams.simulate_observations(truth, coarsen={"lat": 2, "lon": 2}).data.values
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """
    given: object = truth
    if not isinstance(given, xr.DataArray):
        msg = f"truth must be a DataArray; got {type(given).__name__}. Choose a variable: truth['t']."
        raise ObservationOptionError(msg)
    check_stated(error, "error")
    require_whole("seed", seed, 0, MOST_SEED)
    if stations is not None and coarsen is not None:
        msg = "Got stations= and coarsen=; an instrument reports at points or averages over boxes. Give one of them."
        raise ObservationError(msg)
    if isinstance(stations, xr.Dataset) and mask is not None and not isinstance(mask, xr.DataArray):
        msg = "mask= as a share of cells makes no sense with given stations. Select stations instead."
        raise ObservationError(msg)
    # Noise may take observations out of the range of what is observed.
    truth = without_limits(with_valid_values(truth))
    rng = np.random.default_rng(seed)
    space = _Space.of(truth)
    if isinstance(mask, xr.DataArray):
        truth = truth.where(mask.astype(bool))
    elif mask is not None:
        if not is_number(mask) or not 0 < mask <= 1:
            msg = (
                f"mask={shown(mask)} is a share of cells, above 0 and up to 1; "
                "or give a DataArray that is True where observed."
            )
            raise ObservationOptionError(msg)
        observed = rng.permutation(space.size).reshape(space.shape) < round(mask * space.size)
        truth = truth.where(xr.DataArray(observed, dims=space.dims))
    data = _thin(_stamped(truth), every)
    method: Method = "nearest"
    footprints: Footprints | None = None
    if coarsen is not None:
        data, footprints = _coarsen(data, coarsen)
        method = "conservative"
    elif isinstance(stations, xr.Dataset):
        data, method = _interpolate(data, stations), "bilinear"
    elif stations is not None:
        data = _pick(data, stations, rng)
    if isinstance(error, xr.DataArray) and bool((error < 0).any()):
        msg = f"error= is negative; it is a standard deviation in {truth.attrs.get('units', 'the units of truth')}."
        raise ObservationOptionError(msg)
    sigma = error.reset_coords(drop=True) if isinstance(error, xr.DataArray) else error
    noise = xr.DataArray(rng.standard_normal(data.shape), dims=data.dims)
    data = (data + noise * sigma).transpose(*data.dims).assign_attrs(truth.attrs).rename(truth.name)
    return Observation(data, error=error, method=method).replace(footprints=footprints)


@dataclass(frozen=True)
class _Space:
    """Dimensions of one frame of a field.

    Attributes
    ----------
    dims, shape
        Names and sizes.
    grid
        Grid of latitudes and longitudes; None for a system in a space of its own.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    grid: Grid | None

    @classmethod
    def of(cls, field: xr.DataArray) -> _Space:
        """Latitudes and longitudes, or every dimension but time of a field on flat axes."""
        flat = tuple(str(d) for d in field.dims if d != "time")
        on_axes = all(d in field.coords and field[d].attrs.get("axis") in ("X", "Y") for d in flat)
        if on_axes and coordinate(field, "lat") is None:
            return cls(flat, tuple(field.sizes[d] for d in flat), None)
        grid = grid_of(field)
        return cls(grid.dims, grid.shape, grid)

    @property
    def size(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    def axis(self, dim: str, field: xr.DataArray) -> tuple[str, FloatArray]:
        """Name and values of the coordinate of a dimension."""
        if self.grid is None:
            return dim, np.asarray(field[dim].values, float)
        if dim == self.grid.lat_dim:
            return str(coordinate(field, "lat")), self.grid.lat
        return str(coordinate(field, "lon")), np.unwrap(self.grid.lon, period=360.0)


def _stamped(truth: xr.DataArray) -> xr.DataArray:
    """Truth whose times say how long its means are, in place of bounds, which a DataArray does not have.

    The distance of those that are kept says nothing of it.
    """
    name = coordinate(truth, "time")
    if name is None:
        return truth
    time = truth[name].copy()
    for holder in (time.attrs, time.encoding):
        holder.pop("bounds", None)
    step = time_step(time)
    if step is not None and time_method(truth.attrs) not in ("", "point") and "avg_period" not in time.attrs:
        days, minutes = divmod(round(60 * step), 1440)
        time.attrs["avg_period"] = f"0000-00-{days:02d} {minutes // 60:02d}:{minutes % 60:02d}:00"
    return truth.assign_coords({name: time})


def _thin(truth: xr.DataArray, every: int | Mapping[str, int] | None) -> xr.DataArray:
    if every is None:
        return truth
    if not isinstance(every, Mapping):
        name = coordinate(truth, "time") or ("time" if "time" in truth.coords else None)
        if name is None:
            msg = f"every={every!r} keeps every n-th frame, but there is no time among {listed(truth.dims)}."
            raise DimensionError(msg)
        every = {str(truth[name].dims[0]): every}
    _known(truth, every, "every")
    return truth.isel({d: slice(None, None, n) for d, n in every.items()})


def _known(truth: xr.DataArray, sizes: Mapping[str, int], what: str) -> None:
    if any(d not in truth.dims or not is_whole(n, 1) for d, n in sizes.items()):
        msg = (
            f"{what}={dict(sizes)!r} needs whole numbers of at least 1 along dimensions of the field, "
            f"{listed(truth.dims)}."
        )
        raise DimensionError(msg)


def _coarsen(data: xr.DataArray, coarsen: int | Mapping[str, int]) -> tuple[xr.DataArray, Footprints | None]:
    """Box means, and which cells they are means of where coordinates do not tell it exactly."""
    data = in_one_part(data)
    space = _Space.of(data)
    sizes = coarsen if isinstance(coarsen, Mapping) else dict.fromkeys(space.dims, coarsen)
    _known(data, sizes, "coarsen")
    if other := [d for d in sizes if d not in space.dims]:
        msg = f"coarsen= averages along {listed(space.dims)} only; got {listed(other)}. Average those before."
        raise ObservationError(msg)
    # A box with a missing cell has no value: the mean of the others would not be what the rows compute.
    out: xr.DataArray = data.coarsen(dict(sizes), boundary="trim").reduce(np.mean)
    parts = []
    for dim in space.dims:
        name, axis = space.axis(dim, data)
        size = int(sizes.get(dim, 1))
        count = len(axis) // size
        if count == 0:
            msg = f"coarsen= asks for boxes of {size} cells along {dim!r}, which has {len(axis)}."
            raise ObservationError(msg)
        parts.append(sp.csr_array(sp.kron(sp.eye_array(count), np.full((1, size), 1.0 / size))))
        parts[-1].resize((count, len(axis)))
        out = out.assign_coords({name: (dim, axis[: count * size].reshape(count, size).mean(axis=1), data[name].attrs)})
    if space.grid is None:
        # On flat axes the boxes are the cells of the coarser lattice.
        return out, None
    return out, BoxMeans(space.grid, sp.csr_array(sp.kron(parts[0], parts[1], format="csr")))


def _pick(data: xr.DataArray, count: int, rng: np.random.Generator) -> xr.DataArray:
    """Values of random cells."""
    space = _Space.of(data)
    if not space.dims:
        msg = f"stations={count!r} asks for random cells; {data.name!r} has one value for each time. Leave it out."
        raise ObservationError(msg)
    others = [d for d in data.dims if d not in space.dims]
    usable = np.flatnonzero(data.notnull().any(others).transpose(*space.dims).values)
    if not is_whole(count, 1, len(usable)):
        most = f"{len(usable)}, the number of cells with values"
        msg = f"stations={shown(count)} asks for random cells; expected 1 to {most}."
        raise ObservationError(msg)
    cells = np.sort(rng.choice(usable, count, replace=False))
    places = dict(zip(space.dims, np.unravel_index(cells, space.shape), strict=True))
    out = data.isel({dim: xr.DataArray(index, dims="station") for dim, index in places.items()})
    return out.assign_coords(station=np.arange(count)).transpose(..., "station")


def _interpolate(data: xr.DataArray, stations: xr.Dataset) -> xr.DataArray:
    """Values at given points."""
    grid = _Space.of(data).grid
    if grid is None:
        msg = f"stations= at given points needs latitudes and longitudes; {data.name!r} has {data.dims}. Give a number."
        raise ObservationError(msg)
    names = coordinate(stations, "lat") or "lat", coordinate(stations, "lon") or "lon"
    dims = [stations[n].dims for n in names if n in stations.variables]
    if len(dims) != 2 or dims[0] != dims[1] or len(dims[0]) != 1:
        msg = f"stations= needs latitudes and longitudes along one dimension; got {listed(stations.variables)}."
        raise ObservationError(msg)
    lat, lon = stations[names[0]], stations[names[1]]
    weights = point_weights(grid, lat.values, lon.values)
    outside = np.diff(weights.indptr) == 0
    if outside.any():
        msg = (
            f"{int(outside.sum())} of {len(outside)} stations lie outside of the field's grid, {grid}. Leave them out."
        )
        raise ObservationError(msg)
    others = [d for d in data.dims if d not in (grid.lat_dim, grid.lon_dim)]
    stacked = data.transpose(*others, grid.lat_dim, grid.lon_dim)
    values = np.asarray(stacked.values, float)
    flat = values.reshape(-1, values.shape[-2] * values.shape[-1])
    out = np.asarray((weights @ flat.T).T).reshape(*values.shape[:-2], -1)
    dim = lat.dims[0]
    coords = {k: v for k, v in data.coords.items() if not {grid.lat_dim, grid.lon_dim} & set(v.dims)}
    coords |= {"lat": (dim, lat.values, lat.attrs), "lon": (dim, lon.values, lon.attrs)}
    if dim in stations.coords:
        coords[dim] = stations[dim]
    return xr.DataArray(out, dims=(*others, dim), coords=coords, name=data.name, attrs=data.attrs)

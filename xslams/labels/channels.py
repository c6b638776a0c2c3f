"""Exchange of a Dataset with the (time, channel, lat, lon) arrays of a model.

Only labels and attributes are read: data that are lazy stay lazy, and nothing is ever rechunked along a dimension of
the user.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ChunkError, DimensionError, GridError, OptionError, UnitError
from xslams.labels.calendar import check_order, frame_numbers, hours, on_time_axis, stamp, undecoded
from xslams.labels.coordinates import coordinate, levels_along, listed, match_axis
from xslams.labels.grid import grid_of, grid_of_spec
from xslams.labels.units import convert_units
from xslams.labels.variables import align_levels, match_variables
from xslams.spec import Spec, VariableSpec
from xslams.typing import FloatArray

__all__ = ["check_time", "from_channels", "grid_positions", "regrid_line", "require_not_empty", "to_channels"]


def check_time(ds: xr.Dataset, spec: Spec) -> None:
    """Check the time axis and the chunks of a Dataset against a model.

    Gaps are allowed: a longer step than the model's begins a new stretch.

    Parameters
    ----------
    ds
        State, or the coordinates of one.
    spec
        The model's.

    Raises
    ------
    DimensionError
        If there is no time, or times repeat, descend, or do not follow the model's step.
    ChunkError
        If latitude, longitude or level are split into several chunks.
    """
    require_not_empty(ds)
    name = coordinate(ds, "time")
    if name is None:
        remedy = undecoded(ds) or "Assign one: ds.assign_coords(time=...)."
        msg = f"Found no time coordinate among {listed(ds.coords)}. {remedy[0].upper()}{remedy[1:]}"
        raise DimensionError(msg)
    check_order(ds[name])
    _check_steps(ds[name], spec)
    _check_chunks(ds)


def require_not_empty(ds: xr.Dataset) -> None:
    """Raise `OptionError` for a Dataset without values, as a selection that found nothing leaves it.

    Parameters
    ----------
    ds
        State, or the coordinates of one.

    Examples
    --------
    >>> require_not_empty(xr.Dataset(coords={"time": np.array([], "M8[ns]")}))
    Traceback (most recent call last):
    xslams.errors.OptionError: The Dataset is empty: 'time' has no values. A selection before may have found nothing.
    """
    blank = [d for d, size in ds.sizes.items() if not size]
    if blank or not ds.variables:
        what = f"{listed(blank)} {'has' if len(blank) == 1 else 'have'} no values" if blank else "it has no variable"
        msg = f"The Dataset is empty: {what}. A selection before may have found nothing."
        raise OptionError(msg)


def _check_steps(time: xr.DataArray, spec: Spec) -> None:
    """Raise unless frames are whole steps apart, most of them one."""
    apart, steps = np.diff(hours(time)), np.diff(frame_numbers(time, spec))
    if not steps.size:
        return
    monthly = spec.frame is not None and spec.frame.months
    length = spec.frame.length if spec.frame is not None and monthly else f"{spec.time_step:g} h"
    off = np.abs(steps - np.rint(steps)) > 1e-3
    if off.any() or steps.min() < 0.999:
        i = int(np.flatnonzero(off | (steps < 0.999))[0])
        msg = (
            f"The frames at {stamp(time.values[i])} and {stamp(time.values[i + 1])} are {apart[i]:g} h apart; "
            f"the model's frames are {length} apart. Average or select: {_resample(spec)}."
        )
        raise DimensionError(msg)
    if np.median(steps) > 1.5:
        msg = (
            f"The step is {np.median(apart):g} h; the model's frames are {length} apart. "
            "Give a time axis with that step "
            "(with background_error=None the values are not used: ds.resample(time=...).asfreq())."
        )
        raise DimensionError(msg)


def _check_chunks(ds: xr.Dataset) -> None:
    """Raise where a frame lies in several chunks."""
    core = {coordinate(ds, kind) for kind in ("lat", "lon", "level")} - {None}
    split = {
        str(d) for da in ds.data_vars.values() for d, c in da.chunksizes.items() if str(d) in core and len(c) > 1
    }  # fmt: skip
    if split:
        fix = ", ".join(f"{d!r}: -1" for d in sorted(split))
        msg = (
            f"{listed(sorted(split))} {'is' if len(split) == 1 else 'are'} split into several dask chunks; a frame "
            f"must lie in one. Rechunk: ds.chunk({{{fix}}})."
        )
        raise ChunkError(msg)


def _resample(spec: Spec) -> str:
    step = spec.time_step
    frequency = f"{step / 24:g}D" if step % 24 == 0 else f"{step:g}h"
    if spec.frame is not None and spec.frame.months:
        frequency = f"{spec.frame.months}MS"
    return f"ds.resample(time={frequency!r}).mean()"


def to_channels(
    ds: xr.Dataset, spec: Spec, *, roles: Sequence[str] = ("state", "aux"), allow_missing: bool = False
) -> xr.DataArray:
    """Stack the variables of a model from a Dataset, in the order, units and orientation of the model.

    Parameters
    ----------
    ds
        Dataset on the model's grid; latitudes and longitudes may be in another order or convention.
    spec
        The model's.
    roles
        Which variables to take, ``"state"``, ``"aux"`` or both.
    allow_missing
        Fill variables that are not in the Dataset with NaN instead of raising.

    Returns
    -------
    xarray.DataArray
        Dimensions (time, channel, lat, lon), named like this, floats, lazy where the Dataset is.

    Raises
    ------
    VariableError, UnitError, DimensionError, GridError, ChunkError
        If a variable is missing, has other units, dimensions or levels, or the grid is not the model's.
    """
    ds = on_time_axis(ds)
    variables = [v for v in spec.variables if v.role in roles]
    names = match_variables(ds, variables, allow_missing=allow_missing)
    if not names and variables:
        match_variables(ds, variables)
    check_time(ds[list(names.values())], spec)
    positions = dict(zip(("lat", "lon"), grid_positions(ds, spec), strict=True))
    parts = {v.name: _reordered(_field(ds, names[v.name], v), positions) for v in variables if v.name in names}
    first = next(iter(parts.values()))
    stack = [
        parts[v.name] if v.name in parts else xr.full_like(first.isel(channel=[0] * v.channels), np.nan)
        for v in variables
    ]
    out = xr.concat(stack, "channel", coords="minimal", compat="override", combine_attrs="drop")
    if out.chunks is not None:
        # The channel dimension is ours, so joining its pieces is no rechunking of the user's.
        out = out.chunk({"channel": -1})
    return out.assign_coords(lat=np.asarray(spec.lat), lon=np.asarray(spec.lon)).rename("channels")


def _field(ds: xr.Dataset, name: str, variable: VariableSpec) -> xr.DataArray:
    """Variable of a Dataset in the units of the model, with dimensions (time, channel, lat, lon) and time alone."""
    grid, time = grid_of(ds), coordinate(ds, "time")
    da = _take_levels(convert_units(ds[name], variable.units), variable).reset_coords(drop=True)
    named = ((time, "time"), (grid.lat_dim, "lat"), (grid.lon_dim, "lon"))
    da = da.rename({d: n for d, n in named if d is not None and d != n and d in da.dims})
    extra = [d for d in da.dims if d not in ("time", "channel", "lat", "lon")]
    lacking = [d for d in ("time", "lat", "lon") if d not in da.dims]
    if extra or lacking:
        msg = (
            f"{name!r} has dimensions {ds[name].dims}; expected time, "
            f"{'level, ' if variable.levels else ''}lat and lon. "
            + " ".join(
                [f"Select along {listed(extra)} with .isel()."] * bool(extra)
                + [f"Add {listed(lacking)} with .expand_dims()."] * bool(lacking)
            )
        )
        raise DimensionError(msg)
    da = da.transpose("time", "channel", "lat", "lon")
    return da.drop_vars([c for c in da.coords if c != "time"], errors="ignore")


def _reordered(da: xr.DataArray, positions: Mapping[str, npt.NDArray[np.intp]]) -> xr.DataArray:
    """Take positions along some dimensions; leave the data as they are where the positions are in order."""
    moved = {d: index for d, index in positions.items() if not np.array_equal(index, np.arange(da.sizes[d]))}
    return da.isel(moved) if moved else da


def grid_positions(
    ds: xr.Dataset | xr.DataArray, spec: Spec, model: str = "model"
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Positions of the model's latitudes and longitudes in the data.

    Parameters
    ----------
    ds
        The data.
    spec
        The model's.
    model
        Python expression of the model, for the line of the message that brings the data to its grid.

    Raises
    ------
    GridError
        If the grid is not the model's.
    """
    wanted = grid_of_spec(spec)
    if (dims := _shared_dims(ds)) is not None:
        msg = (
            f"The data lie at {'points' if len(dims) == 1 else 'places of a curvilinear grid'} along {listed(dims)}; "
            f"the model's grid is {wanted}. Regrid: {regrid_line(ds, model)}."
        )
        raise GridError(msg)
    grid = grid_of(ds)
    positions = match_axis(grid.lat, wanted.lat), match_axis(grid.lon, wanted.lon, period=360.0)
    if positions[0] is None or positions[1] is None or grid.shape != wanted.shape:
        inside = positions[0] is not None and positions[1] is not None
        how = "The model's grid is part of it; take that part" if inside else "Regrid"
        msg = f"The data's grid is {grid}; the model's is {wanted}. {how}: {regrid_line(ds, model)}."
        raise GridError(msg)
    return positions[0], positions[1]


def regrid_line(ds: xr.Dataset | xr.DataArray, model: str) -> str:
    """Return the line of Python that brings data to the grid of a model, given as an expression.

    Examples
    --------
    >>> regrid_line(xr.Dataset(coords={"lat": [0.0], "lon": [0.0]}), "model")
    'ds.slams.regrid(model)'
    """
    dims = _shared_dims(ds)
    # Nothing says which points are neighbours.
    how = ", method='nearest'" if dims is not None and len(dims) == 1 else ""
    return f"ds.slams.regrid({model}{how})"


def _shared_dims(ds: xr.Dataset | xr.DataArray) -> tuple[Hashable, ...] | None:
    """Dimensions of latitude and longitude where they share them, as those of points and curvilinear grids do."""
    lat, lon = coordinate(ds, "lat"), coordinate(ds, "lon")
    if lat is None or lon is None or not ds[lat].ndim or set(ds[lat].dims) != set(ds[lon].dims):
        return None
    return ds[lat].dims


def _take_levels(da: xr.DataArray, variable: VariableSpec) -> xr.DataArray:
    """Select the levels of the model, in its order, as dimension "channel"."""
    name = coordinate(da, "level")
    dim = str(da[name].dims[0]) if name is not None and da[name].ndim == 1 else None
    if dim is None and variable.level_dim in da.dims:
        dim = variable.level_dim
    if not variable.levels:
        if dim is not None and da.sizes[dim] == 1:
            da = da.isel({dim: 0})
        elif dim is not None:
            msg = (
                f"{da.name!r} has {da.sizes[dim]} levels along {dim!r}; the model's {variable.name!r} has none. "
                f"Select one: .sel({dim}=...)."
            )
            raise DimensionError(msg)
        return da.expand_dims("channel")
    if dim is None:
        if variable.channels == 1:
            return da.expand_dims("channel")
        msg = (
            f"{da.name!r} has no vertical dimension; the model's {variable.name!r} has {variable.channels} levels "
            f"({variable.level_dim}). Select these levels, or give a single one its dimension: "
            f".expand_dims({variable.level_dim}=[...])."
        )
        raise DimensionError(msg)
    want = np.asarray(variable.levels)
    have, index = _levels_of(da, dim, variable)
    if index is None:
        levels = ", ".join(f"{v:g}" for v in want)
        msg = (
            f"{da.name!r} has levels {', '.join(f'{v:g}' for v in have)}; the model needs {levels} "
            f"({variable.level_attrs.get('units', 'no units')}). Interpolate: ds.interp({dim}=[{levels}])."
        )
        raise DimensionError(msg)
    if not np.array_equal(index, np.arange(da.sizes[dim])):
        da = da.isel({dim: index})
    return da.rename({dim: "channel"})


def _levels_of(da: xr.DataArray, dim: str, variable: VariableSpec) -> tuple[FloatArray, npt.NDArray[np.intp] | None]:
    """Levels of the data along a dimension, and the positions of the model's: of the first coordinate that has them."""
    given: list[FloatArray] = []
    for name in levels_along(da, dim) or [dim] * (dim in da.coords):
        try:
            given.append(align_levels(da[name], variable))
        except UnitError:  # numbers of levels beside their pressures
            if name == dim:
                raise
            continue
        if (index := match_axis(given[-1], np.asarray(variable.levels))) is not None:
            return given[-1], index
    have = given[0] if given else np.arange(da.sizes[dim], dtype=float)
    return have, match_axis(have, np.asarray(variable.levels))


def from_channels(
    values: xr.DataArray | npt.NDArray[Any],
    spec: Spec,
    template: xr.Dataset | xr.DataArray,
    member: Sequence[int] | npt.NDArray[np.integer] | None = None,
) -> xr.Dataset:
    """Make a Dataset with CF metadata out of (member, time, channel, lat, lon) values; inverse of `to_channels`.

    Parameters
    ----------
    values
        Array with dimensions (time, channel, lat, lon) or, with `member`, (member, time, channel, lat, lon); or a
        DataArray with dimensions of these names. As many channels as the model's state, or as all its variables.
    spec
        The model's.
    template
        Dataset or DataArray that gives time, and the names and order of latitude and longitude.
    member
        Labels of the ensemble members.

    Returns
    -------
    xarray.Dataset
        Variables with dimensions ([member,] time, [level,] lat, lon), in the model's units; lazy where `values` are.

    Raises
    ------
    DimensionError
        If the number of channels is neither that of the state nor that of all variables.
    """
    time, grid = coordinate(template, "time"), grid_of(template)
    positions = grid_positions(template, spec)
    lat, lon = coordinate(template, "lat"), coordinate(template, "lon")
    if not isinstance(values, xr.DataArray):
        dims = ("time", "channel", "lat", "lon") if member is None else ("member", "time", "channel", "lat", "lon")
        values = xr.DataArray(values, dims=dims)
    count = values.sizes["channel"]
    if count not in (spec.state_channels, spec.channels):
        msg = f"Got {count} channels; the model has {spec.state_channels} state channels and {spec.channels} in all."
        raise DimensionError(msg)
    variables = spec.state if count == spec.state_channels else spec.variables
    # Position p of the data holds row i of the model; its inverse puts the rows back in the order of the data.
    values = _reordered(values, {d: np.argsort(index) for d, index in zip(("lat", "lon"), positions, strict=True)})
    values = values.drop_vars([c for c in values.coords if c != "member"])
    names = {"time": str(time), "lat": grid.lat_dim, "lon": grid.lon_dim}
    values = values.rename({k: v for k, v in names.items() if k != v})
    out = {v.name: _labelled(values.isel(channel=spec.channel_slice(v.name)), v) for v in variables}
    coords: Mapping[str, xr.DataArray] = {str(n): template[n].reset_coords(drop=True) for n in (time, lat, lon)}
    ds = xr.Dataset(out).assign_coords(coords)
    if member is not None:
        ds = ds.assign_coords(member=np.asarray(member))
    if "member" in ds.dims and "member" in ds.coords:
        ds["member"].attrs.update(standard_name="realization", units="1")
    return ds


def _labelled(da: xr.DataArray, variable: VariableSpec) -> xr.DataArray:
    """Channels of one variable with its levels and attributes."""
    if variable.levels:
        level = variable.level_dim or "level"
        coords = {level: (level, list(variable.levels), variable.level_attrs)}
        da = da.rename(channel=level).assign_coords(coords)
    else:
        da = da.isel(channel=0)
    given = {"standard_name": variable.standard_name, "long_name": variable.long_name, "units": variable.units}
    return da.assign_attrs({k: v for k, v in given.items() if v})

"""What a Dataset holds in the terms of CF, and its exchange with the (time, channel, lat, lon) arrays of a model.

Everything here works on labels and attributes: data that are lazy stay lazy, and nothing is ever rechunked along a
dimension of the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ChunkError, DimensionError, GridError, VariableError
from xslams.labels.coordinates import (
    Grid,
    check_order,
    coordinate,
    grid_of,
    hours,
    is_periodic,
    listed,
    match_axis,
    stamp,
    time_labels,
    time_step,
    year_fraction,
)
from xslams.labels.units import convert_units, unit_factors
from xslams.spec import Spec, VariableSpec
from xslams.typing import FloatArray

__all__ = [
    "Grid",
    "Schema",
    "align_levels",
    "check_time",
    "convert_units",
    "coordinate",
    "from_channels",
    "grid_of",
    "grid_positions",
    "hours",
    "inspect",
    "is_periodic",
    "match_axis",
    "match_variables",
    "same_quantity",
    "time_labels",
    "to_channels",
    "year_fraction",
]


# Total precipitation, as rate or amount, of mass or of depth.
_PRECIPITATION = frozenset(
    ("precipitation_flux", "lwe_precipitation_rate", "precipitation_amount", "lwe_thickness_of_precipitation_amount")
)


@dataclass(frozen=True)
class Schema:
    """What was recognised in a Dataset.

    Attributes
    ----------
    time, lat, lon, level
        Names of the coordinates, None where there is none.
    variables
        Names of the data variables that hold fields (at least one of time, lat and lon among their coordinates).
    grid
        The rectilinear grid; None for points or curvilinear grids.
    time_step
        Hours between frames; None where there is no regular step.
    problems
        What keeps the Dataset from being a state, each as a sentence.
    """

    time: str | None
    lat: str | None
    lon: str | None
    level: str | None
    variables: tuple[str, ...]
    grid: Grid | None
    time_step: float | None
    problems: tuple[str, ...]


def inspect(ds: xr.Dataset) -> Schema:
    """Say what is recognised in a Dataset; never raises.

    Parameters
    ----------
    ds
        Any Dataset.

    Returns
    -------
    Schema
        Names of the coordinates, the variables, the grid and step, and the problems.

    Examples
    --------
    >>> import xarray as xr
    >>> inspect(xr.Dataset()).problems[0]
    'no time coordinate'
    """
    names: dict[str, str | None] = dict.fromkeys(("time", "lat", "lon", "level"))
    problems: list[str] = []
    for kind in names:
        try:
            names[kind] = coordinate(ds, kind)
        except Exception as e:  # a repr must not fail on odd attributes
            problems.append(f"{kind}: {e}")
        if names[kind] is None and kind != "level":
            problems.append(f"no {kind} coordinate")
    grid, step = None, None
    if names["lat"] is not None and names["lon"] is not None:
        try:
            grid = grid_of(ds)
        except Exception as e:  # as above
            problems.append(str(e))
    if names["time"] is not None:
        try:
            step = time_step(ds[names["time"]])
            check_order(ds[names["time"]])
            if step is None and ds[names["time"]].size > 1:
                problems.append("the time step is not constant")
        except Exception as e:  # as above
            problems.append(str(e))
    located = {names["lat"], names["lon"]} - {None} or {names["time"]}
    fields = tuple(str(n) for n, da in ds.data_vars.items() if _is_field(da) and located <= {str(c) for c in da.coords})
    problems += [f"{n!r} has no units" for n in fields if "units" not in ds[n].attrs]
    if not fields:
        problems.append("no variable with time, lat and lon")
    return Schema(**names, variables=fields, grid=grid, time_step=step, problems=tuple(problems))


def _is_field(da: xr.DataArray) -> bool:
    return da.dtype.kind in "fiu" and not any(str(d) in ("bnds", "nv", "bounds", "nbnds") for d in da.dims)


def match_variables(
    ds: xr.Dataset,
    variables: Sequence[VariableSpec],
    *,
    allow_missing: bool = False,
    instead: str = "rename the right one",
) -> dict[str, str]:
    """Find the variables of a model in a Dataset.

    The variable with the same standard name is taken, with levels where the model has levels and without where it has
    none; where several have it, the one of the same name. A variable of the same name without a standard name comes
    second. Rates and amounts of precipitation stand for each other, as units tell how they are measured.

    Parameters
    ----------
    ds
        Dataset to search.
    variables
        Variables of the model that are wanted.
    allow_missing
        Leave out what is not found instead of raising.
    instead
        What the message advises where several variables match.

    Returns
    -------
    dict
        Name in the model to name in the Dataset.

    Raises
    ------
    VariableError
        Listing every variable that is missing or ambiguous.

    Examples
    --------
    >>> import xarray as xr
    >>> ds = xr.Dataset({"tas": ("x", [280.0], {"standard_name": "air_temperature"})})
    >>> match_variables(ds, [VariableSpec("t2m", "K", standard_name="air_temperature")])
    {'t2m': 'tas'}
    """
    found: dict[str, str] = {}
    troubles: list[str] = []
    for variable in variables:
        wanted = variable.standard_name
        here = ds[variable.name].attrs.get("standard_name") if variable.name in ds.data_vars else None
        if variable.name in ds.data_vars and (wanted is None or same_quantity(here, wanted)):
            found[variable.name] = variable.name
            continue
        names = [
            str(n)
            for n, da in ds.data_vars.items()
            if wanted is not None and same_quantity(da.attrs.get("standard_name"), wanted)
        ]
        level = coordinate(ds, "level") if names else None
        fitting = [n for n in names if (level in ds[n].dims) == (len(variable.levels) > 1)]
        if variable.name in ds.data_vars and here is None and len(fitting) != 1:
            found[variable.name] = variable.name
            continue
        names = (fitting or names) if len(names) > 1 else names
        if len(names) == 1:
            found[variable.name] = names[0]
        elif names:
            troubles.append(f"{variable.name!r}: standard_name {wanted!r} is shared by {listed(names)}; {instead}")
        else:
            but = f" (the one of this name is {here!r})" if here is not None else ""
            called = f" or standard_name {wanted!r}" if wanted is not None else ""
            troubles.append(f"{variable.name!r} ({variable.units}): no variable of this name{called}{but}")
    ambiguous = [t for t in troubles if "is shared by" in t]
    if ambiguous or (troubles and not allow_missing):
        bad = ambiguous if allow_missing else troubles
        missing = len(bad) > len(ambiguous)
        msg = (
            f"{len(bad)} of the {len(variables)} variables of the model {'are missing or ' if missing else ''}"
            f"cannot be told among {listed(ds.data_vars)}:\n" + "\n".join(f"  {t}" for t in bad)
        ) + ("\nRename those of other names: ds.rename({...})." if missing else "")
        raise VariableError(msg)
    return found


def same_quantity(first: str | None, second: str | None) -> bool:
    """Whether two standard names mean the same, but for the units.

    Examples
    --------
    >>> same_quantity("precipitation_flux", "lwe_precipitation_rate"), same_quantity(None, "precipitation_flux")
    (True, False)
    """
    return first is not None and (first == second or {first, second} <= _PRECIPITATION)


def align_levels(level: xr.DataArray, variable: VariableSpec) -> FloatArray:
    """Values of a vertical coordinate in the units of a variable of the model (hPa to Pa, say)."""
    values = np.asarray(level.values, float)
    here, there = level.attrs.get("units"), variable.level_attrs.get("units")
    if here is None or there is None:
        return values
    factor, offset = unit_factors(str(here), str(there))
    return factor * values + offset


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
    name = coordinate(ds, "time")
    if name is None:
        msg = f"Found no time coordinate among {listed(ds.coords)}. Assign one: ds.assign_coords(time=...)."
        raise DimensionError(msg)
    time = ds[name]
    check_order(time)
    steps = np.diff(hours(time))
    if steps.size:
        off = np.abs(steps / spec.time_step - np.rint(steps / spec.time_step)) > 1e-3
        if off.any() or steps.min() < 0.999 * spec.time_step:
            i = int(np.flatnonzero(off | (steps < 0.999 * spec.time_step))[0])
            how = _resample(spec.time_step)
            msg = (
                f"The frames at {stamp(time.values[i])} and {stamp(time.values[i + 1])} are {steps[i]:g} h apart; "
                "the model's frames are "
                f"{spec.time_step:g} h apart. Average or select: {how}."
            )
            raise DimensionError(msg)
        if np.median(steps) > 1.5 * spec.time_step:
            msg = (
                f"The step is {np.median(steps):g} h; the model's frames are {spec.time_step:g} h apart. "
                "Give a time axis with that step "
                "(with background_error=None the values are not used: ds.resample(time=...).asfreq())."
            )
            raise DimensionError(msg)
    core = {coordinate(ds, kind) for kind in ("lat", "lon", "level")} - {None}
    split: set[str] = set()
    for da in ds.data_vars.values():
        sizes = da.chunksizes
        split |= {str(d) for d, c in sizes.items() if str(d) in core and len(c) > 1}
    if split:
        fix = ", ".join(f"{d!r}: -1" for d in sorted(split))
        msg = (
            f"{listed(sorted(split))} is split into several dask chunks; a frame must lie in one. "
            f"Rechunk: ds.chunk({{{fix}}})."
        )
        raise ChunkError(msg)


def _resample(step: float) -> str:
    frequency = f"{step / 24:g}D" if step % 24 == 0 else f"{step:g}h"
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
    variables = [v for v in spec.variables if v.role in roles]
    names = match_variables(ds, variables, allow_missing=allow_missing)
    if not names and variables:
        match_variables(ds, variables)
    check_time(ds[list(names.values())], spec)
    positions = grid_positions(ds, spec)
    grid, time = grid_of(ds), coordinate(ds, "time")
    parts: list[xr.DataArray] = []
    for variable in variables:
        if variable.name not in names:
            continue
        da = convert_units(ds[names[variable.name]], variable.units)
        da = _take_levels(da, variable).rename(
            {
                d: n
                for d, n in ((time, "time"), (grid.lat_dim, "lat"), (grid.lon_dim, "lon"))
                if d is not None and d != n and d in da.dims
            }
        )
        extra = [d for d in da.dims if d not in ("time", "channel", "lat", "lon")]
        lacking = [d for d in ("time", "lat", "lon") if d not in da.dims]
        if extra or lacking:
            msg = (
                f"{names[variable.name]!r} has dimensions {ds[names[variable.name]].dims}; expected time, "
                f"{'level, ' if variable.levels else ''}lat and lon. "
                + (f"Select along {listed(extra)} with .isel(). " if extra else "")
                + (f"Add {listed(lacking)} with .expand_dims()." if lacking else "")
            )
            raise DimensionError(msg)
        da = da.transpose("time", "channel", "lat", "lon")
        for dim, index in zip(("lat", "lon"), positions, strict=True):
            if not np.array_equal(index, np.arange(da.sizes[dim])):
                da = da.isel({dim: index})
        parts.append(da.reset_coords(drop=True).drop_vars([c for c in da.coords if c != "time"], errors="ignore"))
    by_name = dict(zip([v.name for v in variables if v.name in names], parts, strict=True))
    stack = [
        by_name[v.name] if v.name in by_name else xr.full_like(parts[0].isel(channel=[0] * v.channels), np.nan)
        for v in variables
    ]
    out = xr.concat(stack, "channel", coords="minimal", compat="override", combine_attrs="drop")
    if out.chunks is not None:
        # The channel dimension is ours, so joining its pieces is no rechunking of the user's.
        out = out.chunk({"channel": -1})
    return out.assign_coords(lat=np.asarray(spec.lat), lon=np.asarray(spec.lon)).rename("channels")


def grid_positions(ds: xr.Dataset | xr.DataArray, spec: Spec) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Positions of the model's latitudes and longitudes in the data.

    Raises
    ------
    GridError
        If the grid is not the model's.
    """
    grid, wanted = grid_of(ds), Grid.of_spec(spec)
    positions = match_axis(grid.lat, wanted.lat), match_axis(grid.lon, wanted.lon, period=360.0)
    if positions[0] is None or positions[1] is None or grid.shape != wanted.shape:
        inside = positions[0] is not None and positions[1] is not None
        how = (
            "The model's grid is part of it: select it with ds.sel()." if inside else "Regrid: ds.slams.regrid(model)."
        )
        msg = f"The data's grid is {grid}; the model's is {wanted}. {how}"
        raise GridError(msg)
    return positions[0], positions[1]


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
            f"({variable.level_dim})."
        )
        raise DimensionError(msg)
    have = align_levels(da[dim], variable) if name is not None else np.arange(da.sizes[dim], dtype=float)
    want = np.asarray(variable.levels)
    index = match_axis(have, want)
    if index is None:
        there = ", ".join(f"{v:g}" for v in want)
        msg = (
            f"{da.name!r} has levels {', '.join(f'{v:g}' for v in have)}; the model needs {there} "
            f"({variable.level_attrs.get('units', 'no units')}). Interpolate: ds.interp({dim}=[{there}])."
        )
        raise DimensionError(msg)
    if not np.array_equal(index, np.arange(da.sizes[dim])):
        da = da.isel({dim: index})
    return da.rename({dim: "channel"})


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
    for dim, index in zip(("lat", "lon"), positions, strict=True):
        if not np.array_equal(index, np.arange(values.sizes[dim])):
            values = values.isel({dim: np.argsort(index)})
    values = values.drop_vars([c for c in values.coords if c != "member"])
    names = {"time": str(time), "lat": grid.lat_dim, "lon": grid.lon_dim}
    values = values.rename({k: v for k, v in names.items() if k != v})
    out: dict[str, xr.DataArray] = {}
    for variable in variables:
        part = values.isel(channel=spec.channel_slice(variable.name))
        if variable.levels:
            level = variable.level_dim or "level"
            part = part.rename(channel=level).assign_coords(
                {level: (level, list(variable.levels), variable.level_attrs)}
            )
        else:
            part = part.isel(channel=0)
        given = {"standard_name": variable.standard_name, "long_name": variable.long_name, "units": variable.units}
        out[variable.name] = part.assign_attrs({k: v for k, v in given.items() if v})
    coords: Mapping[str, xr.DataArray] = {str(n): template[n].reset_coords(drop=True) for n in (time, lat, lon)}
    ds = xr.Dataset(out).assign_coords(coords)
    if member is not None:
        ds = ds.assign_coords(member=np.asarray(member))
    if "member" in ds.dims and "member" in ds.coords:
        ds["member"].attrs.update(standard_name="realization", units="1")
    return ds

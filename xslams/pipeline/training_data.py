"""What a model is trained on: variables of state and auxiliary ones in one Dataset, and the specification they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xslams.errors import CoverageError, DimensionError, GridError, UnitError, VariableError, warn
from xslams.labels.calendar import (
    calendar_of,
    hours,
    hours_in,
    on_time_axis,
    undecoded,
    without_zones,
)
from xslams.labels.channels import to_channels
from xslams.labels.coordinates import coordinate, levels_along
from xslams.labels.domain import domain_of
from xslams.labels.flat import describe_flat, trajectories
from xslams.labels.frames import learn, periods_of_frames
from xslams.labels.grid import grid_of
from xslams.labels.recognise import inspect
from xslams.labels.repeats import in_one_part, without_repeats
from xslams.labels.units import convert_units
from xslams.labels.valid_values import with_valid_values
from xslams.observations import Observation
from xslams.pipeline.frames import whole_frames
from xslams.quantities import is_rain
from xslams.spec import Spec, VariableSpec

__all__ = ["Aux", "Described", "Fields", "describe", "joined", "of_globe", "of_system", "split_aux"]

Fields = xr.Dataset | xr.DataArray | str | Sequence[str] | None
"""Auxiliary fields: of their own, or names of variables of the state's Dataset."""
Aux = xr.Dataset | xr.DataArray | str | Observation | Sequence[str | Observation] | None
"""Auxiliary fields, and sources for which operators are learned."""

Described = tuple[xr.Dataset, dict[str, tuple[str, ...]], Spec, list[xr.DataArray]]
"""Data, which variables are state and which auxiliary, the specification, and independent stretches of channels."""


def of_globe(ds: xr.Dataset, aux: Fields, about: Mapping[str, Any]) -> Described:
    """Describe gridded data on the globe.

    Parameters
    ----------
    ds, aux
        As for `xslams.pipeline.fitting.fit`.
    about
        What else the specification holds.
    """
    ds, names = joined(on_time_axis(without_zones(with_valid_values(ds))), aux)
    ds = in_one_part(without_repeats(ds))
    spec = describe(ds, names, **about)
    return ds, names, spec, [to_channels(whole_frames(ds, str(coordinate(ds, "time"))), spec)]


def of_system(ds: xr.Dataset, aux: Fields, about: Mapping[str, Any]) -> Described:
    """Describe data of a system that is not on the globe.

    Parameters
    ----------
    ds, aux, about
        As for `of_globe`.
    """
    if isinstance(aux, xr.Dataset | xr.DataArray):
        msg = (
            f"aux= is a {type(aux).__name__}; expected names of variables of the Dataset, as for every system that is "
            "not on the globe. Merge them: ds.merge(aux)."
        )
        raise VariableError(msg)
    extra = (aux,) if isinstance(aux, str) else tuple(aux or ())
    ds = with_valid_values(ds)
    spec = describe_flat(ds, extra, **about)
    domain = domain_of(spec)
    names = {role: tuple(v.name for v in spec.variables if v.role == role) for role in ("state", "aux")}
    return ds, names, spec, [domain.to_channels(whole_frames(run, "time")) for run in trajectories(ds)]


def split_aux(
    aux: Aux,
) -> tuple[Fields, list[Observation]]:
    """Auxiliary variables on the grid of the state, and sources for which operators are learned."""
    items: list[Any] = (
        [aux] if isinstance(aux, Observation | str) else list(aux) if isinstance(aux, list | tuple) else []
    )
    sources = [item for item in items if isinstance(item, Observation)]
    if not sources:
        return aux, []  # type: ignore[return-value]  # no Observation is among them
    names = [item for item in items if not isinstance(item, Observation)]
    if wrong := [type(name).__name__ for name in names if not isinstance(name, str)]:
        msg = (
            f"aux= holds {wrong[0]} beside an Observation; expected names of variables of the Dataset or Observations."
        )
        raise VariableError(msg)
    labels = [source.name for source in sources]
    if len(set(labels)) < len(labels):
        msg = f"aux= holds several sources of one name, {labels}. Name them: Observation(..., name=...)."
        raise VariableError(msg)
    return names or None, sources


def joined(ds: xr.Dataset, aux: Fields) -> tuple[xr.Dataset, dict[str, tuple[str, ...]]]:
    """State and auxiliary variables in one Dataset, on the times that both have, and which is which."""
    if aux is None:
        aux = []
    if isinstance(aux, xr.DataArray):
        if aux.name is None:
            msg = "The auxiliary DataArray has no name; give it one: da.rename('pr')."
            raise VariableError(msg)
        aux = aux.to_dataset()
    if isinstance(aux, xr.Dataset):
        aux = on_time_axis(without_zones(with_valid_values(aux)))
        extra = inspect(aux).variables
        time = coordinate(ds, "time"), coordinate(aux, "time")
        if time[0] is not None and time[1] is None and (why := undecoded(aux)):
            msg = f"The auxiliary variables have no times like those of the state: {why}"
            raise DimensionError(msg)
        if time[0] is not None and time[1] is not None and time[0] != time[1]:
            aux = aux.rename({time[1]: time[0]})
        if time[0] is not None and time[1] is not None:
            aux = _on_periods(_on_frames(aux, ds, time[0]), ds, time[0], extra)
        ds = ds.drop_vars(extra, errors="ignore")
        ds, aux = xr.align(ds, aux[list(extra)], join="inner", exclude=(set(ds.dims) | set(aux.dims)) - {time[0]})
        if not ds.sizes.get(time[0], 1):
            msg = "State and auxiliary variables have no time in common; select the same period, at the same hours."
            raise CoverageError(msg)
        try:
            ds = xr.merge([ds, aux], join="exact", compat="override", combine_attrs="drop_conflicts")
        except ValueError as e:
            msg = (
                f"State and auxiliary variables must be on the same grid; got {dict(ds.sizes)} and {dict(aux.sizes)} "
                f"({e}). Bring them together: aux.slams.regrid(ds)."
            )
            raise GridError(msg) from e
    else:
        extra = (aux,) if isinstance(aux, str) else tuple(aux)
    fields = inspect(ds).variables
    missing = [n for n in extra if n not in fields]
    state = tuple(n for n in fields if n not in extra)
    if missing or not state:
        if missing:
            msg = f"Of the auxiliary variables {list(extra)}, {missing} are not in the Dataset"
        elif not fields:
            msg = "The Dataset has no variable that is recognised as a field"
        else:
            msg = f"No variable is left for the state: all fields of the Dataset, {list(fields)}, are auxiliary"
        msg += ". Fields have coordinates time, latitude and longitude; ds.slams shows which were recognised."
        raise VariableError(msg)
    return ds, {"state": state, "aux": extra}


def _on_frames(aux: xr.Dataset, ds: xr.Dataset, time: str) -> xr.Dataset:
    """Auxiliary variables with the stamps of the state where these are the same but for rounding."""
    if aux[time].dims != (time,) or ds[time].dims != (time,):
        return aux
    calendar = calendar_of(ds[time])
    have = hours(aux[time]) if calendar_of(aux[time]) == calendar else hours_in(calendar, aux[time])
    frames = hours(ds[time])
    if not have.size or frames.size < 2 or (np.diff(frames) <= 0).any():
        return aux
    nearest = np.searchsorted(0.5 * (frames[1:] + frames[:-1]), have)
    same = np.abs(have - frames[nearest]) <= 1e-3 * float(np.median(np.diff(frames)))
    within = int((~same & (have > frames.min()) & (have < frames.max())).sum())
    if within and same.any():
        warn(f"{within} of {have.size} times of the auxiliary variables lie between frames of the state; left out.")
    if not same.any() or np.unique(nearest[same]).size < same.sum():
        return aux
    stamps = (time, ds[time].values[nearest[same]], aux[time].attrs)
    return aux.isel({time: np.flatnonzero(same)}).assign_coords({time: stamps})


def _on_periods(aux: xr.Dataset, ds: xr.Dataset, time: str, names: Sequence[str]) -> xr.Dataset:
    """Auxiliary variables with the stamps of the state where none is the same and their periods are."""
    stamps = aux[time], ds[time]
    apart = all(s.dims == (time,) and s.size > 1 for s in stamps) and calendar_of(stamps[0]) == calendar_of(stamps[1])
    if not apart or np.isin(hours(stamps[0]), hours(stamps[1])).any():
        return aux
    own, other = periods_of_frames(aux, names), periods_of_frames(ds, inspect(ds).variables)
    if own.edges is None or other.edges is None:
        return aux
    order = np.argsort(other.edges[:, 0])
    begin, end = other.edges[order].T
    nearest = np.searchsorted(0.5 * (begin[1:] + begin[:-1]), own.edges[:, 0])
    # Periods as of a day or of a month: they may differ by what times were rounded by, and no more.
    slack = 0.01 * (end - begin)[nearest]
    same = np.abs(own.edges - np.stack([begin, end], 1)[nearest]).max(axis=1) <= slack
    if not same.any() or np.unique(nearest[same]).size < same.sum():
        return aux
    if not (own.told and other.told):
        warn(
            f"The auxiliary variables are stamped at other hours than the state ({stamps[0].values[0]!s:.19} and "
            f"{stamps[1].values[0]!s:.19}), and nothing says what for; frames of the same calendar day are brought "
            "together. Give both bounds of time, or the same stamps, to say otherwise."
        )
    matched = (time, stamps[1].values[order[nearest[same]]], stamps[0].attrs)
    return aux.isel({time: np.flatnonzero(same)}).assign_coords({time: matched})


def describe(ds: xr.Dataset, names: Mapping[str, Sequence[str]], **given: Any) -> Spec:
    """Specification of a model for the variables, grid and time step of a Dataset."""
    grid = grid_of(ds)
    time = coordinate(ds, "time")
    if time is None or ds[time].size < 2:
        remedy = (undecoded(ds) if time is None else "") or "Assign one: ds.assign_coords(time=...)."
        msg = f"Training needs a time axis of several frames. {remedy}"
        raise DimensionError(msg)
    frame, methods = learn(ds, [name for members in names.values() for name in members])
    variables = []
    for role, members in names.items():
        for name in members:
            da = ds[name]
            if "units" not in da.attrs:
                msg = f"{name!r} has no units, without which it cannot be observed. Set ds[{name!r}].attrs['units']."
                raise UnitError(msg)
            level = coordinate(da, "level")
            deep = level is not None and da[level].ndim == 1 and da[level].dims[0] in da.dims
            if deep and level in da.dims:
                level = next(iter(levels_along(da, level)), level)
            units = str(da.attrs["units"])
            # Most other variables are close enough to Gaussian once their seasonal cycle is removed.
            rain = is_rain(name, da.attrs.get("standard_name"))
            variables.append(
                VariableSpec(
                    name, units, role,
                    standard_name=da.attrs.get("standard_name"), long_name=da.attrs.get("long_name"),
                    transform="sqrt" if rain else "identity", scale=_rain_scale(units) if rain else 1.0,
                    level_dim=level if deep else None,
                    levels=tuple(float(v) for v in da[level].values) if deep else (),
                    level_attrs={k: v for k, v in da[level].attrs.items() if isinstance(v, str)} if deep else {},
                    cell_method=methods.get(name, ""),
                )
            )  # fmt: skip
    step = float(np.median(np.diff(hours(ds[time]))))
    return Spec(
        tuple(variables), tuple(grid.lat.tolist()), tuple(grid.lon.tolist()), grid.periodic, time_step=step,
        frame=frame, **given,
    )  # fmt: skip


def _rain_scale(units: str) -> float:
    """Two millimetres a day, where drizzle ends and the transform starts to bend; 1 of any other unit."""
    try:
        return float(convert_units(xr.DataArray(2.0, attrs={"units": "mm day-1"}), units))
    except UnitError:
        return 1.0

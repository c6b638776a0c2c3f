"""Train a model on a Dataset: which variables, which grid, and the stretches of time without gaps."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from xslams.arguments import is_number, is_whole, require, require_text, require_whole
from xslams.errors import CoverageError, DimensionError, GridError, UnitError, VariableError, warn
from xslams.labels.calendar import (
    calendar_of,
    frame_numbers,
    hours,
    hours_in,
    on_time_axis,
    undecoded,
    without_zones,
)
from xslams.labels.channels import require_not_empty, to_channels
from xslams.labels.coordinates import coordinate, levels_along
from xslams.labels.domain import domain_of
from xslams.labels.flat import describe_flat, lies_flat, trajectories
from xslams.labels.frames import learn, periods_of_frames
from xslams.labels.grid import grid_of
from xslams.labels.recognise import inspect
from xslams.labels.repeats import in_one_part, without_repeats
from xslams.labels.units import convert_units
from xslams.labels.valid_values import limits_in_words, with_valid_values
from xslams.observations import Observation, learn_sources
from xslams.options import MOST_SEED, TrainingOptions
from xslams.pipeline import workers
from xslams.pipeline.frames import Survey, frames_of, survey, whole_frames
from xslams.pipeline.held_out import held_out_factors
from xslams.pipeline.windows import contiguous
from xslams.progress import require_progress
from xslams.quantities import is_rain
from xslams.spec import Spec, VariableSpec

if TYPE_CHECKING:
    from xslams.model import Model

__all__ = ["Aux", "fit"]

Aux = xr.Dataset | xr.DataArray | str | Observation | Sequence[str | Observation] | None

# Stretches whose first and last frames a model's header names.
_MOST_PERIODS = 20


def fit(
    ds: xr.Dataset,
    aux: Aux = None,
    *,
    window: int = 5,
    latent_channels: int | None = None,
    epochs: int | None = None,
    budget: str | float | None = "5min",
    device: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    name: str = "unnamed",
    summary: str = "",
    license: str = "",
    **options: Any,
) -> Model:
    """Train a model on a Dataset; see ``ds.slams.fit``.

    Parameters
    ----------
    ds, aux, window, latent_channels, epochs, budget, device, seed, progress, checkpoint, log
        As in ``ds.slams.fit``.
    name, summary, license
        What the model says of itself.
    **options
        Further settings of training, see `xslams.options.TrainingOptions`.

    Returns
    -------
    Model
        In memory; save it with ``model.save(path)``.
    """
    from xslams import __version__
    from xslams.training import check_checkpoint, check_log, fit_chosen, wider

    named = {"latent_channels": latent_channels, "epochs": epochs}
    given = options | {k: v for k, v in named.items() if v is not None}
    settings = TrainingOptions.of(given)
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    if log is not None:
        check_log(log)
    seconds = _seconds(budget)
    require(is_whole(window, 1) and window % 2 == 1, "window", window, "an odd number of frames")
    require_whole("seed", seed, 0, MOST_SEED)
    require_progress(progress)
    require_text(name=name, summary=summary, license=license)
    workers.check_device(device)
    require_not_empty(ds)
    aux, sources = _split(aux)
    state, about = ds, {"window": window, "name": name, "summary": summary, "license": license}
    ds, names, spec, stretches = (_of_system if lies_flat(ds) else _of_globe)(ds, aux, about)
    parts = [fields.isel(time=part) for fields in stretches for part in _runs(fields, spec)]
    runs = [frames_of(part, settings.memory * 2**30) for part in parts]
    seasons = [domain_of(spec).season(part["time"]) for part in parts]
    surveys = [survey(frames, spec) for frames in runs]
    _require_complete(surveys, spec, ds)
    _require_some(surveys, spec)
    record = {"data": _provenance(ds, spec, parts), "version": __version__}
    variables = tuple(_bounded(v, [s[v.name] for s in surveys]) for v in spec.variables)
    spec = replace(spec, variables=variables, training=record)
    # Before the training, which may take hours: what cannot be learned is an error.
    lessons = learn_sources(sources, state[list(names["state"])], spec) if sources else None
    model = fit_chosen(
        spec, list(zip(runs, seasons, strict=True)), given, budget=seconds, device=device, seed=seed,
        progress=progress, checkpoint=checkpoint, log=log,
    )  # fmt: skip
    if lessons is None:
        return model
    factor, operators = held_out_factors(sources, lessons, model, widen="spread" not in given)
    return wider(model, factor).with_operators(operators)


_Described = tuple[xr.Dataset, dict[str, tuple[str, ...]], Spec, list[xr.DataArray]]
"""Data, which variables are state and which auxiliary, the specification, and independent stretches of channels."""


def _of_globe(
    ds: xr.Dataset, aux: xr.Dataset | xr.DataArray | str | Sequence[str] | None, about: Mapping[str, Any]
) -> _Described:
    ds, names = _join(on_time_axis(without_zones(with_valid_values(ds))), aux)
    ds = in_one_part(without_repeats(ds))
    spec = _describe(ds, names, **about)
    return ds, names, spec, [to_channels(whole_frames(ds, str(coordinate(ds, "time"))), spec)]


def _of_system(
    ds: xr.Dataset, aux: xr.Dataset | xr.DataArray | str | Sequence[str] | None, about: Mapping[str, Any]
) -> _Described:
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


def _split(
    aux: Aux,
) -> tuple[xr.Dataset | xr.DataArray | str | Sequence[str] | None, list[Observation]]:
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


def _seconds(budget: str | float | None) -> float:
    """Seconds of a time span, none where there is none."""
    seconds = 0.0 if budget is None else float(budget) if is_number(budget) else math.nan
    if isinstance(budget, str):
        with contextlib.suppress(ValueError):
            letters = any(c.isalpha() for c in budget)
            seconds = float(pd.Timedelta(budget).total_seconds() if letters else budget)
    require(seconds >= 0, "budget", budget, 'seconds or a time span such as "5min" or "2h", of at least 0')
    return seconds


def _join(
    ds: xr.Dataset, aux: xr.Dataset | xr.DataArray | str | Sequence[str] | None
) -> tuple[xr.Dataset, dict[str, tuple[str, ...]]]:
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


def _provenance(ds: xr.Dataset, spec: Spec, parts: Sequence[xr.DataArray]) -> dict[str, Any]:
    """Which data a model was trained on: first, last and number of frames, and the stretches without gaps."""
    # Systems count their time from 0, without dates.
    times = [hours(part["time"]).round(6) if spec.flat else part["time"].values for part in parts]
    periods = [[str(time[i])[:19] for i in (0, -1)] for time in times]
    names = {k: str(ds.attrs[k]) for k in ("title", "source", "institution") if k in ds.attrs}
    own = {
        "start": periods[0][0],
        "end": periods[-1][1],
        "frames": sum(part.sizes["time"] for part in parts),
        "variables": [v.name for v in spec.variables],
        "stretches": len(periods),
    }
    # Of a great many, as those of a season of each year, the number is enough.
    return own | ({"periods": periods} if len(periods) <= _MOST_PERIODS else {}) | names


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


def _describe(ds: xr.Dataset, names: Mapping[str, Sequence[str]], **given: Any) -> Spec:
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


def _runs(fields: xr.DataArray, spec: Spec) -> list[slice]:
    """Stretches that are long enough for the window of the score network."""
    stretches = contiguous(frame_numbers(fields["time"], spec))
    runs = [run for run in stretches if run.stop - run.start >= spec.window]
    if not runs:
        msg = (
            f"No stretch of {spec.window} frames without a gap: there are {fields.sizes['time']} frames in "
            f"{len(stretches)} stretches. Take a smaller window or more data."
        )
        raise DimensionError(msg)
    return runs


def _bounded(variable: VariableSpec, surveys: Sequence[Survey]) -> VariableSpec:
    """Give a variable the bounds of its quantity, if its values keep to them: those of anomalies do not."""
    low, high = variable.valid_range
    # Auxiliary variables may have gaps, in some stretches of time altogether.
    known = [s for s in surveys if s.count]
    least, most = min(s.least for s in known), max(s.most for s in known)
    slack = 0.05 * max(s.std for s in known)
    below, above = least < low - slack, most > high + slack
    if below or above:
        warn(
            f"{variable.name!r} has values from {least:g} to {most:g} {variable.units}; its quantity goes from {low:g} "
            f"to {high:g}. It is taken for something else, such as anomalies, and analyses are not kept within that."
        )
    return replace(
        variable,
        bounds=(
            None if below or np.isinf(low) else low,
            None if above or np.isinf(high) else high,
        ),
    )


def _require_some(surveys: Sequence[Mapping[str, Survey]], spec: Spec) -> None:
    for v in spec.aux:
        if not any(survey[v.name].count for survey in surveys):
            msg = f"All values of {v.name!r} are missing. Leave it out of aux, or give data of the period of the state."
            raise CoverageError(msg)


def _require_complete(surveys: Sequence[Mapping[str, Survey]], spec: Spec, ds: xr.Dataset) -> None:
    parts, limits = [], ""
    for v in spec.variables:
        own = [survey[v.name] for survey in surveys]
        # Auxiliary variables may have gaps, as they are observed and not analysed.
        absent = sum(s.infinite + (s.missing if v.role == "state" else 0) for s in own)
        if absent:
            what = "missing or infinite" if v.role == "state" else "infinite"
            size = sum(s.count + s.missing + s.infinite for s in own)
            parts.append(f"{absent} of {size} values of {v.name!r} are {what}")
            limits += limits_in_words(ds[v.name])
    if parts:
        msg = (
            f"{' and '.join(parts)}. Training needs all values of the state.{limits} "
            "Fill them (ds.interpolate_na, ds.fillna), or drop the frames that lack them (ds.dropna('time'))."
        )
        raise CoverageError(msg)

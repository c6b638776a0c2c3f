"""Train a model on a Dataset: which variables, which grid, and the stretches of time without gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams.arguments import is_whole, require, require_flag, require_text, require_whole
from xslams.errors import CoverageError, DimensionError, GridError, UnitError, VariableError, warn
from xslams.labels.calendar import calendar_of, hours, year_fraction
from xslams.labels.channels import require_not_empty, to_channels
from xslams.labels.coordinates import coordinate
from xslams.labels.grid import grid_of
from xslams.labels.recognise import inspect
from xslams.labels.repeats import in_one_part, without_repeats
from xslams.labels.units import convert_units
from xslams.options import MOST_SEED, TrainingOptions
from xslams.pipeline import workers
from xslams.pipeline.windows import contiguous
from xslams.spec import Spec, VariableSpec
from xslams.typing import FloatArray

if TYPE_CHECKING:
    from xslams.model import Model

__all__ = ["fit"]

# Precipitation is transformed; every other variable is close enough to Gaussian once its seasonal cycle is removed.
_RAIN = ("precipitation", "rainfall", "snowfall")


def fit(
    ds: xr.Dataset,
    aux: xr.Dataset | xr.DataArray | str | Sequence[str] | None = None,
    *,
    window: int = 5,
    latent_channels: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    seed: int = 0,
    progress: bool = True,
    name: str = "unnamed",
    summary: str = "",
    license: str = "",
    **options: Any,
) -> Model:
    """Train a model on a Dataset; see ``ds.slams.fit``.

    Parameters
    ----------
    ds, aux, window, latent_channels, epochs, device, seed, progress
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
    from xslams.training import fit_arrays

    chosen = {"latent_channels": latent_channels} | ({} if epochs is None else {"epochs": epochs})
    settings = TrainingOptions.of(options, **chosen)
    require(is_whole(window, 1) and window % 2 == 1, "window", window, "an odd number of frames")
    require_whole("seed", seed, 0, MOST_SEED)
    require_flag(progress=progress)
    require_text(name=name, summary=summary, license=license)
    workers.check_device(device)
    require_not_empty(ds)
    ds, names = _join(ds, aux)
    ds = in_one_part(without_repeats(ds))
    spec = _describe(ds, names, window=window, name=name, summary=summary, license=license)
    fields = to_channels(ds, spec)
    runs = []
    for part in _runs(fields, spec):
        values = np.asarray(fields.isel(time=part), np.float32)
        _require_complete(values, spec)
        runs.append((values, year_fraction(fields["time"].isel(time=part))))
    return fit_arrays(spec, runs, settings, device=device, seed=seed, progress=progress)


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
        extra = inspect(aux).variables
        time = coordinate(ds, "time"), coordinate(aux, "time")
        if time[0] is not None and time[1] is not None and time[0] != time[1]:
            aux = aux.rename({time[1]: time[0]})
        if time[0] is not None and time[1] is not None:
            aux = _on_frames(aux, ds, time[0])
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
    if aux[time].dims != (time,) or ds[time].dims != (time,) or calendar_of(aux[time]) != calendar_of(ds[time]):
        return aux
    have, frames = hours(aux[time]), hours(ds[time])
    if not have.size or frames.size < 2 or (np.diff(frames) <= 0).any():
        return aux
    nearest = np.searchsorted(0.5 * (frames[1:] + frames[:-1]), have)
    same = np.abs(have - frames[nearest]) <= 1e-3 * float(np.median(np.diff(frames)))
    within = int((~same & (have > frames.min()) & (have < frames.max())).sum())
    if within and same.any():
        warn(f"{within} of {have.size} times of the auxiliary variables lie between frames of the state; left out.")
    stamps = np.where(same, ds[time].values[nearest], aux[time].values)
    unique = np.unique(nearest[same]).size == same.sum()
    return aux.assign_coords({time: (time, stamps, aux[time].attrs)}) if unique else aux


def _describe(ds: xr.Dataset, names: Mapping[str, Sequence[str]], **given: Any) -> Spec:
    """Specification of a model for the variables, grid and time step of a Dataset."""
    grid = grid_of(ds)
    time = coordinate(ds, "time")
    if time is None or ds[time].size < 2:
        msg = "Training needs a time axis of several frames. Assign one: ds.assign_coords(time=...)."
        raise DimensionError(msg)
    variables = []
    for role, members in names.items():
        for name in members:
            da = ds[name]
            if "units" not in da.attrs:
                msg = f"{name!r} has no units, without which it cannot be observed. Set ds[{name!r}].attrs['units']."
                raise UnitError(msg)
            level = coordinate(da, "level")
            deep = level is not None and level in da.dims
            units = str(da.attrs["units"])
            rain = any(w in str(da.attrs.get("standard_name", "")) for w in _RAIN) or name in ("pr", "precip", "tp")
            variables.append(
                VariableSpec(
                    name, units, role,
                    standard_name=da.attrs.get("standard_name"), long_name=da.attrs.get("long_name"),
                    transform="sqrt" if rain else "identity", scale=_rain_scale(units) if rain else 1.0,
                    level_dim=level if deep else None,
                    levels=tuple(float(v) for v in da[level].values) if deep else (),
                    level_attrs={k: v for k, v in da[level].attrs.items() if isinstance(v, str)} if deep else {},
                )
            )  # fmt: skip
    step = float(np.median(np.diff(hours(ds[time]))))
    return Spec(
        tuple(variables), tuple(grid.lat.tolist()), tuple(grid.lon.tolist()), grid.periodic, time_step=step, **given
    )


def _rain_scale(units: str) -> float:
    """Two millimetres a day, where drizzle ends and the transform starts to bend; 1 of any other unit."""
    try:
        return float(convert_units(xr.DataArray(2.0, attrs={"units": "mm day-1"}), units))
    except UnitError:
        return 1.0


def _runs(fields: xr.DataArray, spec: Spec) -> list[slice]:
    """Stretches that are long enough for the window of the score network."""
    stretches = contiguous(hours(fields["time"]), spec.time_step)
    runs = [run for run in stretches if run.stop - run.start >= spec.window]
    if not runs:
        msg = (
            f"No stretch of {spec.window} frames without a gap: there are {fields.sizes['time']} frames in "
            f"{len(stretches)} stretches. Take a smaller window or more data."
        )
        raise DimensionError(msg)
    return runs


def _require_complete(values: FloatArray, spec: Spec) -> None:
    absent = ~np.isfinite(values)
    if absent.any():
        parts = []
        for v in spec.variables:
            own = absent[:, spec.channel_slice(v.name)]
            if count := int(own.sum()):
                parts.append(f"{count} of {own.size} values of {v.name!r}")
        msg = (
            f"{' and '.join(parts)} are missing or infinite; training needs them all. "
            "Fill them (ds.interpolate_na, ds.fillna), or drop the frames that lack them (ds.dropna('time'))."
        )
        raise CoverageError(msg)

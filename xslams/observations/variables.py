"""What a source observes: which of its variables stands for which of the model's, and in which units."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import xarray as xr

from xslams.arguments import shown
from xslams.errors import ObservationError, UnitError, VariableError
from xslams.labels.coordinates import listed
from xslams.labels.periods import bounds_of, is_sum, length_of_each
from xslams.labels.units import unit_factors
from xslams.labels.variables import match_variables, same_quantity
from xslams.learned import LearnedOperator
from xslams.observations.adjusted import without_superseded
from xslams.spec import Spec, VariableSpec
from xslams.typing import FieldFunction, FloatArray

__all__ = ["choose", "conversion", "factors", "learned_by", "made_by"]

# So many names are a message; a file of an altimeter has a hundred.
_MANY = 12


def choose(
    ds: xr.Dataset, variable: str | Sequence[str] | Mapping[str, str] | None, spec: Spec, source: str
) -> dict[str, VariableSpec]:
    """Variables of the data and what they observe."""
    models = {v.name: v for v in spec.variables}
    about = f"the data have {_measured(ds)}, the model has {listed(models)}"
    latest = without_superseded(ds)
    if isinstance(variable, Mapping):
        unknown = [f"{a} -> {b}" for a, b in variable.items() if a not in ds.data_vars or b not in models]
        if unknown:
            msg = (
                f"Source {source!r}: variable= maps names in the data to names in the model; got {', '.join(unknown)}, "
                f"but {about}."
            )
            raise VariableError(msg)
        return {a: models[b] for a, b in variable.items()}
    if variable is not None:
        chosen: dict[str, VariableSpec] = {}
        for name in [variable] if isinstance(variable, str) else variable:
            if name in ds.data_vars:
                chosen[name] = _observed(ds[name], models, source)
            elif name in models and len(ds.data_vars) == 1:
                chosen[str(next(iter(ds.data_vars)))] = models[name]
            elif name in models:
                chosen[match_variables(latest, [models[name]])[name]] = models[name]
            else:
                msg = f"Source {source!r}: there is no variable {name!r}; {about}."
                raise VariableError(msg)
        return chosen
    try:
        found = match_variables(
            latest, spec.variables, allow_missing=True, instead="choose with variable={name: model's}"
        )
    except VariableError as e:
        msg = f"Source {source!r}: {e}"
        raise VariableError(msg) from e
    if not found:
        msg = (
            f"Source {source!r}: {about}; none agrees in standard_name or name. "
            f"Say what observes what: variable={{{next(iter(_names(ds)), 'name')!r}: {next(iter(models))!r}}}."
        )
        raise VariableError(msg)
    return {given: models[known] for known, given in found.items()}


def _names(ds: xr.Dataset) -> list[str]:
    """Names of the variables that hold measurements, likely ones first: no text, no flags, whole numbers last."""
    numbers = [n for n, da in ds.data_vars.items() if da.dtype.kind in "fiu" and da.ndim]
    numbers = [n for n in numbers if not any(a.startswith("flag_") for a in map(str, ds[n].attrs))]
    likely = lambda n: ("standard_name" not in ds[n].attrs, ds[n].dtype.kind != "f")  # noqa: E731
    return [str(n) for n in sorted(numbers or ds.data_vars, key=likely)]


def _measured(ds: xr.Dataset) -> str:
    """Names of the variables of some data for a message."""
    names = _names(ds) if len(ds.data_vars) > _MANY else list(map(str, ds.data_vars))
    return listed(names[:_MANY]) + (f" and {len(ds.data_vars) - _MANY} more" if len(names) > _MANY else "")


def made_by(
    operator: FieldFunction, ds: xr.Dataset, variable: str | Sequence[str] | Mapping[str, str] | None, source: str
) -> dict[str, VariableSpec]:
    """Variable of the data that a user's operator makes, in the units that it names or else in those of the data."""
    asked = [variable] if isinstance(variable, str) else list(variable or ds.data_vars)
    if len(asked) != 1 or asked[0] not in ds.data_vars:
        msg = (
            f"Source {source!r}: an operator= makes one variable; the data have {listed(ds.data_vars)}"
            f"{f', and variable= names {listed(asked)}' if variable is not None else ''}. "
            "Choose one of them: variable='name'."
        )
        raise ObservationError(msg)
    name = str(asked[0])
    units = getattr(operator, "units", None)
    if units is None:
        return {name: VariableSpec(name, str(ds[name].attrs.get("units", "1")))}
    if not isinstance(units, str):
        msg = f"Source {source!r}: the operator's attribute units is {shown(units)}; expected text, such as 'W m-2'."
        raise UnitError(msg)
    if "units" in ds[name].attrs and not is_sum(ds[name].attrs):
        try:
            unit_factors(str(ds[name].attrs["units"]), units)
        except UnitError as e:
            msg = f"Source {source!r}: operator= makes {units!r}, as its attribute units says. {e}"
            raise UnitError(msg) from e
    return {name: VariableSpec(name, units)}


def learned_by(
    operator: LearnedOperator, ds: xr.Dataset, variable: str | Sequence[str] | Mapping[str, str] | None, source: str
) -> dict[str, VariableSpec]:
    """Variable of the data for which an operator was learned."""
    asked = [variable] if isinstance(variable, str) else list(variable or ds.data_vars)
    name = operator.variable if operator.variable in asked else asked[0] if len(asked) == 1 else None
    if name is None or name not in ds.data_vars:
        msg = (
            f"Source {source!r}: its operator was learned for {operator.variable!r}; the data have "
            f"{listed(ds.data_vars)}. Name the variable that it is: variable='name'."
        )
        raise ObservationError(msg)
    return {str(name): VariableSpec(operator.variable, operator.units, standard_name=operator.standard_name)}


def _observed(da: xr.DataArray, models: Mapping[str, VariableSpec], source: str) -> VariableSpec:
    """Variable of the model that data of this name or standard name observe."""
    standard = da.attrs.get("standard_name")
    same = models.get(str(da.name))
    if same is not None and (
        standard is None or same.standard_name is None or same_quantity(standard, same.standard_name)
    ):
        return same
    alike = [v for v in models.values() if same_quantity(standard, v.standard_name)]
    if len(alike) == 1:
        return alike[0]
    what = f"standard_name {standard!r}" if standard is not None else "no standard_name"
    known = ", ".join(f"{v.name!r} ({v.standard_name or 'no standard_name'})" for v in models.values())
    msg = (
        f"Source {source!r}: {da.name!r} has {what}, which {'several' if alike else 'none'} of the model's variables "
        f"match: {known}. "
        f"Say which: variable={{{str(da.name)!r}: {next(iter(models))!r}}}."
    )
    raise VariableError(msg)


def factors(da: xr.DataArray, variable: VariableSpec, source: str) -> tuple[float, float]:
    """Factor and offset from the units of the data to those of the model."""
    units = da.attrs.get("units")
    if units is None:
        if variable.units.strip() in ("", "1"):
            return 1.0, 0.0
        msg = (
            f"Source {source!r}: {da.name!r} has no units; the model's {variable.name!r} is in {variable.units!r}. "
            "Add them: .assign_attrs(units=...)."
        )
        raise UnitError(msg)
    try:
        return unit_factors(str(units), variable.units)
    except UnitError as e:
        msg = f"Source {source!r}: {da.name!r} is to observe the model's {variable.name!r}. {e}"
        raise UnitError(msg) from e


def conversion(
    ds: xr.Dataset, da: xr.DataArray, at: str, observed: VariableSpec, source: str, frame: float = 24.0
) -> tuple[float | FloatArray, float]:
    """Factor and offset to the units of the model; a factor for each time where amounts become rates.

    What the model counts per frame, of `frame` hours, may be observed as a rate; and precipitation that is an amount is
    one of the period of each value, whether or not ``cell_methods`` say so.
    """
    rain = observed.rain
    try:
        return factors(da, observed, source)
    except UnitError:
        if (rain or observed.cell_method == "sum") and "units" in da.attrs:
            with contextlib.suppress(UnitError):
                daily, offset = factors(da, replace(observed, units=f"{observed.units} day-1"), source)
                return daily * frame / 24.0, offset
        if not (rain or is_sum(da.attrs)) or "units" not in da.attrs:
            raise
        lengths = length_of_each(da[at], da.attrs, bounds_of(ds, da[at]))
        if lengths is None:
            raise
        rate = da.assign_attrs(units=f"{da.attrs['units']} day-1")
        daily, offset = factors(rate, observed, source)
        return daily * 24.0 / lengths.ravel(), offset

"""How high an observation is: weights of the channels of a model, linear in the logarithm of pressure.

Sigma is pressure over surface pressure, so that in one column the logarithms of both differ by a constant, and what is
linear in one is linear in the other. Heights and other vertical coordinates are interpolated as they are. Between
pressure and sigma lies the surface pressure, which the data have to hold: the variable that the ``formula_terms`` of
the coordinate call ``ps``, or the one with standard name ``surface_air_pressure``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import xarray as xr

from xslams.errors import DimensionError, ObservationError, UnitError
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.units import unit_factors
from xslams.labels.variables import align_levels
from xslams.spec import Spec, VariableSpec
from xslams.typing import FloatArray, Method
from xslams.weights import bracket

__all__ = ["channels", "listed_levels"]

Kind = Literal["pressure", "sigma"]
_PRESSURE_UNITS = ("Pa", "hPa", "kPa", "mb", "mbar", "bar", "millibar", "millibars")
_NAMES: Mapping[str, Kind] = {
    "sigma": "sigma",
    "plev": "pressure",
    "pressure": "pressure",
    "pressure_level": "pressure",
    "isobaricInhPa": "pressure",
}
_STANDARD_NAMES: Mapping[str, Kind] = {"air_pressure": "pressure", "atmosphere_sigma_coordinate": "sigma"}


def channels(
    ds: xr.Dataset, da: xr.DataArray, variable: VariableSpec, spec: Spec, method: Method, source: str, *, read: bool
) -> tuple[sp.csr_array, xr.DataArray]:
    """Weights of the model's channels for each level of a source.

    Parameters
    ----------
    ds
        Dataset that may hold the surface pressure.
    da
        Data.
    variable
        What they observe.
    spec
        The model's.
    method
        ``"nearest"`` takes one level, anything else interpolates.
    source
        Name of the source, for messages.
    read
        Whether a surface pressure that is lazy may be read; if not, all levels are said to lie within the model's.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (level, channel); rows are empty for levels outside of the model's, or missing.
    DataArray
        The level of each element, with the dimensions that it depends on.

    Raises
    ------
    ObservationError, DimensionError, UnitError
        If the level is missing, or cannot be compared with the model's.
    """
    start = spec.channel_slice(variable.name).start
    name = coordinate(da, "level")
    if name is None and variable.level_dim in da.coords:
        name = variable.level_dim
    kind = _kind(variable.level_attrs, variable.level_dim)
    if name is not None and kind is not None and _kind(da[name].attrs, name) != kind:
        # Of pressure and sigma the one that the model has.
        alike = [str(n) for n, c in da.coords.items() if _kind(c.attrs, n) == kind and _is_vertical(c.attrs, n)]
        name = alike[0] if alike else name
    if name is None or not variable.levels:
        if variable.channels > 1:
            msg = (
                f"Source {source!r}: {da.name!r} says not at which level it is; "
                f"the model's {variable.name!r} has levels "
                f"{listed_levels(variable)}. Assign one: .assign_coords({variable.level_dim or 'level'}=...)."
            )
            raise ObservationError(msg)
        if name is not None and da[name].size > 1 and name in da.dims:
            msg = (
                f"Source {source!r}: {da.name!r} has {da[name].size} levels; the model's {variable.name!r} has none. "
                f"Select one: .sel({name}=...)."
            )
            raise ObservationError(msg)
        dims = [name] if name is not None and name in da.dims else []
        single = sp.csr_array(([1.0], ([0], [start])), shape=(1, spec.channels))
        return single, xr.DataArray(np.zeros([1] * len(dims), int), dims=dims)
    level = _in_terms_of(ds, da, name, variable, source, read=read)
    have, want = np.asarray(level.values, float).ravel(), np.asarray(variable.levels, float)
    weight: FloatArray
    if len(want) == 1:
        low, weight = np.zeros(len(have), np.intp), np.zeros(len(have))
        order, inside = np.zeros(1, np.intp), np.abs(have - want) <= 0.01 * np.abs(want)
    else:
        if kind is not None and want.min() > 0:
            have, want = _logarithm(have), _logarithm(want)
        order = np.argsort(want)
        known = np.isfinite(have)
        low, weight, inside = bracket(want[order], np.where(known, have, want.min()), linear=method != "nearest")
        inside &= known
    upper = order[np.minimum(low + 1, len(want) - 1)]
    rows = np.arange(len(have))
    weights = sp.csr_array(
        (
            np.concatenate([(1 - weight) * inside, weight * inside]),
            (np.concatenate([rows, rows]), start + np.concatenate([order[low], upper])),
        ),
        shape=(len(have), spec.channels),
    )
    weights.eliminate_zeros()
    return weights, xr.DataArray(rows.reshape(level.shape), dims=level.dims)


def listed_levels(variable: VariableSpec) -> str:
    """Levels of a variable of the model, for a message."""
    units = variable.level_attrs.get("units", "")
    return ", ".join(f"{v:g}" for v in variable.levels) + (f" {units}" if units not in ("", "1") else "")


def _logarithm(values: FloatArray) -> FloatArray:
    """Logarithm, NaN where there is none."""
    return np.asarray(np.log(np.where(values > 0, values, np.nan)))


def _kind(attrs: Mapping[Any, Any], name: Hashable) -> Kind | None:
    """Whether a vertical coordinate is a pressure or a sigma."""
    if name == "sigma":
        # Whatever its attributes: those of a pressure stay where it was divided by another.
        return "sigma"
    standard = _STANDARD_NAMES.get(str(attrs.get("standard_name")))
    if standard is not None:
        return standard
    units = attrs.get("units")
    if units in _PRESSURE_UNITS:
        return "pressure"
    return _NAMES.get(str(name)) if units is None else None


def _is_vertical(attrs: Mapping[Any, Any], name: Hashable) -> bool:
    """Whether a pressure or sigma says where something is, and not what something is."""
    return str(name) in _NAMES or attrs.get("standard_name") in _STANDARD_NAMES


def _in_terms_of(
    ds: xr.Dataset, da: xr.DataArray, name: str, variable: VariableSpec, source: str, *, read: bool
) -> xr.DataArray:
    """Levels of the data as values of the vertical coordinate of the model."""
    level = da[name].reset_coords(drop=True)
    kinds = _kind(level.attrs, name), _kind(variable.level_attrs, variable.level_dim)
    if kinds == ("sigma", "sigma"):
        return level
    if kinds[1] is not None and "hybrid" in str(level.attrs.get("standard_name")):
        msg = (
            f"Source {source!r}: {da.name!r} is at hybrid levels, {name!r}; the model's {variable.name!r} at levels of "
            f"{kinds[1]}, {listed_levels(variable)}. Compute their pressure from formula_terms, and assign it: "
            ".assign_coords(pressure=(a * p0 + b * ps).assign_attrs(units='Pa'))."
        )
        raise ObservationError(msg)
    if set(kinds) != {"pressure", "sigma"}:
        try:
            return level.copy(data=align_levels(level, variable))
        except UnitError as e:
            msg = (
                f"Source {source!r}: {da.name!r} is at levels of {name!r}; the model's {variable.name!r} has "
                f"{variable.level_dim!r}, {listed_levels(variable)}. {e}"
            )
            raise UnitError(msg) from e
    terms = str(level.attrs.get("formula_terms", "")).replace(":", " ").split()
    by_term = dict(zip(terms[::2], terms[1::2], strict=False))
    found = [n for n, v in ds.variables.items() if v.attrs.get("standard_name") == "surface_air_pressure"]
    if by_term.get("ps") in ds.variables:
        found = [by_term["ps"]]
    if not found:
        msg = (
            f"Source {source!r}: {da.name!r} is at levels of {kinds[0]}, the model's {variable.name!r} at levels of "
            f"{kinds[1]}, {listed_levels(variable)}; the surface pressure says how they correspond. Give a Dataset "
            "that holds it, with standard_name 'surface_air_pressure'"
            f"{'' if kinds[0] == 'sigma' else ', or assign sigma: .assign_coords(sigma=pressure / surface_pressure)'}."
        )
        raise ObservationError(msg)
    surface = ds[found[0]].reset_coords(drop=True)
    if extra := [d for d in surface.dims if d not in da.dims]:
        msg = (
            f"Source {source!r}: the surface pressure {found[0]!r} varies along {listed(extra)}, "
            f"{da.name!r} with dimensions {da.dims} does not. Select along it, or interpolate."
        )
        raise DimensionError(msg)
    if surface.chunks is not None and not read:
        return level.copy(data=np.full(level.shape, variable.levels[0]))
    if kinds[0] == "pressure":
        pressure = level * _factor(level, "Pa", source)
        return xr.DataArray(pressure / (surface * _factor(surface, "Pa", source)))
    top: xr.DataArray | float = 0.0
    if by_term.get("ptop") in ds.variables:
        top = ds[by_term["ptop"]].reset_coords(drop=True)
        top = top * _factor(top, "Pa", source)
    pressure = top + level * (surface * _factor(surface, "Pa", source) - top)
    units = str(variable.level_attrs.get("units", "hPa"))
    return xr.DataArray(pressure * unit_factors("Pa", units)[0])


def _factor(pressure: xr.DataArray, units: str, source: str) -> float:
    """Factor to some units of pressure."""
    here = pressure.attrs.get("units")
    if here is None:
        msg = f"Source {source!r}: the pressure {pressure.name!r} has no units. Add them: attrs['units'] = 'hPa'."
        raise UnitError(msg)
    try:
        return unit_factors(str(here), units)[0]
    except UnitError as e:
        msg = f"Source {source!r}: {pressure.name!r} is to be a pressure. {e}"
        raise UnitError(msg) from e

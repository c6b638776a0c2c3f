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
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import DimensionError, ObservationError, UnitError
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.units import unit_factors
from xslams.labels.variables import align_levels
from xslams.likelihood.errors import IntArray
from xslams.observations.seawater import depth_of
from xslams.spec import Spec, VariableSpec
from xslams.typing import FloatArray, Method
from xslams.weights import bracket

__all__ = ["SEA_PRESSURE", "channels", "column_correlation", "height", "listed_levels", "medium"]

Kind = Literal["pressure", "sigma"]
_PRESSURE_UNITS = ("Pa", "hPa", "kPa", "mb", "mbar", "bar", "millibar", "millibars")
_METRES = ("m", "meter", "meters", "metre", "metres")
_NAMES: Mapping[str, Kind] = {
    "sigma": "sigma",
    "plev": "pressure",
    "pressure": "pressure",
    "pressure_level": "pressure",
    "isobaricInhPa": "pressure",
}
#: Standard names of the pressure of sea water, which is a coordinate as depth is.
SEA_PRESSURE = ("sea_water_pressure", "sea_water_pressure_due_to_sea_water")
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
    name = _level_of(da, variable)
    if name is None or not variable.levels:
        return _single_level(da, name, variable, spec, start, source)
    level = _in_terms_of(ds, da, name, variable, source, read=read)
    lower, upper, weight, inside = _bracket(np.asarray(level.values, float).ravel(), variable, method)
    rows = np.arange(level.size)
    weights = sp.csr_array(
        (
            np.concatenate([(1 - weight) * inside, weight * inside]),
            (np.concatenate([rows, rows]), start + np.concatenate([lower, upper])),
        ),
        shape=(level.size, spec.channels),
    )
    weights.eliminate_zeros()
    return weights, xr.DataArray(rows.reshape(level.shape), dims=level.dims)


def height(da: xr.DataArray) -> FloatArray:
    """Height of each element of data, of their shape: the logarithm of pressure or sigma, other levels as they are.

    Examples
    --------
    >>> levels = {"level": ("level", [1000.0, 500.0], {"units": "hPa", "axis": "Z"})}
    >>> height(xr.DataArray(np.zeros(2), dims="level", coords=levels)).round(3)
    array([6.908, 6.215])
    """
    name = coordinate(da, "level")
    if name is None:
        return np.zeros(da.shape)
    level = da[name].reset_coords(drop=True)
    values = np.asarray(level.values, float)
    whole = level.copy(data=values if _kind(level.attrs, name) is None else _logarithm(values))
    return np.asarray(whole.broadcast_like(da.reset_coords(drop=True)).transpose(*da.dims).values, float)


def column_correlation(spec: Spec, length: float) -> FloatArray:
    """Correlation of the channels of a model by the distance of their levels; that of two variables is zero.

    Parameters
    ----------
    spec
        The model's.
    length
        Distance :math:`L`, in which the correlation at a distance :math:`d` is :math:`(1 + d / L) e^{-d / L}`: of
        logarithms of pressure or sigma, and for other levels in their units.

    Returns
    -------
    ndarray
        Shape (channel, channel).
    """
    correlation, start = np.eye(spec.channels), 0
    for variable in spec.variables:
        if len(variable.levels) > 1:
            levels = np.asarray(variable.levels, float)
            if _kind(variable.level_attrs, variable.level_dim) is not None and levels.min() > 0:
                levels = _logarithm(levels)
            r = np.abs(levels[:, None] - levels) / length
            within = slice(start, start + variable.channels)
            correlation[within, within] = (1 + r) * np.exp(-r)
        start += variable.channels
    return correlation


def _level_of(da: xr.DataArray, variable: VariableSpec) -> str | None:
    """Name of the vertical coordinate of the data: of pressure and sigma the one that the model has."""
    name = coordinate(da, "level")
    if name is None and variable.level_dim in da.coords:
        name = variable.level_dim
    kind = _kind(variable.level_attrs, variable.level_dim)
    if name is not None and kind is not None and _kind(da[name].attrs, name) != kind:
        alike = [str(n) for n, c in da.coords.items() if _kind(c.attrs, n) == kind and _is_vertical(c.attrs, n)]
        name = alike[0] if alike else name
    return name


def _single_level(
    da: xr.DataArray, name: str | None, variable: VariableSpec, spec: Spec, start: int, source: str
) -> tuple[sp.csr_array, xr.DataArray]:
    """Weights of the only channel of a variable, whatever the level of the data."""
    if variable.channels > 1:
        msg = (
            f"Source {source!r}: {da.name!r} does not say at which level it is; the model's {variable.name!r} has "
            f"levels {listed_levels(variable)}. Assign one: .assign_coords({variable.level_dim or 'level'}=...)."
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


def _bracket(
    values: FloatArray, variable: VariableSpec, method: Method
) -> tuple[IntArray, IntArray, FloatArray, npt.NDArray[np.bool_]]:
    """Levels of the model below and above each value, the weight of the latter, and whether the model has both."""
    levels = np.asarray(variable.levels, float)
    if len(levels) == 1:
        only = np.zeros(len(values), np.intp)
        return only, only, np.zeros(len(values)), np.abs(values - levels) <= 0.01 * np.abs(levels)
    if _kind(variable.level_attrs, variable.level_dim) is not None and levels.min() > 0:
        values, levels = _logarithm(values), _logarithm(levels)
    order = np.argsort(levels)
    known = np.isfinite(values)
    low, weight, inside = bracket(levels[order], np.where(known, values, levels.min()), linear=method != "nearest")
    return order[low], order[np.minimum(low + 1, len(levels) - 1)], weight, inside & known


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


def medium(attrs: Mapping[Any, Any], name: Hashable) -> str | None:
    """Return what a vertical coordinate is made of: pressure of air or sea water, sigma, or depth; None if unknown.

    Examples
    --------
    >>> medium({"units": "hPa"}, "level"), medium({"units": "m", "positive": "down"}, "lev")
    ('pressure', 'depth')
    """
    if attrs.get("standard_name") in SEA_PRESSURE:
        return "sea pressure"
    kind = _kind(attrs, name)
    if kind is None and (attrs.get("standard_name") == "depth" or "depth" in str(name).lower()):
        return "depth"
    return "depth" if kind is None and attrs.get("positive") == "down" and attrs.get("units") in _METRES else kind


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
        if (medium(level.attrs, name), medium(variable.level_attrs, variable.level_dim)) == ("sea pressure", "depth"):
            level = _depth(da, level, source)
        try:
            return level.copy(data=align_levels(level, variable))
        except UnitError as e:
            msg = (
                f"Source {source!r}: {da.name!r} is at levels of {name!r}; the model's {variable.name!r} has "
                f"{variable.level_dim!r}, {listed_levels(variable)}. {e}"
            )
            raise UnitError(msg) from e
    terms = _formula_terms(level)
    surface = _surface_pressure(ds, da, terms, variable, kinds, source)
    if surface.chunks is not None and not read:
        return level.copy(data=np.full(level.shape, variable.levels[0]))
    surface = surface * _factor(surface, "Pa", source)
    if kinds[0] == "pressure":
        return xr.DataArray(level * _factor(level, "Pa", source) / surface)
    top: xr.DataArray | float = 0.0
    if terms.get("ptop") in ds.variables:
        top = ds[terms["ptop"]].reset_coords(drop=True)
        top = top * _factor(top, "Pa", source)
    units = str(variable.level_attrs.get("units", "hPa"))
    return xr.DataArray((top + level * (surface - top)) * unit_factors("Pa", units)[0])


def _depth(da: xr.DataArray, level: xr.DataArray, source: str) -> xr.DataArray:
    """Depth of levels of sea pressure, at the latitude of the data."""
    at = coordinate(da, "lat")
    latitude = xr.DataArray(45.0) if at is None else da[at].reset_coords(drop=True)
    pressure, latitude = xr.broadcast(level * _factor(level, "dbar", source), latitude)
    depth = depth_of(np.asarray(pressure.values, float), np.asarray(latitude.values, float))
    return pressure.copy(data=depth).assign_attrs(units="m")


def _formula_terms(level: xr.DataArray) -> dict[str, str]:
    """Names of the variables that a parametric vertical coordinate is made of, by the terms of CF."""
    terms = str(level.attrs.get("formula_terms", "")).replace(":", " ").split()
    return dict(zip(terms[::2], terms[1::2], strict=False))


def _surface_pressure(
    ds: xr.Dataset,
    da: xr.DataArray,
    terms: Mapping[str, str],
    variable: VariableSpec,
    kinds: tuple[Kind | None, Kind | None],
    source: str,
) -> xr.DataArray:
    """Surface pressure that goes with the data."""
    found = [n for n, v in ds.variables.items() if v.attrs.get("standard_name") == "surface_air_pressure"]
    if terms.get("ps") in ds.variables:
        found = [terms["ps"]]
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
    return surface


def _factor(pressure: xr.DataArray, units: str, source: str) -> float:
    """Factor to some units of pressure."""
    given = pressure.attrs.get("units")
    if given is None:
        msg = f"Source {source!r}: the pressure {pressure.name!r} has no units. Add them: attrs['units'] = 'hPa'."
        raise UnitError(msg)
    try:
        return unit_factors(str(given), units)[0]
    except UnitError as e:
        msg = f"Source {source!r}: {pressure.name!r} is to be a pressure. {e}"
        raise UnitError(msg) from e

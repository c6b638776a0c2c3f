"""Which variables of a Dataset hold the standard error and the quality flags of another.

A variable names them itself (``ancillary_variables`` of CF, or the attribute ``quality_flag`` of altimetry). Where it
does not, they are found by their standard name (``air_temperature standard_error``), by a name that is made of that of
the variable (``TEMP_QC``, ``TEMP_ADJUSTED_ERROR``), and last, a flag is that of all variables where it is the only one
about quality (``wvc_quality_flag``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import xarray as xr

from xslams.errors import UnitError
from xslams.labels.coordinates import coordinate
from xslams.labels.units import unit_factors
from xslams.observations.flag_scales import explained

__all__ = ["ancillary", "flags_of_coordinates", "measured"]

_FLAG_NAMES = (
    "{}_qc",
    "{}_qf",
    "{}_flag",
    "{}_qc_flag",
    "{}_quality",
    "{}_quality_flag",
    "{}_quality_level",
    "{}_seadatanet_qc",
    "qc_{}",
    "qual_{}",
    "flag_{}",
    "quality_{}",
    "quality_flag_{}",
)
_ERROR_NAMES = (
    "{}_error",
    "{}_err",
    "{}_standard_error",
    "{}_std_error",
    "{}_stderr",
    "{}_uncertainty",
    "{}_standard_uncertainty",
    "{}_unc",
    "uncertainty_{}",
)
_IS_ERROR = re.compile(r"\bstandard_error$|_standard_error$")
_IS_FLAG = re.compile(r"(quality|status)_flag$")
# What else the place of a value is called: latitude and longitude share a flag.
_PLACE = ("position",)


def ancillary(ds: xr.Dataset, da: xr.DataArray) -> tuple[xr.DataArray | None, list[xr.DataArray]]:
    """Return the standard error and the flags that belong to a variable.

    Parameters
    ----------
    ds
        Dataset that holds them.
    da
        Variable that they belong to.

    Returns
    -------
    tuple
        The variable with the standard error, None where there is none, and those with flags.

    Examples
    --------
    >>> ds = xr.Dataset({"t": ("x", [1.0], {"ancillary_variables": "t_err"}),
    ...                  "t_err": ("x", [0.5], {"standard_name": "air_temperature standard_error", "units": "K"})})
    >>> ancillary(ds, ds["t"])[0].name
    't_err'
    """
    linked = list(_linked(ds, da))
    error = next((v for v in linked if _IS_ERROR.search(_standard(v))), None)
    flags = [explained(v) for v in linked if not _IS_ERROR.search(_standard(v)) and _is_flag(v)]
    if error is None:
        found = [*_of_standard_name(ds, da, "standard_error"), *_called(ds, da, _ERROR_NAMES)]
        error = next((v for v in found if _measures_alike(v, da)), None)
    if not flags:
        found = [*_of_standard_name(ds, da, "status_flag", "quality_flag"), *_called(ds, da, _FLAG_NAMES)]
        flags = [explained(v) for v in found if _is_explained(v)][:1] or _only_one(ds, da)
    return error, flags


def measured(ds: xr.Dataset) -> list[str]:
    """Names of the variables that are neither the error nor a flag of another.

    Examples
    --------
    >>> measured(xr.Dataset({"t": ("x", [1.0]), "t_error": ("x", [0.5])}))
    ['t']
    """
    belonging: set[str] = set()
    for da in ds.data_vars.values():
        error, flags = ancillary(ds, da)
        belonging |= {str(v.name) for v in (*flags, *([] if error is None else [error]))}
    return [str(n) for n in ds.data_vars if n not in belonging]


def flags_of_coordinates(ds: xr.Dataset, da: xr.DataArray) -> list[xr.DataArray]:
    """Return flags of the time, the place and the level of a variable.

    Parameters
    ----------
    ds
        Dataset that holds them.
    da
        Variable.

    Examples
    --------
    >>> flag = ("x", [4], {"conventions": "Argo reference table 2"})
    >>> ds = xr.Dataset({"t": ("x", [1.0]), "POSITION_QC": flag}, {"lat": ("x", [50.0]), "lon": ("x", [8.0])})
    >>> [f.name for f in flags_of_coordinates(ds, ds["t"])]
    ['POSITION_QC']
    """
    found: dict[str, xr.DataArray] = {}
    for kind in ("time", "lat", "lon", "level"):
        name = coordinate(da, kind)
        if name is None:
            continue
        linked = [v for v in _linked(ds, da[name]) if _is_flag(v)]
        places = _PLACE if kind in ("lat", "lon") else ()
        called = [v for n in (name, *places) for v in _named(ds, n, _FLAG_NAMES) if set(v.dims) <= set(da.dims)]
        for flag in linked or called:
            if _is_explained(flag) and set(flag.dims) <= set(da.dims):
                found[str(flag.name)] = explained(flag)
    return list(found.values())


def _linked(ds: xr.Dataset, da: xr.DataArray) -> Iterator[xr.DataArray]:
    """Variables that a variable names."""
    for attribute in ("ancillary_variables", "quality_flag"):
        for name in re.split(r"[\s,]+", str(da.attrs.get(attribute, da.encoding.get(attribute, "")))):
            if name in ds.variables:
                yield ds[name]


def _standard(da: xr.DataArray) -> str:
    return str(da.attrs.get("standard_name", ""))


def _is_flag(da: xr.DataArray) -> bool:
    return "flag_meanings" in da.attrs or _IS_FLAG.search(_standard(da)) is not None or _is_explained(da)


def _is_explained(da: xr.DataArray) -> bool:
    return "flag_meanings" in explained(da).attrs


def _of_standard_name(ds: xr.Dataset, da: xr.DataArray, *modifiers: str) -> Iterator[xr.DataArray]:
    """Variables with the standard name of another and a modifier, where no third has the same."""
    standard = _standard(da)
    # Variables, which are quicker to come by than DataArrays: files have a hundred.
    names = {n: str(v.attrs.get("standard_name", "")) for n, v in ds.variables.items()}
    if not standard or sum(name == standard for name in names.values()) > 1:
        return
    for name, other in names.items():
        if other in [f"{standard} {m}" for m in modifiers] and set(ds.variables[name].dims) <= set(da.dims):
            yield ds[name]


def _called(ds: xr.Dataset, da: xr.DataArray, patterns: tuple[str, ...]) -> Iterator[xr.DataArray]:
    for other in _named(ds, str(da.name), patterns):
        if set(other.dims) <= set(da.dims):
            yield other


def _named(ds: xr.Dataset, name: str, patterns: tuple[str, ...]) -> Iterator[xr.DataArray]:
    """Variables whose name is made of another's, in the order of the patterns."""
    known = {str(n).casefold(): n for n in ds.variables}
    for pattern in patterns:
        if (found := known.get(pattern.format(name).casefold())) is not None:
            yield ds[found]


def _measures_alike(error: xr.DataArray, da: xr.DataArray) -> bool:
    """Whether an error is one in units of the values: one in per cent is not."""
    if error.dtype.kind not in "fiu":
        return False
    try:
        unit_factors(str(error.attrs.get("units", da.attrs.get("units", ""))), str(da.attrs.get("units", "")))
    except UnitError:
        return False
    return True


def _only_one(ds: xr.Dataset, da: xr.DataArray) -> list[xr.DataArray]:
    """Return the only flag about quality, where it is that of no variable in particular."""
    flags = [ds[n] for n, v in ds.variables.items() if "flag_meanings" in v.attrs and n in ds.data_vars]
    flags = [v for v in flags if _is_about_quality(v)]
    if len(flags) != 1 or flags[0].name == da.name or not set(flags[0].dims) <= set(da.dims):
        return []
    only = flags[0].name
    for other in ds.variables:
        if only in [v.name for v in (*_linked(ds, ds[other]), *_named(ds, str(other), _FLAG_NAMES))]:
            return []
    return flags


def _is_about_quality(flag: xr.DataArray) -> bool:
    return "quality" in str(flag.name).lower() or _IS_FLAG.search(_standard(flag)) is not None

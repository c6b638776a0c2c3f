"""Pairs of analysis and truth: the same variables, units, cells, levels and times. Nothing is interpolated."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xslams.errors import CoverageError, DimensionError, GridError, VariableError
from xslams.labels.calendar import undecoded, without_zones
from xslams.labels.coordinates import coordinate, vertical
from xslams.labels.units import convert_units, unit_factors
from xslams.labels.valid_values import with_valid_values
from xslams.scores.alignment import nearest, positions
from xslams.scores.dimensions import MEMBER, is_time, points, space

__all__ = ["match", "pairs"]


def pairs(
    analysis: xr.Dataset | xr.DataArray, truth: xr.Dataset | xr.DataArray
) -> dict[Hashable, tuple[xr.DataArray, xr.DataArray]]:
    """Return the variables that both have, by name; two DataArrays need no common name.

    Raises
    ------
    VariableError
        If no variable is in both.
    """
    if isinstance(truth, xr.DataArray) and isinstance(analysis, xr.DataArray):
        return {next((n for n in (truth.name, analysis.name) if n is not None), "values"): _in_utc(analysis, truth)}
    left = analysis if isinstance(analysis, xr.Dataset) else {analysis.name: analysis}
    right = truth if isinstance(truth, xr.Dataset) else {truth.name: truth}
    common = [name for name in left if name in right]
    if not common:
        msg = (
            f"Analysis and truth have no variable in common: the analysis has {sorted(map(str, left))}, "
            f"the truth {sorted(map(str, right))}. Rename one of them, or score two DataArrays."
        )
        raise VariableError(msg)
    return {name: _in_utc(left[name], right[name]) for name in common}


def _in_utc(analysis: xr.DataArray, truth: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Both with the times that states have."""
    return without_zones(analysis), without_zones(truth)


def match(analysis: xr.DataArray, truth: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Select what both have, bring the truth into the order and the units of the analysis, and mask what is unknown.

    Coordinates agree where they differ by less than a hundredth of the distance to their neighbours. Cells of a grid
    must all agree; of times, levels and other dimensions, those that both have are kept, repeated ones once. A value
    that is missing in the truth or in any member is missing in both results.

    Parameters
    ----------
    analysis
        Field with or without a dimension ``member``.
    truth
        Field with the other dimensions of the analysis.

    Returns
    -------
    tuple of DataArray
        Analysis and truth; ``attrs["matched"]`` of the truth says how much of each dimension was matched.

    Raises
    ------
    DimensionError
        If dimensions differ, or times of one are numbers that are not decoded.
    UnitError
        If units differ and do not measure the same.
    GridError
        If cells or levels differ.
    CoverageError
        If no time is in both.
    """
    analysis, truth = _in_utc(with_valid_values(analysis), with_valid_values(truth))
    truth = _with_levels_along(analysis, truth)
    _check_dimensions(analysis, truth)
    _check_times(analysis, truth)
    if all("units" in field.attrs for field in (analysis, truth)):
        truth = convert_units(truth, str(analysis.attrs["units"]))
    fixed = [] if points(truth) else space(truth)
    said = []
    for dim in truth.dims:
        whole = analysis.sizes[dim], truth.sizes[dim]
        analysis, truth = _along(analysis, truth, dim, fixed=dim in fixed)
        said.append(f"{dim}: {analysis.sizes[dim]} of {whole[0]} in the analysis, of {whole[1]} in the truth")
    truth = _at_same_places(analysis, truth)
    known = truth.notnull() & (analysis.notnull().all(MEMBER) if MEMBER in analysis.dims else analysis.notnull())
    truth = truth.where(known).assign_attrs(matched="; ".join(said))
    return analysis.where(known).transpose(*analysis.dims), truth


def _with_levels_along(analysis: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Return the truth with its levels along the dimension that they have in the analysis, whatever it calls them."""
    ours, theirs = vertical(analysis), vertical(truth)
    if ours is None or theirs is None or ours[0] in truth.dims or theirs[0] in analysis.dims:
        return truth
    if ours[0] in truth.coords:
        return truth.swap_dims({theirs[0]: ours[0]}) if truth[ours[0]].dims == (theirs[0],) else truth
    return truth.rename({theirs[0]: ours[0]})


def _check_dimensions(analysis: xr.DataArray, truth: xr.DataArray) -> None:
    extra = [d for d in truth.dims if d not in analysis.dims]
    lacking = [d for d in analysis.dims if d not in truth.dims and d != MEMBER]
    if extra or lacking or MEMBER in truth.dims:
        msg = (
            f"The truth of {truth.name!r} has dimensions {truth.dims}, the analysis {analysis.dims}. They must have "
            "the same ones, apart from 'member', which only the analysis may have; select or rename what differs."
        )
        raise DimensionError(msg)


def _check_times(analysis: xr.DataArray, truth: xr.DataArray) -> None:
    """Raise where one has times and the other numbers for them."""
    for ours, theirs, what in ((analysis, truth, "truth"), (truth, analysis, "analysis")):
        if coordinate(ours, "time") is not None and coordinate(theirs, "time") is None and (why := undecoded(theirs)):
            msg = f"The {what} has no times to compare: {why}"
            raise DimensionError(msg)


def _along(
    analysis: xr.DataArray, truth: xr.DataArray, dim: Hashable, *, fixed: bool
) -> tuple[xr.DataArray, xr.DataArray]:
    """Select along one dimension what both have; all of the analysis where it is that of a grid."""
    ours, theirs = _index(analysis, dim), _index(truth, dim)
    if ours is None or theirs is None:
        if analysis.sizes[dim] != truth.sizes[dim]:
            msg = (
                f"{dim!r} has {analysis.sizes[dim]} values in the analysis and {truth.sizes[dim]} in the truth, and "
                "no coordinate in both that says which belong together. Assign one: .assign_coords(...)."
            )
            raise GridError(msg)
        return analysis, truth
    if ours.equals(theirs) and (fixed or ours.is_unique):
        return analysis, truth
    want, have = _labels(analysis, truth, dim, (ours, theirs))
    period = 360.0 if dim == coordinate(truth, "lon") else None
    if fixed:
        index = nearest(have, want, period)
        # A column that the truth repeats, as 0 and 360 degrees, may be left over; another may not.
        if (index < 0).any() or (nearest(want, have, period) < 0).any():
            raise _differ(ours, theirs, dim)
        kept = np.arange(len(want))
    else:
        kept, index = positions(have, want)
    if len(kept) == 0:
        if not is_time(truth, dim):
            raise _differ(ours, theirs, dim)
        msg = f"Analysis and truth of {truth.name!r} have no time in common; select the same period, at the same hours."
        raise CoverageError(msg)
    analysis, truth = analysis.isel({dim: kept}), truth.isel({dim: index})
    if dim not in analysis.coords:
        return analysis, truth.drop_vars([dim], errors="ignore")
    return analysis, truth.assign_coords({dim: analysis[dim]})


def _index(field: xr.DataArray, dim: Hashable) -> pd.Index[Any] | None:
    """Labels along a dimension; of levels those that say best where they are, as pressures beside numbers."""
    found = vertical(field)
    return field.indexes.get(dim) if found is None or found[0] != dim else pd.Index(field[found[1]].values)


def _differ(ours: pd.Index[Any], theirs: pd.Index[Any], dim: Hashable) -> GridError:
    return GridError(
        f"{dim!r} differs: the analysis has {len(ours)} values from {ours[0]} to {ours[-1]}, the truth "
        f"{len(theirs)} from {theirs[0]} to {theirs[-1]}. Bring the truth to the analysis with "
        "truth.slams.regrid(analysis), or select common values."
    )


def _labels(
    analysis: xr.DataArray, truth: xr.DataArray, dim: Hashable, indexes: tuple[pd.Index[Any], pd.Index[Any]]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Labels of both along a dimension in the same terms: numbers where they can be, else as they are."""
    ours, theirs = indexes
    if is_time(truth, dim) or is_time(analysis, dim):
        return _hours(ours, theirs)
    if any(index.dtype.kind not in "fiubm" for index in (ours, theirs)):
        return np.asarray(ours), np.asarray(theirs)
    want, have = np.asarray(ours, float), np.asarray(theirs, float)
    units = [_units(field, dim) for field in (analysis, truth)]
    if all(units) and units[0] != units[1] and dim not in space(truth):
        factor, offset = unit_factors(units[1], units[0])
        have = factor * have + offset
    return want, have


def _units(field: xr.DataArray, dim: Hashable) -> str:
    """Units of the labels along a dimension."""
    found = vertical(field)
    name = dim if found is None or found[0] != dim else found[1]
    return str(field[name].attrs.get("units", ""))


def _hours(ours: pd.Index[Any], theirs: pd.Index[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return times of both in hours; dates of different calendars are compared by year, month and day."""
    calendars = {getattr(index, "calendar", None) for index in (ours, theirs)}
    if len(calendars) == 1 and None not in calendars:
        import cftime  # type: ignore[import-untyped]

        (calendar,) = calendars
        found = [cftime.date2num(index.values, "hours since 1970-01-01", calendar) for index in (ours, theirs)]
        return np.asarray(found[0], float), np.asarray(found[1], float)
    return _since_epoch(ours), _since_epoch(theirs)


def _since_epoch(index: pd.Index[Any]) -> npt.NDArray[Any]:
    if index.dtype.kind not in "MO":
        return np.asarray(index, float)
    if index.dtype.kind == "O":
        # Of a date that the other calendar does not have, as 30 February, nothing is found.
        index = pd.to_datetime([t.isoformat() for t in index], errors="coerce", format="ISO8601")
    values = np.asarray(index, "datetime64[us]")
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / 3.6e9)


def _at_same_places(analysis: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Check latitudes and longitudes that are no dimensions, and give the truth all coordinates of the analysis.

    Without that, arithmetic drops coordinates that differ by rounding, and the weights of area with them.
    """
    for kind in ("lat", "lon"):
        name, theirs = coordinate(analysis, kind), coordinate(truth, kind)
        if name is None or theirs is None or name in analysis.dims or analysis[name].ndim == 0:
            continue
        if set(analysis[name].dims) != set(truth[theirs].dims):
            continue
        away = np.abs(truth[theirs].transpose(*analysis[name].dims).values - analysis[name].values)
        away = np.minimum(away % 360.0, -away % 360.0) if kind == "lon" else away
        # A tenth of a kilometre at the equator; single precision has less.
        if np.nanmax(away, initial=0.0) > 1e-3:
            msg = (
                f"{name!r} of analysis and truth differ by up to {np.nanmax(away):g} degrees. Bring the truth to the "
                "analysis with truth.slams.regrid(analysis)."
            )
            raise GridError(msg)
    dims = set(truth.dims)
    return truth.assign_coords({n: c.variable for n, c in analysis.coords.items() if c.ndim and set(c.dims) <= dims})

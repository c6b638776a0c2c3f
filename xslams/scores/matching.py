"""Pairs of analysis and truth: the same variables, cells, levels and times. Nothing is interpolated."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from xslams.errors import CoverageError, DimensionError, GridError, VariableError
from xslams.labels.coordinates import coordinate, match_axis
from xslams.scores.dimensions import MEMBER, is_time

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
        return {next((n for n in (truth.name, analysis.name) if n is not None), "values"): (analysis, truth)}
    left = analysis if isinstance(analysis, xr.Dataset) else {analysis.name: analysis}
    right = truth if isinstance(truth, xr.Dataset) else {truth.name: truth}
    common = [name for name in left if name in right]
    if not common:
        msg = (
            f"Analysis and truth have no variable in common: the analysis has {sorted(map(str, left))}, "
            f"the truth {sorted(map(str, right))}. Rename one of them, or score two DataArrays."
        )
        raise VariableError(msg)
    return {name: (left[name], right[name]) for name in common}


def match(analysis: xr.DataArray, truth: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Select the times that both have, and bring the cells of the truth into the order of the analysis.

    Parameters
    ----------
    analysis
        Field with or without a dimension ``member``.
    truth
        Field with the other dimensions of the analysis.

    Raises
    ------
    DimensionError
        If dimensions differ.
    GridError
        If cells or levels differ.
    CoverageError
        If no time is in both.
    """
    _check_dimensions(analysis, truth)
    for dim in truth.dims:
        if not is_time(truth, dim):
            truth = _reorder(analysis, truth, dim)
    times = [d for d in truth.dims if is_time(truth, d) and d in truth.indexes and d in analysis.indexes]
    analysis, truth = xr.align(analysis, truth, join="inner", exclude=[d for d in analysis.dims if d not in times])
    if any(truth.sizes[d] == 0 for d in times):
        msg = f"Analysis and truth of {truth.name!r} have no time in common; select the same period, at the same hours."
        raise CoverageError(msg)
    return analysis, truth


def _check_dimensions(analysis: xr.DataArray, truth: xr.DataArray) -> None:
    extra = [d for d in truth.dims if d not in analysis.dims]
    lacking = [d for d in analysis.dims if d not in truth.dims and d != MEMBER]
    if extra or lacking or MEMBER in truth.dims:
        msg = (
            f"The truth of {truth.name!r} has dimensions {truth.dims}, the analysis {analysis.dims}. They must have "
            "the same ones, apart from 'member', which only the analysis may have; select or rename what differs."
        )
        raise DimensionError(msg)


def _reorder(analysis: xr.DataArray, truth: xr.DataArray, dim: Hashable) -> xr.DataArray:
    """Bring the truth into the order of the analysis along one dimension."""
    ours, theirs = analysis.indexes.get(dim), truth.indexes.get(dim)
    if ours is None or theirs is None or ours.equals(theirs):
        return truth
    period = 360.0 if dim == coordinate(truth, "lon") else None
    # Another order of latitudes and another convention of longitudes are put right; nothing else is.
    order = match_axis(np.asarray(theirs, float), np.asarray(ours, float), period=period)
    if order is None or ours.size != theirs.size:
        msg = (
            f"{dim!r} differs: the analysis has {ours.size} values from {ours[0]:g} to {ours[-1]:g}, the truth "
            f"{theirs.size} from {theirs[0]:g} to {theirs[-1]:g}. Bring the truth to the analysis with "
            "truth.slams.regrid(analysis), or select common levels."
        )
        raise GridError(msg)
    return truth.isel({dim: order}).assign_coords({dim: analysis[dim]})

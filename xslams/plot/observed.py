"""Observations as they are drawn: a field of each variable of each source, or a table of times, places and values."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ObservationError, UnitError
from xslams.labels.coordinates import coordinate
from xslams.labels.units import convert_units
from xslams.labels.variables import same_quantity
from xslams.observations.flags import quality_flags
from xslams.observations.reading import read
from xslams.plot.fields import time_of

if TYPE_CHECKING:
    from xslams.observations.observation import Observation, ObservationsLike

__all__ = ["Seen", "fields", "in_period", "of_frame", "points"]


@dataclass(frozen=True)
class Seen:
    """A variable of a source.

    Attributes
    ----------
    source
        Name of the source.
    field
        Values, in the units of what they observe where that is known.
    observes
        Variable of the analysis that they observe; None where it is none of these.
    """

    source: str
    field: xr.DataArray
    observes: Hashable | None


def fields(obs: ObservationsLike | None, *known: xr.Dataset | xr.DataArray | None) -> Iterator[Seen]:
    """Yield the variables that were used of every source.

    Parameters
    ----------
    obs
        What was assimilated.
    *known
        Analysis and truth: of a Dataset without ``variable=`` what these have is shown, or if they have none of it, all
        that is no standard error, flag or bounds.
    """
    from xslams.observations import as_observations

    variables: dict[Hashable, xr.DataArray] = {}
    for data in known:
        for name, field in {} if data is None else data.data_vars.items() if isinstance(data, xr.Dataset) else ():
            variables.setdefault(name, field)
    for number, source in enumerate([] if obs is None else as_observations(obs), start=1):
        label = source.name or f"source {number}"
        ds = read(source.data, label)
        for name, observes in _used(ds, source.variable, variables).items():
            field, same = _unflagged(ds, name, source, label), variables.get(observes)
            yield Seen(label, field if same is None else _converted(field, same), observes)


def _used(
    ds: xr.Dataset, variable: str | Sequence[str] | Mapping[str, str] | None, known: Mapping[Hashable, xr.DataArray]
) -> dict[Hashable, Hashable | None]:
    """Variables of the data that are used, and what they observe."""
    if isinstance(variable, Mapping):
        return {name: observes for name, observes in variable.items() if name in ds.data_vars}
    if variable is not None:
        names = [variable] if isinstance(variable, str) else list(variable)
        if len(ds.data_vars) == 1 and names[0] not in ds.data_vars:
            return {next(iter(ds.data_vars)): names[0]}  # a name of the model's for the only variable
        return {name: _alike(ds[name], known) for name in names if name in ds.data_vars}
    beside = {text for da in ds.data_vars.values() for text in _named_by(da)}
    fields = [n for n, da in ds.data_vars.items() if da.dtype.kind in "fiub" and str(n) not in beside]
    found = {name: _alike(ds[name], known) for name in fields}
    return {n: o for n, o in found.items() if o is not None} or found


def _unflagged(ds: xr.Dataset, name: Hashable, source: Observation, label: str) -> xr.DataArray:
    """Variable without the values that its flags exclude from an analysis; as it is where a flag cannot be read."""
    field = ds[name]
    try:
        flags = quality_flags(ds, field, source.qc.flags, label)
    except ObservationError:  # `check` and `assimilate` say what is wrong with it
        return field
    for flag in flags:
        field = field.where(xr.DataArray(flag.passes(), dims=field.dims))
    return field


def _named_by(da: xr.DataArray) -> list[str]:
    """Names of standard errors, flags and the like that a variable has."""
    said = {**da.encoding, **da.attrs}
    bounds = [str(c.attrs.get("bounds", c.encoding.get("bounds", ""))) for c in da.coords.values()]
    return [*str(said.get("ancillary_variables", "")).split(), str(said.get("grid_mapping", "")), *bounds]


def _alike(da: xr.DataArray, known: Mapping[Hashable, xr.DataArray]) -> Hashable | None:
    """Variable of the same name or, if it is the only one, of the same standard name."""
    standard = da.attrs.get("standard_name")
    if da.name in known:
        return da.name
    alike = [name for name, field in known.items() if same_quantity(standard, field.attrs.get("standard_name"))]
    return alike[0] if len(alike) == 1 else None


def _converted(field: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Field in the units of another, where both have units of one kind; else as it is."""
    units = like.attrs.get("units")
    try:
        return field if units is None or units == field.attrs.get("units") else convert_units(field, str(units))
    except UnitError:
        return field


def of_frame(field: xr.DataArray, analysis: xr.Dataset, label: Any) -> xr.DataArray:
    """Mask the reports of other frames, where each report has a time of its own; other fields stay as they are.

    Parameters
    ----------
    field
        Observations.
    analysis
        What they are drawn with. The bounds of its times say which period a frame stands for; without them it reaches
        half way to its neighbours.
    label
        Time of the frame.
    """
    name, clock = time_of(field), coordinate(analysis, "time")
    if name is None or name in field.dims or field[name].ndim != 1 or clock is None:
        return field
    frames = analysis[clock]
    bounds = analysis.variables.get({**frames.encoding, **frames.attrs}.get("bounds"))
    times = field[name]
    try:
        if bounds is not None and bounds.ndim == 2:
            begin, end = bounds.values[int(np.flatnonzero(frames.values == label)[0])]
            inside = (times >= begin) & (times < end)
        elif frames.size > 1:
            half = np.median(np.diff(frames.values)) / 2
            inside = (times - label >= -half) & (times - label < half)
        else:
            inside = abs(times - label) == abs(times - label).min()
    except (TypeError, ValueError):  # of another calendar
        return field
    return field.where(inside)


def in_period(field: xr.DataArray, frames: xr.DataArray) -> xr.DataArray:
    """Observations during some frames and up to a step before and after; as they are where calendars differ.

    Parameters
    ----------
    field
        Observations.
    frames
        Times of what they are drawn with.
    """
    name = time_of(field)
    if name is None or field[name].ndim != 1 or frames.size < 2:
        return field
    times, step = field[name], np.median(np.diff(frames.values))
    try:
        inside = (times >= frames.values.min() - step) & (times <= frames.values.max() + step)
    except TypeError:
        return field
    return field.isel({times.dims[0]: np.flatnonzero(inside.values)})


def points(
    field: xr.DataArray, site: Hashable | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]] | None:
    """Return times, places and values of all observations that are there, shape (n,) each.

    Parameters
    ----------
    field
        Observations, on a grid, at stations, or one report after the other.
    site
        Coordinate that says where; None for a system without space.

    Returns
    -------
    tuple of ndarray or None
        None where the observations have no such coordinates.
    """
    time = time_of(field)
    if site is not None and site not in field.coords:
        # Latitudes and longitudes may be called otherwise.
        site = next((coordinate(field, kind) for kind in ("lat", "lon") if kind in str(site).lower()), None) or site
    if time is None or (site is not None and site not in field.coords):
        return None
    place = field[site] if site is not None else xr.zeros_like(field[time], dtype=float)
    values, times, places = xr.broadcast(field.drop_attrs(), field[time], place)
    known = np.isfinite(values.values.astype(float))
    return times.values[known], places.values[known], values.values[known]

"""What plots share: choices of time and level, fields that are compared on common scales, and words."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import scores
from xslams.arguments import require
from xslams.errors import UnitError
from xslams.labels.coordinates import coordinate, vertical
from xslams.labels.units import unit_factors
from xslams.scores.dimensions import MEMBER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ERROR_COLOURS",
    "SPREAD_COLOURS",
    "Panel",
    "at_level",
    "at_time",
    "colours_of",
    "compared",
    "east",
    "extension",
    "figure_of",
    "in_units_of",
    "in_words",
    "label_of",
    "level_of",
    "limits",
    "time_of",
    "unit_text",
    "when",
    "with_units",
]

SEQUENTIAL_COLOURS, ERROR_COLOURS, SPREAD_COLOURS = "viridis", "RdBu_r", "magma_r"
# Whole words: "terrain" is dry.
_WET = re.compile(r"\b(precipitation|rain|rainfall|snowfall|humidity)\b")


# ---------------------------------------------------------------------------------------------------------------------
# Choices
# ---------------------------------------------------------------------------------------------------------------------
def time_of(field: xr.DataArray) -> Hashable | None:
    """Name of the time coordinate: dates, or the numbers of a small system."""
    return coordinate(field, "time") or ("time" if "time" in field.coords else None)


def at_time(field: xr.DataArray, time: Any) -> xr.DataArray:
    """Select the frame nearest to a time, by default that in the middle; a field without time stays as it is."""
    name = time_of(field)
    if name is None or name not in field.dims:
        return field
    labels = field.indexes[name]
    if time is None:
        return field.isel({name: len(labels) // 2})
    try:
        found = int(labels.get_indexer([np.asarray(time)[()]], method="nearest")[0])
    except (TypeError, ValueError, KeyError, OverflowError):  # what pandas raises for what is no time
        found = -1
    require(found >= 0, "time", time, f"a time, from {labels[0]} to {labels[-1]}")
    return field.isel({name: found})


def at_level(field: xr.DataArray, level: float | xr.DataArray | None) -> xr.DataArray:
    """Select the level nearest to a value, by default the first; a field without levels stays as it is.

    Parameters
    ----------
    field
        Any field.
    level
        A number in the units of the field's vertical coordinate, or a level of another field, with its units.
    """
    found = vertical(field)
    if found is None or found[0] not in field.dims:
        return field
    dim, name = found
    if level is None:
        return field.isel({dim: 0})
    values = np.asarray(field[name].values, float)
    return field.isel({dim: int(np.nanargmin(abs(values - in_units_of(field[name], level))))})


def level_of(field: xr.DataArray) -> xr.DataArray | None:
    """Return the level that a field was selected at; None where there is none."""
    name = coordinate(field, "level")
    return None if name is None or field[name].ndim else field[name]


def in_units_of(levels: xr.DataArray, level: float | xr.DataArray) -> float:
    """Return a level in the units of others; as it is where these are not known or measure another thing."""
    units = [str(part.attrs.get("units", "")) for part in (level, levels) if isinstance(part, xr.DataArray)]
    try:
        factor, offset = unit_factors(*units) if len(units) == 2 and all(units) else (1.0, 0.0)
    except UnitError:
        factor, offset = 1.0, 0.0
    return factor * float(level) + offset


# ---------------------------------------------------------------------------------------------------------------------
# Truth, analysis, error and spread, with scales that make them comparable
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Panel:
    """A field to draw in colours.

    Attributes
    ----------
    title
        What it shows.
    field
        Without members.
    colours
        Name of a colour map.
    low, high
        Ends of the scale.
    observed
        Whether the values are observations.
    """

    title: str
    field: xr.DataArray
    colours: str
    low: float
    high: float
    observed: bool = False


def compared(ensemble: xr.DataArray, truth: xr.DataArray | None) -> list[Panel]:
    """Truth, mean, error of the mean and spread, as far as they are there.

    Truth and mean share one scale, and so do the size of the error and the spread.

    Parameters
    ----------
    ensemble
        Field with or without members.
    truth
        The same field, without members.
    """
    name, unit = ensemble.name, unit_text(ensemble.attrs.get("units"))
    members = ensemble.sizes.get(MEMBER, 0)
    mean = ensemble.mean(MEMBER) if MEMBER in ensemble.dims else ensemble
    low, high = limits(mean) if truth is None else limits(mean, truth)
    label = f"Analysis, mean of {members} members" if MEMBER in ensemble.dims else "Analysis"
    found = [] if truth is None else [Panel("Truth", truth, colours_of(ensemble), low, high)]
    found.append(Panel(label, mean, colours_of(ensemble), low, high))
    error = None if truth is None else scores.bias(mean, truth, dims=[]).rename(name)
    deviation = ensemble.std(MEMBER, ddof=1) if members > 1 else None
    top = max((float(np.nanquantile(abs(f), 0.995)) for f in (error, deviation) if f is not None), default=1.0) or 1.0
    if truth is not None and error is not None:
        size = float(scores.rmse(mean, truth))
        found.append(Panel(f"Error of the mean (RMSE {size:.2f}{unit})", error, ERROR_COLOURS, -top, top))
    if deviation is not None:
        size = float(scores.spread(ensemble, mean))
        found.append(Panel(f"Spread of the members ({size:.2f}{unit})", deviation, SPREAD_COLOURS, 0.0, top))
    return found


def limits(*fields: xr.DataArray) -> tuple[float, float]:
    """Colour limits that a few extreme cells do not dictate."""
    values = np.concatenate([np.ravel(f.values) for f in fields])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.quantile(values, [0.002, 0.998])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def extension(field: xr.DataArray, low: float, high: float) -> str:
    """Return the ends at which a colour bar is open, as values lie beyond: "neither", "min", "max" or "both"."""
    values = field.values[np.isfinite(field.values)]
    over, under = bool((values > high).any()), bool((values < low).any())
    return "both" if over and under else "max" if over else "min" if under else "neither"


def colours_of(field: xr.DataArray) -> str:
    """Colour map of a variable: greens and blues for water, else perceptually uniform."""
    text = " ".join(str(field.attrs.get(k, "")) for k in ("standard_name", "long_name")).lower().replace("_", " ")
    return "YlGnBu" if _WET.search(text) else SEQUENTIAL_COLOURS


# ---------------------------------------------------------------------------------------------------------------------
# Words
# ---------------------------------------------------------------------------------------------------------------------
def in_words(field: xr.DataArray) -> str:
    """Name of a variable for a title, and that of the data where it is another."""
    name = str(field.attrs.get("long_name") or field.attrs.get("standard_name") or field.name).replace("_", " ")
    text = name if name == field.name else f"{name} ({field.name})"
    return text[0].upper() + text[1:]


def unit_text(units: str | None) -> str:
    """Units after a number, with a space; nothing for a pure number."""
    return f" {units}" if units and units != "1" else ""


def east(longitude: float) -> str:
    """Format a longitude in degrees east or west."""
    x = (longitude + 180) % 360 - 180
    return f"{abs(x):g}°{'' if x in (0, -180) else 'E' if x > 0 else 'W'}"


def figure_of(ax: Axes) -> Figure:
    """Figure of axes, also where they are those of a part of it."""
    figure: Any = ax.figure
    root: Figure = figure.figure
    return root


def with_units(coordinate: xr.DataArray) -> str:
    """Name of a coordinate or a variable, with its units in brackets; a pure number has none."""
    units = coordinate.attrs.get("units")
    return f"{coordinate.name} [{units}]" if unit_text(units) else str(coordinate.name)


def label_of(label: xr.DataArray) -> str:
    """Name and value of one label of a dimension, for a title."""
    value: Any = label.values[()]
    if time_of(label) == label.name or np.issubdtype(label.dtype, np.datetime64):
        return when(label.values)
    if isinstance(value, int | float | np.number):
        return f"{label.name} {value:g}{unit_text(label.attrs.get('units'))}"
    return f"{label.name} {value}"


def when(time: Any) -> str:
    """Time in words, without the hour where it is midnight."""
    if np.issubdtype(time.dtype, np.datetime64):
        return str(np.datetime_as_string(time, "m")).replace("T", " ").removesuffix(" 00:00")
    return f"time {time[()]:g}" if np.issubdtype(time.dtype, np.number) else str(time)

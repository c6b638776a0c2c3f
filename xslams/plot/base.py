"""The registry of plots, and what they share: choices of variable, time and level, scales, and words."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import scores
from xslams.arguments import is_number, require
from xslams.errors import DimensionError, UnitError, VariableError
from xslams.labels.coordinates import coordinate, vertical
from xslams.labels.units import unit_factors
from xslams.labels.valid_values import with_valid_values
from xslams.registries import Registry
from xslams.scores.dimensions import MEMBER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xslams.observations.observation import ObservationsLike
    from xslams.plot.observed import Seen

__all__ = [
    "ERROR_COLOURS",
    "PLOTS",
    "SPREAD_COLOURS",
    "Panel",
    "Plot",
    "PlotFunction",
    "Request",
    "at_level",
    "at_time",
    "colours_of",
    "compared",
    "east",
    "extension",
    "in_units_of",
    "in_words",
    "level_of",
    "limits",
    "panels",
    "register_plot",
    "time_of",
    "unit_text",
]

SEQUENTIAL_COLOURS, ERROR_COLOURS, SPREAD_COLOURS = "viridis", "RdBu_r", "magma_r"
# Whole words: "terrain" is dry.
_WET = re.compile(r"\b(precipitation|rain|rainfall|snowfall|humidity)\b")


# ---------------------------------------------------------------------------------------------------------------------
# Registry
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Request:
    """What is to be drawn; see `panels` for what the attributes mean.

    Attributes
    ----------
    analysis, truth, obs
        Fields and observations.
    variable, time, level
        What to draw of them.
    """

    analysis: xr.Dataset
    truth: xr.Dataset | xr.DataArray | None = None
    obs: ObservationsLike | None = None
    variable: Hashable | None = None
    time: Any = None
    level: float | None = None

    def field(self, variable: Hashable | None = None) -> xr.DataArray:
        """Return a variable of the analysis, by default the one that is to be drawn, or the first."""
        return _pick(self.analysis, self.variable if variable is None else variable, "analysis")

    def true(self, variable: Hashable) -> xr.DataArray | None:
        """Return the truth of a variable; None where there is no truth."""
        return None if self.truth is None else _pick(self.truth, variable, "truth")

    def seen(self) -> list[Seen]:
        """Return the variables of the observations that were used."""
        from xslams.plot import observed

        return list(observed.fields(self.obs, self.analysis, self.truth))


#: A function that draws what is requested.
PlotFunction = Callable[[Request], "Figure"]
#: A function that says whether a plot suits a field, which is given with all its dimensions.
Suits = Callable[[xr.DataArray], bool]


@dataclass(frozen=True)
class Plot:
    """A kind of plot.

    Attributes
    ----------
    draw
        What draws it.
    suits
        Whether it suits a field, given with all its dimensions; ``kind="auto"`` asks for it.
    """

    draw: PlotFunction
    suits: Suits


PLOTS: Registry[Plot] = Registry("kind of plot")


def _never(field: xr.DataArray) -> bool:
    return False


def register_plot(name: str, *, suits: Suits = _never) -> Callable[[PlotFunction], PlotFunction]:
    """Return a decorator that makes a function a kind of plot: ``analysis.slams.plot(truth, kind=name)``.

    Parameters
    ----------
    name
        Name of the kind.
    suits
        For which fields ``kind="auto"`` takes it; by default for none. The kinds registered last are asked first.

    Examples
    --------
    >>> from matplotlib import pyplot as plt
    >>> import xslams
    >>> from xslams.plot import PLOTS, Request, register_plot
    >>> @register_plot("histogram")
    ... def histogram(request: Request):
    ...     figure, ax = plt.subplots()
    ...     ax.hist(request.field().values.ravel())
    ...     return figure
    >>> figure = xslams.open_tutorial().slams.plot(variable="pr", kind="histogram")
    >>> plt.close(figure)
    >>> PLOTS.unregister("histogram")
    """

    def decorate(function: PlotFunction) -> PlotFunction:
        PLOTS.register(name)(Plot(function, suits))
        return function

    return decorate


def panels(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    obs: ObservationsLike | None = None,
    *,
    variable: Hashable | None = None,
    time: Any = None,
    level: float | None = None,
    kind: str = "auto",
) -> Figure:
    """Draw an analysis: maps of one time, or for a small system its course in time.

    Parameters
    ----------
    analysis
        Result of ``ds.slams.assimilate``; without a dimension ``member`` there is no panel of the spread.
    truth
        Fields to compare with, on the grid of the analysis; without them nothing is said of errors.
    obs
        What was assimilated.
    variable
        What to draw; by default the first variable of the analysis, and in series all of them.
    time
        Time to draw, the nearest one there is; by default the middle of the analysis. Plots over time mark it.
    level
        Value of the vertical coordinate, the nearest one there is; by default the first level.
    kind
        "maps" of fields on a globe or a plane at one time; "hovmoeller" for one horizontal dimension and time; "series"
        where there is nothing but time; "rank_histogram"; or what others have registered, see `register_plot`.
        "auto" takes what suits the field.

    Returns
    -------
    Figure
        A matplotlib figure; ``figure.savefig(path)`` writes it.

    Raises
    ------
    VariableError
        If there is no such variable.
    DimensionError
        If no plot suits the dimensions of the field.
    OptionError
        If there is no such kind, or another argument is of another type.
    """
    fields = xr.Dataset | xr.DataArray
    require(truth is None or isinstance(truth, fields), "truth", truth, "a Dataset or a DataArray")
    named = variable is None or isinstance(variable, Hashable)
    require(named, "variable", variable, "the name of a variable")
    require(level is None or is_number(level), "level", level, "a number")
    request = Request(analysis, truth, obs, variable, time, level)
    chosen: object = kind
    if isinstance(chosen, str) and chosen == "auto":
        kind = _suitable(request.field())
    return PLOTS[kind].draw(request)


def _suitable(field: xr.DataArray) -> str:
    for name, plot in reversed(PLOTS.items()):
        if plot.suits(field):
            return name
    msg = (
        f"No plot suits {field.name!r} with dimensions {field.dims}: a map needs latitude and longitude, or axes X and "
        "Y; a series needs one dimension beside 'member'. Select along the others with .isel or .sel first."
    )
    raise DimensionError(msg)


def _pick(fields: xr.Dataset | xr.DataArray, variable: Hashable | None, what: str) -> xr.DataArray:
    """Return a variable, by default the first; `what` names the fields in the message."""
    if isinstance(fields, xr.DataArray):
        return with_valid_values(fields)
    if variable is None and fields.data_vars:
        variable = next(iter(fields.data_vars))
    if variable not in fields.data_vars:
        msg = f"The {what} has no variable {variable!r} to plot; it has {sorted(map(str, fields.data_vars))}."
        raise VariableError(msg)
    return with_valid_values(fields[variable])


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

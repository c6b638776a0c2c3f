"""The registry of plots, and what is asked of them: fields, choices of variable, time and level, and layout."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams.arguments import is_number, require
from xslams.errors import DimensionError, OptionError, VariableError
from xslams.labels.valid_values import with_valid_values
from xslams.registries import Registry
from xslams.scores.dimensions import MEMBER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xslams.observations.observation import ObservationsLike
    from xslams.plot.observed import Seen

__all__ = ["PLOTS", "Layout", "Plot", "PlotFunction", "Request", "only_layout", "panels", "register_plot"]


# ---------------------------------------------------------------------------------------------------------------------
# Registry
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Layout:
    """Where to draw, as xarray names it; see `panels` for what the attributes mean.

    Attributes
    ----------
    row, col, col_wrap
        Dimensions of small multiples.
    ax, figsize
        Axes to draw in, or the size of a new figure.
    """

    row: Hashable | None = None
    col: Hashable | None = None
    col_wrap: int | None = None
    ax: Axes | None = None
    figsize: tuple[float, float] | None = None


@dataclass(frozen=True)
class Request:
    """What is to be drawn; see `panels` for what the attributes mean.

    Attributes
    ----------
    analysis, truth, obs
        Fields and observations.
    variable, time, level
        What to draw of them.
    background
        What the analysis started from.
    at
        Latitude and longitude of a place.
    layout
        Where to draw.
    """

    analysis: xr.Dataset
    truth: xr.Dataset | xr.DataArray | None = None
    obs: ObservationsLike | None = None
    variable: Hashable | None = None
    time: Any = None
    level: float | None = None
    background: xr.Dataset | xr.DataArray | None = None
    at: tuple[float, float] | None = None
    layout: Layout = Layout()

    def field(self, variable: Hashable | None = None) -> xr.DataArray:
        """Return a variable of the analysis, by default the one that is to be drawn, or the first."""
        return _pick(self.analysis, self.variable if variable is None else variable, "analysis")

    def true(self, variable: Hashable) -> xr.DataArray | None:
        """Return the truth of a variable; None where there is no truth."""
        return None if self.truth is None else _pick(self.truth, variable, "truth")

    def first_guess(self, variable: Hashable) -> xr.DataArray | None:
        """Return the background of a variable, the mean of its members if it has any; None where there is none."""
        if self.background is None:
            return None
        field = _pick(self.background, variable, "background")
        return field.mean(MEMBER, keep_attrs=True) if MEMBER in field.dims else field

    def at_label(self, dim: Hashable, label: Any) -> Request:
        """Return the request at one label of a dimension, as far as fields have it."""

        def select(fields: xr.Dataset | xr.DataArray | None) -> Any:
            if fields is None or dim not in fields.dims:
                return fields
            if dim not in fields.indexes:
                return fields.isel({dim: label})
            number = fields.indexes[dim].dtype.kind in "fiuM"
            return fields.sel({dim: label}, method="nearest" if number else None)

        chosen = select(self.analysis), select(self.truth), select(self.background)
        return replace(self, analysis=chosen[0], truth=chosen[1], background=chosen[2])

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
    background: xr.Dataset | xr.DataArray | None = None,
    at: tuple[float, float] | None = None,
    row: Hashable | None = None,
    col: Hashable | None = None,
    col_wrap: int | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
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
        where there is nothing but time; one of the others in `xslams.plot.PLOTS`, such as "increment", "members",
        "rank_histogram" or "panel"; or what others have registered, see `register_plot`. "auto" takes what suits the
        field. ``analysis.slams.plot.increment(...)`` is the same as ``kind="increment"``.
    background
        What the analysis started from, for the kinds that compare with it.
    at
        Latitude and longitude of the place whose series is drawn; by default series are means over the area.
    row, col, col_wrap
        Dimensions along which to draw small multiples, and the number of columns, as in xarray's own plots. For the
        kinds that draw one picture, such as "increment" or "spectra".
    ax
        Axes to draw in, for the same kinds without small multiples.
    figsize
        Width and height of the figure in inches.

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
    require(background is None or isinstance(background, fields), "background", background, "a Dataset or a DataArray")
    require(at is None or _are_numbers(at), "at", at, "a latitude and a longitude")
    require(figsize is None or _are_numbers(figsize), "figsize", figsize, "a width and a height in inches")
    given: object = col_wrap
    whole = isinstance(given, int) and not isinstance(given, bool) and given > 0
    require(given is None or whole, "col_wrap", col_wrap, "a number of columns")
    layout = Layout(row, col, col_wrap, ax, figsize)
    request = Request(analysis, truth, obs, variable, time, level, background, at, layout)
    chosen: object = kind
    if isinstance(chosen, str) and chosen == "auto":
        kind = _suitable(request.field())
    return PLOTS[kind].draw(request)


def _are_numbers(pair: object) -> bool:
    return isinstance(pair, tuple | list | np.ndarray) and len(pair) == 2 and all(map(is_number, pair))


def only_layout(request: Request, kind: str, *allowed: str) -> None:
    """Raise where a kind of plot cannot be laid out as is asked for.

    Parameters
    ----------
    request
        What is to be drawn.
    kind
        Name of the kind.
    *allowed
        What it can do beside `figsize`, of "row", "col", "col_wrap" and "ax".

    Raises
    ------
    OptionError
        Which names what it cannot do, and kinds that can.
    """
    for name in ("row", "col", "col_wrap", "ax"):
        value = getattr(request.layout, name)
        if value is not None and name not in allowed:
            msg = (
                f"{name}={value!r}: {kind!r} draws panels of its own and has no {name}=. Plots of one picture have, "
                "such as 'mean', 'spread', 'increment', 'spectra' and 'rank_histogram'."
            )
            raise OptionError(msg)


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

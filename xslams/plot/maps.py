"""Maps of an analysis: truth, ensemble mean, error, spread, and what was observed, at one time and level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import DimensionError
from xslams.labels.coordinates import vertical
from xslams.plot import observed
from xslams.plot.base import Request, only_layout, register_plot
from xslams.plot.fields import (
    Panel,
    at_level,
    at_time,
    colours_of,
    compared,
    extension,
    in_units_of,
    in_words,
    label_of,
    level_of,
    limits,
    time_of,
    when,
    with_units,
)
from xslams.plot.surfaces import Surface, surface_of
from xslams.scores.dimensions import MEMBER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_map", "maps", "select", "shape_of"]

_COLUMNS = 4


@register_plot("maps", suits=lambda field: surface_of(field) is not None)
def maps(request: Request) -> Figure:
    """Draw one time and level of an analysis on a globe or a plane; see `xslams.plot.panels`.

    Raises
    ------
    DimensionError
        If there are other dimensions than those of a map, time, level and members.
    """
    only_layout(request, "maps")
    ensemble, where = select(request.field(), request.time, request.level)
    surface = surface_of(ensemble)
    assert surface is not None  # `_select` has found it
    ensemble = surface.on_map(ensemble)
    true = request.true(ensemble.name)
    if true is not None:
        true = surface.on_map(select(true, where.get("time"), where.get("level"))[0])
    drawings = compared(ensemble, true)
    mean = drawings[0 if true is None else 1]
    sources = [_observed_panel(one, mean, where) for one in _observed(request, surface, where)]

    # Observations begin a row of their own.
    rows = 1 + -(-len(sources) // _COLUMNS)
    columns = max(len(drawings), min(len(sources), _COLUMNS))
    figure, grid = _figure(rows, columns, mean.field, surface, request.layout.figsize)
    axes = iter([*grid[0, : len(drawings)], *grid[1:].flat, *grid[0, len(drawings) :]])
    for panel in drawings:
        _map(next(axes), panel, surface, ensemble.attrs.get("units"))
    for panel in sources:
        ax = next(axes)
        _map(ax, panel, surface, panel.field.attrs.get("units"))
        surface.decorate(ax, mean.field)
    for ax in axes:
        ax.set_visible(False)
    figure.suptitle(_headline(ensemble, where))
    return figure


def select(field: xr.DataArray, time: Any, level: float | xr.DataArray | None) -> tuple[xr.DataArray, dict[str, Any]]:
    """Select one time and level of a field, and load it; also return the labels of what was selected."""
    where: dict[str, Any] = {}
    clock, height = time_of(field), vertical(field)
    if clock in field.dims:
        field = at_time(field, time)
        where["time"] = field[clock].values
    if height is not None and height[0] in field.dims:
        field = at_level(field, level)
    if (own := level_of(field)) is not None:
        where["level"] = own
    rest = [d for d in field.dims if d != MEMBER]
    surface = surface_of(field)
    place = None if surface is None else surface.coordinates(field)
    if place is None or len(rest) != 2:
        msg = (
            f"A map needs latitude and longitude and nothing else; {field.name!r} has {rest} left after time and level "
            "were selected. Select along the others with .isel or .sel first."
        )
        raise DimensionError(msg)
    return field.transpose(..., *(c.name for c in place if c.name in field.dims)).load(), where


def _observed(request: Request, surface: Surface, where: dict[str, Any]) -> Iterator[observed.Seen]:
    """Observations at one time, and at the level nearest to the one drawn, where they are on the map."""
    for one in request.seen():
        field = one.field
        if surface.coordinates(field) is None:
            continue
        if "time" in where:
            field = observed.of_frame(at_time(field, where["time"]), request.analysis, where["time"])
        field = at_level(field, where.get("level")).load()
        yield replace(one, field=surface.on_map(field))


def _observed_panel(seen: observed.Seen, drawn: Panel, where: dict[str, Any]) -> Panel:
    field = seen.field
    height = level_of(field)
    label = "" if height is None else f" at {label_of(height)}"
    title = f"Observed by {seen.source}: {field.name}{label} ({int(field.notnull().sum())} values)"
    # What is drawn is compared with its observations on the same scale.
    same = seen.observes == drawn.field.name and ("level" not in where or _is_at(field, where["level"]))
    bounds = (drawn.low, drawn.high) if same else limits(field)
    return Panel(title, field, colours_of(field), *bounds, observed=True)


def _is_at(field: xr.DataArray, level: xr.DataArray) -> bool:
    """Whether a field is one of a level."""
    own = level_of(field)
    return own is not None and bool(np.isclose(float(own), in_units_of(own, level), rtol=1e-6))


def shape_of(field: xr.DataArray, surface: Surface) -> float:
    """Height over width of a map of a field, within bounds."""
    vertical, horizontal = surface.coordinates(field) or (field[d] for d in field.dims[-2:])
    shape = np.ptp(vertical.values) / max(float(np.ptp(horizontal.values)), 1e-9) * surface.aspect(vertical)
    return float(np.clip(shape, 0.35, 1.4))


def _figure(
    rows: int, columns: int, field: xr.DataArray, surface: Surface, size: tuple[float, float] | None
) -> tuple[Figure, Any]:
    from matplotlib import pyplot as plt

    height = 4.0 * shape_of(field, surface) + 1.0
    figure, axes = plt.subplots(rows, columns, figsize=size or (4.6 * columns, height * rows + 0.4), squeeze=False)
    figure.set_layout_engine("constrained", h_pad=0.1)
    return figure, axes


def draw_map(ax: Axes, panel: Panel, surface: Surface) -> Any:
    """Draw a field in colours, with its title; the colour bar is left to who lays the axes out.

    Parameters
    ----------
    ax
        Where to draw.
    panel
        Field on the map, with two dimensions or at points.
    surface
        Where the map lies.

    Returns
    -------
    ScalarMappable
        What a colour bar is made for.
    """
    field = panel.field
    place = surface.coordinates(field)
    assert place is not None
    y, x = place
    options: dict[str, Any] = {"cmap": panel.colours, "vmin": panel.low, "vmax": panel.high}
    if y.dims == x.dims:
        known = field.notnull().values
        drawn: Any = ax.scatter(x.values[known], y.values[known], c=field.values[known], s=9, zorder=4, **options)
    else:
        values = field.transpose(*y.dims, *x.dims).values
        drawn = ax.pcolormesh(_edges(x, y), _edges(y, x), values, rasterized=True, **options)
    ax.set_facecolor("0.8")
    ax.set_title(panel.title, fontsize="medium")
    surface.decorate(ax, field)
    return drawn


def _map(ax: Axes, panel: Panel, surface: Surface, units: str | None) -> None:
    drawn = draw_map(ax, panel, surface)
    bar = ax.figure.colorbar(
        drawn,
        ax=ax,
        orientation="horizontal",
        extend=extension(panel.field, panel.low, panel.high),
        pad=0.02,
        aspect=40,
    )
    bar.set_label(with_units(panel.field.assign_attrs(units=units)))


def _edges(centres: xr.DataArray, others: xr.DataArray) -> npt.NDArray[Any]:
    """Edges half way between the centres of an axis; a single row is as wide as the cells along the other axis."""
    values = np.asarray(centres.values, float)
    if values.size == 1:
        steps = np.abs(np.diff(others.values)) if others.size > 1 else np.ones(1)
        return values + 0.5 * np.median(steps) * np.array([-1.0, 1.0])
    middle = 0.5 * (values[1:] + values[:-1])
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _headline(field: xr.DataArray, where: dict[str, Any]) -> str:
    text = in_words(field)
    if "level" in where:
        text += f" at {label_of(where['level'])}"
    if "time" in where:
        text += f", {when(where['time'])}"
    return text

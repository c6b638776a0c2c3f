"""Maps of one quantity, also as small multiples: the mean, the spread, the error, the increment, and every member."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xslams import scores
from xslams.errors import DimensionError, VariableError
from xslams.labels.coordinates import coordinate
from xslams.plot.base import Request, register_plot
from xslams.plot.facets import facets
from xslams.plot.fields import (
    ERROR_COLOURS,
    SPREAD_COLOURS,
    Panel,
    at_level,
    at_time,
    colours_of,
    extension,
    in_words,
    label_of,
    limits,
    time_of,
    with_units,
)
from xslams.plot.maps import draw_map, shape_of
from xslams.plot.surfaces import surface_of
from xslams.scores.dimensions import MEMBER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["error", "increment", "mean", "members", "spread"]

_MEMBERS = 16  # that are drawn of a larger ensemble


@register_plot("mean")
def mean(request: Request) -> Figure:
    """Draw a map of the ensemble mean; with ``col="time"`` or ``row="level"`` several."""
    field = _mean(_narrow(request, request.field()))
    return _draw(request, field, "Analysis", colours_of(field), limits(field))


@register_plot("spread")
def spread(request: Request) -> Figure:
    """Draw a map of the standard deviation of the members; with ``col=`` or ``row=`` several."""
    field = _ensemble(_narrow(request, request.field())).std(MEMBER, ddof=1, keep_attrs=True)
    return _draw(request, field, "Spread of the members", SPREAD_COLOURS, (0.0, _size(field)))


@register_plot("error")
def error(request: Request) -> Figure:
    """Draw a map of analysis mean less truth; with ``col=`` or ``row=`` several."""
    field = _narrow(request, request.field())
    truth = request.true(field.name)
    if truth is None:
        msg = "A map of the error needs the truth: analysis.slams.plot.error(truth)."
        raise VariableError(msg)
    return _difference(request, field, truth, "Analysis less truth")


@register_plot("increment")
def increment(request: Request) -> Figure:
    """Draw a map of analysis mean less background: what the observations changed; with ``col=`` or ``row=`` several.

    Raises
    ------
    VariableError
        If there is no background.
    """
    field = _narrow(request, request.field())
    background = request.first_guess(field.name)
    if background is None:
        msg = "An increment is analysis less background: analysis.slams.plot.increment(background=background)."
        raise VariableError(msg)
    return _difference(request, field, background, "Increment, analysis less background")


@register_plot("members")
def members(request: Request) -> Figure:
    """Draw a map of every member, of a large ensemble of the first 16, on one scale.

    Raises
    ------
    DimensionError
        If there are no members.
    """
    field = request.field()
    count = field.sizes.get(MEMBER, 0)
    if not count:
        msg = f"{field.name!r} has no dimension 'member' but {field.dims}; take plot.mean for one field."
        raise DimensionError(msg)
    layout = request.layout
    if MEMBER not in (layout.row, layout.col):
        layout = replace(layout, col=MEMBER) if layout.col is None else replace(layout, row=MEMBER)
    request = replace(request, layout=layout)
    field = _narrow(request, field.isel({MEMBER: slice(_MEMBERS)}))
    what = "Members" if count <= _MEMBERS else f"Members, the first {_MEMBERS} of {count}"
    return _draw(request, field, what, colours_of(field), limits(field))


def _narrow(request: Request, field: xr.DataArray) -> xr.DataArray:
    """Select time and level, but for those that small multiples show."""
    shown = request.layout.row, request.layout.col
    if time_of(field) not in shown:
        field = at_time(field, request.time)
    return field if coordinate(field, "level") in shown else at_level(field, request.level)


def _ensemble(field: xr.DataArray) -> xr.DataArray:
    if field.sizes.get(MEMBER, 0) < 2:
        msg = f"A spread needs two members or more; {field.name!r} has dimensions {field.dims}."
        raise DimensionError(msg)
    return field


def _mean(field: xr.DataArray) -> xr.DataArray:
    return field.mean(MEMBER, keep_attrs=True) if MEMBER in field.dims else field


def _size(field: xr.DataArray) -> float:
    known = np.abs(field.values[np.isfinite(field.values)])
    return float(np.quantile(known, 0.995)) if known.size and known.max() > 0 else 1.0


def _difference(request: Request, field: xr.DataArray, other: xr.DataArray, what: str) -> Figure:
    """Draw a difference of the mean, of what both have, around zero."""
    other = _narrow(request, other) if time_of(field) in field.dims else _like(request, other, field)
    found = scores.bias(_mean(field), other, dims=[]).rename(field.name)
    found.attrs = {**field.attrs, **{k: v for k, v in found.attrs.items() if k == "units"}}
    top = _size(found)
    return _draw(request, found, what, ERROR_COLOURS, (-top, top))


def _like(request: Request, other: xr.DataArray, field: xr.DataArray) -> xr.DataArray:
    """Select of another field the time that a field stands for."""
    time = time_of(field)
    asked = request.time if time is None or field[time].ndim else field[time].values
    return _narrow(replace(request, time=asked), other)


def _draw(request: Request, field: xr.DataArray, what: str, colours: str, bounds: tuple[float, float]) -> Figure:
    layout = request.layout
    shown: list[Hashable] = [d for d in (layout.row, layout.col) if d is not None]
    surface = surface_of(field)
    place = None if surface is None else surface.coordinates(field)
    flat = {d for c in place or () for d in c.dims}
    rest = [d for d in field.dims if d not in flat and d not in shown]
    if surface is None or rest:
        msg = (
            f"A map needs latitude and longitude and nothing else; {field.name!r} has {rest or list(field.dims)} left "
            "after time and level were selected. Show a dimension by row= or col=, or select with .isel or .sel first."
        )
        raise DimensionError(msg)
    field = surface.on_map(field.load())
    width = 4.6 if not shown else 3.2
    grid = facets(layout, field, (width, width * shape_of(field, surface) + (1.3 if not shown else 0.75)))
    for facet in grid.facets:
        drawn = draw_map(facet.ax, Panel(facet.title, field.isel(facet.positions), colours, *bounds), surface)
    bar = grid.figure.colorbar(
        drawn, ax=[f.ax for f in grid.facets], orientation="horizontal", extend=extension(field, *bounds),
        aspect=40, pad=0.02, shrink=1.0 if not shown else 0.6,
    )  # fmt: skip
    bar.set_label(with_units(field))
    labels = [field[n] for n in (coordinate(field, "level"), time_of(field)) if n is not None and field[n].ndim == 0]
    headline = f"{', '.join([what, *map(label_of, labels)])}\n{in_words(field)}"
    if shown:
        grid.figure.suptitle(headline)
    else:
        grid.facets[0].ax.set_title(headline, fontsize="medium", wrap=True)
    return grid.figure

"""Hovmoeller diagrams of a system on a line or circle: place and time of every panel, and series of a few sites."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams.errors import DimensionError
from xslams.labels.coordinates import coordinate
from xslams.plot import observed
from xslams.plot.base import Request, only_layout, register_plot
from xslams.plot.fields import (
    Panel,
    at_level,
    colours_of,
    compared,
    east,
    extension,
    in_words,
    level_of,
    limits,
    time_of,
    unit_text,
)
from xslams.plot.longitudes import in_window, middle_of
from xslams.plot.reduced import along_longitude, band
from xslams.plot.series import dates, draw_observations, draw_series, legend, mark
from xslams.plot.surfaces import degrees
from xslams.scores.dimensions import MEMBER, space

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["hovmoeller"]

#: Sites whose series are drawn.
_SITES = 3


def _suits(field: xr.DataArray) -> bool:
    field = at_level(field, None)
    site = space(field)
    return len(site) == 1 and set(field.dims) - {MEMBER} == {time_of(field), *site} and site[0] in field.coords


@register_plot("hovmoeller", suits=_suits)
def hovmoeller(request: Request) -> Figure:
    """Draw truth, observations, mean, error and spread over time and place, and below them the series of a few sites.

    See `xslams.plot.panels`.

    Raises
    ------
    DimensionError
        If the variable has other dimensions than time, place and members.
    """
    from matplotlib import pyplot as plt

    only_layout(request, "hovmoeller")
    given = at_level(request.field(), request.level)
    ensemble = along_longitude(given)
    if not _suits(ensemble):
        msg = (
            f"A Hovmoeller diagram needs time and one horizontal dimension, or latitude and longitude; "
            f"{given.name!r} has {given.dims}. "
            "Select along the others with .isel or .sel first."
        )
        raise DimensionError(msg)
    (site,) = space(ensemble)
    # Everything is drawn in one window of longitudes.
    middle = middle_of(ensemble[site].values) if _is_circle(ensemble[site]) else None
    ensemble = _placed(ensemble.load(), middle)
    when = time_of(ensemble)
    assert when is not None
    true = request.true(ensemble.name)
    if true is not None:
        true = _placed(along_longitude(at_level(true, level_of(ensemble))).load(), middle)
    drawings = compared(ensemble, true)
    mean = drawings[0 if true is None else 1]
    # What instruments observe is not the mean over latitude.
    known = request.seen() if len(space(given)) == 1 else []
    seen = [replace(s, field=_placed(observed.in_period(s.field, ensemble[when]), middle)) for s in known]
    seen = [s for s in seen if observed.points(s.field, site) is not None]
    rows: list[Panel] = [*drawings[: 0 if true is None else 1], *(_source(s, mean) for s in seen)]
    rows += drawings[0 if true is None else 1 :]

    # Every panel has the same axis of time; colour bars stand in a column of their own, so that the axes align.
    figure, axes = plt.subplots(
        len(rows) + _SITES, 2, sharex="col",
        figsize=request.layout.figsize or (10.0, 1.55 * len(rows) + 1.35 * _SITES + 0.6),
        width_ratios=[1, 0.02], height_ratios=[1.2] * len(rows) + [1] * _SITES, layout="constrained",
    )  # fmt: skip
    y = ensemble[site].values
    for (ax, scale), panel in zip(axes, rows, strict=False):
        _draw(ax, scale, panel, ensemble[site], when)
        ax.set_ylim(y.min() - _half(y), y.max() + _half(y))
        mark(ax, request.time)
    sites = [round((k + 0.5) * ensemble.sizes[site] / _SITES) for k in range(_SITES)]
    for (ax, unused), index in zip(axes[len(rows) :], sites, strict=True):
        unused.set_visible(False)
        here = ensemble.isel({site: index})
        draw_series(ax, here, None if true is None else true.isel({site: index}), when)
        ax.set_title(f"Series at {_label(ensemble[site], float(here[site]))}", fontsize="medium", loc="left")
        for one in seen:
            if one.observes == ensemble.name:
                _observations_at(ax, one.field, ensemble[site], index)
        mark(ax, request.time)
    axes[-1, 0].set_xlabel(str(when))
    dates(axes[-1, 0], ensemble[when])
    legend(figure, axes[len(rows) :, 0], "lower")
    figure.suptitle(in_words(ensemble) + band(given))
    return figure


def _placed(field: xr.DataArray, middle: float | None) -> xr.DataArray:
    """Field in a window of longitudes; as it is where places are none."""
    return field if middle is None else in_window(field, middle)


def _source(seen: observed.Seen, drawn: Panel) -> Panel:
    """Observations on the scale of the analysis, if they are of the same variable."""
    field = seen.field
    title = f"Observed by {seen.source}: {field.name} ({int(field.notnull().sum())} values)"
    bounds = (drawn.low, drawn.high) if seen.observes == drawn.field.name else limits(field)
    return Panel(title, field, colours_of(field), *bounds, observed=True)


def _draw(ax: Axes, scale: Axes, panel: Panel, sites: xr.DataArray, when: Hashable) -> None:
    """Colours over time and place: a mesh for fields, dots for observations."""
    field, site = panel.field, sites.name
    options: dict[str, Any] = {"cmap": panel.colours, "vmin": panel.low, "vmax": panel.high}
    if panel.observed:
        points = observed.points(field, site)
        assert points is not None
        times, there, values = points
        drawn: Any = ax.scatter(times, there, c=values, s=7, **options)
    else:
        x, y = field[when].values, field[site].values
        drawn = ax.pcolormesh(x, y, field.transpose(site, when).values, shading="nearest", rasterized=True, **options)
    ax.set_facecolor("0.85")
    ax.set_title(panel.title, fontsize="medium", loc="left")
    ax.set_ylabel(str(site), fontsize="small")
    ax.tick_params(labelsize="small")
    if _is_circle(sites):
        ax.yaxis.set_major_locator(degrees(sites.values))
        ax.yaxis.set_major_formatter(lambda y, _: east(y))
    bar = ax.figure.colorbar(drawn, cax=scale, extend=extension(field, panel.low, panel.high))
    bar.ax.tick_params(labelsize="small")
    bar.set_label(unit_text(field.attrs.get("units")), fontsize="small")


def _observations_at(ax: Axes, field: xr.DataArray, sites: xr.DataArray, index: int) -> None:
    period = 360.0 if _is_circle(sites) else np.inf
    draw_observations(ax, observed.points(field, sites.name), float(sites[index]), _half(sites.values) * 1.001, period)


def _half(places: np.ndarray[Any, Any]) -> float:
    """Half of the distance between sites."""
    return float(np.ptp(places)) / max(places.size - 1, 1) / 2


def _label(sites: xr.DataArray, value: float) -> str:
    return f"{sites.name} {east(value) if _is_circle(sites) else f'{value:g}'}"


def _is_circle(sites: xr.DataArray) -> bool:
    """Whether places are longitudes."""
    return sites.name == coordinate(sites, "lon")

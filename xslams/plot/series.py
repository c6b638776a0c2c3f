"""Series of a small system: members, their mean, the truth and the observations of every variable over time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xslams import scores
from xslams.errors import DimensionError, OptionError
from xslams.plot.base import Request, only_layout, register_plot
from xslams.plot.fields import at_level, figure_of, in_words, level_of, unit_text, with_units
from xslams.plot.observed import in_period
from xslams.plot.reduced import here, observed_here, place_in_words
from xslams.scores.dimensions import MEMBER, is_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["dates", "draw_observations", "draw_series", "legend", "mark", "series"]

_MEMBERS, _MEAN, _TRUTH, _OBSERVED = "#9ecae1", "#08519c", "black", "#d94801"
_TITLE = 55  # letters that leave room for scores in the same line
_OUTSIDE: dict[str, Any] = {side: f"outside {side} center" for side in ("upper", "lower")}


def _suits(field: xr.DataArray) -> bool:
    return len(set(at_level(field, None).dims) - {MEMBER}) == 1


@register_plot("series", suits=_suits)
def series(request: Request) -> Figure:
    """Draw every variable, or one, over time: at the place nearest to ``at=``, or without it the mean over the area.

    A system without space has nothing but time. See `xslams.plot.panels`.

    Raises
    ------
    DimensionError
        If a variable has another dimension beside that of the members.
    """
    only_layout(request, "series", "ax")
    names = list(request.analysis.data_vars) if request.variable is None else [request.variable]
    fields = [at_level(request.field(name), request.level) for name in names]
    seen = request.seen()
    figure, axes = _axes(request, len(names))
    for ax, field in zip(axes, fields, strict=True):
        ensemble = here(field, request.at).load()
        along = _along(ensemble)
        true = request.true(ensemble.name)
        if true is not None:
            true = here(at_level(true, level_of(ensemble)), request.at).load()
        draw_series(ax, ensemble, true, along)
        ax.set_title(_title(ensemble, true, place_in_words(field, request.at)), fontsize="medium", loc="left")
        if is_time(ensemble, along):
            for one in (s for s in seen if s.observes == ensemble.name):
                during = in_period(at_level(one.field, request.level), ensemble[along])
                draw_observations(ax, observed_here(during, field, request.at))
            mark(ax, request.time)
            dates(ax, ensemble[along])
    axes[-1].set_xlabel(str(along))
    if request.layout.ax is None:
        legend(figure, axes, "upper")
    else:
        axes[0].legend(frameon=False, fontsize="small")
    return figure


def _axes(request: Request, count: int) -> tuple[Figure, Sequence[Axes]]:
    """One above the other; those that are given are for one variable."""
    from matplotlib import pyplot as plt

    ax = request.layout.ax
    if ax is None:
        size = request.layout.figsize or (9.0, 2.0 * count + 0.9)
        figure, axes = plt.subplots(count, 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
        return figure, list(axes[:, 0])
    if count > 1:
        msg = f"ax= is for one variable, and there are {count}; name it: variable={next(iter(request.analysis))!r}."
        raise OptionError(msg)
    return figure_of(ax), [ax]


def dates(ax: Axes, times: xr.DataArray) -> None:
    """Few ticks that do not repeat the year, where the axis has dates.

    Parameters
    ----------
    ax
        Axes over time.
    times
        The times.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if np.issubdtype(times.dtype, np.datetime64):
        locator: Any = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def draw_series(ax: Axes, ensemble: xr.DataArray, truth: xr.DataArray | None, along: Hashable) -> None:
    """Draw members, their mean and the truth along one dimension.

    Parameters
    ----------
    ax
        Where to draw.
    ensemble, truth
        Series with and without members, and no other dimension than `along`.
    along
        Dimension of the horizontal axis.
    """
    x = ensemble[along].values
    if MEMBER in ensemble.dims:
        lines = ax.plot(x, ensemble.transpose(along, MEMBER).values, color=_MEMBERS, linewidth=0.7)
        lines[0].set_label("members")
        ensemble = ensemble.mean(MEMBER)
    # The truth lies on top of the members and below the mean, which it would hide where the analysis is good.
    if truth is not None:
        ax.plot(truth[along].values, truth.values, color=_TRUTH, linewidth=1.2, label="truth")
    ax.plot(x, ensemble.values, color=_MEAN, linewidth=1.4, linestyle=(0, (4, 2)), label="analysis")
    ax.set_ylabel(with_units(ensemble))
    ax.margins(x=0.01)
    ax.tick_params(labelsize="small")


def draw_observations(
    ax: Axes, points: tuple[Any, Any, Any] | None, site: float | None = None, reach: float = 0.0, period: float = np.inf
) -> None:
    """Draw observations as points, at one site those that lie within reach.

    Parameters
    ----------
    ax
        Where to draw, over time.
    points
        Times, places and values, see `xslams.plot.observed.points`.
    site
        Place of the series; None where there is no space.
    reach
        How far from it an observation may be.
    period
        Length of the circle that places lie on.
    """
    if points is None:
        return
    times, places, values = points
    if site is not None:
        apart = np.abs(places - site)
        apart = apart if np.isinf(period) else np.minimum(apart % period, -apart % period)
        near = apart <= reach
        times, values = times[near], values[near]
    if values.size:
        ax.plot(times, values, "o", color=_OBSERVED, markersize=4, zorder=4, label="observations")


def mark(ax: Axes, time: Any) -> None:
    """Mark a time, if one is given."""
    if time is not None:
        at: Any = np.datetime64(time) if isinstance(time, str) else time
        # Dark on light, so that it is seen on every colour.
        ax.axvline(at, color="white", linewidth=2)
        ax.axvline(at, color="black", linewidth=0.8, linestyle=(0, (3, 2)))


def legend(figure: Figure, axes: Any, side: Literal["upper", "lower"]) -> None:
    """Draw one legend for all axes, above or below them."""
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(handles=list(entries.values()), labels=list(entries), loc=_OUTSIDE[side], ncols=4, frameon=False)


def _along(ensemble: xr.DataArray) -> Hashable:
    rest = [d for d in ensemble.dims if d != MEMBER]
    if len(rest) != 1:
        msg = (
            f"A series has one dimension beside 'member'; {ensemble.name!r} has {rest}. Select along the others with "
            ".isel or .sel first, or name the variable to draw."
        )
        raise DimensionError(msg)
    return rest[0]


def _title(ensemble: xr.DataArray, truth: xr.DataArray | None, place: str) -> str:
    """Name of the variable, and how good its analysis is."""
    unit = unit_text(ensemble.attrs.get("units"))
    mean = ensemble.mean(MEMBER) if MEMBER in ensemble.dims else ensemble
    said = []
    if truth is not None:
        said.append(f"RMSE {float(scores.rmse(mean, truth, dims=mean.dims)):.2f}{unit}")
    if ensemble.sizes.get(MEMBER, 0) > 1:
        said.append(f"spread {float(scores.spread(ensemble, mean, dims=mean.dims)):.2f}{unit}")
    text = f"{in_words(ensemble)}{place}"
    return text + ((": " if len(text) < _TITLE else "\n") + ", ".join(said) if said else "")

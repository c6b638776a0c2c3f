"""Series of a small system: members, their mean, the truth and the observations of every variable over time."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xslams import scores
from xslams.errors import DimensionError
from xslams.plot import observed
from xslams.plot.base import Request, at_level, in_words, level_of, register_plot, unit_text
from xslams.scores.dimensions import MEMBER, is_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_observations", "draw_series", "legend", "mark", "series"]

_MEMBERS, _MEAN, _TRUTH, _OBSERVED = "#9ecae1", "#08519c", "black", "#d94801"
_OUTSIDE: dict[str, Any] = {side: f"outside {side} center" for side in ("upper", "lower")}


def _suits(field: xr.DataArray) -> bool:
    return len(set(at_level(field, None).dims) - {MEMBER}) == 1


@register_plot("series", suits=_suits)
def series(request: Request) -> Figure:
    """Draw every variable, or one, along the only dimension that it has; see `xslams.plot.panels`.

    Raises
    ------
    DimensionError
        If a variable has another dimension beside that of the members.
    """
    from matplotlib import pyplot as plt

    names = list(request.analysis.data_vars) if request.variable is None else [request.variable]
    ensembles = [at_level(request.field(name), request.level).load() for name in names]
    seen = request.seen()
    figure, axes = plt.subplots(
        len(names), 1, figsize=(9.0, 2.0 * len(names) + 0.9), sharex=True, squeeze=False, layout="constrained"
    )
    for ax, ensemble in zip(axes[:, 0], ensembles, strict=True):
        along = _along(ensemble)
        true = request.true(ensemble.name)
        if true is not None:
            true = at_level(true, level_of(ensemble)).load()
        draw_series(ax, ensemble, true, along)
        ax.set_title(_title(ensemble, true), fontsize="medium", loc="left")
        if is_time(ensemble, along):
            for one in (s for s in seen if s.observes == ensemble.name):
                draw_observations(ax, observed.points(one.field))
            mark(ax, request.time)
    axes[-1, 0].set_xlabel(str(along))
    legend(figure, axes[:, 0], "upper")
    return figure


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
    ax.set_ylabel(str(ensemble.name) + unit_text(ensemble.attrs.get("units")))
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


def _title(ensemble: xr.DataArray, truth: xr.DataArray | None) -> str:
    """Name of the variable, and how good its analysis is."""
    unit = unit_text(ensemble.attrs.get("units"))
    mean = ensemble.mean(MEMBER) if MEMBER in ensemble.dims else ensemble
    said = []
    if truth is not None:
        said.append(f"RMSE {float(scores.rmse(mean, truth, dims=mean.dims)):.2f}{unit}")
    if ensemble.sizes.get(MEMBER, 0) > 1:
        said.append(f"spread {float(scores.spread(ensemble, mean, dims=mean.dims)):.2f}{unit}")
    return f"{in_words(ensemble)}: {', '.join(said)}" if said else in_words(ensemble)

"""Curves that judge an ensemble: spread against error, and spectra; also as small multiples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import scores
from xslams.errors import DimensionError, VariableError
from xslams.labels.coordinates import coordinate
from xslams.plot.base import Request, only_layout, register_plot
from xslams.plot.facets import facets
from xslams.plot.fields import at_level, figure_of, in_words, label_of, level_of, unit_text
from xslams.scores import statistics
from xslams.scores.dimensions import MEMBER, area_weights
from xslams.scores.matching import match
from xslams.scores.spectra import zonal_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves", "ensemble_and_truth", "spectra", "spread_skill"]

_BINS = 12
# Told apart by eyes of all kinds, and by their dashes in print.
_LINES: dict[str, dict[str, Any]] = {
    "truth": {"color": "black", "linewidth": 1.8},
    "members": {"color": "#56b4e9", "linewidth": 1.6},
    "analysis mean": {"color": "#0072b2", "linewidth": 1.6, "linestyle": (0, (4, 2))},
    "background": {"color": "0.55", "linewidth": 1.4, "linestyle": (0, (1, 1))},
    "error of the mean": {"color": "#d55e00", "linewidth": 1.4, "linestyle": (0, (6, 1, 1, 1))},
}


def curves(request: Request, draw: Callable[[Axes, Request], None], size: tuple[float, float], headline: str) -> Figure:
    """Draw one picture of curves for every label that small multiples show, at one level where they show none.

    Parameters
    ----------
    request
        What is to be drawn.
    draw
        What draws one picture.
    size
        Width and height of one picture in inches.
    headline
        What they show.

    Returns
    -------
    Figure
        The figure.
    """
    field = request.field()
    grid = facets(request.layout, field, size)
    for facet in grid.facets:
        part = request
        for dim, label in facet.labels.items():
            part = part.at_label(dim, label)
        draw(facet.ax, part)
        if facet.title:
            facet.ax.set_title(facet.title, fontsize="medium")
            facet.ax.label_outer()
    words = in_words(field)
    if len(grid.facets) > 1 or grid.facets[0].title:
        grid.figure.suptitle(f"{headline}\n{words}")
    else:
        level = at_level(field, request.level)
        name = coordinate(level, "level")
        at = "" if name is None or level[name].ndim else f", {label_of(level[name])}"
        grid.facets[0].ax.set_title(f"{headline}{at}\n{words}", fontsize="medium", wrap=True)
    handles, labels = grid.facets[0].ax.get_legend_handles_labels()
    if grid.own and labels:
        grid.figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3), fontsize="small",
                           frameon=False)  # fmt: skip
    elif labels:
        grid.facets[0].ax.legend(frameon=False, fontsize="small")
    return grid.figure


def ensemble_and_truth(request: Request, what: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Ensemble and truth at the level that is drawn.

    Parameters
    ----------
    request
        What is to be drawn.
    what
        Name of the kind, for messages.

    Raises
    ------
    VariableError
        If there is no truth.
    DimensionError
        If there are fewer than two members.
    """
    field = at_level(request.field(), request.level)
    truth = request.true(field.name)
    if truth is None:
        msg = f"A plot of {what.replace('_', ' ')} needs the truth: analysis.slams.plot.{what}(truth)."
        raise VariableError(msg)
    if field.sizes.get(MEMBER, 0) < 2:
        msg = f"A plot of {what.replace('_', ' ')} needs two members or more; {field.name!r} has {field.dims}."
        raise DimensionError(msg)
    return field, at_level(truth, level_of(field))


@register_plot("spread_skill")
def spread_skill(request: Request) -> Figure:
    """Draw the error of the mean where the spread is small, larger, and large: on the diagonal where it is right.

    Cells and times are put in twelve classes of equal size by their spread, which is corrected for the number of
    members. A curve below the diagonal is that of too much spread, above it of too little; a flat one says that the
    spread does not know where the errors are.
    """
    return curves(request, _spread_skill, (3.4, 3.4), "Spread and error")


def _spread_skill(ax: Axes, request: Request) -> None:
    ensemble, truth = match(*ensemble_and_truth(request, "spread_skill"))
    ratio, size = scores.spread_skill(ensemble, truth, ensemble.dims), scores.rmse(ensemble, truth, ensemble.dims)
    correction = float(ratio * size / scores.spread(ensemble, truth, ensemble.dims)) ** 2
    variance, square = statistics.ensemble_variance(ensemble, truth), statistics.squared_error(ensemble, truth)
    spread, error, weight = (x.values.ravel() for x in xr.broadcast(variance * correction, square, area_weights(truth)))
    known = np.isfinite(spread) & np.isfinite(error) & (weight > 0)
    order = np.argsort(spread[known], kind="stable")
    parts = [p for p in np.array_split(np.flatnonzero(known)[order], _BINS) if p.size]
    x, y = (np.sqrt([np.average(v[p], weights=weight[p]) for p in parts]) for v in (spread, error))
    top = 1.08 * max(x.max(), y.max()) if parts else 1.0
    ax.axline((0, 0), slope=1, color="0.4", linewidth=1, linestyle="--", label="as it should be")
    ax.plot(x, y, "o-", color="#0072b2", markersize=4, linewidth=1, label="classes of equal size")
    unit = unit_text(ensemble.attrs.get("units"))
    ax.text(0.04, 0.96, f"spread / error {float(ratio):.2f}", transform=ax.transAxes, va="top", fontsize="small")
    ax.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    ax.set_xlabel(f"spread{f' [{unit.strip()}]' if unit else ''}")
    ax.set_ylabel(f"error of the mean{f' [{unit.strip()}]' if unit else ''}")


@register_plot("spectra")
def spectra(request: Request) -> Figure:
    """Draw the variance of truth, members, mean, background and error by zonal wavenumber, mean over times and rows.

    Members should have the spectrum of the truth. The mean lacks what is not known; where its spectrum falls below
    that of the error, the analysis knows nothing of that scale.
    """
    return curves(request, _spectra, (4.6, 3.8), "Spectra")


def _spectra(ax: Axes, request: Request) -> None:
    field = at_level(request.field(), request.level)
    mean = field.mean(MEMBER, keep_attrs=True) if MEMBER in field.dims else field
    truth, background = request.true(field.name), request.first_guess(field.name)
    drawn = {"analysis mean": mean} if MEMBER not in field.dims else {"members": field, "analysis mean": mean}
    if truth is not None:
        truth = at_level(truth, level_of(field))
        drawn |= {"truth": match(mean, truth)[1], "error of the mean": scores.bias(mean, truth, dims=[])}
    if background is not None:
        drawn["background"] = match(mean, at_level(background, level_of(field)))[1]
    for name in [n for n in _LINES if n in drawn]:
        power = zonal_spectrum(drawn[name].assign_attrs(units=field.attrs.get("units", "1")))
        power = power.mean([d for d in power.dims if d != "wavenumber"], keep_attrs=True)
        ax.loglog(power["wavenumber"], power.where(power > 0), label=name, **_LINES[name])
    ax.set_xlabel("zonal wavenumber (waves around the globe)")
    ax.set_ylabel(f"variance [{power.attrs.get('units', '1')}]")
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.grid(alpha=0.25, which="major")


@register_plot("innovations")
def innovations(request: Request) -> Figure:
    """Draw observation less prediction of every source before and after the analysis, against what was to be expected.

    In units of the stated errors, so that all sources share one axis: bars are standard deviations, the black marks are
    what they are where all errors are as stated, crosses are means.

    Raises
    ------
    VariableError
        If the analysis was made without ``report=True``.
    """
    from matplotlib import pyplot as plt

    from xslams.pipeline.report import report

    only_layout(request, "innovations", "ax")
    found = report(request.analysis).load()
    names = [str(s) for s in found["source"].values]
    if request.layout.ax is None:
        size = request.layout.figsize or (6.5, 1.4 + 0.75 * len(names))
        figure, ax = plt.subplots(figsize=size, layout="constrained")
    else:
        ax = request.layout.ax
        figure = figure_of(ax)
    place = np.arange(len(names))
    for stage, shift, colour in (("before", -0.19, "0.7"), ("after", 0.19, "#0072b2")):
        one = found.sel(stage=stage)
        at = place + shift
        ax.barh(at, one["innovation_std"] / found["error"], height=0.36, color=colour, label=f"{stage} the analysis")
        ax.plot(one["expected_std"] / found["error"], at, "|", color="black", markersize=15, markeredgewidth=2.2,
                label="expected" if stage == "before" else None)  # fmt: skip
        ax.plot(one["innovation_mean"] / found["error"], at, "x", color="#d55e00", markersize=6, markeredgewidth=1.6,
                label="mean" if stage == "before" else None)  # fmt: skip
    errors = [f"{float(e):.3g}{unit_text(str(u))}" for e, u in zip(found["error"], found["units"].values, strict=True)]
    ax.set_yticks(place, [f"{n}\n(error {e})" for n, e in zip(names, errors, strict=True)])
    ax.invert_yaxis()
    ax.axvline(0.0, color="0.3", linewidth=0.8)
    ax.set_xlabel("observation less prediction, in stated errors")
    ax.set_title("Innovations of every source: standard deviation and mean", fontsize="medium")
    handles, labels = ax.get_legend_handles_labels()
    if request.layout.ax is None:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    else:
        ax.legend(handles, labels, frameon=False, fontsize="small")
    return figure

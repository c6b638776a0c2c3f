"""The panel of the SLAMS paper: truth, background, analysis and error in rows, levels in columns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import scores
from xslams.labels.coordinates import coordinate
from xslams.plot.base import Request, only_layout, register_plot
from xslams.plot.fields import (
    ERROR_COLOURS,
    Panel,
    colours_of,
    extension,
    in_words,
    label_of,
    limits,
    time_of,
    unit_text,
    when,
    with_units,
)
from xslams.plot.maps import draw_map, select, shape_of
from xslams.plot.surfaces import Surface, surface_of
from xslams.scores.dimensions import MEMBER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["panel"]

_COLUMNS = 4


@register_plot("panel")
def panel(request: Request) -> Figure:
    """Draw truth, background, mean of the analysis and its error, as far as they are given, by level at one time.

    There are four columns at most, with levels spread over those of the field, or one where ``level=`` is given; of a
    field without levels times are shown. In a column fields have one scale, and errors have one in all of them.
    """
    from matplotlib import pyplot as plt

    only_layout(request, "panel")
    columns = [_column(part) for part in _parts(request)]
    names = list(columns[0][1])
    surface = columns[0][0]
    first = columns[0][1]["Analysis"]
    width, height = 3.3, 3.3 * shape_of(first, surface) + 0.25
    errors = [c[1]["Error"] for c in columns if "Error" in c[1]]
    top = max((limits(abs(e))[1] for e in errors), default=1.0)
    figure, axes = plt.subplots(
        len(names), len(columns), squeeze=False, sharex=True, sharey=True, layout="constrained",
        figsize=request.layout.figsize or (width * len(columns) + 0.7, height * len(names) + 1.0),
    )  # fmt: skip
    for i, (surface, fields, title) in enumerate(columns):
        shown = [f for n, f in fields.items() if n != "Error"]
        bounds = limits(*shown)
        for ax, name in zip(axes[:, i], names, strict=True):
            field, error = fields[name], name == "Error"
            scale = (-top, top) if error else bounds
            colours = ERROR_COLOURS if error else colours_of(fields["Analysis"])
            drawn: Any = draw_map(ax, Panel(title if name == names[0] else "", field, colours, *scale), surface)
            if error:
                size = float(scores.rmse(fields["Analysis"], fields["Truth"]))
                unit = unit_text(fields["Analysis"].attrs.get("units"))
                ax.set_title(f"RMSE {size:.2f}{unit}", fontsize="small")
            elif name == "Analysis":
                figure.colorbar(
                    drawn, ax=axes[: names.index(name) + 1, i], orientation="horizontal", aspect=30, pad=0.02,
                    extend=extension(xr.concat(shown, "shown"), *bounds), label=with_units(fields["Analysis"]),
                )  # fmt: skip
            if i == 0:
                ax.set_ylabel({"Analysis": "Analysis\nmean"}.get(name, name), fontsize="large")
            ax.label_outer()
    if errors:
        label = f"error, {with_units(first)}"
        figure.colorbar(drawn, ax=axes[-1, :], orientation="horizontal", aspect=50, pad=0.05, shrink=0.6, label=label,
                        extend=extension(xr.concat(errors, "shown", join="override"), -top, top))  # fmt: skip
    figure.suptitle(_headline(request))
    return figure


def _parts(request: Request) -> list[Request]:
    """Return one request for every column."""
    field = request.field()
    level, time = coordinate(field, "level"), time_of(field)
    if level in field.dims:
        chosen = _spread_over(field.sizes[level]) if request.level is None else []
        return [replace(request, level=float(field[level][k])) for k in chosen] or [request]
    if time is not None and time in field.dims and request.time is None:
        return [replace(request, time=field[time].values[k]) for k in _spread_over(field.sizes[time])]
    return [request]


def _spread_over(count: int) -> list[int]:
    """Positions of the columns, from the first to the last."""
    return sorted({round(float(k)) for k in np.linspace(0, count - 1, min(count, _COLUMNS))})


def _column(request: Request) -> tuple[Surface, dict[str, xr.DataArray], str]:
    """Fields of one column, on the map, and what it shows."""
    ensemble, where = select(request.field(), request.time, request.level)
    surface = surface_of(ensemble)
    assert surface is not None  # `select` has found it
    mean = ensemble.mean(MEMBER, keep_attrs=True) if MEMBER in ensemble.dims else ensemble
    fields = {}
    truth, background = request.true(ensemble.name), request.first_guess(ensemble.name)
    at = where.get("time", request.time)
    if truth is not None:
        fields["Truth"] = select(truth, at, request.level)[0]
    if background is not None:
        fields["Background"] = select(background, at, request.level)[0]
    fields["Analysis"] = mean
    if truth is not None:
        fields["Error"] = scores.bias(mean, fields["Truth"], dims=[]).rename(mean.name)
    title = label_of(where["level"]) if "level" in where else when(where["time"]) if "time" in where else ""
    return surface, {name: surface.on_map(field) for name, field in fields.items()}, title


def _headline(request: Request) -> str:
    field = request.field()
    time = time_of(field)
    if time is None or coordinate(field, "level") not in field.dims or time not in field.dims:
        return in_words(field)
    _, where = select(field.isel({MEMBER: 0}) if MEMBER in field.dims else field, request.time, request.level)
    return f"{in_words(field)}, {when(where['time'])}"

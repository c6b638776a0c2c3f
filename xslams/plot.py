"""Maps of an analysis: truth, ensemble mean, error, spread, and what was observed.

Truth and mean share one colour scale, and so do the size of the error and the spread, so that panels may be compared
by eye. Colour maps are perceptually uniform, apart from the diverging one of the error.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import scores
from xslams.errors import DimensionError, VariableError
from xslams.labels.recognise import inspect

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xslams.observations.observation import Observation, ObservationsLike

__all__ = ["panels", "rank_histogram"]

_MEMBER = "member"
_SEQUENTIAL, _ERROR, _SPREAD = "viridis", "RdBu_r", "magma_r"
# Whole words: "terrain" is dry.
_WET = re.compile(r"\b(precipitation|rain|rainfall|snowfall|humidity)\b")
_COLUMNS = 4


def panels(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    obs: ObservationsLike | None = None,
    *,
    variable: Hashable | None = None,
    time: Any = None,
    level: float | None = None,
) -> Figure:
    """Draw one time and level of an analysis.

    Parameters
    ----------
    analysis
        Result of ``ds.slams.assimilate``; without a dimension ``member`` there is no panel of the spread.
    truth
        Fields to compare with, on the grid of the analysis; without them there are no panels of truth and error.
    obs
        What was assimilated; each source gets a panel, on its own grid or at its own points.
    variable
        What to draw; by default the first variable of the analysis.
    time
        Time to draw, the nearest one there is; by default the middle of the analysis.
    level
        Value of the vertical coordinate, the nearest one there is; by default the first level.

    Returns
    -------
    Figure
        A matplotlib figure; ``figure.savefig(path)`` writes it.
    """
    ensemble, where = _select(_pick(analysis, variable, "analysis"), time, level)
    name, units = ensemble.name, ensemble.attrs.get("units")
    mean = ensemble.mean(_MEMBER) if _MEMBER in ensemble.dims else ensemble
    drawings: list[tuple[str, xr.DataArray, str, float | None, float | None]] = []
    low, high = _limits(mean)
    if truth is not None:
        true, _ = _select(_pick(truth, name, "truth"), where.get("time"), level)
        low, high = _limits(mean, true)
        drawings.append(("Truth", true, _colours(ensemble), low, high))
    label = f"Analysis, mean of {ensemble.sizes[_MEMBER]} members" if _MEMBER in ensemble.dims else "Analysis"
    drawings.append((label, mean, _colours(ensemble), low, high))
    error = None if truth is None else scores.bias(mean, true, dims=[]).rename(name)
    deviation = ensemble.std(_MEMBER, ddof=1) if ensemble.sizes.get(_MEMBER, 0) > 1 else None
    top = max((float(np.nanquantile(abs(f), 0.995)) for f in (error, deviation) if f is not None), default=1.0) or 1.0
    if error is not None:
        size = float(scores.rmse(mean, true))
        drawings.append((f"Error of the mean (RMSE {size:.2f}{_unit(units)})", error, _ERROR, -top, top))
    if deviation is not None:
        size = float(scores.spread(ensemble, mean))
        drawings.append((f"Spread of the members ({size:.2f}{_unit(units)})", deviation, _SPREAD, 0.0, top))
    sources = [] if obs is None else list(_observed(obs, where))

    # Observations begin a row of their own.
    rows = 1 + -(-len(sources) // _COLUMNS)
    columns = max(len(drawings), min(len(sources), _COLUMNS))
    figure, grid = _figure(rows, columns, mean)
    axes = iter([*grid[0, : len(drawings)], *grid[1:].flat, *grid[0, len(drawings) :]])
    for title, field, colours, vmin, vmax in drawings:
        _map(next(axes), field, title, colours, vmin, vmax, units)
    for title, field in sources:
        ax = next(axes)
        # What is drawn is compared with its observations on the same scale.
        same = field.name == name and ("level" not in where or _level(field, where) == float(where["level"]))
        bounds = (low, high) if same else _limits(field)
        _map(ax, field, title, _colours(field), *bounds, field.attrs.get("units"))
        _extent(ax, mean)
    for ax in axes:
        ax.set_visible(False)
    figure.suptitle(_headline(ensemble, where))
    return figure


def rank_histogram(histogram: xr.DataArray, ax: Axes | None = None) -> Axes:
    """Draw a rank histogram, with the flat line of a calibrated ensemble.

    Parameters
    ----------
    histogram
        ``rank_histogram`` of `xslams.scores.score`; dimensions other than ``rank`` are averaged.
    ax
        Axes to draw in; by default new ones.

    Returns
    -------
    Axes
        Where it was drawn.
    """
    if "rank" not in histogram.dims:
        msg = f"A rank histogram has a dimension 'rank'; got {histogram.dims}. Pass score(truth)['rank_histogram']."
        raise DimensionError(msg)
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(figsize=(5, 3), layout="constrained")
    share = histogram.mean([d for d in histogram.dims if d != "rank"])
    ax.bar(share["rank"], share, width=0.9, color="tab:blue")
    ax.axhline(1 / share.sizes["rank"], color="black", linewidth=1, linestyle="--", label="calibrated")
    ax.set(xlabel="members below the truth", ylabel="share of the area", title="Rank histogram")
    ax.legend(frameon=False)
    return ax


def _pick(fields: xr.Dataset | xr.DataArray, variable: Hashable | None, what: str) -> xr.DataArray:
    if isinstance(fields, xr.DataArray):
        return fields
    if variable is None and fields.data_vars:
        variable = next(iter(fields.data_vars))
    if variable not in fields.data_vars:
        msg = f"The {what} has no variable {variable!r} to plot; it has {sorted(map(str, fields.data_vars))}."
        raise VariableError(msg)
    return fields[variable]


def _select(field: xr.DataArray, time: Any, level: float | None) -> tuple[xr.DataArray, dict[str, Any]]:
    """One time and level of a field, loaded, and the labels of what was selected."""
    found = inspect(field.to_dataset(name="values"))
    where: dict[str, Any] = {}
    if found.time is not None and found.time in field.dims:
        labels = field.indexes[found.time]
        at = len(labels) // 2 if time is None else labels.get_indexer([time], method="nearest")[0]
        field = field.isel({found.time: at})
        where["time"] = field[found.time].values
    if found.level is not None and found.level in field.dims:
        values = field[found.level].values
        at = 0 if level is None else int(np.argmin(abs(values - level)))
        field = field.isel({found.level: at})
        where["level"] = field[found.level]
    rest = [d for d in field.dims if d != _MEMBER]
    if found.lat is None or found.lon is None or len(rest) != 2:
        msg = (
            f"A map needs latitude and longitude and nothing else; {field.name!r} has {rest} left after time and level "
            "were selected. Select along the others with .isel or .sel first."
        )
        raise DimensionError(msg)
    return field.transpose(..., *(d for d in (found.lat, found.lon) if d in field.dims)).load(), where


def _observed(obs: ObservationsLike, where: dict[str, Any]) -> Iterator[tuple[str, xr.DataArray]]:
    """Title and values of every variable of every source at one time, and at the level nearest to the one drawn."""
    from xslams.observations import as_observations

    for number, source in enumerate(as_observations(obs), start=1):
        for field in _fields(source):
            found = inspect(field.to_dataset(name="values"))
            if found.lat is None or found.lon is None:
                continue
            if found.time is not None and found.time in field.dims and "time" in where:
                labels = field.indexes[found.time]
                field = field.isel({found.time: labels.get_indexer([where["time"]], method="nearest")[0]})
            if found.level is not None and found.level in field.dims:
                wanted = float(where["level"]) if "level" in where else field[found.level].values[0]
                field = field.isel({found.level: int(np.argmin(abs(field[found.level].values - wanted)))})
            label = f" at {_label(field[found.level])}" if found.level in field.coords else ""
            count = int(field.notnull().sum())
            name = source.name or f"source {number}"
            yield f"Observed by {name}: {field.name}{label} ({count} values)", field.load()


def _level(field: xr.DataArray, where: dict[str, Any]) -> float | None:
    name = where["level"].name
    return float(field.coords[name]) if name in field.coords and field.coords[name].ndim == 0 else None


def _fields(source: Observation) -> Sequence[xr.DataArray]:
    data = source.data
    return [data] if isinstance(data, xr.DataArray) else [data[name] for name in data.data_vars]


def _limits(*fields: xr.DataArray) -> tuple[float, float]:
    """Colour limits that a few extreme cells do not dictate."""
    values = np.concatenate([np.ravel(f.values) for f in fields])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.quantile(values, [0.002, 0.998])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _colours(field: xr.DataArray) -> str:
    text = " ".join(str(field.attrs.get(k, "")) for k in ("standard_name", "long_name")).lower().replace("_", " ")
    return "YlGnBu" if _WET.search(text) else _SEQUENTIAL


def _figure(rows: int, columns: int, field: xr.DataArray) -> tuple[Figure, Any]:
    from matplotlib import pyplot as plt

    lat, lon = (np.asarray(field[d]) for d in field.dims[-2:])
    shape = np.clip(np.ptp(lat) / max(float(np.ptp(lon)), 1e-9) * _aspect(lat), 0.35, 1.4)
    figure, axes = plt.subplots(rows, columns, figsize=(4.6 * columns, (4.0 * shape + 1.0) * rows + 0.4), squeeze=False)
    figure.set_layout_engine("constrained", h_pad=0.1)
    return figure, axes


def _map(
    ax: Axes, field: xr.DataArray, title: str, colours: str, vmin: float | None, vmax: float | None, units: str | None
) -> None:
    found = inspect(field.to_dataset(name="values"))
    lat, lon = field[found.lat], field[found.lon]
    options: dict[str, Any] = {"cmap": colours, "vmin": vmin, "vmax": vmax}
    if lat.dims == lon.dims:
        known = field.notnull().values
        drawn: Any = ax.scatter(lon.values[known], lat.values[known], c=field.values[known], s=9, **options)
    else:
        values = field.transpose(*lat.dims, *lon.dims).values
        drawn = ax.pcolormesh(lon.values, lat.values, values, shading="nearest", rasterized=True, **options)
    ax.set_facecolor("0.8")
    ax.set_title(title, fontsize="medium")
    _extent(ax, field)
    low, high = (0.0 if v is None else v for v in (vmin, vmax))
    values = field.values[np.isfinite(field.values)]
    over, under = bool((values > high).any()), bool((values < low).any())
    extend = "both" if over and under else "max" if over else "min" if under else "neither"
    bar = ax.figure.colorbar(drawn, ax=ax, orientation="horizontal", extend=extend, pad=0.02, aspect=40)
    bar.set_label(f"{field.name} [{units}]" if units else str(field.name))


def _extent(ax: Axes, field: xr.DataArray) -> None:
    found = inspect(field.to_dataset(name="values"))
    lat, lon = (np.asarray(field[name]) for name in (found.lat, found.lon))
    ax.set_aspect(_aspect(lat))
    if np.ptp(lat) > 0 and np.ptp(lon) > 0:
        half = [np.ptp(v) / max(np.unique(v).size - 1, 1) / 2 for v in (lon, lat)]
        ax.set_xlim(lon.min() - half[0], lon.max() + half[0])
        ax.set_ylim(max(lat.min() - half[1], -90.0), min(lat.max() + half[1], 90.0))
    ax.xaxis.set_major_locator(_degrees(lon))
    ax.yaxis.set_major_locator(_degrees(lat))
    ax.xaxis.set_major_formatter(lambda x, _: _east(x))
    ax.yaxis.set_major_formatter(lambda y, _: f"{abs(y):g}°{'N' if y > 0 else 'S' if y < 0 else ''}")
    ax.tick_params(labelsize="small")


def _aspect(lat: np.ndarray[Any, Any]) -> float:
    """Degrees of latitude over those of longitude, so that shapes look right in the middle of the map."""
    return 1.0 if np.ptp(lat) > 120 else float(1 / max(np.cos(np.deg2rad(lat.mean())), 0.3))


def _degrees(values: np.ndarray[Any, Any]) -> Any:
    from matplotlib.ticker import MaxNLocator, MultipleLocator

    width = float(np.ptp(values))
    return next((MultipleLocator(s) for s in (90, 60, 30, 20, 10, 5, 2, 1) if width / s >= 3), MaxNLocator(4))


def _east(x: float) -> str:
    x = (x + 180) % 360 - 180
    return f"{abs(x):g}°{'' if x in (0, -180) else 'E' if x > 0 else 'W'}"


def _unit(units: str | None) -> str:
    return f" {units}" if units and units != "1" else ""


def _label(level: xr.DataArray) -> str:
    return f"{level.name} {float(level):g}{_unit(level.attrs.get('units'))}"


def _headline(field: xr.DataArray, where: dict[str, Any]) -> str:
    name = str(field.attrs.get("long_name") or field.attrs.get("standard_name") or field.name).replace("_", " ")
    text = name if name == field.name else f"{name} ({field.name})"
    if "level" in where:
        text += f" at {_label(where['level'])}"
    if "time" in where:
        text += f", {np.datetime_as_string(where['time'], 'm').replace('T', ' ').removesuffix(' 00:00')}"
    return text[0].upper() + text[1:]

"""Figures of the tables: by level, and along what an experiment varies, with intervals over cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy.stats import wasserstein_distance

from examples.paper.scoring import comparisons, difference, interval
from xslams.plot.coasts import draw_coasts

__all__ = ["by_level", "curves", "differences", "histograms", "panel", "read"]

#: Of Okabe and Ito, which all eyes tell apart.
_COLORS = {
    "pixel": "#0072B2", "latent": "#D55E00", "optimal interpolation": "#009E73", "climatology": "#999999",
    "autoencoder alone": "#CC79A7", "published": "#E69F00",
}  # fmt: skip
_STYLES = ("--", "-.", "-")
_SOURCES = ("#000000", "#CC79A7", "#56B4E9")


def read(path: Path) -> pd.DataFrame:
    """Read a table that ``python -m examples.paper`` has written."""
    return pd.read_csv(path, comment="#", keep_default_na=False)


def by_level(frame: pd.DataFrame) -> Figure:
    """Draw RMSE and CRPS of temperature against the level, for each method and its sources."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.5), sharey=True, layout="constrained")
    sets = list(dict.fromkeys(frame["sources"]))
    for (method, sources), part in frame.groupby(["method", "sources"], sort=False):
        style = _STYLES[(sets.index(sources) - len(sets)) % 3]
        levels = part.groupby("level")[["mse", "crps"]].mean()
        for ax, values in zip(axes, (np.sqrt(levels["mse"]), levels["crps"]), strict=True):
            ax.plot(values, levels.index, style, color=_COLORS[method], label=f"{method}, {sources}")
    for ax, name in zip(axes, ("RMSE of the mean [K]", "CRPS [K]"), strict=True):
        ax.set_xlabel(name)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("level (sigma)")
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def curves(frame: pd.DataFrame, column: str, label: str, *, log: bool = False) -> Figure:
    """Draw CRPS along what is varied, for each method and its sources, with the interval of 95 % over cases.

    Parameters
    ----------
    frame
        Rows of cases and levels.
    column, label
        What is varied, and what the axis says.
    log
        Whether its axis is logarithmic.
    """
    figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    sets = list(dict.fromkeys(frame["sources"]))
    for (method, sources), part in frame.groupby(["method", "sources"], sort=False):
        rows = [(value, p.groupby("case")["crps"].mean().to_numpy()) for value, p in part.groupby(column)]
        x, y = [value for value, _ in rows], [cases.mean() for _, cases in rows]
        low, high = zip(*(interval(cases) for _, cases in rows), strict=True)
        style = _STYLES[(sets.index(sources) - len(sets)) % 3]
        # Larger ones show from under those that hide them.
        size = 8 if method == "pixel" else 4
        ax.plot(x, y, style, color=_COLORS[method], marker="o", markersize=size, label=f"{method}, {sources}")
        ax.fill_between(x, low, high, color=_COLORS[method], alpha=0.12, linewidth=0)
    _along(ax, frame, column, label, log=log)
    ax.set_ylabel("CRPS of temperature, mean of levels [K]")
    ax.set_ylim(bottom=0)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def differences(frame: pd.DataFrame, column: str, label: str, *, log: bool = False) -> Figure:
    """Draw what the latent loses against the pixel model and what each source adds, with paired intervals of 95 %.

    Parameters
    ----------
    frame, column, label, log
        As for `curves`.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    markers = iter("osD^v<>")
    for name, (one, other) in comparisons(frame).items():
        of_models = one["sources"] == other["sources"]
        found = {value: difference(part, one, other) for value, part in frame.groupby(column)}
        x, y = np.array(list(found)), np.array([values.mean() for values in found.values()])
        low, high = np.array([interval(values) for values in found.values()]).T
        # Methods are moved a little from each other, so that no interval hides another.
        ax = axes[0 if of_models else 1]
        step = len(ax.containers)
        moved = x * 1.03**step if log else x + 0.012 * step * np.ptp(x)
        # What is compared over models has no colour of a model.
        colour = _SOURCES[step % 3] if of_models else _COLORS[str(one["method"])]
        style = "-" if of_models or "olr added" in name else "--"
        drawn = {"color": colour, "marker": next(markers), "markersize": 4, "linestyle": style, "capsize": 2}
        ax.errorbar(moved, y, [y - low, high - y], label=name.removeprefix("latent less pixel, "), **drawn)
    for ax, title in zip(axes, ("latent less pixel", "a source added"), strict=True):
        _along(ax, frame, column, label, log=log)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(title, fontsize=10)
        ax.legend(fontsize=8, frameon=False)
    axes[0].set_ylabel("difference of CRPS [K]")
    return figure


def _along(ax: Axes, frame: pd.DataFrame, column: str, label: str, *, log: bool) -> None:
    """Axis of what is varied, with a tick at each value."""
    if log:
        ax.set_xscale("log")
    values = sorted(set(frame[column]))
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(label)
    ax.grid(alpha=0.3)


def panel(rows: Mapping[str, xr.DataArray], truth: xr.DataArray, levels: Sequence[float]) -> Figure:
    """Draw maps of temperature, one row for each field and a last one for the error of the last field.

    Parameters
    ----------
    rows
        Fields (level, lat, lon) in K by what they are called, on any grid; the truth is the first row of itself.
    truth
        The truth, on the grid of the last of the rows.
    levels
        Levels, which are drawn side by side.
    """
    dim = next(str(d) for d in truth.dims if d not in ("lat", "lon"))
    drawn = {"truth": truth, **rows}
    last = list(drawn)[-1]
    size = 2.9 * len(levels), 1.45 * (len(drawn) + 1)
    figure, axes = plt.subplots(
        len(drawn) + 1, len(levels), figsize=size, sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    for column, level in enumerate(levels):
        at = {name: field.sel({dim: level}, method="nearest").transpose("lat", "lon") for name, field in drawn.items()}
        scale = {"vmin": float(at["truth"].quantile(0.005)), "vmax": float(at["truth"].quantile(0.995))}
        for ax, field in zip(axes[:-1, column], at.values(), strict=True):
            image = ax.pcolormesh(field["lon"], field["lat"], field, cmap="viridis", rasterized=True, **scale)
        figure.colorbar(image, ax=axes[:-1, column], orientation="horizontal", aspect=30, pad=0.01, label="K")
        error = at[last] - at["truth"]
        most = float(abs(error).quantile(0.99))
        image = axes[-1, column].pcolormesh(
            error["lon"], error["lat"], error, cmap="RdBu_r", vmin=-most, vmax=most, rasterized=True
        )
        figure.colorbar(image, ax=axes[-1, column], orientation="horizontal", aspect=30, pad=0.01, label="K")
        axes[0, column].set_title(f"{dim} {float(at['truth'][dim]):.2f}", fontsize=10)
    for row, name in enumerate([*drawn, f"{last}\nless truth"]):
        axes[row, 0].set_ylabel(name, fontsize=9)
    for ax in axes.flat:
        ax.set(xlim=(0, 360), ylim=(-90, 90), xticks=[0, 90, 180, 270], yticks=[-60, 0, 60])
        ax.tick_params(labelsize=7)
        draw_coasts(ax, truth["lon"].values)
    return figure


def histograms(fields: Mapping[str, xr.DataArray], truth: xr.DataArray, levels: Sequence[float]) -> Figure:
    """Draw histograms of temperature at some levels, weighted by area, and their distance from that of the truth.

    Parameters
    ----------
    fields
        Fields with dimensions of `truth`, and of members where there are any.
    truth
        Temperature (time, level, lat, lon) in K.
    levels
        Levels, which are drawn side by side.
    """
    dim = next(str(d) for d in truth.dims if d not in ("time", "lat", "lon"))
    figure, axes = plt.subplots(1, len(levels), figsize=(3.3 * len(levels), 2.9), layout="constrained", squeeze=False)
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
    for ax, level in zip(axes[0], levels, strict=True):
        at = truth.sel({dim: level}, method="nearest")
        bins = np.linspace(float(at.min()) - 2, float(at.max()) + 2, 36)
        ax.hist(at.values.ravel(), bins, weights=_area(at), color="#bbbbbb", density=True, label="truth")
        for name, colour in zip(fields, colours, strict=False):
            field = fields[name].sel({dim: level}, method="nearest")
            weights = _area(field)
            far = wasserstein_distance(at.values.ravel(), field.values.ravel(), _area(at), weights)
            look = {"histtype": "step", "color": colour, "linewidth": 1.4, "label": f"{name}: {far:.2f} K"}
            ax.hist(field.values.ravel(), bins, weights=weights, density=True, **look)
        ax.set(title=f"{dim} {float(at[dim]):.2f}", xlabel="temperature [K]")
        ax.set_ylim(top=1.45 * ax.get_ylim()[1])
        ax.legend(fontsize=7, frameon=False, loc="upper left")
    axes[0, 0].set_ylabel("density [1/K]")
    return figure


def _area(field: xr.DataArray) -> np.ndarray:
    """Weights of the values of a field, flat in the order of its values."""
    return np.cos(np.deg2rad(field["lat"])).broadcast_like(field).transpose(*field.dims).values.ravel()

"""Figures of the tables: by level, and along what an experiment varies, with intervals over cases."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from examples.paper.scoring import interval

__all__ = ["by_level", "curves", "read"]

#: Of Okabe and Ito, which all eyes tell apart.
_COLORS = {
    "pixel": "#0072B2", "latent": "#D55E00", "optimal interpolation": "#009E73", "climatology": "#999999",
    "autoencoder alone": "#CC79A7", "published": "#E69F00",
}  # fmt: skip
_STYLES = ("--", "-.", "-")


def read(path: Path) -> pd.DataFrame:
    """Read a table that ``python -m examples.paper`` has written."""
    return pd.read_csv(path, comment="#", keep_default_na=False)


def by_level(frame: pd.DataFrame) -> Figure:
    """Draw RMSE and CRPS of temperature against the level, for each method and its sources."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.5), sharey=True, layout="constrained")
    sets = list(dict.fromkeys(frame["sources"]))
    for (method, sources), part in frame.groupby(["method", "sources"], sort=False):
        style = _STYLES[sets.index(sources) % 3]
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


def curves(frame: pd.DataFrame, column: str, label: str) -> Figure:
    """Draw CRPS along what is varied, for each method and its sources, with the interval of 95 % over cases."""
    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    sets = list(dict.fromkeys(frame["sources"]))
    for (method, sources), part in frame.groupby(["method", "sources"], sort=False):
        rows = [(value, p.groupby("case")["crps"].mean().to_numpy()) for value, p in part.groupby(column)]
        x, y = [value for value, _ in rows], [cases.mean() for _, cases in rows]
        low, high = zip(*(interval(cases) for _, cases in rows), strict=True)
        style = _STYLES[-1] if sources == sets[-1] else _STYLES[0]
        ax.plot(x, y, style, color=_COLORS[method], marker="o", markersize=4, label=f"{method}, {sources}")
        ax.fill_between(x, low, high, color=_COLORS[method], alpha=0.12, linewidth=0)
    ax.set(xlabel=label, ylabel="CRPS of temperature, mean of levels [K]")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8, frameon=False)
    return figure

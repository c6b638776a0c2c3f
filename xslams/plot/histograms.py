"""Rank histograms: whether the truth is one of the members, as far as one can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from xslams import scores
from xslams.errors import DimensionError
from xslams.plot.base import Request, register_plot
from xslams.plot.curves import curves, ensemble_and_truth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["rank_histogram", "rank_histogram_of_analysis"]


@register_plot("rank_histogram")
def rank_histogram_of_analysis(request: Request) -> Figure:
    """Draw the rank histogram of one variable over all times, at one level; see `xslams.plot.panels`.

    Observations and a time have no part in it.

    Raises
    ------
    VariableError
        If there is no truth.
    DimensionError
        If there are fewer than two members.
    """
    return curves(request, _rank_histogram, (4.4, 3.2), "Rank histogram")


def _rank_histogram(ax: Axes, request: Request) -> None:
    rank_histogram(scores.rank_histogram(*ensemble_and_truth(request, "rank_histogram")), ax)
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()  # the figure has one for all pictures


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
    from matplotlib.ticker import MaxNLocator

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
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    return ax

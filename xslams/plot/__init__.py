"""Pictures of an analysis: maps of fields, Hovmoeller diagrams and series of small systems, rank histograms.

Truth and mean share one colour scale, and so do the size of the error and the spread, so that panels may be compared
by eye. Colour maps are perceptually uniform, apart from the diverging one of the error.

A function that is decorated with `register_plot` is a kind of plot: ``analysis.slams.plot(truth, kind="its name")``.
"""

from __future__ import annotations

# Each of these registers its plots.
from xslams.plot import curves, histograms, hovmoeller, maps, overview, pictures, series  # noqa: F401
from xslams.plot.base import PLOTS, Request, panels, register_plot
from xslams.plot.histograms import rank_histogram

__all__ = ["PLOTS", "Request", "panels", "rank_histogram", "register_plot"]

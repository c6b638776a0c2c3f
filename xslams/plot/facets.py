"""Small multiples: one picture for every label of one or two dimensions, as in xarray's own plots."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from xslams.errors import DimensionError, OptionError
from xslams.plot.base import Layout
from xslams.plot.fields import figure_of, label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Facet", "Grid", "facets"]

_MOST = 64  # pictures that still can be looked at


@dataclass(frozen=True)
class Facet:
    """One of the pictures.

    Attributes
    ----------
    ax
        Where to draw it.
    labels
        What it shows: the label of each dimension, or its position where there are no labels.
    positions
        Positions of the same.
    title
        The same in words; empty where there is one picture.
    """

    ax: Axes
    labels: dict[Hashable, Any]
    positions: dict[Hashable, int]
    title: str


@dataclass(frozen=True)
class Grid:
    """All pictures of a figure.

    Attributes
    ----------
    figure
        The figure.
    facets
        Its pictures, row by row.
    own
        Whether the figure was made for them; axes that were given belong to someone else.
    """

    figure: Figure
    facets: list[Facet]
    own: bool


def facets(layout: Layout, field: xr.DataArray, size: tuple[float, float], *, share: bool = True) -> Grid:
    """Lay out one picture for every label.

    Parameters
    ----------
    layout
        What was asked for.
    field
        What has the dimensions.
    size
        Width and height of one picture in inches.
    share
        Whether all have the same axes.

    Returns
    -------
    Grid
        The figure and its pictures.

    Raises
    ------
    DimensionError
        If the field has no such dimension, or there would be too many pictures.
    OptionError
        If axes are given for several pictures, or both dimensions are the same.
    """
    row, col = layout.row, layout.col
    _check(layout, field)
    if layout.ax is not None:
        return Grid(figure_of(layout.ax), [Facet(layout.ax, {}, {}, "")], own=False)
    from matplotlib import pyplot as plt

    count = math.prod(field.sizes[d] for d in (row, col) if d is not None)
    if row is None or col is None:
        wrap = layout.col_wrap or (1 if col is None and row is not None else 4)
        columns = min(count, wrap)
        rows = -(-count // columns)
        every = [(row if col is None else col, k) for k in range(count)]
        cells = [[] if name is None else [(name, k)] for name, k in every]
    else:
        rows, columns = field.sizes[row], field.sizes[col]
        cells = [[(row, i), (col, k)] for i in range(rows) for k in range(columns)]
    # One picture has room for a title and a colour bar of its own.
    figure, axes = plt.subplots(
        rows, columns, figsize=layout.figsize or (size[0] * columns, size[1] * rows + 0.4), squeeze=False,
        sharex=share, sharey=share,
    )  # fmt: skip
    figure.set_layout_engine("constrained", h_pad=0.1)
    found = []
    for ax, cell in zip(axes.flat, cells, strict=False):
        labels = {name: field[name].values[k] if name in field.coords else k for name, k in cell}
        said = [label_of(field[name][k]) for name, k in cell]
        found.append(Facet(ax, labels, dict(cell), ", ".join(said)))
    for ax in axes.flat[len(cells) :]:
        ax.set_visible(False)
    for ax in axes.flat[max(len(cells) - columns, 0) : len(cells)]:
        ax.xaxis.set_tick_params(labelbottom=True)
    return Grid(figure, found, own=True)


def _check(layout: Layout, field: xr.DataArray) -> None:
    chosen: Sequence[Hashable] = [d for d in (layout.row, layout.col) if d is not None]
    for name in chosen:
        if name not in field.dims:
            msg = f"row= or col={name!r} is no dimension of {field.name!r}; it has {field.dims}."
            raise DimensionError(msg)
    if len(set(chosen)) < len(chosen):
        msg = f"row={layout.row!r} and col={layout.col!r} are the same; give one of them, with col_wrap= if need be."
        raise OptionError(msg)
    if layout.col_wrap is not None and len(chosen) != 1:
        msg = f"col_wrap={layout.col_wrap} breaks the pictures along one dimension; give col= or row=, and not both."
        raise OptionError(msg)
    if layout.ax is not None and chosen:
        msg = f"ax= is one picture, and row= or col={chosen[0]!r} asks for several; give one of them."
        raise OptionError(msg)
    count = math.prod(field.sizes[d] for d in chosen)
    if count > _MOST:
        msg = f"{' x '.join(map(str, chosen))} makes {count} pictures; select {_MOST} at most with .isel first."
        raise DimensionError(msg)

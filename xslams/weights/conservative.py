"""Conservative weights: means over the area of target cells that source cells cover.

Between rectilinear grids shared areas are known in closed form (`xslams.weights.cells`); other cells are cut with each
other (`xslams.weights.polygons`). On a lattice they are products of overlaps along each axis.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from xslams.errors import GridError
from xslams.geometry import Geometry, Grid, Lattice
from xslams.typing import Edges, FloatArray
from xslams.weights import cells, polygons
from xslams.weights.base import METHODS, check_space, only_rectilinear
from xslams.weights.lattice import product, shared

__all__ = ["Conservative", "cell_areas", "overlaps"]

# A target cell of which less is covered is outside: its mean is not that of what lies within.
_MIN_COVER = 0.5 - 1e-9


class Conservative:
    """The mean over the cell of the target."""

    cover = _MIN_COVER

    def check(self, source: Geometry, target: Geometry, edges: Edges) -> None:
        """Raise unless source and target have cells."""
        for what, geometry in (("source", source), ("target", target)):
            _check_cells(what, geometry, edges)

    def on_sphere(self, source: Geometry, target: Geometry, edges: Edges) -> sp.csr_array:
        """Weights by shared areas."""
        return _means(*_on_sphere(source, target, edges))

    def on_lattice(self, source: Lattice, target: Geometry) -> sp.csr_array:
        """Weights by products of shared lengths."""
        return _means(*_on_lattice(source, target))


METHODS.register("conservative")(Conservative())


def overlaps(source: Geometry, target: Geometry, edges: Edges = "great_circle") -> tuple[sp.csr_array, FloatArray]:
    """Areas that cells share, and areas of the target cells.

    Parameters
    ----------
    source, target
        Geometries with cells.
    edges
        As in `xslams.weights.grid_weights`.

    Returns
    -------
    scipy.sparse.csr_array
        Steradians, or on flat axes products of lengths, shape (size of target, size of source).
    ndarray
        The same of whole targets, shape (size of target,).

    Raises
    ------
    GridError
        If source or target have no cells.
    """
    check_space(source, target)
    METHODS["conservative"].check(source, target, edges)
    lattice = source.lattice
    return _on_sphere(source, target, edges) if lattice is None else _on_lattice(lattice, target)


def cell_areas(geometry: Geometry, edges: Edges = "great_circle") -> FloatArray:
    """Areas of cells, the measure of the integrals that conservative weights conserve.

    Parameters
    ----------
    geometry
        Geometry with cells.
    edges
        As in `xslams.weights.grid_weights`.

    Returns
    -------
    ndarray
        Steradians, or on flat axes products of lengths, in the shape of the geometry.

    Raises
    ------
    GridError
        If there are no cells.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([-45.0, 45.0]), np.array([0.0, 90.0, 180.0, 270.0]), periodic=True)
    >>> bool(np.allclose(cell_areas(grid), np.pi / 2))
    True
    """
    _check_cells("source", geometry, edges)
    grid = geometry.rectilinear
    if grid is not None:
        return cells.rectilinear_areas(grid, _settled(edges, grid))
    if geometry.flat:
        areas: FloatArray = np.prod(np.diff(geometry.cells(), axis=-1), axis=(1, 2)).reshape(geometry.shape)
        return areas
    return polygons.cell_areas(geometry.cells()).reshape(geometry.shape)


def _check_cells(what: str, geometry: Geometry, edges: Edges) -> None:
    try:
        geometry.check_cells()
    except GridError as e:
        msg = f"method='conservative' needs cells, and the {what} lacks them. {e}"
        raise GridError(msg) from e
    if edges == "parallel" and geometry.rectilinear is None and not geometry.flat:
        raise only_rectilinear(geometry)


def _settled(edges: Edges, *grids: Grid) -> Edges:
    """Great circles, unless a cell is so wide that none joins its corners along a parallel."""
    return "parallel" if any(grid.wide for grid in grids) else edges


def _on_sphere(source: Geometry, target: Geometry, edges: Edges) -> tuple[sp.csr_array, FloatArray]:
    ours, theirs = source.rectilinear, target.rectilinear
    if ours is None or theirs is None:
        # Of a source, cells that repeat others would count twice.
        cells_once = np.where(source.repeats()[:, None, None], np.nan, source.cells())
        return polygons.overlaps(cells_once, target.cells())
    edges = _settled(edges, ours, theirs)
    return cells.rectilinear_overlaps(ours, theirs, edges), cells.rectilinear_areas(theirs, edges).ravel()


def _on_lattice(source: Lattice, target: Geometry) -> tuple[sp.csr_array, FloatArray]:
    bounds = target.cells()
    parts = [shared(axis, bounds[:, i]) for i, axis in enumerate(source.axes)]
    return product(parts, target.size), np.prod(bounds[..., 1] - bounds[..., 0], axis=1)


def _means(areas: sp.csr_array, whole: FloatArray) -> sp.csr_array:
    """Weights from areas that are shared, (target, source), and of targets; empty where less than half is covered."""
    total = np.asarray(areas.sum(axis=1)).ravel()
    inside = total >= _MIN_COVER * whole
    factor = np.divide(1.0, total, out=np.zeros_like(total), where=inside & (total > 0))
    weights = sp.csr_array(
        (areas.data * np.repeat(factor, np.diff(areas.indptr)), areas.indices, areas.indptr), shape=areas.shape
    )
    weights.eliminate_zeros()
    return weights

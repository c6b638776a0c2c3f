"""Sparse interpolation weights on the sphere, between grids, curvilinear grids and points.

A field flattened in C order to ``x`` is mapped by ``y = W x``. Rows of ``W`` sum to one, or are empty where the target
lies outside of the source. See `grid_weights`; `xslams.weights.rectilinear`, `xslams.weights.cells`,
`xslams.weights.curvilinear` and `xslams.weights.polygons` say how the weights are defined.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from xslams.errors import GridError
from xslams.geometry import Curvilinear, Geometry, Points, cell_edges
from xslams.labels.coordinates import Grid
from xslams.typing import Edges, FloatArray, Method
from xslams.weights import cells, curvilinear, polygons
from xslams.weights.rectilinear import bracket, interpolate, row_kron

__all__ = [
    "bracket",
    "cell_areas",
    "cell_edges",
    "cell_weights",
    "check_method",
    "grid_weights",
    "overlaps",
    "point_weights",
    "row_kron",
]


def point_weights(
    grid: Geometry, lat: FloatArray, lon: FloatArray, method: Method = "bilinear", edges: Edges = "great_circle"
) -> sp.csr_array:
    """Weights from a grid to points.

    Parameters
    ----------
    grid
        Source.
    lat, lon
        Points in degrees, any shape; any longitude convention. NaN lies outside.
    method
        ``"bilinear"`` or ``"nearest"``.
    edges
        What joins centres along a parallel: ``"great_circle"`` or ``"parallel"``.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (points, cells). Rows sum to one, or are empty for points outside of the grid.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([-10.0, 10.0]), np.array([0.0, 10.0]))
    >>> point_weights(grid, np.array([0.0]), np.array([5.0])).toarray()
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    return grid_weights(grid, Points(np.asarray(lat, float), np.asarray(lon, float)), method, edges)


def grid_weights(
    source: Geometry, target: Geometry, method: Method = "bilinear", edges: Edges = "great_circle"
) -> sp.csr_array:
    """Weights from one geometry to another.

    Parameters
    ----------
    source, target
        Grids, curvilinear grids or points.
    method
        ``"bilinear"`` (not from points), ``"conservative"`` (not with points) or ``"nearest"``.
    edges
        What joins neighbours along a parallel, of centres (bilinear) or of corners (conservative): ``"great_circle"``
        as in ESMF, or ``"parallel"`` as in CDO, between rectilinear grids only.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (size of target, size of source). Rows sum to one, or are empty outside of the source.

    Raises
    ------
    GridError
        If the method needs what the geometry does not have.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0, 20.0]))
    >>> bool((grid_weights(grid, grid).toarray() == np.eye(6)).all())
    True
    """
    check_method(source, target, method, edges)
    if method == "conservative":
        return cell_weights(source, target, edges)
    lat, lon = _places(target)
    if isinstance(source, Grid):
        return interpolate(source, lat, lon, method, edges)
    if isinstance(source, Points) or method == "nearest":
        return curvilinear.nearest(source, lat, lon)
    return curvilinear.bilinear(source, lat, lon)


def check_method(source: Geometry, target: Geometry, method: Method, edges: Edges = "great_circle") -> None:
    """Raise unless there are weights of this method.

    Parameters
    ----------
    source, target, method, edges
        As in `grid_weights`.

    Raises
    ------
    GridError
        If the method needs what the geometry does not have.
    """
    if method == "conservative":
        _with_cells(source, target, edges)
        return
    if isinstance(source, Points) and method != "nearest":
        msg = (
            f"method={method!r} needs a grid to interpolate in; the source has {source}. "
            "Use method='nearest', or bring the points to a grid first (the mean of those in each cell)."
        )
        raise GridError(msg)
    if edges == "parallel" and method == "bilinear" and not isinstance(source, Grid):
        raise _only_rectilinear(source)
    if isinstance(source, Curvilinear) and min(source.shape) < 2:
        msg = f"A curvilinear grid needs at least two rows and columns to have cells; got {source.shape}."
        raise GridError(msg)


def _places(target: Geometry) -> tuple[FloatArray, FloatArray]:
    if isinstance(target, Grid):
        return np.repeat(target.lat, len(target.lon)), np.tile(target.lon, len(target.lat))
    return np.ravel(target.lat), np.ravel(target.lon)


def _only_rectilinear(geometry: Geometry) -> GridError:
    return GridError(
        f"edges='parallel' needs grids with 1-D latitudes and longitudes; got {geometry}. Use edges='great_circle'."
    )


def _with_cells(source: Geometry, target: Geometry, edges: Edges) -> None:
    for what, geometry in (("source", source), ("target", target)):
        if isinstance(geometry, Points):
            msg = (
                f"method='conservative' needs cells to average over, and the {what} has points. "
                f"Use method={'nearest' if what == 'source' else 'bilinear'!r}."
            )
            raise GridError(msg)
        if edges == "parallel" and not isinstance(geometry, Grid):
            raise _only_rectilinear(geometry)
        if isinstance(geometry, Curvilinear) and geometry.corners is None and min(geometry.shape) < 2:
            msg = (
                f"The {what} has cells without corners in a single row or column, {geometry.shape}; their size is "
                "unknown. Give the corners as CF bounds."
            )
            raise GridError(msg)


def _settled(edges: Edges, *grids: Geometry) -> Edges:
    """Great circles, unless a cell is so wide that none joins its corners along a parallel."""
    if all(isinstance(g, Grid) for g in grids) and any(cells.is_wide(g) for g in grids if isinstance(g, Grid)):
        return "parallel"
    return edges


def overlaps(source: Geometry, target: Geometry, edges: Edges = "great_circle") -> tuple[sp.csr_array, FloatArray]:
    """Areas that cells share, and areas of the target cells.

    Parameters
    ----------
    source, target
        Grids or curvilinear grids.
    edges
        As in `grid_weights`.

    Returns
    -------
    scipy.sparse.csr_array
        Steradians, shape (size of target, size of source).
    ndarray
        Steradians, shape (size of target,).

    Raises
    ------
    GridError
        If source or target have no cells.
    """
    _with_cells(source, target, edges)
    edges = _settled(edges, source, target)
    if isinstance(source, Grid) and isinstance(target, Grid):
        return cells.rectilinear_overlaps(source, target, edges), cells.rectilinear_areas(target, edges).ravel()
    return polygons.overlaps(curvilinear.polygons_of(source), curvilinear.polygons_of(target))


def cell_weights(source: Geometry, target: Geometry, edges: Edges = "great_circle") -> sp.csr_array:
    """Conservative weights: area means over the target cells.

    Parameters
    ----------
    source, target
        Grids or curvilinear grids.
    edges
        As in `grid_weights`.

    Returns
    -------
    scipy.sparse.csr_array
        Rows sum to one, or are empty where the source covers less than half of the target cell.

    Raises
    ------
    GridError
        If source or target have no cells.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid(np.array([-45.0, 45.0]), np.array([0.0, 90.0, 180.0, 270.0]), periodic=True)
    >>> globe = Grid(np.array([0.0]), np.array([180.0]), lat_bounds=np.array([[-90.0, 90.0]]),
    ...              lon_bounds=np.array([[0.0, 360.0]]))
    >>> cell_weights(grid, globe).toarray()
    array([[0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125]])
    """
    return cells.normalised(*overlaps(source, target, edges))


def cell_areas(geometry: Geometry, edges: Edges = "great_circle") -> FloatArray:
    """Areas of cells on the unit sphere, which conservative weights conserve integrals of.

    Parameters
    ----------
    geometry
        Grid or curvilinear grid.
    edges
        As in `grid_weights`.

    Returns
    -------
    ndarray
        Steradians, in the shape of the geometry.

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
    _with_cells(geometry, geometry, edges)
    if isinstance(geometry, Grid):
        return cells.rectilinear_areas(geometry, _settled(edges, geometry))
    return polygons.cell_areas(curvilinear.polygons_of(geometry)).reshape(geometry.shape)

"""What a method of weights is, and the registry of methods.

A method asks the geometries for what it needs: rows and columns, neighbours or cells. Geometries that lack it raise
`GridError` with a remedy. A method from outside of the package joins with a decorator, as the kinds of geometries do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.errors import GridError
from xslams.geometry import Geometry, Lattice
from xslams.registries import Registry
from xslams.typing import Edges, FloatArray, Method

__all__ = ["METHODS", "WeightMethod", "check_method", "grid_weights", "only_rectilinear", "sparse"]


class WeightMethod(Protocol):
    """How values come from the cells of one geometry to the places or cells of another.

    Attributes
    ----------
    cover
        Share of the weights of a target that must fall on values, so that the target has a value.
    """

    cover: ClassVar[float]

    def check(self, source: Geometry, target: Geometry, edges: Edges) -> None:
        """Raise `GridError` unless both geometries have what the method needs."""

    def on_sphere(self, source: Geometry, target: Geometry, edges: Edges) -> sp.csr_array:
        """Weights on the sphere, shape (size of target, size of source)."""

    def on_lattice(self, source: Lattice, target: Geometry) -> sp.csr_array:
        """Weights from a lattice to places or cells on its axes, shape (size of target, size of source)."""


METHODS: Registry[WeightMethod] = Registry("method")


def grid_weights(
    source: Geometry, target: Geometry, method: Method = "bilinear", edges: Edges = "great_circle"
) -> sp.csr_array:
    """Weights from one geometry to another.

    Parameters
    ----------
    source, target
        Geometries, both on the sphere or both on the same flat axes.
    method
        ``"bilinear"`` (from grids), ``"conservative"`` (between cells) or ``"nearest"``.
    edges
        What joins neighbours along a parallel, of centres (bilinear) or of corners (conservative): ``"great_circle"``
        as in ESMF, or ``"parallel"`` as in CDO, between rectilinear grids only. Flat axes are flat in either case.

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
    >>> from xslams.geometry import Grid
    >>> grid = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0, 20.0]))
    >>> bool((grid_weights(grid, grid).toarray() == np.eye(6)).all())
    True
    """
    check_method(source, target, method, edges)
    lattice = source.lattice
    if lattice is not None:
        return METHODS[method].on_lattice(lattice, target)
    return METHODS[method].on_sphere(source, target, edges)


def check_method(source: Geometry, target: Geometry, method: Method, edges: Edges = "great_circle") -> None:
    """Raise unless there are weights of this method.

    Parameters
    ----------
    source, target, method, edges
        As in `grid_weights`.

    Raises
    ------
    GridError
        If the method needs what the geometry does not have, or source and target lie in different spaces.
    """
    check_space(source, target)
    METHODS[method].check(source, target, edges)


def check_space(source: Geometry, target: Geometry) -> None:
    """Raise unless both geometries lie on the sphere, or the target lies on the axes of a lattice."""
    spaces = [f"on the axes {', '.join(g.coordinates) or '(none)'}" if g.flat else "on the sphere" for g in
              (source, target)]  # fmt: skip
    if spaces[0] != spaces[1]:
        msg = (
            f"The source ({source}) lies {spaces[0]}, the target ({target}) {spaces[1]}. "
            "Give both coordinates of the same names."
        )
        raise GridError(msg)
    if source.flat and source.lattice is None:
        msg = (
            f"Values come from lattices only; the source has {source}. Give them on a lattice, one axis per dimension."
        )
        raise GridError(msg)


def only_rectilinear(geometry: Geometry) -> GridError:
    """Error for edges along parallels where there are none."""
    return GridError(
        f"edges='parallel' needs grids with 1-D latitudes and longitudes; got {geometry}. Use edges='great_circle'."
    )


def sparse(
    shape: tuple[int, int], entries: Iterable[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]]
) -> sp.csr_array:
    """Matrix from rows, columns and values in several parts; entries of the same place are summed."""
    rows, columns, data = (np.concatenate(part) for part in zip(*entries, strict=True))
    return sp.csr_array(sp.coo_array((data, (rows, columns)), shape=shape))

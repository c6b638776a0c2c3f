"""Where data lie, as arrays: rectilinear and curvilinear grids and points on the sphere, lattices and sites of systems.

A `Geometry` gives the centres of its cells or the places of its points, the cells where there are any, a digest for
caches, and one flat array that a task graph can carry. Each kind is one file, and joins `GEOMETRIES` with a decorator;
`xslams.labels.grid` says how a kind is recognised in the coordinates of a Dataset.
"""

from xslams.geometry.base import GEOMETRIES, BaseGeometry, Geometry, Packed
from xslams.geometry.curvilinear import Curvilinear
from xslams.geometry.edges import cell_edges, gaussian_edges, is_periodic
from xslams.geometry.lattice import Axis, Lattice
from xslams.geometry.points import Points, Sites
from xslams.geometry.rectilinear import Grid
from xslams.geometry.sphere import unit_vectors

__all__ = [
    "GEOMETRIES",
    "Axis",
    "BaseGeometry",
    "Curvilinear",
    "Geometry",
    "Grid",
    "Lattice",
    "Packed",
    "Points",
    "Sites",
    "cell_edges",
    "gaussian_edges",
    "is_periodic",
    "unit_vectors",
]

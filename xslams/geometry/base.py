"""What every geometry can be asked, and the registry of its kinds.

A kind from outside of the package is a class that derives from `BaseGeometry`, or has the methods of `Geometry`, and is
registered::

    @GEOMETRIES.register("hexagons")
    class Hexagons(BaseGeometry): ...

Latitudes and longitudes are in degrees. NaN marks a place that is not known, or a cell that is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from xslams.errors import GridError
from xslams.geometry.sphere import Vectors
from xslams.registries import Registry
from xslams.typing import FloatArray

if TYPE_CHECKING:
    from xslams.geometry.lattice import Lattice
    from xslams.geometry.rectilinear import Grid

__all__ = ["GEOMETRIES", "BaseGeometry", "Geometry", "Packed", "span"]


class Geometry(Protocol):
    """Places in an order, with or without cells around them.

    Attributes
    ----------
    kind
        Name in the registry.
    flat
        Whether the places lie on axes of their own; otherwise they lie on the sphere.
    bounded
        Whether places outside of the cells belong to none of them. Points have no outside: one is always nearest.
    """

    kind: ClassVar[str]
    flat: ClassVar[bool]
    bounded: ClassVar[bool]

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions of a field."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a field."""

    @property
    def size(self) -> int:
        """Number of cells or points."""

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates that `centres` has: ``("lat", "lon")`` on the sphere, else those of the axes."""

    @property
    def rectilinear(self) -> Grid | None:
        """The same cells as rows and columns of 1-D latitudes and longitudes; None where they are no such grid."""

    @property
    def lattice(self) -> Lattice | None:
        """The same sites as a product of flat axes; None where they are not."""

    def centres(self) -> FloatArray:
        """Return the coordinates of every cell or point, shape (coordinates, size)."""

    def check_neighbours(self) -> None:
        """Raise `GridError` unless values can be interpolated between places."""

    def neighbours(self) -> Vectors:
        """Return unit vectors of the centres in rows and columns of neighbours, shape (y, x, 3)."""

    def check_cells(self) -> None:
        """Raise `GridError` unless there are cells."""

    def repeats(self) -> npt.NDArray[np.bool_]:
        """Return which cells repeat others, as those of a halo do, and take no part in a mean, shape (size,)."""

    def cells(self) -> Vectors:
        """Return the cells, NaN where there is none.

        On the sphere unit vectors of the corners in order around each cell, shape (size, corners, 3), joined by great
        circles; cells that have not four corners must be convex. On flat axes bounds, shape (size, coordinates, 2).
        """

    @property
    def key(self) -> str:
        """Digest of all that weights depend on; names of dimensions are not part of it."""

    def pack(self) -> tuple[Packed, FloatArray]:
        """Return a small header, and all numbers as one flat array."""

    @classmethod
    def unpack(cls, arrays: Sequence[FloatArray | None], settings: tuple[Hashable, ...]) -> Self:
        """Return the geometry that `pack` took apart, without the names of its dimensions."""


GEOMETRIES: Registry[type[Geometry]] = Registry("geometry")


@dataclass(frozen=True)
class Packed:
    """How to read a geometry from a flat array: the part that is small and may be in every task of a graph.

    Attributes
    ----------
    kind
        Class of the geometry.
    shapes
        Shapes of its arrays, in order; None for those that it lacks.
    settings
        What else it is made of.
    shape
        Shape of a field.
    """

    kind: type[Geometry]
    shapes: tuple[tuple[int, ...] | None, ...]
    settings: tuple[Hashable, ...]
    shape: tuple[int, ...]

    @property
    def length(self) -> int:
        """Length of the flat array."""
        return sum(int(np.prod(s)) for s in self.shapes if s is not None)

    def unpack(self, flat: FloatArray) -> Geometry:
        """Return the geometry of a flat array, without the names of its dimensions."""
        arrays: list[FloatArray | None] = []
        for shape in self.shapes:
            length = 0 if shape is None else int(np.prod(shape))
            arrays.append(None if shape is None else flat[:length].reshape(shape))
            flat = flat[length:]
        return self.kind.unpack(arrays, self.settings)


class BaseGeometry:
    """Defaults of a geometry on the sphere: places without neighbours and without cells.

    A subclass gives `kind`, `dims`, `shape`, `centres` and `arrays`, `unpack`; and, where it has them, `settings`,
    neighbours and cells, each with the check that goes with it.
    """

    kind: ClassVar[str]
    flat: ClassVar[bool] = False
    bounded: ClassVar[bool] = False

    @property
    def size(self: Geometry) -> int:
        """Number of cells or points."""
        return int(np.prod(self.shape))

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates of the centres."""
        return "lat", "lon"

    @property
    def rectilinear(self) -> Grid | None:
        """No rows and columns."""
        return None

    @property
    def lattice(self) -> Lattice | None:
        """No flat axes."""
        return None

    def check_neighbours(self) -> None:
        """Raise: nothing says which places are neighbours."""
        msg = (
            f"Nothing says which of the places are neighbours: {self}. "
            "Use method='nearest', or bring the points to a grid first (the mean of those in each cell)."
        )
        raise GridError(msg)

    def neighbours(self) -> Vectors:
        """Raise: nothing says which places are neighbours."""
        self.check_neighbours()
        raise NotImplementedError

    def check_cells(self) -> None:
        """Raise: there are no cells."""
        msg = f"There are no cells: {self}. Use method='nearest' from them, or method='bilinear' to them."
        raise GridError(msg)

    def repeats(self: Geometry) -> npt.NDArray[np.bool_]:
        """Return that no cell repeats another."""
        return np.zeros(self.size, bool)

    def cells(self) -> Vectors:
        """Raise: there are no cells."""
        self.check_cells()
        raise NotImplementedError

    def arrays(self) -> tuple[FloatArray | None, ...]:
        """Return all numbers that make the geometry; None for those that it lacks."""
        raise NotImplementedError

    def settings(self) -> tuple[Hashable, ...]:
        """Return what else makes the geometry, but for the names of dimensions."""
        return ()

    @property
    def key(self) -> str:
        """Digest of all that weights depend on."""
        digest = hashlib.sha256(f"{self.kind} {self.settings()}".encode())
        for part in self.arrays():
            values = np.ascontiguousarray(np.zeros(0) if part is None else part, dtype="<f8")
            digest.update(f" {values.shape} ".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()

    def pack(self: _Packable) -> tuple[Packed, FloatArray]:
        """Return a small header, and all numbers as one flat array."""
        parts = self.arrays()
        header = Packed(type(self), tuple(None if p is None else p.shape for p in parts), self.settings(), self.shape)
        return header, np.concatenate([np.zeros(0), *(np.ravel(p) for p in parts if p is not None)])


class _Packable(Geometry, Protocol):
    def arrays(self) -> tuple[FloatArray | None, ...]: ...

    def settings(self) -> tuple[Hashable, ...]: ...


def span(values: FloatArray) -> str:
    """First and last value, for a message.

    Examples
    --------
    >>> span(np.array([10.0, 5.0, 0.0]))
    '10 to 0'
    """
    return f"{values[0]:g} to {values[-1]:g}" if len(values) else "empty"

"""Lattices: sites at all combinations of positions on flat axes, which may be periodic.

They carry the states of small systems: no axis for Lorenz-63, one periodic axis for Lorenz-96, two for a doubly
periodic square. Coordinates are in the units of each axis.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from xslams.errors import GridError
from xslams.geometry.base import GEOMETRIES, BaseGeometry, span
from xslams.geometry.edges import is_periodic, lon_intervals
from xslams.geometry.sphere import Vectors
from xslams.typing import FloatArray

__all__ = ["Axis", "Lattice"]


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a lattice.

    Attributes
    ----------
    name
        Name of the coordinate and of the dimension.
    values
        Positions of the sites, shape (n,), strictly ascending or descending; on a periodic axis up to whole periods.
    period
        Length of the circle; None for an axis that has ends.
    bounds
        Edges of the cells around the sites, shape (n, 2); None where they lie half way between the sites.

    Examples
    --------
    >>> Axis("lon", np.arange(40) * 9.0, period=360.0).closed
    True
    """

    name: str
    values: FloatArray
    period: float | None = None
    bounds: FloatArray | None = None

    @property
    def closed(self) -> bool:
        """Whether the sites go round the circle; those of a part of it do not."""
        return self.period is not None and is_periodic(self.values, self.period)

    @property
    def intervals(self) -> FloatArray:
        """Lower and upper edge of every cell, shape (n, 2), without a jump by whole periods."""
        return lon_intervals(self.values, self.bounds, closed=self.closed, period=self.period)

    def __str__(self) -> str:
        around = ", periodic" if self.closed else ""
        return f"{self.name} {span(self.values)}{around}"


@GEOMETRIES.register("lattice")
@dataclass(frozen=True, eq=False)
class Lattice(BaseGeometry):
    """Sites at all combinations of positions on axes; without an axis a single site.

    Attributes
    ----------
    axes
        Axes in the order of the dimensions.

    Examples
    --------
    >>> print(Lattice((Axis("y", np.arange(2.0)), Axis("x", np.arange(4.0), period=4.0))))
    2 x 4 (y 0 to 1, x 0 to 3, periodic)
    >>> Lattice().size
    1
    """

    kind = "lattice"
    flat = True
    bounded = True

    axes: tuple[Axis, ...] = ()

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return self.coordinates

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of sites along each axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(axis.name for axis in self.axes)

    @property
    def lattice(self) -> Lattice:
        """The lattice itself."""
        return self

    def centres(self) -> FloatArray:
        """Return the coordinates of every site, shape (axes, sites)."""
        columns = np.meshgrid(*(np.asarray(axis.values, float) for axis in self.axes), indexing="ij")
        return np.reshape(columns, (len(self.axes), self.size))

    def check_neighbours(self) -> None:
        """Pass: sites have neighbours along each axis."""

    def check_cells(self) -> None:
        """Raise where nothing says how large the cells are."""
        for axis in self.axes:
            if len(axis.values) == 1 and axis.bounds is None:
                msg = (
                    f"A single site along {axis.name!r} has a cell of unknown size. Give its bounds, "
                    "or use method='nearest' or method='bilinear'."
                )
                raise GridError(msg)

    def cells(self) -> Vectors:
        """Return the bounds of every cell, shape (sites, axes, 2)."""
        self.check_cells()
        ends = [np.meshgrid(*(axis.intervals[:, end] for axis in self.axes), indexing="ij") for end in (0, 1)]
        return np.stack([np.reshape(end, (len(self.axes), self.size)).T for end in ends], axis=-1)

    def arrays(self) -> tuple[FloatArray | None, ...]:
        """Return the positions and bounds, axis by axis."""
        return tuple(part for axis in self.axes for part in (axis.values, axis.bounds))

    def settings(self) -> tuple[Hashable, ...]:
        """Return the names and periods of the axes."""
        return tuple((axis.name, axis.period) for axis in self.axes)

    @classmethod
    def unpack(cls, arrays: Sequence[FloatArray | None], settings: tuple[Hashable, ...]) -> Self:
        """Return the lattice from its arrays."""
        axes = []
        for setting, values, bounds in zip(settings, arrays[::2], arrays[1::2], strict=True):
            assert isinstance(setting, tuple) and values is not None
            axes.append(Axis(setting[0], values, setting[1], bounds))
        return cls(tuple(axes))

    def __str__(self) -> str:
        if not self.axes:
            return "a single site"
        return f"{' x '.join(map(str, self.shape))} ({', '.join(map(str, self.axes))})"

"""Curvilinear grids and swaths: latitudes and longitudes of their own for every cell.

A ring of ghost centres outside takes the values at the edge, so that the outermost cells count in full; grids that
close on themselves are closed instead.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from xslams.errors import GridError
from xslams.geometry.base import GEOMETRIES, BaseGeometry
from xslams.geometry.halos import once, without_halo
from xslams.geometry.sphere import Vectors, around, length, normalised, unit_vectors
from xslams.typing import FloatArray

__all__ = ["Curvilinear", "closes", "padded"]

_Indices = npt.NDArray[np.intp]


@GEOMETRIES.register("curvilinear")
@dataclass(frozen=True, eq=False)
class Curvilinear(BaseGeometry):
    """A grid or swath with latitudes and longitudes of its own for every cell.

    Attributes
    ----------
    lat, lon
        Centres in degrees, shape (y, x); NaN where there is no cell.
    dims
        Names of the dimensions.
    corners
        Latitudes and longitudes of the corners of each cell, shape (2, y, x, 4), in order around the cell; None where
        the data have none, and cells reach half way to their neighbours.
    """

    kind = "curvilinear"
    bounded = True

    lat: FloatArray
    lon: FloatArray
    dims: tuple[str, ...] = ("y", "x")
    corners: FloatArray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (y, x)."""
        return self.lat.shape

    def centres(self) -> FloatArray:
        """Return the latitude and longitude of every cell, shape (2, cells)."""
        return np.stack([np.ravel(self.lat), np.ravel(self.lon)])

    def check_neighbours(self) -> None:
        """Raise where there is a single row or column."""
        if min(self.shape) < 2:
            msg = (
                f"A curvilinear grid needs at least two rows and columns to be interpolated in; got {self.shape}. "
                "Give the places as points, along one dimension, and use method='nearest'."
            )
            raise GridError(msg)

    def neighbours(self) -> Vectors:
        """Return the unit vectors of the centres, shape (y, x, 3)."""
        self.check_neighbours()
        return unit_vectors(self.lat, self.lon)

    def repeats(self) -> npt.NDArray[np.bool_]:
        """Return which cells repeat others, as those of a halo do, shape (cells,)."""
        return np.asarray(self._once != np.arange(self.size))

    @cached_property
    def _once(self) -> _Indices:
        """Cell that each cell repeats, or its own, shape (cells,)."""
        return np.ravel(once(unit_vectors(self.lat, self.lon)))

    def check_cells(self) -> None:
        """Raise where nothing says how large the cells are."""
        if self.corners is None and min(self.shape) < 2:
            msg = (
                f"Cells without corners in a single row or column, {self.shape}, have no known size. "
                "Give the corners as CF bounds."
            )
            raise GridError(msg)

    def cells(self) -> Vectors:
        """Return the corners on the unit sphere, shape (cells, 4, 3); NaN where there is no cell."""
        self.check_cells()
        corners = self._nodes() if self.corners is None else unit_vectors(self.corners[0], self.corners[1])
        corners = np.where(np.isfinite(self.lat + self.lon)[..., None, None], corners, np.nan)
        # A cell that repeats another is the same cell, also where the grid ends.
        return np.asarray(corners.reshape(-1, 4, 3)[self._once])

    def _nodes(self) -> Vectors:
        """Corners in the middle of four centres, half a step outside at the edges, shape (y, x, 4, 3)."""
        whole = self.neighbours()
        rows, columns = without_halo(whole)
        x, _ = padded(whole[:rows, :columns], 1.0)
        corners = np.full((*self.shape, 4, 3), np.nan)
        corners[:rows, :columns] = around(normalised(x[:-1, :-1] + x[1:, :-1] + x[:-1, 1:] + x[1:, 1:]))
        return corners

    def arrays(self) -> tuple[FloatArray | None, ...]:
        """Return the latitudes, longitudes and corners."""
        return self.lat, self.lon, self.corners

    @classmethod
    def unpack(cls, arrays: Sequence[FloatArray | None], settings: tuple[Hashable, ...]) -> Self:
        """Return the grid from its arrays."""
        lat, lon, corners = arrays
        assert lat is not None and lon is not None
        return cls(lat, lon, corners=corners)

    def __str__(self) -> str:
        return f"{self.shape[0]} x {self.shape[1]}, curvilinear"


def closes(x: Vectors) -> bool:
    """Whether the last column is next to the first, as two neighbouring columns are."""
    if x.shape[1] < 4:
        return False
    steps = length(np.diff(x, axis=1))
    count = np.isfinite(steps).sum(axis=1)
    step = np.nansum(steps, axis=1) / np.maximum(count, 1)
    gap = length(x[:, -1] - x[:, 0])
    known = np.isfinite(gap) & (step > 0)
    # A column that is repeated to close the grid has no gap.
    return bool(known.any()) and bool((gap[known] <= 1.5 * step[known]).all())


def padded(x: Vectors, reach: float) -> tuple[Vectors, _Indices]:
    """Centres with a ring around them, shape (y + 2, x + 2, 3), and the cell whose value each of them has.

    The ring lies `reach` steps outside, or is the other end of a grid that closes on itself.
    """
    index = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2])
    for axis in (1, 0):
        y, of = np.moveaxis(x, axis, 1), np.moveaxis(index, axis, 1)
        closed = closes(y)
        ends = (-1, 0) if closed else (0, -1)
        if closed:
            first, last = y[:, -1], y[:, 0]
        else:
            first = y[:, 0] + reach * (y[:, 0] - y[:, 1])
            last = y[:, -1] + reach * (y[:, -1] - y[:, -2])
        y = np.concatenate([normalised(first)[:, None], y, normalised(last)[:, None]], axis=1)
        of = np.concatenate([of[:, ends[0], None], of, of[:, ends[1], None]], axis=1)
        x, index = np.moveaxis(y, 1, axis), np.moveaxis(of, 1, axis)
    return x, index

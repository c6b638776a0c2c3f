"""Where targets lie among the rows and columns of a rectilinear grid.

Beyond the last latitude of a global grid lies the pole, whose value is the mean of that last ring. Beyond the edge of a
regional grid, a target within half a step of the outermost centres, that is inside the outermost cells, takes the value
at the edge. A row of weights that is empty means that the target lies outside of the grid; every other row sums to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.geometry import Grid
from xslams.typing import FloatArray
from xslams.weights.axes import EPS, Circle, bracket

__all__ = ["Neighbours", "RowsAndColumns", "in_blocks"]

_BLOCK = 1 << 18

_Indices = npt.NDArray[np.intp]
_Mask = npt.NDArray[np.bool_]


class RowsAndColumns:
    """The axes of a grid in ascending order, closed where the grid is: round the circle, and at the poles.

    Attributes
    ----------
    lat, row
        Latitudes, and the rows of the grid that they are; -1 and -2 stand for the poles.
    lon, column
        Longitudes, and the columns of the grid that they are.
    rings
        Rows next to the poles.
    shape
        Shape of the grid.
    """

    def __init__(self, grid: Grid) -> None:
        self.shape = grid.shape
        rows = np.argsort(grid.lat)
        self.lat, self.row = grid.lat[rows], rows
        if grid.periodic and len(rows) > 1:
            for end, sign, pole in ((0, -1.0, -1), (-1, 1.0, -2)):
                gap = 90.0 - sign * self.lat[end]
                step = abs(self.lat[end] - self.lat[1 if end == 0 else -2])
                if EPS < gap <= step:
                    at = 0 if end == 0 else len(self.lat)
                    self.lat = np.insert(self.lat, at, sign * 90.0)
                    self.row = np.insert(self.row, at, pole)
        self.rings = (rows[0], rows[-1])
        self.circle = Circle.of(grid.lon, 360.0, closed=grid.periodic)
        self.lon, self.column = self.circle.values, self.circle.index

    def locate(self, lat: FloatArray, lon: FloatArray) -> Neighbours:
        """Columns next to each target."""
        known = np.isfinite(lat) & np.isfinite(lon) & (np.abs(lat) <= 90.0 + 1e-6)
        lat = np.clip(np.where(known, lat, 0.0), -90.0, 90.0)
        x = self.circle.into(np.where(known, lon, 0.0))
        west, s, inside = bracket(self.lon, x, linear=True)
        east = np.minimum(west + 1, len(self.lon) - 1)
        return Neighbours(lat, np.clip(x, self.lon[0], self.lon[-1]), west, east, s, known & inside)

    def beyond(self, lat: FloatArray) -> _Mask:
        """Whether latitudes lie between the last row and a pole that the grid reaches."""
        south, north = self.row[0] < 0, self.row[-1] < 0
        if len(self.row) < 2:  # a single row reaches no pole
            return np.zeros(np.shape(lat), bool)
        return np.asarray((south & (lat < 0) & (lat <= self.lat[1])) | (north & (lat > 0) & (lat >= self.lat[-2])))


@dataclass(frozen=True)
class Neighbours:
    """Columns next to targets.

    Attributes
    ----------
    lat, lon
        Targets in degrees, shape (n,), moved into the longitudes of the grid.
    west, east
        Columns on either side, as positions in ascending longitude.
    s
        Weight of the eastern one, linear in longitude.
    inside
        Whether the target is known and lies within the outermost columns.
    """

    lat: FloatArray
    lon: FloatArray
    west: _Indices
    east: _Indices
    s: FloatArray
    inside: _Mask


def in_blocks(
    grid: Grid, targets: FloatArray, block: Callable[[RowsAndColumns, FloatArray, FloatArray], sp.csr_array]
) -> sp.csr_array:
    """Weights from a grid to targets, shape (2, n), so many at a time as memory allows."""
    axes = RowsAndColumns(grid)
    lat, lon = targets
    parts = [block(axes, lat[i : i + _BLOCK], lon[i : i + _BLOCK]) for i in range(0, len(lat), _BLOCK)]
    return sp.csr_array(sp.vstack(parts, format="csr")) if parts else sp.csr_array((0, grid.size))

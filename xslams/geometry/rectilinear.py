"""Rectilinear grids: rows of one latitude and columns of one longitude."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from xslams.errors import GridError
from xslams.geometry import edges
from xslams.geometry.base import GEOMETRIES, BaseGeometry, span
from xslams.geometry.sphere import Vectors, unit_vectors
from xslams.typing import FloatArray

__all__ = ["Grid"]


@GEOMETRIES.register("rectilinear")
@dataclass(frozen=True, eq=False)
class Grid(BaseGeometry):
    """A rectilinear grid, in the order of its data.

    Attributes
    ----------
    lat, lon
        Cell centres in degrees, shapes (lat,) and (lon,); any order, any longitude convention.
    lat_dim, lon_dim
        Names of the dimensions.
    periodic
        Whether the longitudes close the circle.
    lat_bounds, lon_bounds
        Edges of the cells in degrees, shapes (lat, 2) and (lon, 2); None where they follow from the centres.
    """

    kind = "rectilinear"
    bounded = True

    lat: FloatArray
    lon: FloatArray
    lat_dim: str = "lat"
    lon_dim: str = "lon"
    periodic: bool = False
    lat_bounds: FloatArray | None = None
    lon_bounds: FloatArray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (lat, lon)."""
        return len(self.lat), len(self.lon)

    @property
    def dims(self) -> tuple[str, str]:
        """Names of the dimensions."""
        return self.lat_dim, self.lon_dim

    @property
    def rectilinear(self) -> Grid:
        """The grid itself."""
        return self

    @property
    def lat_intervals(self) -> FloatArray:
        """Southern and northern edge of every row in degrees, shape (lat, 2)."""
        return edges.lat_intervals(self.lat, self.lat_bounds)

    @property
    def lon_intervals(self) -> FloatArray:
        """Western and eastern edge of every column in degrees, shape (lon, 2), without a jump by whole circles."""
        return edges.lon_intervals(self.lon, self.lon_bounds, closed=self.periodic)

    @property
    def wide(self) -> bool:
        """Whether a cell spans half a circle or more, so that no great circle joins its corners along its parallel."""
        return bool(np.ptp(self.lon_intervals, axis=1).max() >= 180.0 - 1e-6)

    def centres(self) -> FloatArray:
        """Return the latitude and longitude of every cell, shape (2, cells)."""
        return np.stack([np.repeat(self.lat, len(self.lon)), np.tile(self.lon, len(self.lat))])

    def check_neighbours(self) -> None:
        """Pass: rows and columns have neighbours."""

    def neighbours(self) -> Vectors:
        """Return the unit vectors of the centres, shape (lat, lon, 3)."""
        return unit_vectors(*self.centres()).reshape(*self.shape, 3)

    def check_cells(self) -> None:
        """Pass: rows and columns have edges."""

    def cells(self) -> Vectors:
        """Return the corners on the unit sphere, shape (cells, 4, 3).

        Raises
        ------
        GridError
            If a cell spans half a circle.
        """
        if self.wide:
            msg = (
                f"A cell of {self} spans half a circle or more, so that no great circle joins its corners. "
                "Divide its longitudes."
            )
            raise GridError(msg)
        lat, lon = self.lat_intervals, self.lon_intervals
        lats = np.broadcast_to(lat[:, None, [0, 0, 1, 1]], (*self.shape, 4))
        lons = np.broadcast_to(lon[None, :, [0, 1, 1, 0]], (*self.shape, 4))
        return unit_vectors(lats, lons).reshape(-1, 4, 3)

    def arrays(self) -> tuple[FloatArray | None, ...]:
        """Return the latitudes, longitudes and their bounds."""
        return self.lat, self.lon, self.lat_bounds, self.lon_bounds

    def settings(self) -> tuple[Hashable, ...]:
        """Return whether the longitudes close the circle."""
        return (self.periodic,)

    @classmethod
    def unpack(cls, arrays: Sequence[FloatArray | None], settings: tuple[Hashable, ...]) -> Self:
        """Return the grid from its arrays."""
        lat, lon, lat_bounds, lon_bounds = arrays
        assert lat is not None and lon is not None
        return cls(lat, lon, periodic=bool(settings[0]), lat_bounds=lat_bounds, lon_bounds=lon_bounds)

    def __str__(self) -> str:
        nlat, nlon = self.shape
        around = ", periodic" if self.periodic else ""
        return f"{nlat} x {nlon} (lat {span(self.lat)}, lon {span(self.lon)}{around})"

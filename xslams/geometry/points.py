"""Places without extent: points on the sphere, and sites on flat axes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from xslams.geometry.base import GEOMETRIES, BaseGeometry
from xslams.typing import FloatArray

__all__ = ["Points", "Sites"]


@GEOMETRIES.register("points")
@dataclass(frozen=True, eq=False)
class Points(BaseGeometry):
    """Points on the sphere.

    Attributes
    ----------
    lat, lon
        Degrees, of one shape; NaN where unknown.
    dims
        Names of the dimensions.
    """

    kind = "points"

    lat: FloatArray
    lon: FloatArray
    dims: tuple[str, ...] = ("point",)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the coordinates."""
        return self.lat.shape

    def centres(self) -> FloatArray:
        """Return the latitude and longitude of every point, shape (2, points)."""
        return np.stack([np.ravel(self.lat), np.ravel(self.lon)])

    def arrays(self) -> tuple[FloatArray | None, ...]:
        """Return the latitudes and longitudes."""
        return self.lat, self.lon

    @classmethod
    def unpack(cls, arrays: Sequence[FloatArray | None], settings: tuple[Hashable, ...]) -> Self:
        """Return the points from their arrays."""
        lat, lon = arrays
        assert lat is not None and lon is not None
        return cls(lat, lon)

    def __str__(self) -> str:
        return f"{self.lat.size} points"


@GEOMETRIES.register("sites")
@dataclass(frozen=True, eq=False)
class Sites(BaseGeometry):
    """Places given by their coordinates on flat axes.

    Attributes
    ----------
    axes
        Names of the axes.
    values
        Coordinates on the axes, shape (axes, ...); NaN where unknown.
    dims
        Names of the dimensions that follow in `values`.
    """

    kind = "sites"
    flat = True

    axes: tuple[str, ...]
    values: FloatArray
    dims: tuple[str, ...] = ("site",)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the axes."""
        return self.axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one coordinate."""
        return self.values.shape[1:]

    def centres(self) -> FloatArray:
        """Return the coordinates of every site, shape (axes, sites)."""
        return self.values.reshape(len(self.axes), self.size)

    def arrays(self) -> tuple[FloatArray | None, ...]:
        """Return the coordinates."""
        return (self.values,)

    def settings(self) -> tuple[Hashable, ...]:
        """Return the names of the axes."""
        return (self.axes,)

    @classmethod
    def unpack(cls, arrays: Sequence[FloatArray | None], settings: tuple[Hashable, ...]) -> Self:
        """Return the sites from their array."""
        (values,), (names,) = arrays, settings
        assert values is not None and isinstance(names, tuple)
        return cls(names, values)

    def __str__(self) -> str:
        return f"{self.size} sites on the axes {', '.join(self.axes) or '(none)'}"

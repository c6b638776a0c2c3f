"""Footprints that are known better than coordinates tell them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from xslams.geometry import Geometry, Grid
from xslams.labels.coordinates import match_axis

__all__ = ["BoxMeans", "Footprints"]


class Footprints(Protocol):
    """What the places of a source are means of."""

    def weights(self, geometry: Geometry) -> sp.csr_array | None:
        """Weights of the cells of a model, shape (place, cell); None where coordinates have to tell them."""
        ...


@dataclass(frozen=True)
class BoxMeans:
    """Means over boxes of cells of a known grid; exact on that grid, area means on any other.

    The mean is over cells, each with the same weight, as `xarray.DataArray.coarsen` computes it.

    Attributes
    ----------
    grid
        The grid.
    boxes
        Weights of its cells, shape (place, lat * lon).
    """

    grid: Grid
    boxes: sp.csr_array

    def weights(self, geometry: Geometry) -> sp.csr_array | None:
        """Weights of the cells of a grid that has those which were averaged, and may have more; None elsewhere."""
        grid = geometry.rectilinear
        if grid is None:
            return None
        lat, lon = match_axis(grid.lat, self.grid.lat), match_axis(grid.lon, self.grid.lon, period=360.0)
        if lat is None or lon is None:
            return None
        columns = (lat[:, None] * len(grid.lon) + lon[None, :]).ravel()
        ones, rows = np.ones(columns.size), np.arange(columns.size)
        select = sp.csr_array((ones, (rows, columns)), shape=(columns.size, len(grid.lat) * len(grid.lon)))
        return sp.csr_array(self.boxes @ select)

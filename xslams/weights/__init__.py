"""Sparse interpolation weights between geometries.

A field flattened in C order to ``x`` is mapped by ``y = W x``. Rows of ``W`` sum to one, or are empty where the target
lies outside of the source. Each method is one file and joins `METHODS`: `xslams.weights.bilinear`,
`xslams.weights.conservative` and `xslams.weights.nearest` say how the weights are defined.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from xslams.geometry import Geometry, Points
from xslams.typing import Edges, FloatArray, Method
from xslams.weights.axes import bracket
from xslams.weights.base import METHODS, WeightMethod, check_method, grid_weights
from xslams.weights.bilinear import Bilinear
from xslams.weights.conservative import Conservative, cell_areas, overlaps
from xslams.weights.engines import ENGINES
from xslams.weights.esmf import XESMF
from xslams.weights.nearest import Nearest
from xslams.weights.products import row_kron

__all__ = [
    "ENGINES",
    "METHODS",
    "XESMF",
    "Bilinear",
    "Conservative",
    "Nearest",
    "WeightMethod",
    "bracket",
    "cell_areas",
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
    >>> from xslams.geometry import Grid
    >>> grid = Grid(np.array([-10.0, 10.0]), np.array([0.0, 10.0]))
    >>> point_weights(grid, np.array([0.0]), np.array([5.0])).toarray()
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    return grid_weights(grid, Points(np.asarray(lat, float), np.asarray(lon, float)), method, edges)

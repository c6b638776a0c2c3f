"""The Earth as a sphere: its radius, and positions on it as vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xslams.typing import FloatArray

__all__ = ["EARTH_RADIUS", "unit_vectors"]

#: Mean radius of the Earth, km.
EARTH_RADIUS = 6371.0


def unit_vectors(lat: FloatArray, lon: FloatArray) -> npt.NDArray[np.float64]:
    """Positions on the unit sphere, shape (..., 3), in double precision.

    Parameters
    ----------
    lat, lon
        Latitudes and longitudes in degrees.

    Examples
    --------
    >>> import numpy as np
    >>> unit_vectors(np.array([0.0, 90.0]), np.array([0.0, 0.0])).round(12)
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    a, b = np.deg2rad(np.asarray(lat, float)), np.deg2rad(np.asarray(lon, float))
    return np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], axis=-1)

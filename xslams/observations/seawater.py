"""Depth and pressure in the sea."""

from __future__ import annotations

import numpy as np

from xslams.typing import FloatArray

__all__ = ["depth_of"]


def depth_of(pressure: FloatArray, latitude: FloatArray) -> FloatArray:
    """Depth in metres at which sea water has a pressure in dbar, after UNESCO (1983), to a few metres at 5000 m.

    Parameters
    ----------
    pressure
        Pressure less that of the atmosphere, in dbar, any shape.
    latitude
        In degrees, of a shape that goes with it.

    Examples
    --------
    >>> round(float(depth_of(np.array(10000.0), np.array(30.0))), 3)
    9712.653
    """
    squared = np.sin(np.deg2rad(latitude)) ** 2
    gravity = 9.780318 * (1.0 + (5.2788e-3 + 2.36e-5 * squared) * squared) + 1.092e-6 * pressure
    column = (((-1.82e-15 * pressure + 2.279e-10) * pressure - 2.2512e-5) * pressure + 9.72659) * pressure
    return np.asarray(column / gravity)

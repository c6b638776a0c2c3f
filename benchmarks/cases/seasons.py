"""The course of the year: phases and harmonics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

__all__ = ["annual_phase", "harmonics"]

Array = npt.NDArray[np.float64]


def annual_phase(time: xr.DataArray) -> Array:
    """Return the position in the year, from 0 to 2 pi."""
    return np.asarray(2 * np.pi * (time.dt.dayofyear.values - 1) / 365.25)


def harmonics(phase: Array, order: int) -> Array:
    """Return a constant, and cosines and sines of the year up to an order, shape (time, 1 + 2 order)."""
    waves = [f(k * phase) for k in range(1, order + 1) for f in (np.cos, np.sin)]
    return np.stack([np.ones(phase.size), *waves], axis=1)

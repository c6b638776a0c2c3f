"""The course of the year: phases and harmonics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

__all__ = ["annual_phase", "harmonics", "stretches"]

Array = npt.NDArray[np.float64]


def annual_phase(time: xr.DataArray) -> Array:
    """Return the position in the year, from 0 to 2 pi."""
    return np.asarray(2 * np.pi * (time.dt.dayofyear.values - 1) / 365.25)


def harmonics(phase: Array, order: int) -> Array:
    """Return a constant, and cosines and sines of the year up to an order, shape (time, 1 + 2 order)."""
    waves = [f(k * phase) for k in range(1, order + 1) for f in (np.cos, np.sin)]
    return np.stack([np.ones(phase.size), *waves], axis=1)


def stretches(count: int, days: int | None, length: int = 10) -> npt.NDArray[np.int64]:
    """Return positions of days in stretches that are spread evenly over `count` days.

    Examples
    --------
    >>> stretches(365, 4, length=2)
    array([  0,   1, 363, 364])
    """
    if days is None:
        return np.arange(count)
    length = min(days, length)
    first = np.linspace(0, count - length, max(days // length, 1)).round().astype(int)
    return np.unique(first[:, None] + np.arange(length))

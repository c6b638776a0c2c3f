"""Observations as they are drawn: a field of each variable of each source, or a table of times, places and values."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.labels.valid_values import with_valid_values
from xslams.plot.base import time_of

if TYPE_CHECKING:
    from xslams.observations.observation import ObservationsLike

__all__ = ["fields", "points"]


def fields(obs: ObservationsLike | None) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield the name of the source and the values, of every variable of every source."""
    from xslams.observations import as_observations

    for number, source in enumerate([] if obs is None else as_observations(obs), start=1):
        data = source.data
        for field in [data] if isinstance(data, xr.DataArray) else [data[name] for name in data.data_vars]:
            yield source.name or f"source {number}", with_valid_values(field)


def points(
    field: xr.DataArray, site: Hashable | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]] | None:
    """Return times, places and values of all observations that are there, shape (n,) each.

    Parameters
    ----------
    field
        Observations, on a grid, at stations, or one report after the other.
    site
        Coordinate that says where; None for a system without space.

    Returns
    -------
    tuple of ndarray or None
        None where the observations have no such coordinates.
    """
    time = time_of(field)
    if time is None or (site is not None and site not in field.coords):
        return None
    place = field[site] if site is not None else xr.zeros_like(field[time], dtype=float)
    values, times, places = xr.broadcast(field.drop_attrs(), field[time], place)
    known = np.isfinite(values.values.astype(float))
    return times.values[known], places.values[known], values.values[known]

"""Parts of data, and of what varies along with them, by position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

__all__ = ["Cuts"]


class Cuts:
    """Parts of data along a dimension; what several variables share is cut once, and stays shared."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, str, bytes], Any] = {}

    def __call__(self, value: Any, data: xr.Dataset, dim: str, rows: npt.NDArray[np.intp]) -> Any:
        """Restrict what goes with the data by position; what has labels of its own finds its place by them.

        Parameters
        ----------
        value
            The data themselves, or a DataArray, Dataset or mapping that may vary along with them; anything else is
            returned as it is.
        data
            The data.
        dim, rows
            Dimension, and positions along it.
        """
        if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
            return {k: self(v, data, dim, rows) for k, v in value.items()}
        if not isinstance(value, xr.DataArray | xr.Dataset) or value.sizes.get(dim) != data.sizes[dim]:
            return value
        if dim in value.indexes and dim in data.indexes and not value.indexes[dim].equals(data.indexes[dim]):
            return value
        key = id(value), dim, rows.tobytes()
        if key not in self._parts:
            # A slice of what is lazy costs less than a list of positions.
            run = rows.size and rows[-1] - rows[0] + 1 == rows.size
            self._parts[key] = value.isel({dim: slice(int(rows[0]), int(rows[-1]) + 1) if run else rows})
        return self._parts[key]

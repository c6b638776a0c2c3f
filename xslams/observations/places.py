"""Where the values of a bound variable are: places and levels, and which of them the model has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import DimensionError, warn
from xslams.labels.coordinates import coordinate, listed
from xslams.likelihood.errors import IntArray
from xslams.observations.audit import NothingLeft
from xslams.observations.horizontal import cells, expand
from xslams.observations.masked_cells import mostly_known
from xslams.observations.vertical import channels, listed_levels

if TYPE_CHECKING:
    from xslams.observations.bound_variable import BoundVariable

__all__ = ["Places"]


@dataclass(frozen=True)
class Places:
    """Where the values of a variable are.

    Attributes
    ----------
    horizontal, vertical
        Weights of the model's cells, shape (place, lat * lon), and of its channels, shape (level, channel).
    place
        Place of each element, with the dimensions that it depends on.
    times, channels, cells
        Positions of the time, level and place of each element, each with the shape of the data.
    known
        At which levels and places the model has values, shape (level, place); None where it has them everywhere.
    """

    horizontal: sp.csr_array
    vertical: sp.csr_array
    place: xr.DataArray
    times: IntArray
    channels: IntArray
    cells: IntArray
    known: npt.NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, variable: BoundVariable, *, read: bool) -> Places:
        """Find places and levels of a variable; a lazy surface pressure is read where `read`."""
        values, stamps = variable.values, variable.stamps
        horizontal, place = cells(
            variable.data, values, variable.geometry, variable.method, variable.source, variable.engine
        )
        if variable.footprints is not None:
            known = variable.footprints.weights(variable.geometry)
            horizontal = horizontal if known is None or known.shape != horizontal.shape else known
        vertical, level = channels(
            variable.data, values, variable.observed, variable.spec, variable.method, variable.source, read=read
        )
        time = xr.DataArray(np.arange(stamps.size).reshape(stamps.shape), dims=stamps.dims)
        if extra := [d for d in values.dims if d not in {*place.dims, *level.dims, *time.dims}]:
            msg = (
                f"Source {variable.source!r}: {variable.name!r} varies along {listed(extra)}, on which neither time, "
                f"place nor level depend. Select along it with .isel(), or give latitude and longitude that dimension."
            )
            raise DimensionError(msg)
        masked = None if variable.function is not None else variable.spec.masked
        known = None if masked is None else mostly_known(masked, horizontal, vertical)
        times, levels, places = (expand(index, values) for index in (time, level, place))
        return cls(horizontal, vertical, place, times, levels, places, known)

    @property
    def in_domain(self) -> npt.NDArray[np.bool_]:
        """Which places lie within the model's domain."""
        return np.asarray(np.diff(self.horizontal.indptr) > 0)

    @property
    def in_levels(self) -> npt.NDArray[np.bool_]:
        """Which levels lie within the model's."""
        return np.asarray(np.diff(self.vertical.indptr) > 0)

    @property
    def unmasked(self) -> npt.NDArray[np.bool_]:
        """Which elements lie where the model has values, with the shape of the data."""
        if self.known is None:
            return np.ones(self.cells.shape, bool)
        return self.known[self.channels, self.cells]

    @property
    def inside(self) -> int:
        """Number of elements that lie within both, where the model has values."""
        return int((self.in_domain[self.cells] & self.in_levels[self.channels] & self.unmasked).sum())

    def warn_of_outside(self, variable: BoundVariable) -> None:
        """Warn of places and levels that are dropped, where some are left."""
        parts = (
            (self.in_domain, "places", "model's domain", str(variable.geometry)),
            (self.in_levels, "levels", "model's", listed_levels(variable.observed)),
        )
        padding = _padding(variable.values, len(self.in_levels))
        for inside, what, domain, extent in parts:
            out = int((~inside).sum()) - (padding if what == "levels" else 0)
            if inside.any() and out > 0:
                warn(
                    f"Source {variable.source!r}: {out} of {len(inside)} {what} lie outside of the {domain}, "
                    f"{extent}, and are dropped."
                )

    def require_some(self, variable: BoundVariable) -> None:
        """Raise where no place or no level lies within the model's domain."""
        if self.in_domain.any() and self.in_levels.any():
            if self.known is None or self.known[np.ix_(self.in_levels, self.in_domain)].any():
                return
            msg = (
                f"Source {variable.source!r}: {variable.observed.name!r} of the model never has a value at any of its "
                f"{len(self.in_domain)} places, as on land. Check latitude, longitude and level."
            )
            raise NothingLeft(msg)
        places = not self.in_domain.any()
        levels = "" if self.in_levels.any() else f", levels {listed_levels(variable.observed)}"
        msg = (
            f"Source {variable.source!r}: all {len(self.in_domain) if places else len(self.in_levels)} "
            f"{'places' if places else 'levels'} lie outside of the model's domain, {variable.geometry}{levels}. "
            "Check latitude, longitude and level."
        )
        raise NothingLeft(msg)


def _padding(values: xr.DataArray, levels: int) -> int:
    """Count the missing levels of missing values, which short profiles are padded with; lazy data are not read."""
    name = coordinate(values, "level")
    if name is None or values.chunks is not None or values[name].size != levels or values[name].dims != values.dims:
        return 0
    return int((values[name].isnull().values & values.isnull().values).sum())

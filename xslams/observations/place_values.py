"""Errors and biases by place and part of year or day, which new data of the same places take up, and new places too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import ObservationError
from xslams.labels.coordinates import coordinate
from xslams.typing import FloatArray

__all__ = ["GROUPS", "PlaceValues", "Places", "place_keys", "places_of"]

#: Labels of the groups of dates, as in ``ds.groupby("time.month")``.
GROUPS: dict[str | None, tuple[Any, ...]] = {
    None: (0,),
    "month": tuple(range(1, 13)),
    "season": ("DJF", "MAM", "JJA", "SON"),
    "hour": tuple(range(24)),
}
# Places are the same within a thousandth of a degree, some hundred metres.
_SAME = 1e3


@dataclass(frozen=True, eq=False)
class PlaceValues:
    """A number for each group of dates and each place, and one of each group for places that are not among them.

    Attributes
    ----------
    by
        ``"month"``, ``"season"``, ``"hour"`` or None.
    lat, lon
        Places, shape (place,).
    values
        Numbers, shape (group, place).
    pooled
        Numbers of other places, shape (group,).
    units
        Units of the numbers; empty for those of the data.

    Examples
    --------
    >>> bias = PlaceValues(None, np.array([50.0]), np.array([8.0]), np.array([[0.5]]), np.array([0.1]), "K")
    >>> sites = xr.Dataset(coords={"lat": ("site", [50.0, 60.0]), "lon": ("site", [8.0, 8.0])})
    >>> bias.over(sites["lat"]).values
    array([0.5, 0.1])
    """

    by: str | None
    lat: FloatArray
    lon: FloatArray
    values: FloatArray
    pooled: FloatArray
    units: str

    @classmethod
    def everywhere(cls, value: float) -> PlaceValues:
        """Return a number that is the same at all places, in the units of the data.

        Parameters
        ----------
        value
            The number.
        """
        return cls(None, np.zeros(0), np.zeros(0), np.zeros((1, 0)), np.array([value]), "")

    def over(self, da: xr.DataArray) -> xr.DataArray:
        """Return the numbers for the places of data: dimensions of the places, and the group where there are several.

        Parameters
        ----------
        da
            Data with latitudes and longitudes.
        """
        where = places_of(da)
        known = {key: n for n, key in enumerate(place_keys(self.lat, self.lon).tolist())}
        own = np.array([known.get(key, -1) for key in place_keys(where.lat, where.lon).tolist()], np.intp)
        index = own[where.number.values.ravel()]
        # The last column is that of places that are not known.
        columns = np.concatenate([self.values, self.pooled[:, None]], axis=1)[:, index]
        attrs = {"units": self.units} if self.units else {}
        shape, dims = where.number.shape, where.number.dims
        out = xr.DataArray(columns.reshape(-1, *shape), dims=("group", *dims), attrs=attrs)
        if self.by is None:
            return out.isel(group=0)
        return out.rename(group=self.by).assign_coords({self.by: list(GROUPS[self.by])})

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        arrays = self.lat, self.lon, self.values, self.pooled
        return ("xslams.PlaceValues", self.by, self.units, *(a.tobytes() for a in arrays))

    def __repr__(self) -> str:
        low, high = (self.values.min(), self.values.max()) if self.values.size else (np.nan, np.nan)
        groups = f" by {self.by}" if self.by else ""
        return (
            f"<{len(self.lat)} places{groups}: {low:.3g} to {high:.3g} {self.units}, others {self.pooled.mean():.3g}>"
        )


@dataclass(frozen=True, eq=False)
class Places:
    """Places of data.

    Attributes
    ----------
    lat, lon
        In degrees, each place once, in the order in which the data have them, shape (place,).
    number
        Number of the place of the data, over the dimensions that places have there.
    """

    lat: FloatArray
    lon: FloatArray
    number: xr.DataArray


def places_of(da: xr.DataArray) -> Places:
    """Places of data; reports of one station are all of one place.

    Raises
    ------
    ObservationError
        If the data have no latitudes and longitudes.
    """
    names = [coordinate(da, "lat"), coordinate(da, "lon")]
    if None in names:
        msg = f"{da.name!r} has no latitudes and longitudes, by which a calibration knows its places."
        raise ObservationError(msg)
    lat, lon = xr.broadcast(*(da[n].reset_coords(drop=True) for n in names))
    lon = lon.transpose(*lat.dims)
    flat = [np.asarray(c.values, float).ravel() for c in (lat, lon)]
    numbers: dict[int, int] = {}
    number = [numbers.setdefault(key, len(numbers)) for key in place_keys(*flat).tolist()]
    first = np.unique(number, return_index=True)[1]
    return Places(flat[0][first], flat[1][first], xr.DataArray(np.reshape(number, lat.shape), dims=lat.dims))


def place_keys(lat: FloatArray, lon: FloatArray) -> npt.NDArray[np.int64]:
    """Whole numbers that are equal for the same place, and ordered by latitude, then longitude.

    Parameters
    ----------
    lat, lon
        In degrees, shape (n,).

    Examples
    --------
    >>> place_keys(np.array([10.0, 10.0]), np.array([-10.0, 350.0001]))
    array([3600350000, 3600350000])
    """
    turn = round(360 * _SAME)
    north, east = (np.rint(np.where(np.isfinite(v), v, -999.0) * _SAME).astype(np.int64) for v in (lat, lon))
    return np.asarray(north * turn + east % turn)

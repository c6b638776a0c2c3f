"""Monthly sea-surface temperature, NaN on land, and its simulated observations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

import xslams

__all__ = ["ERROR", "TESTING", "TRAINING", "Sea", "observe", "open_sea"]

#: First and last month.
TRAINING, TESTING = ("2010-01", "2016-12"), ("2017-01", "2020-08")
#: Standard deviation of the observations, K.
ERROR = 0.3

Array = npt.NDArray[np.float64]


def open_sea(data: Path) -> xr.Dataset:
    """All months, as they are in the file."""
    path = data / "ersst_v5_2010_2020.nc"
    if not path.is_file():
        msg = f"The temperatures {path} are missing. Set XSLAMS_SHARED to the folder whose data/ holds them."
        raise SystemExit(msg)
    with xr.open_dataset(path) as ds:
        return ds[["sst"]].load()


def observe(sea: xr.Dataset, places: int) -> xslams.Observation:
    """Observe cells of the sea, the same in all months."""
    return xslams.simulate_observations(sea["sst"], stations=places, error=ERROR, seed=places)


@dataclass(frozen=True)
class Sea:
    """Cells of the sea in a row, for what works on matrices.

    Attributes
    ----------
    values
        Shape (time, cell).
    lat, lon, weight
        Positions and areas, shape (cell,).
    known
        Cells of the grid that are sea, shape (lat, lon).
    """

    values: xr.DataArray
    lat: Array
    lon: Array
    weight: Array
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, sea: xr.Dataset) -> Sea:
        """Cells that always have a value."""
        field = sea["sst"].transpose("time", "lat", "lon")
        known = field.notnull().all("time").values
        lat, lon = np.meshgrid(field["lat"].values.astype(float), field["lon"].values.astype(float), indexing="ij")
        values = xr.DataArray(field.values[:, known].astype(float), {"time": field["time"]}, ("time", "cell"))
        return cls(values, lat[known], lon[known], np.cos(np.deg2rad(lat[known])), known)

    def at(self, observation: xslams.Observation, sea: xr.Dataset) -> npt.NDArray[np.int64]:
        """Cells that are observed."""
        lat, lon = (sea.indexes[n].get_indexer(observation.data[n].values) for n in ("lat", "lon"))
        return (np.cumsum(self.known).reshape(self.known.shape) - 1)[lat, lon]

    def fields(self, values: Array, like: xr.Dataset) -> xr.Dataset:
        """Put values (time, cell) back on the grid of a Dataset with these times."""
        out = np.full(like["sst"].shape, np.nan, np.float32)
        out[:, self.known] = values
        return like.assign(sst=like["sst"].copy(data=out))

"""Europe, daily at 12 UTC: three fields of a reanalysis, and stations averaged over its cells."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import xslams
from benchmarks.cases.seasons import stretches

__all__ = [
    "TESTING", "TRAINING", "cell_columns", "during", "open_cells", "open_sources", "open_state", "part_of", "since",
    "station_columns",
]  # fmt: skip

#: Training and test periods of the comparison.
TRAINING, TESTING = slice("2000", "2006"), slice("2007-07-01", "2008-06-30")
_STATE = {"t": ("t850_ei.nc", "K"), "z": ("z500_ei.nc", "m2 s-2"), "msl": ("mslp_ei.nc", "Pa")}
# Files of stations, units and standard names of what is averaged.
_CELLS = {
    "tas": (("germany53_ecad", "knmi34_temperature"), "K", "air_temperature"),
    "pr": (("germany53_ecad", "balearic_precip_cells"), "mm day-1", "precipitation_flux"),
}

# Files and variables of each kind of source at its own places. Radiation by Meteosat is known from 2004 on, and
# stations of Trentino until the end of 2007.
_SOURCES = {
    **{name: tuple((stem, name) for stem in stems) for name, (stems, _, _) in _CELLS.items()},
    "cloud": (("germany12_ecad_multivar", "cloud"),),
    "radiation": (("knmi32_radiation_ground_satellite", "rsds_satellite"),),
    "trentino": tuple(("trentino59", name) for name in ("tasmin", "tasmax", "pr")),
}


def open_state(folder: Path) -> xr.Dataset:
    """Temperature at 850 hPa, geopotential at 500 hPa and mean sea level pressure on 11 x 13 cells, to June 2008."""
    fields = [xr.open_dataset(folder / file)[name].load() for name, (file, _) in _STATE.items()]
    ds = xr.merge(fields, compat="override", join="override").sel(time=slice("2000", "2008-06-30"))
    for name, (_, units) in _STATE.items():
        ds[name].attrs["units"] = units
    return ds


def open_cells(folder: Path, state: xr.Dataset) -> xr.Dataset:
    """Means over the stations of each cell of the state, NaN where there are none.

    Temperatures are those that differ from the mean of their station, since stations that come and go lie at different
    altitudes.
    """
    out = {}
    for name, (stems, units, standard_name) in _CELLS.items():
        total, count = (np.zeros([state.sizes[d] for d in ("time", "latitude", "longitude")]) for _ in range(2))
        for stem in stems:
            ds = xr.open_dataset(folder / "europe" / f"{stem}.nc").load()
            values, rows, columns = _placed(ds, name, state)
            known = np.isfinite(values)
            np.add.at(total, (slice(None), rows, columns), np.where(known, values, 0.0))
            np.add.at(count, (slice(None), rows, columns), known)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype("float32")
        attrs = {"units": units, "standard_name": standard_name}
        out[name] = (("time", "latitude", "longitude"), mean, attrs)
    return xr.Dataset(out, coords=state.coords)


def open_sources(folder: Path, names: Sequence[str]) -> list[xslams.Observation]:
    """Open sources of some kinds at their own places; days are stamped at noon, as the state is."""
    out = []
    for name in names:
        for stem, variable in _SOURCES[name]:
            da = xr.open_dataset(folder / "europe" / f"{stem}.nc")[variable].load()
            da = da.assign_coords(time=da["time"] + np.timedelta64(12, "h"))
            out.append(xslams.Observation(da, name=f"{stem}:{variable}"))
    return out


def part_of(year: xr.Dataset, days: int | None) -> xr.Dataset:
    """Return some days of a year, in stretches of ten, or all of them."""
    return year.isel(time=stretches(year.sizes["time"], days))


def since(years: int) -> str:
    """Return the first of the last years of training, of all where there are 0."""
    return str(int(TRAINING.stop) + 1 - years) if years else TRAINING.start


def cell_columns(cells: xr.Dataset) -> list[NDArray[np.float64]]:
    """Predictors ``(time, cell)`` of a regression, one array for each variable; precipitation by its square root."""
    return [_column(da, name) for name, da in cells.data_vars.items()]


def station_columns(sources: Sequence[xslams.Observation], state: xr.Dataset) -> list[NDArray[np.float64]]:
    """Predictors ``(time, station)`` of a regression, one array for each source."""
    found = [(o.data.reindex(time=state["time"]), o.data.name) for o in sources]
    return [_column(da.transpose("time", ...), name) for da, name in found]


def _column(da: xr.DataArray, name: Hashable) -> NDArray[np.float64]:
    """Values of one variable, as they enter a regression."""
    values = da.values.reshape(da.sizes["time"], -1).astype(float)
    return np.sqrt(np.maximum(values, 0)) if name == "pr" else values


def during(source: xslams.Observation, ds: xr.Dataset) -> xslams.Observation:
    """Part of a source in the period of a Dataset, days between its stretches included."""
    first, last = ds["time"].values[[0, -1]]
    return source.replace(data=source.data.sel(time=slice(first, last)))


def _placed(
    ds: xr.Dataset, name: str, state: xr.Dataset
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Values ``(time, station)`` on the days of the state, and the cell of each station."""
    spellings = ("lat", "latitude"), ("lon", "longitude")
    lat, lon = (next(ds[n] for n in names if n in ds.variables) for names in spellings)
    values = ds[name].reindex(time=state["time"].dt.floor("D").values).transpose("time", ...).values.astype(float)
    if name == "tas":
        values = values - np.nanmean(values, axis=0)
    rows = np.abs(state["latitude"].values[:, None] - lat.values).argmin(0)
    columns = np.abs(state["longitude"].values[:, None] - lon.values).argmin(0)
    return values, rows, columns

"""The global simulation: four years of daily fields, and what gauges, a satellite and stations see of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

import xslams

__all__ = [
    "ERRORS", "ROWS", "SPIN_UP", "YEAR", "coarse", "observe", "observe_soundings", "observe_stations", "open_case",
    "open_second_run",
]  # fmt: skip

YEAR = 365
#: Days at the start of the simulation in which the stratosphere still spins up.
SPIN_UP = 90
#: Sources of observations of every row of a table.
ROWS: dict[str, tuple[str, ...]] = {
    "none": (),
    "pr": ("pr",),
    "pr+olr": ("pr", "olr"),
    "pr+olr+t": ("pr", "olr", "t"),
}
#: Standard deviations of the errors, in mm/day, W m-2 and K.
ERRORS = {"pr": 1.0, "olr": 5.0, "t": 1.0}
_SOUNDINGS = 60


def open_case(data: Path, years: int = 3) -> tuple[xr.Dataset, xr.Dataset]:
    """Truth of the training years, and of the validation year.

    Parameters
    ----------
    data
        Folder of the public data.
    years
        How many of the three training years are read.
    """
    path = data / "speedy_t30_daily_4yr.nc"
    return _read(path, slice(None, years * YEAR)), _read(path, slice(3 * YEAR, 4 * YEAR))


def open_second_run(data: Path) -> xr.Dataset:
    """Two years of an independent run."""
    return _read(data / "speedy_t30_daily_2yr_b.nc", slice(None))


def _read(path: Path, days: slice) -> xr.Dataset:
    if not path.is_file():
        msg = f"The simulation {path} is missing. Set XSLAMS_SHARED to the folder whose data/ holds it."
        raise SystemExit(msg)
    with xr.open_dataset(path) as ds:
        return ds[["t", "pr", "olr"]].isel(time=days).astype(np.float32).load()


def observe(truth: xr.Dataset) -> dict[str, xslams.Observation]:
    """Observe half of the cells by gauges, 2x2 cells by a satellite, and the two lowest levels by 200 stations."""
    return {
        "pr": xslams.simulate_observations(truth["pr"], mask=0.5, error=ERRORS["pr"], seed=1),
        "olr": xslams.simulate_observations(truth["olr"], coarsen={"lat": 2, "lon": 2}, error=ERRORS["olr"], seed=2),
        "t": observe_stations(truth),
    }


def observe_stations(truth: xr.Dataset) -> xslams.Observation:
    """Observe temperature at the two lowest levels by 200 stations."""
    lowest = truth["t"].isel(sigma=slice(0, 2))
    return xslams.simulate_observations(lowest, stations=200, error=ERRORS["t"], seed=3)


def coarse(ds: xr.Dataset, cells: int) -> xr.Dataset:
    """Average over boxes of so many cells along latitude and longitude."""
    return ds.coarsen(lat=cells, lon=cells).mean(keep_attrs=True)


def observe_soundings(truth: xr.Dataset) -> dict[str, xslams.Observation]:
    """Observe temperature at all levels by 60 soundings, and precipitation and radiation in every cell."""
    rng = np.random.default_rng(0)
    where = np.zeros((truth.sizes["lat"], truth.sizes["lon"]), bool)
    where.flat[rng.choice(where.size, _SOUNDINGS, replace=False)] = True
    noise = ERRORS["t"] * rng.standard_normal(truth["t"].shape)
    soundings = (truth["t"] + noise).where(xr.DataArray(where, dims=("lat", "lon"))).assign_attrs(truth["t"].attrs)
    return {
        "t": xslams.Observation(soundings, error=ERRORS["t"]),
        **{n: xslams.simulate_observations(truth[n], error=ERRORS[n], seed=1) for n in ("pr", "olr")},
    }

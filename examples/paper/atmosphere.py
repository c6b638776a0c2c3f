"""The atmosphere of an experiment: fields to train on, fields to analyse, and what gauges and a satellite see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr

import xslams

__all__ = ["ERRORS", "Atmosphere", "era5", "speedy"]

#: Standard deviations of the errors of precipitation (mm/day) and outgoing longwave radiation (W m-2).
ERRORS = {"pr": 1.0, "olr": 5.0}
#: Days at the start of a simulation in which the stratosphere still spins up, and days of training of the first run.
_SPIN_UP, _TRAINING = 90, 1095
#: The two runs of the simulation overlap in time. Moved by 28 years, after which the calendar repeats, they do not.
_APART = np.timedelta64(10227, "D")


@dataclass(frozen=True)
class Atmosphere:
    """Temperature ``t`` on levels, with precipitation ``pr`` and outgoing longwave radiation ``olr`` on the same grid.

    Attributes
    ----------
    training
        Days to train on.
    testing
        Days to analyse.
    networks
        Observations of the days to analyse, by the name of what they observe.
    level
        Name of the dimension of levels.
    """

    training: xr.Dataset
    testing: xr.Dataset
    networks: Mapping[str, xslams.Observation]
    level: str

    @cached_property
    def spread(self) -> xr.DataArray:
        """Standard deviation of temperature about its monthly means, of each level, weighted by area."""
        t = self.training["t"]
        monthly = t.groupby("time.month")
        square = (monthly - monthly.mean("time")) ** 2
        mean = square.weighted(np.cos(np.deg2rad(t["lat"]))).mean(["time", "lat", "lon"])
        return (mean**0.5).drop_vars("month", errors="ignore").assign_attrs(units="K")

    def cases(self, count: int, frames: int) -> list[slice]:
        """Return stretches of so many frames, spread evenly over the days to analyse."""
        first = np.linspace(0, self.testing.sizes["time"] - frames, count).round().astype(int)
        return [slice(int(i), int(i) + frames) for i in first]

    def in_turn(self, count: int, frames: int) -> list[tuple[int, slice]]:
        """Return number and stretch of each case, in an order whose first ones are spread over the days, too."""
        cases = list(enumerate(self.cases(count, frames)))
        # Golden section: no two that follow each other are neighbours.
        return sorted(cases, key=lambda case: (case[0] * 0.6180339887) % 1)


def speedy(folder: Path, coarsen: int = 1, days: int | None = None, judged: int | None = None) -> Atmosphere:
    """Return a simulation: training in the first three years and in an independent run, the fourth year for analyses.

    Parameters
    ----------
    folder
        Folder of the simulations.
    coarsen
        Cells of the simulation in each direction that make one cell.
    days
        Training days, the latest of the first run; all of both runs by default.
    judged
        Days of the fourth year that are analysed; all by default.
    """
    begin = _SPIN_UP if days is None else _TRAINING - days
    first = _simulation(folder / "speedy_t30_daily_4yr.nc", coarsen, begin, judged and _TRAINING + judged)
    training = first.isel(time=slice(_TRAINING - begin))
    if days is None:
        second = _simulation(folder / "speedy_t30_daily_2yr_b.nc", coarsen, _SPIN_UP)
        second = second.assign_coords(time=second["time"] + _APART)
        training = xr.concat([training, second.drop_attrs()], dim="time", combine_attrs="override", join="override")
    testing = first.isel(time=slice(_TRAINING - begin, None))
    gauges = xslams.simulate_observations(testing["pr"], mask=0.5, error=ERRORS["pr"], seed=1)
    satellite = xslams.simulate_observations(testing["olr"], coarsen={"lat": 2, "lon": 2}, error=ERRORS["olr"], seed=2)
    return Atmosphere(training, testing, {"pr": gauges, "olr": satellite}, "sigma")


def _simulation(path: Path, coarsen: int, begin: int, end: int | None = None) -> xr.Dataset:
    if not path.is_file():
        msg = f"The simulation {path} is missing. Set XSLAMS_SHARED to the folder whose data/ holds it."
        raise SystemExit(msg)
    with xr.open_dataset(path) as ds:
        fields = ds[["t", "pr", "olr"]].isel(time=slice(begin, end))
        coarse = fields.coarsen(lat=coarsen, lon=coarsen).mean().astype(np.float32).load()
        for name in fields.variables:
            coarse[name].attrs = fields[name].attrs
    return coarse


def era5(training: range, testing: range, coarsen: int = 1) -> Atmosphere:
    """Return ERA5 of ChaosBench at 1.5 degrees, precipitation of CPC and outgoing longwave radiation of NOAA.

    The archive of ERA5 has 45 GB; see the documentation of `xslams.datasets`. Gauges and satellite are observed on
    their own grids; the training sees them on that of ERA5.

    Parameters
    ----------
    training, testing
        Years.
    coarsen
        Cells of 1.5 degrees in each direction that make one cell.
    """
    years = sorted({*training, *testing})
    state = xslams.datasets.era5_chaosbench(years, variables="t")
    level = next(str(d) for d in state["t"].dims if d not in ("time", "lat", "lon"))
    if coarsen > 1:
        state = state.coarsen(lat=coarsen, lon=coarsen, boundary="trim").mean(keep_attrs=True)
    seen = {"pr": xslams.datasets.cpc(years)["precip"], "olr": xslams.datasets.noaa_olr(years)["olr"]}
    grid = state[["lat", "lon"]]
    on_grid = {name: data.slams.regrid(grid, "conservative") for name, data in seen.items()}
    # Instants of 00 UTC stand for the day that begins.
    whole = state.assign({name: data.reindex(time=state["time"]) for name, data in on_grid.items()})

    def of(chosen: range, data: xr.Dataset | xr.DataArray) -> xr.Dataset | xr.DataArray:
        return data.sel(time=data["time"].dt.year.isin(list(chosen)))

    networks = {
        name: xslams.Observation(of(testing, data), {str(data.name): name}, error=ERRORS[name], method="conservative")
        for name, data in seen.items()
    }
    return Atmosphere(of(training, whole), of(testing, whole), networks, level)

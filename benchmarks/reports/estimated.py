"""Errors that innovations tell (`error="auto"`), next to errors that are calibrated or known, and to no observations.

    python -m benchmarks estimated                     # twenty minutes of one thread
    python -m benchmarks estimated --cases stations    # some cases

- ``buoys``: coastal stations and buoys over North America for 6-hourly NCEP fields of 2013-05-16 to 2013-05-31, from a
  model that `fit` has made of the 19 months after it, without a network; values at the hours of the fields, and, as
  ``hourly``, all of them. They are calibrated on the first half of May.
- ``stations``: USCRN stations for daily NCEP fields of the half year after the training of the shipped model, on which
  they are calibrated.
- ``ocean``: simulated observations of monthly ERSST with an error of 0.3 K, which is known, at 200 and 60 places, as in
  `benchmarks.reports.ocean`; the model is fitted without a network.

Nothing but the source differs between the rows of a case, and there is no background. Columns: RMSE of the mean and
CRPS, weighted by area, in K, spread over error, and what was estimated. Members are antithetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import xslams
from benchmarks.cases import shared_data
from benchmarks.cases.ncep import TESTING, TRAINING, open_fields, open_stations, station_observations
from benchmarks.cases.ocean import TESTING as SEA_TESTING
from benchmarks.cases.ocean import TRAINING as SEA_TRAINING
from benchmarks.cases.ocean import observe, open_sea
from benchmarks.command import Command
from benchmarks.fits import level_means
from benchmarks.tables import head, row
from xslams.model import Model

#: Of a case: its title, model, fields, and the observations of each row.
Case = tuple[str, Model, xr.Dataset, dict[str, list[xslams.Observation]]]


def _bare(sources: Sequence[xslams.Observation]) -> list[xslams.Observation]:
    """Return sources without what was calibrated, to be estimated."""
    return [source.replace(error="auto", qc=xslams.QualityControl()) for source in sources]


def buoys(data: Path, budget: str, days: int) -> Iterator[Case]:
    """Coastal stations."""
    with xr.open_zarr(data / "ncep_air_2013_2014.zarr", consolidated=True) as ds:
        fields = ds[["air"]].load()
    fields["air"].attrs["standard_name"] = "air_temperature"
    model = fields.sel(time=slice("2013-06", "2014-12")).slams.fit(epochs=0, budget=budget, progress=False)
    may = fields.sel(time="2013-05")
    half, truth = may.sel(time=slice(None, "2013-05-15")), may.sel(time=slice("2013-05-16", None))
    with xr.open_dataset(data / "buoys_2013-05_hourly.nc") as ds:
        hourly = ds[["air_temperature"]].load()
    fitting = hourly.isel(time=np.flatnonzero(np.isin(hourly["time"].dt.hour, [0, 6, 12, 18])))
    rows: dict[str, list[xslams.Observation]] = {"none": []}
    for name, values in (("", fitting), (", hourly", hourly)):
        source = xslams.Observation(values, variable={"air_temperature": "air"}, name="buoys")
        rows[f"calibrated{name}"] = [source.calibrated(half, by="hour")]
        rows[f"estimated{name}"] = _bare([source])
    yield "buoys", model, truth.isel(time=slice(4 * days)), rows


def stations(data: Path, budget: str, days: int) -> Iterator[Case]:
    """USCRN stations."""
    fields = open_fields(data)
    known = station_observations(open_stations(data, fields), fields.sel(time=TRAINING))
    rows = {"none": [], "calibrated": known, "estimated": _bare(known)}
    yield "stations", xslams.open_model("ncep-na"), fields.sel(time=TESTING).isel(time=slice(days)), rows


def ocean(data: Path, budget: str, days: int) -> Iterator[Case]:
    """Sea-surface temperature."""
    whole = open_sea(data)
    model = whole.sel(time=slice(*SEA_TRAINING)).slams.fit(epochs=0, budget=budget, progress=False)
    truth = whole.sel(time=slice(*SEA_TESTING)).isel(time=slice(days))
    for places in (200, 60):
        known = observe(whole, places)
        yield f"ocean, {places} places", model, truth, {"none": [], "known": [known], "estimated": _bare([known])}


CASES: dict[str, Callable[[Path, str, int], Iterator[Case]]] = {"buoys": buoys, "stations": stations, "ocean": ocean}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    command.add_argument("--members", type=int, default=16, help="in antithetic pairs")
    command.add_argument("--budget", default="150s", help="time for the trials of each fit")
    command.add_argument("--days", type=int, default=400, help="of each case at most; months of the ocean")
    command.quick(cases=["stations"], members=2, budget="0", days=8)
    command.shared()
    options = command.read(arguments)
    for case in options.cases:
        for title, model, truth, rows in CASES[case](shared_data(options.shared), options.budget, options.days):
            columns = ["errors", "RMSE, K", "CRPS, K", "spread / error", "estimated"]
            head(columns, f"{title}: {truth.sizes['time']} fields, {options.members} members")
            for name, sources in rows.items():
                found = truth.slams.assimilate(
                    sources, model, members=options.members, antithetic=True, background_error=None, progress=False
                )
                rmse, crps, ratio = level_means(found, truth, next(iter(truth.data_vars)))
                about = found.attrs.get("xslams_estimated_errors", "")
                row([name, f"{rmse:.3f}", f"{crps:.3f}", f"{ratio:.2f}", about])

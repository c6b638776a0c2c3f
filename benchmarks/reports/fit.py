"""A model by the defaults of `fit`, next to a tuned linear regression: Europe, and one year of a coarse global grid.

    python -m benchmarks fit                           # all; a quarter of an hour on two cores
    python -m benchmarks fit --rows europe --aux tas   # Europe from cells of temperature
    python -m benchmarks fit --quick                   # seconds

Europe: ``fit`` gets the reanalysis and the stations of its cells as auxiliary fields of 2000 to 2006, with their gaps,
and no setting. The days from July 2007 to June 2008 are analysed from the cells alone, without a background, with the
errors that the package finds itself. The reference, a linear regression whose settings are tuned within the training
period, gets the same cells. Its mean has no sampling error, and nor has that of antithetic members.

One year: ``fit`` gets the first year of a global simulation at 7.5 degrees, with precipitation and outgoing longwave
radiation as auxiliary fields; days of the third year are analysed from 60 soundings with an error of 1 K, and from
those and the auxiliary fields. "plain" is the Gaussian from which the search begins.

Columns: RMSE of the mean and CRPS, weighted by area; spread over error. The seconds are those of ``fit``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

import xslams
from benchmarks.cases import shared_data
from benchmarks.cases.europe import TESTING, TRAINING, cell_columns, open_cells, open_state, part_of
from benchmarks.cases.seasons import stretches
from benchmarks.cases.speedy import coarse, observe_soundings
from benchmarks.command import Command
from benchmarks.fits import chosen, level_means
from benchmarks.references.seasonal import COLUMNS, scores
from benchmarks.tables import head, row
from xslams.model import Model

ROWS = ("europe", "year")


def fit(ds: xr.Dataset, aux: Any, **given: Any) -> Model:
    """Train, and say how long it took and what was chosen."""
    start = time.perf_counter()
    model = ds.slams.fit(aux, progress=False, **given)
    trials = len(model.spec.training["trials"])
    print(f"\nfit: {time.perf_counter() - start:.0f} s, {trials} trials, chosen {chosen(model)}")
    return model


def judge(analysis: xr.Dataset, truth: xr.Dataset, name: str) -> None:
    """Print a row for each variable."""
    for n in truth.data_vars:
        rmse, crps, ratio = level_means(analysis, truth, n)
        row([name, n, f"{rmse:.4g}", f"{crps:.4g}", f"{ratio:.2f}"])


def europe(folder: Path, rows: Sequence[str], days: int | None, members: int, budget: str) -> None:
    """Europe from cells of stations."""
    state = open_state(folder)
    cells = open_cells(folder, state)
    for names in rows:
        used = names.split("+")
        model = fit(state.sel(time=TRAINING), cells[used].sel(time=TRAINING), budget=budget)
        truth = part_of(state.sel(time=TESTING), days)
        obs = [xslams.Observation(cells[n].sel(time=truth["time"]), error="auto") for n in used]
        head(COLUMNS, f"Europe from cells of {' and '.join(used)}, {truth.sizes['time']} days")
        judge(truth.slams.assimilate(obs, model=model, members=members, antithetic=True).compute(), truth, "fit")
        scores(state, cell_columns(cells[used]), truth["time"], "seasonal regression")


def year(folder: Path, days: int, members: int, budget: str) -> None:
    """One year of a global simulation at 7.5 degrees."""
    whole = xr.open_dataset(folder / "speedy_t30_daily_4yr.nc")[["t", "pr", "olr"]].isel(sigma=[1, 3])
    ds = coarse(whole, 2).load()
    past, third = ds.isel(time=slice(365)), ds.isel(time=slice(730, 1095))
    truth = third.isel(time=stretches(365, days))
    every = observe_soundings(truth)
    sets = {"soundings": [every["t"]], "soundings, pr, olr": list(every.values())}
    for name, given in (("plain", {"budget": 0}), ("fit", {"budget": budget})):
        model = fit(past, ["pr", "olr"], **given)
        head(COLUMNS, f"One year at 7.5 degrees, {truth.sizes['time']} days of another")
        for label, obs in sets.items():
            analysis = truth.slams.assimilate(obs, model=model, members=members).compute()
            judge(analysis[["t"]], truth[["t"]], f"{name}, {label}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    command.add_argument("--aux", nargs="+", default=["tas", "tas+pr"], help="auxiliary cells of Europe")
    command.add_argument("--days", type=int, help="days of Europe, in stretches of ten; by default the year")
    command.add_argument("--year-days", type=int, default=60, help="days of the coarse grid that are analysed")
    command.add_argument("--members", type=int, default=16)
    command.add_argument("--budget", default="5min")
    command.quick(rows=["year"], year_days=2, members=2, budget="1s")
    command.shared()
    options = command.read(arguments)
    folder = shared_data(options.shared)
    if "europe" in options.rows:
        europe(folder, options.aux, options.days, options.members, options.budget)
    if "year" in options.rows:
        year(folder, options.year_days, options.members, options.budget)


if __name__ == "__main__":
    main()

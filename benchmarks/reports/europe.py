"""Europe from stations, gauges and cloud at their own places, by the defaults of `fit` and `assimilate`.

    python -m benchmarks europe                        # all rows, and linear regressions beside them
    python -m benchmarks europe --rows tas --days 30   # temperature, thirty days of the year
    python -m benchmarks europe --quick                # a small sample, to see that it works

``fit`` gets the reanalysis and the sources of 2000 to 2006 as Observations, and no setting: operators are learned for
every station. The days from July 2007 to June 2008 are analysed from the sources alone, without a background. The
references are linear regressions whose settings are tuned within the training period: one gets the stations, the other
the means of the stations of each cell, for the rows of temperature and precipitation. Further rows have cloud in oktas,
surface radiation by Meteosat (from 2004 on), and extremes of temperature and precipitation at the stations of Trentino,
which end in 2007.

Columns: RMSE of the mean and CRPS, weighted by area; spread over error. Neither the mean of a regression nor that of
antithetic members has a sampling error.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import shared_data
from benchmarks.cases.europe import (
    TESTING,
    TRAINING,
    cell_columns,
    during,
    open_cells,
    open_sources,
    open_state,
    part_of,
    since,
    station_columns,
)
from benchmarks.command import Command
from benchmarks.references.seasonal import COLUMNS, scores
from benchmarks.reports.fit import judge
from benchmarks.tables import head

ROWS = ("pr", "tas", "tas+pr", "tas+pr+cloud", "tas+pr+radiation", "tas+pr+trentino")
# Of these the reference gets the means of the cells.
_IN_CELLS = {"pr", "tas"}


def europe(folder: Path, rows: Sequence[str], days: int | None, years: int, members: int, budget: str) -> None:
    """Print the table of each row."""
    state = open_state(folder)
    state = state.sel(time=slice(since(years), None))
    past = state.sel(time=TRAINING)
    truth = part_of(state.sel(time=TESTING), days)
    for names in rows:
        used = names.split("+")
        sources = open_sources(folder, used)
        start = time.perf_counter()
        model = past.slams.fit([during(source, past) for source in sources], progress=False, budget=budget)
        skills = ", ".join(f"{o.name} {o.held_out_skill:.2f}" for o in model.operators)
        print(f"\nfit: {time.perf_counter() - start:.0f} s; held-out skill of sources: {skills}")
        start = time.perf_counter()
        obs = [during(source, truth) for source in sources]
        analysis = truth.slams.assimilate(obs, model=model, members=members, antithetic=True).compute()
        print(f"assimilate: {time.perf_counter() - start:.0f} s")
        head(COLUMNS, f"Europe from {names}, {truth.sizes['time']} days")
        judge(analysis, truth, "assimilate")
        scores(state, station_columns(sources, state), truth["time"], "regression, stations")
        if set(used) <= _IN_CELLS:
            scores(state, cell_columns(open_cells(folder, state)[used]), truth["time"], "regression, cells")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    command.add_argument("--days", type=int, help="days that are analysed, in stretches of ten; by default the year")
    command.add_argument("--years", type=int, default=0, help="last years of training that are used; by default all")
    command.add_argument("--members", type=int, default=4, help="in antithetic pairs")
    command.add_argument("--budget", default="5min", help="time for the trials of fit, a budget of its own")
    command.quick(rows=["tas"], days=3, years=2, members=2, budget="0")
    command.shared()
    options = command.read(arguments)
    europe(shared_data(options.shared), options.rows, options.days, options.years, options.members, options.budget)


if __name__ == "__main__":
    main()

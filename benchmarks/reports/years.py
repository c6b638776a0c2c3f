"""Models by the defaults of `fit` of one to some decades of a global simulation, on two grids: skill, spread, seconds.

    python -m benchmarks years --more c d --csv docs/years.csv   # an hour of one thread
    python -m benchmarks years --grids 15 --years 1 2            # without further runs: up to four years
    python -m benchmarks years --quick                           # seconds

The fields are temperature on eight levels, precipitation and outgoing longwave radiation, averaged to cells of 15 and
7.5 degrees. Training days come from the first three years of one run and from a second one, each without its first 90
days, in which the stratosphere spins up, and from further runs: FOLDERs of ``part_*.nc`` that `simulate_speedy_t30.py`,
in the folder of the public data, writes. Two of 14 years each make 28 years in all:

    python simulate_speedy_t30.py c 14 2010-04-01
    python simulate_speedy_t30.py d 14 2010-10-01

A row with fewer years has the first days of these. All are judged on the same days of the fourth year of the first run,
which no model has seen: stretches of ten days, analysed without a background from 60 soundings with an error of 1 K,
and precipitation and radiation in every cell. "plain" is the Gaussian from which the search begins (`budget=0`), and
"climatology" the same without any observation.

Columns: settings that the search has changed, whether a network was tried and kept, and the number of trials; seconds
of the processor that `fit` took; RMSE of the mean and CRPS of temperature in K, weighted by area; spread over error.
All three are means of the levels.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

import xslams
from benchmarks.cases import shared_data
from benchmarks.cases.seasons import stretches
from benchmarks.cases.speedy import SPIN_UP, YEAR, coarse, observe_soundings, open_case
from benchmarks.command import Command
from benchmarks.fits import chosen, level_means
from benchmarks.tables import head, row
from examples.train_speedy import open_runs
from xslams.model import Model

#: Cells of T30 along the side of one of a grid, by its degrees.
GRIDS = {"15": 4, "7.5": 2}


class Line(NamedTuple):
    """A row of the table."""

    grid: str
    days: int
    model: str
    settings: str
    network: str
    trials: int
    seconds: float
    rmse: float
    crps: float
    spread_skill: float

    def cells(self) -> list[str]:
        """As a file and a table have them."""
        scores = f"{self.rmse:.3f}", f"{self.crps:.3f}", f"{self.spread_skill:.2f}"
        about = self.grid, str(self.days), self.model, self.settings, self.network, str(self.trials)
        return [*about, f"{self.seconds:.0f}", *scores]


def settings_in_words(model: Model) -> str:
    """Say which settings were chosen; of the spread, which has a factor for each level, that it was corrected."""
    words = {n: "+".join(v) if n == "normal_scores" else v for n, v in chosen(model).items() if n != "epochs"}
    return "; ".join(n if n == "spread" else f"{n} {v}" for n, v in words.items())


def network_in_words(model: Model) -> str:
    """Say whether a network was tried, and kept."""
    kept = [t["kept"] for t in model.spec.training["trials"] if "epochs" in t["change"]]
    return ("kept" if kept[-1] else "refused") if kept else "not tried"


def lines(
    grid: str, training: xr.Dataset, truth: xr.Dataset, obs: list[xslams.Observation], budget: str, members: int
) -> Iterator[Line]:
    """Fit and judge the plain Gaussian and the model by the defaults."""

    def scores(model: Model, obs: list[xslams.Observation]) -> tuple[float, float, float]:
        # The mean of antithetic members has no sampling error to speak of.
        analysis = truth.slams.assimilate(obs, model, members=members, antithetic=True)
        return level_means(analysis.compute(), truth, "t")

    options: dict[str, dict[str, Any]] = {"plain": {"budget": 0}, "fit": {"budget": budget}}
    for name, given in options.items():
        start = time.process_time()
        model = training.slams.fit(["pr", "olr"], progress=False, **given)
        seconds = time.process_time() - start
        trials = len(model.spec.training["trials"])
        about = grid, training.sizes["time"]
        if name == "plain":
            yield Line(*about, "climatology", "", "", 0, seconds, *scores(model, []))
        words = settings_in_words(model), network_in_words(model)
        yield Line(*about, name, *words, trials, seconds, *scores(model, obs))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    command = Command(__name__, __doc__)
    command.add_argument("--grids", nargs="+", choices=GRIDS, default=list(GRIDS), help="degrees")
    command.add_argument("--years", nargs="+", type=int, default=[1, 2, 5, 16, 28], help="as far as there are data")
    command.add_argument("--more", nargs="*", type=Path, default=[], metavar="FOLDER", help="further runs")
    command.add_argument("--judged", type=int, default=120, help="days that are analysed, in stretches of ten")
    command.add_argument("--members", type=int, default=8)
    command.add_argument("--budget", default="5min", help="of each fit")
    command.add_argument("--csv", type=Path, help="file to write the table to")
    command.quick(grids=["15"], years=[1], judged=10, members=2, budget="1s")
    command.shared()
    options = command.read(arguments)
    folder = shared_data(options.shared)
    _, last = open_case(folder, years=0)
    whole = open_runs(options.more, quick=False, data=folder, spin_up=SPIN_UP)
    truths = {grid: coarse(last.isel(time=stretches(YEAR, options.judged)), GRIDS[grid]) for grid in options.grids}
    training = {grid: coarse(whole, GRIDS[grid]).compute() for grid in options.grids}
    # As many years as there are, once.
    most = whole.sizes["time"]
    counts = list(dict.fromkeys(min(years * YEAR, most) for years in options.years))
    del whole

    rows = [list(Line._fields)]
    head(Line._fields, f"{options.judged} days, {options.members} members, a budget of {options.budget} for each fit")
    for grid in options.grids:
        obs = list(observe_soundings(truths[grid]).values())
        for days in counts:
            some = training[grid].isel(time=slice(days))
            for line in lines(grid, some, truths[grid], obs, options.budget, options.members):
                rows.append(line.cells())
                row(rows[-1])
                if options.csv:
                    # After each row: a run that is stopped has what was found.
                    with options.csv.open("w", newline="") as file:
                        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()

"""Accuracy and cost of the solver of moment matching on the global model, for sources of many kinds.

Accuracy: the members of an analysis less those of an analysis from the same noise whose systems are solved to the
precision of the machine, in units of the spread. The root mean square is over all cells, levels, times and members; the
largest difference is divided by the spread of all. Cost: products with the covariance per network call, those of the
first guess included; and the processor time of one member with 16 calls over that of a draw from the prior with as many
calls, in the same process, with one thread. A third table is of what a background is in latents, which is found once
for all members: iterations, and analyses from the same noise less those with latents to the precision of the machine.

    python -m benchmarks solves
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray as xr

import xslams
from benchmarks.cases.speedy import observe
from benchmarks.command import Command
from benchmarks.counting import products
from benchmarks.tables import head, row
from benchmarks.timing import least
from xslams.inference import background_latents
from xslams.inference.guidance import MMPS

#: Settings of a solve to the precision of the machine.
EXACT = MMPS(tolerance=1e-4, largest=1e-3)
#: Options of latents of a background to the precision of the machine.
CONVERGED = {"tolerance": 2e-4, "iterations": 1000}
#: Shares of the cells of a background that are missing, other ones every day.
GAPS = 0.0, 0.3, 0.9
#: Days of the tutorial.
SHORT, LONG = 6, 10


@dataclass(frozen=True)
class Case:
    """Sources over some days.

    Attributes
    ----------
    days
        Number of days.
    sources
        From the truth of these days to the sources.
    options
        Further options of the analysis.
    """

    days: int
    sources: Callable[[xr.Dataset], list[xslams.Observation]]
    options: dict[str, Any] = field(default_factory=dict)

    def truth(self) -> xr.Dataset:
        """Return the days."""
        return xslams.open_tutorial().isel(time=slice(self.days))

    def analyse(self, members: int, steps: int, **options: Any) -> xr.Dataset:
        """Assimilate."""
        truth = self.truth()
        options = {**self.options, "members": members, "steps": steps, "device": "cpu", **options}
        return truth.slams.assimilate(self.sources(truth), "speedy-t30", **options)


def three(truth: xr.Dataset) -> list[xslams.Observation]:
    """Observe by gauges, a satellite and stations."""
    return list(observe(truth).values())


def robust(truth: xr.Dataset) -> list[xslams.Observation]:
    """Give the stations a robust likelihood."""
    seen = observe(truth)
    return [seen["pr"], seen["olr"], seen["t"].replace(qc={"robust": "huber"})]


def thousandfold(truth: xr.Dataset) -> list[xslams.Observation]:
    """Give the stations errors of 0.005 and 5 K."""
    seen = observe(truth)
    data = seen["t"].data
    places = next(str(d) for d in data.dims if d not in ("time", "sigma"))
    errors = np.where(np.random.default_rng(0).random(data.sizes[places]) < 0.5, 0.005, 5.0)
    return [seen["pr"], seen["olr"], xslams.Observation(data, error=xr.DataArray(errors, dims=places))]


def dense(truth: xr.Dataset) -> list[xslams.Observation]:
    """Observe a part of the Pacific of a hundred cells by fifteen hundred thermometers."""
    rng = np.random.default_rng(1)
    places = {"lat": ("station", rng.uniform(30, 60, 1500)), "lon": ("station", rng.uniform(200, 240, 1500))}
    lowest = truth["t"].isel(sigma=slice(0, 2))
    return [xslams.simulate_observations(lowest, stations=xr.Dataset(coords=places), error=1.0, seed=3)]


CASES = {
    "three sources": Case(LONG, three),
    "stations alone": Case(SHORT, lambda truth: [observe(truth)["t"]]),
    "three and a background": Case(SHORT, three, {"background_error": 2.0}),
    "errors that differ a thousandfold": Case(SHORT, thousandfold),
    "denser than the cells": Case(SHORT, dense),
    "robust": Case(SHORT, robust),
}
#: The same information in other words.
REWORDED: dict[str, Callable[[xr.Dataset], list[xslams.Observation]]] = {
    "sources in another order": lambda truth: three(truth)[::-1],
    "a source split in two": lambda truth: [*three(truth)[:2], *_halves(three(truth)[2])],
}


def _halves(source: xslams.Observation) -> list[xslams.Observation]:
    """Split a source at points in two."""
    places = next(str(d) for d in source.data.dims if d not in ("time", "sigma"))
    return [source.replace(data=source.data.isel({places: slice(n, None, 2)}), name=f"t{n}") for n in (0, 1)]


def off(found: xr.Dataset, exact: xr.Dataset) -> tuple[float, float]:
    """Root mean square and largest difference, in units of the spread of `exact`."""
    members = found["t"].sizes["member"]
    difference = found["t"].values - exact["t"].values[:members]
    spread = float(np.sqrt(exact["t"].var("member", ddof=1).mean()))
    return float(np.sqrt((difference**2).mean())) / spread, float(np.abs(difference).max()) / spread


def accuracy(members: int, steps: int, names: Sequence[str], days: int) -> None:
    """Print the first table; no case is longer than `days`."""
    head(["case", "rms", "largest", "products per call", "those of the exact solve"])
    for name in names:
        case = replace(CASES[name], days=min(CASES[name].days, days))
        with products() as count:
            exact = case.analyse(members, steps, guidance=EXACT)
        with products() as fewer:
            found = case.analyse(members, steps)
        calls = members * steps + 1
        row(
            [name, *(f"{x:.1%}" for x in off(found, exact)), f"{fewer.calls / calls:.1f}", f"{count.calls / calls:.0f}"]
        )
        if name == "three sources":
            for words, sources in REWORDED.items():
                other = replace(case, sources=sources).analyse(members, steps)
                row([f"{name}: {words}", *(f"{x:.1%}" for x in off(other, exact)), "", ""])


def cost(members: int, steps: int, repeats: int, days: int) -> None:
    """Print the second table."""
    head(["case", "processor, s", "over the prior"])
    named = ("three sources", "three and a background")
    cases = {"prior": Case(days, lambda _: [])} | {name: replace(CASES[name], days=days) for name in named}
    first = 0.0
    for name, case in cases.items():
        spent = least(lambda case=case: case.analyse(members, steps), repeats).cpu / members  # type: ignore[misc]
        first = first or spent
        row([name, f"{spent:.2f}", f"{spent / first:.1f}"])


@dataclass
class Latents:
    """What latents of backgrounds have cost: iterations of the last solve, and seconds of the processor in all."""

    iterations: int = 0
    seconds: float = 0.0


@contextmanager
def latents(**options: float) -> Iterator[Latents]:
    """Count what the solver of latents of a background does for a while, with other options."""
    original, spent = background_latents.minimum, Latents()

    def counting(*arguments: Any, **given: Any) -> Any:
        start = time.process_time()
        found = original(*arguments, **{**given, **options})
        spent.seconds += time.process_time() - start
        spent.iterations = found[1]
        return found

    background_latents.minimum = counting
    try:
        yield spent
    finally:
        background_latents.minimum = original


def backgrounds(members: int, steps: int, days: int) -> None:
    """Print the third table, by two members: what is wrong with a background is so in all of them."""
    members = min(members, 2)
    head(["background", "iterations", "processor, s", "rms", "largest", "iterations to the precision of the machine"])
    case = replace(CASES["three and a background"], days=days)
    truth = case.truth()
    sources, options = case.sources(truth), {**case.options, "members": members, "steps": steps, "device": "cpu"}
    for share in GAPS:
        kept = np.random.default_rng(0).random(truth["t"].isel(sigma=0).shape) >= share
        where = xr.DataArray(kept, dims=[d for d in truth["t"].dims if d != "sigma"])
        background = truth.assign(t=truth["t"].where(where).assign_attrs(truth["t"].attrs))
        with latents() as spent:
            found = background.slams.assimilate(sources, "speedy-t30", guidance=EXACT, **options)
        with latents(**CONVERGED) as more:
            exact = background.slams.assimilate(sources, "speedy-t30", guidance=EXACT, **options)
        name = f"{1 - share:.0%} of the cells"
        both = (f"{x:.1%}" for x in off(found, exact))
        row([name, f"{spent.iterations}", f"{spent.seconds:.2f}", *both, f"{more.iterations}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--members", type=int, default=4)
    command.add_argument("--steps", type=int, default=16)
    command.add_argument("--repeats", type=int, default=2)
    command.add_argument("--days", type=int, default=LONG, help="days of the second table, and most of the first")
    command.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    command.quick(members=2, steps=1, repeats=1, days=1, cases=["stations alone"])
    args = command.read(arguments)
    torch.set_num_threads(1)
    # What is loaded once is not counted.
    Case(1, lambda _: []).analyse(1, 1)
    accuracy(args.members, args.steps, args.cases, args.days)
    print()
    cost(args.members, args.steps, args.repeats, args.days)
    print()
    backgrounds(args.members, args.steps, args.days)

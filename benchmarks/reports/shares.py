"""Shares of a run that are not sampling: reading the data, loading the model, building the operators.

    python -m benchmarks shares

The cases are those of ``make demo`` and of the documentation's first page: some days of the tutorial, observed by
gauges, a satellite and stations. Seconds are of the processor, on one thread. Reading is that of the tutorial's file,
loading that of the model; building is all that an analysis does before and besides sampling: weights and matrices of
the observations, errors, and the prior's factors. The start of Python and its libraries is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

import xslams
from benchmarks.cases.speedy import observe
from benchmarks.command import Command
from benchmarks.parts import measured
from benchmarks.tables import table
from benchmarks.timing import Stopwatch

#: Days, members and steps.
CASES = {"demo": (10, 8, 32), "tutorial": (3, 8, 16)}


def shares(days: int, members: int, steps: int) -> dict[str, float]:
    """Return the seconds of each part of a run."""
    watch = Stopwatch()
    truth = xslams.open_tutorial().isel(time=slice(20, 20 + days)).load()
    reading = watch.read().cpu
    watch = Stopwatch()
    model = xslams.open_model("speedy-t30")
    model.prior()
    loading = watch.read().cpu
    sources = list(observe(truth).values())
    with measured() as spent:
        truth.slams.assimilate(sources, model, members=members, steps=steps, device="cpu")
    # Not by a watch, which would count the meter itself.
    building = spent["building"].seconds
    sampling = sum(part.seconds for part in spent.values()) - building
    return {"reading": reading, "loading": loading, "building": building, "sampling": sampling}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each case."""
    command = Command(__name__, __doc__)
    command.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    command.add_argument("--members", type=int, help="members, instead of those of the cases")
    command.add_argument("--steps", type=int, help="steps, instead of those of the cases")
    command.quick(cases=["tutorial"], members=1, steps=2)
    options = command.read(arguments)
    torch.set_num_threads(1)
    # What libraries load at their first use belongs to no case.
    shares(2, 1, 1)
    for name in options.cases:
        days, members, steps = CASES[name]
        members, steps = options.members or members, options.steps or steps
        found = shares(days, members, steps)
        rows = {part: [f"{s:.2f}", f"{s / sum(found.values()):.1%}"] for part, s in found.items()}
        table(f"{name}: {days} days, {members} members, {steps} steps", ["processor, s", "share"], rows)

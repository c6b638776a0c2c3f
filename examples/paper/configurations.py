"""Configurations: what each experiment varies, and the sizes of its quick and its full form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from examples.paper.degraded import Degraded

__all__ = ["EXPERIMENTS", "FULL", "QUICK", "Experiment", "Size"]

#: Sources of the four cases, each in addition to the background.
SETS: dict[str, tuple[str, ...]] = {
    "background": (),
    "background, pr": ("pr",),
    "background, pr, olr": ("pr", "olr"),
}


@dataclass(frozen=True)
class Size:
    """How large an experiment is.

    Attributes
    ----------
    coarsen
        Cells of the simulation, of 3.75 degrees, in each direction that make one cell.
    days
        Days of training; all if None.
    judged
        Days of the year of testing over which the cases are spread; all if None.
    cases, frames
        Number of cases, spread over the days of testing, and days of each.
    members, steps
        Of an analysis.
    budget
        Time for `fit` to choose its settings.
    tuned
        Whether optimal interpolation is tuned.
    """

    coarsen: int
    days: int | None
    judged: int | None
    cases: int
    frames: int
    members: int
    steps: int
    budget: str | float
    tuned: bool


FULL = Size(coarsen=2, days=None, judged=None, cases=24, frames=5, members=4, steps=8, budget=0, tuned=True)
QUICK = Size(coarsen=4, days=360, judged=60, cases=3, frames=3, members=4, steps=6, budget=0, tuned=False)


@dataclass(frozen=True)
class Experiment:
    """What is varied.

    Attributes
    ----------
    title
        One line.
    column
        Name of what is varied.
    backgrounds
        Backgrounds by the value of what is varied, in cells of the data.
    sets
        Names in `SETS`.
    references
        Whether climatology, the autoencoder alone and optimal interpolation are shown, too.
    """

    title: str
    column: str
    backgrounds: Mapping[float, Degraded]
    sets: tuple[str, ...] = tuple(SETS)
    references: bool = False


#: Boxes and distances are in cells of the data, which `Size.coarsen` makes larger.
EXPERIMENTS = {
    "cases": Experiment(
        "Pixels and latents, from the background alone and with each further source",
        "coarse",
        {8: Degraded(coarsen=8, noise=0.5)},
        references=True,
    ),
    "coarse": Experiment(
        "The background is coarsened", "coarse", {n: Degraded(coarsen=n, noise=0.5) for n in (4, 8, 12, 16, 24)}
    ),
    "noise": Experiment(
        "The background has more noise, in standard deviations of the climatology", "noise",
        {x: Degraded(coarsen=8, noise=x) for x in (0.1, 0.5, 1.0, 2.0, 4.0)},
    ),
    "sparse": Experiment(
        "Only every n-th cell of the background is given", "every",
        {n: Degraded(every=n, noise=0.5) for n in (4, 8, 12, 16)},
    ),
    "published": Experiment(
        "The published procedure: with the truth encoded, and with the background in its place", "coarse",
        {n: Degraded(coarsen=n, noise=0.5) for n in (4, 8, 16)}, sets=("background",),
    ),
}  # fmt: skip

"""The experiments on systems whose equations are known, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from examples.paper import kolmogorov, lorenz
from examples.paper.systems import table

__all__ = ["KNOWN", "KnownSystem"]


@dataclass(frozen=True)
class KnownSystem:
    """An experiment on a system.

    Attributes
    ----------
    title
        One line.
    by
        Columns that tell one row of its table from another.
    physics
        Columns that tell of physical consistency.
    experiment
        Takes a size and the folder of models; returns one row for each method and case.
    quick, full
        Sizes.
    """

    title: str
    by: tuple[str, ...]
    physics: tuple[str, ...]
    experiment: Callable[[Any, Path], pd.DataFrame]
    quick: Any
    full: Any

    def run(self, folder: Path, *, full: bool, cases: int | None = None) -> pd.DataFrame:
        """Run the experiment.

        Parameters
        ----------
        folder
            Where trained models are kept.
        full
            Whether its size is that of the documentation.
        cases
            Number of cases, in place of that of the size.
        """
        size = self.full if full else self.quick
        return self.experiment(dataclasses.replace(size, cases=cases) if cases else size, folder)

    def table(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Average over the cases."""
        return table(frame, self.by, self.physics)


_FLOW = KnownSystem(
    kolmogorov.TITLE, ("setting", "method"), kolmogorov.PHYSICS, kolmogorov.run, kolmogorov.QUICK, kolmogorov.FULL
)  # fmt: skip
_SATURATED = {"settings": ("saturated",), "cases": 1}
KNOWN = {
    "lorenz": KnownSystem(lorenz.TITLE, ("method",), lorenz.PHYSICS, lorenz.run, lorenz.QUICK, lorenz.FULL),
    "kolmogorov": _FLOW,
    "saturated": dataclasses.replace(
        _FLOW,
        title="Kolmogorov flow, of which a saturated vorticity is observed",
        quick=dataclasses.replace(kolmogorov.QUICK, **_SATURATED),
        full=dataclasses.replace(kolmogorov.FULL, **_SATURATED),
    ),
}

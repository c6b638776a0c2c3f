"""Run an experiment of the paper and print its table; with ``--full`` write the CSV that the documentation shows."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from benchmarks.cases import shared_data
from examples.paper.atmosphere import Atmosphere, era5, speedy
from examples.paper.configurations import EXPERIMENTS, FULL, QUICK, Size
from examples.paper.known import KNOWN
from examples.paper.run import run, run_published
from examples.paper.scoring import summary

ROOT = Path(__file__).resolve().parents[2]
_ERA5 = range(2000, 2010), range(2010, 2011)


def open_atmosphere(name: str, shared: Path | None, size: Size) -> Atmosphere:
    """Open the data of an experiment.

    Parameters
    ----------
    name
        ``"speedy"`` or ``"era5"``.
    shared
        Folder whose ``data/`` holds the simulation.
    size
        Grid and days.
    """
    if name == "era5":
        return era5(*_ERA5, coarsen=size.coarsen)
    return speedy(shared_data(shared), size.coarsen, size.days, size.judged)


def save(frame: pd.DataFrame, path: Path, command: str) -> None:
    """Write a table as CSV whose first line is the command that made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(f"# {command}\n")
        frame.to_csv(file, index=False, float_format="%.5g")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run an experiment."""
    parser = argparse.ArgumentParser(prog="python -m examples.paper", description=__doc__)
    known = {n: e.title for n, e in (EXPERIMENTS | KNOWN).items()}
    parser.add_argument("name", choices=known, help="; ".join(f"{n}: {title}" for n, title in known.items()))
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="seconds, to see that it works; its numbers tell little")
    sizes.add_argument("--full", action="store_true", help="the table of the documentation; an hour on two cores")
    parser.add_argument("--data", choices=("speedy", "era5"), default="speedy")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "paper", help="folder of models and tables")
    parser.add_argument("--shared", type=Path, help="folder whose data/ holds the simulation")
    parser.add_argument("--cases", type=int, help="number of cases")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.name in KNOWN:
        system = KNOWN[options.name]
        frame = system.run(options.out, full=options.full, cases=options.cases)
        shown = system.table(frame).to_string()
    else:
        frame, shown = _of_atmosphere(options)
    path = options.out / f"{options.name}.csv"
    command = f"python -m examples.paper {options.name} --{'full' if options.full else 'quick'}"
    save(frame, path, command + (f" --cases {options.cases}" if options.cases else ""))
    print(f"\n{known[options.name]}\n")
    print(shown)
    print(f"\nWrote {path}.")


def _of_atmosphere(options: argparse.Namespace) -> tuple[pd.DataFrame, str]:
    """Run an experiment on the atmosphere; its rows, and its table as text."""
    size = FULL if options.full else QUICK
    if options.cases:
        size = dataclasses.replace(size, cases=options.cases)
    experiment = EXPERIMENTS[options.name]
    atmosphere = open_atmosphere(options.data, options.shared, size)
    made = run_published if options.name == "published" else run
    frame = made(experiment, atmosphere, size, options.out)
    columns = ["method", "sources", *([experiment.column] if len(experiment.backgrounds) > 1 else [])]
    return frame, summary(frame, columns).to_string(float_format="{:.3f}".format)


if __name__ == "__main__":
    main()

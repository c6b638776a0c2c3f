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
    parser.add_argument("--coarsen", type=int, help="cells of the data in each direction that make one cell")
    parser.add_argument("--no-reference", action="store_true", help="without optimal interpolation")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = options.out / f"{options.name}.csv"
    if options.name in KNOWN:
        system = KNOWN[options.name]
        frame = system.run(options.out, full=options.full, cases=options.cases)
        save(frame, path, _command(options))
        shown = system.table(frame).to_string()
    else:
        shown = _of_atmosphere(options, path)
    print(f"\n{known[options.name]}\n")
    print(shown)
    print(f"\nWrote {path}.")


def _command(options: argparse.Namespace) -> str:
    """Return the command that makes a table, without folders, which are those of one machine."""
    words = [options.name, "--full" if options.full else "--quick"]
    words += [f"--{name} {value}" for name in ("cases", "coarsen") if (value := getattr(options, name))]
    words += [f"--data {options.data}"] * (options.data != "speedy") + ["--no-reference"] * options.no_reference
    return " ".join(["python -m examples.paper", *words])


def _of_atmosphere(options: argparse.Namespace, path: Path) -> str:
    """Run an experiment on the atmosphere, write its table case by case, and return its summary as text."""
    size = FULL if options.full else QUICK
    size = dataclasses.replace(
        size, **{name: value for name in ("cases", "coarsen") if (value := getattr(options, name))}
    )
    experiment = EXPERIMENTS[options.name]
    atmosphere = open_atmosphere(options.data, options.shared, size)
    if options.name == "published":
        parts = run_published(experiment, atmosphere, size, options.out)
    else:
        parts = run(experiment, atmosphere, size, options.out, classical=not options.no_reference)
    done: list[pd.DataFrame] = []
    for part in parts:
        done.append(part)
        save(pd.concat(done, ignore_index=True), path, _command(options))
    columns = ["method", "sources", *([experiment.column] if len(experiment.backgrounds) > 1 else [])]
    return summary(pd.concat(done, ignore_index=True), columns).to_string(float_format="{:.3f}".format)


if __name__ == "__main__":
    main()

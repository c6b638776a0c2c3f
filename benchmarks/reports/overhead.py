"""Costs of labels and dask on top of the bare arithmetic: assimilation through xarray, and on arrays.

The bare loop calls `assimilate_arrays` with matrices and vectors that were made before, segment by segment. The other
way is that of users: a dask-backed Dataset, ``.slams.assimilate`` and ``.compute()``, and with writing to zarr,
``.slams.to_zarr``. Times are of the processor, of all threads together, so that the table does not depend on what else
runs on the machine; wall times stand beside them.

    python -m benchmarks overhead --members 4 --steps 16
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import dask
import numpy as np

import xslams
from benchmarks.cases.speedy import observe
from benchmarks.command import Command
from benchmarks.tables import table
from benchmarks.timing import least
from xslams import observations
from xslams.inference.arrays import assimilate_arrays
from xslams.labels.calendar import time_labels, year_fraction
from xslams.options import ComputeOptions, SamplerOptions
from xslams.pipeline.windows import analysis_windows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    command = Command(__name__, __doc__)
    command.add_argument("--days", type=int, default=30)
    command.add_argument("--members", type=int, default=4)
    command.add_argument("--steps", type=int, default=16)
    command.add_argument("--repeats", type=int, default=2)
    command.quick(days=2, members=1, steps=1, repeats=1)
    args = command.read(arguments)
    model = xslams.open_model("speedy-t30")
    truth = xslams.open_tutorial().isel(time=slice(args.days))
    sources = [source for name, source in observe(truth).items() if name != "pr"]
    lazy = truth.chunk(time=10)
    options = {"members": args.members, "steps": args.steps, "device": "cpu"}
    cut = analysis_windows(args.days, model.spec.window - 1)
    prepared = []
    for segment in cut:
        frames = truth["time"][segment.start : segment.stop]
        arrays = [s.bind(model.spec, frames).likelihood() for s in observations.as_observations(sources)]
        prepared.append((year_fraction(frames), time_labels(frames), arrays))

    def bare() -> None:
        for fraction, labels, arrays in prepared:
            assimilate_arrays(
                model, year_fraction=fraction, labels=labels, sources=arrays, members=list(range(args.members)),
                options=SamplerOptions(steps=args.steps), compute=ComputeOptions(device="cpu"),
            )  # fmt: skip

    def labelled() -> None:
        lazy.slams.assimilate(sources, model, **options).compute()

    def written() -> None:
        with tempfile.TemporaryDirectory() as folder:
            lazy.slams.assimilate(sources, model, **options).slams.to_zarr(Path(folder) / "a.zarr")

    # What is loaded once is not counted.
    truth.isel(time=slice(3)).slams.assimilate([], model, members=1, steps=1, device="cpu")
    with dask.config.set(scheduler="sync"):
        ways = {"bare loop": bare, "xarray and dask": labelled, "the same, to zarr": written}
        rows = {name: least(call, args.repeats) for name, call in ways.items()}
    size = f"{args.days} days, {args.members} members, {args.steps} steps, T30 with 8 levels"
    count = sum(len(a.values) for _, _, arrays in prepared for a in arrays)
    table(
        f"{size}; {count} observations",
        ["processor, s", "wall, s", "overhead (processor)"],
        {
            name: [f"{t.cpu:.2f}", f"{t.clock:.2f}", f"{100 * (t.cpu / rows['bare loop'].cpu - 1):+.1f} %"]
            for name, t in rows.items()
        },
    )
    built = least(lambda: lazy.slams.assimilate(sources, model, **options), 3)
    size = np.prod(lazy["t"].shape) * args.members * 4 / 1e6
    print(f"\nBuilding the lazy result ({size:.0f} MB) takes {built.cpu:.3f} s.")

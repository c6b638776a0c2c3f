"""What the labels and dask cost on top of the bare arithmetic: assimilation through xarray, and on arrays.

The bare loop calls `assimilate_arrays` with matrices and vectors that are there already, segment by segment. The other
way is what users do: a dask-backed Dataset, ``.slams.assimilate`` and ``.compute()``, and with writing to zarr,
``.slams.to_zarr``. Times are of the processor, of all threads together, so that the table does not depend on what else
runs on the machine; wall times stand beside them.

    python -m benchmarks overhead --members 4 --steps 16
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dask
import numpy as np

import xslams
from benchmarks.references.enoi import observe
from xslams import observations
from xslams.inference.arrays import assimilate_arrays
from xslams.labels.calendar import time_labels, year_fraction
from xslams.options import ComputeOptions, SamplerOptions
from xslams.pipeline.windows import analysis_windows


def timed(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least processor and wall time of some calls, in seconds."""
    cpu, wall = [], []
    for _ in range(repeats):
        started = time.process_time(), time.perf_counter()
        call()
        cpu.append(time.process_time() - started[0])
        wall.append(time.perf_counter() - started[1])
    return min(cpu), min(wall)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
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
        rows = {name: timed(call, args.repeats) for name, call in ways.items()}
    size = f"{args.days} days, {args.members} members, {args.steps} steps, T30 with 8 levels"
    print(f"{size}; {sum(len(a.values) for _, _, arrays in prepared for a in arrays)} observations\n")
    print("| way | processor, s | wall, s | overhead (processor) |\n|---|---|---|---|")
    for name, (cpu, wall) in rows.items():
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {100 * (cpu / rows['bare loop'][0] - 1):+.1f} % |")
    built = timed(lambda: lazy.slams.assimilate(sources, model, **options), 3)
    size = np.prod(lazy["t"].shape) * args.members * 4 / 1e6
    print(f"\nBuilding the lazy result ({size:.0f} MB) takes {built[0]:.3f} s.")


if __name__ == "__main__":
    main()

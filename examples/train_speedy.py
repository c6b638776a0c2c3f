"""Train ``speedy-t30``, the embedded model of a global simulation.

    python examples/simulate_speedy.py RUNS                                    # minutes on a GPU
    python examples/train_speedy.py OUT.safetensors --alone --more RUNS/run_*  # minutes on a GPU, hours on two cores
    python examples/train_speedy.py --quick                                    # seconds: some weeks and small layers

Reads two independent runs of SPEEDY (`speedy_t30_daily_4yr.nc`, `speedy_t30_daily_2yr_b.nc`) from the folder of shared
data, unless ``--alone`` is given. The first three years of the first run are for training, its fourth for judging.
FOLDERs of `part_*.nc` hold further runs; `simulate_speedy.py` writes them, and `simulate_speedy_t30.py` in the folder
of shared data.

What is given is what an analysis, the model file and the training cost: latents on a sixteenth of the cells, the number
of modes, one covariance for all longitudes and seasons, the size of the network, and how long it trains. `fit` finds
all else by held-out evidence, within the budget.

The embedded weights are those of one run of both scripts with their defaults on an H200, but for ``--days 300`` and
``--budget 62s``: 38,400 days in six minutes, read and trained on in four (4371 steps of 256 windows). The budget was
enough for the plain Gaussian and the factors of its spread. Errors as a denoiser of held-out windows, relative to the
climatology, are 0.2427 of the Gaussian and 0.1983 with the network.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import xslams  # noqa: F401  (registers .slams)

SHARED = Path(os.environ.get("XSLAMS_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
#: Days at the beginning of a run, in which the stratosphere cools; and days of the first run that are for training.
SPIN_UP, TRAINING = 300, 1095
#: Days of each run with ``--quick``.
DAYS = 100
#: Runs overlap in time. Moved by multiples of four years, after which the calendar repeats, they follow each other.
FOUR_YEARS = np.timedelta64(1461, "D")
#: There is no such multiple across 1900 and 2100, which have no 29 February.
EARLIEST = np.datetime64("1901-01-01", "ns")

#: Batches that keep a GPU busy, and the learning rate and dropout of a network of this size with many windows; GiB of
#: frames in memory.
GIVEN = {
    "patch": 4, "modes": 180, "local": 0, "seasonal": 0, "width": (256, 320), "epochs": 31, "batch": 256,
    "learning_rate": 1.5e-3, "dropout": 0.05, "precision": "bf16", "memory": 32,
}  # fmt: skip
ABOUT = {
    "name": "speedy-t30",
    "summary": "Global daily means of the SPEEDY simulation: temperature on 8 levels, precipitation, outgoing longwave",
    "license": "MIT",
}

QUICK = {
    "epochs": 1, "latent_channels": 8, "modes": 8, "autoencoder_epochs": 1, "width": (8, 16), "precision": "float32",
}  # fmt: skip


def open_runs(
    more: Sequence[Path], *, quick: bool, data: Path | None = None, shared: bool = True, spin_up: int = SPIN_UP
) -> xr.Dataset:
    """Return all runs, one after the other, with gaps between them, which windows do not cross."""
    data = SHARED if data is None else data
    runs = []
    if shared:
        runs = [
            xr.open_dataset(data / "speedy_t30_daily_4yr.nc").isel(time=slice(spin_up, TRAINING)),
            xr.open_dataset(data / "speedy_t30_daily_2yr_b.nc").isel(time=slice(spin_up, None)),
        ]
    for folder in more:
        # Winds and pressure, which are as large again, are not read.
        run = xr.concat(
            [xr.open_dataset(part)[["t", "pr", "olr"]] for part in sorted(folder.glob("part_*.nc"))], dim="time"
        )
        if "level" in run.dims:
            # `simulate_speedy_t30.py` leaves the spin-up to its readers, and `simulate_speedy.py` leaves it out.
            run = run.rename(level="sigma").isel(time=slice(spin_up, None))
        runs.append(run.assign_coords(time=run["time"].dt.floor("D")))
    if quick:
        firsts = [max(min(n * DAYS, run.sizes["time"] - DAYS), 0) for n, run in enumerate(runs)]
        runs = [run.isel(time=slice(first, first + DAYS)) for first, run in zip(firsts, runs, strict=True)]
    fields, free = [], EARLIEST
    for n, run in enumerate(runs):
        first = run["time"].values[0]
        moved = run["time"] + np.ceil((free - first) / FOUR_YEARS).astype(int) * FOUR_YEARS
        # A day between two runs is enough for the gap.
        free = moved.values[-1] + np.timedelta64(2, "D")
        part = run[["t", "pr", "olr"]].astype("float32").assign_coords(time=moved)
        # Units and names are those of the first run, and so are grid and levels.
        fields.append(part.drop_attrs() if n else part)
    # The gap between the runs keeps windows from crossing it.
    return xr.concat(
        fields, dim="time", data_vars="minimal", coords="minimal", compat="override", join="override",
        combine_attrs="override",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and save the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path("speedy-t30.safetensors"))
    parser.add_argument("--more", nargs="*", type=Path, default=[], help="folders of further runs")
    parser.add_argument("--alone", action="store_true", help="train on further runs alone")
    parser.add_argument("--budget", default="5min", help="time for what `fit` tries")
    parser.add_argument("--log", type=Path, help="a .csv file of what the training did")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it works")
    options = parser.parse_args(arguments)
    ds = open_runs(options.more, quick=options.quick, shared=not options.alone)
    # A quick run tries nothing.
    settings = {"budget": 0} | GIVEN | QUICK if options.quick else {"budget": options.budget} | GIVEN
    model = ds.slams.fit(aux=["pr", "olr"], window=5, seed=0, log=options.log, **settings, **ABOUT)
    print("saved", model.save(options.out))


if __name__ == "__main__":
    main()

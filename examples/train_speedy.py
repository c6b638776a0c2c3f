"""Train ``speedy-t30``, the embedded model of a global simulation.

    python examples/train_speedy.py [--more FOLDER ...] [--budget 90min] [--precision bf16] [--quick] [OUT.safetensors]

Reads two independent runs of SPEEDY (`speedy_t30_daily_4yr.nc`, `speedy_t30_daily_2yr_b.nc`) from the folder of shared
data. The first three years of the first run are for training, its fourth for judging. FOLDERs of `part_*.nc`, which
`simulate_speedy_t30.py` in the same folder writes, hold further runs. The embedded weights had two more, made by

    python simulate_speedy_t30.py c 14 2010-04-01
    python simulate_speedy_t30.py d 14 2010-10-01

The first 90 days of each run are left out, as its stratosphere is still warming up. All else is what `fit` finds by
itself within the budget. ``--quick`` takes seconds, and makes the same file of some weeks and small layers.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import xslams  # noqa: F401  (registers .slams)

SHARED = Path(os.environ.get("XSLAMS_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
SPIN_UP, TRAINING = 90, 1095
#: Days of each run with ``--quick``.
DAYS = 100
#: Runs overlap in time. Moved by multiples of 28 years, after which the calendar repeats, they follow each other.
APART = np.timedelta64(10227, "D")

ABOUT = {
    "name": "speedy-t30",
    "summary": "Global daily means of the SPEEDY simulation: temperature on 8 levels, precipitation, outgoing longwave",
    "license": "MIT",
}

QUICK = {
    "budget": 0, "epochs": 1, "patch": 4, "latent_channels": 8, "modes": 8, "width": (8, 16), "precision": "float32",
}  # fmt: skip


def open_runs(more: Sequence[Path], *, quick: bool, data: Path | None = None) -> xr.Dataset:
    """Return all runs, one after the other, with gaps between them, which windows do not cross."""
    data = SHARED if data is None else data
    runs = [
        xr.open_dataset(data / "speedy_t30_daily_4yr.nc").isel(time=slice(SPIN_UP, TRAINING)),
        xr.open_dataset(data / "speedy_t30_daily_2yr_b.nc").isel(time=slice(SPIN_UP, None)),
    ]
    for folder in more:
        # Winds and pressure, which are as large again, are not read.
        parts = [xr.open_dataset(part)[["t", "pr", "olr"]] for part in sorted(folder.glob("part_*.nc"))]
        run = xr.concat(parts, dim="time").rename(level="sigma").isel(time=slice(SPIN_UP, None))
        runs.append(run.assign_coords(time=run["time"].dt.floor("D")))
    if quick:
        runs = [run.isel(time=slice(n * DAYS, (n + 1) * DAYS)) for n, run in enumerate(runs)]
    fields = []
    for n, run in enumerate(runs):
        part = run[["t", "pr", "olr"]].astype("float32").assign_coords(time=run["time"] + n * APART)
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
    parser.add_argument("--budget", default="90min", help="time for trials and training")
    parser.add_argument("--precision", default="float32", help="of the training of the network: float32 or bf16")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it works")
    options = parser.parse_args(arguments)
    ds = open_runs(options.more, quick=options.quick)
    settings = QUICK if options.quick else {"budget": options.budget, "precision": options.precision}
    model = ds.slams.fit(aux=["pr", "olr"], window=5, seed=0, **settings, **ABOUT)
    print("saved", model.save(options.out))


if __name__ == "__main__":
    main()

"""Train ``speedy-t30``, the embedded model of a global simulation.

    python examples/simulate_speedy.py RUNS                            # minutes on a GPU
    python examples/train_speedy.py OUT.safetensors --more RUNS/run_*  # minutes on a GPU, hours on two cores
    python examples/train_speedy.py --quick                            # seconds: some weeks and small layers

Reads two independent runs of SPEEDY (`speedy_t30_daily_4yr.nc`, `speedy_t30_daily_2yr_b.nc`) from the folder of shared
data, unless ``--alone`` is given. The first three years of the first run are for training, its fourth for judging.
FOLDERs of `part_*.nc` hold further runs; `simulate_speedy.py` writes them, and `simulate_speedy_t30.py` in the folder
of shared data. With ``--budget`` no setting is given, and `fit` searches.

The embedded weights were trained in three stages; this script was not run from start to end with all of the data.

1. `simulate_speedy.py` made 128 runs of 200 days, and this script a model of them alone (``--alone --epochs 67``, width
   and batch as below), both on an H200 in nine minutes. The runs began after 90 days, when the stratosphere has not yet
   cooled: the climatology of the upper two levels was too warm by 1.7 K.
2. Climatology, scale of the latents and Gaussian prior were estimated anew from 10,080 days, without the first year of
   each run: the second run of the shared data and two of 14 years, made by

       python simulate_speedy_t30.py c 14 2010-04-01
       python simulate_speedy_t30.py d 14 2010-10-01

3. The network was trained on these for 42 minutes more on two cores (3261 steps of 32 windows in bfloat16, a learning
   rate from 3e-4 to nothing).

Errors as a denoiser of held-out windows, relative to the climatology: 0.2503 of the Gaussian of the second stage,
0.2026 with the network of the first, 0.1977 with that of the third. Errors of the analysis of all three sources on 72
days of the fourth year are 1.555 K (CRPS 0.815) after the first stage, whose network took 6231 steps of 256 windows,
and 1.539 K (0.799) after the third. The weights before, a network a sixth as large after 5000 steps of 32 windows, had
1.634 K (0.850).

Other choices helped, by the error of the linear analysis of all three sources on twelve days of the fourth year:

- 6025 days in place of 1645, and latents whose channels are uncorrelated in every cell: 1.78 K instead of 1.86 K. On
  the 1645 days, uncorrelated latents alone gave 1.84 K.
- Four annual harmonics in the mean: two are worse by 0.03 K, five and more again worse.
- Precipitation enters as a square root beyond 2 mm/day; a logarithm was worse than no transform.
- The denoiser has a Gaussian prior, homogeneous along latitude circles, from which the network starts. A localised
  covariance that also differs along latitude circles, mixed with the homogeneous one, would bring the error of the same
  analysis down to 1.70 K.
"""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import xslams  # noqa: F401  (registers .slams)
from xslams.options import TrainingOptions

SHARED = Path(os.environ.get("XSLAMS_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
#: Days at the beginning of a run, in which the stratosphere cools; and days of the first run that are for training.
SPIN_UP, TRAINING = 300, 1095
#: Days of each run with ``--quick``.
DAYS = 100
#: Runs overlap in time. Moved by multiples of four years, after which the calendar repeats, they follow each other.
FOUR_YEARS = np.timedelta64(1461, "D")
#: There is no such multiple across 1900 and 2100, which have no 29 February.
EARLIEST = np.datetime64("1901-01-01", "ns")

OPTIONS = TrainingOptions(
    epochs=25, latent_channels=48, patch=4, hidden=64, modes=180, folds=0, mean_order=4, std_order=1,
    autoencoder_epochs=6, width=(256, 320), dropout=0.05, precision="bf16", batch=256, learning_rate=1.5e-3,
    memory=32,
)  # fmt: skip
ABOUT = {
    "name": "speedy-t30",
    "summary": "Global daily means of the SPEEDY simulation: temperature on 8 levels, precipitation, outgoing longwave",
    "license": "MIT",
}

QUICK = {
    "epochs": 1, "latent_channels": 8, "hidden": 8, "modes": 8, "autoencoder_epochs": 1, "width": (8, 16),
    "precision": "float32",
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
    parser.add_argument("--epochs", type=int, help="passes of the score network")
    parser.add_argument("--width", type=int, nargs="+", help="of the score network")
    parser.add_argument("--log", type=Path, help="a .csv file of what the training did")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--budget", help="time for a search by `fit` and for training, in place of given settings")
    either.add_argument("--quick", action="store_true", help="seconds, to see that it works")
    options = parser.parse_args(arguments)
    ds = open_runs(options.more, quick=options.quick, shared=not options.alone)
    if options.budget:
        settings = {"budget": options.budget, "precision": OPTIONS.precision}
    else:
        # All settings are given: nothing is tried, and no variable is left out for what a few held-out frames say.
        settings = {"budget": 0, **dataclasses.asdict(OPTIONS), **(QUICK if options.quick else {})}
    settings |= {name: given for name in ("epochs", "width") if (given := getattr(options, name)) is not None}
    model = ds.slams.fit(aux=["pr", "olr"], window=5, seed=0, log=options.log, **settings, **ABOUT)
    print("saved", model.save(options.out))


if __name__ == "__main__":
    main()

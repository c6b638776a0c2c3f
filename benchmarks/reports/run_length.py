"""Peak memory of the workers against the length of the run: daily T30 analyses of 1, 4 and 16 years, streamed to zarr.

A LocalCluster of processes writes each run by ``to_zarr``. Peak memory is the largest resident set that the kernel has
seen of each worker, in a new cluster for every length. 200 stations report every day and are in memory, another 200 are
lazy, as from files.

By default the network is left out (``--network`` puts it back) and members and steps are few: memory depends on neither
the number of steps nor on how good the analysis is. ``--small`` takes a model of 8 x 16 cells, trained for a second,
with its network: there a region is small, so that whatever grows with the number of regions shows.

    python -m benchmarks run_length --years 1 4 16
    python -m benchmarks run_length --years 1 4 16 --small
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from distributed import Client, LocalCluster

import xslams
from benchmarks.cases.waves import train, waves
from benchmarks.command import Command
from benchmarks.tables import head, row
from benchmarks.timing import alone, peak_memory
from xslams.model import Model


def background(ds: xr.Dataset, days: int) -> xr.Dataset:
    """Lazy fields of many years."""
    import dask.array as da

    shape = (days, *ds["t"].shape[1:])
    values = da.zeros(shape, chunks=(30, *shape[1:]), dtype="float32") + ds["t"].mean("time").values
    template = ds.isel(time=0, drop=True).expand_dims(time=pd.date_range("2000-01-01", periods=days))
    return template.assign(t=template["t"].copy(data=values)).assign_attrs(ds.attrs)


def stations(ds: xr.Dataset, name: str, count: int = 200) -> xslams.Observation:
    """Temperature near the ground at stations, every day; lazy where that is their name."""
    import dask.array as da

    lazy = name == "lazy"
    rng = np.random.default_rng(lazy)
    shape = ds.sizes["time"], count
    data = xr.DataArray(
        da.random.default_rng(1).normal(285, 10, shape, chunks=(30, count)) if lazy else rng.normal(285, 10, shape),
        dims=("time", "station"),
        coords={
            "time": ds["time"],
            "lat": ("station", rng.uniform(-80, 80, count)),
            "lon": ("station", rng.uniform(0, 360, count)),
            **({"sigma": ds["sigma"][0]} if "sigma" in ds.dims else {}),
        },
        name="t",
        attrs={"units": "K", "standard_name": "air_temperature"},
    )
    return xslams.Observation(data, error=3.0, name=name)


def without_network(folder: Path) -> Path:
    """Write the global model with its Gaussian prior alone."""
    from dataclasses import replace

    from xslams.priors.latent import LatentPrior

    model = xslams.open_model("speedy-t30")
    spec = replace(model.spec, architecture=model.spec.architecture | {"width": []})
    networks = LatentPrior(spec)
    networks.load_state_dict({k: v for k, v in model.prior().state_dict().items() if not k.startswith("score.")})
    return Model(spec, prior=networks.eval().requires_grad_(False)).save(folder / "gaussian.safetensors")


def small(folder: Path) -> tuple[xr.Dataset, Path]:
    """Fields on a coarse sphere, and a model of them."""
    path = folder / "waves.safetensors"
    alone(train, path)
    return waves(60), path


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    command = Command(__name__, __doc__)
    command.add_argument("--years", type=float, nargs="+", default=[1, 4, 16])
    command.add_argument("--members", type=int, default=1)
    command.add_argument("--steps", type=int, default=2)
    command.add_argument("--workers", type=int, default=1)
    command.add_argument("--network", action="store_true", help="with the score network")
    command.add_argument("--small", action="store_true", help="with a model of 8 x 16 cells")
    command.quick(years=[0.1], small=True)
    args = command.read(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.small:
            fields, model = small(folder)
        else:
            fields = xslams.open_tutorial()[["t"]]
            model = xslams.open_model("speedy-t30").path if args.network else without_network(folder)
        for years in args.years:
            days = round(365.25 * years)
            ds = background(fields, days)
            with (
                LocalCluster(n_workers=args.workers, threads_per_worker=1, dashboard_address=":0") as cluster,
                Client(cluster) as client,
            ):
                started = time.perf_counter()
                analysis = ds.slams.assimilate(
                    [stations(ds, "in memory"), stations(ds, "lazy")],
                    model,
                    members=args.members,
                    steps=args.steps,
                    device="cpu",
                )
                built = time.perf_counter() - started
                before = max(client.run(peak_memory).values()) / 1e6
                written = analysis.slams.to_zarr(folder / f"{years}.zarr")
                after = max(client.run(peak_memory).values()) / 1e6
                seconds = time.perf_counter() - started
            rows.append((years, days, analysis["t"].nbytes / 1e6, built, before, after, peak_memory() / 1e6, seconds))
            assert written.sizes["time"] == days
            print(f"{years:g} years: {after:.0f} MB", flush=True)
    what = "small model" if args.small else f"T30, {'with' if args.network else 'without'} the network"
    head(
        [
            "years",
            "days",
            "result, MB",
            "graph built in, s",
            "worker at start, MB",
            "worker at most, MB",
            "client, MB",
            "s",
        ],
        f"{what}, {args.workers} workers, {args.members} members, {args.steps} steps",
    )
    for years, days, size, built, *rest in rows:
        row([f"{years:g}", days, f"{size:.0f}", f"{built:.1f}", *(f"{value:.0f}" for value in rest)])

"""Assimilate on a cluster of processes, kill a worker meanwhile, and write the analysis to zarr region by region.

On a real cluster, give the address of its scheduler instead of making a cluster here::

    python examples/cluster.py --scheduler tcp://head-node:8786

Workers with a GPU declare it, so that each computes one region at a time on it::

    dask worker tcp://head-node:8786 --nthreads 2 --resources "GPU=1"
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import xarray as xr
from distributed import Client, LocalCluster

import xslams


def world(days: int) -> xr.Dataset:
    """Build a long background out of the tutorial's sixty days, dask-backed as one from disk would be."""
    days_there = xslams.open_tutorial()
    count = -(-days // days_there.sizes["time"])
    ds = xr.concat([days_there] * count, "time").isel(time=slice(days))
    return ds.assign_coords(time=pd.date_range("2003-12-15", periods=days)).chunk(time=30)


def main(days: int, members: int, steps: int, workers: int, scheduler: str | None, kill: bool, out: Path) -> None:
    """Run it, and say what happened."""
    background = world(days)
    stations = xslams.simulate_observations(
        background["t"].isel(sigma=slice(0, 2)).compute(), stations=200, error=1.0, seed=1
    )
    with ExitStack() as stack:
        if scheduler is None:
            scheduler = stack.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, resources={"GPU": 1}, dashboard_address=":0")
            )
        client = stack.enter_context(Client(scheduler))
        started = time.perf_counter()
        analysis = background.slams.assimilate([stations], "speedy-t30", members=members, steps=steps)
        size, tasks = analysis["t"].nbytes / 1e6, len(analysis["t"].data.dask)
        print(f"lazy analysis of {size:.0f} MB: {tasks} tasks in {time.perf_counter() - started:.1f} s")
        if kill:
            pids = client.run(os.getpid)
            victim = next(iter(pids.values()))
            print(f"worker {victim} will be killed in ten seconds; its region is computed again by another")
            timer = threading.Timer(10, os.kill, (victim, signal.SIGKILL))
            timer.start()
            stack.callback(timer.cancel)
        started = time.perf_counter()
        done = analysis.slams.to_zarr(out, resume=True, progress=True)
        seconds = time.perf_counter() - started
    print(f"{days} days x {members} members in {seconds:.0f} s; complete: {bool(done.attrs['xslams_complete'])}; {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", help="address of a cluster that runs already")
    parser.add_argument("--kill", action="store_true", help="kill a worker on the way (a local cluster's)")
    parser.add_argument("--out", type=Path, default=Path("out/cluster.zarr"))
    args = parser.parse_args()
    if args.out.exists():
        print(f"{args.out} is there already; it is made anew.")
        shutil.rmtree(args.out)
    main(args.days, args.members, args.steps, args.workers, args.scheduler, args.kill, args.out)

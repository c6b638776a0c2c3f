"""Throughput against workers and members, and what grids of other sizes need, with the limits beside it.

Throughput is in frames of a member per second: of wall time, and of processor time of the workers, which does not
depend on what else runs on the machine. The limits are what the same processor does at its best, one thread, on
products of large matrices (operations) and on copies (bytes).

Operations of the score network are counted by torch on a device without memory, so that a grid of a quarter of a degree
needs no large machine. Operations of the Gaussian prior are those of its projections and of the matrices in time.

    python -m benchmarks scaling --days 60 --steps 4
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from distributed import Client, LocalCluster
from torch.utils.flop_counter import FlopCounterMode

import xslams
from benchmarks.cases.speedy import observe_stations
from benchmarks.command import Command
from benchmarks.counting import products
from benchmarks.tables import head, row
from benchmarks.timing import least
from xslams.pipeline import windows
from xslams.priors.latent import LatentPrior

GRIDS = {"T30": (48, 96), "1.5 degrees": (120, 240), "0.25 degrees": (720, 1440)}


def limits() -> tuple[float, float]:
    """Operations and bytes per second of this processor, one thread, single precision."""
    torch.set_num_threads(1)
    a = torch.randn(1024, 1024)
    operations = 2 * 1024**3 / least(lambda: a @ a, 5).cpu
    x, y = torch.randn(2**25), torch.empty(2**25)
    return operations, 2 * 4 * 2**25 / least(lambda: y.copy_(x), 5).cpu


def needs(lat: int, lon: int, length: int) -> dict[str, float]:
    """Operations per frame and network call, and bytes, of a model like the global one on another grid."""
    spec = xslams.open_model("speedy-t30").spec
    spec = replace(
        spec, lat=tuple(np.linspace(-89, 89, lat).tolist()), lon=tuple((np.arange(lon) * 360 / lon).tolist())
    )
    with torch.device("meta"):
        networks = LatentPrior(spec)
        shape = (1, spec.window, *networks.autoencoder.latent_shape)
        windows = torch.empty(shape)
        assert networks.score is not None
        with FlopCounterMode(display=False) as counter:
            networks.score(windows, windows, torch.empty(1), torch.empty(1))
    # A window answers for all but its first and last frame.
    network = counter.get_total_flops() / (spec.window - 2)
    prior = networks.gaussian
    blocks, size, modes = prior.blocks, prior.size, prior.modes.shape[2]
    # Complex products count four times; there and back, for the mean and for each product with the covariance.
    gaussian = 4 * blocks * (3 * 2 * size * modes + 2 * 2 * modes * length + 2 * 2 * size * length)
    latent, fields = math.prod(shape[2:]), math.prod(spec.frame_shape)
    return {
        "latent": latent,
        "network": network,
        "gaussian": gaussian,
        "weights": sum(p.numel() * 4 for p in [*networks.parameters(), *networks.buffers()]),
        "basis": 8 * blocks * modes * (size + length**2),
        "member": 4 * length * (24 * latent + 8 * fields),
        "result": 4 * math.prod((spec.state_channels, lat, lon)),
    }


def products_of(steps: int) -> float:
    """Count the products with the Gaussian covariance per network call that the guidance of stations takes."""
    truth = xslams.open_tutorial().isel(time=slice(10))
    stations = observe_stations(truth)
    with products() as count:
        truth.slams.assimilate([stations], "speedy-t30", members=1, steps=steps, device="cpu")
    return count.calls / steps


def throughput(workers: int, members: int, days: int, steps: int) -> tuple[float, float]:
    """Frames of a member per second of wall time and of processor time."""
    truth = xslams.open_tutorial().isel(time=slice(days))
    stations = observe_stations(truth)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):

        def analyse(name: str, part: slice, members: int) -> None:
            lazy = truth.isel(time=part).chunk(time=30)
            lazy.slams.assimilate([stations], "speedy-t30", members=members, steps=steps, device="cpu").slams.to_zarr(
                Path(folder) / name
            )

        # Whatever a worker does once is not counted.
        client.run(_warm)
        before = sum(client.run(time.process_time).values()), time.perf_counter()
        analyse("run.zarr", slice(None), members)
        cpu = sum(client.run(time.process_time).values()) - before[0]
        return days * members / (time.perf_counter() - before[1]), days * members / cpu


def _warm() -> None:
    truth = xslams.open_tutorial().isel(time=slice(3))
    truth.slams.assimilate([], "speedy-t30", members=1, steps=1, device="cpu")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--days", type=int, default=60)
    command.add_argument("--steps", type=int, default=4)
    command.add_argument("--grids", nargs="+", choices=GRIDS, default=list(GRIDS))
    command.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    command.add_argument("--members", type=int, nargs="+", default=[1, 4])
    command.quick(days=2, steps=1, grids=["1.5 degrees"], workers=[1], members=[1])
    args = command.read(arguments)
    length = windows.CORE + 2 * (xslams.open_model("speedy-t30").spec.window - 1)
    operations, bandwidth = limits()
    print(f"One thread at its best: {operations / 1e9:.1f} G operations/s, {bandwidth / 1e9:.1f} GB/s")
    head([
        "grid", "latent elements", "network, G op", "Gaussian, G op", "model, MB", "a member's segment, MB",
        "a frame, MB",
    ])  # fmt: skip
    for name in args.grids:
        n = needs(*GRIDS[name], length)
        row([
            name, f"{n['latent']:,}", f"{n['network'] / 1e9:.2f}", f"{n['gaussian'] / 1e9:.3f}",
            f"{(n['weights'] + n['basis']) / 1e6:,.0f}", f"{n['member'] / 1e6:,.0f}", f"{n['result'] / 1e6:,.1f}",
        ])  # fmt: skip
    need = needs(*GRIDS["T30"], length)
    # The Gaussian is also the mean of every call; the overlap is computed as well.
    found = products_of(args.steps)
    count = args.steps * (need["network"] + (1 + found) * need["gaussian"]) * length / windows.CORE
    print(f"\nT30, {args.steps} steps of {found:.1f} products: {count / 1e9:.1f} G operations per frame, at most")
    print(f"{operations / count:.1f} frames/s and thread")
    head(["workers", "members", "frames/s", "frames per processor second", "share of the limit"])
    for workers in args.workers:
        for members in args.members:
            wall, cpu = throughput(workers, members, args.days, args.steps)
            row([workers, members, f"{wall:.2f}", f"{cpu:.2f}", f"{cpu * count / operations:.0%}"])

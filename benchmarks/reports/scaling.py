"""What grids of other sizes need, and how cost grows with members, frames, observations and cells.

The measurements are of models of random weights with four levels, 31 x 60 cells, 15 frames, one member, gauges, OLR and
stations unless varied, in analyses of one call whose solver takes three iterations: the number of products is then the
same for all, and what grows is the cost of one. Each has a process of its own. The bounds beside them are operations at
the speed of products of large matrices, and bytes at the speed of copies, both of this processor, one thread.

Operations of the score network are counted by torch on a device without memory, so that a grid of a quarter of a degree
needs no large machine. Operations of the Gaussian prior are those of its projections and of the matrices in time.

    python -m benchmarks scaling --csv docs/scaling.csv
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import xslams
from benchmarks.cases.sizes import Size, background, observations, operations, random_model
from benchmarks.command import Command
from benchmarks.counting import products
from benchmarks.parts import measured
from benchmarks.tables import head, row
from benchmarks.timing import alone, least, peak_memory
from xslams.inference.guidance import MMPS
from xslams.pipeline import windows
from xslams.priors.latent import LatentPrior

GRIDS = {"T30": (48, 96), "1.5 degrees": (120, 240), "0.25 degrees": (720, 1440)}
LEVELS = 4


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


@dataclass(frozen=True)
class Run:
    """What is varied.

    Attributes
    ----------
    members, frames
        Numbers of them.
    gauges
        Spacing of the grid of gauges in degrees, which is what varies the number of observations.
    lat, lon
        Cells.
    """

    members: int = 1
    frames: int = 15
    gauges: float = 2.5
    lat: int = 31
    lon: int = 60

    @property
    def size(self) -> Size:
        """Size of the model."""
        return Size(self.lat, self.lon, LEVELS)


#: Runs along each axis.
AXES = {
    "members": [Run(), Run(members=2), Run(members=4)],
    "frames": [Run(frames=8), Run(), Run(frames=30)],
    "observations": [Run(gauges=5.0), Run(), Run(gauges=1.0)],
    "grid": [Run(lat=16, lon=32), Run(), Run(lat=61, lon=120)],
}


def measure(run: Run) -> dict[str, float]:
    """Analyse by one call; seconds of the processor, peak of memory, numbers of values, products and calls."""
    torch.set_num_threads(1)
    model = random_model(run.size)
    truth = background(model, run.frames)
    sources = observations(truth, run.gauges)
    start = time.process_time()
    with products() as count, measured() as spent:
        truth[["t"]].slams.assimilate(
            sources, model, members=run.members, steps=1, device="cpu", batch_size=1, guidance=MMPS(iterations=3)
        )
    seconds = time.process_time() - start
    values = sum(int(o.data.notnull().sum()) for o in sources)
    return {
        "seconds": seconds, "building": spent["building"].seconds, "memory": peak_memory(), "values": values,
        "products": count.calls, "calls": spent["network"].calls,
    }  # fmt: skip


def bounds(run: Run, found: dict[str, float]) -> tuple[float, float]:
    """Operations, and bytes that cannot but be moved: modes, fields and latents, once for each product."""
    work, calls = operations(run.size, run.frames), found["calls"]
    count = found["products"] + calls
    moved = work["modes"] + 4 * run.frames * (2 * work["latent"] + 2 * math.prod(run.size.spec().frame_shape))
    return calls * work["network"] + count * (work["prior"] + work["decoder"]), count * moved


def along(axis: str, rate: float, bandwidth: float) -> list[tuple[str, float, float, float, float, float, float]]:
    """Measure along an axis, and print it."""
    head([axis, "processor, s", "building, s", "peak, MB", "operations, s", "bytes, s"])
    rows = []
    for run in AXES[axis]:
        found = alone(measure, run)
        x = {"members": run.members, "frames": run.frames, "observations": found["values"], "grid": run.size.cells}[
            axis
        ]
        count, moved = bounds(run, found)
        cells = found["seconds"], found["building"], found["memory"] / 1e6, count / rate, moved / bandwidth
        rows.append((axis, float(x), *cells))
        row([f"{x:,.0f}", f"{cells[0]:.2f}", f"{cells[1]:.2f}", f"{cells[2]:.0f}", *(f"{c:.2f}" for c in cells[3:])])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--grids", nargs="+", choices=GRIDS, default=list(GRIDS), help="grids of the first table")
    command.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    command.add_argument("--csv", type=Path, help="file to write the measurements to")
    command.quick(grids=["1.5 degrees"], axes=[])
    args = command.read(arguments)
    length = windows.CORE + 2 * (xslams.open_model("speedy-t30").spec.window - 1)
    rate, bandwidth = limits()
    print(f"One thread at its best: {rate / 1e9:.1f} G operations/s, {bandwidth / 1e9:.1f} GB/s")
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
    print()
    rows = []
    for axis in args.axes:
        rows += along(axis, rate, bandwidth)
        print()
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["axis", "value", "seconds", "building", "memory", "operations", "bytes"])
            writer.writerows([axis, f"{x:.0f}", *(f"{c:.3f}" for c in cells)] for axis, x, *cells in rows)

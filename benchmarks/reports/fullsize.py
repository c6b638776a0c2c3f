"""A member at 1.5 degrees: seconds, memory and operations of every part, and by their slopes, of a quarter of a degree.

The model has random weights: 10 levels of temperature and two auxiliary variables on 121 x 240 cells, 57 latents for
each patch of 4 x 4. It is drawn over 29 frames with gauges, OLR in boxes of 2.5 degrees, 1000 stations and a background
in every cell. Every grid has a process of its own.

What a call of each part costs is measured in an analysis of few calls, whose systems are solved by a fixed number of
iterations. A member is then `--calls` calls with `--products` products of prior, decoder and operators in each; the
defaults are the calls of an analysis, and the products that the global model takes with a background in every cell
(`python -m benchmarks solves`). Seconds are of the processor, one thread; on a GPU, of a clock.

    python -m benchmarks fullsize
    python -m benchmarks fullsize --device cuda --grids 121x240
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.cases.sizes import Size, background, observations, operations, random_model
from benchmarks.command import Command
from benchmarks.counting import products
from benchmarks.parts import PARTS, Spent, measured
from benchmarks.tables import head, row
from benchmarks.timing import alone, peak_memory
from xslams.inference.guidance import MMPS

#: Cells of a grid of a quarter of a degree.
QUARTER = Size(721, 1440)
#: Parts whose cost does not depend on the number of calls.
ONCE = ("building", "decoding", "noise", "rest")


@dataclass(frozen=True)
class Found:
    """What an analysis of few calls cost.

    Attributes
    ----------
    size
        Of the model.
    parts
        By part.
    products
        Products with the covariance.
    peak
        Largest memory of the process, in bytes.
    """

    size: Size
    parts: dict[str, Spent]
    products: int
    peak: float

    def once(self, name: str) -> float:
        """Seconds of a part for each call of the network, or else for each product.

        The estimate that a call begins with takes as long as a product, and the observations are predicted once.
        """
        calls = self.parts["network"].calls
        return self.parts[name].seconds / (calls if name == "network" else self.products + calls)

    def of_member(self, name: str, calls: int, each: int) -> float:
        """Seconds of a part for a member of some calls with `each` products."""
        if name in ONCE:
            return self.parts[name].seconds
        return self.once(name) * (calls if name == "network" else calls * (each + 1))


def analyse(size: Size, frames: int, calls: int, iterations: int, device: str) -> Found:
    """Analyse with few calls; in a process of its own, as the peak of memory is that of the process."""
    torch.set_num_threads(1)
    model = random_model(size)
    truth = background(model, frames)
    sources = observations(truth)
    given = truth[["t"]]
    # What is loaded once is not counted.
    options = {"members": 1, "device": device, "background_error": 2.0, "guidance": MMPS(iterations=iterations)}
    if device != "cpu":
        given.slams.assimilate(sources, model, steps=1, **options)
    with products() as count, measured(device) as spent:
        given.slams.assimilate(sources, model, steps=calls, **options)
    return Found(size, spent, count.calls, max(peak_memory(), *(s.memory for s in spent.values())))


def per_part(found: Found, frames: int, calls: int, each: int) -> None:
    """Print what the parts of a grid cost."""
    size = found.size
    counted = {name: n for name, n in operations(size, frames).items() if name in PARTS}
    head(
        ["part", "s per product or call", "G operations", "peak, GB", "s a member"],
        f"{size.lat} x {size.lon} cells, {frames} frames; {calls} calls, {each} products in each",
    )
    total = 0.0
    for name in [*PARTS, "rest"]:
        member = found.of_member(name, calls, each)
        total += member
        once = f"{found.once(name):.3f}" if name not in ONCE else ""
        work = f"{counted[name] / 1e9:.1f}" if name in counted else ""
        row([name, once, work, f"{found.parts[name].memory / 1e9:.2f}", f"{member:.1f}"])
    row(["all", "", "", f"{found.peak / 1e9:.2f}", f"{total:.1f}"])


def extrapolated(small: Found, large: Found, calls: int, each: int) -> None:
    """Print how cost grows with the number of cells, and what a quarter of a degree would need."""
    step, far = (math.log(a.cells / b.cells) for a, b in ((large.size, small.size), (QUARTER, large.size)))
    grids = (f"{s.lat} x {s.lon}" for s in (small.size, large.size, QUARTER))
    head(["part", "s a member", "slope", "s at 0.25 degrees"], f"Cells: {', '.join(grids)}")
    total = np.zeros(2)
    for name in [*PARTS, "rest"]:
        before, after = (max(f.of_member(name, calls, each), 1e-3) for f in (small, large))
        slope = math.log(after / before) / step
        there = after * math.exp(slope * far)
        total += after, there
        row([name, f"{after:.1f}", f"{slope:.2f}", f"{there:,.0f}"])
    row(["all", f"{total[0]:.1f}", "", f"{total[1]:,.0f}"])
    # The libraries take the same memory on every grid, so that memory is a line and not a power.
    slope = (large.peak - small.peak) / (large.size.cells - small.size.cells)
    there = large.peak + slope * (QUARTER.cells - large.size.cells)
    row(["peak of memory, GB", f"{large.peak / 1e9:.2f}", f"{slope / 1e3:.0f} kB a cell", f"{there / 1e9:,.0f} GB"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--grids", nargs="+", default=["61x120", "121x240"], help="cells as LATxLON, coarsest first")
    command.add_argument("--levels", type=int, default=10)
    command.add_argument("--frames", type=int, default=29)
    command.add_argument("--steps", type=int, default=1, help="calls of the analyses that are measured")
    command.add_argument("--iterations", type=int, default=3, help="iterations of their solver in each")
    command.add_argument("--calls", type=int, default=32, help="calls of a member")
    command.add_argument("--products", type=int, default=26, help="products in each call of a member")
    command.add_argument("--device", default="cpu")
    command.quick(grids=["9x16", "17x32"], levels=2, frames=5, iterations=1)
    args = command.read(arguments)
    found: list[Found] = []
    for grid in args.grids:
        lat, lon = map(int, grid.split("x"))
        size = Size(lat, lon, args.levels)
        found.append(alone(analyse, size, args.frames, args.steps, args.iterations, args.device))
        per_part(found[-1], args.frames, args.calls, args.products)
    if len(found) > 1:
        extrapolated(found[-2], found[-1], args.calls, args.products)

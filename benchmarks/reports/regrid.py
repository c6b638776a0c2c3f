"""Regridding: time and memory of weights and of applying them, and the size of task graphs. Prints tables.

    python -m benchmarks regrid                              # all, two minutes on one core
    python -m benchmarks regrid --tables weights
    python -m benchmarks regrid --step 0.5 --tables weights apply graph

Every row runs in a process of its own, with an empty cache. Times are those of a clock, and of the processor in
brackets, as machines may be shared; memory is the largest that the process held, libraries included (the first row).
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import xarray as xr

from benchmarks.command import Command
from benchmarks.tables import table
from benchmarks.timing import Stopwatch, Times, alone, peak_memory
from xslams.labels.grid import geometry_of
from xslams.regrid import regrid
from xslams.weights import grid_weights, store

METHODS = ("bilinear", "conservative", "nearest")
KINDS = ("grid", "curvilinear")


def fine(step: float, kind: str = "grid") -> xr.Dataset:
    """Coordinates of a global grid with rows at both poles; or of one that is bent."""
    lat = np.linspace(90, -90, round(180 / step) + 1)
    lon = np.arange(0, 360, step)
    if kind == "grid":
        return xr.Dataset(coords={"lat": lat, "lon": lon})
    lon2, lat2 = np.meshgrid(lon, lat)
    lat2 = (1 - 0.004 * step) * lat2 + 0.1 * step * np.sin(np.deg2rad(lon2))
    return xr.Dataset(coords={"lat": (("y", "x"), lat2), "lon": (("y", "x"), lon2)})


def coarse() -> xr.Dataset:
    """Coordinates at 1.5 degrees."""
    return xr.Dataset(coords={"lat": np.linspace(-90, 90, 121), "lon": np.arange(0, 360, 1.5)})


def points(count: int) -> xr.Dataset:
    """Coordinates of points all over the sphere."""
    rng = np.random.default_rng(0)
    lat, lon = np.rad2deg(np.arcsin(rng.uniform(-1, 1, count))), rng.uniform(-180, 180, count)
    return xr.Dataset(coords={"lat": ("point", lat), "lon": ("point", lon)})


def field(grid: xr.Dataset, times: int) -> xr.DataArray:
    """Make a field on a grid, block by block."""
    import dask.array

    dims = tuple(str(d) for d in geometry_of(grid).dims)
    shape = tuple(grid.sizes[d] for d in dims)
    data = dask.array.random.default_rng(0).random((times, *shape), chunks=(1, *shape), dtype="f4")
    return xr.DataArray(data, dims=("time", *dims), coords=grid.coords, name="x")


def measure_weights(step: float, kind: str, method: str, target: str, edges: str) -> dict[str, float]:
    """Build weights."""
    import scipy.spatial  # noqa: F401  (not part of the work)

    wanted = coarse() if target == "grid" else points(1_000_000)
    source, to = geometry_of(fine(step, kind)), geometry_of(wanted)
    if method == "none":
        return {"memory": peak_memory() / 1e6}
    watch = Stopwatch()
    weights = grid_weights(source, to, method, edges)  # type: ignore[arg-type]
    spent = watch.read()
    return {"clock": spent.clock, "cpu": spent.cpu, "memory": peak_memory() / 1e6, "entries": weights.nnz}


def measure_apply(step: float, kind: str, method: str, times: int) -> dict[str, float]:
    """Regrid frames one after the other, the weights being built or read by the first of them."""
    import dask

    data = field(fine(step, kind), times)
    target = coarse()
    store.weights_between(geometry_of(data), geometry_of(target), method)  # type: ignore[arg-type]
    lazy = regrid(data, target, method)  # type: ignore[arg-type]
    spent = []
    with dask.config.set(scheduler="single-threaded"):
        for what in (data, lazy):
            what[:1].mean().compute()
            watch = Stopwatch()
            what.mean().compute()
            spent.append(watch.read())
    # Without the making of the frames.
    clock, cpu = ((b - a) / times for a, b in zip(*spent, strict=True))
    return {"clock": clock, "cpu": cpu, "memory": peak_memory() / 1e6}


def measure_graph(step: float, kind: str, times: int) -> dict[str, float]:
    """Size of what regridding adds to a graph, as it is sent to a scheduler, and of one task."""
    data = field(fine(step, kind), times)
    watch = Stopwatch()
    lazy = regrid(data, coarse(), "conservative")
    clock = watch.read().clock
    layers = [layer for name, layer in lazy.data.dask.layers.items() if name not in data.data.dask.layers]
    before = set(data.data.dask)
    tasks = {k: v for k, v in dict(lazy.data.dask).items() if k not in before and "coordinates" not in str(k)}
    return {
        "clock": clock,
        "graph": len(pickle.dumps(layers)),
        "task": max(len(pickle.dumps(v)) for v in tasks.values()),
    }


MEASURES: dict[str, Callable[..., dict[str, float]]] = {
    "weights": measure_weights,
    "apply": measure_apply,
    "graph": measure_graph,
}


def run(name: str, *arguments: object) -> dict[str, float]:
    """Measure in a fresh process, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        return alone(_measure, cache, name, *arguments)


def _measure(cache: str, name: str, *arguments: object) -> dict[str, float]:
    os.environ["XSLAMS_CACHE"] = cache
    return MEASURES[name](*arguments)


def weights(step: float, methods: Sequence[str]) -> None:
    """Weights."""
    nothing = run("weights", step, "grid", "none", "grid", "")
    rows = {"nothing but the coordinates": ["", f"{nothing['memory']:.0f}", ""]}
    cases = [(k, m, "grid", "great_circle") for k in KINDS for m in methods]
    cases += [("grid", m, "grid", "parallel") for m in methods if m != "nearest"]
    cases += [("grid", m, "points", "great_circle") for m in methods if m != "conservative"]
    for kind, method, target, edges in cases:
        result = run("weights", step, kind, method, target, edges)
        to = "1.5 degrees" if target == "grid" else "1,000,000 points"
        name = f"{method}, {kind} to {to}" + (", parallels" if edges == "parallel" else "")
        seconds = Times(result["clock"], result["cpu"]).text(digits=2)
        rows[name] = [seconds, f"{result['memory']:.0f}", f"{result['entries']:,.0f}"]
    table(f"Weights from {step} degrees", ["seconds", "memory, MB", "entries"], rows)


def apply(step: float, methods: Sequence[str]) -> None:
    """Apply weights."""
    rows = {}
    for method in methods:
        for times in (10, 40):
            result = run("apply", step, "grid", method, times)
            milliseconds = Times(result["clock"], result["cpu"]).text(1e3, 0)
            rows[f"{method}, {times} frames"] = [milliseconds, f"{result['memory']:.0f}"]
    title = f"Applying them to float32 frames of {step} degrees, one dask chunk each, one after the other"
    table(title, ["milliseconds a frame", "memory, MB"], rows)


def graph(step: float, methods: Sequence[str]) -> None:
    """Graphs, which are the same for all methods."""
    rows = {}
    for kind in KINDS:
        for times in (10, 100, 1000):
            result = run("graph", step, kind, times)
            sizes = (f"{result[name]:,.0f}" for name in ("graph", "task"))
            rows[f"{kind}, {times} chunks"] = [*sizes, f"{result['clock']:.2f}"]
    title = f"What regridding from {step} degrees to 1.5 adds to a graph"
    table(title, ["bytes in all", "bytes of the largest task", "seconds to build"], rows)


TABLES = {"weights": weights, "apply": apply, "graph": graph}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    command = Command(__name__, __doc__)
    command.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    command.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    command.add_argument("--step", type=float, default=0.25, help="degrees of the source")
    command.quick(tables=["apply"], methods=["nearest"], step=5.0)
    options = command.read(arguments)
    for name in options.tables:
        TABLES[name](options.step, options.methods)

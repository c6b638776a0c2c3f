"""Regridding: time and memory of weights and of applying them, and the size of task graphs. Prints tables.

    python -m benchmarks regrid                              # all, two minutes on one core
    python -m benchmarks regrid --tables weights
    python -m benchmarks regrid --step 0.5 --tables weights apply graph

Every row runs in a process of its own, with an empty cache. Times are those of a clock, and of the processor in
brackets, as machines may be shared; memory is the largest that the process held, libraries included (the first row).
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import xarray as xr

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


def peak() -> float:
    """Largest memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure_weights(step: float, kind: str, method: str, target: str, edges: str) -> dict[str, float]:
    """Build weights."""
    import scipy.spatial  # noqa: F401  (not part of the work)

    wanted = coarse() if target == "grid" else points(1_000_000)
    source, to = geometry_of(fine(step, kind)), geometry_of(wanted)
    if method == "none":
        return {"memory": peak()}
    clock, cpu = time.perf_counter(), time.process_time()
    weights = grid_weights(source, to, method, edges)  # type: ignore[arg-type]
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    return {"clock": clock, "cpu": cpu, "memory": peak(), "entries": weights.nnz}


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
            clock, cpu = time.perf_counter(), time.process_time()
            what.mean().compute()
            spent.append((time.perf_counter() - clock, time.process_time() - cpu))
    # Without the making of the frames.
    clock, cpu = ((b - a) / times for a, b in zip(*spent, strict=True))
    return {"clock": clock, "cpu": cpu, "memory": peak()}


def measure_graph(step: float, kind: str, times: int) -> dict[str, float]:
    """Size of what regridding adds to a graph, as it is sent to a scheduler, and of one task."""
    data = field(fine(step, kind), times)
    clock = time.perf_counter()
    lazy = regrid(data, coarse(), "conservative")
    clock = time.perf_counter() - clock
    layers = [layer for name, layer in lazy.data.dask.layers.items() if name not in data.data.dask.layers]
    before = set(data.data.dask)
    tasks = {k: v for k, v in dict(lazy.data.dask).items() if k not in before and "coordinates" not in str(k)}
    return {
        "clock": clock,
        "graph": len(pickle.dumps(layers)),
        "task": max(len(pickle.dumps(v)) for v in tasks.values()),
    }


MEASURES = {"weights": measure_weights, "apply": measure_apply, "graph": measure_graph}


def run(name: str, *arguments: object) -> dict[str, float]:
    """Measure in a fresh process."""
    with tempfile.TemporaryDirectory() as cache:
        out = subprocess.run(
            [sys.executable, "-m", "benchmarks", "regrid", "--measure", json.dumps([name, *arguments])],
            env={**os.environ, "XSLAMS_CACHE": cache},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return dict(json.loads(out.stdout.splitlines()[-1]))


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |")
    print("|---|" + "---:|" * (len(columns) - 1))
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def seconds(result: dict[str, float]) -> str:
    """Time of a clock and of the processor."""
    return f"{result['clock']:.2f} ({result['cpu']:.2f})"


def weights(step: float) -> None:
    """Weights."""
    rows = [
        ["nothing but the coordinates", "", f"{run('weights', step, 'grid', 'none', 'grid', '')['memory']:.0f}", ""]
    ]
    cases = [(k, m, "grid", "great_circle") for k in KINDS for m in METHODS]
    cases += [("grid", m, "grid", "parallel") for m in METHODS[:2]]
    cases += [("grid", m, "points", "great_circle") for m in ("bilinear", "nearest")]
    for kind, method, target, edges in cases:
        result = run("weights", step, kind, method, target, edges)
        to = "1.5 degrees" if target == "grid" else "1,000,000 points"
        name = f"{method}, {kind} to {to}" + (", parallels" if edges == "parallel" else "")
        rows.append([name, seconds(result), f"{result['memory']:.0f}", f"{result['entries']:,.0f}"])
    table(f"Weights from {step} degrees", ["", "seconds", "memory, MB", "entries"], rows)


def apply(step: float) -> None:
    """Apply weights."""
    rows = []
    for method in METHODS:
        for times in (10, 40):
            result = run("apply", step, "grid", method, times)
            milliseconds = f"{1e3 * result['clock']:.0f} ({1e3 * result['cpu']:.0f})"
            rows.append([method, str(times), milliseconds, f"{result['memory']:.0f}"])
    title = f"Applying them to float32 frames of {step} degrees, one dask chunk each, one after the other"
    table(title, ["", "frames", "milliseconds a frame", "memory, MB"], rows)


def graph(step: float) -> None:
    """Graphs."""
    rows = []
    for kind in KINDS:
        for times in (10, 100, 1000):
            result = run("graph", step, kind, times)
            rows.append(
                [kind, str(times), f"{result['graph']:,.0f}", f"{result['task']:,.0f}", f"{result['clock']:.2f}"]
            )
    title = f"What regridding from {step} degrees to 1.5 adds to a graph"
    table(title, ["", "chunks", "bytes in all", "bytes of the largest task", "seconds to build"], rows)


TABLES = {"weights": weights, "apply": apply, "graph": graph}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--step", type=float, default=0.25, help="degrees of the source")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, *arguments = json.loads(options.measure)
        print(json.dumps(MEASURES[name](*arguments)))
        return
    for name in options.tables:
        TABLES[name](options.step)


if __name__ == "__main__":
    main()

"""Costs of observations and benefits of quality control. Prints the tables of docs/observations.md.

    python -m benchmarks observations                        # all; about five minutes on one idle core
    python -m benchmarks observations --tables cost errors   # a few minutes

``cost``      a million reports at random places and times in one window of five days: time and memory to build the
              likelihood, to apply it, and its size, for several kinds of quality control.
``analysis``  the same reports in an analysis with the embedded model: time and memory.
``errors``    a mean of n reports in one cell: its error as stated, and as it is.
``gross``     temperature at 300 stations, of whose values one in twenty has a gross error: RMSE and CRPS of the
              analysis with a Gaussian likelihood, a background check, and robust likelihoods.

Every row runs in a process of its own, so that the peak of its memory is its own. Times are those of a clock, and of
the processor in brackets, as machines may be shared.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import xarray as xr

import xslams
from benchmarks.command import Command
from benchmarks.tables import head, row
from benchmarks.timing import Stopwatch, alone, peak_memory

FRAMES = 5
QC: dict[str, dict[str, object] | None] = {
    "as they are": None,
    "thinned to 200 km": {"thin": 200.0},
    "averaged in the model's cells": {"superob": True},
    "averaged in boxes of 100 km": {"superob": 100.0},
    "Student likelihood": {"robust": "student-t"},
    "bias of the source": {"bias_error": 1.0},
}


def reports(count: int, seed: int = 0) -> xr.DataArray:
    """Satellite-like reports of OLR at random places and times of the tutorial's first days."""
    truth = xslams.open_tutorial()["olr"].isel(time=slice(0, FRAMES)).load()
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, FRAMES, count)
    lat, lon = np.rad2deg(np.arcsin(rng.uniform(-1, 1, count))), rng.uniform(-180, 180, count)
    order = np.argsort(truth["lat"].values)
    middles = np.convolve(truth["lat"].values[order], [0.5, 0.5], "valid")
    row = order[np.searchsorted(middles, lat)]
    column = np.rint((lon % 360) / 3.75).astype(int) % 96
    values = truth.values[frame, row, column] + rng.normal(0, 10, count)
    return xr.DataArray(
        values.astype(np.float32), dims="obs", name="olr", attrs=truth.attrs,
        coords={
            "time": ("obs", truth["time"].values[frame] + rng.integers(0, 12, count) * np.timedelta64(1, "h")),
            "lat": ("obs", lat),
            "lon": ("obs", lon),
        },
    )  # fmt: skip


def cost(count: int, kind: str) -> list[str]:
    """Build and apply the likelihood."""
    import torch

    from xslams.inference.operators import FieldOperator
    from xslams.labels.calendar import year_fraction

    model = xslams.open_model("speedy-t30")
    data = reports(count)
    base = peak_memory()
    obs = xslams.Observation(data, error=10.0, qc=QC[kind])
    watch = Stopwatch()
    arrays = obs.to_arrays(model.spec, frames())
    built, memory = watch.read().text(), (peak_memory() - base) / 2**30
    season = torch.as_tensor(year_fraction(frames()), dtype=torch.float32)
    operator = FieldOperator(model.prior().fields(season), [arrays])
    z = torch.zeros((1, FRAMES, *model.prior().shape))
    forward, adjoint = operator.linearize(z)
    watch = Stopwatch()
    for _ in range(3):
        adjoint(forward(z))
    product = watch.read().text(1e3 / 3, 0)
    size = sum(a.nbytes for a in (arrays.matrix.data, arrays.matrix.indices, arrays.matrix.indptr)) / 2**20
    return [f"{arrays.values.size:,}", built, f"{memory:.2f}", f"{size:.0f}", product]


def frames() -> xr.DataArray:
    """Frames of the window."""
    return xslams.open_tutorial()["time"].isel(time=slice(0, FRAMES))


def analysis(count: int, kind: str) -> list[str]:
    """One member with twelve network calls."""
    data = reports(count)
    truth = xslams.open_tutorial().isel(time=slice(0, FRAMES)).load()
    grid = truth[["t"]]
    base = peak_memory()
    watch = Stopwatch()
    obs = xslams.Observation(data, error=10.0, qc=QC[kind])
    result = grid.slams.assimilate(obs, "speedy-t30", members=1, steps=12, report=True)
    took = watch.read().text(digits=0)
    table = result.slams.report().isel(source=0)
    rmse = float(result.slams.score(truth["t"])["rmse"].mean())
    std = table["innovation_std"].values
    return [
        f"{int(table['used']):,}", f"{int(table['likelihood']):,}", took, f"{(peak_memory() - base) / 2**30:.2f}",
        f"{std[0]:.1f}", f"{std[1]:.1f}", f"{rmse:.2f}",
    ]  # fmt: skip


def errors(count: int, kind: str) -> list[str]:
    """Stated and actual error of means in a cell."""
    n = int(kind)
    spec = xslams.open_model("speedy-t30").spec
    rng = np.random.default_rng(0)
    cells = 2000
    lat, lon = rng.choice(np.asarray(spec.lat)[4:-4], cells), rng.choice(np.asarray(spec.lon), cells)
    places = np.unique(np.stack([lat, lon]), axis=1)
    cells = places.shape[1]
    data = xr.DataArray(
        rng.normal(0, 3.0, (1, cells * n)) + 240.0, dims=("time", "report"), name="olr", attrs={"units": "W m-2"},
        coords={
            "time": frames().values[:1],
            "lat": ("report", np.tile(places[0], n)),
            "lon": ("report", np.tile(places[1], n)),
        },
    )  # fmt: skip
    arrays = xslams.Observation(data, error=3.0, qc={"superob": True}).to_arrays(spec, frames())
    return [f"{np.sqrt(arrays.errors.variance.mean()):.3f}", f"{arrays.values.std():.3f}", f"{3 / n**0.5:.3f}"]


LIKELIHOODS: dict[str, dict[str, object] | None] = {
    "Gaussian, no gross errors": None,
    "Gaussian": None,
    "background check at 4": {"background_check": 4.0},
    "Huber": {"robust": "huber"},
    "Student": {"robust": "student-t"},
}


def gross(count: int, kind: str) -> list[str]:
    """Analysis of temperature with stations, some of whose values have gross errors."""
    truth = xslams.open_tutorial().isel(time=slice(10, 13)).load()
    levels = truth["t"].sel(sigma=[0.95, 0.51, 0.2], method="nearest")
    obs = xslams.simulate_observations(levels, stations=300, error=1.0)
    rng = np.random.default_rng(1)
    gross_errors = rng.random(obs.data.shape) < (0.0 if kind.startswith("Gaussian,") else 0.05)
    shape = gross_errors.shape
    added = gross_errors * rng.choice([-1, 1], shape) * rng.uniform(8, 30, shape)
    data = obs.data + xr.DataArray(added, dims=obs.data.dims)
    obs = obs.replace(data=data.assign_attrs(obs.data.attrs), qc=LIKELIHOODS[kind])
    result = truth[["t"]].slams.assimilate(obs, "speedy-t30", members=4, steps=12, antithetic=True, report=True)
    scores = result.slams.score(truth["t"])
    table = result.slams.report().isel(source=0)
    rejected, down = int(table["rejected"].sel(reason="background")), int(table["downweighted"])
    return [f"{float(scores[s].mean()):.3f}" for s in ("rmse", "crps", "spread_skill")] + [
        str(int(gross_errors.sum())), str(rejected), str(down),
    ]  # fmt: skip


TABLES: dict[str, tuple[Callable[[int, str], list[str]], list[str], list[str]]] = {
    "cost": (cost, list(QC), ["values", "build, s", "memory, GiB", "matrix, MiB", "J* J, ms"]),
    "analysis": (
        analysis,
        ["as they are", "averaged in the model's cells"],
        ["used", "in the likelihood", "s", "memory, GiB", "innovation before", "after", "RMSE of t, K"],
    ),
    "errors": (errors, ["1", "4", "25", "100"], ["stated", "actual", "3 / sqrt(n)"]),
    "gross": (
        gross,
        list(LIKELIHOODS),
        ["RMSE, K", "CRPS, K", "spread/error", "gross errors", "rejected", "down-weighted"],
    ),
}


def _row(name: str, count: int, kind: str) -> list[str]:
    warnings.simplefilter("ignore", xslams.errors.SlamsWarning)
    return TABLES[name][0](count, kind)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    command.add_argument("--count", type=int, default=1_000_000, help="number of reports")
    command.add_argument("--rows", type=int, default=None, help="only the first rows of each table")
    command.quick(tables=["cost", "errors"], count=1000, rows=1)
    options = command.read(arguments)
    for name in options.tables:
        _, rows, columns = TABLES[name]
        head([name, *columns])
        for kind in rows[: options.rows]:
            row([kind, *alone(_row, name, options.count, kind)])

"""Global, multi-level, multimodal: temperature from simulated gauges, satellite and stations, next to the reference.

    python -m benchmarks speedy                               # 12 stretches of 10 days, spread over the validation year
    python -m benchmarks speedy --days 365 --stride 365       # the whole year

The truth is the fourth year of a global simulation; the model has seen the first three. Every row adds a source. The
analysis is made with the public API and the shipped weights, from observations alone (`background_error=None`). The
classical reference (`benchmarks.references.enoi`) has the same observations, and is judged on the same days, and on the
whole year.

Columns: RMSE of the mean and CRPS, both weighted by area, pooled over days, averaged over levels, in K; spread over
error; then RMSE/CRPS by level, lowest first. Members are antithetic, since the mean of the reference has no sampling
error either; with `--independent` that of M members has one of spread^2 / M, which `RMSE` then includes. CRPS of an
ensemble is the fair estimate, comparable with that of a Gaussian, and spread over error is that of `spread_skill` in
`xslams.scores`; both know of pairs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

import xslams
from benchmarks.cases import shared_data
from benchmarks.cases.speedy import ROWS, YEAR, observe, open_case
from benchmarks.command import Command
from benchmarks.counting import counted
from benchmarks.references.enoi import Reference, header
from xslams.model import Model
from xslams.pipeline.windows import analysis_windows
from xslams.priors.windows import pieces

Array = npt.NDArray[np.int64]


class Calls:
    """Counts how many windows of one member went through the score network, and how many there were."""

    def __init__(self) -> None:
        self.evaluated = 0
        self.windows = 0

    @property
    def per_member_and_window(self) -> float:
        """Network calls per member and window."""
        return self.evaluated / max(self.windows, 1)

    @contextmanager
    def count(self, model: Model, frames: int, members: int) -> Iterator[None]:
        """Count during one analysis of `frames` frames."""
        window = model.spec.window
        for w in analysis_windows(frames, overlap=window - 1):
            self.windows += members * len(pieces(w.stop - w.start, window, 1, "interior"))
        with counted(model.prior().score) as count:
            yield
        self.evaluated += count.samples


def stretches(days: int, stride: int, context: int) -> list[tuple[slice, slice]]:
    """Days to analyse, and which of these to judge: `context` more on either side, as in any longer analysis."""
    out = []
    for start in range(0, YEAR - min(days, YEAR) + 1, stride):
        stop = min(start + days, YEAR)
        first, last = max(start - context, 0), min(stop + context, YEAR)
        out.append((slice(first, last), slice(start - first, stop - first)))
    return out


def analyse(
    model: Model,
    truth: xr.Dataset,
    observations: dict[str, xslams.Observation],
    row: str,
    cut: Sequence[tuple[slice, slice]],
    calls: Calls,
    members: int,
    **options: Any,
) -> xr.Dataset:
    """Analyse every stretch and return the days that are judged."""
    parts = []
    for days, judged in cut:
        part = truth.isel(time=days)
        obs = [observations[n].replace(data=observations[n].data.isel(time=days)) for n in ROWS[row]]
        with calls.count(model, part.sizes["time"], members):
            analysis = part.slams.assimilate(obs, model, members=members, **options)
        parts.append(analysis.isel(time=judged))
    return xr.concat(parts, dim="time")


def line(name: str, scores: xr.Dataset) -> str:
    """One line of the table, as those of the reference; then spread over error by level."""
    rmse, crps, ratio = (scores[v].values for v in ("rmse", "crps", "spread_skill"))
    levels = " ".join(f"{r:4.2f}/{c:4.2f}" for r, c in zip(rmse, crps, strict=True))
    # The ratio of level means, as in the reference.
    total = (ratio * rmse).sum() / rmse.sum()
    ratios = " ".join(f"{r:4.2f}" for r in ratio)
    return f"{name:<26} {rmse.mean():6.3f} {crps.mean():6.3f} {total:6.2f}   {levels}   {ratios}"


def _reference(reference: Reference, rows: Sequence[str], windows: Sequence[int], judged: Array) -> None:
    """Print the rows of the reference, on the days that are judged and on the whole year."""
    for days in windows:
        for row in rows:
            if ROWS[row] or days == 1:
                analysis = reference.row(row, days)
                print(reference.score(analysis, judged).line(f"EnOI {row}, {days} d"), flush=True)
                if judged.size < YEAR:
                    print(reference.score(analysis).line("     (whole year)"), flush=True)
    print()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    command = Command(__name__, __doc__)
    command.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    command.add_argument("--days", type=int, default=10, help="length of a stretch")
    command.add_argument("--stride", type=int, default=30, help="days from the start of a stretch to that of the next")
    command.add_argument("--context", type=int, default=4, help="days on either side of a stretch, not judged")
    command.add_argument("--members", type=int, default=16)
    command.add_argument("--independent", action="store_true", help="independent members in place of antithetic pairs")
    command.add_argument("--model", default="speedy-t30", help="name or path")
    command.add_argument("--steps", type=int, default=None)
    command.add_argument("--guidance", default=None)
    command.add_argument("--device", default=None)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--windows", nargs="*", type=int, default=[1, 3], help="windows of the reference, in days")
    command.add_argument("--no-reference", action="store_true")
    command.add_argument("--no-analysis", action="store_true")
    command.shared()
    command.quick(rows=["pr"], days=2, stride=400, context=0, members=2, steps=1, no_reference=True)
    options = command.read(arguments)

    training, truth = open_case(shared_data(options.shared), years=0 if options.no_reference else 3)
    cut = stretches(options.days, options.stride, options.context)
    judged = np.concatenate([np.arange(YEAR)[days][kept] for days, kept in cut])
    print(f"{judged.size} days of the validation year in {len(cut)} stretches; {options.members} members\n")
    print(header(truth["sigma"].values))
    if not options.no_reference:
        _reference(Reference([training], truth), options.rows, options.windows, judged)
    if options.no_analysis:
        return
    observations = observe(truth)
    model = xslams.open_model(options.model)
    given = {k: v for k in ("steps", "guidance", "device") if (v := getattr(options, k)) is not None}
    summary = []
    for row in options.rows:
        calls, start = Calls(), time.perf_counter()
        analysis = analyse(
            model, truth, observations, row, cut, calls, options.members,
            antithetic=not options.independent, seed=options.seed, **given,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        scores = analysis[["t"]].slams.score(truth[["t"]])
        print(line(f"{model.spec.name} {row}", scores), flush=True)
        summary.append(f"{row}: {seconds:.0f} s, {calls.per_member_and_window:.0f} network calls per member and window")
    print("\n" + "\n".join(summary))

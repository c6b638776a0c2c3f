"""Daily air temperature over North America from real instruments, next to the classical reference.

    python -m benchmarks ncep                          # everything, with the shipped model
    python -m benchmarks ncep --rows stations          # stations alone
    python -m benchmarks ncep --days 31                # the first month of the test period

The model has seen NCEP fields from 2013-01-01 to 2014-06-30. The daily fields of 2014-07-01 to 2014-12-31 are judged.
They are analysed from observations alone (`background_error=None`): USCRN stations, and monthly ERSST where `sst` is in
the row. Biases and errors of the instruments are estimated in the training period. The fields of the test period are
used for scores and nothing else.

Data of marine stations exist for May 2013 only, which lies in the training period, where scores of the shipped model
would be too good. The rows of that month therefore come from a Gaussian prior, and from calibrations, that have not
seen 2013-05-16 to 2013-06-07, and are judged on the last half of May; the first half gives the biases of the buoys.
They show what buoys add, and are not comparable with the other rows.

Columns: RMSE of the mean and CRPS, weighted by area over the whole domain, and spread, in K; spread over error. Members
are antithetic, since the mean of the reference has no sampling error either; with `--independent` that of M members has
one of spread^2 / M, which `RMSE` then includes. CRPS of an ensemble is the fair estimate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scoringrules import crps_normal

import xslams
from benchmarks.cases import shared_data
from benchmarks.cases.ncep import (
    TESTING,
    TRAINING,
    Array,
    buoy_observation,
    open_fields,
    open_sst,
    open_stations,
    sst_observation,
    station_observations,
)
from benchmarks.command import Command
from benchmarks.counting import counted
from benchmarks.references.oi import REFERENCES
from xslams.model import Model

ROWS = ("stations", "stations+sst")
MAY = slice("2013-05-16", "2013-05-31")
#: Left out of training and calibration for the rows of May: the days that are judged, and a week after them.
_HIDDEN = slice("2013-05-16", "2013-06-07")
#: As in examples/train_ncep.py, without a network.
_GAUSSIAN = {
    "patch": 1, "modes": 300, "lags": 4, "mean_order": 1, "std_order": 0, "localization": 3000.0, "smoothing": 21,
    "folds": 0, "epochs": 0, "budget": 0,
}  # fmt: skip


def months(time: xr.DataArray, context: int) -> list[tuple[slice, slice]]:
    """Calendar months of the period with `context` days on either side, and where the month lies in each.

    A monthly mean has to see all days of its month in one trajectory.
    """
    number = time.dt.year.values * 12 + time.dt.month.values
    out = []
    for month in np.unique(number):
        (days,) = np.nonzero(number == month)
        first, last = max(days[0] - context, 0), min(days[-1] + 1 + context, time.size)
        out.append((slice(first, last), slice(days[0] - first, days[-1] + 1 - first)))
    return out


def analyse(
    model: Model, fields: xr.Dataset, sources: Sequence[xslams.Observation], members: int, **options: Any
) -> xr.Dataset:
    """Analyse month by month."""
    # Only grid and time are taken from the fields; this makes sure of it.
    unknown = fields.copy(data={"air": np.full(fields["air"].shape, np.nan)})
    unknown["air"].attrs = fields["air"].attrs
    parts = []
    for days, judged in months(fields["time"], model.spec.window - 1):
        part = unknown.isel(time=days)
        parts.append(part.slams.assimilate(list(sources), model, members=members, **options).isel(time=judged))
    return xr.concat(parts, dim="time")


def line(name: str, rmse: float, crps: float, spread: float, ratio: float) -> str:
    """One line of the table."""
    return f"{name:<34} {rmse:6.3f} {crps:6.3f} {spread:6.3f} {ratio:6.2f}"


HEADER = f"{'K':<34} {'RMSE':>6} {'CRPS':>6} {'spread':>6} {'ratio':>6}"


def reference_line(name: str, analysis: tuple[Array, Array], truth: xr.Dataset) -> str:
    """Scores of a normal distribution."""
    mean, variance = analysis
    weight = np.broadcast_to(np.cos(np.deg2rad(truth["lat"].values))[:, None], mean.shape)
    error = mean - truth["air"].values
    scores = crps_normal(truth["air"].values, mean, np.sqrt(variance), backend="numpy")
    mse, crps, var = (float(np.average(a, weights=weight)) for a in (error**2, scores, variance))
    return line(name, np.sqrt(mse), crps, np.sqrt(var), np.sqrt(var / mse))


def row(
    name: str,
    model: Model,
    truth: xr.Dataset,
    sources: Sequence[xslams.Observation],
    options: argparse.Namespace,
) -> None:
    """Analyse, score and print."""
    start = time.perf_counter()
    with counted(model.prior().score) as calls:
        analysis = analyse(
            model, truth, sources, options.members,
            steps=options.steps, seed=options.seed, antithetic=not options.independent,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    scores = analysis.slams.score(truth)
    values = (float(scores[k]) for k in ("rmse", "crps", "spread", "spread_skill"))
    windows = sum(days.stop - days.start for days, _ in months(truth["time"], model.spec.window - 1)) * options.members
    print(line(name, *values), flush=True)
    each = calls.samples / max(windows, 1)
    print(f"{'':<34} {seconds:.0f} s, {each:.0f} network calls per member and window", flush=True)


def without(fields: xr.Dataset, hidden: slice) -> xr.Dataset:
    """Fields with a stretch of time cut out."""
    stamps = fields["time"].sel(time=hidden)
    return fields.drop_sel(time=stamps)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    command.add_argument("--days", type=int, default=None, help="only the first days of the test period")
    command.add_argument("--members", type=int, default=16)
    command.add_argument("--independent", action="store_true", help="independent members in place of antithetic pairs")
    command.add_argument("--steps", type=int, default=16)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--model", default="ncep-na", help="name or path")
    command.add_argument("--no-reference", action="store_true")
    command.add_argument("--no-may", action="store_true", help="leave out the case of May 2013 with buoys")
    command.shared()
    command.quick(rows=["stations"], days=2, members=2, steps=2, no_may=True)
    options = command.read(arguments)

    data = shared_data(options.shared)
    fields = open_fields(data)
    stations = open_stations(data, fields)
    training, testing = fields.sel(time=TRAINING), fields.sel(time=TESTING).isel(time=slice(options.days))
    print(
        f"{testing.sizes['time']} days from {str(testing['time'].values[0])[:10]}; {options.members} members\n{HEADER}"
    )
    if not options.no_reference:
        print(reference_line("climatology", REFERENCES[0].climatology(training, testing), testing))
        for reference in REFERENCES:
            print(reference_line(reference.name, reference.analyse(training, testing, stations), testing), flush=True)
    model = xslams.open_model(options.model)
    uscrn = station_observations(stations, training)
    sources = {"stations": uscrn}
    if "stations+sst" in options.rows:
        sources["stations+sst"] = [*uscrn, sst_observation(training, open_sst(data, fields))]
    for name in options.rows:
        row(f"{model.spec.name} {name}", model, testing, sources[name], options)
    if not options.no_may:
        past, may = without(training, _HIDDEN), fields.sel(time=MAY)
        prior = past.slams.fit(progress=False, name="ncep-na without May 2013", **_GAUSSIAN)
        uscrn = station_observations(stations, past)
        print(f"\n16 to 31 May 2013, a Gaussian prior that has not seen them\n{HEADER}")
        row("stations", prior, may, uscrn, options)
        buoys = buoy_observation(data, past)
        row("stations+buoys", prior, may, [*uscrn, buoys], options)
        sst = sst_observation(past, open_sst(data, fields))
        row("stations+buoys+sst", prior, may, [*uscrn, buoys, sst], options)

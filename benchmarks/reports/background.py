"""Backgrounds that know their errors: a persistence forecast, and a forecast with errors of the flow.

    python -m benchmarks background
    python -m benchmarks background --days 3 --stretches 1 --members 4 --steps 8

The truth is the fourth year of a global simulation, of which the model has seen the first three; observations are those
of 200 stations at the two lowest levels. The background is

- ``persistence``: the state of some days before (``--lead``);
- ``flow``: the state at another time, earlier in some sectors and later in others, by an amount that changes slowly,
  as with errors that grow in the flow.

Each is given with its root mean square error as a plain number, with `BackgroundError.fit`, and as an ensemble: of
persistence the states of consecutive days, of the flow members with displacements of their own, of which that of the
truth is one more draw. Numbers and fits are those of the first year.

Columns: RMSE of the mean, CRPS, and spread over error, over levels and days; the last row of each is that of the
members of the background.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

import xslams
from benchmarks.cases import shared_data
from benchmarks.cases.speedy import SPIN_UP, YEAR, observe_stations, open_case
from benchmarks.command import Command
from benchmarks.tables import head, row
from xslams.scores import score

# Sectors around the globe, and days in which a displacement is forgotten.
_WAVES, _MEMORY = 3, 3.0
_ERRORS = "number", "fit", "ensemble"


def persistence(truth: xr.Dataset, lead: int, members: int) -> xr.Dataset:
    """States of `lead` days before, and of the days before that; days that have none are left out."""
    lags = range(lead, lead + members)
    parts = [truth.shift(time=lag).assign_coords(member=i) for i, lag in enumerate(lags)]
    return xr.concat(parts, "member").isel(time=slice(lead + members, None))


def displaced(truth: xr.Dataset, days: float, members: int, seed: int) -> xr.Dataset:
    """States displaced in time, less the displacement that the truth has in those terms."""
    rng = np.random.default_rng(seed)
    count, lon = truth.sizes["time"], np.deg2rad(truth["lon"].values)
    keep = np.exp(-1 / _MEMORY)
    amplitude = rng.normal(size=(count, members + 1, 2 * _WAVES + 1))
    for i in range(1, count):
        amplitude[i] = keep * amplitude[i - 1] + np.sqrt(1 - keep**2) * amplitude[i]
    waves = [np.ones_like(lon), *(f(k * lon) * 2**0.5 for k in range(1, _WAVES + 1) for f in (np.cos, np.sin))]
    shift = days / np.sqrt(len(waves)) * amplitude @ np.stack(waves)  # (time, member, lon)
    shift = shift[:, 1:] - shift[:, :1]
    at = np.clip(np.arange(count)[:, None, None] + shift, 0, count - 1)
    low = np.minimum(at.astype(int), count - 2)
    dims = "time", "member", "lon"
    first, weight = xr.DataArray(low, dims=dims), xr.DataArray((at - low).astype(np.float32), dims=dims)
    columns = xr.DataArray(np.arange(len(lon)), dims="lon")
    out = truth.drop_vars("time")
    out = out.isel(time=first, lon=columns) * (1 - weight) + out.isel(time=first + 1, lon=columns) * weight
    out = out.assign_coords(time=truth["time"], member=np.arange(members))
    return out.transpose("member", "time", "sigma", "lat", "lon")


def analyses(
    forecast: xr.Dataset, error: float, fitted: xslams.BackgroundError
) -> dict[str, tuple[xr.Dataset, float | xslams.BackgroundError | None]]:
    """Backgrounds and their errors, by what is said of the errors."""
    one = forecast.isel(member=0, drop=True)
    return {"number": (one, error), "fit": (one, fitted), "ensemble": (forecast, None)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    command = Command(__name__, __doc__)
    command.add_argument("--days", type=int, default=5, help="length of a stretch")
    command.add_argument("--stretches", type=int, default=4, help="number of stretches, spread over the year")
    command.add_argument("--lead", type=int, default=2, help="days of persistence")
    command.add_argument("--displacement", type=float, default=1.0, help="days, standard deviation")
    command.add_argument("--size", type=int, default=8, help="members of the background")
    command.add_argument("--members", type=int, default=16, help="members of the analysis, in antithetic pairs")
    command.add_argument("--steps", type=int, default=16)
    command.add_argument("--cases", nargs="+", choices=["persistence", "flow"], default=["persistence", "flow"])
    command.add_argument("--errors", nargs="+", choices=_ERRORS, default=list(_ERRORS), help="what is said of errors")
    command.add_argument("--period", type=int, default=YEAR, help="days of the year from which stretches are taken")
    command.shared()
    command.quick(days=1, stretches=1, size=2, members=2, steps=1, period=33, cases=["flow"], errors=["number"])
    options = command.read(arguments)

    training, truth = (ds[["t"]] for ds in open_case(shared_data(options.shared), years=1))
    truth = truth.isel(time=slice(options.period))
    past = training.isel(time=slice(SPIN_UP, SPIN_UP + options.period))
    stations = observe_stations(truth)
    starts = np.linspace(30, options.period - options.days - 1, options.stretches + 1).astype(int)[:-1]
    head(
        ["background", "error", "RMSE, K", "CRPS, K", "spread / error"],
        f"{options.stretches} stretches of {options.days} days, {options.members} members, {options.steps} steps",
    )
    for case in options.cases:
        make = _CASES[case]
        known = make(past, options, 0).isel(member=0, drop=True).dropna("time")
        same = past.sel(time=known["time"])
        fitted = xslams.BackgroundError.fit(known.assign(t=known["t"].assign_attrs(past["t"].attrs)), same)
        error = float(np.sqrt(((known["t"] - same["t"]) ** 2).weighted(np.cos(np.deg2rad(same["lat"]))).mean()))
        forecast = make(truth, options, 1)
        forecast["t"].attrs = truth["t"].attrs
        judged = [truth["time"].isel(time=slice(s, s + options.days)) for s in starts]
        print(f"{case}: RMSE {error:.2f} K, forgotten in {fitted.time:.0f} h", flush=True)
        told = analyses(forecast, error, fitted)
        for name in options.errors:
            (background, stated), done = told[name], []
            for times in judged:
                seen = stations.replace(data=stations.data.sel(time=times))
                done.append(
                    background.sel(time=times).slams.assimilate(
                        [seen], "speedy-t30", members=options.members, steps=options.steps, antithetic=True,
                        background_error=stated,
                    )
                )  # fmt: skip
            _line(case, name, xr.concat(done, "time"), truth)
        _line(case, "the members", forecast.sel(time=xr.concat(judged, "time")), truth)


_CASES = {
    "persistence": lambda ds, options, seed: persistence(ds, options.lead, options.size),
    "flow": lambda ds, options, seed: displaced(ds, options.displacement, options.size, seed),
}


def _line(case: str, name: str, analysis: xr.Dataset, truth: xr.Dataset) -> None:
    """Print the scores of one row."""
    scores = score(analysis, truth.sel(time=analysis["time"]))
    rmse, crps, ratio = (scores[v].values for v in ("rmse", "crps", "spread_skill"))
    total = (ratio * rmse).sum() / rmse.sum()
    row([case, name, f"{rmse.mean():.3f}", f"{crps.mean():.3f}", f"{total:.2f}"])

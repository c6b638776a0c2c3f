"""Monthly sea-surface temperature from some places of the sea, by the defaults of `fit` and `assimilate`.

    python -m benchmarks ocean                             # twenty minutes of one thread
    python -m benchmarks ocean --rows climatology xslams   # some rows
    python -m benchmarks ocean --training 2010-01 2014-12 --testing 2015-01 2016-12   # for choices
    python -m benchmarks ocean --quick                     # seconds

The fields are ERSST v5 on a grid of two degrees, NaN on land, of which nothing is said to xslams. `fit` gets the months
of 2010 to 2016 and no setting; those of 2017-01 to 2020-08 are judged. Observations are simulated at places of the sea
that are the same in all months, with an error of 0.3 K.

- ``climatology``: harmonics of the training period with the spread around them.
- ``oi-1``, ``oi-3``: optimal interpolation with the covariances of training anomalies, from observations of the month,
  and of the months before and after it, too; see `benchmarks.references.months`.
- ``xslams``: `assimilate` from the observations of all months, without a background.
- ``persistence``: climatology with the anomaly of the month before, which is taken from the fields, and its RMSE in the
  training period as the spread.
- ``oi-persistence``: optimal interpolation of the differences from persistence, from observations of the month.
- ``number``, ``fit``: `assimilate` with persistence for a background, whose error is the RMSE, or `BackgroundError.fit`
  in the training period. Every month is analysed by itself, since the background of the next one holds its truth.

Climatology and the settings of the interpolation are chosen by leaving out one year of training after another, and so
are factors of their spread.

Columns: RMSE of the mean, CRPS, spread over error, weighted by area over the sea and pooled over all months; seconds of
the processor that choices and analysis took. Members are antithetic, since the mean of the references has no sampling
error either, and CRPS of an ensemble is the fair estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

import xslams
from benchmarks.cases import shared_data
from benchmarks.cases.ocean import ERROR, TESTING, TRAINING, Sea, observe, open_sea
from benchmarks.command import Command
from benchmarks.fits import chosen, level_means
from benchmarks.references.months import (
    Climatology,
    Gaussian,
    Network,
    Scores,
    choose_climatology,
    choose_interpolation,
)
from benchmarks.tables import head, row
from benchmarks.timing import Stopwatch
from xslams.model import Model


@dataclass
class Case:
    """Fields and what is made of them once.

    Attributes
    ----------
    whole, past, truth
        Fields of all months, of training and of the test.
    members
        Of each analysis.
    """

    whole: xr.Dataset
    past: xr.Dataset
    truth: xr.Dataset
    members: int
    sea: Sea = field(init=False)

    def __post_init__(self) -> None:
        self.sea = Sea.of(self.whole)

    def during(self, period: xr.Dataset) -> xr.DataArray:
        """Cells of the sea in some months."""
        return self.sea.values.sel(time=period["time"])

    def judge(self, found: Gaussian) -> Scores:
        """Scores in the test period."""
        return Scores.of(found, self.during(self.truth).values, self.sea.weight)

    @cached_property
    def climatology(self) -> tuple[Climatology, float]:
        """Of training, with the factor of its spread."""
        return choose_climatology(self.during(self.past), self.sea.weight)

    @cached_property
    def persistence(self) -> xr.Dataset:
        """Climatology with the anomaly of the month before, from the second month on."""
        values = self.sea.values
        mean = self.climatology[0].at(values["time"]).mean
        guess = mean[1:] + (values.values - mean)[:-1]
        return self.sea.fields(guess, self.whole.isel(time=slice(1, None)))

    @cached_property
    def error(self) -> float:
        """RMSE of persistence in the training period."""
        apart = self.departures(self.past)
        return float(((apart**2).mean("time").values @ self.sea.weight / self.sea.weight.sum()) ** 0.5)

    def departures(self, period: xr.Dataset) -> xr.DataArray:
        """Fields less persistence, in the months that have one."""
        times = np.intersect1d(period["time"], self.persistence["time"])
        guess = Sea.of(self.persistence).values
        return self.sea.values.sel(time=times) - guess.sel(time=times)


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------
def interpolated(case: Case, source: xslams.Observation, months: int, *, persist: bool = False) -> tuple[Scores, str]:
    """Score an interpolation of anomalies, or of differences from persistence."""
    cells = case.sea.at(source, case.whole)
    network = Network(cells, ERROR, case.sea.lat, case.sea.lon)
    values = case.sea.values
    seen = source.data.transpose("time", "station").drop_vars("station").rename(station="cell")
    if persist:
        guess = Sea.of(case.persistence).values
        values = values.sel(time=guess["time"]) - guess
        seen = seen.sel(time=guess["time"]) - guess.isel(cell=cells)
    past, now = (np.isin(values["time"], period["time"]) for period in (case.past, case.truth))
    settings = choose_interpolation(values[past], seen.values[past], network, case.sea.weight, months)
    found = settings.analyse(values[past], values["time"][now], seen.values[now], network)
    if persist:
        found = Gaussian(found.mean + guess.values[now], found.std)
    return case.judge(found), f"{settings.length:g} km, shrinkage {settings.shrinkage:g}, harmonics {settings.orders}"


def analysed(
    case: Case, model: Model, source: xslams.Observation, error: float | xslams.BackgroundError | None
) -> Scores:
    """Score analyses of all months at once, or of each from persistence."""

    def analysis(background: xr.Dataset) -> xr.Dataset:
        seen = source.replace(data=source.data.sel(time=background["time"]))
        return background.slams.assimilate(
            [seen], model, members=case.members, antithetic=True, background_error=error, progress=False
        )

    if error is None:
        found = analysis(case.truth)
    else:
        background = case.persistence.sel(time=case.truth["time"])
        found = xr.concat([analysis(background.isel(time=[n])) for n in range(background.sizes["time"])], "time")
    return Scores(*level_means(found, case.truth, "sst"))


def of_climatology(case: Case) -> tuple[Scores, str]:
    """Score the seasonal cycle."""
    climatology, factor = case.climatology
    found = climatology.at(case.truth["time"])
    orders = tuple(len(c) // 2 for c in (climatology.mean_coefficients, climatology.variance_coefficients))
    return case.judge(Gaussian(found.mean, factor * found.std)), f"harmonics {orders}"


def of_persistence(case: Case) -> tuple[Scores, str]:
    """Score persistence."""
    guess = Sea.of(case.persistence).values.sel(time=case.truth["time"]).values
    return case.judge(Gaussian(guess, np.full(guess.shape, case.error))), f"{case.error:.3f} K"


def from_fit(case: Case, model: Model, source: xslams.Observation) -> tuple[Scores, str]:
    """Score analyses from persistence whose error is fitted."""
    past = case.whole.sel(time=case.departures(case.past)["time"])
    error = xslams.BackgroundError.fit(case.persistence.sel(time=past["time"]), past)
    return analysed(case, model, source, error), f"{error.correlation}, {float(np.mean(error.std['sst'])):.3f} K"


Row = Callable[[Case, Any, xslams.Observation], tuple[Scores, str]]
#: By name; those of xslams need a model.
ROWS: dict[str, Row] = {
    "climatology": lambda case, model, source: of_climatology(case),
    "oi-1": lambda case, model, source: interpolated(case, source, 1),
    "oi-3": lambda case, model, source: interpolated(case, source, 3),
    "xslams": lambda case, model, source: (analysed(case, model, source, None), ""),
    "persistence": lambda case, model, source: of_persistence(case),
    "oi-persistence": lambda case, model, source: interpolated(case, source, 1, persist=True),
    "number": lambda case, model, source: (analysed(case, model, source, case.error), f"{case.error:.3f} K"),
    "fit": from_fit,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    command.add_argument("--places", nargs="+", type=int, default=[200, 60])
    command.add_argument("--training", nargs=2, default=TRAINING, metavar="MONTH", help="first and last")
    command.add_argument("--testing", nargs=2, default=TESTING, metavar="MONTH", help="first and last")
    command.add_argument("--members", type=int, default=16, help="in antithetic pairs")
    command.add_argument("--budget", default="5min", help="time for the trials of fit, whose default it is")
    command.quick(
        rows=["climatology", "oi-1", "xslams", "number"], places=[60], training=("2015-01", "2016-12"),
        testing=("2017-01", "2017-02"), members=2, budget="0",
    )  # fmt: skip
    command.shared()
    options = command.read(arguments)
    whole = open_sea(shared_data(options.shared))
    past, truth = (whole.sel(time=slice(*months)) for months in (options.training, options.testing))
    case = Case(whole.sel(time=slice(options.training[0], options.testing[1])), past, truth, options.members)

    model = None
    if {"xslams", "number", "fit"} & set(options.rows):
        watch = Stopwatch()
        model = past.slams.fit(progress=False, budget=options.budget)
        print(f"fit: {watch.read().cpu:.0f} s; {chosen(model)}", flush=True)
    for places in options.places:
        source = observe(case.whole, places)
        head(
            ["sst", "RMSE, K", "CRPS, K", "spread / error", "s", "settings"],
            f"{truth.sizes['time']} months from {places} places, {options.members} members",
        )
        for name in options.rows:
            watch = Stopwatch()
            scores, about = ROWS[name](case, model, source)
            numbers = f"{scores.rmse:.3f}", f"{scores.crps:.3f}", f"{scores.ratio:.2f}"
            row([name, *numbers, f"{watch.read().cpu:.0f}", about])

"""Europe from stations, or from their means over cells, by a regression whose coefficients vary with the season.

    python -m benchmarks seasonal                      # temperature, and temperature with precipitation

The anomalies of the state are regressed on those of the cells or stations of three days, of those that report on more
than half of the days of training; what is missing counts as the mean of its season. Days of the training period count
by their distance in the season; the width and the penalty on the coefficients are chosen by leaving out one year after
another, and the same residuals give the predictive variance, with one annual harmonic. Columns as in `python -m
benchmarks fit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scoringrules import crps_normal

from benchmarks.cases import shared_data
from benchmarks.cases.europe import (
    TESTING,
    TRAINING,
    cell_columns,
    open_cells,
    open_sources,
    open_state,
    since,
    station_columns,
)
from benchmarks.command import Command
from benchmarks.tables import head, row

Array = NDArray[np.float64]
COLUMNS = ("method", "variable", "RMSE", "CRPS", "spread/error")
_WIDTHS, _PENALTIES = (45.0, 70.0), (0.003, 0.01, 0.03, 0.1)


def weights(state: xr.Dataset) -> Array:
    """Area of the cells, of mean one."""
    area = np.cos(np.deg2rad(state["latitude"].values))[:, None] * np.ones(state.sizes["longitude"])
    return np.asarray(area / area.mean())


def predict(state: xr.Dataset, columns: Sequence[Array]) -> tuple[xr.Dataset, xr.Dataset]:
    """Mean and standard deviation of the state on the days of the test period, from columns ``(time, value)``."""
    names = list(state.data_vars)
    when = state.indexes["time"]
    train, test = (np.zeros(len(when), bool) for _ in range(2))
    for mask, period in ((train, TRAINING), (test, TESTING)):
        mask[when.slice_indexer(period.start, period.stop)] = True
    phase = 2 * np.pi * (when.day_of_year.to_numpy() - 0.5) / 365.25
    year = np.stack([np.ones_like(phase), *(f(k * phase) for k in (1, 2) for f in (np.cos, np.sin))], axis=1)
    x = np.concatenate([state[n].values.reshape(len(when), -1) for n in names], axis=1).astype(float)
    y = np.concatenate(columns, axis=1)
    y = y[:, np.isfinite(y[train]).mean(0) > 0.5]
    climate, x = _anomalies(x, year, train)
    y = np.nan_to_num(_anomalies(y, year, train)[1])
    y /= y[train].std(0)
    padded = np.pad(y, ((1, 1), (0, 0)))
    features = np.concatenate([padded[k : k + len(y)] for k in range(3)], axis=1)
    day = when.day_of_year.to_numpy()

    def regress(
        fitted: NDArray[np.bool_], wanted: NDArray[np.bool_], width: float, penalties: Sequence[float]
    ) -> list[Array]:
        return _regress(x, features, day, fitted, wanted, width, penalties)

    tried: list[tuple[float, tuple[float, float], Array]] = []
    for width in _WIDTHS:
        residuals = np.empty((len(_PENALTIES), *x.shape))
        for one in np.unique(when.year[train]):
            hidden = np.asarray(when.year == one)
            residuals[:, hidden] = x[hidden] - regress(train & ~hidden, hidden, width, _PENALTIES)
        for penalty, residual in zip(_PENALTIES, residuals[:, train], strict=True):
            tried.append((float(((residual / x[train].std(0)) ** 2).mean()), (width, penalty), residual))
    _, (width, penalty), residual = min(tried, key=lambda one: one[0])
    mean = climate[test] + regress(train, test, width, [penalty])[0]
    square = residual**2
    variance = year[test][:, :3] @ np.linalg.lstsq(year[train][:, :3], square, rcond=None)[0]
    spread = np.sqrt(np.maximum(variance, 0.15 * square.mean(0)))
    like = state.isel(time=np.flatnonzero(test))
    shape = (-1, len(names), like.sizes["latitude"], like.sizes["longitude"])
    made = [
        xr.Dataset({n: (like[n].dims, a.reshape(shape)[:, i]) for i, n in enumerate(names)}, coords=like.coords)
        for a in (mean, spread)
    ]
    return made[0], made[1]


def _anomalies(values: Array, year: Array, train: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Seasonal cycle of each column in the training period, and what is left."""
    climate = np.empty_like(values)
    for k, column in enumerate(values.T):
        known = train & np.isfinite(column)
        climate[:, k] = year @ np.linalg.lstsq(year[known], column[known], rcond=None)[0]
    return climate, values - climate


def _regress(
    x: Array, features: Array, day: NDArray[Any], fitted: NDArray[np.bool_], wanted: NDArray[np.bool_], width: float,
    penalties: Sequence[float],
) -> list[Array]:  # fmt: skip
    """Ridge regression around the middle of each month, for each penalty."""

    def apart(days: NDArray[Any], centre: float) -> Array:
        return np.asarray(np.abs((days - centre + 183) % 366 - 183))

    centres = 15.25 + 30.5 * np.arange(12)
    nearest = np.argmin([apart(day[wanted], c) for c in centres], axis=0)
    out = [np.empty((int(wanted.sum()), x.shape[1])) for _ in penalties]
    for k, centre in enumerate(centres):
        weight = np.exp(-0.5 * (apart(day[fitted], centre) / width) ** 2)
        weighted = features[fitted] * weight[:, None]
        gram, target = weighted.T @ features[fitted], weighted.T @ x[fitted]
        scale = np.trace(gram) / len(gram) * len(weight) / weight.sum()
        here = features[wanted][nearest == k]
        for found, penalty in zip(out, penalties, strict=True):
            found[nearest == k] = here @ np.linalg.solve(gram + penalty * scale * np.eye(len(gram)), target)
    return out


def scores(state: xr.Dataset, columns: Sequence[Array], days: xr.DataArray, name: str) -> None:
    """Print the rows of the regression for some days of the test period."""
    mean, spread = (ds.sel(time=days) for ds in predict(state, columns))
    truth, area = state.sel(time=days), weights(state)
    for n in state.data_vars:
        error, sd = mean[n].values - truth[n].values, spread[n].values
        crps = (area * crps_normal(truth[n].values, mean[n].values, sd)).mean()
        rmse, ratio = np.sqrt((area * error**2).mean()), np.sqrt((area * sd**2).mean() / (area * error**2).mean())
        row([name, n, f"{rmse:.4g}", f"{crps:.4g}", f"{ratio:.2f}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--aux", nargs="+", default=["tas", "tas+pr"], help="cells that are used")
    command.add_argument("--years", type=int, default=0, help="last years of training that are used; by default all")
    command.quick(aux=["tas"], years=2)
    command.shared()
    options = command.read(arguments)
    folder = shared_data(options.shared)
    state = open_state(folder).sel(time=slice(since(options.years), None))
    cells, days = open_cells(folder, state), state["time"].sel(time=TESTING)
    for names in (used.split("+") for used in options.aux):
        head(COLUMNS, f"Europe from {' and '.join(names)}")
        scores(state, cell_columns(cells[names]), days, "regression, cells")
        scores(state, station_columns(open_sources(folder, names), state), days, "regression, stations")


if __name__ == "__main__":
    main()

"""A first or last year unlike all others is announced; seasons, noise, trends and differences between years are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.errors import SlamsWarning
from xslams.pipeline.drift import YearlyMeans
from xslams.spec import Spec, VariableSpec

LEVELS = VariableSpec("t", "K", level_dim="level", levels=(850.0, 50.0))
SPEC = Spec((LEVELS, VariableSpec("pr", "mm", "aux")), (-60.0, 0.0, 60.0), (0.0, 120.0, 240.0), periodic=True)


def simulated(years: int, seed: int, step: float = 24.0) -> np.ndarray:
    """Weather, seasons, and years that differ by a tenth of the weather; shape (time, channel, lat, lon)."""
    rng = np.random.default_rng(seed)
    count = round(years * 8766 / step)
    number = (np.arange(count) * step / 8766).astype(int)
    fields = rng.normal(size=(count, 3, 3, 3)) + 0.1 * rng.normal(size=(years, 3, 3, 1))[np.minimum(number, years - 1)]
    season = 2 * np.cos(2 * np.pi * np.arange(count) * step / 8766)
    return 250 + fields + season[:, None, None, None] * np.array([1.0, 0.0, -1.0])[:, None]


def unlike(fields: np.ndarray, block: int = 10**9, spec: Spec = SPEC) -> list[tuple[str, float, bool]]:
    means = YearlyMeans(spec, len(fields))
    for first in range(0, len(fields), block):
        means.add(first, fields[first : first + block])
    return means.unlike()


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 12), st.integers(0, 9999), st.floats(-0.3, 0.3))
def test_years_that_differ_and_a_trend_are_no_drift(years: int, seed: int, trend: float) -> None:
    """But by chance: of 9000 histories, 2 % of those of four years, 0.6 % of five, and 2 of those of six and more."""
    slope = trend * np.arange(count := round(years * 8766 / 120)) / count * years
    spec = replace(SPEC, time_step=120.0)
    histories = (simulated(years, seed + n, 120.0) + slope[:, None, None, None] for n in range(20))
    assert sum(unlike(fields, spec=spec) != [] for fields in histories) <= (4 if years < 6 else 1)


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 8), st.integers(0, 9999), st.booleans(), st.integers(1, 400))
def test_a_year_at_an_end_that_is_unlike_all_others_is_found(years: int, seed: int, last: bool, block: int) -> None:
    fields = simulated(years, seed)
    fields[:, 1] += 6 * np.exp(-np.arange(len(fields)) / 120)[:, None, None]
    if last:
        fields = fields[::-1].copy()
    ((name, size, at_the_end),) = unlike(fields)
    assert (name, at_the_end) == ("t", last)
    assert size > 0.3
    assert unlike(fields, block) == [(name, pytest.approx(size), last)]


def test_short_data_systems_and_auxiliary_variables_are_left_alone() -> None:
    fields = simulated(3, 0)
    fields[:300] += 9
    assert unlike(fields) == []
    whole = simulated(5, 0)
    whole[:300, 2] += 9
    assert unlike(whole) == []
    whole[:300] += 9
    assert unlike(whole, spec=replace(SPEC, dims=("y", "x"))) == []
    # A year that ends a day early is one.
    assert unlike(whole[: 4 * 365 + 1]) != []


@pytest.mark.filterwarnings("ignore:The training data have:xslams.errors.SlamsWarning")
def test_fit_announces_a_spin_up() -> None:
    fields = simulated(4, 0)[:, :2]
    fields[:250] += 5
    level = ("level", [850.0, 50.0], {"units": "hPa", "axis": "Z"})
    coords = {"time": pd.date_range("2001-01-01", periods=len(fields)), "level": level, "lat": list(SPEC.lat)}
    ds = xr.Dataset({"t": (("time", "level", "lat", "lon"), fields, {"units": "K"})}, {**coords, "lon": list(SPEC.lon)})
    with pytest.warns(SlamsWarning, match="the first of 4 years is unlike the others in 't'"):
        ds.slams.fit(budget=0, progress=False, device="cpu", epochs=0, modes=4, folds=0)

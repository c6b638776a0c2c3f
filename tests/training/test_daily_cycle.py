"""The mean of frames within the day has a daily cycle, of as many harmonics as their times tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams.labels.calendar import year_fraction
from xslams.labels.domain import domain_of
from xslams.networks.normalization import Normalization
from xslams.seasons import DAYS, in_the_year, supported_day_order
from xslams.spec import Spec, VariableSpec

SPEC = Spec((VariableSpec("t", "K"), VariableSpec("u", "K", "aux")), (40.0, 50.0), (0.0, 10.0, 20.0), periodic=False)
SETTINGS: dict[str, Any] = {"budget": 0, "progress": False, "device": "cpu", "epochs": 0, "modes": 4, "folds": 0}
FREQUENCIES = {"12h": 1, "8h": 1, "6h": 2, "3h": 2, "1h": 2}


def cycle(time: pd.DatetimeIndex) -> np.ndarray:
    """Daily cycle that is stronger in summer, later from cell to cell; shape (time, channel, lat, lon)."""
    hour = (time.hour + time.minute / 60).to_numpy()[:, None] * 2 * np.pi / 24
    year = np.asarray(year_fraction(xr.DataArray(time, dims="time")))[:, None] * 2 * np.pi
    later = np.linspace(0, 2, 12)
    mean = (3 - np.cos(year)) * np.cos(hour - later) + 0.5 * np.cos(2 * hour - later) + 5 * np.sin(year)
    return (280 + mean).reshape(-1, 2, 2, 3)


@pytest.mark.parametrize("frequency", FREQUENCIES)
@pytest.mark.parametrize("start", ["00:00", "03:00", "01:30"])
@pytest.mark.parametrize("gaps", [False, True])
def test_a_mean_has_the_cycle_of_its_times(frequency: str, start: str, gaps: bool) -> None:
    """Also two times of a day, which are the least, and hours other than those from midnight on."""
    time = pd.date_range(f"2001-01-01 {start}", "2002-12-31", freq=frequency)[: 24 * 500]
    season = torch.as_tensor(year_fraction(xr.DataArray(time, dims="time")), dtype=torch.float32)
    x = torch.as_tensor(cycle(time), dtype=torch.float32)
    normalization = Normalization(SPEC, 1, 0, FREQUENCIES[frequency])
    given_ = x.clone()
    if gaps:
        given_[:, 1][torch.rand(x[:, 1].shape, generator=torch.Generator().manual_seed(0)) < 0.2] = torch.nan
    normalization.fit(given_, season)
    mean, _ = normalization.climatology(season)
    torch.testing.assert_close(mean, x, rtol=0, atol=0.1)


@given(st.integers(-3000, 3000), st.integers(0, 23))
def test_a_place_in_the_year_keeps_the_time_of_the_day(days: int, hour: int) -> None:
    found = float(in_the_year(np.array([days + hour / 24]))[0])
    assert 0 <= found < 1
    away = (found * DAYS - hour / 24 + 0.5) % 1.0 - 0.5
    assert abs(away) < 1e-6 or abs(days) > 730  # of many years some quarters of a day are left


def test_the_last_day_of_a_leap_year_has_its_times_of_the_day() -> None:
    time = pd.date_range("2000-12-30", "2001-01-03", freq="6h")
    season = year_fraction(xr.DataArray(time, dims="time"))
    np.testing.assert_allclose(season * DAYS % 1.0 * 24, time.hour, atol=1e-6)
    assert supported_day_order(np.tile(season, 3), 6.0, 9) == 2
    # Frames that are added before and after have theirs, too.
    fraction, keys = domain_of(SPEC).frames(xr.DataArray(time[:3], dims="time"), 2, 2)
    assert len(fraction) == len(keys) == 7
    np.testing.assert_allclose(fraction * DAYS % 1.0, np.arange(-48, 120, 24) / 24 % 1.0 + [0] * 7, atol=1e-6)


def data(frequency: str, count: int) -> xr.Dataset:
    time = pd.date_range("2001-01-01", periods=count, freq=frequency)
    noise = np.random.default_rng(0).normal(size=(count, 2, 3)).astype(np.float32)
    fields = noise + cycle(time)[:, 0]
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), fields, {"units": "K"})},
        {"time": time, "lat": list(SPEC.lat), "lon": list(SPEC.lon)},
    )


@pytest.mark.filterwarnings("ignore:The training data:xslams.errors.SlamsWarning")
@pytest.mark.parametrize(
    ("frequency", "count", "order"),
    [("6h", 4 * 365, 2), ("12h", 2 * 365, 1), ("6h", 4 * 20, 2), ("6h", 4 * 8, 0), ("1D", 365, 0), ("MS", 60, 0)],
)
def test_fit_takes_as_many_harmonics_as_there_are_times_of_the_day(frequency: str, count: int, order: int) -> None:
    model = data(frequency, count).slams.fit(**SETTINGS)
    assert model.spec.architecture["day_order"] == order
    assert model.spec.training["settings"]["day_order"] == order


@pytest.mark.filterwarnings("ignore:The training data:xslams.errors.SlamsWarning")
def test_an_analysis_has_the_daily_cycle() -> None:
    ds = data("6h", 4 * 400)
    part = ds.isel(time=slice(700, 712))
    found = {}
    for order in (0, 2):
        model = ds.slams.fit(**SETTINGS, day_order=order)
        analysis = part.slams.assimilate([], model, members=8, steps=8, antithetic=True, background_error=None)
        found[order] = float(analysis.slams.score(part)["rmse"])
    assert found[2] < 1.3  # of noise of one
    assert found[0] > 1.6


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2))
def test_a_model_file_says_its_harmonics(day: int, mean: int, std: int) -> None:
    normalization = Normalization(SPEC, mean, std, day)
    assert len(normalization.mean) == 1 + 2 * mean + 2 * day * (3 if mean else 1)
    assert normalization.climatology(torch.linspace(0, 1, 5))[0].shape == (5, *SPEC.frame_shape)


def test_files_without_a_daily_cycle_are_read() -> None:
    assert "day_order" not in xslams.open_model("ncep-na").spec.architecture
    assert xslams.open_model("ncep-na").prior().normalization.day_order == 0


@pytest.mark.filterwarnings("ignore:The training data:xslams.errors.SlamsWarning")
def test_a_learned_operator_knows_biases_by_the_time_of_the_day(tmp_path: Path) -> None:
    """A thermometer near the ground is warmer than the air above by day, and colder at night."""
    ds = data("6h", 4 * 365)
    model = ds.slams.fit(**SETTINGS)
    hour = ds["time"].dt.hour * 2 * np.pi / 24
    ground = (ds["t"] + 6 * np.cos(hour - 3)).isel(lat=[0, 1], lon=[0, 2]).stack(site=("lat", "lon"))
    ground = ground.reset_index("site").rename("ground").assign_attrs(units="K")
    operator = xslams.learn_operator(ground, ds, model)
    assert operator.day_order == 2
    # All of it follows from the state and the time of the day.
    assert operator.record["skill"] > 0.98
    path = model.with_operators([operator]).save(tmp_path / "model.safetensors")
    (stored,) = xslams.open_model(path).operators
    assert stored.day_order == 2
    season = np.asarray(year_fraction(ds["time"]))[:8]
    place = np.zeros(8, np.intp)
    values = ground.values[:8, 0]
    np.testing.assert_allclose(stored.anomalies(values, place, season), operator.anomalies(values, place, season))

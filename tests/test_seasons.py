"""A climatology is never extrapolated, whatever part of the year its training data cover."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

import xslams
from xslams.errors import SlamsWarning
from xslams.labels.calendar import year_fraction
from xslams.model import Model
from xslams.networks.normalization import Normalization
from xslams.options import TrainingOptions
from xslams.seasons import DAYS, covered_days, gaps_between, supported_order, warn_of_season
from xslams.spec import Spec, VariableSpec
from xslams.training.stages import _with_season

SPEC = Spec((VariableSpec("t", "K"),), (50.0,), (0.0, 90.0), periodic=False)
YEAR = np.arange(365) / DAYS


def seasonal(time: pd.DatetimeIndex, noise: float = 2.0, seed: int = 0) -> xr.Dataset:
    """Temperature with a seasonal cycle of opposite sign in both hemispheres."""
    lat, lon = np.array([-60.0, -20.0, 20.0, 60.0]), np.arange(0.0, 360.0, 60.0)
    cycle = np.cos(2 * np.pi * year_fraction(xr.DataArray(time, dims="time")))[:, None, None] * np.sign(-lat)[:, None]
    values = 280 + 12 * cycle + noise * np.random.default_rng(seed).standard_normal((time.size, 4, 6))
    attrs = {"units": "K", "standard_name": "air_temperature"}
    return xr.Dataset({"t": (("time", "lat", "lon"), values, attrs)}, {"time": time, "lat": lat, "lon": lon})


@st.composite
def stretches(draw: st.DrawFn) -> tuple[np.ndarray, float]:
    """Fractions of the year of some frames, of one or several years, and their step in hours."""
    start, days, years = draw(st.integers(0, 365)), draw(st.integers(3, 366)), draw(st.integers(1, 4))
    step = draw(st.sampled_from([3.0, 24.0, 120.0]))
    times = np.arange(0.0, days, step / 24.0)
    return (np.concatenate([times + 365 * year for year in range(years)]) + start) / DAYS % 1.0, step


@settings(max_examples=20)
@given(stretches(), st.integers(0, 4), st.integers(0, 3))
@example((np.arange(60) / DAYS, 24.0), 2, 0)
@example((np.arange(10 * 24) / 24 / DAYS, 1.0), 2, 0)
@example((np.full(3, 0.4), 24.0), 2, 0)
def test_the_climatology_stays_in_the_range_of_what_it_was_made_of(
    data: tuple[np.ndarray, float], order: int, seed: int
) -> None:
    season, step = data
    options = TrainingOptions(mean_order=order, std_order=min(order, 1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The training data")
        spec, options = _with_season(
            Spec(SPEC.variables, SPEC.lat, SPEC.lon, periodic=False, time_step=step), [(season, season)], options
        )
    rng = np.random.default_rng(seed)
    x = 280 + 12 * np.cos(2 * np.pi * season) + 3 * np.cos(4 * np.pi * season + seed)
    # Weather remembers itself for some days.
    weather = np.repeat(rng.normal(0, 3, (season.size, 2)), max(round(120 / step), 1), axis=0)[: season.size]
    x = torch.as_tensor(x[:, None, None, None] + weather[:, None, None], dtype=torch.float32)
    normalization = Normalization(spec, options.mean_order, options.std_order)
    normalization.fit(x, torch.as_tensor(season, dtype=torch.float32))
    mean, std = normalization.climatology(torch.as_tensor(YEAR, dtype=torch.float32))
    reach = 10.0
    assert x.min() - reach < mean.min() and mean.max() < x.max() + reach
    # The seasonal cycle within the period counts as variability where it cannot be told.
    assert std.isfinite().all() and std.max() < 25.0


@given(stretches())
def test_every_frame_is_covered_and_no_gap_is(data: tuple[np.ndarray, float]) -> None:
    season, step = data
    covered = covered_days(season, step)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_season(covered, season, "m", step)
    for start, stop in gaps_between(covered):
        length = (stop - start) % 1.0 * DAYS or DAYS
        assert length > 30
        after = (season - start) % 1.0 * DAYS
        assert not ((after > 1e-3) & (after < length - 1e-3)).any()
        with pytest.warns(SlamsWarning, match="1 of 1 frames are up to"):
            warn_of_season(covered, np.array([start + 0.5 * length / DAYS]), "m", step)


def test_orders_that_data_support() -> None:
    def orders(season: np.ndarray, step: float = 24.0) -> tuple[int, int]:
        return supported_order(season, step, 4), supported_order(season, step, 4, everywhere=True)

    days = np.arange(3650)
    assert orders(days[:3650] / DAYS % 1.0) == (4, 4)
    assert orders(days[:30] / DAYS) == orders(days[:60] / DAYS) == (0, 0)
    assert orders(days[:200] / DAYS) == (1, 0)
    summers = days[(days % 365 > 150) & (days % 365 < 243)] / DAYS % 1.0
    assert orders(summers)[0] >= 1 and orders(summers)[1] == 0
    # Hours of few days are few days; months of a year are a year, with as many harmonics as they can tell.
    assert orders(np.arange(24 * 20) / 24 / DAYS, 1.0) == (0, 0)
    assert orders((np.arange(12) + 0.5) / 12, 730.5) == (4, 4)
    assert supported_order((np.arange(12) + 0.5) / 12, 730.5, 9) == 5
    assert orders(np.full(5, 0.5), 8766.0) == (0, 0)


def test_fit_and_use_say_so(tmp_path: Path) -> None:
    winter = seasonal(pd.date_range("2001-12-15", periods=60))
    with pytest.warns(SlamsWarning, match=r"cover 15 December to 12 February of the year.*mean_order=0"):
        model = winter.slams.fit(window=3, epochs=0, patch=1, autoencoder_epochs=1, progress=False, name="winter")
    model = Model.load(model.save(tmp_path / "winter.safetensors"))
    assert model.spec.covered_days == covered_days(year_fraction(winter["time"]))
    summer = seasonal(pd.date_range("2002-07-01", periods=3))
    gauges = xslams.simulate_observations(summer["t"], stations=20, error=1.0)
    with pytest.warns(SlamsWarning, match=r"3 of 3 frames are up to \d+ days of the year away.*15 December"):
        analysis = summer.slams.assimilate(gauges, model, members=2, steps=4)
    assert 220 < float(analysis["t"].min()) and float(analysis["t"].max()) < 340
    with pytest.warns(SlamsWarning, match="3 of 3 frames"):
        latent = summer.slams.encode(model)
    with pytest.warns(SlamsWarning, match="3 of 3 frames"):
        latent.slams.decode(model)
    # A few days after the last one are near enough.
    seasonal(pd.date_range("2002-02-20", periods=3)).slams.encode(model)


def test_files_without_the_entry_cover_the_year() -> None:
    text = json.loads(Spec(SPEC.variables, SPEC.lat, SPEC.lon, periodic=False, covered_days=((1.0, 9.0),)).to_json())
    assert Spec.from_json(json.dumps(text)).covered_days == ((1.0, 9.0),)
    del text["covered_days"]
    assert Spec.from_json(json.dumps(text)).covered_days == ()

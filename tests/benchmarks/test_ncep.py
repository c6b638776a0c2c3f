"""The shipped model of the real case: a week of station temperatures brings it nearer to fields it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

import xslams
from benchmarks.cases import ncep as case
from benchmarks.references.oi import Calibration
from xslams.inference.arrays import climatology_arrays
from xslams.labels.calendar import year_fraction


def test_calibration_recovers_bias_and_error() -> None:
    time = xr.DataArray(
        np.arange("2013-01-01", "2015-01-01", dtype="datetime64[D]").astype("datetime64[ns]"), dims="time"
    )
    phase = 2 * np.pi * (time.dt.dayofyear.values - 1) / 365.25
    noise = np.random.default_rng(0).normal(scale=0.5, size=(time.size, 1))
    difference = np.concatenate([(2.0 + 1.5 * np.cos(phase))[:, None] + noise, np.full_like(noise, np.nan)], axis=1)
    calibration = Calibration.estimate(difference, time, ridge=0.0, least=120)
    np.testing.assert_allclose(calibration.coefficients[:, 0], [2.0, 1.5, 0.0], atol=0.1)
    np.testing.assert_allclose(calibration.error[0], 0.5, atol=0.05)
    assert np.isnan(calibration.error[1])


def test_stations_observe_the_mixture_of_two_days_that_their_zone_says(shared_data: Path) -> None:
    fields = case.open_fields(shared_data)
    stations = case.open_stations(shared_data, fields)
    sources = case.station_observations(stations, fields.sel(time=case.TRAINING))
    assert len(sources) >= 5
    week = fields.sel(time=slice("2014-01-06", "2014-01-12"))
    source = next(s for s in sources if s.name.endswith("-7"))
    frames = source.bind(xslams.open_model("ncep-na").spec, week["time"]).variables[0].match.weights.toarray()
    late = case.shares(np.array([-7]))[0]
    # A local day is the rest of one day of the model and the begin of the next.
    np.testing.assert_allclose(frames[0, :2], [1 - late, late], atol=1e-6)


def test_a_week_of_stations_beats_climatology(shared_data: Path) -> None:
    fields = case.open_fields(shared_data)
    stations = case.open_stations(shared_data, fields)
    sources = case.station_observations(stations, fields.sel(time=case.TRAINING))
    truth = fields.sel(time=slice("2014-11-10", "2014-11-16"))
    unknown = truth.copy(data={"air": np.full(truth["air"].shape, np.nan)})
    unknown["air"].attrs = truth["air"].attrs
    model = xslams.open_model("ncep-na")
    analysis = unknown.slams.assimilate(sources, model, members=8, steps=8)
    mean, _ = climatology_arrays(model, year_fraction(truth["time"]))
    weight = np.cos(np.deg2rad(truth["lat"].values))[:, None] * np.ones(truth.sizes["lon"])
    climate = np.sqrt(
        np.average((mean[:, 0] - truth["air"].values) ** 2, weights=np.broadcast_to(weight, mean[:, 0].shape))
    )
    assert float(analysis.slams.score(truth)["rmse"]) < 0.85 * climate

"""The shipped model of the real case: a week of station temperatures brings it nearer to fields it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

import xslams
from benchmarks.cases import ncep as case
from xslams.inference.arrays import climatology_arrays
from xslams.labels.calendar import year_fraction


def test_calibration_recovers_bias_and_error() -> None:
    time = xr.DataArray(
        np.arange("2013-01-01", "2015-01-01", dtype="datetime64[D]").astype("datetime64[ns]"), dims="time"
    )
    phase = 2 * np.pi * (time.dt.dayofyear.values - 1) / 365.25
    noise = np.random.default_rng(0).normal(scale=0.5, size=(time.size, 1))
    difference = np.concatenate([(2.0 + 1.5 * np.cos(phase))[:, None] + noise, np.full_like(noise, np.nan)], axis=1)
    calibration = case.Calibration.estimate(difference, time, ridge=0.0, least=120)
    np.testing.assert_allclose(calibration.coefficients[:, 0], [2.0, 1.5, 0.0], atol=0.1)
    np.testing.assert_allclose(calibration.error[0], 0.5, atol=0.05)
    assert np.isnan(calibration.error[1])


def test_stations_observe_the_mixture_of_two_days_that_calibration_assumes(shared_data: Path) -> None:
    fields = case.open_fields(shared_data)
    stations = case.open_stations(shared_data, fields)
    sources = case.station_observations(stations, case.calibrate_stations(fields.sel(time=case.TRAINING), stations))
    assert len(sources) >= 5
    week = fields.sel(time=slice("2014-01-06", "2014-01-12"))
    source = next(s for s in sources if s.name.endswith("-7"))
    arrays = source.to_arrays(xslams.open_model("ncep-na").spec, week["time"])
    same = case.station_equivalent(week, stations.sel(time=week["time"]))[:, stations["zone"].values == -7]
    seen = arrays.matrix @ week["air"].values.ravel() - 273.15
    # Stations with gaps make fewer rows; every value that is seen must be among the expected ones.
    expected = same[np.isfinite(same)]
    assert all(np.abs(expected - value).min() < 1e-3 for value in seen)


def test_a_week_of_stations_beats_climatology(shared_data: Path) -> None:
    fields = case.open_fields(shared_data)
    stations = case.open_stations(shared_data, fields)
    sources = case.station_observations(stations, case.calibrate_stations(fields.sel(time=case.TRAINING), stations))
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

"""What an analysis window sees of a bound source is what it would see by itself, without the data of other windows."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xslams
from tests.pipeline.test_assimilate import waves
from xslams.pipeline.windows import AnalysisWindow

DAYS = 400


def stations(time: pd.DatetimeIndex, **attrs: str) -> xr.DataArray:
    rng = np.random.default_rng(0)
    return xr.DataArray(
        rng.normal(280, 5, (len(time), 3)),
        dims=("time", "station"),
        coords={
            "time": ("time", time, attrs),
            "lat": ("station", [10.0, 20.0, -30.0]),
            "lon": ("station", [5.0, 100.0, 200.0]),
            "level": 850.0,
        },
        name="t",
        attrs={"units": "K", "standard_name": "air_temperature"},
    ).assign_coords(level=((), 850.0, {"units": "hPa"}))


def sources() -> dict[str, xslams.Observation]:
    daily = pd.date_range("2001-01-01", periods=DAYS)
    monthly = pd.date_range("2001-01-01", periods=14, freq="MS")
    weekly = stations(pd.date_range("2001-01-01", periods=57, freq="7D")).to_dataset()
    weekly["time"].attrs["bounds"] = "time_bounds"
    weekly["time_bounds"] = (("time", "two"), np.stack([weekly["time"], weekly["time"] + np.timedelta64(7, "D")], 1))
    shuffled = stations(daily).isel(time=np.random.default_rng(1).permutation(DAYS))
    error = xr.DataArray(np.linspace(1, 2, DAYS), dims="time", coords={"time": daily})
    return {
        "daily": xslams.Observation(stations(daily), error=1.0),
        "six-hourly": xslams.Observation(stations(pd.date_range("2001-01-01", periods=4 * DAYS, freq="6h")), error=1.0),
        "monthly by spacing": xslams.Observation(stations(monthly), error=1.0),
        "monthly by attribute": xslams.Observation(stations(monthly, avg_period="0000-01-00 00:00:00"), error=1.0),
        "weekly by bounds": xslams.Observation(weekly, error=1.0),
        "yearly": xslams.Observation(stations(daily[::365], avg_period="0001-00-00 00:00:00"), error=1.0),
        "far": xslams.Observation(stations(daily[::90]), error=1.0, tolerance="20D"),
        "out of order": xslams.Observation(shuffled, error=1.0),
        "error in time": xslams.Observation(stations(daily), error=error),
    }


@pytest.mark.parametrize("name", sources())
def test_likelihood_is_the_same(tiny_model, name):
    source = sources()[name]
    truth = waves(DAYS)
    bound = source.bind(tiny_model.spec, truth["time"])
    for first in (0, 180, 362):
        frames = truth["time"][first : first + 38]
        part = bound.within(AnalysisWindow(first, first + 38, first + 4, first + 34))
        whole, near = source.bind(tiny_model.spec, frames).likelihood(), part.likelihood()
        if name == "far" and first == 362:
            # A value is that of the frame nearest to it, which is in another window.
            assert (whole.size, near.size) == (3, 0)
            continue
        np.testing.assert_array_equal(whole.values, near.values)
        np.testing.assert_array_equal(whole.errors.variance, near.errors.variance)
        assert (whole.matrix != near.matrix).nnz == 0
        # A window carries what it sees, and nothing else.
        (variable,) = part.variables
        assert variable.stamps.size == variable.match.matched.sum()


def test_windows_count_every_value_once(tiny_model):
    truth = waves(DAYS)
    for source in sources().values():
        bound = source.bind(tiny_model.spec, truth["time"])
        windows = [AnalysisWindow(max(a - 4, 0), min(a + 44, DAYS), a, a + 40) for a in range(0, DAYS, 40)]
        (whole,) = bound.audited()
        parts = [bound.within(w).audited()[0].audit for w in windows]
        assert sum(p.given for p in parts) == whole.audit.given == source.data.sizes["time"] * 3
        assert sum(p.used for p in parts) == whole.audit.used
        assert sum(p.rejected["time"] for p in parts) == whole.audit.rejected["time"]


def test_lazy_data_stay_lazy_and_are_taken_out_once(tiny_model):
    daily = sources()["daily"]
    lazy = daily.replace(data=daily.data.copy(data=daily.data.chunk(time=7).data))
    bound = lazy.bind(tiny_model.spec, waves(80)["time"])
    part = bound.within(AnalysisWindow(20, 60, 24, 56))
    assert part.lazy and part.variables[0].values.sizes["time"] == 40
    bare, missing = part.without_lazy()
    assert len(missing) == 1
    assert len(pickle.dumps(bare)) < 10_000
    whole = bare.with_computed([each.compute() for each in missing])
    np.testing.assert_array_equal(whole.likelihood().values, part.likelihood().values)


def test_variables_of_one_dataset_stay_in_one_dataset(tiny_model):
    t = sources()["daily"].data
    rain = xr.ones_like(t.drop_vars("level")).assign_attrs(units="mm/day", standard_name="precipitation_flux")
    both = xr.Dataset({"t": t, "pr": rain})
    bound = xslams.Observation(both, error=1.0).bind(tiny_model.spec, waves(80)["time"])
    part = bound.within(AnalysisWindow(20, 60, 24, 56))
    assert part.labels == ["t+pr:t", "t+pr:pr"]
    assert part.variables[0].data is part.variables[1].data


def test_errors_without_labels_are_cut_like_the_data(tiny_model):
    daily = sources()["daily"]
    error = xr.DataArray(np.linspace(1, 2, DAYS), dims="time")
    bound = daily.replace(error=error).bind(tiny_model.spec, waves(80)["time"])
    (variable,) = bound.within(AnalysisWindow(20, 60, 24, 56)).variables
    np.testing.assert_array_equal(variable.error, error[20:60])
    labelled = sources()["error in time"].bind(tiny_model.spec, waves(80)["time"]).likelihood()
    np.testing.assert_array_equal(bound.likelihood().errors.variance, labelled.errors.variance)

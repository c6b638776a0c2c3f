"""Units that `fit` accepts are accepted in an analysis, however they are spelled there."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

import xslams
from xslams.errors import UnitError

# Spellings of one unit, as files have them; and texts that nothing can read.
SAME = [
    ["oktas", "okta", "octas", "Oktas", "0.125"],
    ["mm per day", "mm day-1", "mm/d", "MM/DAY", "kg m-2 d-1", "mm/24h", "mm d**-1"],
    ["%", "percent"],
    ["W m-2", "Watts/m^2", "J m-2 s-1"],
    ["tenths of sky", "tenths  of sky ", "Tenths of Sky"],
    ["code table 2700", " CODE TABLE 2700"],
]


def data(name, units, days=120):
    rng = np.random.default_rng(0)
    coords = {"time": pd.date_range("2001-01-01", periods=days), "lat": [40.0, 45.0], "lon": [0.0, 5.0]}
    attrs = {} if units is None else {"units": units}
    return xr.DataArray(rng.uniform(1, 7, (days, 2, 2)), coords, ("time", "lat", "lon"), name, attrs).to_dataset()


@cache
def trained(name, units):
    with pytest.warns(match="The training data cover"):
        return data(name, units).slams.fit(budget=0, progress=False, modes=2, folds=0)


@settings(max_examples=8)
@given(st.sampled_from(SAME).flatmap(lambda same: st.tuples(st.sampled_from(same[:1]), st.sampled_from(same))))
@example(("oktas", "oktas"))
@example(("tenths of sky", "Tenths of Sky"))
def test_units_that_fit_accepts_are_accepted_in_an_analysis(units):
    model, ds = trained("cloud", units[0]), data("cloud", units[1], 2)
    observed = xslams.Observation(ds["cloud"], error=xr.full_like(ds["cloud"], 0.5)).to_arrays(model.spec, ds["time"])
    np.testing.assert_allclose(observed.values, ds["cloud"].values.ravel(), rtol=1e-6)
    np.testing.assert_allclose(observed.errors.variance, 0.25, rtol=1e-6)
    assert int(ds.slams.check([], model, background_error=1.0)["used"].sum()) == ds["cloud"].size


@pytest.mark.parametrize("spelled", ["mm day-1", "mm per day", "kg m-2 s-1", "mm/3hr", "mm", "kg m-2", "cm"])
@pytest.mark.parametrize("fitted", ["mm", "mm per day", "kg m-2"])
def test_daily_amounts_and_rates_of_rain_stand_for_each_other(fitted, spelled):
    """A model of amounts of a day sees rates, and one of rates sees amounts, of which each is one of its own period."""
    per_mm = {"mm day-1": 1.0, "mm per day": 1.0, "kg m-2 s-1": 1 / 86400, "mm/3hr": 1 / 8, "cm": 0.1}.get(spelled, 1.0)
    ds = data("pr", spelled, 3)
    observed = xslams.Observation(ds["pr"] * per_mm, error=1.0 * per_mm).data.assign_attrs(units=spelled)
    source = xslams.Observation(observed, error=per_mm).to_arrays(trained("pr", fitted).spec, ds["time"])
    np.testing.assert_allclose(source.values, ds["pr"].values.ravel(), rtol=1e-6)
    np.testing.assert_allclose(source.errors.variance, 1.0, rtol=1e-6)


@pytest.mark.parametrize(("name", "fitted", "given"), [("t", "K", "K day-1"), ("pr", "mm", "K"), ("t", "Mm", "sky mm")])
def test_other_quantities_are_still_errors(name, fitted, given):
    with pytest.raises(UnitError):
        xslams.Observation(data(name, given, 3), error=1.0).to_arrays(
            trained(name, fitted).spec, data(name, "K", 3)["time"]
        )

"""Places and frames of values, and means of those of one place and frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xslams
from xslams.likelihood import ErrorModel, SourceLikelihood
from xslams.observations import Sites, one_of_each_frame, sites_of

TIMES = pd.date_range("2001-01-01", periods=4)


def bound(da, spec):
    source = xslams.Observation(da.assign_attrs(units="mm/day"), error=1.0)
    one = source.bind(spec, xr.DataArray(TIMES, dims="time"))
    return sites_of(one.variables[0], one.audited()[0], 100)


@pytest.fixture
def spec(tiny_model):
    return tiny_model.spec


def names(spec):
    return next(v.name for v in spec.variables if not v.levels)


def test_stations_have_sites_whatever_the_order_of_dimensions(spec):
    coords = {"time": TIMES, "lat": ("station", [10.0, 20.0]), "lon": ("station", [-10.0, 350.0])}
    values = np.arange(8.0).reshape(4, 2)
    values[1, 0] = np.nan
    da = xr.DataArray(values, coords, ("time", "station"), names(spec))
    for data in (da, da.transpose()):
        sites = bound(data, spec)
        order = np.lexsort((sites.lat, sites.frame))
        np.testing.assert_array_equal(sites.lat[order], [10, 20, 20, 10, 20, 10, 20])
        np.testing.assert_array_equal(sites.lon, 350.0)
        np.testing.assert_array_equal(sites.frame[order], [0, 0, 1, 2, 2, 3, 3])


def test_reports_and_grids_have_sites(spec):
    name = names(spec)
    reports = {"time": ("obs", TIMES[[0, 0, 3]]), "lat": ("obs", [1.0, 2.0, 1.0]), "lon": ("obs", [3.0, 4.0, 3.0])}
    sites = bound(xr.DataArray(np.ones(3), reports, ("obs",), name), spec)
    np.testing.assert_array_equal(sites.lat, [1, 2, 1])
    np.testing.assert_array_equal(sites.frame, [0, 0, 3])
    grid = {"time": TIMES, "lat": [0.0, 10.0], "lon": [0.0, 10.0, 20.0]}
    sites = bound(xr.DataArray(np.ones((4, 2, 3)), grid, ("time", "lat", "lon"), name), spec)
    np.testing.assert_array_equal(sites.lon[:6], [0, 10, 20, 0, 10, 20])


def test_many_places_are_not_asked_for(spec):
    lat = np.linspace(-60, 60, 101)
    coords = {"time": TIMES, "lat": ("station", lat), "lon": ("station", 0 * lat)}
    assert bound(xr.DataArray(np.ones((4, 101)), coords, ("time", "station"), names(spec)), spec) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.integers(0, 9))
def test_means_are_those_of_each_place_and_frame(keys, seed):
    place, frame = np.array(keys).T
    values = np.random.default_rng(seed).normal(size=len(keys))
    part = SourceLikelihood("a", sp.csr_array(np.eye(len(keys))), values, ErrorModel(np.ones(len(keys))))
    mean, sites = one_of_each_frame(part, Sites(place.astype(float), 0.0 * place, frame))
    expected = pd.Series(values).groupby([place, frame]).mean()
    got = pd.Series(mean.values, pd.MultiIndex.from_arrays([sites.lat.astype(int), sites.frame]))
    pd.testing.assert_series_equal(got.sort_index(), expected, check_names=False)
    np.testing.assert_allclose(mean.matrix @ values, mean.values)
    np.testing.assert_array_equal(mean.errors.variance, 1.0)

"""How xESMF is asked: its own weights can only be checked where it is installed, see test_regrid.py."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import scipy.sparse as sp
import xarray as xr

from xslams.errors import GridError
from xslams.geometry import Curvilinear, Grid, Points
from xslams.labels.grid import geometry_of
from xslams.regrid import regrid
from xslams.weights import grid_weights, store


@pytest.fixture
def asked(monkeypatch):
    """A stand-in that takes what xESMF takes, and answers with the embedded weights for it."""
    calls = []

    class Regridder:
        def __init__(self, ds_in, ds_out, method, *, periodic, locstream_in, locstream_out):
            calls.append(dict(locals()))
            ours = {"nearest_s2d": "nearest"}.get(method, method)
            source, target = geometry_of(ds_in), geometry_of(ds_out)
            matrix = sp.coo_array(grid_weights(source, target, ours))
            data = types.SimpleNamespace(to_scipy_sparse=lambda: matrix)
            self.weights = types.SimpleNamespace(data=data)

    monkeypatch.setitem(sys.modules, "xesmf", types.SimpleNamespace(Regridder=Regridder))
    monkeypatch.setattr(store, "_kept", type(store._kept)())
    return calls


LAT, LON = np.linspace(80, -80, 9), np.arange(0, 360, 30.0)
GLOBE = xr.Dataset({"t": (("lat", "lon"), np.random.default_rng(0).random((9, 12)))}, {"lat": LAT, "lon": LON})
TARGET = xr.Dataset(coords={"lat": [-30.0, 0.0, 30.0], "lon": [-20.0, 0.0, 20.0]})


def bent():
    lon, lat = np.meshgrid(np.linspace(0, 60, 9), np.linspace(-40, 40, 8))
    coords = {"lat": (("y", "x"), lat + 0.1 * lon), "lon": (("y", "x"), lon)}
    return xr.Dataset({"t": (("y", "x"), lat + lon)}, coords)


@pytest.mark.parametrize("method", ["bilinear", "conservative", "nearest"])
@pytest.mark.parametrize("source", [GLOBE, bent()], ids=["grid", "curvilinear"])
def test_descriptions_say_all_that_matters(asked, source, method):
    got = regrid(source, TARGET, method, "xesmf")
    np.testing.assert_allclose(got.t, regrid(source, TARGET, method, "embedded").t, atol=1e-10)
    (call,) = asked
    assert call["method"] == {"nearest": "nearest_s2d"}.get(method, method)
    assert call["periodic"] == ("y" not in source.dims and method != "conservative")
    assert not call["locstream_in"] and not call["locstream_out"]
    assert ("lat_b" in call["ds_in"]) == (method == "conservative")
    if method == "conservative":
        assert call["ds_in"].lat_b.shape == tuple(n + 1 for n in source.t.shape)[: call["ds_in"].lat_b.ndim]


def test_points(asked):
    points = xr.Dataset({"t": ("p", [1.0, 2.0])}, {"lat": ("p", [0.0, 40.0]), "lon": ("p", [10.0, 20.0])})
    regrid(GLOBE, points[["lat", "lon"]], "bilinear", "xesmf")
    regrid(points, GLOBE, "nearest", "xesmf")
    assert [(c["locstream_in"], c["locstream_out"]) for c in asked] == [(False, True), (True, False)]


def test_corners(asked):
    lon_b, lat_b = np.meshgrid(np.linspace(0, 60, 9), np.linspace(-40, 40, 8))
    lat_b = lat_b + 0.1 * lon_b
    corners = np.stack([geometry_corners(n) for n in (lat_b, lon_b)])
    source = Curvilinear(corners[0].mean(axis=2), corners[1].mean(axis=2), corners=corners)
    target = Grid(np.array([0.0, 10.0]), np.array([20.0, 30.0]))
    got = store.weights_between(source, target, "conservative", engine="xesmf")
    np.testing.assert_allclose(got.toarray(), grid_weights(source, target, "conservative").toarray(), atol=1e-12)
    np.testing.assert_allclose(asked[0]["ds_in"].lat_b, lat_b)


def geometry_corners(nodes):
    return np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]], axis=2)


def test_what_esmf_cannot_do(asked):
    gap = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0]), lat_bounds=np.array([[-1.0, 1.0], [9.0, 11.0]]))
    with pytest.raises(GridError, match="gaps"):
        store.weights_between(gap, gap, "conservative", engine="xesmf")
    with pytest.raises(GridError, match="great circles"):
        regrid(GLOBE, TARGET, "bilinear", "xesmf", edges="parallel")
    with pytest.raises(GridError, match="great circles"):
        store.weights_between(gap, Points(np.zeros(1), np.zeros(1)), "bilinear", "parallel", "xesmf")
    assert not asked

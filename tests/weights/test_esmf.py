"""How xESMF is asked: its own weights can only be checked where it is installed, see test_regrid.py."""

from __future__ import annotations

import importlib
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams.errors import GridError, ObservationOptionError, SlamsError
from xslams.geometry import Curvilinear, Grid, Points, unit_vectors
from xslams.geometry.corners import crossed
from xslams.geometry.sphere import around
from xslams.labels.grid import geometry_of
from xslams.regrid import regrid
from xslams.spec import Spec, VariableSpec
from xslams.weights import cell_areas, esmf_thread, grid_weights, store
from xslams.weights.esmf_grids import described_source, described_target, shared_nodes


@pytest.fixture
def asked(monkeypatch):
    """A stand-in that takes what xESMF takes, and answers with the embedded weights for it."""
    calls = []

    class Regridder:
        def __init__(self, ds_in, ds_out, method, *, periodic, locstream_in, locstream_out, **more):
            calls.append({**locals(), "thread": threading.get_ident()})
            for ds in (ds_in, ds_out):
                assert all(np.isfinite(c).all() for c in ds.variables.values())
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


# ---------------------------------------------------------------------------------------------------------------------
# What ESMF is handed
# ---------------------------------------------------------------------------------------------------------------------
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 5), st.booleans())
def test_corners_of_any_cf_order_are_the_nodes_between_cells(seed, height, width, alike) -> None:
    """Another first vertex, clockwise, flipped, unwrapped longitudes: for all cells, or each as it likes."""
    rng = np.random.default_rng(seed)
    lon_b, lat_b = np.meshgrid(170 + np.arange(width + 1) * 6.0, -20 + np.arange(height + 1) * 8.0)
    lat_b = lat_b + 0.1 * lon_b + rng.uniform(-1, 1, lat_b.shape)
    if rng.random() < 0.5:
        lat_b, lon_b = lat_b[::-1], lon_b[::-1]
    corners = np.stack([around(lat_b), around(lon_b)])
    corners[1] += 360.0 * rng.integers(-1, 2, corners[1].shape)
    shape = (1, 1) if alike else corners.shape[1:3]
    first, way = rng.integers(0, 4, shape), rng.choice([-1, 1], shape)
    order = (first[..., None] + way[..., None] * np.arange(4)) % 4
    order = np.broadcast_to(order, corners.shape[1:])
    corners = np.take_along_axis(corners, order[None], axis=-1)
    nodes = shared_nodes(unit_vectors(*corners))
    assert nodes is not None
    np.testing.assert_allclose(nodes, unit_vectors(lat_b, lon_b), atol=1e-12)
    # A single row may be read from either side; its cells are the same.
    row = shared_nodes(unit_vectors(*corners[:, :1, :]))
    if alike:
        middles = around(row).mean(axis=2)
        np.testing.assert_allclose(middles, unit_vectors(*corners[:, :1]).mean(axis=2), atol=1e-12)


def ring(rows, columns=12, wave=2.0):
    """Centres of a curvilinear grid that closes on itself."""
    lon, lat = np.meshgrid(np.arange(columns) * 360.0 / columns, rows)
    return Curvilinear(lat + wave * np.sin(np.deg2rad(3 * lon)), lon)


@pytest.mark.parametrize("wave", [0.0, 0.1])
@pytest.mark.parametrize("south", [False, True])
@pytest.mark.parametrize("turn", [lambda v: v, lambda v: v[::-1], lambda v: v.T, lambda v: v.T[:, ::-1]])
def test_cells_that_would_cross_a_pole_end_there(turn, south, wave) -> None:
    grid = ring(np.arange(54.0, 90.0, 5.0) * (-1 if south else 1), wave=wave)
    grid = Curvilinear(turn(grid.lat), turn(grid.lon))
    assert crossed(grid.cells()).any()
    ds = described_source(grid, "conservative").dataset
    handed = Curvilinear(grid.lat, grid.lon, corners=np.stack([around(ds.lat_b.values), around(ds.lon_b.values)]))
    assert not crossed(handed.cells()).any()
    got, expected = cell_areas(handed), cell_areas(grid)
    np.testing.assert_allclose(got, expected, rtol=0.5 * wave + 1e-6)
    assert got.sum() == pytest.approx(expected.sum(), rel=1e-4)


@pytest.mark.parametrize("halo", [(0, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("turn", [lambda v: v, lambda v: v.T])
def test_closed_grids_have_no_seam(asked, halo, turn) -> None:
    whole = ring(np.arange(-40.0, 41.0, 10.0))
    lat, lon = (turn(np.pad(v, ((0, 0), halo), mode="wrap")) for v in (whole.lat, whole.lon))
    grid = Curvilinear(lat, lon)
    described = described_source(grid, "bilinear")
    ours = grid.centres()[:, described.cells]
    np.testing.assert_array_equal(ours, np.stack([described.dataset[n].values.ravel() for n in ("lat", "lon")]))
    # The columns of the circle, and the first of them again.
    assert len(described.cells) == whole.lat.shape[0] * (whole.lat.shape[1] + 1)
    x = turn(unit_vectors(described.dataset.lat, described.dataset.lon)[..., 0])
    np.testing.assert_array_equal(x[:, 0], x[:, -1])
    target = Points(np.linspace(-30, 30, 9), np.full(9, 345.0))
    got = store.build_weights(grid, target, "bilinear", "great_circle", "xesmf")
    field = np.random.default_rng(0).random(whole.lat.shape)
    mine = turn(np.pad(field, ((0, 0), halo), mode="wrap")).ravel()
    np.testing.assert_allclose(got @ mine, grid_weights(whole, target) @ field.ravel(), atol=1e-12)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_places_that_are_missing_get_nothing(asked, method) -> None:
    lat, lon = np.array([0.0, np.nan, 40.0, 10.0]), np.array([10.0, 20.0, np.nan, 50.0])
    stations = xr.Dataset({"t": ("p", [1.0, 2.0, 3.0, 4.0])}, {"lat": ("p", lat), "lon": ("p", lon)})
    got = regrid(GLOBE, stations[["lat", "lon"]], method, "xesmf").t
    assert got.isnull().values.tolist() == [False, True, True, False]
    np.testing.assert_allclose(got, regrid(GLOBE, stations[["lat", "lon"]], method).t, atol=1e-12)
    assert asked[0]["ds_out"].sizes == {"point": 2}
    nowhere = stations[["lat", "lon"]].isel(p=[1, 2])
    assert regrid(GLOBE, nowhere, method, "xesmf").t.isnull().all() and len(asked) == 1
    if method == "nearest":
        np.testing.assert_allclose(regrid(stations, GLOBE, method, "xesmf").t, regrid(stations, GLOBE, method).t)
        with pytest.raises(GridError, match="None of the 2 places"):
            store.build_weights(Points(lat[1:3], lon[1:3]), Points(lat, lon), method, "great_circle", "xesmf")
    swath = bent()
    swath = swath.assign_coords(lat=swath.lat.where(swath.lat > -20), lon=swath.lon.where(swath.lat > -20))
    wanted = regrid(GLOBE, swath, method, "xesmf").t
    np.testing.assert_array_equal(wanted.isnull(), swath.lat.isnull())


def test_cells_that_are_missing_are_masked(asked) -> None:
    swath = bent()
    gone = (swath.lat > 10) & (swath.lat < 15)
    grid = geometry_of(swath.assign_coords(lat=swath.lat.where(~gone)))
    # Corners between a missing centre and others are not known either.
    ended = np.isfinite(grid.cells()).all(axis=(1, 2)).reshape(grid.shape)
    for method, known in (("bilinear", ~gone), ("conservative", ended)):
        described = described_source(grid, method)
        np.testing.assert_array_equal(described.dataset["mask"], known)
        assert all(np.isfinite(v).all() for v in described.dataset.variables.values())
    wide = Curvilinear(
        *(np.pad(v, ((0, 0), (1, 1)), mode="wrap") for v in (ring([0.0, 9.0]).lat, ring([0.0, 9.0]).lon))
    )
    assert int((described_source(wide, "conservative").dataset["mask"] == 0).sum()) == 2 * 2
    assert "mask" not in described_target(wide, "conservative").dataset


def test_regions_across_the_date_line_are_handed_in_one_part(asked) -> None:
    lon = np.array([-180.0, -170.0, 160.0, 170.0])
    ds = xr.Dataset({"t": (("lat", "lon"), np.arange(12.0).reshape(3, 4))}, {"lat": [0.0, 10.0, 20.0], "lon": lon})
    target = xr.Dataset(coords={"lat": [5.0, 12.0], "lon": [165.0, 175.0, -175.0]})
    for method in ("bilinear", "conservative", "nearest"):
        np.testing.assert_allclose(regrid(ds, target, method, "xesmf").t, regrid(ds, target, method).t, atol=1e-12)
        assert (np.diff(asked[-1]["ds_in"].lon) == 10).all()
    with pytest.raises(GridError, match="two rows and columns"):
        regrid(ds.isel(lat=[1]), target, "bilinear", "xesmf")


def test_rows_sum_to_one_or_are_empty(monkeypatch) -> None:
    """ESMF divides by the whole cell of the target, where the source covers a part."""
    raw = sp.coo_array(np.array([[0.3, 0.3, 0.0, 0.0], [0.2, 0.2, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5], [0.0] * 4]))
    weights = types.SimpleNamespace(data=types.SimpleNamespace(to_scipy_sparse=lambda: raw))
    stand_in = types.SimpleNamespace(Regridder=lambda *a, **k: types.SimpleNamespace(weights=weights))
    monkeypatch.setitem(sys.modules, "xesmf", stand_in)
    grid = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0]))
    got = store.build_weights(grid, grid, "conservative", "great_circle", "xesmf")
    np.testing.assert_allclose(got.sum(axis=1), [1.0, 0.0, 1.0, 0.0])


# ---------------------------------------------------------------------------------------------------------------------
# How it is loaded and run
# ---------------------------------------------------------------------------------------------------------------------
def test_esmf_runs_in_one_thread(asked) -> None:
    def one(k):
        target = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0 + k]))
        return store.build_weights(geometry_of(GLOBE), target, "bilinear", "great_circle", "xesmf")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(8)))
    (thread,) = {call["thread"] for call in asked}
    assert len(asked) == 8 and thread != threading.get_ident()
    # What waits for itself does not wait for ever, and what fails there fails here.
    assert esmf_thread.in_thread(lambda: esmf_thread.in_thread(threading.get_ident)) == thread
    with pytest.raises(ZeroDivisionError):
        esmf_thread.in_thread(lambda: 1 / 0)


def test_an_error_of_esmf_is_said_with_what_it_was_asked(monkeypatch) -> None:
    def fails(*given, **more):
        raise ValueError("rc = 506")

    monkeypatch.setitem(sys.modules, "xesmf", types.SimpleNamespace(Regridder=fails))
    with pytest.raises(GridError, match=r"no bilinear weights from 9 x 12.*ValueError: rc = 506.*embedded"):
        regrid(GLOBE, TARGET.isel(lat=[0, 1]), "bilinear", "xesmf")


def test_the_libraries_of_hdf5_are_loaded_before_esmf(monkeypatch) -> None:
    order = []

    def recorded(name):
        order.append(name)
        if name == "netCDF4":
            raise ModuleNotFoundError(name=name)
        return types.SimpleNamespace()

    monkeypatch.setattr(importlib, "import_module", recorded)
    esmf_thread.load()
    assert order == ["h5py", "netCDF4", "esmpy", "xesmf"]


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (ModuleNotFoundError("No module", name="xesmf"), ModuleNotFoundError(name="esmpy"), "needs the package xesmf"),
        (ModuleNotFoundError("No module", name="ESMF"), ModuleNotFoundError(name="esmpy"), "esmpy.* is missing.*conda"),
        (
            ModuleNotFoundError("No module", name="ESMF"),
            ImportError("The ESMFMKFILE environment variable is not available."),
            "variable ESMFMKFILE is missing. Activate",
        ),
        (ImportError("x"), OSError("libesmf.so: cannot open"), r"esmpy is installed, but.*OSError: libesmf.so"),
        (ModuleNotFoundError("No module named 'sparse'", name="sparse"), None, "xesmf is installed, but.*'sparse'"),
    ],
)
def test_messages_name_what_is_missing(monkeypatch, error, cause, words) -> None:
    def imported(name):
        raised = {"xesmf": error, "esmpy": cause}.get(name)
        if raised is not None:
            raise raised

    monkeypatch.setattr(importlib, "import_module", imported)
    with pytest.raises(SlamsError, match=f"engine='xesmf'.*{words}.*engine='embedded'"):
        esmf_thread.load()


def test_weights_of_another_esmf_are_others(monkeypatch, tmp_path) -> None:
    grid, keys = geometry_of(GLOBE), set()
    for text in (None, "8.9.0", "8.8.1"):
        file = tmp_path / "esmf.mk"
        if text is not None:
            file.write_text(f"# of ESMF\nESMF_VERSION_MAJOR=8\nESMF_VERSION_STRING={text}\n")
        monkeypatch.setenv("ESMFMKFILE", str(file))
        keys.add(store.key_of(grid, grid, engine="xesmf"))
    monkeypatch.setattr(esmf_thread, "version", {"xesmf": "0.9", "esmpy": "8.9"}.__getitem__)
    keys.add(store.key_of(grid, grid, engine="xesmf"))
    assert len(keys) == 4


def test_observations_take_the_engine(asked) -> None:
    time = xr.DataArray(pd.date_range("2000-01-01", periods=1), dims="time", name="time")
    spec = Spec((VariableSpec("t", "K"),), lat=tuple(LAT.tolist()), lon=tuple(LON.tolist()), periodic=True)
    coords = {"time": time, "lat": ("p", [0.0, 35.0]), "lon": ("p", [10.0, -20.0])}
    data = xr.DataArray([[280.0, 281.0]], dims=("time", "p"), coords=coords, name="t", attrs={"units": "K"})
    obs = xslams.Observation(data, error=1.0, engine="xesmf")
    got = obs.to_arrays(spec, time).matrix
    (call,) = asked
    assert call["locstream_out"] and call["method"] == "bilinear"
    expected = obs.replace(engine="embedded").to_arrays(spec, time).matrix
    assert len(asked) == 1
    np.testing.assert_allclose(got.toarray(), expected.toarray(), atol=1e-12)
    for wrong in ("cdo", None, 3):
        with pytest.raises(ObservationOptionError, match=r"engine=.*expected one of 'auto', 'embedded', 'xesmf'"):
            obs.replace(engine=wrong)

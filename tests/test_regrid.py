"""Interpolation weights: laws, and values of ESMF."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xslams.coordinates import Grid, is_periodic
from xslams.errors import ChunkError, DimensionError, GridError, SlamsError
from xslams.models.spec import Spec, VariableSpec
from xslams.regrid import regrid
from xslams.weights import cell_edges, cell_weights, grid_weights, point_weights, row_kron

METHODS = ("bilinear", "conservative", "nearest")
REFERENCES = ("0p5_to_2p5_descending", "2_to_gauss24", "2p5_to_1p5", "gauss48_to_2")


@st.composite
def grids(draw, *, periodic=None):
    """Grids of any order, convention and spacing, global or regional."""
    closed = draw(st.booleans()) if periodic is None else periodic
    nlat, nlon = draw(st.integers(2, 9)), draw(st.integers(4, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if closed:
        lat = np.linspace(-90, 90, 2 * nlat + 1)[1::2]
        lon = draw(st.sampled_from([0.0, -180.0, 3.0])) + np.arange(nlon) * 360.0 / nlon
        lon = (lon + 180) % 360 - 180 if draw(st.booleans()) else lon
    else:
        lat = rng.uniform(-80, 70) + np.cumsum(rng.uniform(0.5, 1.5, nlat))
        lon = rng.uniform(-180, 360) + np.cumsum(rng.uniform(1, 5, nlon))
    lat = lat[::-1] if draw(st.booleans()) else lat
    lon = lon[::-1] if draw(st.booleans()) else lon
    return Grid(lat, lon, periodic=closed)


def smooth(lat, lon):
    """A field that is smooth on the sphere, poles included."""
    a, b = np.deg2rad(lat), np.deg2rad(lon)
    return 2 + np.cos(a) ** 2 * np.cos(2 * b) + np.sin(a) + 0.5 * np.cos(a) * np.sin(b)


# --- laws --------------------------------------------------------------------------------------------------------


@given(source=grids(), target=grids(), method=st.sampled_from(METHODS))
def test_weights_are_averages(source, target, method):
    weights = grid_weights(source, target, method)
    assert weights.shape == (target.lat.size * target.lon.size, source.lat.size * source.lon.size)
    assert weights.nnz == 0 or weights.data.min() >= 0
    total = np.asarray(weights.sum(axis=1)).ravel()
    inside = np.diff(weights.indptr) > 0
    np.testing.assert_allclose(total[inside], 1.0, atol=1e-12)
    if source.periodic:
        assert inside.all()


@given(grid=grids(), method=st.sampled_from(METHODS))
def test_own_grid_is_the_identity(grid, method):
    weights = grid_weights(grid, grid, method)
    np.testing.assert_allclose(weights.toarray(), np.eye(weights.shape[0]), atol=1e-9)


@given(source=grids(periodic=True), target=grids(periodic=True), seed=st.integers(0, 99))
def test_conservative_conserves(source, target, seed):
    def area(grid):
        return np.multiply.outer(
            np.abs(np.diff(np.sin(np.deg2rad(cell_edges(grid.lat, latitude=True))))), np.full(grid.lon.size, 1.0)
        ).ravel()

    x = np.random.default_rng(seed).normal(size=source.shape).ravel()
    y = grid_weights(source, target, "conservative") @ x
    means = [np.average(f, weights=area(g)) for f, g in ((x, source), (y, target))]
    assert means[0] == pytest.approx(means[1], abs=1e-9)


@given(grid=grids(), seed=st.integers(0, 99))
def test_bilinear_reproduces_what_is_linear(grid, seed):
    rng = np.random.default_rng(seed)
    lon = np.unwrap(grid.lon, period=360)
    inner_lat = rng.uniform(grid.lat.min(), grid.lat.max(), 20)
    inner_lon = rng.uniform(lon.min(), lon.max(), 20)
    field = np.add.outer(0.3 * grid.lat, 0.2 * lon).ravel()
    got = point_weights(grid, inner_lat, inner_lon) @ field
    np.testing.assert_allclose(got, 0.3 * inner_lat + 0.2 * inner_lon, atol=1e-8)


@given(grid=grids(), turns=st.integers(-2, 2), method=st.sampled_from(["bilinear", "nearest"]))
def test_whole_circles_change_nothing(grid, turns, method):
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-89, 89, 30), rng.uniform(0, 360, 30)
    one, other = (point_weights(grid, lat, x, method).toarray() for x in (lon, lon + 360.0 * turns))
    np.testing.assert_allclose(one, other, atol=1e-9)


@given(grid=grids())
def test_points_and_grids_agree(grid):
    lat, lon = np.linspace(-85, 85, 7), np.linspace(0, 355, 9)
    for method in ("bilinear", "nearest"):
        a = grid_weights(grid, Grid(lat, lon), method)
        b = point_weights(grid, np.repeat(lat, 9), np.tile(lon, 7), method)
        np.testing.assert_allclose(a.toarray(), b.toarray(), atol=1e-12)


@given(seed=st.integers(0, 999))
def test_row_kron(seed):
    rng = np.random.default_rng(seed)
    import scipy.sparse as sp

    a, b = (sp.csr_array(rng.normal(size=s) * (rng.random(s) < 0.4)) for s in ((4, 3), (5, 6)))
    i, j = rng.integers(0, 4, 7), rng.integers(0, 5, 7)
    expected = [np.kron(a.toarray()[p], b.toarray()[q]) for p, q in zip(i, j, strict=True)]
    np.testing.assert_array_equal(row_kron(a, b, i, j).toarray(), expected)


def test_pole_is_the_mean_of_the_last_ring():
    grid = Grid(np.array([-60.0, 0.0, 60.0]), np.arange(0, 360, 90.0), periodic=True)
    weights = point_weights(grid, np.array([90.0, 75.0]), np.array([10.0, 0.0])).toarray().reshape(2, 3, 4)
    np.testing.assert_allclose(weights[0, 2], 0.25)
    np.testing.assert_allclose(weights[1, 2], [0.625, 0.125, 0.125, 0.125])


def test_edges_of_a_regional_grid():
    grid = Grid(np.array([20.0, 10.0]), np.array([350.0, 0.0]))
    lat, lon = np.array([24.9, 25.1, 15.0, 15.0, np.nan]), np.array([355.0, 355.0, 4.9, -15.1, 0.0])
    assert (np.diff(point_weights(grid, lat, lon).indptr) > 0).tolist() == [True, False, True, False, False]


def test_cells_half_covered_count():
    grid = Grid(np.array([10.0, 20.0]), np.array([0.0, 10.0]))
    lat_edges, lon_edges = np.array([5.0, 25.0]), np.array([-15.0, 5.0, 25.0])
    weights = cell_weights(grid, lat_edges, lon_edges)
    assert (np.diff(weights.indptr) > 0).tolist() == [True, True]
    assert np.diff(cell_weights(grid, lat_edges, np.array([-25.0, -4.0])).indptr).tolist() == [0]


@pytest.mark.parametrize("method", ["bilinear", "conservative"])
def test_error_falls_with_the_square_of_the_step(method):
    def error(n):
        lat, lon = np.linspace(-90, 90, 2 * n + 1)[1::2], np.arange(2 * n) * 180.0 / n
        to_lat, to_lon = np.linspace(-85, 85, 11), np.arange(0, 360, 30.0)
        got = grid_weights(Grid(lat, lon, periodic=True), Grid(to_lat, to_lon, periodic=True), "bilinear")
        field = smooth(*np.meshgrid(lat, lon, indexing="ij")).ravel()
        return np.abs(got @ field - smooth(*np.meshgrid(to_lat, to_lon, indexing="ij")).ravel()).max()

    assert error(40) < 0.35 * error(20)


# --- ESMF --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFERENCES)
def test_against_esmf(shared_data: Path, name):
    with xr.open_dataset(shared_data / "regrid_reference" / f"{name}.nc") as opened:
        ref = opened.load()
    source = xr.Dataset(
        {"x": (("lat", "lon"), ref.source.values)}, {"lat": ref.lat_source.values, "lon": ref.lon_source.values}
    )
    # ESMF interpolates along great circles, we along parallels; the field varies by 2.
    tolerance = {"bilinear": 5e-4, "conservative": 1.5e-3}
    for method, limit in tolerance.items():
        got = regrid(source, ref, method, "embedded").x
        error = np.abs(got - ref[method])
        if method == "conservative":
            # Where the cells of the source stop short of the pole, ESMF does not divide by the share that is covered.
            covered = np.abs(cell_edges_of_centres(source.lat.values)).min() >= 90 - 1e-6
            error = error if covered else error.isel(lat=slice(1, -1))
        assert float(error.max()) < limit
        assert float(np.sqrt((error**2).mean())) < 0.3 * limit
    nearest = np.abs(regrid(source, ref, "nearest", "embedded").x - ref["nearest_s2d"])
    # Half way between two cells either is nearest.
    ties = np.isclose((ref.lon.values[:, None] - source.lon.values) % 360, 0.5 * np.diff(source.lon)[0]).any(axis=1)
    assert float(nearest.isel(lon=~ties).max()) == 0.0
    points = xr.Dataset(coords={"lat": ("point", ref.point_lat.values), "lon": ("point", ref.point_lon.values)})
    assert float(np.abs(regrid(source, points, "bilinear", "embedded").x - ref.points_bilinear).max()) < 5e-4
    assert float(np.abs(regrid(source, points, "nearest", "embedded").x - ref.points_nearest_s2d).max()) == 0.0


def cell_edges_of_centres(lat):
    """Outer edges half a step beyond the outermost centres, not extended to the poles."""
    return np.array([1.5 * lat[0] - 0.5 * lat[1], 1.5 * lat[-1] - 0.5 * lat[-2]])


# --- xarray ------------------------------------------------------------------------------------------------------


def example(**chunks):
    lat, lon = np.linspace(80, -80, 9), np.arange(0, 360, 30.0)
    field = smooth(*np.meshgrid(lat, lon, indexing="ij"))
    ds = xr.Dataset(
        {
            "t": (("lat", "time", "lon"), np.stack([field, 2 * field], axis=1).astype("f4"), {"units": "K"}),
            "mask": (("lat", "lon"), field > 2),
            "co2": ("time", [400.0, 401.0]),
            "area": ("lat", np.cos(np.deg2rad(lat))),
        },
        {"lat": lat, "lon": lon, "time": [0, 1]},
        {"title": "example"},
    )
    return ds.chunk(chunks) if chunks else ds


TARGET = xr.Dataset(
    coords={"latitude": ("latitude", [-30.0, 10.0, 45.0], {"units": "degrees_north"}), "lon": [-20.0, 5.0]}
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("engine", ["auto", "embedded"])
def test_dataset(method, engine):
    got = regrid(example(), TARGET, method, engine)
    assert got.t.dims == ("latitude", "time", "lon")
    assert got.t.dtype == np.float32
    assert got.t.attrs == {"units": "K"}
    assert got.attrs == {"title": "example"}
    assert set(got.variables) == {"t", "mask", "co2", "latitude", "lon", "time"}
    assert got.latitude.attrs["units"] == "degrees_north"
    assert not got.t.isnull().any()


@pytest.mark.parametrize("method", METHODS)
def test_lazy_stays_lazy(method):
    ds = example(time=1)
    with dask.config.set(scheduler=lambda *a, **k: pytest.fail("computed")):
        got = regrid(ds, TARGET, method, "embedded")
    assert got.t.chunks is not None
    assert isinstance(got.t.data._meta, np.ndarray)
    xr.testing.assert_identical(got.compute(), regrid(ds.compute(), TARGET, method, "embedded"))


def test_graph_carries_no_weights():
    lat, lon = np.linspace(-89, 89, 90), np.arange(0, 360, 2.0)
    big = xr.DataArray(np.zeros((20, 90, 180)), dims=("time", "lat", "lon"), coords={"lat": lat, "lon": lon}).chunk(
        time=1
    )
    target = xr.Dataset(coords={"lat": lat * 0.99, "lon": lon + 0.5})
    got = regrid(big, target, "bilinear", "embedded")
    ours = [layer for name, layer in got.data.dask.layers.items() if name not in big.data.dask.layers]
    # The weights take 90 * 180 * 4 * 12 bytes, about 800 kB; the coordinates that determine them, 5 kB.
    assert len(pickle.dumps(ours)) < 50_000


def test_split_core_dimension():
    with pytest.raises(ChunkError, match=r"ds.chunk\({'lat': -1}\)"):
        regrid(example(lat=3), TARGET)


def test_missing_values_stay_missing():
    ds = example()[["t"]]
    ds["t"] = ds.t.where((ds.lon != 0) | (ds.time == 1))
    for method in ("bilinear", "nearest"):
        got = regrid(ds, TARGET, method, "embedded").t
        assert got.isel(time=0).isnull().any()
        assert not got.isel(time=1).isnull().any()
    whole = xr.Dataset(coords={"lat": [-45.0, 45.0], "lon": [0.0, 180.0]})
    mean = regrid(ds.where(ds.t.isnull(), 7.0), whole, "conservative", "embedded").t
    np.testing.assert_allclose(mean, 7.0, rtol=1e-6)


def test_outside_is_missing():
    got = regrid(
        example().sel(lat=slice(40, -40)), xr.Dataset(coords={"lat": [0.0, 75.0], "lon": [0.0, 10.0]}), "bilinear"
    )
    assert got.t.isnull().all(("time", "lon")).values.tolist() == [False, True]


def test_to_points_and_to_a_model():
    points = xr.Dataset(
        coords={"lat": ("station", [5.0, 50.0]), "lon": ("station", [-5.0, 5.0]), "station": ["a", "b"]}
    )
    got = regrid(example(), points)
    assert got.t.dims == ("station", "time")
    assert got.station.values.tolist() == ["a", "b"]
    spec = Spec((VariableSpec("t", "K"),), lat=(-10.0, 10.0), lon=(0.0, 20.0), periodic=False)
    assert regrid(example().t, spec).sizes == {"lat": 2, "time": 2, "lon": 2}
    assert regrid(example().t, points.isel(station=0)).sizes == {"point": 1, "time": 2}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: regrid(example(), TARGET, "cubic"), GridError, "'cubic'"),
        (lambda: regrid(example(), TARGET, engine="cdo"), GridError, "'cdo'"),
        (lambda: regrid(example().drop_vars("lat"), TARGET), DimensionError, "no latitude"),
        (lambda: regrid(example(), xr.Dataset()), DimensionError, "target has no latitude"),
        (
            lambda: regrid(example(), xr.Dataset(coords={"lat": ("p", [1.0]), "lon": ("p", [1.0])}), "conservative"),
            GridError,
            "points",
        ),
        (
            lambda: regrid(example(), xr.Dataset(coords={"lat": ("time", [1.0, 2.0]), "lon": ("time", [1.0, 2.0])})),
            DimensionError,
            "Rename",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_xesmf_is_asked_for_by_name():
    if importlib.util.find_spec("xesmf") is None:
        with pytest.raises(SlamsError, match="conda install"):
            regrid(example(), TARGET, engine="xesmf")
        return
    for method in METHODS:
        got, ours = (regrid(example(), TARGET, method, e).t for e in ("xesmf", "embedded"))
        np.testing.assert_allclose(got, ours, atol=0.05)


def test_cell_edges_close_at_the_poles():
    gauss = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(48)[0]))
    edges = cell_edges(gauss, latitude=True)
    assert edges[0] == -90
    assert edges[-1] == 90
    assert is_periodic(np.arange(0, 360, 3.75))

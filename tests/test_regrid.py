"""Regridding of labelled data: any geometry, missing values, laziness."""

from __future__ import annotations

import importlib.util
import pickle
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.errors import ChunkError, DimensionError, GridError, OptionError, SlamsError, SlamsWarning, VariableError
from xslams.regrid import regrid
from xslams.spec import Spec, VariableSpec

METHODS = ("bilinear", "conservative", "nearest")


def smooth(lat, lon):
    """A field that is smooth on the sphere, poles included."""
    a, b = np.deg2rad(lat), np.deg2rad(lon)
    return 2 + np.cos(a) ** 2 * np.cos(2 * b) + np.sin(a) + 0.5 * np.cos(a) * np.sin(b)


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


def graph_bytes(lazy, source):
    """Bytes of what regridding added to a graph, and of its largest task as it is sent to a worker."""
    graph = dict(lazy.__dask_optimize__(lazy.__dask_graph__(), lazy.__dask_keys__()))
    ours = {k: v for k, v in graph.items() if k not in dict(source.__dask_graph__())}
    tasks = [len(pickle.dumps(v)) for k, v in ours.items() if "coordinates" not in str(k)]
    layers = [layer for name, layer in lazy.dask.layers.items() if name not in source.dask.layers]
    return len(pickle.dumps(layers)), max(tasks)


@pytest.mark.parametrize("kind", ["grid", "curvilinear"])
@pytest.mark.parametrize("method", METHODS)
def test_graph_carries_no_weights(kind, method):
    """Nor, in every task, the coordinates that determine them."""
    lat, lon = np.linspace(-89, 89, 90), np.arange(0, 360, 2.0)
    coords = {"lat": lat, "lon": lon}
    if kind == "curvilinear":
        lon2, lat2 = np.meshgrid(lon, lat)
        coords = {"lat2": (("lat", "lon"), lat2 + 0.01 * np.sin(np.deg2rad(lon2))), "lon2": (("lat", "lon"), lon2)}
        coords["lat2"] = (*coords["lat2"], {"units": "degrees_north"})
        coords["lon2"] = (*coords["lon2"], {"units": "degrees_east"})
    target = xr.Dataset(coords={"lat": lat * 0.99, "lon": lon + 0.5})
    sizes = []
    for chunks in (10, 40):
        field = dask.array.zeros((chunks, 90, 180), chunks=(1, 90, 180))
        big = xr.DataArray(field, dims=("time", "lat", "lon"), coords=coords)
        got = regrid(big, target, method, "embedded")
        assert got.chunks[0] == (1,) * chunks
        sizes.append(graph_bytes(got.data, big.data))
    # The weights take 90 * 180 * 4 * 12 bytes, about 800 kB; the graph holds coordinates once, 5 kB or 260 kB.
    once = 400_000 if kind == "curvilinear" else 20_000
    assert all(layers < once for layers, _ in sizes)
    assert all(task < 4_000 for _, task in sizes)
    # Every chunk has a task and its key, and no more.
    assert (sizes[1][0] - sizes[0][0]) / 30 < 500


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


def test_missing_is_not_zero():
    """A mask stays a mask: neither the values at it nor targets outside of the source become 0."""
    ds = example()[["t"]] + 100.0
    land = ds.t.where(ds.lon < 180)
    for method in METHODS:
        got = regrid(land, xr.Dataset(coords={"lat": [0.0, 5.0], "lon": np.arange(0, 360, 20.0)}), method).values
        assert np.isnan(got).any() and np.isfinite(got).any()
        assert np.nanmin(got) > 90
        box = ds.t.isel(lat=slice(2, 6), lon=slice(1, 5))
        got = regrid(box, xr.Dataset(coords={"lat": [-80.0, 30.0], "lon": [80.0, 200.0]}), method)
        assert got.isnull().values.sum() == 3 * 2
        assert float(got.min()) > 90
        points = xr.Dataset(coords={"lat": ("p", [-80.0, 30.0, np.nan]), "lon": ("p", [80.0, 80.0, 80.0])})
        if method != "conservative":
            assert regrid(box, points, method).isnull().any("time").values.tolist() == [True, False, True]


def test_fields_are_treated_apart(monkeypatch):
    """However many fields are multiplied at once, a gap in one is no gap in another."""
    ds = xr.concat([example().t] * 3, dim="member")
    rng = np.random.default_rng(0)
    ds = ds.where(rng.random(ds.shape) > 0.1)
    whole = regrid(ds, TARGET, "conservative")
    monkeypatch.setattr("xslams.weights.recipe._SLAB", 200)
    xr.testing.assert_identical(regrid(ds, TARGET, "conservative"), whole)
    for i in range(3):
        xr.testing.assert_allclose(regrid(ds[i], TARGET, "conservative"), whole[i])


@pytest.mark.parametrize("method", METHODS)
def test_constants_and_ranges(method):
    ds = example()[["t"]].astype(float)
    ds["one"] = xr.ones_like(ds.t)
    got = regrid(ds, TARGET, method)
    np.testing.assert_allclose(got.one, 1.0, rtol=1e-15)
    assert ds.t.min() - 1e-12 <= got.t.min() and got.t.max() <= ds.t.max() + 1e-12


def test_bounds_are_used_and_handed_on():
    field = xr.Dataset({"f": (("lat", "lon"), [[0.0, 1.0], [2.0, 3.0]])}, {"lat": [5.0, 15.0], "lon": [5.0, 15.0]})
    target = xr.Dataset(
        {"lon_bnds": (("lon", "bnds"), [[0.0, 5.0]])},
        {"lat": ("lat", [5.0], {"bounds": "lat_bnds"}), "lon": ("lon", [4.0], {"bounds": "lon_bnds"})},
    )
    target["lat_bnds"] = (("lat", "bnds"), [[0.0, 10.0]])
    got = regrid(field, target, "conservative")
    assert got.f.item() == 0.0
    assert got.lat.attrs["bounds"] == "lat_bnds"
    assert got["lon_bnds"].values.tolist() == [[0.0, 5.0]]
    assert "lat_bnds" in got
    wide = target.assign(lon_bnds=(("lon", "bnds"), [[0.0, 20.0]]))
    assert regrid(field, wide, "conservative", edges="parallel").f.item() == pytest.approx(0.5)
    # As xESMF names them.
    named = xr.Dataset(
        coords={"lat": [5.0], "lon": [10.0], "lat_b": ("lat_b", [0.0, 10]), "lon_b": ("lon_b", [0.0, 20])}
    )
    assert regrid(field, named, "conservative", edges="parallel").f.item() == pytest.approx(0.5)


def curved(ny=12, nx=16):
    """A tilted grid over the north pole."""
    y, x = np.meshgrid(np.linspace(-30, 30, ny), np.linspace(-40, 40, nx), indexing="ij")
    a, b = np.deg2rad(y), np.deg2rad(x)
    p = np.stack([np.sin(a), np.cos(a) * np.sin(b), np.cos(a) * np.cos(b)])
    lat, lon = np.rad2deg(np.arcsin(p[2])), np.rad2deg(np.arctan2(p[1], p[0]))
    return xr.Dataset(
        {"f": (("time", "y", "x"), np.stack([smooth(lat, lon), 2 * smooth(lat, lon)]))},
        {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon), "time": [0, 1]},
    )


@pytest.mark.parametrize("method", METHODS)
def test_curvilinear_source_and_target(method):
    ds = curved(24, 32)
    target = xr.Dataset(coords={"lat": [75.0, 80.0, 85.0], "lon": np.arange(0.0, 360, 30)})
    got = regrid(ds, target, method).f
    assert got.dims == ("time", "lat", "lon")
    assert got.sizes["lon"] == 12
    expected = smooth(*np.meshgrid(target.lat, target.lon, indexing="ij"))
    np.testing.assert_allclose(got.isel(time=0), expected, atol={"bilinear": 5e-3}.get(method, 0.08))
    back = regrid(example(), ds, method).t
    assert back.dims == ("y", "time", "x")
    assert set(back.coords) == {"lat", "lon", "time"}
    assert not back.isnull().any()
    lazy = regrid(ds.chunk(time=1), target, method).f
    xr.testing.assert_identical(lazy.compute(), got)


def test_meshgrids_are_grids():
    """Two-dimensional coordinates that do not vary along both dimensions lose nothing."""
    ds = example()[["t"]].transpose("time", "lat", "lon")
    lon, lat = np.meshgrid(ds.lon, ds.lat)
    wide = ds.rename(lat="y", lon="x").drop_vars(["x", "y"])
    wide = wide.assign_coords(lat=(("y", "x"), lat), lon=(("y", "x"), lon))
    for method in METHODS:
        expected = regrid(ds, TARGET, method).t
        xr.testing.assert_identical(regrid(wide, TARGET, method).t, expected)
        turned = wide.transpose("x", "y", "time")
        got = regrid(turned, TARGET, method).t
        assert got.dims == ("lon", "latitude", "time")
        xr.testing.assert_identical(got.transpose("time", "latitude", "lon"), expected)
        given = regrid(ds, wide.drop_vars("t"), method).t
        assert given.dims == ("time", "y", "x")
        np.testing.assert_array_equal(given, regrid(ds, ds, method).t)
        assert given.lat.dims == ("y", "x")


def test_swath_and_stations():
    along, across = np.meshgrid(np.linspace(-60, 60, 20), np.linspace(-4, 4, 5), indexing="ij")
    swath = xr.Dataset(
        coords={"lat": (("scan", "pixel"), along + 0.2 * across), "lon": (("scan", "pixel"), 170 + across * 4)}
    )
    for method in METHODS:
        got = regrid(example()[["t"]].isel(time=0), swath, method).t
        assert got.dims == ("scan", "pixel")
        np.testing.assert_allclose(got, smooth(swath.lat, swath.lon), atol=0.5)
    stations = xr.Dataset(
        {"t": (("time", "station"), [[1.0, 2.0, np.nan], [4.0, 5.0, 6.0]])},
        {"lat": ("station", [10.0, 50.0, -30.0]), "lon": ("station", [0.0, -90.0, 120.0])},
    )
    got = regrid(stations, xr.Dataset(coords={"lat": [0.0, 45.0], "lon": [10.0, 260.0]}), "nearest").t
    assert got.dims == ("time", "lat", "lon")
    assert got.values.tolist() == [[[1.0, 2.0], [1.0, 2.0]], [[4.0, 5.0], [4.0, 5.0]]]
    far = regrid(stations, xr.Dataset(coords={"lat": [-30.0], "lon": [110.0]}), "nearest").t
    assert np.isnan(far.values[0]).all() and far.values[1].item() == 6.0
    with pytest.raises(GridError, match="nearest"):
        regrid(stations, TARGET)


def test_packed_integers(tmp_path):
    ds = example()[["t"]].isel(time=0, drop=True)
    ds["t"] = ds.t.where(ds.lon > 0)
    packing = {"dtype": "int16", "scale_factor": 0.001, "add_offset": 2.0, "_FillValue": -32768}
    ds.to_netcdf(tmp_path / "packed.nc", encoding={"t": packing, "lat": {"dtype": "int16", "scale_factor": 0.5}})
    with xr.open_dataset(tmp_path / "packed.nc") as packed:
        for method in METHODS:
            np.testing.assert_allclose(regrid(packed, TARGET, method).t, regrid(ds, TARGET, method).t, atol=1e-3)
    with (
        xr.open_dataset(tmp_path / "packed.nc", mask_and_scale=False) as raw,
        pytest.raises(VariableError, match="decode_cf"),
    ):
        regrid(raw.assign_coords(lat=ds.lat), TARGET)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "fill"), [("f4", 1e20), ("f8", -9999.0), ("f4", [1e20, -1.0])])
def test_fill_values_that_attributes_name_are_missing(method, dtype, fill):
    ds = example()[["t"]].astype(dtype)
    masked = ds.t.where(ds.lon != 330)
    filled = masked.fillna(np.ravel(fill)[-1]).assign_attrs(missing_value=fill, _FillValue=np.ravel(fill)[0])
    got = regrid(filled.astype(dtype), TARGET, method)
    assert float(got.max()) < 10 and float(got.min()) > -10
    np.testing.assert_array_equal(got, regrid(masked, TARGET, method))
    with pytest.raises(VariableError, match="decode_cf"):
        regrid(filled.assign_attrs(scale_factor=2.0), TARGET, method)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.booleans(), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_masked_cells_are_never_mixed_with_others(seed, method, bent, missing):
    """Values of 1 stay 1, whatever lies beside them, or are missing."""
    rng = np.random.default_rng(seed)
    ds = curved(7, 8) if bent else example()
    ds = ds[["f" if bent else "t"]].isel(time=0, drop=True) * 0.0 + 1.0
    (name,) = ds.data_vars
    ds[name] = ds[name].where(rng.random(ds[name].shape) > 0.3, missing)
    points = xr.Dataset(coords={"lat": ("p", rng.uniform(-90, 90, 40)), "lon": ("p", rng.uniform(-180, 360, 40))})
    target = example()[["t"]] if method == "conservative" else points
    got = regrid(ds, target, method)[name].values
    np.testing.assert_allclose(got[np.isfinite(got)], 1.0, rtol=1e-12)
    assert not np.isinf(got).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dims", [("lat",), ("lon",), ("lat", "lon")])
def test_a_single_row_or_column_is_a_source(method, dims):
    ds = example()[["t"]].isel({dim: [4] for dim in dims})
    at = {d: ds[d].values if d in dims else ds[d].values[:3] for d in ("lat", "lon")}
    got = regrid(ds, xr.Dataset(coords=at), method).t
    np.testing.assert_allclose(got, ds.t.sel(at), rtol=1e-6)
    with pytest.raises(GridError, match=r"no places:.*0"):
        regrid(ds.isel(lat=[]), TARGET, method)


@pytest.mark.parametrize("method", METHODS)
def test_a_single_scan_is_a_source_of_points(method):
    ds = curved().isel(y=[5], time=0)
    if method == "nearest":
        got = regrid(ds, curved(), method).f
        assert got.notnull().all() and set(np.ravel(got)) <= set(np.ravel(ds.f))
    else:
        with pytest.raises(GridError, match="method='nearest'"):
            regrid(ds, curved(), method)


def test_what_is_no_number_is_left_out_loudly():
    ds = example().assign(kind=(("lat", "lon"), np.full((9, 12), "sea")))
    with pytest.warns(SlamsWarning, match="Left out 'kind'"):
        assert "kind" not in regrid(ds, TARGET)


def test_edges():
    ds = example()
    a, b = (regrid(ds, TARGET, edges=e).t for e in ("great_circle", "parallel"))
    assert 1e-4 < float(abs(a - b).max()) < 0.05
    with pytest.raises(GridError, match="1-D"):
        regrid(curved(), TARGET, edges="parallel")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: regrid(example(), TARGET, "cubic"), OptionError, "'cubic'"),
        (lambda: regrid(example(), TARGET, engine="cdo"), OptionError, "'cdo'"),
        (lambda: regrid(example(), TARGET, edges="straight"), OptionError, "'straight'"),
        (lambda: regrid(example().drop_vars("lat"), TARGET), DimensionError, "no latitude"),
        (lambda: regrid(example(), xr.Dataset()), DimensionError, "target is not understood. Found no latitude"),
        (lambda: regrid(example(), 2.5), OptionError, "target=2.5; expected a Dataset"),
        (lambda: regrid(example(), "speedy-t30"), OptionError, r"open_model\('speedy-t30'\)"),
        (lambda: regrid(example(lat=3)["t"], TARGET), ChunkError, "'lat' of 't' is split"),
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
        (
            # Bounds of time along a dimension that the target calls its own, as in files that CDO wrote.
            lambda: regrid(example().assign(time_bnds=(("time", "x"), np.zeros((2, 2)))), curved()),
            DimensionError,
            "'time_bnds' and the target both have dimension 'x'.*rename",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_only_coordinates_of_places_come_along():
    target = curved().assign_coords(x=(("step", "y", "x"), np.zeros((3, *curved()["lat"].shape))))
    assert set(regrid(example(), target).coords) == {"lat", "lon", "time"}


def test_xesmf_is_asked_for_by_name():
    if importlib.util.find_spec("xesmf") is not None:
        pytest.skip("xesmf is installed")
    with pytest.raises(SlamsError, match="conda install"):
        regrid(example(), TARGET, engine="xesmf")
    # By itself it is never taken, so that results do not hang on what is installed.
    xr.testing.assert_identical(regrid(example(), TARGET, engine="auto"), regrid(example(), TARGET, engine="embedded"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", [example, curved])
def test_engines_agree(source, method):
    # Well within the curvilinear grid, where it has values.
    target = TARGET if source is example else xr.Dataset(coords={"lat": [74.0, 80.0, 85.0], "lon": [-20.0, 5.0, 100.0]})
    ours = regrid(source(), target, method, "embedded")
    assert all(ours[name].notnull().all() for name in ours.data_vars)
    pytest.importorskip("xesmf", reason="needs xesmf, which needs ESMF (conda-forge)", exc_type=ImportError)
    got = regrid(source(), target, method, "xesmf")
    for name in ours.data_vars:
        np.testing.assert_allclose(got[name], ours[name], atol=1e-6)


def test_esmf_works_from_any_thread():
    pytest.importorskip("xesmf", reason="needs xesmf, which needs ESMF (conda-forge)", exc_type=ImportError)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda k: regrid(example(), TARGET.isel(lon=[k]), engine="xesmf").t, (0, 1))
    np.testing.assert_allclose(xr.concat([first, second], "lon"), regrid(example(), TARGET).t, atol=1e-6)

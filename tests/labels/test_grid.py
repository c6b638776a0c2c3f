"""From coordinates to a geometry."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.errors import DimensionError, GridError, SlamsWarning
from xslams.geometry import Curvilinear, Grid, Points
from xslams.geometry.sphere import around
from xslams.labels.grid import geometry_of, grid_of
from xslams.weights import cell_areas


def bounded(lat, lon, lat_bounds, lon_bounds):
    return xr.Dataset(
        {"lat_bnds": (("lat", "nv"), lat_bounds), "lon_bnds": (("lon", "nv"), lon_bounds)},
        {"lat": ("lat", lat, {"bounds": "lat_bnds"}), "lon": ("lon", lon, {"bounds": "lon_bnds"})},
    )


def test_bounds_in_any_order_and_convention():
    ds = bounded([10.0, -10.0], [0.0, 90.0, 240.0], [[20, 0], [-20, 0]], [[350, 20], [100, 80], [-125, -115]])
    grid = geometry_of(ds)
    assert grid.lat_intervals.tolist() == [[0, 20], [-20, 0]]
    assert grid.lon_intervals.tolist() == [[-10, 20], [80, 100], [235, 245]]
    # Bounds may have gone from the attributes to the encoding when the file was decoded.
    ds.lon.encoding["bounds"] = ds.lon.attrs.pop("bounds")
    assert geometry_of(ds).lon_intervals.tolist() == [[-10, 20], [80, 100], [235, 245]]
    wide = bounded([0.0], [180.0], [[-90, 90]], [[0, 360]])
    assert geometry_of(wide).lon_intervals.tolist() == [[0, 360]]


@pytest.mark.parametrize(
    ("lat_bounds", "lon_bounds", "words"),
    [
        ([[0, 5], [-20, 0]], [[0, 10], [10, 20]], "'lat' do not hold its latitudes"),
        ([[0, 20], [-20, 0]], [[0, 10], [20, 30]], "'lon' do not hold its longitudes"),
        ([[10, 10], [-20, 0]], [[0, 10], [10, 20]], "latitudes"),
        ([[0, 20], [-20, 0]], [[5, 5], [10, 20]], "longitudes"),
    ],
)
def test_bounds_that_hold_no_centres(lat_bounds, lon_bounds, words):
    with pytest.raises(GridError, match=words):
        geometry_of(bounded([10.0, -10.0], [5.0, 15.0], lat_bounds, lon_bounds))


def test_a_dataarray_takes_bounds_from_its_dataset():
    ds = bounded([10.0, -10.0], [0.0, 90.0], [[0, 40], [-40, 0]], [[-10, 10], [80, 100]])
    ds["t"] = (("lat", "lon"), np.zeros((2, 2)))
    assert geometry_of(ds.t).lat_bounds is None
    assert geometry_of(ds.t, ds).lat_bounds.tolist() == [[0, 40], [-40, 0]]
    assert (
        geometry_of(ds.set_coords(["lat_bnds"]).t).lat_bounds is None
    )  # xarray drops what lies along other dimensions


def two(lat, lon, **more):
    return xr.Dataset(coords={"lat": (("y", "x"), lat), "lon": (("y", "x"), lon), **more})


def test_kinds():
    lon, lat = np.meshgrid([0.0, 10.0, 20.0], [0.0, 10.0])
    assert isinstance(geometry_of(xr.Dataset(coords={"lat": [0.0, 1], "lon": [0.0, 1]})), Grid)
    grid = geometry_of(two(lat, lon))
    assert isinstance(grid, Grid) and grid.dims == ("y", "x")
    turned = geometry_of(two(lat, lon).transpose("x", "y"))
    assert isinstance(turned, Grid) and turned.dims == ("y", "x") and turned.shape == (2, 3)
    assert isinstance(geometry_of(two(lat + 0.1 * lon, lon)), Curvilinear)
    # Rows of a swath that go back and forth are no grid.
    assert isinstance(geometry_of(two(np.abs(lat - 5), lon)), Curvilinear)
    stations = geometry_of(xr.Dataset(coords={"lat": ("s", [0.0, 1]), "lon": ("s", [0.0, 1])}))
    assert isinstance(stations, Points) and stations.dims == ("s",)
    cube = geometry_of(
        xr.Dataset(
            coords={"lat": (("a", "b", "c"), np.zeros((2, 3, 4))), "lon": (("a", "b", "c"), np.zeros((2, 3, 4)))}
        )
    )
    assert isinstance(cube, Points) and cube.shape == (2, 3, 4)
    for geometry, text in ((grid, "2 x 3 (lat"), (stations, "2 points")):
        assert text in str(geometry)


def test_corners():
    lon, lat = np.meshgrid([0.0, 10.0, 20.0], [0.0, 10.0])
    lat = lat + 0.1 * lon
    lon_b, lat_b = np.meshgrid([-5.0, 5.0, 15.0, 25.0], [-5.0, 5.0, 15.0])
    lat_b = lat_b + 0.1 * lon_b
    named = two(lat, lon, lat_b=(("y_b", "x_b"), lat_b), lon_b=(("y_b", "x_b"), lon_b))
    corners = geometry_of(named).corners
    assert corners.shape == (2, 2, 3, 4)
    assert corners[1, 0, 0].tolist() == [-5, 5, 5, -5]
    ds = two(lat, lon)
    for name, values in (("lat", corners[0]), ("lon", corners[1])):
        ds[name].attrs["bounds"] = f"{name}_vertices"
        ds[f"{name}_vertices"] = (("y", "x", "nv"), values)
    np.testing.assert_array_equal(geometry_of(ds).corners, corners)
    ds["lat_vertices"] = (("y", "x", "two"), corners[0][..., :2])
    with pytest.raises(DimensionError, match="four corners"):
        geometry_of(ds)


@pytest.mark.parametrize(
    ("ds", "error", "words"),
    [
        (xr.Dataset(), DimensionError, "no latitude and longitude"),
        (xr.Dataset(coords={"lat": ("s", [100.0]), "lon": ("s", [0.0])}), GridError, "swapped"),
        (two(np.full((2, 2), -91.0), np.zeros((2, 2))), GridError, "swapped"),
        (xr.Dataset(coords={"lat": ("s", [0.1], {"units": "radian"}), "lon": ("s", [0.0])}), GridError, "rad2deg"),
        (xr.Dataset(coords={"lat": [0.1, 0.2], "lon": ("lon", [0, 1], {"units": "radians"})}), GridError, "rad2deg"),
    ],
)
def test_bad_input(ds, error, words):
    with pytest.raises(error, match=words):
        geometry_of(ds)


def test_a_rotated_pole_is_no_latitude():
    """As regional climate models have it: 1-D rotated coordinates on the dimensions, and 2-D true ones."""
    lon, lat = np.meshgrid(np.linspace(0, 30, 4), np.linspace(40, 60, 3))
    ds = two(lat + 0.1 * lon, lon).rename(y="rlat", x="rlon")
    ds["lat"].attrs.update(standard_name="latitude", units="degrees_north")
    ds["lon"].attrs.update(standard_name="longitude", units="degrees_east")
    for name, standard, axis in (("rlat", "grid_latitude", "Y"), ("rlon", "grid_longitude", "X")):
        values = np.linspace(-5, 5, ds.sizes[name])
        ds[name] = (name, values, {"standard_name": standard, "units": "degrees", "axis": axis})
    geometry = geometry_of(ds)
    assert isinstance(geometry, Curvilinear)
    np.testing.assert_array_equal(geometry.lon, lon)


@pytest.mark.parametrize(
    ("lat", "message"),
    [
        ([0.0, 20.0, 10.0], "neither ascend nor descend .*Sort them"),
        ([0.0, 10.0, 10.0], "1 of 3 latitudes repeat others .*Drop them"),
        ([0.0, np.nan, 10.0], "1 of 3 latitudes are missing or infinite"),
    ],
)
def test_latitudes_that_make_no_grid_are_told_apart(lat: list[float], message: str) -> None:
    ds = xr.Dataset(coords={"lat": lat, "lon": [0.0, 10.0, 20.0]})
    with pytest.raises(GridError, match=message):
        grid_of(ds)


@pytest.mark.parametrize("size", [2, 3])
def test_bounds_lie_along_either_dimension(size: int) -> None:
    """Two cells with two edges each are told apart by the names of the dimensions."""
    lat = np.arange(size) * 10.0
    ds = xr.Dataset(coords={"lat": ("lat", lat, {"bounds": "lat_bnds"}), "lon": [0.0, 10.0]})
    ds["lat_bnds"] = (("nv", "lat"), np.stack([lat - 2.0, lat + 3.0]))
    assert geometry_of(ds).lat_intervals.tolist() == np.stack([lat - 2.0, lat + 3.0], axis=1).tolist()


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 2**32 - 1))
def test_corners_in_any_order_are_those_around_the_cell(order, seed) -> None:
    rng = np.random.default_rng(seed)
    lon, lat = np.meshgrid([0.0, 10.0, 20.0], [-60.0, -50.0, -40.0])
    lon_b, lat_b = np.meshgrid([-5.0, 5.0, 15.0, 25.0], [-65.0, -55.0, -45.0, -35.0])
    lat_b = lat_b + 0.1 * lon_b + rng.uniform(-1, 1, lat_b.shape)
    whole = two(lat + 0.1 * lon, lon)
    shuffled = whole.copy()
    for name, nodes in (("lat", lat_b), ("lon", lon_b)):
        for ds, turn in ((whole, range(4)), (shuffled, order)):
            ds[name] = ds[name].assign_attrs(bounds=f"{name}_v")
            ds[f"{name}_v"] = (("y", "x", "nv"), around(nodes)[..., list(turn)])
    np.testing.assert_allclose(cell_areas(geometry_of(shuffled)), cell_areas(geometry_of(whole)), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda ds: ds.drop_vars(["lat_bnds"]),
            "'lat' names bounds 'lat_bnds', which are not among the data.*half way",
        ),
        (lambda ds: ds.assign(lat_bnds=ds.lat_bnds.where(ds.lat > 0)), "have values that are missing"),
        (lambda ds: ds.assign(lat_bnds=ds.lat), r"have shape \(2,\), where"),
    ],
)
def test_bounds_that_are_missing_are_announced_where_cells_matter(change, words) -> None:
    ds = change(bounded([10.0, -10.0], [0.0, 90.0], [[0, 40], [-40, 0]], [[-10, 10], [80, 100]]))
    with pytest.warns(SlamsWarning, match=words) as said:
        geometry_of(ds, cells=True)
    assert len(said) == 1
    assert geometry_of(ds).lat_bounds is None
    named = ds.assign(lat_b=("lat_b", [30.0, 0.0, -30.0]))
    assert geometry_of(named, cells=True).lat_bounds.tolist() == [[0.0, 30.0], [-30.0, 0.0]]


def test_gaussian_rows_without_their_bounds_are_said_to_be_those() -> None:
    lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(12)[0]))
    ds = xr.Dataset(coords={"lat": ("lat", lat, {"bounds": "lat_bnds"}), "lon": [0.0, 10.0]})
    with pytest.warns(SlamsWarning, match="assumed that its rows are those of a Gaussian grid"):
        geometry_of(ds, cells=True)


def test_a_single_row_without_corners_is_points() -> None:
    lon, lat = np.array([[0.0, 10.0, 20.0]]), np.array([[0.0, 1.0, 2.0]])
    row = geometry_of(two(lat, lon))
    assert isinstance(row, Points) and row.dims == ("y", "x")
    around_it = np.array([-5.0, 5.0, 5.0, -5.0])
    ds = two(lat, lon)
    for name, values, offsets in (("lat", lat, np.sort(around_it)), ("lon", lon, around_it)):
        ds[name] = ds[name].assign_attrs(bounds=f"{name}_v")
        ds[f"{name}_v"] = (("y", "x", "nv"), values[..., None] + offsets)
    assert isinstance(geometry_of(ds), Curvilinear)


@pytest.mark.parametrize("text", ["10N", "", "north", "None"])
@pytest.mark.parametrize("name", ["lat", "lon"])
def test_places_that_are_no_numbers_are_refused(name, text):
    coords = {"lat": ("s", [10.0, 20.0]), "lon": ("s", [5.0, 6.0])}
    with pytest.raises(GridError, match=f"'{name}' is of type .*expected degrees as numbers"):
        geometry_of(xr.DataArray([1.0, 2.0], coords | {name: ("s", [text, "x"])}, ("s",)))
    # Numbers that are kept as objects are numbers.
    objects = {n: ("s", np.asarray(v, object)) for n, (_, v) in coords.items()}
    assert geometry_of(xr.DataArray([1.0, 2.0], objects, ("s",))).size == 2

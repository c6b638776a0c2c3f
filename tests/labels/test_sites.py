"""From coordinates to sites on the axes of a small system."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xslams
from xslams.errors import DimensionError, GridError
from xslams.geometry import Lattice, Sites
from xslams.labels.grid import geometry_of, geometry_of_spec
from xslams.observations.horizontal import cells
from xslams.regrid import regrid


def model(name: str) -> Lattice:
    return geometry_of_spec(xslams.open_model(name).spec)


@pytest.mark.parametrize(
    ("name", "shape", "coordinates", "period"),
    [
        ("lorenz63", (), (), None),
        ("lorenz96", (40,), ("lon",), 360.0),
        ("kolmogorov", (64, 64), ("y", "x"), 2 * np.pi),
    ],
)
def test_models_of_systems_lie_on_lattices(name, shape, coordinates, period):
    lattice = model(name)
    assert (lattice.shape, lattice.coordinates, lattice.dims) == (shape, coordinates, coordinates)
    for axis in lattice.axes:
        assert axis.closed and axis.period == pytest.approx(period)
    spec = xslams.open_model(name).spec
    assert lattice.size == len(spec.lat) * len(spec.lon)


def test_models_of_the_globe_lie_on_grids():
    assert geometry_of_spec(xslams.open_model("speedy-t30").spec).rectilinear.periodic


def test_dimensions_make_a_lattice_and_stations_make_sites():
    ring, square = model("lorenz96"), model("kolmogorov")
    assert geometry_of(xr.Dataset(coords={"lon": [0.0, 9.0]}), like=ring).shape == (2,)
    buoys = geometry_of(xr.Dataset(coords={"lon": ("buoy", [9.0, 0.0, 9.0])}), like=ring)
    assert isinstance(buoys, Sites) and buoys.dims == ("buoy",)
    one = geometry_of(xr.Dataset(coords={"lon": 9.0}), like=ring)
    assert one.shape == () and one.size == 1
    points = xr.Dataset(coords={"y": ("p", [0.0, 1.0]), "x": ("p", [2.0, 3.0])})
    np.testing.assert_array_equal(geometry_of(points, like=square).centres(), [[0, 1], [2, 3]])
    line = geometry_of(xr.Dataset(coords={"y": 1.0, "x": [2.0, 3.0]}), like=square)
    assert line.dims == ("x",)
    np.testing.assert_array_equal(line.centres(), [[1, 1], [2, 3]])
    assert geometry_of(xr.Dataset(coords={"time": [0.0]}), like=Lattice()).size == 1


def test_bounds_are_read():
    ds = xr.Dataset({"bnds": (("lon", "nv"), [[20.0, 0.0], [20.0, 60.0]])}, {"lon": ("lon", [9.0, 40.0])})
    ds.lon.attrs["bounds"] = "bnds"
    assert geometry_of(ds, like=model("lorenz96")).axes[0].intervals.tolist() == [[0, 20], [20, 60]]


@pytest.mark.parametrize(
    ("ds", "error", "words"),
    [
        (xr.Dataset(), DimensionError, "'lon' among none.*assign_coords"),
        (xr.Dataset(coords={"lon": [0.0, 9.0, 9.0]}), GridError, "sortby"),
        (xr.Dataset(coords={"lon": [0.0, np.nan]}), GridError, "finite"),
    ],
)
def test_bad_input(ds, error, words):
    with pytest.raises(error, match=words):
        geometry_of(ds, like=model("lorenz96"))


def test_sites_of_a_system_are_observed():
    ring, every = model("lorenz96"), np.arange(0, 40, 4)
    data = xr.DataArray(np.zeros((2, 10)), dims=("time", "lon"), coords={"lon": every * 9.0}, name="x")
    weights, place = cells(data.to_dataset(), data, ring, "bilinear", "buoys")
    np.testing.assert_array_equal(weights.toarray(), np.eye(40)[every])
    assert place.dims == ("lon",) and place.values.tolist() == list(range(10))
    state = xr.DataArray(np.zeros(2), dims="time", name="x")
    weights, place = cells(state.to_dataset(), state, model("lorenz63"), "bilinear", "x")
    assert weights.toarray().tolist() == [[1.0]] and place.dims == ()


@pytest.mark.parametrize("lazy", [False, True])
def test_fields_are_brought_to_the_sites_of_a_model(lazy):
    spec = xslams.open_model("lorenz96").spec
    fine = xr.Dataset(
        {"x": (("time", "lon"), np.random.default_rng(0).normal(size=(3, 80)))},
        {"lon": ("lon", np.arange(80) * 4.5, {"units": "degrees_east"})},
    )
    got = regrid(fine.chunk(time=1) if lazy else fine, spec)
    assert got.x.dims == ("time", "lon") and got.lon.attrs == {"units": "degrees_east"}
    np.testing.assert_allclose(got.x, fine.x[:, ::2], atol=1e-12)
    boxes = regrid(fine, spec, "conservative").x
    np.testing.assert_allclose(boxes.mean("lon"), fine.x.mean("lon"), atol=1e-12)

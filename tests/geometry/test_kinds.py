"""Laws of every kind of geometry."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tests.problems.geometries import Bands, honeycomb, registered
from xslams.errors import GridError
from xslams.geometry import GEOMETRIES, Axis, Curvilinear, Grid, Lattice, Points, Sites

LAT, LON = np.linspace(-60, 60, 4), np.arange(0, 360, 60.0)
LON2, LAT2 = np.meshgrid(LON, LAT)
ROWS = np.stack([LAT - 1, LAT + 1], axis=1)
EXAMPLES = [
    Grid(LAT, LON, periodic=True),
    Grid(LAT, LON),
    Grid(LAT, LON, lat_bounds=ROWS),
    Curvilinear(LAT2, LON2),
    Curvilinear(LAT2, LON2, corners=np.zeros((2, 4, 6, 4))),
    Points(LAT2, LON2),
    Points(LAT2.ravel(), LON2.ravel()),
    Sites(("y", "x"), np.stack([LAT2, LON2])),
    Sites(("x", "y"), np.stack([LAT2, LON2])),
    Sites((), np.zeros((0, 3))),
    Lattice(),
    Lattice((Axis("x", LON),)),
    Lattice((Axis("x", LON, period=360.0),)),
    Lattice((Axis("x", LON, bounds=np.stack([LON - 1, LON + 1], axis=1)),)),
    Lattice((Axis("y", LAT), Axis("x", LON, period=360.0))),
    honeycomb(),
    Bands(np.array([-90.0, 0.0, 90.0])),
]


@pytest.fixture(autouse=True)
def toys():
    with registered():
        yield


@pytest.mark.parametrize("geometry", EXAMPLES, ids=str)
def test_packing_is_undone_by_unpacking(geometry):
    header, flat = geometry.pack()
    assert flat.ndim == 1 and flat.size == header.length
    back = pickle.loads(pickle.dumps(header)).unpack(flat)
    assert type(back) is type(geometry) is GEOMETRIES[geometry.kind]
    assert back.key == geometry.key
    assert back.shape == geometry.shape == header.shape
    np.testing.assert_array_equal(back.centres(), geometry.centres())


@pytest.mark.parametrize("geometry", EXAMPLES, ids=str)
def test_shapes_agree(geometry):
    assert len(geometry.dims) == len(geometry.shape) or isinstance(geometry, Points | Sites)
    assert geometry.size == np.prod(geometry.shape)
    assert geometry.centres().shape == (len(geometry.coordinates), geometry.size)
    try:
        geometry.check_cells()
    except GridError:
        with pytest.raises(GridError):
            geometry.cells()
    else:
        grid = geometry.rectilinear
        if geometry.flat:
            assert geometry.cells().shape == (geometry.size, len(geometry.coordinates), 2)
        elif grid is None or not grid.wide:
            assert geometry.cells().shape[::2] == (geometry.size, 3)


def test_keys_tell_everything_apart():
    keys = [geometry.key for geometry in EXAMPLES]
    assert len(set(keys)) == len(keys)
    assert set(GEOMETRIES.names) == {geometry.kind for geometry in EXAMPLES}
    renamed = Grid(LAT.copy(), LON.copy(), "latitude", "longitude", True)
    assert renamed.key == EXAMPLES[0].key


@pytest.mark.parametrize("geometry", EXAMPLES, ids=str)
def test_what_is_lacking_has_a_remedy(geometry):
    for ask in (geometry.check_neighbours, geometry.check_cells):
        try:
            ask()
        except GridError as e:
            assert "method=" in str(e) or "bounds" in str(e)

"""Sources of observations on any geometry: what they see of a model's grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xslams import Observation
from xslams.errors import CoverageError, ObservationError, SlamsWarning
from xslams.geometry import Curvilinear
from xslams.labels.grid import grid_of_spec
from xslams.spec import Spec, VariableSpec
from xslams.weights import grid_weights, overlaps

SPEC = Spec(
    (VariableSpec("t", "K", standard_name="air_temperature"),),
    lat=tuple(np.linspace(-85.0, 85.0, 18).tolist()),
    lon=tuple(np.arange(0.0, 360.0, 10.0).tolist()),
    periodic=True,
)
MODEL = grid_of_spec(SPEC)
TIME = xr.DataArray(pd.date_range("2000-01-01", periods=1), dims="time", name="time")


def swath(across=60.0):
    """A swath over the date line, with footprints that turn."""
    scan, pixel = np.meshgrid(np.linspace(-40, 40, 9), np.linspace(-1, 1, 6), indexing="ij")
    lat, lon = scan + 5 * pixel, (170 + 0.3 * across * pixel + 0.2 * scan + 180) % 360 - 180
    return xr.DataArray(
        np.full((1, *lat.shape), 280.0),
        dims=("time", "scan", "pixel"),
        coords={"time": TIME, "lat": (("scan", "pixel"), lat), "lon": (("scan", "pixel"), lon)},
        name="t",
        attrs={"units": "K"},
    )


def operator(data, method, **options):
    source = Observation(data, error=1.0, method=method, **options)
    return source.to_arrays(SPEC, TIME).matrix


@pytest.mark.parametrize("method", ["bilinear", "conservative", "nearest"])
def test_swaths_see_what_their_footprints_cover(method):
    data = swath()
    matrix = operator(data, method)
    where = Curvilinear(data.lat.values, data.lon.values)
    np.testing.assert_allclose(matrix.toarray(), grid_weights(MODEL, where, method).toarray(), atol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    if method == "conservative":
        shared, area = overlaps(MODEL, where)
        np.testing.assert_allclose(matrix.toarray() * area[:, None], shared.toarray(), atol=1e-12)


def test_footprints_with_corners():
    """Corners as CF bounds: the mean over a footprint that lies within one cell is that cell."""
    data = swath()
    lat, lon = data.lat.values, data.lon.values
    corners = [c[..., None] + 0.01 * np.array(d) for c, d in ((lat, (-1, -1, 1, 1)), (lon, (-1, 1, 1, -1)))]
    ds = data.to_dataset()
    for name, values in zip(("lat", "lon"), corners, strict=True):
        ds[name].attrs["bounds"] = f"{name}_bounds"
        ds[f"{name}_bounds"] = (("scan", "pixel", "corner"), values)
    matrix = operator(ds, "conservative", variable="t")
    # Edges of the model's cells at multiples of ten degrees, and five degrees off.
    inside = ((np.abs(lat / 10 - np.round(lat / 10)) > 0.01) & (np.abs(lon % 10 - 5) > 0.1)).ravel()
    assert inside.sum() > 20
    assert (matrix.toarray()[inside].max(axis=1) > 0.99).all()
    nearest = operator(data, "nearest")
    np.testing.assert_array_equal(matrix.toarray()[inside].argmax(axis=1), nearest.toarray()[inside].argmax(axis=1))


def test_bounds_of_a_grid_are_used():
    ds = xr.Dataset(
        {"t": (("time", "lat", "lon"), np.full((1, 1, 2), 280.0), {"units": "K"})},
        {"time": TIME, "lat": ("lat", [0.0], {"bounds": "lat_bnds"}), "lon": ("lon", [0.0, 20.0])},
    )
    ds["lat_bnds"] = (("lat", "bnds"), [[0.0, 10.0]])
    rows = operator(ds, "conservative", variable="t").toarray().reshape(2, 18, 36)
    south = rows[:, :9].sum(axis=(1, 2))
    # Great circles over twenty degrees of longitude rise, or not, at the equator: to 0.
    np.testing.assert_allclose(south, 0.0, atol=1e-12)


def test_missing_places_take_no_part():
    data = swath()
    data["lat"] = data.lat.where(data.lat > 0)
    data = data.where(data.lat > 0)
    with pytest.warns(SlamsWarning, match=f"{int(data.isnull().sum())} of 54 places lie outside"):
        matrix = operator(data, "bilinear")
    assert matrix.shape[0] == int(data.notnull().sum()) < data.size


def test_entirely_outside():
    regional = Spec((VariableSpec("t", "K"),), lat=(10.0, 20.0, 30.0), lon=(0.0, 10.0, 20.0), periodic=False)
    for method in ("bilinear", "conservative", "nearest"):
        with pytest.raises(CoverageError):
            Observation(swath(), error=1.0, method=method).to_arrays(regional, TIME)


def test_points_have_no_cells():
    data = swath().isel(pixel=0)
    with pytest.raises(ObservationError, match=r"Source 't'.*needs cells"):
        operator(data, "conservative")

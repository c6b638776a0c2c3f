"""Values of other tools: xESMF on ESMF, and CDO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.problems import cdo as reference
from tests.problems import esmf as reference_esmf
from xslams.errors import SlamsWarning
from xslams.geometry import Grid
from xslams.labels.grid import geometry_of
from xslams.regrid import regrid
from xslams.weights import grid_weights, overlaps, point_weights

ESMF = ("0p5_to_2p5_descending", "2_to_gauss24", "2p5_to_1p5", "gauss48_to_2")


def grid(lat, lon):
    """Bounds half way between centres, also for Gaussian latitudes, as the files were made with."""
    lat_bounds, lon_bounds = reference_esmf.bounds(lat, lon)
    return Grid(lat, lon, periodic=True, lat_bounds=lat_bounds, lon_bounds=lon_bounds)


@pytest.fixture(params=ESMF)
def esmf(request, shared_data: Path):
    path = shared_data / "regrid_reference" / f"{request.param}.nc"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    with xr.open_dataset(path) as opened:
        return opened.load()


def source_of(ref):
    coords = {"lat": ref.lat_source.values, "lon": ref.lon_source.values}
    return xr.Dataset({"value": (("lat", "lon"), ref.source.values)}, coords)


def points_of(ref):
    return xr.Dataset(coords={"lat": ("point", ref.point_lat.values), "lon": ("point", ref.point_lon.values)})


def test_bilinear_is_that_of_esmf(esmf):
    got = regrid(source_of(esmf), esmf, "bilinear", "embedded")["value"]
    np.testing.assert_allclose(got, esmf.bilinear, atol=1e-12)
    got = regrid(source_of(esmf), points_of(esmf), "bilinear", "embedded")["value"]
    np.testing.assert_allclose(got, esmf.points_bilinear, atol=1e-12)


def test_conservative_is_that_of_esmf(esmf):
    source, target = (grid(*(esmf[n].values for n in pair)) for pair in (("lat_source", "lon_source"), ("lat", "lon")))
    shared, area = overlaps(source, target)
    # ESMF divides by the whole cell also where the source stops short of the pole.
    got = (shared @ esmf.source.values.ravel() / area).reshape(target.shape)
    np.testing.assert_allclose(got, esmf.conservative, atol=1e-11)
    covered = (np.asarray(shared.sum(axis=1)).ravel() / area).reshape(target.shape)
    got = (grid_weights(source, target, "conservative") @ esmf.source.values.ravel()).reshape(target.shape)
    np.testing.assert_allclose(got * covered, esmf.conservative, atol=1e-11)
    # Cells that the centres imply are the same where neither grid is Gaussian.
    if "gauss" not in esmf.attrs["title"]:
        got = regrid(source_of(esmf), esmf, "conservative", "embedded")["value"]
        np.testing.assert_allclose(got, esmf.conservative, atol=1e-11)


def test_nearest_is_that_of_esmf(esmf):
    got = regrid(source_of(esmf), esmf, "nearest", "embedded")["value"]
    # Half way between two meridians both are nearest, and rounding decides which of them is taken.
    step = float(np.diff(esmf.lon_source)[0])
    ties = np.isclose((esmf.lon.values[:, None] - esmf.lon_source.values) % 360, 0.5 * step).any(axis=1)
    np.testing.assert_array_equal(got.values[:, ~ties], esmf.nearest_s2d.values[:, ~ties])
    left, right = (
        regrid(source_of(esmf), esmf[["lat"]].assign_coords(lon=(esmf.lon.values + shift) % 360), "nearest")["value"]
        for shift in (-0.01, 0.01)
    )
    assert ((esmf.nearest_s2d.values == left.values) | (esmf.nearest_s2d.values == right.values)).all()
    got = regrid(source_of(esmf), points_of(esmf), "nearest", "embedded")["value"]
    np.testing.assert_array_equal(got, esmf.points_nearest_s2d)


def test_curvilinear_is_that_of_esmf(esmf):
    """The same grid with 2-D coordinates that are not recognised as a grid."""
    source = source_of(esmf)
    lat, lon = np.meshgrid(esmf.lat_source, esmf.lon_source, indexing="ij")
    # A meridian less, so that nothing but a search finds the cells; away from the seam and the poles.
    bent = xr.Dataset(
        {"value": (("y", "x"), source["value"].values)}, {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}
    )
    bent["lat"] = bent.lat + 1e-13 * np.sin(bent.lon)
    assert not isinstance(geometry_of(bent), Grid)
    edge = np.abs(esmf.lat_source.values).max()
    inner = esmf.sel(lat=np.abs(esmf.lat) < edge - 1)
    got = regrid(bent, inner, "bilinear", "embedded")["value"]
    np.testing.assert_allclose(got, inner.bilinear, atol=1e-9)


@pytest.fixture(scope="module")
def stored():
    with xr.open_dataset(reference_esmf.FILE) as opened:
        return opened.load()


@pytest.mark.parametrize("method", reference_esmf.METHODS)
@pytest.mark.parametrize("name", reference_esmf.CASES)
def test_stored_values_are_those_of_esmf(stored, name, method):
    """A part of the values above, which comes with the tests."""
    source, target = (grid(*axes) for axes in reference_esmf.CASES[name])
    values = reference.field(source.lat[:, None], source.lon[None, :]).ravel()
    expected = stored[f"{name}_{method}"].values
    if method == "conservative":
        shared, area = overlaps(source, target)
        got = shared @ values / area
    else:
        got = grid_weights(source, target, method) @ values
    got = got.reshape(target.shape)[:: reference_esmf.EVERY, :: reference_esmf.EVERY]
    if method == "nearest":
        # At a tie, which one is taken hangs on rounding.
        step = abs(source.lon[1] - source.lon[0])
        away = np.abs((target.lon[:, None] - source.lon) % 360 - 0.5 * step).min(axis=1) > 1e-6
        away = away[:: reference_esmf.EVERY]
        got, expected = got[:, away], expected[:, away]
    np.testing.assert_allclose(got, expected, atol=1e-11)
    if method != "conservative":
        lat, lon = (stored[f"{name}_point_{c}"].values for c in ("lat", "lon"))
        got = point_weights(source, lat, lon, method) @ values
        np.testing.assert_allclose(got, stored[f"{name}_points_{method}"], atol=1e-11)


# --- CDO ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cdo():
    with xr.open_dataset(reference.FILE) as opened:
        return opened.load()


@pytest.mark.parametrize("method", reference.OPERATORS)
@pytest.mark.parametrize("name", reference.RECTILINEAR)
def test_parallels_are_those_of_cdo(cdo, name, method):
    source, target = (reference.dataset(g) for g in reference.RECTILINEAR[name])
    got = regrid(source, target, method, "embedded", edges="parallel")["value"].values
    expected = cdo[f"{name}_{method}"].values
    assert got.shape == expected.shape
    if method == "bilinear":
        # Beyond the outermost rows CDO weights by distance, where ESMF and we have a pole.
        inside = np.abs(target.lat.values) <= np.abs(source.lat.values).max()
        assert inside.sum() > 0.9 * len(inside) - 1
        got, expected = got[inside], expected[inside]
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("method", ["conservative", "nearest"])
@pytest.mark.parametrize("name", reference.CURVILINEAR)
def test_curvilinear_cells_are_those_of_cdo(cdo, name, method):
    source, target = (reference.dataset(g) for g in reference.CURVILINEAR[name])
    got = regrid(source, target, method, "embedded")["value"]
    np.testing.assert_allclose(got, cdo[f"{name}_{method}"], atol=1e-12)


@pytest.mark.parametrize("name", ["from_gaussian", "to_gaussian"])
def test_gaussian_cells_need_no_bounds(cdo, name):
    source, target = (reference.dataset(g).drop_vars(["lat_bnds", "lon_bnds"]) for g in reference.RECTILINEAR[name])
    with pytest.warns(SlamsWarning, match="names bounds 'l.*_bnds', which are not among the data") as said:
        got = regrid(source, target, "conservative", "embedded", edges="parallel")["value"]
    assert len(said) == 4 and sum("Gaussian" in str(w.message) for w in said) == 1
    np.testing.assert_allclose(got, cdo[f"{name}_conservative"], atol=1e-12)

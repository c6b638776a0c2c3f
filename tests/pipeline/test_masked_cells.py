"""Data of the ocean: cells without values are left out from training to analysis, and change nothing elsewhere."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams.errors import CoverageError, GridError, SlamsWarning
from xslams.model import Model
from xslams.pipeline.examination import _warn_of_fill_values
from xslams.pipeline.frames import survey
from xslams.spec import Spec, VariableSpec

pytestmark = pytest.mark.filterwarnings("ignore:The training data:xslams.errors.SlamsWarning")

SETTINGS: dict[str, Any] = {"budget": 0, "progress": False, "device": "cpu", "window": 3, "epochs": 0}
LAT, LON, LEVELS = 8, 10, 2


@cache
def land() -> np.ndarray:
    """A continent in the west and an island; at depth more of it."""
    masked = np.zeros((LEVELS, LAT, LON), bool)
    masked[:, :, :2] = masked[:, 3:5, 6] = masked[1, :, 2] = True
    return masked


@cache
def ocean() -> xr.Dataset:
    """Two years of temperatures of every fifth day at two depths: waves over a seasonal cycle."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2001-01-01", periods=146, freq="5D")
    y, x = np.meshgrid(np.linspace(0, 1, LAT), np.linspace(0, 1, LON), indexing="ij")
    waves = np.stack([np.cos(i * np.pi * x) * np.cos(j * np.pi * y) for i in range(3) for j in range(3)])
    strength = rng.normal(size=(days.size, len(waves)))
    for n in range(1, days.size):
        strength[n] = 0.9 * strength[n - 1] + 0.4 * strength[n]
    surface = 18 + np.einsum("tw,wij->tij", strength, waves)
    surface = surface + 4 * np.cos(2 * np.pi * (days.day_of_year.to_numpy() - 220) / 365)[:, None, None]
    values = np.stack([surface, 12 + 0.6 * (surface - 18)], axis=1).astype(np.float32)
    depth = ("depth", [5.0, 100.0], {"units": "m", "positive": "down", "axis": "Z"})
    coords = {"time": days, "depth": depth, "lat": np.linspace(20, 55, LAT), "lon": np.linspace(-60, -15, LON)}
    attrs = {"units": "degC", "standard_name": "sea_water_temperature"}
    ds = xr.Dataset({"thetao": (("time", "depth", "lat", "lon"), values, attrs)}, coords)
    return ds.where(~xr.DataArray(land(), dims=("depth", "lat", "lon")))


@cache
def model() -> Model:
    return ocean().slams.fit(**SETTINGS)


def part(days: int = 5) -> xr.Dataset:
    return ocean().isel(time=slice(100, 100 + days))


def stations(places: list[tuple[float, float]], depth: float = 5.0) -> xr.DataArray:
    """Thermometers of which all report 15 degrees."""
    coords = {
        "time": part().time, "lat": ("station", [p[0] for p in places]), "lon": ("station", [p[1] for p in places]),
        "depth": depth,
    }  # fmt: skip
    values = np.full((part().sizes["time"], len(places)), 15.0)
    attrs = {"units": "degC", "standard_name": "sea_water_temperature"}
    found = xr.DataArray(values, coords, ("time", "station"), "thetao", attrs)
    found["depth"].attrs = dict(ocean()["depth"].attrs)
    return found


def analysis(obs: Any = (), ds: xr.Dataset | None = None, **options: Any) -> xr.Dataset:
    given = {"members": 2, "steps": 4, "background_error": None, "device": "cpu", **options}
    return (part() if ds is None else ds).slams.assimilate(list(obs), model(), **given)


def test_a_model_knows_where_it_has_no_values() -> None:
    masked = model().spec.masked
    assert masked is not None
    np.testing.assert_array_equal(masked, land())
    assert "8 x 10 grid, 28% masked" in repr(model())
    found = analysis()["thetao"].transpose("member", "time", "depth", "lat", "lon")
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(land(), found.shape))


def test_lazy_data_give_the_same_model() -> None:
    lazy = ocean().chunk(time=31).slams.fit(**SETTINGS, memory=1e-9).prior().state_dict()
    # Covariances of what is larger than memory are those of a part of it; the climatology is that of all.
    for name in ("normalization.mean", "normalization.log_std"):
        np.testing.assert_allclose(lazy[name], model().prior().state_dict()[name], rtol=1e-3, atol=1e-3)


@given(st.floats(-50, 400))
@settings(max_examples=8, deadline=None)
def test_what_masked_cells_hold_is_not_read(value: float) -> None:
    """Zero, a fill value that was not declared, the temperature of the soil: all the same."""
    other = part().fillna(np.float32(value))
    latent, changed = (ds.slams.encode(model())["latent"] for ds in (part(), other))
    np.testing.assert_array_equal(changed, latent)
    decoded = changed.to_dataset().slams.decode(model())["thetao"]
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(part()["thetao"]))
    np.testing.assert_allclose(decoded, part()["thetao"], atol=0.05)


@pytest.mark.parametrize("error", [0.5, xslams.BackgroundError(0.5), xslams.BackgroundError(0.5, correlation="none")])
def test_a_background_says_nothing_of_masked_cells(error: Any) -> None:
    own = analysis(background_error=error)
    with pytest.warns(SlamsWarning, match="'thetao' of the model never has one, such as on land"):
        filled = analysis(ds=part().fillna(0.0), background_error=error)
    np.testing.assert_array_equal(own["thetao"], filled["thetao"])
    away = (own["thetao"].mean("member") - part()["thetao"]).std()
    assert float(away) < 0.6


def filled(ds: xr.Dataset) -> xr.Dataset:
    """The ocean with the value of the nearest cell on land, as networks know it."""
    values = model().spec.filled(ds["thetao"].transpose("time", "depth", "lat", "lon").values)
    return ds.assign(thetao=ds["thetao"].copy(data=values))


def test_a_background_is_that_of_fields_without_land() -> None:
    """Latents on land are those of fields that are filled, and not what the prior makes of the sea beside them."""
    whole = filled(ocean()).slams.fit(**SETTINGS)
    for name, value in model().prior().state_dict().items():
        torch.testing.assert_close(whole.prior().state_dict()[name], value)
    error = xslams.BackgroundError(0.5)
    found = analysis(background_error=error)["thetao"]
    same = filled(part()).slams.assimilate([], whole, members=2, steps=4, background_error=error, device="cpu")[
        "thetao"
    ]
    np.testing.assert_allclose(found, same.where(found.notnull()), atol=2e-3)


def test_an_ensemble_with_land_is_a_background() -> None:
    members = [part().assign_coords(time=part().time) + 0.3 * k for k in (-1, 0, 1)]
    ensemble = xr.concat(members, "member")
    ensemble["thetao"].attrs = ocean()["thetao"].attrs
    found = analysis(ds=ensemble, background_error=xslams.BackgroundError(0.5))["thetao"]
    np.testing.assert_array_equal(np.isnan(found.isel(member=0)), np.isnan(part()["thetao"]))


def test_stations_on_land_are_dropped_and_those_at_the_coast_see_the_sea() -> None:
    lat, lon = ocean()["lat"].values, ocean()["lon"].values
    sea, shore, inland = (lat[2], lon[8]), (lat[2], 0.3 * lon[1] + 0.7 * lon[2]), (lat[2], 0.7 * lon[1] + 0.3 * lon[2])
    source = xslams.Observation(stations([sea, shore, inland]), error=0.1, method="bilinear", name="buoys")
    with pytest.warns(SlamsWarning, match="'buoys': 5 values of 'thetao' lie where"):
        found = analysis([source], members=8, steps=8, antithetic=True, report=True)
    report = found.slams.report()
    assert report["rejected"].sel(source="buoys", reason="place") == 5
    assert report["used"].sel(source="buoys") == 10
    mean = found["thetao"].isel(depth=0).mean("member")
    # What the shore observes is the cell of the sea beside it, and not a mean with land.
    for place in ({"lat": lat[2], "lon": lon[8]}, {"lat": lat[2], "lon": lon[2]}):
        np.testing.assert_allclose(mean.sel(place, method="nearest"), 15.0, atol=0.25)
    with pytest.raises(CoverageError, match="never has a value at any of its 1 places"):
        analysis([xslams.Observation(stations([inland]), error=0.1, method="bilinear")])
    # At a depth where the shore is land, too.
    with pytest.raises(CoverageError, match="never has a value at any of its 1 places"):
        analysis([xslams.Observation(stations([shore], depth=100.0), error=0.1, method="bilinear")])


def test_averages_over_boxes_are_those_of_the_sea() -> None:
    truth = part()
    boxes = xslams.simulate_observations(truth["thetao"].isel(depth=[0]), coarsen={"lat": 4, "lon": 5}, error=0.01)
    bound = boxes.bind(model().spec, truth["time"])
    (whole,) = bound.audited()
    rows = whole.likelihood.matrix
    np.testing.assert_allclose(rows.sum(1), 1.0, rtol=1e-6)
    seen = np.zeros(rows.shape[1], bool)
    seen[rows.indices] = True
    assert not seen.reshape(-1, LEVELS, LAT, LON)[:, land()].any()
    exact = rows @ np.nan_to_num(truth["thetao"].values.astype(float)).ravel()
    np.testing.assert_allclose(whole.likelihood.values, exact, atol=0.25)


def test_a_saved_model_has_its_mask(tmp_path: Path) -> None:
    path = model().save(tmp_path / "ocean.safetensors")
    loaded = xslams.open_model(path)
    np.testing.assert_array_equal(loaded.spec.masked, land())
    found = part().slams.assimilate([], loaded, members=2, steps=4, background_error=None, device="cpu")
    np.testing.assert_array_equal(found["thetao"], analysis()["thetao"])
    with pytest.raises(GridError, match="grid is 7 x 10"):
        part().isel(lat=slice(1, None)).slams.assimilate([], loaded, members=2)


def test_scores_and_operators_leave_land_out() -> None:
    truth = part()
    scores = analysis([xslams.simulate_observations(truth["thetao"], mask=0.5, error=0.2)]).slams.score(truth)
    assert np.isfinite(scores["rmse"]).all()
    past = ocean()["thetao"].isel(depth=0, lat=[2, 5], lon=[4, 8], drop=True).stack(site=("lat", "lon"))
    operator = xslams.learn_operator(past.reset_index("site").rename("probe"), ocean(), model())
    assert operator.record["skill"] > 0.5


def test_cells_with_gaps_are_no_land() -> None:
    gaps = ocean().copy(deep=True)
    gaps["thetao"][3, 0, 5, 5:8] = np.nan
    with pytest.raises(CoverageError, match=r"3 of \d+ values of 'thetao' are .* \(in 3 of 160 cells\)") as said:
        gaps.slams.fit(**SETTINGS)
    assert "ds.fillna(...).where(ds['thetao'].notnull().any('time')), which keeps land" in str(said.value)
    full = gaps.fillna(10.0).where(gaps["thetao"].notnull().any("time")).slams.fit(**SETTINGS)
    np.testing.assert_array_equal(full.spec.masked, land())
    left = gaps.where(gaps["thetao"].notnull().all("time")).slams.fit(**SETTINGS)
    assert left.spec.masked is not None
    assert left.spec.masked.sum() == land().sum() + 3
    none = ocean().copy(deep=True)
    none["thetao"][:, 1] = np.nan
    with pytest.raises(CoverageError, match="no value at 1 of 2 levels"):
        none.slams.fit(**SETTINGS)
    none["thetao"][:] = np.nan
    with pytest.raises(CoverageError, match=r"23360 of 23360 values of 'thetao' are missing"):
        none.slams.fit(**SETTINGS)


@settings(max_examples=12, deadline=None)
@given(
    fill=st.sampled_from([-999.0, -32768.0, 1e20, 273.15, -50.0, 18.0, 0.0]),
    cells=st.integers(1, 100), unit=st.sampled_from([0.0, 273.15]), seed=st.integers(0, 99),
)  # fmt: skip
def test_fill_values_that_are_not_declared_are_announced(fill: float, cells: int, unit: float, seed: int) -> None:
    """Cells that are always the same and far from all others; those within the range of others may be real."""
    rng = np.random.default_rng(seed)
    fields = (unit + 18 + rng.normal(0, 2, (50, 1, 10, 12))).astype(np.float32)
    spec = Spec((VariableSpec("sst", "degC"),), tuple(range(10)), tuple(range(12)), periodic=False)
    land = rng.permutation(120)[:cells]
    fields.reshape(50, 120)[:, land] = fill
    others = np.delete(fields.reshape(50, 120), land, axis=1)
    away = max(float(others.min()) - fill, fill - float(others.max()))
    found = survey(fields, spec)["sst"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _warn_of_fill_values(spec.state[0], [found])
    assert len(caught) == int(away > np.ptp(others))
    if caught:
        assert f"{cells} of 120 cells of 'sst' are {fill:g} in all frames" in str(caught[0].message)
        assert f"ds.where(ds['sst'] != {fill:g})" in str(caught[0].message)

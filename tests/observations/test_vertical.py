"""Levels of observations: pressure and sigma are interpolated in the logarithm, and turn into each other."""

from __future__ import annotations

from dataclasses import replace

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.problems.observed import LAT, LON, SPEC, state
from xslams.errors import CoverageError, DimensionError, ObservationError, SlamsWarning, UnitError
from xslams.observations import Observation
from xslams.spec import Spec

LEVELS = np.array(SPEC.variables[0].levels)
SIGMA = (0.9, 0.6, 0.2)
TIME = state().time


def spec_of(levels: tuple[float, ...], dim: str, **attrs: str) -> Spec:
    return replace(SPEC, variables=(replace(SPEC.variables[0], levels=levels, level_dim=dim, level_attrs=attrs),))


SIGMA_SPEC = spec_of(SIGMA, "sigma", units="1", standard_name="atmosphere_sigma_coordinate", positive="down")
HEIGHT_SPEC = spec_of((10.0, 100.0, 1000.0), "height", units="m", positive="up")


def soundings(levels: object, dims: tuple[str, ...] = ("level",), name: str = "level", **attrs: str) -> xr.Dataset:
    """Two soundings of as many levels as there are, at the first time."""
    levels = np.asarray(levels, float)
    return xr.Dataset(
        {"t": (("time", "level", "station"), np.zeros((1, levels.shape[-1], 2)), {"units": "K"})},
        {
            "time": TIME[:1].values,
            name: (dims, levels, attrs),
            "lat": ("station", LAT[[2, 5]]),
            "lon": ("station", LON[[1, 7]]),
        },
    )


def seen(ds: xr.Dataset, profile: np.ndarray, spec: Spec = SPEC, **options: object) -> np.ndarray:
    """What the soundings see of a model in which all columns have the same profile."""
    arrays = Observation(ds, error=1.0, **options).to_arrays(spec, TIME)
    field = np.zeros((len(TIME), spec.channels, len(LAT), len(LON)))
    field[:, : len(profile)] = np.asarray(profile)[:, None, None]
    return arrays.matrix @ field.ravel()


@given(levels=st.lists(st.floats(500.0, 1000.0), min_size=1, max_size=5), slope=st.floats(-50.0, 50.0))
def test_what_is_linear_in_the_logarithm_of_pressure_is_reproduced(levels, slope):
    got = seen(soundings(levels, units="hPa", axis="Z"), 280 + slope * np.log(LEVELS))
    np.testing.assert_allclose(got, np.repeat(280 + slope * np.log(levels), 2), rtol=1e-9)


def test_units_of_pressure_are_converted():
    profile = 280 + 20 * np.log(LEVELS)
    hecto = seen(soundings([925.0, 700.0], units="hPa", axis="Z"), profile)
    for factor, units in ((100.0, "Pa"), (1.0, "millibar"), (0.1, "kPa")):
        np.testing.assert_allclose(seen(soundings(factor * np.array([925.0, 700.0]), units=units), profile), hecto)


def test_what_is_linear_in_height_is_reproduced():
    profile = np.array([10.0, 100.0, 1000.0])
    got = seen(soundings([0.05, 0.4], units="km", positive="up"), profile, HEIGHT_SPEC)
    np.testing.assert_allclose(got, np.repeat([50.0, 400.0], 2))


@given(st.floats(0.2, 0.9))
def test_what_is_linear_in_the_logarithm_of_sigma_is_reproduced(sigma):
    ds = soundings([sigma], standard_name="atmosphere_sigma_coordinate")
    np.testing.assert_allclose(seen(ds, np.log(SIGMA), SIGMA_SPEC), np.log(sigma), rtol=1e-9)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("where", ["standard_name", "formula_terms", "coordinate"])
def test_pressure_becomes_sigma_with_the_surface_pressure(where, lazy):
    ds = soundings([900.0, 300.0], units="hPa", axis="Z")
    name = "p0" if where == "formula_terms" else "surface"
    attrs = {"units": "Pa"} | ({} if where == "formula_terms" else {"standard_name": "surface_air_pressure"})
    ds[name] = ("station", [100000.0, 90000.0], attrs)
    if where == "formula_terms":
        ds["level"].attrs["formula_terms"] = "sigma: level ps: p0"
    if where == "coordinate":
        ds = ds.set_coords(name)
    for n in ("t", name) if lazy else ():
        ds[n] = ds[n].chunk()
    expected = np.log([0.9, 0.9, 0.3, 300 / 900])
    got = seen(ds, np.log(SIGMA), SIGMA_SPEC)
    # 900 hPa at a surface of 900 hPa is sigma 1, next to the lowest level, whose value it takes.
    np.testing.assert_allclose(got, expected)
    with dask.config.set(scheduler=lambda *a, **k: pytest.fail("computed")):
        Observation(ds, error=1.0).bind(SIGMA_SPEC, TIME).check()


def test_sigma_that_the_user_computes_comes_before_pressure():
    ds = soundings([700.0, 300.0], units="hPa", axis="Z")
    ds = ds.assign_coords(sigma=ds["level"] / 1000.0)
    np.testing.assert_allclose(seen(ds, np.log(SIGMA), SIGMA_SPEC), np.log([0.7, 0.7, 0.3, 0.3]))


def test_sigma_becomes_pressure_with_the_surface_pressure_and_that_of_the_top():
    ds = soundings(
        [0.9, 0.6], standard_name="atmosphere_sigma_coordinate", formula_terms="sigma: level ps: ps ptop: top"
    )
    ds["ps"] = ("station", [1000.0, 900.0], {"units": "hPa"})
    ds["top"] = ((), 1000.0, {"units": "Pa"})
    pressure = 10 + np.outer([0.9, 0.6], [990.0, 890.0])
    np.testing.assert_allclose(seen(ds, np.log(LEVELS)), np.log(pressure).ravel())


def test_hybrid_levels_with_their_pressure():
    ds = soundings([0.9, 0.6], standard_name="atmosphere_hybrid_sigma_pressure_coordinate", units="1")
    pressure = xr.DataArray([[900.0, 880.0], [610.0, 600.0]], dims=("level", "station"), attrs={"units": "hPa"})
    np.testing.assert_allclose(
        seen(ds.assign_coords(pressure=pressure), np.log(LEVELS)), np.log(pressure).values.ravel()
    )


def test_every_report_may_have_a_level_of_its_own():
    """Radiosondes drift and rise; some levels are missing."""
    pressure = np.array([950.0, np.nan, 600.0])
    ds = xr.Dataset(
        {
            "t": ("obs", np.zeros(3), {"units": "K"}),
            "p": ("obs", pressure, {"units": "hPa", "axis": "Z", "standard_name": "air_pressure"}),
            "time": ("obs", np.repeat(TIME.values[1], 3), {"standard_name": "time"}),
            "lat": ("obs", [10.0, 10.1, 10.2], {"standard_name": "latitude"}),
            "lon": ("obs", [0.0, 0.1, 0.2], {"standard_name": "longitude"}),
        },
        attrs={"featureType": "trajectory"},
    )
    with pytest.warns(SlamsWarning, match="1 of 3 levels"):
        got = seen(ds, np.log(LEVELS))
    np.testing.assert_allclose(got, np.log([950.0, 600.0]))


def test_levels_beyond_the_outermost_cells_take_no_part():
    with pytest.warns(SlamsWarning, match="1 of 2 levels"):
        assert len(seen(soundings([850.0, 100.0], units="hPa"), np.log(LEVELS))) == 2
    with pytest.raises(CoverageError, match="levels"):
        seen(soundings([100.0, 0.0], units="hPa"), np.log(LEVELS))


@pytest.mark.parametrize(
    ("ds", "spec", "error", "words"),
    [
        (soundings([900.0], units="hPa"), SIGMA_SPEC, ObservationError, "surface pressure .* assign sigma"),
        (soundings([0.9], name="sigma", units="1"), SPEC, ObservationError, "levels of sigma, .* of pressure"),
        (soundings([2.0], units="m", axis="Z"), SPEC, UnitError, "Source 't': 't' is at levels .*'m' to 'hPa'"),
        (
            soundings([0.9], standard_name="atmosphere_hybrid_sigma_pressure_coordinate", units="1"),
            SIGMA_SPEC, ObservationError, r"hybrid levels.*assign_coords\(pressure",
        ),
        (
            soundings([900.0], units="hPa").assign(ps=("member", [1e5], {"standard_name": "surface_air_pressure"})),
            SIGMA_SPEC, DimensionError, "'ps' varies along 'member'",
        ),
        (
            soundings([900.0], units="hPa").assign(ps=((), 1e5, {"standard_name": "surface_air_pressure"})),
            SIGMA_SPEC, UnitError, "'ps' has no units",
        ),
        (
            soundings([900.0], units="hPa").assign(
                ps=((), 2.0, {"standard_name": "surface_air_pressure", "units": "m"})
            ),
            SIGMA_SPEC, UnitError, "is to be a pressure",
        ),
    ],
)  # fmt: skip
def test_levels_that_cannot_be_compared(ds, spec, error, words):
    with pytest.raises(error, match=words):
        Observation(ds, error=1.0).to_arrays(spec, TIME)


def test_real_pressure_levels_see_a_model_of_sigma(shared_data):
    """The reanalysis on 17 levels against the sigma levels of the simulation, over a surface of 1000 hPa."""
    ds = xr.open_dataset(shared_data / "ncep_air_17lev_2022_day5.nc")[["air"]].isel(time=slice(0, 1)).load()
    levels = (0.95, 0.835, 0.685, 0.51, 0.34, 0.2, 0.095, 0.025)
    spec = spec_of(levels, "sigma", units="1", standard_name="atmosphere_sigma_coordinate")
    ds["ps"] = ((), 1000.0, {"units": "hPa", "standard_name": "surface_air_pressure"})
    source = Observation(ds, {"air": "t"}, error=1.0)
    time = xr.Dataset(coords={"time": pd.date_range("2022-01-01", periods=1)}).time
    with pytest.warns(SlamsWarning, match="1 of 17 levels lie outside"):
        arrays = source.to_arrays(spec, time)
    profile = np.interp(-np.log(levels), -np.log(ds["level"].values / 1000), ds["air"].mean(("time", "lat", "lon")))
    field = np.broadcast_to(profile[:, None, None], (8, len(LAT), len(LON))).ravel()
    assert np.std(arrays.values - arrays.matrix @ field) < 0.7 * np.std(arrays.values)

"""Quantities with bounds stay in them, decoded and analysed, in every member; and the square root has one home."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xslams
from xslams.errors import SlamsWarning
from xslams.model import Model
from xslams.quantities import bounds_of_quantity
from xslams.spec import Spec, VariableSpec
from xslams.transforms import from_square_root, square_root, square_root_slope


@pytest.mark.parametrize(
    ("standard_name", "units", "bounds"),
    [
        ("precipitation_flux", "kg m-2 s-1", (0.0, None)),
        ("lwe_thickness_of_precipitation_amount", "mm", (0.0, None)),
        ("convective_rainfall_rate", "mm day-1", (0.0, None)),
        ("specific_humidity", "kg kg-1", (0.0, None)),
        ("relative_humidity", "%", (0.0, None)),
        ("cloud_area_fraction", "1", (0.0, 1.0)),
        ("sea_ice_area_fraction", "%", (0.0, 100.0)),
        ("sea_ice_area_fraction", "percent", (0.0, 100.0)),
        ("surface_albedo", "1", (0.0, 1.0)),
        ("mass_fraction_of_ozone_in_air", "mg kg-1", (0.0, None)),
        ("wind_speed", "m s-1", (0.0, None)),
        ("toa_outgoing_longwave_flux", "W m-2", (0.0, None)),
        ("surface_downwelling_shortwave_flux_in_air", "W m-2", (0.0, None)),
        ("atmosphere_mass_content_of_water_vapor", "kg m-2", (0.0, None)),
        ("air_temperature", "degC", (None, None)),
        ("eastward_wind", "m s-1", (None, None)),
        ("geopotential_height", "m", (None, None)),
        ("tendency_of_specific_humidity", "s-1", (None, None)),
        ("product_of_eastward_wind_and_specific_humidity", "m s-1", (None, None)),
        ("surface_net_downward_shortwave_flux", "W m-2", (None, None)),
        ("surface_upward_sensible_heat_flux", "W m-2", (None, None)),
    ],
)
def test_bounds_of_standard_names(standard_name: str, units: str, bounds: tuple[float | None, float | None]) -> None:
    assert bounds_of_quantity("x", units, standard_name) == bounds


def test_bounds_without_a_standard_name() -> None:
    assert bounds_of_quantity("tp", "m") == bounds_of_quantity("x", "m", None, "Total precipitation") == (0.0, None)
    assert bounds_of_quantity("tcc", "(0 - 1)") == bounds_of_quantity("x", "1", None, "Total cloud cover") == (0.0, 1.0)
    for name, long_name in (("t", None), ("x", "Total precipitation anomaly"), ("pr_anomaly", "precipitation")):
        assert bounds_of_quantity(name, "mm", None, long_name) == (None, None)
    # A transform for rain says that this is rain.
    assert VariableSpec("x", "mm", transform="sqrt").valid_range == (0.0, np.inf)
    assert VariableSpec("x", "mm", transform="sqrt", bounds=(None, None)).valid_range == (-np.inf, np.inf)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(1e-6, 1e3))
def test_the_square_root_has_an_inverse_in_both_libraries(values: list[float], scale: float) -> None:
    x = np.array(values)
    g = square_root(x, scale)
    np.testing.assert_allclose(g, np.sign(x) * (np.sqrt(1 + np.abs(x) / scale) - 1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(from_square_root(g, scale), x, rtol=1e-9, atol=1e-12)
    t = torch.tensor(values, dtype=torch.float64)
    same = square_root(t, scale)
    np.testing.assert_allclose(same.numpy(), g, rtol=1e-12, atol=1e-12)
    at = same.detach().requires_grad_()
    (slope,) = torch.autograd.grad(from_square_root(at, scale).sum(), at)
    np.testing.assert_allclose(square_root_slope(g, scale), slope.numpy(), rtol=1e-12)


def test_clipping_hides_nothing_that_is_not_finite() -> None:
    spec = Spec(
        (VariableSpec("t", "K", levels=(1.0, 2.0)), VariableSpec("clt", "%", standard_name="cloud_area_fraction")),
        (0.0,), (0.0, 1.0, 2.0, 3.0), periodic=False,
    )  # fmt: skip
    values = np.tile(np.array([-5.0, np.nan, np.inf, 120.0], np.float32), (2, 3, 1, 1))
    expected = values.copy()
    expected[:, 2, 0, 0], expected[:, 2, 0, 3] = 0.0, 100.0
    np.testing.assert_array_equal(spec.bounded(values.copy()), expected)
    np.testing.assert_array_equal(spec.bounded(values[:, :2].copy()), values[:, :2])


def cloudy(frames: int = 40) -> xr.Dataset:
    """Clouds, rain and humidity that are often at their bounds, and temperature."""
    rng = np.random.default_rng(0)
    coords = {"time": pd.date_range("2001-01-01", periods=frames), "lat": np.array([-60.0, -20, 20, 60])}
    coords["lon"] = np.arange(0.0, 360.0, 60.0)
    dims = ("time", "lat", "lon")
    wave = 0.5 + rng.standard_normal((frames, 4, 6))
    return xr.Dataset(
        {
            "clt": (dims, 100 * wave.clip(0, 1), {"units": "%", "standard_name": "cloud_area_fraction"}),
            "pr": (dims, 5e-5 * wave.clip(0), {"units": "kg m-2 s-1", "standard_name": "precipitation_flux"}),
            "hus": (dims, 1e-3 * wave.clip(0), {"units": "kg kg-1", "standard_name": "specific_humidity"}),
            "t": (dims, wave, {"units": "degC", "standard_name": "air_temperature"}),
        },
        coords,
    )


def test_every_member_and_what_is_decoded_keep_to_bounds(tmp_path: Path) -> None:
    ds = cloudy()
    anomalies = ds["pr"].copy(data=ds["pr"] - ds["pr"].mean()).rename("more")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The training data cover")
        with pytest.warns(SlamsWarning, match="'more' has values from .* not kept within"):
            model = ds.assign(more=anomalies).slams.fit(
                window=3, epochs=0, patch=1, latent_channels=5, autoencoder_epochs=1, progress=False
            )
    model = Model.load(model.save(tmp_path / "clouds.safetensors"))
    found = {v.name: v.bounds for v in model.spec.variables}
    assert found == {
        "clt": (0.0, 100.0), "pr": (0.0, None), "hus": (0.0, None), "t": (None, None), "more": (None, None)
    }  # fmt: skip
    state = ds.isel(time=slice(3))
    gauges = xslams.simulate_observations(state["t"], stations=15, error=0.1)
    analysis = state.slams.assimilate(gauges, model, members=4, steps=4)
    decoded = ds.assign(more=anomalies).slams.encode(model).slams.decode(model)
    for fields in (analysis, decoded):
        assert fields["clt"].min() == 0 and fields["clt"].max() == 100
        assert fields["pr"].min() == 0 and fields["hus"].min() == 0
        assert fields["t"].min() < 0 and fields["more"].min() < 0


def test_files_without_bounds_have_those_of_their_quantities() -> None:
    text = json.loads(Spec((VariableSpec("pr", "mm", transform="sqrt"),), (0.0,), (0.0,), periodic=False).to_json())
    del text["variables"][0]["bounds"]
    assert Spec.from_json(json.dumps(text)).variables[0].valid_range == (0.0, np.inf)
    assert [v.valid_range[0] for v in xslams.open_model("speedy-t30").spec.variables] == [-np.inf, 0.0, 0.0]
    tutorial = xslams.open_tutorial().isel(time=slice(2))
    assert float(tutorial.slams.encode("speedy-t30").slams.decode()["pr"].min()) >= 0.0

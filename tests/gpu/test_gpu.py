"""On a GPU, what a CPU gives, up to rounding: analyses, latents, estimates and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import xslams
from xslams.model import Model
from xslams.options import TrainingOptions
from xslams.training import fit_arrays
from xslams.training.frames import Stretch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

#: Of the standard deviation of the members. Convolutions of torch take factors with ten bits on a GPU, which shows most
#: where a background observes every cell: 0.020 there on an H200.
ROUNDING = 0.04


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    """Three days of the simulation."""
    return xslams.open_tutorial().isel(time=slice(0, 3)).load()


def observe(truth: xr.Dataset) -> list[xslams.Observation]:
    """Gauges, a satellite and stations."""
    return [
        xslams.simulate_observations(truth["pr"], mask=0.5, error=1.0, seed=1),
        xslams.simulate_observations(truth["olr"], coarsen={"lat": 2, "lon": 2}, error=5.0, seed=2),
        xslams.simulate_observations(truth["t"].isel(sigma=slice(0, 2)), stations=200, error=1.0, seed=3),
    ]


def difference(one: xr.Dataset, other: xr.Dataset) -> float:
    """Root mean square of the difference of members over their standard deviation."""
    spread = float(np.sqrt(one["t"].var("member").mean()))
    return float(np.sqrt(np.square(one["t"] - other["t"]).mean())) / spread


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"batch_size": 1}, id="one by one"),
        pytest.param({"guidance": "sda"}, id="sda"),
        pytest.param({"guidance": "dps"}, id="dps"),
        pytest.param({"background_error": 2.0}, id="background"),
        pytest.param({"background_error": xslams.BackgroundError(2.0, length=800, time=48)}, id="lengths"),
    ],
)
def test_members_are_those_of_a_cpu(truth: xr.Dataset, options: dict[str, object]) -> None:
    background = truth[["t"]] + 1.0 if "background_error" in options else truth[["t"]]
    background["t"].attrs = truth["t"].attrs
    here, there = (
        background.slams.assimilate(
            observe(truth), "speedy-t30", members=2, steps=6, device=device, progress=False, **options
        )
        for device in ("cpu", "cuda")
    )
    assert 0 < difference(here, there) < ROUNDING


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of torch, where it compiles
@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"compile": True}], ids=str)
def test_faster_networks_are_close(truth: xr.Dataset, options: dict[str, object]) -> None:
    here, there = (
        truth[["t"]].slams.assimilate(
            observe(truth), "speedy-t30", members=2, steps=6, device="cuda", progress=False, **more
        )
        for more in ({}, options)
    )
    assert 0 < difference(here, there) < 0.2


def test_latents_there_and_back(truth: xr.Dataset) -> None:
    here, there = (truth.slams.encode("speedy-t30", device=device) for device in ("cpu", "cuda"))
    # Convolutions of torch take the factors with ten bits there.
    xr.testing.assert_allclose(here, there, atol=2e-2)


def waves(days: int = 400) -> list[Stretch]:
    """Waves that travel on a coarse sphere, two levels and rain."""
    rng = np.random.default_rng(0)
    lat, lon = np.deg2rad(np.linspace(-70, 70, 8)), np.deg2rad(np.arange(16) * 22.5)
    phase = 0.3 * np.arange(days)[:, None, None] + np.cumsum(rng.normal(scale=0.3, size=(days, 1, 1)), axis=0)
    wave = np.sin(2 * lon - phase) * np.cos(lat)[:, None] + 0.3 * rng.normal(size=(days, 8, 16))
    fields = np.stack([285 + 8 * wave, 250 + 5 * np.roll(wave, 1, -1), np.maximum(4 * wave - 1, 0)], axis=1)
    return [(fields.astype(np.float32), (np.arange(days) % 365) / 365.25)]


def analysed(model: Model, device: str) -> torch.Tensor:
    """Members with the first level observed in every other cell."""
    prior = model.prior().to(device)
    assert all(torch.isfinite(value).all() for value in prior.state_dict().values() if value.is_floating_point())
    z = torch.randn(1, 3, *prior.autoencoder.latent_shape, generator=torch.Generator().manual_seed(0)).to(device)
    gaussian = prior.gaussian.trajectory(3)
    one = torch.ones(1, device=device)
    return gaussian.mean(z, one, one).cpu()


@pytest.mark.parametrize("patch", [1, 2])
def test_a_gaussian_is_estimated_as_on_a_cpu(tiny_model: Model, patch: int) -> None:
    # With all values of a patch, whose order is given; the signs of its leading patterns are not.
    options = TrainingOptions(patch=patch, latent_channels=3 * patch**2, coupled=4, seasonal=4, localization=3000.0)
    models = [
        fit_arrays(tiny_model.spec, waves(), options, device=device, progress=False) for device in ("cpu", "cuda")
    ]
    here, there = (analysed(model, "cpu") for model in models)
    torch.testing.assert_close(here, there, atol=2e-2, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_network_is_trained_and_goes_on_from_a_checkpoint(tiny_model: Model, tmp_path: Path, precision: str) -> None:
    options = TrainingOptions.of(epochs=2, width=(16, 16), patch=2, hidden=8, autoencoder_epochs=1, precision=precision)
    path = tmp_path / "checkpoint.safetensors"
    models = [
        fit_arrays(
            tiny_model.spec, waves(), options, device="cuda", progress=False, checkpoint=path, log=tmp_path / f"{n}.csv"
        )
        for n in range(2)
    ]
    one, other = (model.prior().state_dict() for model in models)
    for name, value in one.items():
        torch.testing.assert_close(value.cpu(), other[name].cpu(), atol=0, rtol=0, msg=name)
    assert torch.isfinite(analysed(models[0], "cuda")).all()


def test_fit_searches_on_a_gpu() -> None:
    fields, season = waves()[0]
    time = np.datetime64("2001-01-01", "ns") + np.arange(len(season)) * np.timedelta64(1, "D")
    lat, lon = np.linspace(-70, 70, 8), np.arange(16) * 22.5
    coords = {
        "time": time, "lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"}),
        "level": ("level", [850.0, 500.0], {"units": "hPa", "positive": "down"}),
    }  # fmt: skip
    ds = xr.Dataset(
        {
            "t": (("time", "level", "lat", "lon"), fields[:, :2], {"units": "K", "standard_name": "air_temperature"}),
            "pr": (("time", "lat", "lon"), fields[:, 2], {"units": "mm/day"}),
        },
        coords,
    )
    model = ds.slams.fit(aux=["pr"], window=3, budget="15s", device="cuda", progress=False)
    gauges = xslams.simulate_observations(ds["pr"].isel(time=slice(0, 3)), mask=0.5, error=1.0, seed=1)
    background = ds[["t"]].isel(time=slice(0, 3))
    here, there = (
        background.slams.assimilate(gauges, model, members=2, device=device, progress=False)
        for device in ("cpu", "cuda")
    )
    assert difference(here, there) < ROUNDING

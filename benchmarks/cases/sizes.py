"""Models of random weights and of any size, and what is observed of a state that they make up.

A model is of the kind that `fit` makes with its defaults: temperature on levels, precipitation and OLR to be observed,
patches of 4 x 4 cells with three tenths as many latents as values, a Gaussian prior of 100 modes for each zonal
wavenumber, and a score network over windows of five frames. Cost depends on sizes alone, but for the number of products
that the solver takes. That one depends on spectra, errors and observations, which are therefore realistic: variances
fall with wavenumber and mode, and neighbouring days are correlated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

import xslams
from xslams.model import Model
from xslams.networks.architecture import LatentArchitecture
from xslams.priors.gaussian import StationaryGaussian
from xslams.priors.latent import LatentPrior
from xslams.spec import Spec, VariableSpec

__all__ = ["Size", "background", "networks", "observations", "operations", "random_model"]


@dataclass(frozen=True)
class Size:
    """Size of a global model.

    Attributes
    ----------
    lat, lon
        Cells.
    levels
        Levels of temperature.
    width
        Channels of the score network at each resolution; without any there is none.
    """

    lat: int = 121
    lon: int = 240
    levels: int = 10
    width: tuple[int, ...] = (96, 128)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.lat * self.lon

    def spec(self) -> Spec:
        """Describe the model."""
        levels = tuple(np.linspace(1000.0, 50.0, self.levels).tolist())
        patch = 4
        return Spec(
            variables=(
                VariableSpec("t", "K", standard_name="air_temperature", level_dim="level", levels=levels,
                             level_attrs={"units": "hPa", "standard_name": "air_pressure"}),
                VariableSpec("pr", "mm/day", role="aux", standard_name="precipitation_flux", transform="sqrt"),
                VariableSpec("olr", "W m-2", role="aux", standard_name="toa_outgoing_longwave_flux"),
            ),
            lat=tuple(np.linspace(-90.0, 90.0, self.lat).tolist()),
            lon=tuple((np.arange(self.lon) * 360.0 / self.lon).tolist()),
            periodic=True,
            name=f"random-{self.lat}x{self.lon}",
            architecture=LatentArchitecture(
                latent_channels=(self.levels + 2) * patch**2 * 3 // 10, patch=patch, hidden=64, modes=100, lags=4,
                mean_order=2, std_order=1, width=self.width, blocks=2, location=16,
            ).to_header(),
        )  # fmt: skip


def networks(size: Size) -> LatentPrior:
    """Return the networks of a model with initial weights, on the device that torch is set to."""
    return LatentPrior(size.spec())


def random_model(size: Size, seed: int = 0) -> Model:
    """Make a model of random weights, in memory."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        prior = networks(size)
        _random_gaussian(prior.gaussian)
        _random_decoder(prior)
        if prior.score is not None:
            prior.score.last.weight.normal_(std=0.02)
        # As in K, in square roots of mm/day, and in W m-2.
        mean, spread = ([*[each] * size.levels, *aux] for each, aux in ((250.0, (1.0, 240.0)), (3.0, (0.5, 20.0))))
        prior.normalization.mean[0] = torch.tensor(mean)[:, None, None]
        prior.normalization.log_std[0] = torch.tensor(spread).log()[:, None, None]
        prior = prior.eval().requires_grad_(requires_grad=False)
    return Model(size.spec(), prior=prior)


def _random_gaussian(gaussian: StationaryGaussian) -> None:
    """Give modes at random, and variances that fall with wavenumber and mode; latents have unit variance."""
    blocks, size, modes, _ = gaussian.modes.shape
    number = torch.arange(modes)
    by_wave = torch.exp(-3.0 * torch.arange(blocks) / blocks)
    by_wave = by_wave / by_wave.mean()
    by_mode = 1.0 / (1.0 + number)
    # One block after the other, as all at once are large on fine grids.
    for m in range(blocks):
        block = torch.randn(size, modes, 2) * torch.tensor([1.0, 0.0 if gaussian.layout.is_real(m) else 1.0])
        gaussian.modes[m] = torch.view_as_real(torch.linalg.qr(torch.view_as_complex(block))[0])
        variance = 0.8 * size * by_wave[m] * by_mode / by_mode.sum()
        for lag in range(gaussian.lags + 1):
            gaussian.autocov[lag, m, :, 0] = variance * (0.95 - 0.5 * number / modes) ** lag
        gaussian.rest[0, m] = 0.2 * by_wave[m] * size / max(size - modes, 1)
        gaussian.rest[1, m] = 0.3


def _random_decoder(prior: LatentPrior) -> None:
    autoencoder = prior.autoencoder
    weight = autoencoder.decode_linear.weight
    spread = weight.shape[1] ** -0.5
    weight.normal_(std=0.1 * spread)
    weight[:, :, 1, 1] += spread * torch.randn(weight.shape[:2])
    autoencoder.residual_std.fill_(0.3)


def operations(size: Size, frames: int) -> dict[str, float]:
    """Count operations of a call of the network, of a product with the prior, and of the decoder with its adjoint.

    Parameters
    ----------
    size
        Of the model.
    frames
        Number of frames.

    Returns
    -------
    dict
        Operations of ``network``, ``prior`` and ``decoder``, bytes of the ``modes``, and ``latent``, the number of
        latents of a frame. They are counted on a device without memory, so that any size will do.
    """
    with torch.device("meta"):
        prior = networks(size).eval()
        latents = torch.empty(1, frames, *prior.shape)
        found = {"network": 0.0}
        if prior.score is not None:
            windows = torch.empty(frames - 2, prior.score.window, *prior.shape)
            with FlopCounterMode(display=False) as counter:
                prior.score(windows, windows, torch.empty(frames - 2), torch.empty(frames - 2))
            found["network"] = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            decoder = prior.autoencoder.decoder()
            decoder.adjoint(decoder(latents))
        found["decoder"] = counter.get_total_flops()
    gaussian = prior.gaussian
    modes = gaussian.modes.shape[2]
    # A complex product counts as four of two operations; the rest is real in time.
    each = 4 * 2 * (2 * gaussian.size * modes + 2 * modes * frames) + 2 * 2 * gaussian.size * frames
    found["prior"] = gaussian.blocks * frames * each
    found["modes"] = 8.0 * gaussian.blocks * gaussian.size * modes
    found["latent"] = math.prod(prior.shape)
    return found


def background(model: Model, frames: int, seed: int = 1) -> xr.Dataset:
    """Draw a trajectory of the Gaussian prior: all variables, float32."""
    spec, prior = model.spec, model.prior()
    assert isinstance(prior, LatentPrior)
    generator = torch.Generator().manual_seed(seed)
    season = torch.arange(frames) / 365.25
    with torch.no_grad():
        noise = torch.randn(1, frames, *prior.shape, generator=generator)
        x = prior.decode(prior.gaussian.trajectory(frames).apply(torch.sqrt, noise), season)[0].numpy()
    coords = {
        "time": pd.date_range("2001-01-01", periods=frames),
        "level": ("level", list(spec.variables[0].levels), spec.variables[0].level_attrs),
        "lat": ("lat", list(spec.lat), {"units": "degrees_north"}),
        "lon": ("lon", list(spec.lon), {"units": "degrees_east"}),
    }
    out = {}
    for v in spec.variables:
        values = x[:, spec.channel_slice(v.name)]
        dims = ("time", *(["level"] if v.levels else []), "lat", "lon")
        values = values if v.levels else values[:, 0]
        out[v.name] = (dims, values, {"units": v.units, "standard_name": v.standard_name})
    return xr.Dataset(out, coords)


def observations(truth: xr.Dataset, gauges: float = 1.0, stations: int = 1000) -> list[xslams.Observation]:
    """Observe by gauges, a satellite and stations.

    Parameters
    ----------
    truth
        All variables.
    gauges
        Spacing of the grid of gauges in degrees, of whose cells three tenths, the land, have one.
    stations
        Number of stations of temperature at the two lowest levels.

    Returns
    -------
    list of Observation
        Precipitation of 1 mm/day, OLR in boxes of 2.5 degrees of 5 W m-2, temperature of 1 K.
    """
    rng = np.random.default_rng(2)
    grid = _boxes(gauges)
    pr = truth["pr"].slams.regrid(grid, method="bilinear")
    land = xr.DataArray(rng.random((grid.sizes["lat"], grid.sizes["lon"])) < 0.3, dims=("lat", "lon"))
    olr = truth["olr"].slams.regrid(_boxes(2.5), method="conservative")
    places = {"lat": ("station", np.degrees(np.arcsin(rng.uniform(-1, 1, stations)))),
              "lon": ("station", rng.uniform(0, 360, stations))}  # fmt: skip
    lowest = truth["t"].isel(level=slice(0, 2))
    return [
        xslams.Observation(_disturbed(pr.where(land), 1.0, rng), error=1.0, method="bilinear"),
        xslams.Observation(_disturbed(olr, 5.0, rng), error=5.0, method="conservative"),
        xslams.simulate_observations(lowest, stations=xr.Dataset(coords=places), error=1.0, seed=3),
    ]


def _boxes(degrees: float) -> xr.Dataset:
    lat, lon = (np.arange(-side + degrees / 2, side, degrees) for side in (90.0, 180.0))
    return xr.Dataset(
        coords={"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon + 180, {"units": "degrees_east"})}
    )


def _disturbed(field: xr.DataArray, error: float, rng: np.random.Generator) -> xr.DataArray:
    return (field + error * rng.standard_normal(field.shape)).astype(np.float32).assign_attrs(field.attrs)

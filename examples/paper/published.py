"""The published procedure, for comparison: the truth is encoded, and its latents are what is observed.

The notebooks of the paper encode the full, noise-free state together with the full, noise-free observations, average
the latents over boxes, add noise to them, and guide the sampler of Rozet and Louppe (2023, arXiv 2306.10574) with the
result. What is called a background is thus a function of the truth, and none of its degradation is seen by the method.
Here the same procedure runs twice: with the truth encoded, as published, and with what there is in practice, the
degraded background brought to the grid, in its place.
"""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional

import xslams
from xslams.inference import sample_posterior
from xslams.inference.guidance import SDA
from xslams.labels.calendar import year_fraction
from xslams.model import Model

__all__ = ["filled", "observe_latents"]

#: Latent cells that are averaged in each direction, and noise of the averages in units of a latent.
_POOL, _NOISE = 2, 0.5
#: With the constant that is the default of its authors' code.
_GUIDANCE = SDA(gamma=0.01)


def observe_latents(
    model: Model,
    encoded: xr.Dataset,
    *,
    members: int,
    steps: int,
    seed: int = 0,
) -> xr.Dataset:
    """Encode fields, average and disturb their latents, and analyse these as observations of the latents.

    Parameters
    ----------
    model
        Prior in a latent space.
    encoded
        The truth, with precipitation and radiation, as published; or what stands in its place.
    members, steps
        As in `ds.slams.assimilate`.
    seed
        Of the noise.
    """
    latent = encoded.slams.encode(model)
    z = torch.as_tensor(latent["latent"].transpose("time", "latent_channel", "latent_lat", "latent_lon").values)
    generator = torch.Generator().manual_seed(seed)

    def average(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x.flatten(0, 1), _POOL).reshape(len(x), -1)

    exact = average(z[None])[0]
    y = exact + _NOISE * torch.randn(exact.shape, generator=generator)
    season = torch.as_tensor(year_fraction(encoded["time"]), dtype=torch.float32)
    drawn = sample_posterior(
        model.prior().denoiser(len(z), season), y, average, _NOISE**2, shape=tuple(z.shape), members=members,
        steps=steps, guidance=_GUIDANCE, generator=generator,
    )  # fmt: skip
    dims = ("member", "time", "latent_channel", "latent_lat", "latent_lon")
    return latent.assign(latent=(dims, drawn.numpy())).slams.decode(model).compute()


def filled(model: Model, background: xslams.Observation, truth: xr.Dataset) -> xr.Dataset:
    """Return the degraded background on the grid, with the climatology of what it has not.

    Parameters
    ----------
    model
        Its climatology.
    background
        Temperature on coarse cells.
    truth
        Grid and times; its values are not used.
    """
    from xslams.inference.arrays import climatology_arrays
    from xslams.labels.channels import from_channels

    mean, _ = climatology_arrays(model, year_fraction(truth["time"]))
    climate = from_channels(mean[:, : model.spec.state_channels], model.spec, truth)
    coarse = background.data.slams.regrid(truth[["lat", "lon"]], "bilinear")
    fields = xr.Dataset({"t": coarse.fillna(climate["t"]).assign_attrs(truth["t"].attrs)})
    # The normalised climatology of an auxiliary variable is zero, as that of a missing value is.
    return fields.assign({n: xr.full_like(truth[n], float("nan")) for n in ("pr", "olr")})

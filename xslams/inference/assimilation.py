"""Assimilation on arrays: the one place where numpy becomes torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from xslams.errors import SlamsError
from xslams.inference.batches import accelerate, fitting, in_batches, one_thread
from xslams.inference.denoiser import SIGMA_MAX, TrajectoryDenoiser
from xslams.inference.guidance import guide
from xslams.inference.operators import FieldOperator
from xslams.inference.posterior import error_covariance
from xslams.inference.samplers import KeyedNoise, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from azula.denoise import Denoiser

    from xslams.models.model import Model
    from xslams.models.networks import Networks
    from xslams.typing import FloatArray, SourceArrays

__all__ = ["assimilate_arrays", "climatology_arrays", "decode_arrays", "encode_arrays"]

# Draws below this number belong to the sampler; this one is the noise that the decoder leaves out.
_RESIDUAL_DRAW = 2**31


def _device(device: str | None) -> torch.device:
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _prepare(model: Model, year_fraction: FloatArray, device: str | None) -> tuple[Networks, Tensor]:
    """Networks and season on the device."""
    where = _device(device)
    season = torch.as_tensor(np.asarray(year_fraction, dtype=np.float32), device=where)
    return model.networks().to(where), season


def assimilate_arrays(
    model: Model,
    *,
    year_fraction: FloatArray,
    labels: npt.NDArray[np.int64],
    sources: Sequence[SourceArrays],
    members: Sequence[int],
    guidance: str = "mmps",
    sampler: str = "auto",
    steps: int = 32,
    corrections: int = 0,
    antithetic: bool = False,
    seed: int = 0,
    device: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
    precision: str = "float32",
    compile: bool = False,
    progress: bool = False,
) -> npt.NDArray[np.float32]:
    """Draw members of the analysis over one stretch of frames.

    Parameters
    ----------
    model
        Trained model.
    year_fraction
        Fraction of the year of each frame, shape ``(T,)``.
    labels
        Whole hours since 1970 of each frame; they key the noise.
    sources
        Observations. Without any, members are drawn from the prior.
    members
        Numbers of the members; they key the noise.
    guidance, sampler, steps, corrections, antithetic, seed
        As in ``Dataset.slams.assimilate``.
    device
        Torch device; by default the GPU where there is one.
    batch_size
        Members at a time on a GPU, where it changes memory and speed, and the result by rounding; "auto" takes as many
        as fit, and fewer where memory runs out. A CPU takes them one by one, with one thread for each.
    precision, compile
        As in ``Dataset.slams.assimilate``.
    progress
        Whether to show progress bars.

    Returns
    -------
    ndarray
        State channels in physical units, shape ``(member, T, channel, lat, lon)``, float32.
    """
    with one_thread() as threads:
        return _assimilate(
            model, year_fraction, labels, sources, members, guidance=guidance, sampler=sampler, steps=steps,
            corrections=corrections, antithetic=antithetic, seed=seed, device=device, batch_size=batch_size,
            precision=precision, compiled=compile, progress=progress, threads=threads,
        )  # fmt: skip


def _assimilate(
    model: Model,
    year_fraction: FloatArray,
    labels: npt.NDArray[np.int64],
    sources: Sequence[SourceArrays],
    members: Sequence[int],
    *,
    guidance: str,
    sampler: str,
    steps: int,
    corrections: int,
    antithetic: bool,
    seed: int,
    device: str | None,
    batch_size: int | Literal["auto"],
    precision: str,
    compiled: bool,
    progress: bool,
    threads: int,
) -> npt.NDArray[np.float32]:
    """Do what `assimilate_arrays` says, where operations have one thread each and members may have `threads`."""
    networks, season = _prepare(model, year_fraction, device)
    length = len(season)
    if batch_size == "auto":
        latent, fields = math.prod(networks.autoencoder.latent_shape), math.prod(model.spec.frame_shape)
        size = fitting(len(members), length * latent, length * fields, season.device)
    elif batch_size < 1:
        msg = f"batch_size must be at least 1 or 'auto'; got {batch_size}."
        raise SlamsError(msg)
    else:
        size = batch_size
    denoiser = TrajectoryDenoiser(networks, season)
    denoiser.score = accelerate(networks.score, precision, compiled=compiled)
    present = [s for s in sources if len(s.values)]
    operator = FieldOperator(networks, season, present) if present else None
    out = np.empty(
        (len(members), length, model.spec.state_channels, len(model.spec.lat), len(model.spec.lon)), np.float32
    )

    def draw(first: int, batch: Sequence[int]) -> None:
        noise = KeyedNoise(
            seed, batch, [int(label) for label in labels], networks.autoencoder.latent_shape, season.device,
            antithetic=antithetic,
        )  # fmt: skip
        guided: Denoiser = denoiser
        if operator is not None:
            guided = guide(denoiser, operator.y, operator, error_covariance(operator.variance), guidance)
        z = sample(
            guided,
            SIGMA_MAX * noise(0),
            noise,
            sampler=sampler,
            steps=steps,
            corrections=corrections,
            progress=progress and len(members) == 1,
        )
        left_out = KeyedNoise(
            seed, batch, noise.labels, model.spec.frame_shape, season.device, antithetic=antithetic
        )  # fmt: skip
        residual = left_out(_RESIDUAL_DRAW)
        out[first : first + len(batch)] = _to_physical(networks, z, season, residual)[:, :, : model.spec.state_channels]

    in_batches(draw, members, season.device, size=size, shrink=batch_size == "auto", threads=threads, progress=progress)
    return out


def _to_physical(
    networks: Networks, z: Tensor, season: Tensor, residual: Tensor | None = None
) -> npt.NDArray[np.float32]:
    """Decode latents ``(*, T, z, z_lat, z_lon)`` to physical fields, with the noise that the decoder leaves out."""
    with torch.no_grad():
        u = networks.autoencoder.decode(z)
        if residual is not None:
            u = u + networks.autoencoder.residual_std * residual
        values: npt.NDArray[np.float32] = networks.normalization.denormalize(u, season).cpu().numpy()
    return values


def encode_arrays(
    model: Model, fields: FloatArray, year_fraction: FloatArray, device: str | None = None
) -> npt.NDArray[np.float32]:
    """Encode physical fields ``(T, channel, lat, lon)``, NaN where absent, to latents ``(T, z, z_lat, z_lon)``."""
    networks, season = _prepare(model, year_fraction, device)
    with torch.no_grad():
        x = torch.as_tensor(np.asarray(fields, dtype=np.float32), device=season.device)
        z: npt.NDArray[np.float32] = (
            networks.autoencoder.encode(networks.normalization.normalize(x, season)).cpu().numpy()
        )
    return z


def decode_arrays(
    model: Model, z: FloatArray, year_fraction: FloatArray, device: str | None = None
) -> npt.NDArray[np.float32]:
    """Decode latents ``(T, z, z_lat, z_lon)`` to physical fields ``(T, channel, lat, lon)``."""
    networks, season = _prepare(model, year_fraction, device)
    return _to_physical(networks, torch.as_tensor(np.asarray(z, dtype=np.float32), device=season.device), season)


def climatology_arrays(
    model: Model, year_fraction: FloatArray
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Seasonal mean and standard deviation of all channels in physical units, each ``(T, channel, lat, lon)``.

    For a transformed variable the standard deviation is that of the linearised transform at the mean.
    """
    networks, season = _prepare(model, year_fraction, "cpu")
    with torch.no_grad():
        mean, std = networks.normalization.climatology(season)
        spread = std * networks.normalization.slope(mean)
        return networks.normalization.inverse_transform(mean).numpy(), spread.numpy()

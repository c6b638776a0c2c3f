"""Assimilation on arrays: the one place where numpy becomes torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from xslams.errors import SlamsError
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
# Frames (members times length) that go through a GPU together.
_FRAMES_PER_BATCH = 4096


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
        Members at a time on a GPU, where it changes memory and speed, and the result by rounding. A CPU takes them one
        by one.
    progress
        Whether to show progress bars.

    Returns
    -------
    ndarray
        State channels in physical units, shape ``(member, T, channel, lat, lon)``, float32.
    """
    networks, season = _prepare(model, year_fraction, device)
    length = len(season)
    size = max(_FRAMES_PER_BATCH // length, 1) if batch_size == "auto" else batch_size
    if size < 1:
        msg = f"batch_size must be at least 1 or 'auto'; got {size}."
        raise SlamsError(msg)
    denoiser = TrajectoryDenoiser(networks, season)
    present = [s for s in sources if len(s.values)]
    operator = FieldOperator(networks, season, present) if present else None
    out = np.empty(
        (len(members), length, model.spec.state_channels, len(model.spec.lat), len(model.spec.lon)), np.float32
    )
    if season.device.type == "cpu":
        # Rounding depends on the size of a batch. One by one, members are bitwise the same in any company, and on a few
        # cores no slower.
        size = 1
    batches = [members[i : i + size] for i in range(0, len(members), size)]
    for n, batch in enumerate(tqdm(batches, desc="members", unit="batch", disable=not progress or len(batches) == 1)):
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
            progress=progress,
        )
        left_out = KeyedNoise(
            seed, batch, noise.labels, model.spec.frame_shape, season.device, antithetic=antithetic
        )  # fmt: skip
        residual = left_out(_RESIDUAL_DRAW)
        first = n * size
        out[first : first + len(batch)] = _to_physical(networks, z, season, residual)[:, :, : model.spec.state_channels]
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

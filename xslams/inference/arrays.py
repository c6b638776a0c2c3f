"""Assimilation on arrays: the one place where numpy becomes torch."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from xslams.errors import SlamsError
from xslams.inference.batches import accelerate, fitting, in_batches, one_thread
from xslams.inference.guidance import guide
from xslams.inference.operators import (
    FieldOperator,
    FunctionOperator,
    check_function,
    fields_by_name,
    jacobian_product,
)
from xslams.inference.robust import observation_errors
from xslams.inference.samplers import KeyedNoise, sample
from xslams.inference.sources import Sources
from xslams.priors.denoiser import SIGMA_MAX, TrajectoryDenoiser

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from azula.denoise import Denoiser

    from xslams.model import Model
    from xslams.priors.latent import Networks
    from xslams.typing import FieldFunction, FloatArray, SourceArrays

__all__ = [
    "assimilate_arrays",
    "check_operator",
    "climatology_arrays",
    "decode_arrays",
    "encode_arrays",
    "observe_arrays",
    "variogram_arrays",
]

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
    predicted: FloatArray | None = None,
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
    predicted
        Array of shape ``(member, n)`` that is filled with what the members predict of all `n` observations, source by
        source; without what the decoder leaves out, which counts as error of the observations.

    Returns
    -------
    ndarray
        State channels in physical units, shape ``(member, T, channel, lat, lon)``, float32.
    """
    with one_thread() as threads:
        return _assimilate(
            model, year_fraction, labels, sources, members, guidance=guidance, sampler=sampler, steps=steps,
            corrections=corrections, antithetic=antithetic, seed=seed, device=device, batch_size=batch_size,
            precision=precision, compiled=compile, progress=progress, threads=threads, predicted=predicted,
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
    predicted: FloatArray | None,
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
    # Functions come last: what is linear is one operator.
    order = sorted((i for i, s in enumerate(sources) if len(s.values)), key=lambda i: sources[i].function is not None)
    present = [sources[i] for i in order]
    operator = _operator(networks, season, present, model) if present else None
    if operator is not None:
        errors, robust = observation_errors(present, operator.variance)
        column = np.concatenate([_columns(sources)[i] for i in order])
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
            # One for each batch: what a robust likelihood makes of the errors is the state of a guided denoiser.
            guided = guide(denoiser, operator.y, operator, errors, guidance, reweight=robust)
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
        if predicted is not None and operator is not None:
            # Rows of no other batch, so that batches may be drawn side by side.
            with torch.no_grad():
                predicted[first : first + len(batch), column] = operator(z).cpu().numpy()
        out[first : first + len(batch)] = _to_physical(networks, z, season, residual)[:, :, : model.spec.state_channels]

    in_batches(draw, members, season.device, size=size, shrink=batch_size == "auto", threads=threads, progress=progress)
    return out


class _Stacked(Sources):
    """Operators of several sources, with the variances of their independent errors."""

    def __init__(self, operators: Sequence[FieldOperator | FunctionOperator]) -> None:
        super().__init__([o.y for o in operators], list(operators), [o.variance for o in operators])
        self.variance = torch.cat([o.variance for o in operators])


def _operator(
    networks: Networks, season: Tensor, sources: Sequence[SourceArrays], model: Model
) -> FieldOperator | FunctionOperator | _Stacked:
    """All sources as one operator; those with a function come last."""
    linear = [s for s in sources if s.function is None]
    operators: list[FieldOperator | FunctionOperator] = [FieldOperator(networks, season, linear)] if linear else []
    variables = model.spec.variables
    operators += [FunctionOperator(networks, season, s, variables) for s in sources if s.function is not None]
    return operators[0] if len(operators) == 1 else _Stacked(operators)


def _columns(sources: Sequence[SourceArrays]) -> list[npt.NDArray[np.intp]]:
    """Positions of the values of each source among those of all."""
    ends = np.cumsum([0, *(s.values.size for s in sources)])
    return [np.arange(a, b) for a, b in itertools.pairwise(ends)]


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
    with one_thread(), torch.no_grad():
        mean, std = networks.normalization.climatology(season)
        spread = std * networks.normalization.slope(mean)
        return networks.normalization.inverse_transform(mean).numpy(), spread.numpy()


def check_operator(model: Model, function: FieldFunction, year_fraction: FloatArray, name: str) -> None:
    """Check a user's observation operator on the climatology of a model, and on a disturbed one.

    Raises
    ------
    ObservationError
        As `xslams.inference.operators.check_function`.
    """
    mean, std = (torch.as_tensor(a) for a in climatology_arrays(model, year_fraction))
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    check_function(function, torch.stack([mean, mean + 0.5 * std * noise]), model.spec.variables, name)


def observe_arrays(
    model: Model, function: FieldFunction, mean: FloatArray, std: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return what a user's observation operator makes of fields, and the standard deviation of that.

    Parameters
    ----------
    model
        Trained model.
    function
        The operator.
    mean, std
        Physical fields and their standard deviation, shape ``(T, channel, lat, lon)``.

    Returns
    -------
    tuple of ndarray
        Field and standard deviation, each of shape ``(T, lat, lon)``. Fields are taken to be correlated perfectly in
        space and between channels, so that the deviation of a mean is that of what is averaged.
    """
    x = torch.as_tensor(mean, dtype=torch.float32)[None]

    def observe(x: Tensor) -> Tensor:
        return function(fields_by_name(x, model.spec.variables))

    spread = torch.zeros_like(x[:, :, 0])
    with one_thread():
        for channel in range(x.shape[2]):
            v = torch.zeros_like(x)
            v[0, :, channel] = torch.as_tensor(std[:, channel])
            spread = spread + jacobian_product(observe, x, v).abs()
    with one_thread(), torch.no_grad():
        return observe(x)[0].numpy(), spread[0].numpy()


def variogram_arrays(model: Model, year_fraction: FloatArray, samples: int = 64) -> npt.NDArray[np.float32]:
    """Half of the mean squared difference between neighbouring cells under the Gaussian prior of a model.

    Parameters
    ----------
    model
        Trained model.
    year_fraction
        Fraction of the year of each frame, shape ``(T,)``.
    samples
        Number of frames that are drawn, always the same ones.

    Returns
    -------
    ndarray
        In physical units squared, shape ``(T, channel, lat, lon)``; the same along a circle of latitude but for the
        climatological spread. Without what the decoder leaves out.
    """
    networks, season = _prepare(model, year_fraction, "cpu")
    gaussian = networks.gaussian.trajectory(1)
    noise = torch.randn((samples, 1, *networks.autoencoder.latent_shape), generator=torch.Generator().manual_seed(0))
    with one_thread(), torch.no_grad():
        u = networks.autoencoder.decode(gaussian.apply(torch.sqrt, noise))
        u = (u - networks.autoencoder.decode(torch.zeros_like(noise[:1])))[:, 0]
        mean, std = networks.normalization.climatology(season)
        spread = std * networks.normalization.slope(mean)
        east = u.diff(dim=-1, append=u[..., :1] if model.spec.periodic else u[..., -2:-1]).square()
        north = u.diff(dim=-2, append=u[..., -2:-1, :]).square()
        half = ((east + north) / 4).mean(dim=(0, 3), keepdim=True)[0]
        return (half * spread.square()).numpy()

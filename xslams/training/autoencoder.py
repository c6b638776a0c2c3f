"""Training of the autoencoder, and what its latents and its errors are scaled with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.training.loop import Batches, Watch, minimize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xslams.networks.autoencoder import Autoencoder
    from xslams.options import TrainingOptions
    from xslams.priors.latent import LatentPrior
    from xslams.spec import Spec
    from xslams.training.frames import Room
    from xslams.training.monitor import Monitor

__all__ = ["encode_into", "encode_runs", "fit_autoencoder"]

# Frames that are encoded together.
_BATCH = 64
# Weight of every latitude in the loss besides its area: observations near the poles count, too.
_POLES = 0.3


def fit_autoencoder(prior: LatentPrior, spec: Spec, frames: Tensor, options: TrainingOptions, monitor: Monitor) -> None:
    """Train encoder and decoder in place, and set the scale of the latents and what the decoder leaves out.

    Parameters
    ----------
    prior
        Its autoencoder is trained; one that is the identity has nothing to learn but the scale.
    spec
        Variables and grid.
    frames
        Anomalies, shape ``(T, channel, lat, lon)``.
    options
        Options of training.
    monitor
        Who watches.
    """
    autoencoder = prior.autoencoder
    if not autoencoder.identity:
        _train(prior, spec, frames, options, monitor)
    with torch.no_grad():
        autoencoder.whiten(frames.split(_BATCH))
        autoencoder.weigh(frames.split(_BATCH))
        square = torch.zeros_like(autoencoder.residual_std)
        for part in frames.split(_BATCH):
            u = part.to(square.device)
            square += (autoencoder.decode(autoencoder.encode(u)) - u).square().sum(0)
        autoencoder.residual_std.copy_((square / len(frames)).sqrt())


@torch.no_grad()
def encode_runs(autoencoder: Autoencoder, runs: list[Tensor]) -> list[Tensor]:
    """Encode stretches of anomalies ``(T, channel, lat, lon)`` to latents ``(T, z, z_lat, z_lon)``."""
    return [torch.cat([autoencoder.encode(part) for part in run.split(_BATCH)]) for run in runs]


@torch.no_grad()
def encode_into(autoencoder: Autoencoder, frames: Tensor, room: Room) -> Tensor:
    """Encode anomalies as `encode_runs` does, into new room, or in their place where latents have their shape."""
    latents = frames if autoencoder.identity else room.empty((len(frames), *autoencoder.latent_shape))
    for part, z in zip(frames.split(_BATCH), latents.split(_BATCH), strict=True):
        z.copy_(autoencoder.encode(part.to(autoencoder.scale.device)))
    return latents


def _train(prior: LatentPrior, spec: Spec, frames: Tensor, options: TrainingOptions, monitor: Monitor) -> None:
    autoencoder = prior.autoencoder
    device = autoencoder.scale.device
    importance = torch.tensor(
        [1.0 if v.role == "state" else options.aux_weight for v in spec.variables for _ in range(v.channels)],
        device=device,
    )
    autoencoder.start_from_patches(frames, importance)
    area = torch.as_tensor(spec.area_weights(), dtype=frames.dtype, device=device)[:, None]
    weight = importance[:, None, None] ** 2 * (_POLES + area)
    batches = Batches(len(frames), options.batch, options.autoencoder_epochs)

    def losses() -> Iterator[Tensor]:
        for index in batches:
            u = frames[index.to(frames.device)].to(device)
            yield (weight * (autoencoder.decode(autoencoder.encode(u)) - u).square()).mean()

    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(len(batches), 1))
    minimize(
        autoencoder, losses(), optimizer, schedule, steps=len(batches), label="autoencoder",
        progress=monitor.progress, clip=None, watch=Watch(monitor, "autoencoder", prior, batches),
    )  # fmt: skip

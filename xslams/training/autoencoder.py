"""Training of the autoencoder, and what its latents and its errors are scaled with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.training.loop import batches, minimize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xslams.networks.autoencoder import Autoencoder
    from xslams.options import TrainingOptions
    from xslams.spec import Spec

__all__ = ["encode_runs", "fit_autoencoder"]

# Frames that are encoded together.
_BATCH = 64
# Weight of every latitude in the loss besides its area: observations near the poles count, too.
_POLES = 0.3


def fit_autoencoder(
    autoencoder: Autoencoder, spec: Spec, frames: Tensor, options: TrainingOptions, *, progress: bool
) -> None:
    """Train encoder and decoder in place, and set the scale of the latents and what the decoder leaves out.

    Parameters
    ----------
    autoencoder
        The autoencoder; one that is the identity has nothing to learn but the scale.
    spec
        Variables and grid.
    frames
        Anomalies, shape ``(T, channel, lat, lon)``.
    options
        Options of training.
    progress
        Whether to show a progress bar.
    """
    if not autoencoder.identity:
        _train(autoencoder, spec, frames, options, progress=progress)
    with torch.no_grad():
        autoencoder.whiten(frames.split(_BATCH))
        square = torch.zeros_like(autoencoder.residual_std)
        for u in frames.split(_BATCH):
            square += (autoencoder.decode(autoencoder.encode(u)) - u).square().sum(0)
        autoencoder.residual_std.copy_((square / len(frames)).sqrt())


@torch.no_grad()
def encode_runs(autoencoder: Autoencoder, runs: list[Tensor]) -> list[Tensor]:
    """Encode stretches of anomalies ``(T, channel, lat, lon)`` to latents ``(T, z, z_lat, z_lon)``."""
    return [torch.cat([autoencoder.encode(part) for part in run.split(_BATCH)]) for run in runs]


def _train(autoencoder: Autoencoder, spec: Spec, frames: Tensor, options: TrainingOptions, *, progress: bool) -> None:
    importance = frames.new_tensor(
        [1.0 if v.role == "state" else options.aux_weight for v in spec.variables for _ in range(v.channels)]
    )
    autoencoder.start_from_patches(frames, importance)
    area = torch.as_tensor(spec.area_weights(), dtype=frames.dtype, device=frames.device)[:, None]
    weight = importance[:, None, None] ** 2 * (_POLES + area)

    def losses() -> Iterator[Tensor]:
        for index in batches(len(frames), options.batch, options.autoencoder_epochs):
            u = frames[index.to(frames.device)]
            yield (weight * (autoencoder.decode(autoencoder.encode(u)) - u).square()).mean()

    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-3)
    steps = options.autoencoder_epochs * -(-len(frames) // options.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    minimize(autoencoder, losses(), optimizer, schedule, steps=steps, label="autoencoder", progress=progress, clip=None)

"""Latent frames of fields that are shifted along a latitude circle, by less than a patch.

Statistics that are the same along a latitude circle are those of the shifted fields, too. A latent frame that is cut
into patches has them for shifts of whole patches only: its prior would have to find out from the frames that waves of
the fields are uncorrelated which look the same to the patches, and would find chance instead. Frames of all shifts say
so. Each shift has patches of its own, and these their own scale and mixing.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from xslams.training.autoencoder import encode_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from xslams.networks.autoencoder import Autoencoder

__all__ = ["count_shifts", "shifted"]

# Frames that are whitened together.
_BATCH = 64


def count_shifts(autoencoder: Autoencoder) -> int:
    """Return by how many cells fields can be shifted without a loss: none where latents leave something out.

    Parameters
    ----------
    autoencoder
        Of the fields.
    """
    closed = autoencoder.periodic and not autoencoder.padding[1]
    return autoencoder.patch - 1 if closed and autoencoder.complete else 0


@torch.no_grad()
def shifted(autoencoder: Autoencoder, latents: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the latent frames of shifted fields, shift by shift; none where there is no shift without a loss.

    Parameters
    ----------
    autoencoder
        Trained.
    latents
        Latent frames ``(T, z, z_lat, z_lon)`` of each stretch.
    """
    for shift in range(1, 1 + count_shifts(autoencoder)):
        fields = [_decoded(autoencoder, run).roll(shift, -1) for run in latents]
        own = copy.deepcopy(autoencoder)
        own.whiten([part for run in fields for part in run.split(_BATCH)])
        yield encode_runs(own, fields)


def _decoded(autoencoder: Autoencoder, run: Tensor) -> Tensor:
    return torch.cat([autoencoder.decode(part) for part in run.split(_BATCH)])

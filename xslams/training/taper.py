"""The localisation of the covariance of latent frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xslams.localization import gaspari_cohn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.priors.blocks import Blocks
    from xslams.spec import Spec
    from xslams.typing import FloatArray

__all__ = ["taper_of"]

_EARTH_RADIUS = 6371.0  # km


def taper_of(layout: Blocks, patch: int, spec: Spec, length: float) -> Tensor:
    """Return the localisation of the covariance of a block of latent frames.

    Along a latitude circle that closes, statistics are homogeneous, and distances are those between latitudes.

    Parameters
    ----------
    layout
        Blocks of the latent frames.
    patch
        Cells of the grid of the fields along a side of a latent cell.
    spec
        Latitudes and longitudes of the grid of the fields.
    length
        Half of the distance at which correlations become zero, in km.

    Returns
    -------
    Tensor
        Factors between 0 and 1, shape ``(size, size)`` of a block; the same for every pair of channels.
    """
    channels, lat, lon = layout.cells
    latitudes = np.deg2rad(_centres(spec.lat, patch // layout.cut, lat))
    if layout.periodic:
        apart = _EARTH_RADIUS * np.abs(latitudes[:, None] - latitudes)
        return gaspari_cohn(torch.as_tensor(apart / length, dtype=torch.float32), 1.0).repeat(channels, channels)
    longitudes = np.deg2rad(_centres(spec.lon, patch // layout.cut, lon))
    phi, lam = (a.ravel() for a in np.meshgrid(latitudes, longitudes, indexing="ij"))
    xyz = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)
    distance = _EARTH_RADIUS * np.arccos(np.clip(xyz @ xyz.T, -1, 1))
    taper = gaspari_cohn(torch.as_tensor(distance / length, dtype=torch.float32), 1.0)
    return taper.repeat(channels, channels)


def _centres(coordinate: Sequence[float], patch: int, size: int) -> FloatArray:
    """Coordinates of latent cells: the mean of those of a patch."""
    values = np.asarray(coordinate, dtype=float)
    padded = np.concatenate([values, np.repeat(values[-1:], size * patch - len(values))])
    return padded.reshape(size, patch).mean(axis=1)

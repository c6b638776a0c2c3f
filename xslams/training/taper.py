"""The localisation of the covariance of latent frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xslams.localization import gaspari_cohn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.networks.autoencoder import Autoencoder
    from xslams.spec import Spec
    from xslams.typing import FloatArray

__all__ = ["taper_of"]

_EARTH_RADIUS = 6371.0  # km


def taper_of(autoencoder: Autoencoder, spec: Spec, length: float) -> Tensor:
    """Return the localisation of the covariance of a latent frame.

    Parameters
    ----------
    autoencoder
        Its latent grid has the cells.
    spec
        Latitudes and longitudes of the grid of the fields.
    length
        Half of the distance at which correlations become zero, in km.

    Returns
    -------
    Tensor
        Factors between 0 and 1, shape ``(z z_lat z_lon, z z_lat z_lon)``; the same for every pair of channels.
    """
    channels, lat, lon = autoencoder.latent_shape
    latitudes = np.deg2rad(_centres(spec.lat, autoencoder.patch, lat))
    longitudes = np.deg2rad(_centres(spec.lon, autoencoder.patch, lon))
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

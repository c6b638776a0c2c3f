"""The localisation of the covariance of latent frames, as a matrix and as functions of place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xslams.localization import gaspari_cohn
from xslams.priors.local import TaperFunctions
from xslams.sphere import EARTH_RADIUS, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslams.priors.blocks import Blocks
    from xslams.spec import Spec
    from xslams.typing import FloatArray

__all__ = ["taper_functions", "taper_of"]

# Longitudes that tell the waves of a taper, and eigenvalues that count, in units of the largest.
_LONGITUDES, _LEAST = 72, 0.01


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
    latitudes = _centres(spec.lat, patch // layout.cut, lat)
    if layout.periodic:
        apart = EARTH_RADIUS * np.deg2rad(np.abs(latitudes[:, None] - latitudes))
        return gaspari_cohn(torch.as_tensor(apart / length, dtype=torch.float32), 1.0).repeat(channels, channels)
    longitudes = _centres(spec.lon, patch // layout.cut, lon)
    xyz = unit_vectors(*(a.ravel() for a in np.meshgrid(latitudes, longitudes, indexing="ij")))
    distance = EARTH_RADIUS * np.arccos(np.clip(xyz @ xyz.T, -1, 1))
    taper = gaspari_cohn(torch.as_tensor(distance / length, dtype=torch.float32), 1.0)
    return taper.repeat(channels, channels)


def taper_functions(
    layout: Blocks, patch: int, spec: Spec, length: float, device: torch.device | None = None
) -> TaperFunctions:
    """Return the localisation of the covariance of cells on a grid whose latitude circles close.

    Distances are those of straight lines through the Earth, for which it is a correlation of any length.

    Parameters
    ----------
    layout, patch, spec, length
        As for `taper_of`.
    device
        Of the functions.

    Returns
    -------
    TaperFunctions
        The sum of their products is 1 for a place with itself.
    """
    latitudes = np.deg2rad(_centres(spec.lat, patch // layout.cut, layout.cells[1]))
    apart = 2 * np.pi / _LONGITUDES * np.arange(_LONGITUDES)
    level, out = np.sin(latitudes), np.cos(latitudes)
    cosine = level[:, None, None] * level[:, None] + out[:, None, None] * out[:, None] * np.cos(apart)
    taper = gaspari_cohn(EARTH_RADIUS * np.sqrt(2 * (1 - cosine).clip(0)) / length, 1.0)
    waves = np.fft.rfft(taper).real.transpose(2, 0, 1) * (2 / _LONGITUDES)
    waves[0] /= 2
    values, vectors = np.linalg.eigh(waves)
    kept = values > _LEAST * values.max()
    numbers = tuple(int(p) for p in np.flatnonzero(kept.any(1)))
    profiles = [(vectors[p] * np.sqrt(values[p].clip(0)))[:, kept[p]].T for p in numbers]
    # A little is lost with the small ones.
    whole = np.sqrt(sum((profile**2).sum(0) for profile in profiles))
    functions = tuple(torch.as_tensor(p / whole, dtype=torch.float32, device=device) for p in profiles)
    return TaperFunctions(length, numbers, functions)


def _centres(coordinate: Sequence[float], patch: int, size: int) -> FloatArray:
    """Coordinates of latent cells: the mean of those of a patch."""
    values = np.asarray(coordinate, dtype=float)
    padded = np.concatenate([values, np.repeat(values[-1:], size * patch - len(values))])
    return padded.reshape(size, patch).mean(axis=1)

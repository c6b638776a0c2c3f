"""A case that trains in a second: travelling waves of temperature on a coarse sphere, and a model of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import xslams  # noqa: F401  (registers the accessor)

__all__ = ["train", "waves"]


def waves(days: int) -> xr.Dataset:
    """Travelling waves of temperature on a coarse sphere."""
    rng = np.random.default_rng(0)
    lat, lon = np.linspace(-70.0, 70.0, 8), np.arange(16) * 22.5
    wave = np.sin(np.deg2rad(lon) * 2 - 0.3 * np.arange(days)[:, None, None]) * np.cos(np.deg2rad(lat))[:, None]
    t = 285 + 8 * wave + rng.normal(0, 0.5, wave.shape)
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), t, {"units": "K", "standard_name": "air_temperature"})},
        coords={
            "time": pd.date_range("2001-01-01", periods=days),
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        },
    )


def train(path: Path) -> None:
    """Train a model of the waves for a second, and save it."""
    waves(120).slams.fit(window=3, epochs=1, patch=2, hidden=0, autoencoder_epochs=1, progress=False).save(path)

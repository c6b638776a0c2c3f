"""Kolmogorov flow: pixels against latents, with the observations of SDA's experiments.

    python -m examples.paper kolmogorov --quick
    python -m examples.paper kolmogorov --full
    python -m examples.paper saturated --full  # the operator is not linear, which takes ten times as long

The settings are those of Rozet and Louppe (2023), https://github.com/francois-rozet/sda, at half their number of
points: boxes, points and their errors are the same on the square. The state is the velocity, as theirs. The Reynolds
number is a quarter of theirs, which a grid of 32 points resolves as well as 64 points do a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

import xslams
from examples.paper.flow import PHYSICS, consistency, vorticity
from examples.paper.methods import analyse
from examples.paper.systems import reconstruction, score, trained_on
from xslams.systems import KolmogorovFlow

__all__ = ["FULL", "PHYSICS", "QUICK", "SETTINGS", "TITLE", "FlowSize", "run"]

TITLE = "Kolmogorov flow, observed as in SDA's experiments: pixels and latents"
_NAMES = ("u", "v")
#: Options of `fit` of each method. The velocities of two by two points have no more than four degrees of freedom, as
#: they have no divergence.
KINDS: dict[str, dict[str, Any]] = {
    "Gaussian": {"patch": 1, "epochs": 0},
    "pixel": {"patch": 1},
    "latent": {"patch": 2, "latent_channels": 4, "hidden": 16},
}


@dataclass(frozen=True)
class FlowSize:
    """How large the experiment is.

    Attributes
    ----------
    flow
        Parameters of the flow.
    trajectories, frames
        Of training.
    epochs
        Passes of the network, by method, so that both train for about as long.
    autoencoder_epochs, width, modes
        Of `fit`.
    cases, length
        Number of cases, and frames of each.
    members, steps
        Of an analysis.
    settings
        Names in `SETTINGS`.
    """

    flow: KolmogorovFlow
    trajectories: int
    frames: int
    epochs: Mapping[str, int]
    autoencoder_epochs: int
    width: tuple[int, ...]
    modes: int
    cases: int
    length: int
    members: int
    steps: int
    settings: tuple[str, ...]


FULL = FlowSize(
    KolmogorovFlow(size=32, reynolds=250.0), 16, 128, {"pixel": 90, "latent": 200}, 20, (32, 64), 40, 8, 6, 8, 10,
    ("coarse", "every 4th point", "every 8th point"),
)  # fmt: skip
QUICK = FlowSize(
    KolmogorovFlow(size=16, reynolds=60.0, substeps=3), 1, 40, {"pixel": 1, "latent": 1}, 1, (8,), 10, 1, 4, 2, 4,
    ("coarse", "every 8th point"),
)  # fmt: skip


def _torch_vorticity(fields: Mapping[str, Tensor]) -> Tensor:
    """Vorticity of velocities (..., y, x), by differentiable Fourier series."""
    n = fields["u"].shape[-1]
    k = torch.fft.fftfreq(n, 1 / n, dtype=fields["u"].dtype, device=fields["u"].device)
    k[n // 2] = 0.0

    def derivative(field: Tensor, wavenumber: Tensor) -> Tensor:
        return torch.fft.ifft2(1j * wavenumber * torch.fft.fft2(field)).real

    return derivative(fields["v"], k) - derivative(fields["u"], k[:, None])


def saturated(fields: Mapping[str, Tensor]) -> Tensor:
    """Vorticity that a sensor does not tell from stronger one: w / (1 + |w|)."""
    w = _torch_vorticity(fields)
    return w / (1 + w.abs())


saturated.units = "1"  # type: ignore[attr-defined]


def _velocities(truth: xr.Dataset, error: float, seed: int, **places: Any) -> list[xslams.Observation]:
    """Observe both velocities with errors of their own."""
    return [
        xslams.simulate_observations(truth[name], **places, error=error, seed=2 * seed + n)
        for n, name in enumerate(_NAMES)
    ]


def coarse(truth: xr.Dataset, seed: int) -> list[xslams.Observation]:
    """Average velocities over 8 x 8 boxes, at every fourth frame, error 0.1."""
    boxes = truth.sizes["x"] // 8
    found = _velocities(truth, 0.1, seed, coarsen=boxes)
    return [each.replace(data=each.data.isel(time=slice(None, None, 4))) for each in found]


def subsampled(truth: xr.Dataset, seed: int, every: int) -> list[xslams.Observation]:
    """Observe velocities at every n-th point of SDA's grid of 64, at all frames, error 0.1."""
    apart = max(every * truth.sizes["x"] // 64, 1)
    return _velocities(truth, 0.1, seed, every={"y": apart, "x": apart})


def saturating(truth: xr.Dataset, seed: int) -> list[xslams.Observation]:
    """Observe the saturated vorticity at 16 x 16 points but those near the edge, at every third frame, error 0.05."""
    w = xr.zeros_like(truth["u"]).copy(data=vorticity(truth["u"].values, truth["v"].values)).rename("saturated")
    apart = max(truth.sizes["x"] // 16, 1)
    seen = (w / (1 + abs(w))).isel(time=slice(None, None, 3), y=slice(None, None, apart), x=slice(None, None, apart))
    seen = seen.isel(y=slice(2, -2), x=slice(2, -2)).assign_attrs(units="1")
    noise = 0.05 * np.random.default_rng(seed).standard_normal(seen.shape)
    return [xslams.Observation(seen + noise, error=0.05, operator=saturated)]


#: Observations of each setting.
SETTINGS: dict[str, Callable[[xr.Dataset, int], list[xslams.Observation]]] = {
    "coarse": coarse,
    "every 4th point": lambda truth, seed: subsampled(truth, seed, 4),
    "every 8th point": lambda truth, seed: subsampled(truth, seed, 8),
    "saturated": saturating,
}


def run(size: FlowSize, folder: Path) -> pd.DataFrame:
    """Train the models and analyse all cases with all settings.

    Parameters
    ----------
    size
        How large the experiment is.
    folder
        Where trained models are kept.

    Returns
    -------
    DataFrame
        One row for each setting, method and case: scores of the velocities, and `PHYSICS`.
    """
    simulated = size.flow.simulate(size.frames - 1, trajectories=size.trajectories, seed=1)[list(_NAMES)]
    training = simulated.astype(np.float32)
    common = {
        "budget": 0, "autoencoder_epochs": size.autoencoder_epochs, "width": size.width, "modes": size.modes,
        "blocks": 1, "location": 4, "dropout": 0.0,
    }  # fmt: skip
    models = {
        kind: trained_on(training, kind, folder, **common, **{"epochs": size.epochs.get(kind, 0), **options})
        for kind, options in KINDS.items()
    }
    cases = size.flow.simulate(size.length - 1, trajectories=size.cases, seed=2024)[list(_NAMES)].astype(np.float32)
    rows = []
    for case in range(size.cases):
        truth = cases.isel(trajectory=case, drop=True)
        for setting, method, found in _found(models, truth, training, size, seed=case):
            physics = consistency(found["u"].values, found["v"].values, (truth["u"].values, truth["v"].values))
            rows.append({"setting": setting, "method": method, "case": case, **score(found, truth), **physics})
            print(f"case {case}: {setting}, {method}", flush=True)
    return pd.DataFrame(rows)


def _found(
    models: Mapping[str, xslams.Model], truth: xr.Dataset, training: xr.Dataset, size: FlowSize, seed: int
) -> Iterator[tuple[str, str, xr.Dataset]]:
    """Yield setting, method, and what it makes of the observations."""
    yield "none", "truth", truth
    rng = np.random.default_rng(seed)
    frames = training.isel(
        trajectory=xr.DataArray(rng.integers(training.sizes["trajectory"], size=size.members), dims="member"),
        time=slice(size.length),
    )
    climate = frames.drop_vars("trajectory").assign_coords(time=truth["time"], member=range(size.members))
    yield "none", "climatology", climate
    yield "none", "autoencoder alone", reconstruction(models["latent"], truth)
    for setting in size.settings:
        obs = SETTINGS[setting](truth, seed)
        for kind, model in models.items():
            yield setting, kind, analyse(model, truth, obs, size.members, size.steps)

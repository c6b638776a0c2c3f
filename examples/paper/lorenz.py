"""Lorenz-63 through a nonlinear embedding: pixels against latents that an autoencoder learns.

    python -m examples.paper lorenz --quick
    python -m examples.paper lorenz --full

A few of the points are observed at every fourth frame with noise. What an analysis should keep is not the values alone
but the system behind them: its equations are identified from each member, and compared with the true ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import xslams
from examples.paper.embedding import embed, identify, off_manifold, states_of
from examples.paper.methods import analyse
from examples.paper.systems import reconstruction, score, trained_on
from xslams.inference.guidance import MMPS
from xslams.systems import Lorenz63

__all__ = ["FULL", "PHYSICS", "QUICK", "TITLE", "LorenzSize", "run"]

TITLE = "Lorenz-63, embedded in 32 points of which four are observed: pixels and latents"
#: What tells of the physics: see `examples.paper.embedding`.
PHYSICS = ("coefficient error", "equation residual", "off manifold")
SYSTEM = Lorenz63(dt=0.025, substeps=2)
POINTS, ERROR = 32, 0.3
#: Options of `fit` of each method.
KINDS: dict[str, dict[str, Any]] = {
    "pixel": {"patch": 1},
    "latent, 3 channels": {"patch": POINTS, "latent_channels": 3, "hidden": 32},
    "latent, 6 channels": {"patch": POINTS, "latent_channels": 6, "hidden": 32},
}


@dataclass(frozen=True)
class LorenzSize:
    """How large the experiment is.

    Attributes
    ----------
    trajectories, frames
        Of training.
    epochs, width, blocks
        Passes and size of the network over pixels, and of that over latents, whose single cell takes a fraction of the
        time: together they train for about as long.
    autoencoder_epochs, window
        Of `fit`.
    cases, length
        Number of cases, and frames of each.
    members, steps
        Of an analysis.
    """

    trajectories: int
    frames: int
    epochs: tuple[int, int]
    width: tuple[int, int]
    blocks: tuple[int, int]
    autoencoder_epochs: int
    window: int
    cases: int
    length: int
    members: int
    steps: int


FULL = LorenzSize(192, 64, (55, 90), (64, 128), (1, 2), 20, 9, 6, 48, 6, 16)
QUICK = LorenzSize(6, 48, (1, 1), (8, 8), (1, 1), 4, 5, 1, 24, 2, 6)


def observed(truth: xr.Dataset, seed: int) -> xslams.Observation:
    """Observe every eighth point at every fourth frame."""
    return xslams.simulate_observations(truth["signal"], every={"time": 4, "point": 8}, error=ERROR, seed=seed)


def run(size: LorenzSize, folder: Path) -> pd.DataFrame:
    """Train the models and analyse all cases.

    Parameters
    ----------
    size
        How large the experiment is.
    folder
        Where trained models are kept.

    Returns
    -------
    DataFrame
        One row for each method and case: scores of the signal, and `PHYSICS`.
    """
    training = embed(SYSTEM.simulate(size.frames - 1, trajectories=size.trajectories, seed=1), SYSTEM, POINTS)
    common = {
        "budget": 0, "window": size.window, "autoencoder_epochs": size.autoencoder_epochs, "location": 4,
        "dropout": 0.0, "batch": 64,
    }  # fmt: skip
    models = {}
    for kind, options in KINDS.items():
        n = int(kind != "pixel")
        network = {"epochs": size.epochs[n], "width": (size.width[n],), "blocks": size.blocks[n]}
        models[kind] = trained_on(training, kind, folder, **common, **network, **options)
    cases = SYSTEM.simulate(size.length - 1, trajectories=size.cases, seed=2024)
    rows = [
        {"method": method, "case": case, **score(found, truth), **_physics(found)}
        for case in range(size.cases)
        for truth in [embed(cases.isel(trajectory=case, drop=True), SYSTEM, POINTS)]
        for method, found in _found(models, truth, training, size, seed=case)
    ]
    return pd.DataFrame(rows)


def _found(
    models: dict[str, xslams.Model], truth: xr.Dataset, training: xr.Dataset, size: LorenzSize, seed: int
) -> Iterator[tuple[str, xr.Dataset]]:
    """Name of a method, and what it makes of the observations."""
    yield "truth", truth
    rng = np.random.default_rng(seed)
    drawn = training.isel(trajectory=rng.permutation(size.trajectories)[: size.members], time=slice(size.length))
    climate = drawn.rename(trajectory="member").assign_coords(member=range(size.members))
    if climate.sizes["time"] == truth.sizes["time"]:
        yield "climatology", climate.assign_coords(time=truth["time"])
    obs = [observed(truth, seed)]
    for kind, model in models.items():
        yield kind, analyse(model, truth, obs, size.members, size.steps)
        if kind.startswith("pixel"):
            # Guidance by the network's own covariance, as it is by default where a frame is one cell.
            guidance = MMPS(covariance="derivative")
            yield f"{kind}, derivative", analyse(model, truth, obs, size.members, size.steps, guidance=guidance)
        else:
            yield f"autoencoder alone{kind.removeprefix('latent')}", reconstruction(model, truth)


def _physics(found: xr.Dataset) -> dict[str, float]:
    """Equations of each member, as a member of its own; means over the members."""
    signal = found["signal"]
    parts = [signal.isel(member=m) for m in range(signal.sizes["member"])] if "member" in signal.dims else [signal]
    own = [(identify(states_of(part, SYSTEM), SYSTEM), off_manifold(part)) for part in parts]
    values = np.mean([(one.error, one.residual, off) for one, off in own], axis=0)
    return dict(zip(PHYSICS, map(float, values), strict=True))

"""What the experiments on known systems share: models that are kept, analyses, scores, and the table of all cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import xslams
from examples.paper import methods
from examples.paper.scoring import interval
from xslams.model import Model

__all__ = ["reconstruction", "score", "table", "trained_on"]


def trained_on(ds: xr.Dataset, name: str, folder: Path, **options: Any) -> Model:
    """Train a model by ``ds.slams.fit``, or take the one that the same call has trained before.

    Parameters
    ----------
    ds
        Trajectories of a system.
    name
        Name of the model.
    folder
        Where models are kept.
    **options
        Of ``ds.slams.fit``.
    """
    values = [float(da.astype(float).sum()) for da in ds.data_vars.values()]
    identity = json.dumps([options, dict(ds.sizes), values], default=str)
    path = folder / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.safetensors"
    if path.is_file():
        return xslams.open_model(path)
    folder.mkdir(parents=True, exist_ok=True)
    model = ds.slams.fit(progress=False, name=name.replace(" ", "-"), **options)
    model.save(path)
    return model


def reconstruction(model: Model, truth: xr.Dataset) -> xr.Dataset:
    """Encode and decode the truth: below the error of the autoencoder no analysis of it can be."""
    return methods.reconstruction(model, truth).transpose(*truth.dims, ...)[list(truth.data_vars)]


def score(ensemble: xr.Dataset, truth: xr.Dataset) -> dict[str, float]:
    """Mean square error of the mean, CRPS and variance, averaged over the variables.

    Parameters
    ----------
    ensemble
        Members, or a single field without a dimension ``member``.
    truth
        The truth.
    """
    names = list(truth.data_vars)
    found = ensemble[names].slams.score(truth).compute()
    of = {k: [float(found[k if len(names) == 1 else f"{n}_{k}"]) for n in names] for k in ("rmse", "crps")}
    spread = [float(found["spread" if len(names) == 1 else f"{n}_spread"]) for n in names if "member" in ensemble.dims]
    return {
        "mse": float(np.mean(np.square(of["rmse"]))),
        "crps": float(np.mean(of["crps"])),
        "variance": float(np.mean(np.square(spread))) if spread else 0.0,
    }


def table(frame: pd.DataFrame, by: Sequence[str], physics: Iterable[str]) -> pd.DataFrame:
    """Scores over all cases with the interval of 95 % over cases, and means of what tells of the physics.

    Parameters
    ----------
    frame
        One row for each case and method.
    by
        Columns that tell one row of the table from another.
    physics
        Columns of which the mean over cases is shown.
    """
    rows = {}
    for key, part in frame.groupby(list(by), sort=False):
        low, high = interval(part["mse"].to_numpy(), root=True)
        root = np.sqrt(part["mse"].mean())
        rows[key if len(by) > 1 else key[0]] = {
            "RMSE": f"{root:.3f}",
            "95 %": f"{low:.3f} to {high:.3f}",
            "CRPS": f"{part['crps'].mean():.3f}",
            "spread/error": f"{np.sqrt(part['variance'].mean()) / root:.2f}" if part["variance"].any() else "",
            **{name: f"{part[name].mean():.3g}" for name in physics},
        }
    return pd.DataFrame(rows).T.rename_axis(list(by) if len(by) > 1 else by[0])

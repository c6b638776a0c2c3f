"""What a fit has chosen, and how its analyses score."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xslams.model import Model

__all__ = ["chosen", "level_means"]


def chosen(model: Model) -> dict[str, Any]:
    """Return the settings that trials have changed, in the order in which they were kept."""
    return {k: v for t in model.spec.training["trials"][1:] if t["kept"] for k, v in t["change"].items()}


def level_means(analysis: xr.Dataset, truth: xr.Dataset, name: str) -> tuple[float, float, float]:
    """Return RMSE, CRPS, and spread over error of a variable, weighted by area and averaged over its levels."""
    found = analysis[[name]].slams.score(truth[[name]]).compute()
    rmse, crps, ratio = (float(found[m].mean()) for m in ("rmse", "crps", "spread_skill"))
    return rmse, crps, ratio

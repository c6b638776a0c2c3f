"""The sampling error of scores, by a bootstrap over blocks of times."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import xarray as xr

from xslams.scores.base import ScoreFunction
from xslams.scores.dimensions import averaged, is_time
from xslams.scores.sampling import bootstrap
from xslams.typing import FloatArray

__all__ = ["uncertainties"]

# Powers of scores that are means over time; what others have registered may be anything.
_POWERS = {"rmse": 2, "bias": 1, "crps": 1, "spread": 2, "rank_histogram": 1, "wasserstein": 1}


def uncertainties(
    analysis: xr.DataArray,
    truth: xr.DataArray,
    dims: Sequence[Hashable] | None,
    chosen: Mapping[str, ScoreFunction],
) -> dict[str, xr.DataArray]:
    """Return the standard deviation of scores over draws of blocks of times.

    Parameters
    ----------
    analysis, truth, dims
        As in `xslams.scores.score`.
    chosen
        Scores by name.

    Returns
    -------
    dict
        ``rmse_uncertainty`` and so on, with the dimensions of the scores; nothing if there is no mean over time.
    """
    over = averaged(truth, dims)
    time = next((d for d in over if is_time(truth, d)), None)
    if time is None:
        return {}
    rest = [d for d in over if d != time]
    each = {n: chosen[n](analysis, truth, rest) for n in _POWERS if n in chosen}
    found = {n: _std(_raised(score, _POWERS[n]), time, 1.0 / _POWERS[n], score) for n, score in each.items()}
    if "spread_skill" in chosen:
        score = chosen["spread_skill"](analysis, truth, rest)
        variance, square = (_raised(each[n], 2) for n in ("spread", "rmse"))
        # The correction for the size of the ensemble is the same at all times.
        both = xr.concat([variance * (score / (each["spread"] / each["rmse"])) ** 2, square], "part")
        found["spread_skill"] = _std(both, time, 0.5, score)
    return {f"{n}_uncertainty": error for n, error in found.items()}


def _raised(score: xr.DataArray, power: int) -> xr.DataArray:
    raised: xr.DataArray = score**power
    return raised


def _std(values: xr.DataArray, time: Hashable, power: float, like: xr.DataArray) -> xr.DataArray:
    """Spread of a power of means over time, or of a ratio of two."""
    lazy = values.chunk({d: -1 for d in (time, "part") if d in values.dims}) if values.chunks is not None else values
    parts = ["part"] if "part" in values.dims else []
    error: xr.DataArray = xr.apply_ufunc(
        _drawn, lazy, input_core_dims=[[time, *parts]], kwargs={"power": power}, vectorize=True,
        dask="parallelized", output_dtypes=[np.float64],
    )  # fmt: skip
    units = {"units": like.attrs["units"]} if "units" in like.attrs else {}
    text = f"sampling error of the {like.attrs.get('long_name', like.name)}, one standard deviation"
    error.attrs = {"long_name": text, **units}
    return error


def _drawn(values: FloatArray, power: float) -> float:
    values = values[np.isfinite(values.reshape(len(values), -1)).all(1)]
    if len(values) < 4:
        return float("nan")

    def statistic(mean: FloatArray) -> FloatArray:
        whole = mean[..., 0] / np.maximum(mean[..., 1], 1e-300) if mean.ndim > 1 else mean
        return np.asarray(np.maximum(whole, 0.0) ** power if power < 1.0 else whole)

    return float(bootstrap(values, statistic).std())

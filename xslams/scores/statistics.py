"""Statistics: what is known of each cell and time before anything is averaged. Metrics are made of their averages.

Every statistic is a function of an analysis and a truth that `xslams.scores.matching.match` has brought together, and
returns a field without members: missing where the truth or a member is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams.scores.dimensions import MEMBER, require_one_chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xslams.typing import FloatArray

__all__ = [
    "absolute_error",
    "antithetic",
    "crps_of_members",
    "ensemble_mean",
    "ensemble_variance",
    "error",
    "histogram_distance",
    "rank_shares",
    "squared_error",
]

_BINS = 256


def ensemble_mean(analysis: xr.DataArray) -> xr.DataArray:
    """Mean over members, or the field itself where there are none."""
    # Missing in one member is missing: a mean over the others would hide a broken ensemble.
    return analysis.mean(MEMBER, skipna=False) if MEMBER in analysis.dims else analysis


def error(analysis: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Error of the ensemble mean."""
    difference: xr.DataArray = ensemble_mean(analysis) - truth
    return difference


def squared_error(analysis: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Square of the error of the ensemble mean."""
    squared: xr.DataArray = error(analysis, truth) ** 2
    return squared


def absolute_error(analysis: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Absolute error of the ensemble mean."""
    absolute: xr.DataArray = abs(error(analysis, truth))
    return absolute


def ensemble_variance(analysis: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Variance of the members, with M - 1 in the denominator, or M for antithetic pairs, where the truth is known."""
    return analysis.var(MEMBER, ddof=0 if antithetic(analysis) else 1).where(truth.notnull())


def crps_of_members(analysis: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Fair continuous ranked probability score of the members.

    Raises
    ------
    ChunkError
        If members lie in several chunks.
    """
    require_one_chunk(analysis, [MEMBER])
    local: xr.DataArray = xr.apply_ufunc(
        _crps, truth, analysis, input_core_dims=[[], [MEMBER]], kwargs={"mirrored": antithetic(analysis)},
        dask="parallelized", output_dtypes=[np.float64],
    )  # fmt: skip
    return local


def rank_shares(analysis: xr.DataArray, truth: xr.DataArray) -> Iterator[xr.DataArray]:
    """Yield for every rank from 0 to M the share of the truth that has it: 0, 1, or a part of a tie."""
    missing = truth.isnull() | analysis.isnull().any(MEMBER)
    below = (analysis < truth).sum(MEMBER)
    equal = (analysis == truth).sum(MEMBER)
    # One rank at a time: all at once would need the memory of another ensemble in double precision.
    for rank in range(analysis.sizes[MEMBER] + 1):
        yield (((below <= rank) & (rank <= below + equal)) / (equal + 1)).where(~missing)


def antithetic(analysis: xr.DataArray) -> bool:
    """Whether members are antithetic, and every one is next to its counterpart."""
    member = analysis.coords.get(MEMBER)
    if member is None or "antithetic" not in member.attrs or member.size % 2:
        return False
    pair = member.values // 2
    return bool((pair[::2] == pair[1::2]).all())


def histogram_distance(truth: FloatArray, analysis: FloatArray, weights: FloatArray) -> float:
    """Area between the cumulative histograms of two fields, from the lowest to the highest value of both.

    Parameters
    ----------
    truth
        Field, NaN where it is not known.
    analysis
        Members of the field, first axes, or one field.
    weights
        Weights of the cells.

    Returns
    -------
    float
        1-Wasserstein distance in the units of the fields; NaN where nothing is known.
    """
    known = np.isfinite(truth)
    values, weights = np.asarray(truth[known], float), weights[known]
    ensemble = np.asarray(analysis[..., known], float).reshape(-1, values.size)
    if values.size == 0 or not np.isfinite(ensemble).all():
        return float("nan")
    edges = np.linspace(min(values.min(), ensemble.min()), max(values.max(), ensemble.max()), _BINS + 1)
    if edges[0] == edges[-1]:
        return 0.0
    a, _ = np.histogram(ensemble, edges, weights=np.broadcast_to(weights, ensemble.shape))
    b, _ = np.histogram(values, edges, weights=weights)
    difference = np.cumsum(a / a.sum() - b / b.sum())
    return float(np.abs(difference).sum() * (edges[1] - edges[0]))


def _crps(truth: FloatArray, members: FloatArray, *, mirrored: bool = False) -> FloatArray:
    """Fair CRPS, members last."""
    from scoringrules import crps_ensemble

    # The estimator by probability-weighted moments equals the fair one, without its M x M array of differences.
    values: Any = crps_ensemble(np.asarray(truth, float), np.asarray(members, float), estimator="pwm", backend="numpy")
    count = members.shape[-1]
    if mirrored and count > 2:
        # From the mean distance over all pairs to that over pairs of independent members.
        distance = np.abs(np.asarray(members, float) - np.asarray(truth, float)[..., None]).mean(-1)
        within = np.abs(members[..., ::2] - members[..., 1::2]).mean(-1)
        values = distance - ((distance - values) * (count - 1) - within / 2) / (count - 2)
    return np.asarray(values, dtype=np.float64)

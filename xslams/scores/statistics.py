"""Statistics: what is known of each cell and time before anything is averaged. Metrics are made of their averages.

Every statistic is a function of an analysis and a truth that `xslams.scores.matching.match` has brought together, and
returns a field without members: missing where the truth or a member is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.scores.dimensions import MEMBER, require_one_chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xslams.typing import FloatArray

__all__ = [
    "Pairs",
    "absolute_error",
    "antithetic_pairs",
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
    """Variance of the members, an estimate that antithetic pairs do not bias, where the truth is known."""
    pairs = antithetic_pairs(analysis)
    count = analysis.sizes[MEMBER]
    complete = 2 * len(pairs.first) == count
    variance = analysis.var(MEMBER, ddof=0 if complete else 1, skipna=False)
    if len(pairs.first) and not complete:
        # Half of the mean squared distance of members that are independent.
        within = sum(((analysis.isel({MEMBER: int(i)}, drop=True) - analysis.isel({MEMBER: int(j)}, drop=True)) ** 2
                      for i, j in zip(pairs.first, pairs.second, strict=True)), xr.zeros_like(variance))  # fmt: skip
        distances = count * (count - 1) - 2 * len(pairs.first)
        variance = ((count * (count - 1) * variance - within) / distances).clip(min=0.0)
    return variance.where(truth.notnull())


def crps_of_members(analysis: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Fair continuous ranked probability score of the members.

    Raises
    ------
    ChunkError
        If members lie in several chunks.
    """
    require_one_chunk(analysis, [MEMBER])
    local: xr.DataArray = xr.apply_ufunc(
        _crps, truth, analysis, input_core_dims=[[], [MEMBER]], kwargs={"pairs": antithetic_pairs(analysis)},
        dask="parallelized", output_dtypes=[np.float64],
    )  # fmt: skip
    return local


def rank_shares(analysis: xr.DataArray, truth: xr.DataArray) -> Iterator[xr.DataArray]:
    """Yield for every rank from 0 to M the share of the truth that has it: 0, 1, or a part of a tie.

    Of every antithetic pair one member is taken, once the first and once the second: M counts independent members.
    """
    pairs = antithetic_pairs(analysis)
    chosen = [np.concatenate([half, pairs.single]) for half in (pairs.first, pairs.second)]
    ensembles = [analysis.isel({MEMBER: half}) for half in chosen] if len(pairs.first) else [analysis]
    missing = truth.isnull() | analysis.isnull().any(MEMBER)
    counts = [((e < truth).sum(MEMBER), (e == truth).sum(MEMBER)) for e in ensembles]
    # One rank at a time: all at once would need the memory of another ensemble in double precision.
    for rank in range(ensembles[0].sizes[MEMBER] + 1):
        shares = [((below <= rank) & (rank <= below + equal)) / (equal + 1) for below, equal in counts]
        yield (sum(shares[1:], shares[0]) / len(shares)).where(~missing)


@dataclass(frozen=True)
class Pairs:
    """Positions of members: the first and second of every antithetic pair, and those without a counterpart."""

    first: npt.NDArray[np.intp]
    second: npt.NDArray[np.intp]
    single: npt.NDArray[np.intp]


def antithetic_pairs(analysis: xr.DataArray) -> Pairs:
    """Which members are counterparts of each other, in whatever order; none where members are independent."""
    member = analysis.coords.get(MEMBER)
    count = analysis.sizes.get(MEMBER, 0)
    places: dict[float, list[int]] = {}
    if member is not None and "antithetic" in member.attrs and member.dtype.kind in "fiu":
        for position, label in enumerate(member.values):
            places.setdefault(label // 2, []).append(position)
    both = [p for p in places.values() if len(p) == 2 and member is not None and np.ptp(member.values[p]) == 1]
    first, second = np.array(both, np.intp).reshape(-1, 2).T
    return Pairs(first, second, np.setdiff1d(np.arange(count), np.concatenate([first, second])).astype(np.intp))


def histogram_distance(truth: FloatArray, analysis: FloatArray, weights: FloatArray) -> float:
    """Area between the cumulative histograms of two fields, from the lowest to the highest value of both.

    Parameters
    ----------
    truth
        Field, NaN where it is not known.
    analysis
        Members of the field, first axes, or one field; a cell that is NaN in any member is left out.
    weights
        Weights of the cells.

    Returns
    -------
    float
        1-Wasserstein distance in the units of the fields; NaN where nothing is known, or a value is infinite.
    """
    known = ~np.isnan(truth) & ~np.isnan(analysis.reshape(-1, *truth.shape)).any(axis=0)
    values, weights = np.asarray(truth[known], float), weights[known]
    ensemble = np.asarray(analysis[..., known], float).reshape(-1, values.size)
    if values.size == 0 or not (np.isfinite(ensemble).all() and np.isfinite(values).all()) or weights.sum() == 0:
        return float("nan")
    edges = np.linspace(min(values.min(), ensemble.min()), max(values.max(), ensemble.max()), _BINS + 1)
    if edges[0] == edges[-1]:
        return 0.0
    a, _ = np.histogram(ensemble, edges, weights=np.broadcast_to(weights, ensemble.shape))
    b, _ = np.histogram(values, edges, weights=weights)
    difference = np.cumsum(a / a.sum() - b / b.sum())
    return float(np.abs(difference).sum() * (edges[1] - edges[0]))


def _crps(truth: FloatArray, members: FloatArray, *, pairs: Pairs) -> FloatArray:
    """Fair CRPS, members last."""
    from scoringrules import crps_ensemble

    members = np.asarray(members, float)
    # The estimator by probability-weighted moments equals the fair one, without its M x M array of differences.
    values: Any = crps_ensemble(np.asarray(truth, float), members, estimator="pwm", backend="numpy")
    if len(pairs.first):
        # From the mean distance over all pairs to that over pairs of independent members.
        count = members.shape[-1]
        distance = np.abs(members - np.asarray(truth, float)[..., None]).mean(-1)
        within = np.abs(members[..., pairs.first] - members[..., pairs.second])
        if count > 2:
            distances = count * (count - 1) - 2 * len(pairs.first)
            values = distance - ((distance - values) * count * (count - 1) - within.sum(-1)) / distances
        else:
            # One pair alone has none; those of a normal distribution are smaller by the root of 2.
            values = distance - within[..., 0] / (2.0 * 2.0**0.5)
    return np.asarray(values, dtype=np.float64)

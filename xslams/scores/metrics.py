"""Metrics: averages over time and space of `xslams.scores.statistics`, and what is made of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr

from xslams.errors import DimensionError
from xslams.scores import statistics
from xslams.scores.base import register_score
from xslams.scores.dimensions import MEMBER, area_weights, average, averaged, require_one_chunk, space
from xslams.scores.matching import match

__all__ = ["bias", "crps", "rank_histogram", "rmse", "spread", "spread_skill", "wasserstein"]


@register_score("rmse")
def rmse(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Root mean square error of the ensemble mean.

    Parameters
    ----------
    analysis, truth, dims
        As in `score`.

    Returns
    -------
    DataArray
        In the units of the variable.
    """
    analysis, truth = match(analysis, truth)
    mean_square = average(statistics.squared_error(analysis, truth), dims)
    return _describe(mean_square**0.5, truth, "rmse", "root mean square error of the ensemble mean")


@register_score("bias")
def bias(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Mean error of the ensemble mean.

    Parameters
    ----------
    analysis, truth, dims
        As in `score`.

    Returns
    -------
    DataArray
        In the units of the variable; positive where the analysis is too high.
    """
    analysis, truth = match(analysis, truth)
    mean = average(statistics.error(analysis, truth), dims)
    return _describe(mean, truth, "bias", "mean error of the ensemble mean")


@register_score("crps")
def crps(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Continuous ranked probability score, fair estimator; the mean absolute error where there are no members.

    Parameters
    ----------
    analysis, truth, dims
        As in `score`.

    Returns
    -------
    DataArray
        In the units of the variable.
    """
    analysis, truth = match(analysis, truth)
    if MEMBER not in analysis.dims:
        mean = average(statistics.absolute_error(analysis, truth), dims)
        return _describe(mean, truth, "crps", "mean absolute error")
    mean = average(statistics.crps_of_members(analysis, truth), dims)
    return _describe(mean, truth, "crps", "continuous ranked probability score (fair)")


@register_score("spread", ensemble=True)
def spread(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Root of the mean ensemble variance, where the truth is known.

    Parameters
    ----------
    analysis, truth, dims
        As in `score`; the truth only says where to look, so that spread and error are of the same cells.

    Returns
    -------
    DataArray
        In the units of the variable.
    """
    analysis, truth = match(analysis, truth)
    mean = average(statistics.ensemble_variance(analysis, truth), dims)
    return _describe(mean**0.5, truth, "spread", "root of the mean ensemble variance")


@register_score("spread_skill", ensemble=True)
def spread_skill(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Ratio of spread and error, corrected for the size of the ensemble; 1 is calibrated.

    Parameters
    ----------
    analysis, truth, dims
        As in `score`.

    Returns
    -------
    DataArray
        Below 1 for an overconfident ensemble.
    """
    members, single = analysis.sizes[MEMBER], len(statistics.antithetic_pairs(analysis).single)
    # The error of the mean of M independent members; those of an antithetic pair cancel.
    correction = (1.0 + single / members**2) ** 0.5
    error = rmse(analysis, truth, dims)
    ratio: xr.DataArray = spread(analysis, truth, dims) / error * correction
    return _describe(
        ratio,
        truth.assign_attrs(matched=error.attrs["matched"]),
        "spread_skill",
        "ratio of ensemble spread and error",
        units="1",
    )


@register_score("rank_histogram", ensemble=True)
def rank_histogram(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Share of the area in which the truth has each rank among the members.

    Parameters
    ----------
    analysis, truth, dims
        As in `score`.

    Returns
    -------
    DataArray
        With dimension ``rank``, which has one entry more than there are independent members; flat for a calibrated
        ensemble.
    """
    analysis, truth = match(analysis, truth)
    weights = area_weights(truth)
    ranks = [average(share, dims, weights) for share in statistics.rank_shares(analysis, truth)]
    label = xr.DataArray(
        np.arange(len(ranks)), dims="rank", attrs={"long_name": "members below the truth", "units": "1"}
    )
    histogram = xr.concat(ranks, dim="rank").assign_coords(rank=label)
    return _describe(histogram, truth, "rank_histogram", "share of the area by rank of the truth", units="1")


@register_score("wasserstein", space=True)
def wasserstein(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Distance of the histograms of values at each time, ignoring location; the score of the SLAMS paper.

    Parameters
    ----------
    analysis, truth, dims
        As in `score`; horizontal dimensions always make the histogram, and others are averaged after it.

    Returns
    -------
    DataArray
        1-Wasserstein distance, in the units of the variable.
    """
    analysis, truth = match(analysis, truth)
    horizontal = space(truth)
    if not horizontal:
        msg = f"A histogram of values needs a horizontal dimension; {truth.name!r} has {truth.dims}."
        raise DimensionError(msg)
    pooled = [d for d in (MEMBER, *horizontal) if d in analysis.dims]
    require_one_chunk(analysis, pooled)
    require_one_chunk(truth, horizontal)
    shape = xr.DataArray(np.ones([truth.sizes[d] for d in horizontal]), dims=horizontal)
    weights = (shape * area_weights(truth)).transpose(*horizontal)
    local = xr.apply_ufunc(
        statistics.histogram_distance, truth, analysis, weights,
        input_core_dims=[horizontal, pooled, horizontal], vectorize=True, dask="parallelized",
        output_dtypes=[np.float64],
    )  # fmt: skip
    left = [d for d in averaged(truth, dims) if d in local.dims]
    return _describe(local.mean(left), truth, "wasserstein", "Wasserstein distance of the histograms of values")


def _describe(
    result: xr.DataArray, truth: xr.DataArray, name: str, text: str, units: str | None = None
) -> xr.DataArray:
    units = units if units is not None else truth.attrs.get("units")
    result = result.rename(name)
    result.attrs = {"long_name": text, "matched": truth.attrs["matched"]} | ({} if units is None else {"units": units})
    return result

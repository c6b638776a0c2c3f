"""Scores of an analysis against the truth: area-weighted, lazy, and honest about small ensembles.

The ensemble is reduced first, cell by cell; then the cells and times are averaged with the weights `area_weights`, and
only where the truth is known. With members :math:`x_1 ... x_M`, their mean :math:`m` and the truth :math:`y`:

- ``rmse`` is the root of the averaged :math:`(m - y)^2`, ``bias`` the average of :math:`m - y`;
- ``spread`` is the root of the averaged ensemble variance (with :math:`M - 1` in the denominator);
- ``spread_skill`` is ``sqrt((M + 1) / M) * spread / rmse``: 1 where truth and members are exchangeable, because the
  mean of M members has itself an error of one M-th of the variance (Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1);
- ``crps`` is the *fair* estimator :math:`mean |x_i - y| - sum_{i<j} |x_i - x_j| / (M (M - 1))`, whose expectation does
  not depend on M (Ferro 2014, doi:10.1002/qj.2270);
- ``rank_histogram`` is the share of the area in which the truth has each of the ranks 0 to M among the members; truths
  that equal some members share their weight evenly among the ranks that they could have;
- of an antithetic ensemble (`assimilate(..., antithetic=True)`), whose mean has no sampling error worth the name, the
  variance is averaged with M in the denominator, ``spread_skill`` is ``spread / rmse``, and ``crps`` leaves the
  distances within pairs out, so that all three estimate what they do for independent members;
- ``wasserstein`` is the distance of the histograms of values, members pooled, of each time, averaged over time. It is
  the score of the SLAMS paper and says nothing about whether values are at the right place.

Examples
--------
>>> import numpy as np, xarray as xr
>>> rng = np.random.default_rng(0)
>>> lat = xr.DataArray([-60.0, 0.0, 60.0], dims="lat", attrs={"units": "degrees_north"})
>>> noise = rng.normal(size=(51, 40, 3, 50))
>>> field = xr.DataArray(noise, dims=("member", "time", "lat", "lon"), coords={"lat": lat}, name="t")
>>> scores = score(field.isel(member=slice(1, None)), field.isel(member=0, drop=True))
>>> [round(float(scores[name]), 2) for name in ("rmse", "crps", "spread_skill")]
[1.0, 0.56, 1.01]
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams.errors import ChunkError, CoverageError, DimensionError, GridError, VariableError
from xslams.labels.coordinates import coordinate, match_axis

if TYPE_CHECKING:
    from xslams.typing import FloatArray

__all__ = [
    "area_weights",
    "bias",
    "crps",
    "rank_histogram",
    "rmse",
    "score",
    "spread",
    "spread_skill",
    "wasserstein",
]

_MEMBER = "member"
_BINS = 256


def score(
    analysis: xr.Dataset | xr.DataArray,
    truth: xr.Dataset | xr.DataArray,
    *,
    dims: Sequence[Hashable] | None = None,
) -> xr.Dataset:
    """Score every variable that analysis and truth share.

    Parameters
    ----------
    analysis
        Fields with or without a dimension ``member``.
    truth
        Fields on the same grid, in any order of latitudes; times that only one of the two has are left out.
    dims
        Dimensions to average over; by default time, latitude and longitude, so that levels stay.

    Returns
    -------
    Dataset
        ``rmse``, ``bias``, ``wasserstein``, and for an ensemble also ``crps``, ``spread``, ``spread_skill`` and
        ``rank_histogram``; without members ``crps`` is the mean absolute error. Where several variables are scored,
        each name is preceded by that of its variable: ``t_rmse``. Lazy where an input is.

    Raises
    ------
    VariableError
        If no variable is in both.
    GridError
        If grids or levels differ.
    CoverageError
        If no time is in both.
    """
    pairs = _pairs(analysis, truth)
    scored = {name: _score_variable(a, t, dims) for name, (a, t) in pairs.items()}
    if len(scored) == 1:
        (result,) = scored.values()
    else:
        result = xr.merge(
            [part.rename({k: f"{name}_{k}" for k in part.data_vars}) for name, part in scored.items()],
            compat="override", join="outer", combine_attrs="drop",
        )  # fmt: skip
    result.attrs = {
        "Conventions": "CF-1.11",
        "title": "Area-weighted scores of " + ", ".join(str(name) for name in scored),
    }
    return result


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
    analysis, truth = _align(analysis, truth)
    squared: xr.DataArray = (_ensemble_mean(analysis) - truth) ** 2
    return _describe(_average(squared, dims) ** 0.5, truth, "rmse", "root mean square error of the ensemble mean")


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
    analysis, truth = _align(analysis, truth)
    error: xr.DataArray = _ensemble_mean(analysis) - truth
    return _describe(_average(error, dims), truth, "bias", "mean error of the ensemble mean")


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
    analysis, truth = _align(analysis, truth)
    variance = analysis.var(_MEMBER, ddof=0 if _mirrored(analysis) else 1).where(truth.notnull())
    return _describe(_average(variance, dims) ** 0.5, truth, "spread", "root of the mean ensemble variance")


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
    members = analysis.sizes[_MEMBER]
    correction = 1.0 if _mirrored(analysis) else ((members + 1) / members) ** 0.5
    ratio: xr.DataArray = spread(analysis, truth, dims) / rmse(analysis, truth, dims) * correction
    return _describe(ratio, truth, "spread_skill", "ratio of ensemble spread and error", units="1")


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
    analysis, truth = _align(analysis, truth)
    if _MEMBER not in analysis.dims:
        error: xr.DataArray = abs(analysis - truth)
        return _describe(_average(error, dims), truth, "crps", "mean absolute error")
    _require_whole(analysis, [_MEMBER])
    local = xr.apply_ufunc(
        _crps, truth, analysis, input_core_dims=[[], [_MEMBER]], kwargs={"mirrored": _mirrored(analysis)},
        dask="parallelized", output_dtypes=[np.float64],
    )  # fmt: skip
    return _describe(_average(local, dims), truth, "crps", "continuous ranked probability score (fair)")


def rank_histogram(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Share of the area in which the truth has each rank among the members.

    Parameters
    ----------
    analysis, truth, dims
        As in `score`.

    Returns
    -------
    DataArray
        With dimension ``rank``, which has one entry more than there are members; flat for a calibrated ensemble.
    """
    analysis, truth = _align(analysis, truth)
    missing = truth.isnull() | analysis.isnull().any(_MEMBER)
    below = (analysis < truth).sum(_MEMBER)
    equal = (analysis == truth).sum(_MEMBER)
    over, weights = _over(truth, dims), area_weights(truth)
    # One rank at a time: all at once would need the memory of another ensemble in double precision.
    ranks = [
        (((below <= r) & (r <= below + equal)) / (equal + 1)).where(~missing).weighted(weights).mean(over)
        for r in range(analysis.sizes[_MEMBER] + 1)
    ]
    label = xr.DataArray(
        np.arange(len(ranks)), dims="rank", attrs={"long_name": "members below the truth", "units": "1"}
    )
    histogram = xr.concat(ranks, dim="rank").assign_coords(rank=label)
    return _describe(histogram, truth, "rank_histogram", "share of the area by rank of the truth", units="1")


def wasserstein(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
    """Distance of the histograms of values at each time, ignoring location; the score of the SLAMS paper.

    Parameters
    ----------
    analysis, truth, dims
        As in `score`; latitude and longitude always make the histogram, and other dimensions are averaged after it.

    Returns
    -------
    DataArray
        1-Wasserstein distance, in the units of the variable.
    """
    analysis, truth = _align(analysis, truth)
    space = [d for d in _default_dims(truth) if not _is_time(truth, d)]
    if not space:
        msg = f"A histogram of values needs latitude and longitude; {truth.name!r} has {truth.dims}."
        raise DimensionError(msg)
    pooled = [d for d in (_MEMBER, *space) if d in analysis.dims]
    _require_whole(analysis, pooled)
    _require_whole(truth, space)
    shape = xr.DataArray(np.ones([truth.sizes[d] for d in space]), dims=space)
    weights = (shape * area_weights(truth)).transpose(*space)
    local = xr.apply_ufunc(
        _histogram_distance, truth, analysis, weights,
        input_core_dims=[space, pooled, space], vectorize=True, dask="parallelized", output_dtypes=[np.float64],
    )  # fmt: skip
    left = [d for d in _over(truth, dims) if d in local.dims]
    return _describe(local.mean(left), truth, "wasserstein", "Wasserstein distance of the histograms of values")


def area_weights(field: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Cosine of latitude, or 1 where there is no latitude.

    Parameters
    ----------
    field
        Anything with a latitude that CF conventions let one recognise.

    Returns
    -------
    DataArray
        Non-negative weights along latitude.
    """
    lat = coordinate(field, "lat")
    if lat is None:
        return xr.DataArray(1.0)
    weights: xr.DataArray = np.cos(np.deg2rad(field.coords[lat].astype(float)))  # type: ignore[assignment]
    return weights.clip(min=0.0).drop_vars([str(c) for c in weights.coords if c not in weights.dims])


def _score_variable(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None) -> xr.Dataset:
    functions = [rmse, bias, crps]
    if analysis.sizes.get(_MEMBER, 0) > 1:
        functions += [spread, spread_skill, rank_histogram]
    elif _MEMBER in analysis.dims:
        analysis = analysis.isel({_MEMBER: 0}, drop=True)
    space = [d for d in _default_dims(truth) if not _is_time(truth, d)]
    if space and (dims is None or set(space) <= set(dims)):
        functions.append(wasserstein)
    return xr.Dataset({function.__name__: function(analysis, truth, dims) for function in functions})


def _pairs(
    analysis: xr.Dataset | xr.DataArray, truth: xr.Dataset | xr.DataArray
) -> dict[Hashable, tuple[xr.DataArray, xr.DataArray]]:
    """Variables of the analysis with their truths; a pair of DataArrays needs no common name."""
    if isinstance(truth, xr.DataArray) and isinstance(analysis, xr.DataArray):
        return {next((n for n in (truth.name, analysis.name) if n is not None), "values"): (analysis, truth)}
    left = analysis if isinstance(analysis, xr.Dataset) else {analysis.name: analysis}
    right = truth if isinstance(truth, xr.Dataset) else {truth.name: truth}
    common = [name for name in left if name in right]
    if not common:
        msg = (
            f"Analysis and truth have no variable in common: the analysis has {sorted(map(str, left))}, "
            f"the truth {sorted(map(str, right))}. Rename one of them, or score two DataArrays."
        )
        raise VariableError(msg)
    return {name: (left[name], right[name]) for name in common}


def _align(analysis: xr.DataArray, truth: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Match cells, times and labels; nothing is interpolated."""
    extra = [d for d in truth.dims if d not in analysis.dims]
    lacking = [d for d in analysis.dims if d not in truth.dims and d != _MEMBER]
    if extra or lacking or _MEMBER in truth.dims:
        msg = (
            f"The truth of {truth.name!r} has dimensions {truth.dims}, the analysis {analysis.dims}. They must have "
            "the same ones, apart from 'member', which only the analysis may have; select or rename what differs."
        )
        raise DimensionError(msg)
    for dim in truth.dims:
        ours, theirs = analysis.indexes.get(dim), truth.indexes.get(dim)
        if ours is None or theirs is None or ours.equals(theirs) or _is_time(truth, dim):
            continue
        period = 360.0 if dim == coordinate(truth, "lon") else None
        # Another order of latitudes and another convention of longitudes are put right; nothing else is.
        order = match_axis(np.asarray(theirs, float), np.asarray(ours, float), period=period)
        if order is None or ours.size != theirs.size:
            msg = (
                f"{dim!r} differs: the analysis has {ours.size} values from {ours[0]:g} to {ours[-1]:g}, the truth "
                f"{theirs.size} from {theirs[0]:g} to {theirs[-1]:g}. Bring the truth to the analysis with "
                "truth.slams.regrid(analysis), or select common levels."
            )
            raise GridError(msg)
        truth = truth.isel({dim: order}).assign_coords({dim: analysis[dim]})
    times = [d for d in truth.dims if _is_time(truth, d) and d in truth.indexes and d in analysis.indexes]
    analysis, truth = xr.align(analysis, truth, join="inner", exclude=[d for d in analysis.dims if d not in times])
    if any(truth.sizes[d] == 0 for d in times):
        msg = f"Analysis and truth of {truth.name!r} have no time in common; select the same period, at the same hours."
        raise CoverageError(msg)
    return analysis, truth


def _average(field: xr.DataArray, dims: Sequence[Hashable] | None) -> xr.DataArray:
    return field.weighted(area_weights(field)).mean(_over(field, dims))


def _over(field: xr.DataArray, dims: Sequence[Hashable] | None) -> list[Hashable]:
    return _default_dims(field) if dims is None else [d for d in dims if d in field.dims]


def _default_dims(field: xr.DataArray) -> list[Hashable]:
    """Time, latitude and longitude, or the stations that stand in for the latter two."""
    found: list[Hashable] = [d for d in field.dims if _is_time(field, d)]
    for axis in ("lat", "lon"):
        name = coordinate(field, axis)
        if name is not None:
            found += [d for d in field.coords[name].dims if d not in found]
        elif axis in field.dims:
            found.append(axis)
    return found


def _is_time(field: xr.DataArray, dim: Hashable) -> bool:
    return dim == "time" or (dim in field.coords and np.issubdtype(field.coords[dim].dtype, np.datetime64))


def _require_whole(field: xr.DataArray, dims: Sequence[Hashable]) -> None:
    for dim in dims:
        if field.chunks is not None and len(field.chunksizes[dim]) > 1:
            msg = (
                f"{field.name!r} has {len(field.chunksizes[dim])} chunks along {dim!r}, where this score needs one. "
                f"Use .chunk({{{dim!r}: -1}}) first."
            )
            raise ChunkError(msg)


def _ensemble_mean(analysis: xr.DataArray) -> xr.DataArray:
    # Missing in one member is missing: a mean over the others would hide a broken ensemble.
    return analysis.mean(_MEMBER, skipna=False) if _MEMBER in analysis.dims else analysis


def _describe(
    result: xr.DataArray, truth: xr.DataArray, name: str, text: str, units: str | None = None
) -> xr.DataArray:
    units = units if units is not None else truth.attrs.get("units")
    result = result.rename(name)
    result.attrs = {"long_name": text} | ({} if units is None else {"units": units})
    return result


def _mirrored(analysis: xr.DataArray) -> bool:
    """Whether members are antithetic, and every one is next to its counterpart."""
    member = analysis.coords.get(_MEMBER)
    if member is None or "antithetic" not in member.attrs or member.size % 2:
        return False
    pair = member.values // 2
    return bool((pair[::2] == pair[1::2]).all())


def _crps(truth: FloatArray, members: FloatArray, *, mirrored: bool = False) -> FloatArray:
    """Fair CRPS, members last."""
    from scoringrules import crps_ensemble

    # The estimator by probability-weighted moments equals the fair one, without its M x M array of differences.
    values: Any = crps_ensemble(np.asarray(truth, float), np.asarray(members, float), estimator="pwm", backend="numpy")
    count = members.shape[-1]
    if mirrored and count > 2:
        # From the mean distance over all pairs to that over pairs of independent members.
        error = np.abs(np.asarray(members, float) - np.asarray(truth, float)[..., None]).mean(-1)
        within = np.abs(members[..., ::2] - members[..., 1::2]).mean(-1)
        values = error - ((error - values) * (count - 1) - within / 2) / (count - 2)
    return np.asarray(values, dtype=np.float64)


def _histogram_distance(truth: FloatArray, analysis: FloatArray, weights: FloatArray) -> float:
    """Area between the cumulative histograms of two fields, from the lowest to the highest value of both."""
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

"""How observations fit, before and after an analysis: sums over the values of a source, and the report made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.likelihood import SourceLikelihood
from xslams.likelihood.consistency import PRIOR, error_ratio, shift_of_products
from xslams.observations.audit import REASONS, AuditedLikelihood
from xslams.observations.background_check import Expectation
from xslams.typing import FloatArray

__all__ = ["COLUMNS", "by_window", "estimated_bias", "report", "statistics", "total"]

# Columns of the statistics of a source. All are sums, so that those of analysis windows add up, but for the last, of
# which the largest counts.
_COUNTS = ("given", *REASONS, "likelihood", "downweighted", "variance", "biased", "bias")
_SUMS = ("n", "sum", "square", "spread", "variance")
COLUMNS = (
    *_COUNTS,
    *(f"{stage}_{s}" for stage in ("before", "after") for s in _SUMS),
    "product",
    "signal",
    "solver_error",
)
# Innovations are summed up as if they were no larger, so that their squares do not overflow.
_LARGEST = 1e140
# Share of the error that the likelihood takes within which an estimate of it is as good; values that it needs.
_AGREES, _FEW = 1.25, 20
# Share below which there is no telling; the estimate is no less than a tenth.
_LEAST = 0.101
_LONG_NAMES = {
    "given": "number of values in the data",
    "used": "number of values that take part in the analysis, by themselves or in a mean",
    "rejected": "number of values that take no part, by reason",
    "likelihood": "number of values in the likelihood, after averaging",
    "downweighted": "number of values that a robust likelihood gives less than half of their weight",
    "error": "root mean square of the standard deviation of errors",
    "bias": "mean of the biases that were estimated",
    "innovation_mean": "mean of observation minus prediction",
    "innovation_std": "standard deviation of observation minus prediction",
    "expected_std": "standard deviation of observation minus prediction where all errors are what they are said to be",
    "spread": "root mean square of the standard deviation of predictions",
    "estimated_error": "standard deviation of errors by innovations and what was learned (Desroziers et al., 2005)",
    "advice": "what to do with the errors that were stated; diagnose says how sure that is",
    "solver_error": "largest root mean square error of the solver, in standard deviations of the analysis",
}


def statistics(
    part: AuditedLikelihood, expected: Expectation, predicted: FloatArray | None = None, solver_error: float = 0.0
) -> FloatArray:
    """Sum up counts and innovations of a source.

    Parameters
    ----------
    part
        Observations that are used; for an analysis with complete errors.
    expected
        What was expected of them before.
    predicted
        What members say of them after, shape (member, n); None where there is no analysis.
    solver_error
        Largest error of the solver, see `xslams.inference.guidance.Increment`.

    Returns
    -------
    ndarray
        Shape (column,), see `total`.
    """
    source, audit = part
    out = dict.fromkeys(COLUMNS, 0.0) | {"solver_error": solver_error}
    out["given"] = float(audit.given)
    out |= {reason: float(audit.rejected.get(reason, 0)) for reason in REASONS}
    # The first guess is one of whole fields; members lack what the decoder leaves out, an error of the observations.
    own, stated = audit.owned, source.errors.independent
    out["likelihood"], out["variance"] = float(own.sum()), float(stated[own].sum())
    out |= _fit("before", (source.values - expected.mean)[own], expected.std[own] ** 2, stated[own])
    if predicted is None:
        return np.array([out[c] for c in COLUMNS])
    members = predicted.astype(float)
    mean, taken = members.mean(axis=0), source.errors.variance
    spread = members.var(axis=0, ddof=1) if len(members) > 1 else np.zeros(source.size)
    innovation = source.values - mean
    out |= _fit("after", innovation[own], spread[own], taken[own])
    first = (source.values - expected.mean)[own]
    out["product"] = float((first.clip(-_LARGEST, _LARGEST) * innovation[own].clip(-_LARGEST, _LARGEST)).sum())
    out["signal"] = float((spread / taken)[own].sum())
    if source.errors.robust is not None:
        out["downweighted"] = float((source.errors.robust.weights(innovation / np.sqrt(taken))[own] < 0.5).sum())
    if source.errors.bias is not None:
        bias = estimated_bias(source, mean)[own]
        out["biased"], out["bias"] = float(bias.size), float(bias.sum())
    return np.array([out[c] for c in COLUMNS])


def total(tables: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Put the statistics of analysis windows together.

    Parameters
    ----------
    tables
        Shape (window, source, column), NaN for windows that are missing; lazy if need be.

    Returns
    -------
    ndarray
        Shape (source, column).

    Examples
    --------
    >>> tables = np.zeros((2, 1, len(COLUMNS)))
    >>> tables[:, 0, 0], tables[:, 0, -1] = 5.0, [0.1, 0.2]
    >>> whole = total(tables)[0]
    >>> float(whole[0]), float(whole[-1])
    (10.0, 0.2)
    """
    known = np.where(np.isnan(tables), 0.0, tables)
    return np.concatenate([known[..., :-1].sum(0), known[..., -1:].max(0)], axis=-1)


def _fit(stage: str, innovation: FloatArray, spread: FloatArray, variance: FloatArray) -> dict[str, float]:
    """Sum up the innovations of one stage, and the variances of predictions and of errors."""
    innovation = innovation.clip(-_LARGEST, _LARGEST)
    sums = innovation.size, innovation.sum(), (innovation**2).sum(), spread.sum(), variance.sum(dtype=float)
    return dict(zip([f"{stage}_{s}" for s in _SUMS], map(float, sums), strict=True))


def estimated_bias(source: SourceLikelihood, predicted: FloatArray) -> FloatArray:
    r"""Bias of every value, given what the analysis makes of it.

    With :math:`b \sim N(0, \beta^2)` shared by values of error variance :math:`r_i`, the mean of :math:`b` given the
    differences :math:`d_i` is :math:`\sum_i d_i r_i^{-1} / (\beta^{-2} + \sum_i r_i^{-1})`.

    Parameters
    ----------
    source
        Observations with groups that share a bias; without one the bias is zero.
    predicted
        Mean of what members say of them, shape (n,).

    Returns
    -------
    ndarray
        Shape (n,).

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from xslams.likelihood import ErrorModel, SharedBias
    >>> errors = ErrorModel(np.ones(2), bias=SharedBias(std=np.ones(2), group=np.zeros(2, int)))
    >>> source = SourceLikelihood("a", sp.csr_array(np.eye(2)), np.full(2, 4.0), errors)
    >>> estimated_bias(source, np.ones(2))
    array([2., 2.])
    """
    bias, robust = source.errors.bias, source.errors.robust
    if bias is None:
        return np.zeros(source.size)
    d, variance = source.values - predicted, source.errors.variance.astype(float)
    precision = 1.0 / variance
    if robust is not None:
        precision = precision * robust.weights(d / np.sqrt(variance))
    # A group has one standard deviation, told by all of its values.
    prior = np.bincount(bias.group, bias.std**2) / np.maximum(np.bincount(bias.group), 1)
    total, weight = (np.bincount(bias.group, v) for v in (d * precision, precision))
    return np.asarray((prior * total / (1.0 + prior * weight))[bias.group])


def by_window(tables: FloatArray, members: float) -> FloatArray:
    """Return the sums of which estimates of errors are made, as `xslams.likelihood.consistency.sums_by_frame` does.

    Parameters
    ----------
    tables
        Statistics of a source in every analysis window, shape (window, column).
    members
        Number of independent members that the mean is that of.

    Returns
    -------
    ndarray
        Shape (window, 7).
    """
    column = {c: tables[:, i] for i, c in enumerate(COLUMNS)}
    spread, variance = column["after_spread"], column["after_variance"]
    square, n, signal = column["after_square"] - spread / members, column["after_n"], column["signal"]
    # All are of products.
    shift = n * shift_of_products(signal / np.maximum(n, 1.0))
    return np.stack([n, square, variance - spread, column["product"], variance, signal, shift], axis=1)


def _estimate(known: FloatArray) -> FloatArray:
    """Return the standard deviation of errors, given means of products, variances and signal, and how many values."""
    product, variance, signal, n = np.moveaxis(known, -1, 0)
    none = np.zeros_like(n)
    sums = np.stack([n, none, none, n * product, n * variance, n * signal], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt(variance * error_ratio(sums)))


def _advice(known: FloatArray) -> npt.NDArray[np.object_]:
    """Say for each source what to do with its stated error, given the same numbers."""

    def each(product: Any, variance: Any, signal: Any, values: Any) -> str:
        estimate, error = _estimate(np.array([product, variance, signal, values])), variance**0.5
        if values < _FEW or not np.isfinite([estimate, error]).all() or error <= 0:
            return "too few values to tell"
        ratio = estimate / error
        if 1 / _AGREES <= ratio <= _AGREES:
            return "keep error="
        if ratio < _LEAST:
            return "the analysis follows the values as closely as it can: error= is too small, or they are no news"
        if abs(ratio**2 - 1.0) <= PRIOR * shift_of_products(signal):
            return "keep error=: it cannot be told from a wrong prior"
        return f"multiply error= by {ratio:.2g}"

    told: npt.NDArray[np.object_] = np.vectorize(each, otypes=[object])(*np.moveaxis(known, -1, 0))
    return told


def report(labels: Sequence[str], units: Sequence[str], sums: npt.NDArray[Any], *, after: bool) -> xr.Dataset:
    """Dataset of what became of the values of every source, and of how they fit.

    Parameters
    ----------
    labels, units
        Name and units of each source.
    sums
        What `total` made of the statistics of all analysis windows, shape (source, column); lazy if need be.
    after
        Whether there was an analysis.

    Returns
    -------
    Dataset
        With dimensions source, reason and stage ("before" and "after" the analysis): ``given``, ``used``,
        ``rejected`` by reason; ``likelihood``, the number of values in the likelihood once averaged; ``downweighted``,
        how many of these a robust likelihood gives less than half of their weight; ``error``, the root mean square of
        stated errors; ``bias``, the mean of the biases that were estimated, NaN where none was; and of observation less
        mean prediction ``innovation_mean`` and ``innovation_std``, with ``spread``, the standard deviation of
        predictions. Where errors are what they are said to be, ``innovation_std`` is ``expected_std``: before the
        analysis by the stated errors, since the first guess knows the spread of whole fields; after it by those of the
        likelihood, to which what the decoder leaves out and the inflation of variances belong. After an analysis also
        ``estimated_error``, what the products of innovations before and after it tell [1]_ of the error,
        with allowance for what the stated one did to the analysis (`xslams.likelihood.consistency`), and ``advice`` in
        words; and ``solver_error``, the largest root mean square error of the solver in standard deviations of the
        analysis.

    References
    ----------
    .. [1] Desroziers et al. (2005), Q. J. R. Meteorol. Soc. 131, 3385-3396, doi:10.1256/qj.05.108.
    """
    table = xr.DataArray(sums, dims=("source", "column"))
    column = {c: table.isel(column=i) for i, c in enumerate(COLUMNS)}
    stages = ("before", "after") if after else ("before",)

    def per(value: xr.DataArray, count: xr.DataArray) -> xr.DataArray:
        return value / count.where(count > 0)

    rejected = table.isel(column=slice(1, 1 + len(REASONS))).rename(column="reason")
    parts = []
    for stage in stages:
        n, total, square, spread, variance = (column[f"{stage}_{s}"] for s in _SUMS)
        mean, spread, error = per(total, n), per(spread, n), per(variance, n)
        # The analysis has used the observations: it is closer to them than they are to the truth.
        expected = error + spread if stage == "before" else (error - spread).clip(min=0.0)
        parts.append(
            xr.Dataset(
                {
                    "innovation_mean": mean,
                    "innovation_std": np.sqrt((per(square, n) - mean**2).clip(min=0.0)),
                    "expected_std": np.sqrt(expected),
                    "spread": np.sqrt(spread),
                }
            )
        )
    ds = xr.Dataset(
        {
            "given": column["given"],
            "used": column["given"] - rejected.sum("reason"),
            "rejected": rejected,
            "likelihood": column["likelihood"],
            "downweighted": column["downweighted"],
            "error": np.sqrt(per(column["variance"], column["likelihood"])),
            "bias": per(column["bias"], column["biased"]),
        }
    )
    for name in ("given", "used", "rejected", "likelihood", "downweighted"):
        ds[name] = ds[name].astype(np.int64).assign_attrs(units="1")
    ds = ds.merge(xr.concat(parts, "stage"))
    if after:
        n = column["after_n"]
        # A bias is no part of the error that is estimated.
        product = per(column["product"], n) - ds["innovation_mean"].prod("stage", skipna=False)
        # One array: dask loses a part of several that were made of the same ones.
        numbers: list[xr.DataArray] = [product, per(column["after_variance"], n), per(column["signal"], n), n]
        known = xr.concat(numbers, "number", coords="minimal", compat="override")
        if known.chunks is not None:
            known = known.chunk(number=-1)
        for name, function, kind in (("estimated_error", _estimate, float), ("advice", _advice, object)):
            ds[name] = xr.apply_ufunc(
                function, known, input_core_dims=[["number"]], dask="parallelized", output_dtypes=[kind]
            ).drop_attrs()
        ds["solver_error"] = column["solver_error"].max("source") if len(labels) else xr.DataArray(0.0)
        ds["solver_error"].attrs["units"] = "1"
    for name, text in _LONG_NAMES.items():
        if name in ds:
            ds[name].attrs["long_name"] = text
    # As objects: zarr has no stable form of strings of fixed length.
    return ds.assign_coords(
        source=("source", np.array(labels, object)),
        reason=("reason", np.array(REASONS, object)),
        stage=("stage", np.array(stages, object)),
        units=("source", np.array(units, object)),
    )

r"""Observations against a first guess: which to reject, how well they should be represented, and a report of it all.

The first guess is the climatology of the model, cell by cell, or what becomes of it given the background. Of a value
that sees several cells, the spread of the first guess is that of fields which are correlated perfectly over what it
sees: an upper bound, so that the check rejects too little rather than too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.observations.quality import REASONS
from xslams.typing import FloatArray, SourceArrays

__all__ = [
    "COLUMNS",
    "Guess",
    "background_check",
    "estimated_bias",
    "first_guess",
    "innovations",
    "report",
    "statistics",
    "subgrid",
]

Guess = tuple[FloatArray, FloatArray]
"""What is expected of every value, and the standard deviation of that, each of shape (n,)."""

# Columns of the statistics of a source, all of them sums, so that those of segments add up.
_COUNTS = ("given", *REASONS, "likelihood", "downweighted", "variance", "biased", "bias")
_SUMS = ("n", "sum", "square", "spread")
COLUMNS = (*_COUNTS, *(f"{stage}_{s}" for stage in ("before", "after") for s in _SUMS))
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
}


def first_guess(mean: FloatArray, std: FloatArray, background: Sequence[SourceArrays]) -> tuple[FloatArray, FloatArray]:
    """Combine climatology and background, cell by cell.

    Parameters
    ----------
    mean, std
        Climatology and its standard deviation, any shape.
    background
        Observations of single elements of these.

    Returns
    -------
    tuple of ndarray
        Mean and standard deviation of the shape given.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> seen = SourceArrays("background", sp.csr_array([[0.0, 1.0]]), np.array([2.0]), np.array([1.0]))
    >>> first_guess(np.zeros(2), np.ones(2), [seen])[0]
    array([0., 1.])
    """
    x, precision = mean.astype(float).ravel().copy(), 1.0 / np.maximum(std.astype(float).ravel(), 1e-30) ** 2
    for source in background:
        at = source.operator.indices  # rows of one element each
        gain = 1.0 / source.variance / (1.0 / source.variance + precision[at])
        x[at] += gain * (source.values - x[at])
        precision[at] += 1.0 / source.variance
    return x.reshape(mean.shape), (precision**-0.5).reshape(std.shape)


def innovations(source: SourceArrays, mean: FloatArray, std: FloatArray) -> Guess:
    """Return what a source is expected to report, and how well that is known.

    Parameters
    ----------
    source
        Observations.
    mean, std
        What the operator acts on, and its standard deviation.

    Returns
    -------
    Guess
        Expectation and standard deviation of each value.
    """
    return source.operator @ mean.ravel().astype(float), abs(source.operator) @ std.ravel().astype(float)


def _total(source: SourceArrays, spread: FloatArray) -> FloatArray:
    """Variance of innovations: of errors of all kinds, and of the first guess."""
    total = source.variance + spread**2
    for more in (source.bias_error, source.local):
        if more is not None:
            total = total + more**2
    return total


def background_check(source: SourceArrays, guess: Guess) -> SourceArrays:
    """Reject values that are further from the first guess than the limit of their source.

    Parameters
    ----------
    source
        Observations; returned as they are where there is no limit.
    guess
        What is expected of them.

    Returns
    -------
    SourceArrays
        Those that are left.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> source = SourceArrays("a", sp.csr_array(np.eye(2)), np.array([1.0, 9.0]), np.ones(2), background_check=3.0)
    >>> checked = background_check(source, (np.zeros(2), np.ones(2)))
    >>> checked.values, checked.rejected
    (array([1.]), {'background': 1})
    """
    if source.background_check is None or not source.values.size:
        return source
    good = np.abs(source.values - guess[0]) <= source.background_check * np.sqrt(_total(source, guess[1]))
    return source if good.all() else source.keep(good, "background")


def subgrid(source: SourceArrays, variogram: FloatArray) -> SourceArrays:
    r"""Add the representativeness error that the difference in resolution makes.

    Below the grid scale differences are taken to grow with distance as :math:`r^{2/3}` (the :math:`k^{-5/3}` spectrum
    of the mesoscale [1]_), from what they are between neighbouring cells. A point then differs from the mean of its
    cell by :math:`0.63\, \gamma (1 - (\delta / \Delta)^{2/3})` with the variogram :math:`\gamma` between cells, size
    :math:`\Delta` of cells and resolution :math:`\delta` of the data, 0 for points.

    Parameters
    ----------
    source
        Observations; returned as they are where their errors are complete.
    variogram
        Half of the mean squared difference between neighbouring cells, of every element that the operator acts on.

    Returns
    -------
    SourceArrays
        The same with more that is `local`.

    References
    ----------
    .. [1] Nastrom and Gage, A Climatology of Atmospheric Wavenumber Spectra, 1985,
       doi:10.1175/1520-0469(1985)042<0950:ACOAWS>2.0.CO;2.
    """
    if source.subgrid is None or not source.values.size:
        return source
    seen, weight = (abs(source.operator) @ v for v in (variogram.ravel().astype(float), np.ones(variogram.size)))
    return replace(source, local=np.sqrt(source.subgrid * seen / np.maximum(weight, 1e-30)), subgrid=None)


def statistics(source: SourceArrays, guess: Guess, predicted: FloatArray | None = None) -> FloatArray:
    """Sum up counts and innovations of a source.

    Parameters
    ----------
    source
        Observations that are used.
    guess
        What was expected of them before.
    predicted
        What members say of them after, shape (member, n); None where there is no analysis.

    Returns
    -------
    ndarray
        Shape (column,), see `report`; statistics of segments add up.
    """
    own = np.ones(source.values.size, bool) if source.owned is None else source.owned
    y, variance = source.values[own], source.variance[own]
    out = dict.fromkeys(COLUMNS, 0.0)
    out["given"] = float(source.given)
    out |= {reason: float(source.rejected.get(reason, 0)) for reason in REASONS}
    out["likelihood"], out["variance"] = float(y.size), float(variance.sum())
    stages = {"before": (guess[0][own], guess[1][own] ** 2)}
    if predicted is not None:
        members = predicted[:, own].astype(float)
        mean = members.mean(axis=0)
        spread = members.var(axis=0, ddof=1) if len(members) > 1 else np.zeros(y.size)
        stages["after"] = mean, spread
        if source.robust is not None:
            out["downweighted"] = float((_weights(source.robust, (y - mean) / np.sqrt(variance)) < 0.5).sum())
        if source.group is not None:
            bias = estimated_bias(source, predicted.astype(float).mean(axis=0))[own]
            out["biased"], out["bias"] = float(bias.size), float(bias.sum())
    for stage, (expected, spread) in stages.items():
        d = y - expected
        out |= dict(zip([f"{stage}_{s}" for s in _SUMS], (d.size, d.sum(), (d**2).sum(), spread.sum()), strict=True))
    return np.array([out[c] for c in COLUMNS])


def estimated_bias(source: SourceArrays, predicted: FloatArray) -> FloatArray:
    r"""Bias of every value, given what the analysis makes of it.

    With :math:`b \sim N(0, \beta^2)` shared by values of error variance :math:`r_i`, the mean of :math:`b` given the
    differences :math:`d_i` is :math:`\sum_i d_i r_i^{-1} / (\beta^{-2} + \sum_i r_i^{-1})`.

    Parameters
    ----------
    source
        Observations with groups that share a bias.
    predicted
        Mean of what members say of them, shape (n,).

    Returns
    -------
    ndarray
        Shape (n,).

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> source = SourceArrays("a", sp.csr_array(np.eye(2)), np.full(2, 4.0), np.ones(2),
    ...                       group=np.zeros(2, int), bias_error=np.ones(2))
    >>> estimated_bias(source, np.ones(2))
    array([2., 2.])
    """
    assert source.group is not None and source.bias_error is not None
    d, precision = source.values - predicted, 1.0 / source.variance
    if source.robust is not None:
        precision = precision * _weights(source.robust, d / np.sqrt(source.variance))
    # A group has one standard deviation, told by all of its values.
    prior = np.bincount(source.group, source.bias_error**2) / np.maximum(np.bincount(source.group), 1)
    total, weight = (np.bincount(source.group, v) for v in (d * precision, precision))
    return np.asarray((prior * total / (1.0 + prior * weight))[source.group])


def _weights(robust: tuple[str, float], e: FloatArray) -> FloatArray:
    """Weights of a robust likelihood for residuals in standard deviations, see `xslams.inference.robust`."""
    kind, shape = robust
    return shape / np.maximum(np.abs(e), shape) if kind == "huber" else (shape + 1) / (shape + e**2)


def report(labels: Sequence[str], units: Sequence[str], sums: npt.NDArray[Any], *, after: bool) -> xr.Dataset:
    """Dataset of what became of the values of every source, and of how they fit.

    Parameters
    ----------
    labels, units
        Name and units of each source.
    sums
        What `statistics` returned, shape (source, column), of all segments together; lazy if need be.
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
        predictions. Where errors are what they are said to be, ``innovation_std``
        is ``expected_std``.
    """
    table = xr.DataArray(sums, dims=("source", "column"))
    column = {c: table.isel(column=i) for i, c in enumerate(COLUMNS)}
    stages = ("before", "after") if after else ("before",)

    def per(value: xr.DataArray, count: xr.DataArray) -> xr.DataArray:
        return value / count.where(count > 0)

    rejected = table.isel(column=slice(1, 1 + len(REASONS))).rename(column="reason")
    error = per(column["variance"], column["likelihood"])
    parts = []
    for stage in stages:
        n, total, square, spread = (column[f"{stage}_{s}"] for s in _SUMS)
        mean, spread = per(total, n), per(spread, n)
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
            "error": np.sqrt(error),
            "bias": per(column["bias"], column["biased"]),
        }
    )
    for name in ("given", "used", "rejected", "likelihood", "downweighted"):
        ds[name] = ds[name].astype(np.int64).assign_attrs(units="1")
    ds = ds.merge(xr.concat(parts, "stage"))
    for name, text in _LONG_NAMES.items():
        ds[name].attrs["long_name"] = text
    # As objects: zarr has no stable form of strings of fixed length.
    return ds.assign_coords(
        source=("source", np.array(labels, object)),
        reason=("reason", np.array(REASONS, object)),
        stage=("stage", np.array(stages, object)),
        units=("source", np.array(units, object)),
    )

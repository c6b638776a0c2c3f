r"""Observations against a first guess: what is expected of them, and which to reject.

The first guess is the climatology of the model, cell by cell, or what becomes of it given the background. Of a value
that sees several cells, the spread of the first guess is that of fields which are correlated perfectly over what it
sees: an upper bound, so that the check rejects too little rather than too much. The spread is that of whole fields, and
so includes what the decoder of the model leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from xslams.likelihood import SourceLikelihood
from xslams.observations.audit import AuditedLikelihood
from xslams.typing import FloatArray

__all__ = ["Expectation", "background_check", "expectation", "first_guess", "with_variability"]


class Expectation(NamedTuple):
    """What is expected of every value, and the standard deviation of that, each of shape (n,)."""

    mean: FloatArray
    std: FloatArray


def first_guess(
    mean: FloatArray, std: FloatArray, background: Sequence[SourceLikelihood]
) -> tuple[FloatArray, FloatArray]:
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
    >>> from xslams.likelihood import ErrorModel
    >>> rows, errors = sp.csr_array([[0.0, 1.0]]), ErrorModel(np.array([1.0]))
    >>> seen = SourceLikelihood("background", rows, np.array([2.0]), errors)
    >>> first_guess(np.zeros(2), np.ones(2), [seen])[0]
    array([0., 1.])
    """
    x, precision = mean.astype(float).ravel().copy(), 1.0 / np.maximum(std.astype(float).ravel(), 1e-30) ** 2
    for source in background:
        at, variance = source.matrix.indices, source.errors.total  # rows of one element each
        gain = 1.0 / variance / (1.0 / variance + precision[at])
        x[at] += gain * (source.values - x[at])
        precision[at] += 1.0 / variance
    return x.reshape(mean.shape), (precision**-0.5).reshape(std.shape)


def expectation(source: SourceLikelihood, mean: FloatArray, std: FloatArray) -> Expectation:
    """Return what a source is expected to report, and how well that is known.

    Parameters
    ----------
    source
        Observations.
    mean, std
        What its rows act on, and its standard deviation.
    """
    return Expectation(source.matrix @ mean.ravel().astype(float), abs(source.matrix) @ std.ravel().astype(float))


def background_check(part: AuditedLikelihood, expected: Expectation) -> AuditedLikelihood:
    """Reject values that are further from the first guess than the limit of their source.

    Parameters
    ----------
    part
        Observations; returned as they are where there is no limit in numbers.
    expected
        What is expected of them.

    Returns
    -------
    AuditedLikelihood
        Those that are left.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from xslams.likelihood import ErrorModel
    >>> from xslams.observations.audit import Audit
    >>> rows, errors = sp.csr_array(np.eye(2)), ErrorModel(np.ones(2))
    >>> source = SourceLikelihood("a", rows, np.array([1.0, 9.0]), errors, background_check=3.0)
    >>> part = AuditedLikelihood(source, Audit(2, owned=np.ones(2, bool)))
    >>> checked = background_check(part, Expectation(np.zeros(2), np.ones(2)))
    >>> checked.likelihood.values, checked.audit.rejected
    (array([1.]), {'background': 1})
    """
    source = part.likelihood
    limit = source.background_check
    if limit is None or limit == "gross" or not source.size:
        return part
    innovation = source.values - expected.mean
    good = np.abs(innovation) <= limit * np.sqrt(source.errors.total + expected.std**2)
    return part if good.all() else part.keep(good, "background")


def with_variability(source: SourceLikelihood, variogram: FloatArray) -> SourceLikelihood:
    r"""Add the representativeness error that the difference in resolution makes.

    Below the grid scale differences are taken to grow with distance as :math:`r^{2/3}` (the :math:`k^{-5/3}` spectrum
    of the mesoscale [1]_), from what they are between neighbouring cells. A point then differs from the mean of its
    cell by :math:`0.63\, \gamma (1 - (\delta / \Delta)^{2/3})` with the variogram :math:`\gamma` between cells, size
    :math:`\Delta` of cells and resolution :math:`\delta` of the data, 0 for points.

    Parameters
    ----------
    source
        Observations; returned as they are where their representativeness is known.
    variogram
        Half of the mean squared difference between neighbouring cells, of every element that the rows act on.

    References
    ----------
    .. [1] Nastrom and Gage, A Climatology of Atmospheric Wavenumber Spectra, 1985,
       doi:10.1175/1520-0469(1985)042<0950:ACOAWS>2.0.CO;2.
    """
    if source.errors.subgrid is None or not source.size:
        return source
    size = abs(source.matrix)
    seen, weight = size @ variogram.ravel().astype(float), size @ np.ones(variogram.size)
    return replace(source, errors=source.errors.with_variability(seen, np.maximum(weight, 1e-30)))

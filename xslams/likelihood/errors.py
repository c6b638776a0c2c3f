r"""The error of observations: the one place that says what the variance of an observation is.

What a value differs by from the state of the model has several causes, and they are known at different stages:

======================== ================================================= ==========================================
cause                    known from                                        shared by
======================== ================================================= ==========================================
instrument               ``error=``                                        nobody: independent from value to value
representativeness       ``qc`` or the variability below the grid scale    the values of one place, frame and level
bias                     ``qc``                                            a group: a source, a station, a platform
decoder                  the model                                         nobody
======================== ================================================= ==========================================

Before values are averaged, the first two are kept apart, because errors that a place shares do not average out. The
likelihood takes what is independent between values,

.. math:: D = \iota \, (\sigma^2 + \rho^2 + \delta^2),

the variances of instrument, representativeness and decoder, times an inflation :math:`\iota` where an observation
operator is linearised by a secant; biases and heavy tails come on top of it (`xslams.inference.robust`). Where errors
of instruments are correlated (`xslams.likelihood.correlation`), :math:`D` is the diagonal of the error covariance, and
what is off it is :math:`\sqrt{\iota_i \iota_j} \, \sigma_i c_{ij} \sigma_j`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.likelihood.correlation import ErrorCorrelation
from xslams.likelihood.robust import RobustLikelihood
from xslams.typing import FloatArray

__all__ = ["ErrorModel", "IntArray", "SharedBias"]

IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class SharedBias:
    """Unknown biases, each shared by the values of a group.

    Attributes
    ----------
    std
        Standard deviation of the bias of each value, shape ``(n,)``.
    group
        Group of each value, numbers from 0, shape ``(n,)``.
    """

    std: FloatArray
    group: IntArray

    def keep(self, chosen: npt.NDArray[Any]) -> SharedBias:
        """Biases of some of the values, given as a mask or as positions."""
        return SharedBias(self.std[chosen], self.group[chosen])

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.group.max(initial=-1)) + 1

    @staticmethod
    def joined(parts: Sequence[SharedBias]) -> SharedBias:
        """Join the biases of several variables, each of which has its own."""
        first = np.cumsum([0, *(p.groups for p in parts)])
        groups = [p.group + shift for p, shift in zip(parts, first, strict=False)]
        return SharedBias(np.concatenate([p.std for p in parts]), np.concatenate(groups))


@dataclass(frozen=True)
class ErrorModel:
    """Errors of the values of a source, in the squared units of the model.

    Attributes
    ----------
    instrument
        Variance of what is independent in each value, shape ``(n,)``.
    local
        Variance of what the values of one place share and the model cannot represent, shape ``(n,)``.
    subgrid
        The same in units of the variability between neighbouring cells, where that has yet to be asked of the model,
        see `with_variability`; shape ``(n,)``.
    bias
        Unknown biases.
    robust
        Likelihood with heavy tails; None for a Gaussian one.
    decoder
        Variance of what the decoder of the model leaves out, shape ``(n,)``, float32; None where the model has not been
        asked yet.
    inflation
        Factor of all variances, shape ``(n,)``, float32.
    correlation
        Correlation of what `instrument` is the variance of; None where values are independent.

    Examples
    --------
    >>> errors = ErrorModel(np.ones(2), local=np.full(2, 3.0))
    >>> errors.variance
    array([4., 4.])
    >>> errors.completed(np.array([0.0, 1.0]), np.array([1.0, 2.0])).variance
    array([ 4., 10.], dtype=float32)
    """

    instrument: FloatArray
    local: FloatArray | None = None
    subgrid: FloatArray | None = None
    bias: SharedBias | None = None
    robust: RobustLikelihood | None = None
    decoder: FloatArray | None = None
    inflation: FloatArray | None = None
    correlation: ErrorCorrelation | None = None

    @property
    def independent(self) -> FloatArray:
        """Variance of the observations themselves, but for biases: instrument and representativeness, ``(n,)``."""
        return self.instrument if self.local is None else self.instrument + self.local

    @property
    def total(self) -> FloatArray:
        """Variance of the observations themselves, biases included, ``(n,)``."""
        return self.independent if self.bias is None else self.independent + self.bias.std**2

    @property
    def variance(self) -> FloatArray:
        """Variance of the likelihood but for biases, with the parts that come from the model, ``(n,)``."""
        if self.decoder is None or self.inflation is None:
            return self.independent
        # In single precision, as the networks compute.
        variance: FloatArray = self.inflation * (self.independent.astype(np.float32) + self.decoder)
        return variance

    @property
    def correlated(self) -> FloatArray:
        """Standard deviation of what is correlated between values, as the likelihood takes it, ``(n,)``."""
        variance = self.instrument.astype(float)
        return np.asarray(np.sqrt(variance if self.inflation is None else self.inflation * variance))

    @property
    def complete(self) -> bool:
        """Whether the model has said what its decoder leaves out."""
        return self.decoder is not None

    def completed(self, decoder: FloatArray, inflation: FloatArray) -> ErrorModel:
        """Return errors with the parts that come from the model.

        Parameters
        ----------
        decoder
            Variance of what the decoder leaves out, shape ``(n,)``.
        inflation
            Factor of all variances, shape ``(n,)``.
        """
        return replace(self, decoder=decoder.astype(np.float32), inflation=inflation.astype(np.float32))

    def with_variability(self, seen: FloatArray, weight: FloatArray) -> ErrorModel:
        """Return errors whose representativeness is known.

        Parameters
        ----------
        seen
            Half of the mean squared difference between neighbouring cells, summed over the cells that each value sees
            with their weights, shape ``(n,)``.
        weight
            Sum of these weights, shape ``(n,)``.
        """
        if self.subgrid is None:
            return self
        # By way of the standard deviation, which is what a user would have given.
        return replace(self, local=np.sqrt(self.subgrid * seen / weight) ** 2, subgrid=None)

    def keep(self, chosen: npt.NDArray[Any]) -> ErrorModel:
        """Errors of some of the values, given as a mask or as positions."""
        bias = None if self.bias is None else self.bias.keep(chosen)
        correlation = None if self.correlation is None else self.correlation.keep(chosen)
        return replace(self._each(lambda v: v[chosen], bias), correlation=correlation)

    def averaged(self, mean: sp.csr_array, member: IntArray, place: IntArray) -> ErrorModel:
        r"""Return errors of means of values.

        With weights :math:`w_i` that add up to one, a mean has the variance

        .. math:: \sum_i w_i^2 \sigma_i^2 + \sum_p \Big(\sum_{i \in p} w_i\Big)^2 \rho_p^2

        where :math:`\sigma_i` is the error of a value and :math:`\rho_p` the representativeness of a place :math:`p`,
        which all its values share.

        Parameters
        ----------
        mean
            Weights, shape ``(m, n)``; each value is in one mean.
        member
            Mean that each value is in, shape ``(n,)``.
        place
            Place of each value, shape ``(n,)``.
        """
        first = np.unique(member, return_index=True)[1]
        # Values that are averaged are of the same frames, and hence of one group.
        bias = None if self.bias is None else SharedBias(mean @ self.bias.std, self.bias.group[first])
        correlation = self.correlation
        return ErrorModel(
            mean.power(2) @ self.instrument if correlation is None else correlated(mean, self.instrument, correlation),
            None if self.local is None else shared(mean, member, place, np.sqrt(self.local)),
            None if self.subgrid is None else shared(mean, member, place, np.sqrt(self.subgrid)),
            bias,
            self.robust,
            correlation=None if correlation is None else correlation.averaged(mean, first),
        )

    def _each(self, function: Callable[[FloatArray], FloatArray], bias: SharedBias | None) -> ErrorModel:
        """Apply a function to all arrays."""
        arrays = self.instrument, self.local, self.subgrid, self.decoder, self.inflation
        instrument, local, subgrid, decoder, inflation = (None if v is None else function(v) for v in arrays)
        assert instrument is not None
        return ErrorModel(instrument, local, subgrid, bias, self.robust, decoder, inflation)

    @staticmethod
    def joined(parts: Sequence[ErrorModel]) -> ErrorModel:
        """Join the errors of several variables of one source, which have the same kinds of errors."""

        def each(name: str) -> FloatArray | None:
            arrays = [getattr(p, name) for p in parts]
            return None if arrays[0] is None else np.concatenate(arrays)

        instrument, biases = each("instrument"), [p.bias for p in parts if p.bias is not None]
        correlations = [p.correlation for p in parts if p.correlation is not None]
        assert instrument is not None
        return ErrorModel(
            instrument, each("local"), each("subgrid"), SharedBias.joined(biases) if biases else None, parts[0].robust,
            each("decoder"), each("inflation"), ErrorCorrelation.joined(correlations) if correlations else None,
        )  # fmt: skip


def correlated(mean: sp.csr_array, variance: FloatArray, correlation: ErrorCorrelation) -> FloatArray:
    """Variance of means of values with correlated errors.

    Parameters
    ----------
    mean
        Weights, shape ``(m, n)``; each value is in one mean.
    variance
        Variance of each value, shape ``(n,)``.
    correlation
        Correlation between values.

    Returns
    -------
    ndarray
        Shape ``(m,)``.
    """
    out, std = np.zeros(mean.shape[0]), np.sqrt(variance)
    for row, (a, b) in enumerate(itertools.pairwise(mean.indptr)):
        of, weight = mean.indices[a:b].astype(np.intp), mean.data[a:b] * std[mean.indices[a:b]]
        out[row] = weight @ correlation.keep(of).matrix() @ weight
    return out


def shared(mean: sp.csr_array, member: IntArray, place: IntArray, local: FloatArray) -> FloatArray:
    """Variance of means of errors that all values of a place share, and that places have independently.

    Parameters
    ----------
    mean, member, place
        As for `ErrorModel.averaged`.
    local
        Standard deviation of the error, shape ``(n,)``.

    Returns
    -------
    ndarray
        Shape ``(m,)``.
    """
    weight = np.asarray(mean.sum(axis=0)).ravel()  # a value has one weight, in the mean that it belongs to
    pair = np.unique(member * (int(place.max(initial=0)) + 1) + place, return_inverse=True)[1]
    total = np.bincount(pair, weight * local)
    of = np.zeros(total.size, np.intp)
    of[pair] = member
    return np.asarray(np.bincount(of, total**2, minlength=mean.shape[0]), float)

r"""Correlation of errors between the values of a source: in space, in height, in time, and between kinds of values.

The correlation of two different values is a product,

.. math:: c_{ij} = (1 - \nu) \, \kappa_{k_i k_j} \prod_a f_a\big(\| x^a_i - x^a_j \|\big),

of the matrix :math:`\kappa` between their kinds, and of one function :math:`f_a` for each axis :math:`a`: in space and
height the second-order autoregressive one, :math:`(1 + r) e^{-r}`, in time the first-order one, :math:`e^{-r}`, which
is an AR(1) process at any times. Distances are in units of the length of the axis, on the sphere along the chord, for
which both are positive definite. A share :math:`\nu` of the variance is independent from value to value. Values of
different groups have nothing to do with each other.

Where errors of one kind are followed by those of others, a matrix :math:`\kappa^{(h)}` for each lag :math:`h`, that of
a vector autoregression of first order, takes the place of :math:`\kappa` and of the function in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xslams.typing import FloatArray

__all__ = ["Axis", "Chain", "ErrorCorrelation"]

IntArray = npt.NDArray[np.intp]
# Leading directions of the matrix between kinds that tell which of them are alike.
_DIRECTIONS = 6


def _second_order(r: FloatArray) -> FloatArray:
    return np.asarray((1 + r) * np.exp(-r))


def _first_order(r: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-r))


_FUNCTIONS: Mapping[str, Callable[[FloatArray], FloatArray]] = {"second": _second_order, "first": _first_order}


@dataclass(frozen=True)
class Axis:
    """An axis along which errors are correlated.

    Attributes
    ----------
    at
        Position of each value in units of the length of the correlation, shape ``(n, d)``.
    order
        ``"second"`` for the autoregressive function of second order, in space; ``"first"`` for that of first order, in
        time.
    """

    at: FloatArray
    order: Literal["first", "second"] = "second"

    def correlation(self, i: IntArray, j: IntArray) -> FloatArray:
        """Correlation of values `i` and `j`, which broadcast against each other."""
        apart = self.at[i] - self.at[j]
        return _FUNCTIONS[self.order](np.sqrt(np.einsum("...d,...d->...", apart, apart)))


@dataclass(frozen=True)
class Chain:
    """Errors of kinds that follow each other from one time to the next.

    Attributes
    ----------
    step
        Time of each value, whole numbers that are one apart from one time to the next, shape ``(n,)``.
    lagged
        Correlation of kinds, in the rows, with those that many times before, shape ``(lag, k, k)``; none beyond the
        last lag. That of a vector autoregression of first order: values are independent of all before given those of
        the time before.
    """

    step: IntArray
    lagged: FloatArray

    def correlation(self, i: IntArray, j: IntArray, kind: IntArray) -> FloatArray:
        """Correlation of values `i` and `j`, whose kinds are given for all values."""
        lag = self.step[i] - self.step[j]
        later, earlier = np.where(lag >= 0, kind[i], kind[j]), np.where(lag >= 0, kind[j], kind[i])
        apart = np.abs(lag)
        found = self.lagged[np.minimum(apart, len(self.lagged) - 1), later, earlier]
        return np.where(apart < len(self.lagged), found, 0.0)


@dataclass(frozen=True)
class ErrorCorrelation:
    """Correlation of the errors of the values of a source.

    Attributes
    ----------
    group
        Group of each value, shape ``(n,)``; values of different groups are independent.
    axes
        Axes along which errors are correlated.
    kind, between
        Kind of each value, numbers from 0, shape ``(n,)``; and the correlation matrix between kinds, shape ``(k, k)``.
        Without them all values are of one kind.
    independent
        Share of the variance that is independent from value to value, from 0 to 1.
    link
        Sources of one link are correlated with each other, as the variables of one source may be.
    chain
        How kinds follow each other in time; then there are neither `between` nor an axis in time.

    Examples
    --------
    Two values a day apart of an AR(1) process that forgets in two days:

    >>> errors = ErrorCorrelation(np.zeros(2, int), (Axis(np.array([[0.0], [0.5]]), "first"),), independent=0.0)
    >>> errors.matrix().round(3)
    array([[1.   , 0.607],
           [0.607, 1.   ]])
    """

    group: IntArray
    axes: tuple[Axis, ...] = ()
    kind: IntArray | None = None
    between: FloatArray | None = None
    independent: float = 0.0
    link: str | None = None
    chain: Chain | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        return self.group.size

    def elements(self, i: IntArray, j: IntArray) -> FloatArray:
        """Correlation of values `i` and `j` of one group, which broadcast; 1 where they are the same."""
        out = np.ones(np.broadcast_shapes(i.shape, j.shape))
        for axis in self.axes:
            out *= axis.correlation(i, j)
        if self.kind is not None and self.between is not None:
            out *= self.between[self.kind[i], self.kind[j]]
        if self.kind is not None and self.chain is not None:
            out *= self.chain.correlation(i, j, self.kind)
        return np.where(i == j, 1.0, (1 - self.independent) * out)

    def matrix(self) -> FloatArray:
        """Dense correlation matrix, shape ``(n, n)``; for few values."""
        i = np.arange(self.size)
        same = self.group[:, None] == self.group
        return np.where(same, self.elements(i[:, None], i), 0.0)

    @property
    def places(self) -> FloatArray:
        """Positions in which values that are close are strongly correlated, shape ``(n, d)``."""
        parts = [np.zeros((self.size, 1)), *(axis.at for axis in self.axes)]
        if self.chain is not None:
            # As far apart as the values of a kind that have lost as much of their correlation.
            lagged = self.chain.lagged
            kept = np.trace(lagged[1]) / np.trace(lagged[0]) if len(lagged) > 1 else 0.0
            parts.append(self.chain.step[:, None] * np.sqrt(2 * (1 - np.clip(kept, 0.0, 1.0))))
        between = self.between if self.chain is None else self.chain.lagged[0]
        if self.kind is not None and between is not None:
            values, vectors = np.linalg.eigh(between)
            leading = np.argsort(values)[::-1][:_DIRECTIONS]
            parts.append((vectors[:, leading] * np.sqrt(values[leading].clip(0)))[self.kind])
        return np.concatenate(parts, axis=1)

    @property
    def layer(self) -> IntArray | None:
        """Number of the time of each value, ``(n,)``, if times forget as those of an AR(1) process do; else None.

        The correlation is a product, so that values of one time are then independent of all earlier ones given those of
        the time before, but for the share that is independent from value to value.
        """
        if self.chain is not None:
            return np.unique(self.chain.step, return_inverse=True)[1]
        chains = [axis for axis in self.axes if axis.order == "first" and axis.at.shape[1] == 1]
        if len(chains) != 1:
            return None
        return np.unique(chains[0].at[:, 0], return_inverse=True)[1]

    def keep(self, chosen: npt.NDArray[Any]) -> ErrorCorrelation:
        """Correlation of some of the values, given as a mask or as positions."""
        return replace(
            self,
            group=self.group[chosen],
            axes=tuple(Axis(axis.at[chosen], axis.order) for axis in self.axes),
            kind=None if self.kind is None else self.kind[chosen],
            chain=None if self.chain is None else replace(self.chain, step=self.chain.step[chosen]),
        )

    def averaged(self, weights: Any, first: IntArray) -> ErrorCorrelation:
        """Correlation of means of values of one kind, which lie at the mean of their positions.

        Parameters
        ----------
        weights
            Weights, sparse, shape ``(m, n)``, whose rows add up to one.
        first
            A value of each mean, shape ``(m,)``.
        """
        axes = tuple(Axis(np.asarray(weights @ axis.at), axis.order) for axis in self.axes)
        return replace(self.keep(first), axes=axes)

    @staticmethod
    def joined(parts: Sequence[ErrorCorrelation]) -> ErrorCorrelation:
        """Correlation of several variables of one source: by its link if it has one, else of none with another."""
        first = parts[0]
        ends = np.cumsum([0, *(int(p.group.max(initial=-1)) + 1 for p in parts)])
        shifts = np.zeros(len(parts), np.intp) if first.link is not None else ends[:-1]
        kinds = [p.kind for p in parts if p.kind is not None]
        axes = tuple(
            Axis(np.concatenate([p.axes[a].at for p in parts]), axis.order) for a, axis in enumerate(first.axes)
        )
        group = np.concatenate([p.group + shift for p, shift in zip(parts, shifts, strict=True)])
        chains = [p.chain for p in parts if p.chain is not None]
        chain = replace(chains[0], step=np.concatenate([c.step for c in chains])) if chains else None
        return replace(first, group=group, axes=axes, kind=np.concatenate(kinds) if kinds else None, chain=chain)

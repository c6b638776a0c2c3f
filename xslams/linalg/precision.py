r"""Covariances of many values by a sparse root of their inverse.

What a value says beyond others is its difference from what these predict. In any order of the values,

.. math:: C^{-1} = A^\top A, \qquad
    (A x)_i = v_i^{-1/2} \big( x_i - C_{iN} C_{NN}^{-1} x_N \big), \qquad v_i = C_{ii} - C_{iN} C_{NN}^{-1} C_{Ni},

where :math:`N` are the values before :math:`i`. This is exact, and :math:`A` is the inverse of the Cholesky factor of
:math:`C`. In a large group of values, those before it that are not among its nearest neighbours are left out [1]_: they
tell next to nothing beyond these, and whatever is left out, :math:`A^\top A` is the inverse of a covariance. Missing
values, places of any kind and times of any spacing need nothing of their own. Where errors forget as an AR(1) process
does, :math:`N` are all values of the same time and of the times before instead, of the last at least and of as many as
are few enough, which is exact but for values that are missing and for the share of the variance that is independent.

References
----------
.. [1] Vecchia, Estimation and model identification for continuous spatial processes, 1988,
   doi:10.1111/j.2517-6161.1988.tb01729.x.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from azula.linalg.covariance import Covariance, IsotropicCovariance
from scipy.spatial import cKDTree
from torch import Tensor

from xslams.errors import OptionError
from xslams.linalg.sparse import SparseMatrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xslams.typing import FloatArray

__all__ = ["BEFORE", "EXACT", "LAYER", "NEIGHBOURS", "RootCovariance", "inverse_root"]

IntArray = npt.NDArray[np.intp]
Elements = Callable[[IntArray, IntArray], "FloatArray"]

#: Largest group of values whose covariance is taken as it is.
EXACT = 512
#: Values that one of a larger group is compared with.
NEIGHBOURS = 24
#: Largest number of values of one time that are compared with all of the time before; and of those of several times
#: before, if there are more than one.
LAYER, BEFORE = 256, 256
# Variance given all other values, as a share of the variance, below which single precision is lost.
_LEAST = 1e-7
# Elements of covariances that are computed at a time.
_BATCH = 4_000_000


class RootCovariance(Covariance):
    r"""Covariance of which the inverse is :math:`A^\top A`.

    Parameters
    ----------
    root
        The matrix :math:`A`, sparse, shape ``(n, n)``.
    device
        Where what it is multiplied with lies.
    inverted
        Whether :math:`A^\top A` is meant itself.

    Examples
    --------
    >>> covariance = RootCovariance(sp.csr_array([[1.0, 0.0], [0.0, 0.5]]), torch.device("cpu"))
    >>> covariance(torch.ones(1, 2)), covariance.inv(torch.ones(1, 2))
    (tensor([[1., 4.]]), tensor([[1.0000, 0.2500]]))
    """

    def __init__(self, root: sp.csr_array, device: torch.device, *, inverted: bool = False) -> None:
        self.root, self.device, self.inverted = root, device, inverted

    @cached_property
    def _product(self) -> SparseMatrix:
        return SparseMatrix(self.root, self.device)

    @property
    def shape(self) -> Sequence[int]:
        """Shape of what it multiplies."""
        return self.root.shape[-1:]

    def __matmul__(self, x: Tensor) -> Tensor:
        if self.inverted:
            return self._product.adjoint(self._product(x.reshape(-1, x.shape[-1]))).reshape(x.shape)
        # Guidance multiplies with the inverse alone; this is for those who look at the covariance.
        return _solved(self.root, _solved(sp.csr_array(self.root.T), x))

    def __add__(self, other: Covariance) -> Covariance:
        return NotImplemented

    def __mul__(self, other: Covariance) -> RootCovariance:
        if isinstance(other, IsotropicCovariance):
            factor = float(torch.as_tensor(other.lmbda)) ** (0.5 if self.inverted else -0.5)
            return RootCovariance(factor * self.root, self.device, inverted=self.inverted)
        return NotImplemented

    def color(self, x: Tensor) -> Tensor:
        """Multiply by a square root."""
        if self.inverted:
            return self._product.adjoint(x.reshape(-1, x.shape[-1])).reshape(x.shape)
        return _solved(self.root, x)

    @property
    def inv(self) -> RootCovariance:
        """Inverse."""
        return RootCovariance(self.root, self.device, inverted=not self.inverted)

    def logdet(self) -> Tensor:
        """Logarithm of the determinant."""
        half = torch.as_tensor(np.log(np.abs(spla.splu(sp.csc_array(self.root)).U.diagonal())).sum())
        return (2 if self.inverted else -2) * half


def _solved(matrix: sp.csr_array, x: Tensor) -> Tensor:
    """Solve for the rows of a batch."""
    columns = x.reshape(-1, x.shape[-1]).double().cpu().numpy().T
    solution = spla.spsolve(sp.csc_array(matrix), columns).reshape(columns.shape)
    return torch.from_numpy(solution.T.copy()).to(x).reshape(x.shape)


def inverse_root(
    covariance: Elements,
    variance: FloatArray,
    group: IntArray,
    places: FloatArray,
    what: str = "The error covariance",
    *,
    layer: IntArray | None = None,
) -> sp.csr_array:
    """Return a sparse root of the inverse of a covariance.

    Parameters
    ----------
    covariance
        Gives the covariance of values `i` and `j`, arrays that broadcast against each other, within a group.
    variance
        Variances of the values, shape ``(n,)``.
    group
        Group of each value, shape ``(n,)``; those of different groups are independent.
    places
        Where the values are, shape ``(n, d)``: those that lie close have much in common.
    what
        What the covariance is of, for messages.
    layer
        Time of each value, whole numbers in ascending order of time, shape ``(n,)``, where values are independent of
        all before given those of the time before; None where they are not.

    Returns
    -------
    scipy.sparse.csr_array
        Shape ``(n, n)``, in double precision. Exact within groups of at most `EXACT` values, and of layers of at most
        `LAYER` values as far as the time before tells all.

    Raises
    ------
    OptionError
        If the covariance is singular.

    Examples
    --------
    >>> exact = np.array([[1.0, 0.6], [0.6, 1.0]])
    >>> A = inverse_root(lambda i, j: exact[i, j], np.ones(2), np.zeros(2, int), np.zeros((2, 1)))
    >>> np.allclose((A.T @ A).toarray() @ exact, np.eye(2))
    True
    """
    rows: list[IntArray] = []
    columns: list[IntArray] = []
    values: list[FloatArray] = []
    # Sorted by where they are, so that the root is the same in whatever order values are given.
    times = () if layer is None else (layer,)
    order = np.lexsort((*places.T[::-1], *times, group))
    _, count = np.unique(group, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.intp)
    for size in np.unique(count):
        of = order[starts[count == size][:, None] + np.arange(size)]  # (groups, size)
        if size == 1:
            parts: Iterator[tuple[IntArray, IntArray, FloatArray]] = iter(
                [(of[:, 0], of[:, 0], variance[of[:, 0]] ** -0.5)]
            )
        elif size <= EXACT:
            parts = _whole(covariance, variance, of, what)
        else:
            parts = (part for one in of for part in _large(covariance, variance, one, places, layer, what))
        for i, j, v in parts:
            rows.append(i)
            columns.append(j)
            values.append(v)
    n = group.size
    if not rows:
        return sp.csr_array((n, n))
    index = np.concatenate(rows), np.concatenate(columns)
    root = sp.csr_array((np.concatenate(values), index), shape=(n, n))
    root.sort_indices()
    return root


def _whole(
    covariance: Elements, variance: FloatArray, of: IntArray, what: str
) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """Inverse Cholesky factors of groups of one size, given their values ``(groups, size)``."""
    size = of.shape[1]
    lower = np.tril_indices(size)
    for some in np.array_split(of, max(of.size * size // _BATCH, 1)):
        factor = np.linalg.inv(_cholesky(_matrices(covariance, variance, some), what))
        row, column = some[:, lower[0]], some[:, lower[1]]
        yield row.ravel(), column.ravel(), factor[:, lower[0], lower[1]].ravel()


def _large(
    covariance: Elements, variance: FloatArray, of: IntArray, places: FloatArray, layer: IntArray | None, what: str
) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """Rows of one large group."""
    if layer is not None:
        of = of[np.argsort(layer[of], kind="stable")]
        parts = np.split(of, np.flatnonzero(np.diff(layer[of])) + 1)
        if max(map(len, parts)) <= LAYER:
            return _layers(covariance, variance, parts, what)
    return _nearest(covariance, variance, of, places, what)


def _layers(
    covariance: Elements, variance: FloatArray, parts: Sequence[IntArray], what: str
) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """Rows of values of successive times, each given those of the times before and those before it of its own."""
    first = 0
    for number, own in enumerate(parts):
        while first < number - 1 and sum(map(len, parts[first:number])) > BEFORE:
            first += 1
        both = np.concatenate([*parts[first:number], own])
        factor = np.linalg.inv(_cholesky(_matrices(covariance, variance, both[None]), what))[0]
        row, column = np.tril_indices(both.size)
        new = row >= both.size - own.size
        row, column = row[new], column[new]
        yield both[row], both[column], factor[row, column]


def _nearest(
    covariance: Elements, variance: FloatArray, of: IntArray, places: FloatArray, what: str
) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """Rows of one large group: each of its values and the nearest ones before it."""
    # In an order without system, those before a value lie near and far. The same values have the same order always.
    of = of[np.random.default_rng(0).permutation(of.size)]
    yield from _whole(covariance, variance, of[None, :NEIGHBOURS], what)
    first = NEIGHBOURS
    while first < of.size:
        last = min(2 * first, of.size)
        at = places[of[:last]]
        # At least half of those before `last` come before any of these.
        near = cKDTree(at).query(at[first:], k=min(3 * NEIGHBOURS, last), workers=1)[1]
        before = near < np.arange(first, last)[:, None]
        for some in np.array_split(np.arange(last - first), max((last - first) * NEIGHBOURS**2 // _BATCH, 1)):
            yield from _rows(covariance, variance, of, first + some, _first_true(near[some], before[some]), what)
        first = last


def _first_true(near: IntArray, before: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Nearest ones that come before, ``(rows, NEIGHBOURS)``, and how many of them there are in each row."""
    rank = np.argsort(~before, axis=1, kind="stable")[:, :NEIGHBOURS]
    return np.take_along_axis(near, rank, axis=1), np.minimum(before.sum(axis=1), NEIGHBOURS)


def _rows(
    covariance: Elements,
    variance: FloatArray,
    of: IntArray,
    position: IntArray,
    nearest: tuple[IntArray, IntArray],
    what: str,
) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """Rows of values given others of their group, by the number of these."""
    for count in np.unique(nearest[1]):
        chosen = nearest[1] == count
        row, others = of[position[chosen]], of[nearest[0][chosen][:, :count]]
        factor = _cholesky(_matrices(covariance, variance, np.concatenate([others, row[:, None]], axis=1)), what)
        # The last row of the inverse of a Cholesky factor.
        last = np.zeros((len(row), count + 1, 1))
        last[:, -1] = 1.0
        value = np.linalg.solve(np.swapaxes(factor, 1, 2), last)[..., 0]
        column = np.concatenate([others, row[:, None]], axis=1)
        yield np.repeat(row, count + 1), column.ravel(), value.ravel()


def _matrices(covariance: Elements, variance: FloatArray, of: IntArray) -> FloatArray:
    """Covariance matrices of sets of values ``(sets, size)``."""
    matrix = covariance(of[:, :, None], of[:, None, :])
    size = np.arange(of.shape[1])
    matrix[:, size, size] = variance[of]
    return matrix


def _cholesky(matrices: FloatArray, what: str) -> FloatArray:
    """Cholesky factors; raise where a matrix is singular."""
    own = np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    try:
        factor = np.linalg.cholesky(matrices / (own[:, :, None] * own[:, None, :]))
    except np.linalg.LinAlgError:
        factor = np.zeros((1, 1, 1))
    if not np.diagonal(factor, axis1=1, axis2=2).min(initial=1.0) ** 2 > _LEAST:
        msg = (
            f"{what} is singular: some of its values follow from others, or it is no covariance at all. Let a share of "
            "the variance be independent, independent=0.01, leave repeated values out, or shorten its lengths."
        )
        raise OptionError(msg)
    return np.asarray(own[:, :, None] * factor)

"""Products of sparse weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

__all__ = ["row_kron"]


def row_kron(
    a: sp.csr_array,
    b: sp.csr_array,
    rows_a: npt.NDArray[np.intp] | None = None,
    rows_b: npt.NDArray[np.intp] | None = None,
) -> sp.csr_array:
    """Kronecker product row by row: row n of the result is ``kron(a[rows_a[n]], b[rows_b[n]])``.

    Parameters
    ----------
    a, b
        Matrices of shapes (m, p) and (k, q).
    rows_a, rows_b
        Rows to combine, shape (n,) each; by default all rows in order.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (n, p * q).

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> row_kron(sp.csr_array([[1.0, 2.0]]), sp.csr_array([[0.0, 3.0]])).toarray()
    array([[0., 3., 0., 6.]])
    """
    rows_a = np.arange(a.shape[0]) if rows_a is None else rows_a
    rows_b = np.arange(b.shape[0]) if rows_b is None else rows_b
    na, nb = np.diff(a.indptr)[rows_a].astype(np.int64), np.diff(b.indptr)[rows_b].astype(np.int64)
    counts = na * nb
    indptr = np.concatenate([[0], np.cumsum(counts)])
    width = a.shape[1] * b.shape[1]
    integer = np.int32 if max(width, indptr[-1]) < 2**31 else np.int64
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts)
    if (na <= 1).all():
        ia, ib = np.repeat(a.indptr[rows_a], counts), np.repeat(b.indptr[rows_b], counts) + within
    else:
        each = np.repeat(nb, counts)
        ia = np.repeat(a.indptr[rows_a], counts) + within // each
        ib = np.repeat(b.indptr[rows_b], counts) + within % each
    indices = a.indices[ia].astype(integer) * integer(b.shape[1]) + b.indices[ib]
    return sp.csr_array((a.data[ia] * b.data[ib], indices, indptr.astype(integer)), shape=(len(counts), width))

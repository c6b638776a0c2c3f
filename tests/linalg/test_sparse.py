"""Sparse products: those of dense algebra, each row of a batch for itself, with the right derivatives."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from xslams.linalg.sparse import SparseMatrix


@given(rows=st.integers(1, 20), columns=st.integers(1, 20), batch=st.integers(1, 4), seed=st.integers(0, 99))
def test_products_are_those_of_the_dense_matrix(rows: int, columns: int, batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((rows, columns)) < 0.3, rng.normal(size=(rows, columns)), 0.0).astype(np.float32)
    matrix = SparseMatrix(sp.csr_array(dense), torch.device("cpu"))
    x, w = (torch.as_tensor(rng.normal(size=(batch, n)), dtype=torch.float32) for n in (columns, rows))
    torch.testing.assert_close(matrix(x), x @ torch.as_tensor(dense).T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(matrix.adjoint(w), w @ torch.as_tensor(dense), rtol=1e-4, atol=1e-5)
    # No row depends on which others are multiplied with it.
    assert torch.equal(matrix(x)[:1], matrix(x[:1]))
    for product, at, against in ((matrix, x, w), (matrix.adjoint, w, x)):
        leaf = at.clone().requires_grad_()
        (product(leaf) * against).sum().backward()
        other = matrix.adjoint if product is matrix else matrix
        torch.testing.assert_close(leaf.grad, other(against), rtol=1e-5, atol=1e-6)

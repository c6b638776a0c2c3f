"""Block-tridiagonal matrices against dense ones."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.problems.chains import blocks_of, chain
from xslams.linalg.block_tridiagonal import BlockTridiagonal, Diagonal


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 6), n=st.sampled_from([1, 2, 3, 4, 9]), seed=st.integers(0, 1000))
def test_products_are_those_of_the_dense_matrix(length: int, n: int, seed: int) -> None:
    matrix = chain(length, n, seed)
    diagonal, below = blocks_of(matrix, n)
    v = torch.randn(2, length, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    blocks = BlockTridiagonal(diagonal[None].expand(2, -1, -1, -1), below[None].expand(2, -1, -1, -1))
    inverse = blocks.factored()
    assert torch.allclose(inverse.solve(v).flatten(1), torch.linalg.solve(matrix, v.flatten(1).T).T, atol=1e-10)
    assert torch.allclose(inverse.log_determinant(), torch.logdet(matrix), atol=1e-10)
    dense = torch.einsum("bi,ij,bj->b", v.flatten(1), matrix, v.flatten(1))
    assert torch.allclose(blocks.quadratic(v[:, None])[:, 0], dense, atol=1e-10)
    root = BlockTridiagonal.of_root(*(part[None] for part in blocks_of(torch.linalg.cholesky(matrix), n)))
    assert torch.allclose(root.diagonal[0], diagonal, atol=1e-10)
    assert torch.allclose(root.below[0], below, atol=1e-10)


def test_a_diagonal_is_divided_by() -> None:
    v = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Diagonal(2 * torch.ones(2, 3, 4)).solve(v), v / 2)

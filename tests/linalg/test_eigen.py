"""Eigenvalues of matrices that are allowed to be degenerate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.linalg import eigen
from xslams.linalg.eigen import eigh


@given(st.integers(1, 40), st.integers(0, 40), st.booleans(), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_any_rank_is_decomposed(size: int, rank: int, is_complex: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.complex64 if is_complex else torch.float32
    x = torch.randn(size, min(rank, size), generator=generator, dtype=dtype)
    matrix = x @ x.mH
    values, vectors = eigh(matrix)
    assert bool((values.diff() >= -1e-4).all())
    torch.testing.assert_close((vectors * values) @ vectors.mH, matrix, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("failures", [1, 2])
@pytest.mark.parametrize("silent", [True, False])
def test_a_failure_of_the_library_is_made_good(monkeypatch: pytest.MonkeyPatch, failures: int, silent: bool) -> None:
    library, left = torch.linalg.eigh, [failures]

    def failing(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if left[0]:
            left[0] -= 1
            if silent:
                return torch.full(matrix.shape[:-1], torch.nan), torch.full_like(matrix, torch.nan)
            msg = "failed to converge"
            raise eigen.LinAlgError(msg)
        values, vectors = library(matrix)
        return values, vectors

    monkeypatch.setattr(torch.linalg, "eigh", failing)
    matrix = torch.diag(torch.tensor([0.0, 3.0, 0.0, 0.0]))
    values, vectors = eigh(matrix)
    assert values.dtype == torch.float32
    torch.testing.assert_close((vectors * values) @ vectors.mT, matrix, atol=1e-6, rtol=0)

"""Products of weights."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from xslams.weights import row_kron


@given(seed=st.integers(0, 999))
def test_row_kron(seed):
    rng = np.random.default_rng(seed)
    a, b = (sp.csr_array(rng.normal(size=s) * (rng.random(s) < 0.4)) for s in ((4, 3), (5, 6)))
    i, j = rng.integers(0, 4, 7), rng.integers(0, 5, 7)
    expected = [np.kron(a.toarray()[p], b.toarray()[q]) for p, q in zip(i, j, strict=True)]
    np.testing.assert_array_equal(row_kron(a, b, i, j).toarray(), expected)

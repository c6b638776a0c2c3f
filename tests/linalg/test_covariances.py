"""Error covariances against dense matrices."""

from __future__ import annotations

import torch
from azula.linalg.covariance import DiagonalCovariance, FullCovariance, IsotropicCovariance
from hypothesis import example, given
from hypothesis import strategies as st

from xslams.linalg.covariances import BlockCovariance, GroupCovariance


def covariance(n: int, groups: int, seed: int, batch: int | None = None) -> tuple[GroupCovariance, torch.Tensor]:
    """A covariance, and the same as dense matrices ``(B, n, n)``."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    shape = (n,) if batch is None else (batch, n)
    D, u = 0.5 + draw(*shape), 3 * draw(n)
    group = torch.randint(0, groups, (n,), generator=generator)
    dense = torch.diag_embed(D) + torch.where(group[:, None] == group, u[:, None] * u, 0.0)
    return GroupCovariance(D, u, group), dense


@given(n=st.integers(1, 12), groups=st.integers(1, 5), seed=st.integers(0, 99), batch=st.sampled_from([None, 3]))
@example(n=8, groups=1, seed=0, batch=None)
def test_groups_make_the_covariance_that_they_say(n, groups, seed, batch):
    cov, dense = covariance(n, groups, seed, batch)
    x = torch.randn((3, n), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    product = torch.einsum("...ij,...j->...i", dense, x)
    # Half of the digits, where large terms cancel.
    rounding = 1e-6 * (1 + float(product.abs().max()))
    torch.testing.assert_close(cov(x), product, rtol=1e-7, atol=rounding)
    # Biases that are a thousand times the errors cost half of the digits.
    torch.testing.assert_close(cov.inv(cov(x)), x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cov.inv.inv(x), cov(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cov.logdet(), torch.logdet(dense))
    torch.testing.assert_close((cov + IsotropicCovariance(2.0))(x), product + 2 * x, rtol=1e-7, atol=rounding)
    torch.testing.assert_close((cov * IsotropicCovariance(2.0))(x), 2 * product, rtol=1e-7, atol=2 * rounding)
    # A times its transpose is C.
    if batch is None:
        root = cov.color(torch.eye(n, dtype=torch.float64)).T
        torch.testing.assert_close(root @ root.T, dense)


def test_errors_are_those_of_each_source() -> None:
    mix, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    variances = torch.tensor([0.5, 1.0, 2.0])
    last = torch.tensor([9.0, 16.0])
    blocks = [IsotropicCovariance(4.0), FullCovariance(mix, variances), DiagonalCovariance(last)]
    covariance = BlockCovariance(blocks, [2, 3, 2])
    dense = torch.block_diag(4 * torch.eye(2), mix @ torch.diag(variances) @ mix.T, torch.diag(last))
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(covariance(x), x @ dense)
    torch.testing.assert_close(covariance.inv(x), x @ torch.linalg.inv(dense))
    # A root is any matrix whose square is the covariance.
    root = covariance.color(torch.eye(7))
    torch.testing.assert_close(root.T @ root, dense)
    assert covariance.shape == (7,)
    unit = IsotropicCovariance(torch.tensor(2.0))
    torch.testing.assert_close((covariance + unit)(x), x @ (dense + 2 * torch.eye(7)))
    torch.testing.assert_close((covariance * unit)(x), 2 * x @ dense)
    full = BlockCovariance(blocks[1:], [3, 2])
    torch.testing.assert_close(full.logdet(), torch.logdet(dense[2:, 2:]))

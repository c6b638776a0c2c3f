"""Blocks of latent frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from xslams.priors.blocks import Blocks
from xslams.priors.estimation import Sample
from xslams.priors.gaussian import StationaryGaussian


@given(
    channels=st.integers(1, 2), lat=st.integers(1, 3), lon=st.integers(1, 5), cut=st.integers(1, 3),
    periodic=st.booleans(),
)  # fmt: skip
def test_blocks_are_those_of_the_cells_of_patches(
    channels: int, lat: int, lon: int, cut: int, *, periodic: bool
) -> None:
    patches = Blocks((channels * cut**2, lat, lon), periodic, cut)
    cells = Blocks((channels, lat * cut, lon * cut), periodic)
    assert (patches.count, patches.size, patches.cells) == (cells.count, cells.size, cells.shape)
    z = torch.randn(2, 3, *patches.shape, generator=torch.Generator().manual_seed(0))
    f = patches.split(z)
    assert f.shape == (patches.count, 2, 3, patches.size)
    torch.testing.assert_close(f, cells.split(F.pixel_shuffle(z, cut)))
    torch.testing.assert_close(patches.join(f), z)
    assert [patches.is_real(m) for m in range(patches.count)] == [cells.is_real(m) for m in range(cells.count)]


def fitted(runs: list[torch.Tensor], cut: int) -> StationaryGaussian:
    """Prior with a few modes, of which two are coupled."""
    _, *shape = runs[0].shape
    prior = StationaryGaussian((shape[0], shape[1], shape[2]), periodic=True, modes=5, lags=2, coupled=2, cut=cut)
    prior.fit(runs, folds=2)
    return prior


def test_a_prior_of_the_values_of_patches_is_that_of_the_fields() -> None:
    generator = torch.Generator().manual_seed(2)
    u = torch.randn(60, 2, 4, 12, generator=generator)
    u = u + 0.8 * u.roll(1, -1) + 0.5 * u.roll(1, 0)
    fields, patches = fitted([u], 1), fitted([F.pixel_unshuffle(u, 2)], 2)
    v = torch.randn(3, 4, 2, 4, 12, generator=generator)
    z = F.pixel_unshuffle(v, 2)
    one = torch.tensor(1.0)
    for alpha, sigma in ((one, 0.3 * one), (0.5 * one, 2 * one)):
        for name in ("mean", "covariance"):
            found = getattr(patches.trajectory(4), name)(z, alpha, sigma)
            wanted = getattr(fields.trajectory(4), name)(v, alpha, sigma)
            torch.testing.assert_close(F.pixel_shuffle(found, 2), wanted, rtol=1e-3, atol=1e-3)
        variance = patches.trajectory(4).mean_variance(alpha, sigma)
        torch.testing.assert_close(variance, fields.trajectory(4).mean_variance(alpha, sigma))
    wider = patches.like(2 * patches.variances(), 0.5 * torch.ones_like(patches.variances()))
    torch.testing.assert_close(wider.variances(), 2 * patches.variances())


def test_only_whole_patches_may_be_shifted_where_their_cells_are_not_known() -> None:
    generator = torch.Generator().manual_seed(3)
    u = torch.randn(60, 2, 4, 12, generator=generator)
    v, one = torch.randn(3, 1, 2, 4, 12, generator=generator), torch.tensor(1.0)

    def apart(cut: int, shift: int) -> float:
        """By how much the estimate of shifted fields is not the shifted estimate."""
        gaussian = fitted([F.pixel_unshuffle(u, 2)], cut).trajectory(1)
        found, own = (
            F.pixel_shuffle(gaussian.mean(F.pixel_unshuffle(x, 2), one, one), 2) for x in (v.roll(shift, -1), v)
        )
        return float((found - own.roll(shift, -1)).abs().max())

    assert apart(2, 1) < 1e-3
    assert apart(1, 2) < 1e-3
    assert apart(1, 1) > 0.05


def test_correlations_in_time_are_those_of_the_modes() -> None:
    generator = torch.Generator().manual_seed(5)
    runs = [torch.randn(80, 2, 2, 8, generator=generator).cumsum(0) * 0.1 for _ in range(2)]
    layout = Blocks((2, 2, 8), periodic=True)
    held_out, own = Sample(layout, runs, folds=4), Sample(layout, runs)
    for m in range(layout.count):
        (a, power, _), (b, variance, _) = (s.autocovariances(m, 3, 2) for s in (held_out, own))
        torch.testing.assert_close(a / power, b / variance, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(a[0].real, power, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(power, variance, rtol=1e-2)

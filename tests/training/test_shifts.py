"""Latent frames of fields that are shifted by less than a patch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.networks.autoencoder import Autoencoder
from xslams.networks.layers import Periodic
from xslams.priors.blocks import Blocks
from xslams.priors.estimation import Sample
from xslams.priors.gaussian import StationaryGaussian
from xslams.training.shifts import count_shifts, shifted


def trained(shape: tuple[int, int, int], channels: int, patch: int, periodic: Periodic = True) -> Autoencoder:
    """Autoencoder of fields whose latents are their values."""
    autoencoder = Autoencoder(shape, channels, patch, periodic=periodic, hidden=0)
    if not autoencoder.identity:
        u = torch.randn(20, *shape, generator=torch.Generator().manual_seed(0))
        autoencoder.start_from_patches(u, torch.ones(shape[0]))
    return autoencoder


@given(patch=st.integers(1, 4), channels=st.integers(1, 2), cells=st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_shifts_are_those_within_a_patch(patch: int, channels: int, cells: int) -> None:
    shape = channels, 2 * patch, cells * patch
    u = torch.randn(30, *shape, generator=torch.Generator().manual_seed(1))
    autoencoder = trained(shape, channels * patch**2, patch)
    found = list(shifted(autoencoder, [autoencoder.encode(u)]))
    assert len(found) == count_shifts(autoencoder) == patch - 1
    for shift, (z,) in enumerate(found, start=1):
        # Scaled and mixed on their own: of unit variance, and with a covariance that only the fields have to do with.
        torch.testing.assert_close(z.square().mean(0), torch.ones_like(z[0]), rtol=0, atol=0.3)
        own = trained(shape, channels * patch**2, patch)
        own.whiten([u.roll(shift, -1)])
        torch.testing.assert_close(z, own.encode(u.roll(shift, -1)), rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("shape", "channels", "patch", "periodic"),
    [((2, 4, 8), 2, 1, True), ((2, 4, 8), 7, 2, True), ((2, 4, 8), 8, 2, False), ((2, 4, 7), 8, 2, True)],
)
def test_no_shift_that_loses_something_counts(
    shape: tuple[int, int, int], channels: int, patch: int, periodic: Periodic
) -> None:
    autoencoder = trained(shape, channels, patch, periodic)
    assert count_shifts(autoencoder) == 0
    assert not list(shifted(autoencoder, [torch.randn(5, *autoencoder.latent_shape)]))


def test_a_prior_of_patches_does_not_care_where_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Autoencoder, "whiten", lambda *_: None)
    u = torch.randn(60, 2, 4, 12, generator=torch.Generator().manual_seed(2))
    u = u + 0.8 * u.roll(1, -1)
    autoencoder = trained((2, 4, 12), 8, 2)
    latents = [autoencoder.encode(u)]

    def field_of(others: list[list[torch.Tensor]], v: torch.Tensor) -> torch.Tensor:
        """Covariance of the fields that the prior decodes to, times a field."""
        prior = StationaryGaussian(autoencoder.latent_shape, periodic=True, modes=10**6, lags=1)
        prior.estimate(Sample(prior.layout, latents, others=others))
        z = prior.trajectory(1).apply(lambda d: d, autoencoder.decoder().adjoint(v))
        return autoencoder.decode(z).detach()

    v = torch.randn(3, 1, 2, 4, 12, generator=torch.Generator().manual_seed(3))
    every = list(shifted(autoencoder, latents))
    torch.testing.assert_close(field_of(every, v.roll(1, -1)), field_of(every, v).roll(1, -1), rtol=0, atol=1e-3)
    assert float((field_of([], v.roll(1, -1)) - field_of([], v).roll(1, -1)).abs().max()) > 0.1


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4), folds=st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_frames_of_the_same_time_are_left_out_together(lengths: list[int], folds: int) -> None:
    generator = torch.Generator().manual_seed(4)
    # Enough frames for every part.
    runs = [torch.randn(n + 5, 2, 2, 4, generator=generator) for n in [*lengths, 40]]
    layout = Blocks((2, 2, 4), periodic=True)
    once, twice = Sample(layout, runs, folds=folds), Sample(layout, runs, folds=folds, others=[runs])
    for m in range(layout.count):
        for a, b in zip(once.autocovariances(m, 3, 2), twice.autocovariances(m, 3, 2), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


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

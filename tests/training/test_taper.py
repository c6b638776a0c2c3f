"""Localisation of covariances: by the distance of cells, on closed latitude circles by that of latitudes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.localization import gaspari_cohn
from xslams.priors.blocks import Blocks
from xslams.priors.estimation import Sample
from xslams.priors.gaussian import StationaryGaussian
from xslams.spec import Spec, VariableSpec
from xslams.training.taper import taper_of

EARTH = 6371.0


def spec_of(lat: int, lon: int, *, periodic: bool) -> Spec:
    east = 360.0 / lon if periodic else 5.0
    return Spec(
        (VariableSpec("t", "K"),), lat=tuple(np.linspace(-60, 60, lat)), lon=tuple(east * np.arange(lon)),
        periodic=periodic, time_step=24.0,
    )  # fmt: skip


@settings(max_examples=30)
@given(
    lat=st.integers(2, 6), lon=st.integers(4, 8), channels=st.integers(1, 3), periodic=st.booleans(),
    length=st.floats(500, 6000),
)  # fmt: skip
def test_a_taper_is_a_correlation_that_vanishes_where_it_is_said_to(lat, lon, channels, periodic, length):
    layout, spec = Blocks((channels, lat, lon), periodic), spec_of(lat, lon, periodic=periodic)
    taper = taper_of(layout, 1, spec, length).double()
    assert taper.shape == (layout.size, layout.size)
    torch.testing.assert_close(taper.diagonal(), torch.ones(layout.size, dtype=torch.float64))
    if periodic:
        apart = EARTH * np.abs(np.deg2rad(np.subtract.outer(spec.lat, spec.lat)))
        expected = gaspari_cohn(torch.as_tensor(apart / length), 1.0).repeat(channels, channels)
        torch.testing.assert_close(taper, expected.double(), rtol=0, atol=1e-5)
    # Along great circles it is a correlation for lengths that are small next to the Earth.
    assert float(torch.linalg.eigvalsh(taper)[0]) > -1e-4 * layout.size


@pytest.mark.parametrize("cut", [1, 2])
def test_covariances_of_waves_are_those_of_the_sample_times_the_taper(cut):
    spec, generator = spec_of(4, 8, periodic=True), torch.Generator().manual_seed(0)
    shape = (2 * cut**2, 4 // cut, 8 // cut)
    frames = torch.randn(60, *shape, generator=generator)
    gaussian = StationaryGaussian(shape, periodic=True, modes=8, lags=0, cut=cut)
    taper = taper_of(gaussian.layout, cut, spec, 3000.0)
    gaussian.estimate(Sample(gaussian.layout, [frames], taper=taper))
    x = torch.eye(frames[0].numel()).reshape(-1, 1, *shape)
    found = gaussian.trajectory(1).apply(lambda d: d, x)
    blocks = gaussian.to_blocks(frames[None])[:, 0]
    cov = blocks.mT @ blocks.conj() / 60
    for m in (0, 4):
        cov[m] = cov[m].real.to(cov.dtype)
    rows = gaussian.to_blocks(x)
    exact = gaussian.from_blocks((rows[..., None, :] @ (cov * taper).mT[:, None, None])[..., 0, :])
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize("folds", [0, 3])
def test_what_is_localised_keeps_its_variance(folds):
    spec, generator = spec_of(4, 8, periodic=True), torch.Generator().manual_seed(1)
    frames = torch.randn(90, 1, 4, 8, generator=generator)
    layout = Blocks((1, 4, 8), periodic=True)
    sample = Sample(layout, [frames], folds=folds, taper=taper_of(layout, 1, spec, 4000.0))
    gaussian = StationaryGaussian((1, 4, 8), periodic=True, modes=4, lags=1)
    gaussian.estimate(sample)
    x = torch.eye(32).reshape(-1, 1, 1, 4, 8)
    variance = (x * gaussian.trajectory(1).apply(lambda d: d, x)).sum()
    assert float(variance) == pytest.approx(float(frames.square().mean(0).sum()), rel=0.02)

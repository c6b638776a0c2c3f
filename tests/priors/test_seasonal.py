"""Covariances that vary with the season."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.model import Model
from xslams.options import TrainingOptions
from xslams.priors.blocks import Blocks
from xslams.priors.seasonal import SeasonalMixing
from xslams.spec import Spec, VariableSpec
from xslams.training import fit_arrays

DAYS = 730


def sample(shape: tuple[int, int, int], seed: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Frames that vary three times as much in January as in July, along one pattern that depends on the season."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn((DAYS, *shape), generator=rng)
    season = torch.arange(DAYS) / 365.25 % 1
    winter = torch.cos(2 * math.pi * season)[:, None, None]
    # Neighbours in latitude have something in common in winter, and the opposite in summer.
    z[:, 0] += 0.7 * winter * z[:, 0].flip(1)
    return [z[:300], z[300:]], [season[:300], season[300:]]


def fitted(shape: tuple[int, int, int], *, periodic: bool, modes: int, seasonality: float = 0.8) -> SeasonalMixing:
    mixing = SeasonalMixing(Blocks(shape, periodic), modes)
    mixing.fit(*sample(shape), seasonality=seasonality)
    return mixing


@given(
    lon=st.integers(2, 5),
    periodic=st.booleans(),
    modes=st.integers(1, 12),
    start=st.floats(0, 1, exclude_max=True),
    apart=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_adjoint_and_inverse_are_those_of_the_map(
    lon: int, periodic: bool, modes: int, start: float, apart: bool
) -> None:
    shape = (2, 2, lon)
    season = (start + torch.arange(5) * 0.1) % 1
    mixing = fitted(shape, periodic=periodic, modes=modes).at(
        torch.stack([season, season.flip(0)]) if apart else season
    )
    w, z = torch.randn(2, 2, 5, *shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((mixing(w) * z).sum(), (w * mixing.adjoint(z)).sum(), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(mixing.inverse(mixing(w)), w, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("periodic", [False, True])
def test_covariances_of_the_seasons_are_found(periodic: bool) -> None:
    shape = (1, 2, 4)
    mixing = fitted(shape, periodic=periodic, modes=8, seasonality=1.0)
    (z, more), (season, others) = sample(shape, seed=1)
    w = torch.cat([mixing.at(s).inverse(a[None])[0] for a, s in ((z, season), (more, others))])
    when = torch.cat([season, others])
    for centre, known in ((0.0, 1.4), (0.5, -1.4)):
        near = ((when - centre + 0.5) % 1 - 0.5).abs() < 0.1
        before, after = (a[near, 0, 0] * a[near, 0, 1] for a in (torch.cat([z, more]), w))
        assert float(before.mean()) == pytest.approx(known, abs=0.3)
        # The process is much the same all the year: days around a season are like it, but not quite.
        assert abs(float(after.mean())) < 0.7


def test_without_weight_nothing_changes() -> None:
    mixing = fitted((1, 2, 4), periodic=True, modes=3, seasonality=0.0).at(torch.rand(5))
    w = torch.randn(2, 5, 1, 2, 4)
    torch.testing.assert_close(mixing(w), w)


def test_degenerate_fields_do_no_harm() -> None:
    mixing = SeasonalMixing(Blocks((1, 2, 4), periodic=False), 8)
    runs, seasons = sample((1, 2, 4))
    for run in runs:
        run[..., 1:] = run[..., :1]
        run[:, :, 1] = 0
    mixing.fit(runs, seasons, seasonality=0.9)
    z = torch.randn(1, 5, 1, 2, 4)
    found = mixing.at(torch.rand(5)).inverse(z)
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("periodic", [False, True])
def test_a_model_with_seasons_is_stored_and_maps_there_and_back(periodic: bool, tmp_path: object) -> None:
    lon = tuple(np.arange(4) * (90.0 if periodic else 2.5))
    spec = Spec(variables=(VariableSpec("t", "K"),), lat=(40.0, 45.0), lon=lon, periodic=periodic, window=3)
    runs, seasons = sample((1, 2, 4))
    data = [(r.numpy(), s.numpy()) for r, s in zip(runs, seasons, strict=True)]
    model = fit_arrays(spec, data, TrainingOptions(seasonal=4, coupled=2), progress=False, device="cpu")
    path = f"{tmp_path}/model.safetensors"
    model.save(path)
    prior, again = model.prior(), Model.load(path).prior()
    season, z = seasons[0][:6], torch.randn(2, 6, 1, 2, 4)
    x = prior.decode(z, season)
    torch.testing.assert_close(again.decode(z, season), x, rtol=0, atol=0)
    torch.testing.assert_close(prior.encode(x, season), z, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(prior.encode(x[0], season), z[0], rtol=1e-3, atol=1e-3)
    value, (forward, adjoint) = prior.fields(season).tangent(z)
    torch.testing.assert_close(value, x)
    torch.testing.assert_close(forward(z), x - prior.decode(torch.zeros_like(z), season), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((forward(z) * x).sum(), (z * adjoint(x)).sum(), rtol=1e-4, atol=1e-2)


def test_part_of_a_year_has_one_covariance() -> None:
    spec = Spec(
        variables=(VariableSpec("t", "K"),), lat=(40.0, 45.0), lon=(0.0, 2.5, 5.0, 7.5), periodic=False, window=3
    )
    runs, seasons = sample((1, 2, 4))
    with pytest.warns(match="seasonal=0"):
        model = fit_arrays(
            spec, [(runs[0][:80].numpy(), seasons[0][:80].numpy())], TrainingOptions(seasonal=4), progress=False
        )
    assert model.prior().seasonal is None

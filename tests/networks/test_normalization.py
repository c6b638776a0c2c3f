"""Normalisation: its inverse, its slopes, and what it makes of missing values and of deserts."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from xslams.networks.normalization import Normalization
from xslams.spec import Spec, VariableSpec

SPEC = Spec(
    variables=(
        VariableSpec("t", "K", levels=(0.9, 0.5), level_dim="sigma"),
        VariableSpec("pr", "mm day-1", role="aux", transform="sqrt", scale=2.0),
    ),
    lat=tuple(np.linspace(-70, 70, 8)),
    lon=tuple(np.arange(16) * 22.5),
    periodic=True,
)


def fields(days: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Seasonal temperature and skewed precipitation."""
    rng = np.random.default_rng(seed)
    season = (np.arange(days) % 365) / 365.25
    t = 270 + 15 * np.cos(2 * np.pi * season)[:, None, None, None] + 3 * rng.standard_normal((days, 2, 8, 16))
    pr = 5 * rng.standard_normal((days, 1, 8, 16)).clip(0) ** 2
    return torch.as_tensor(np.concatenate([t, pr], 1), dtype=torch.float32), torch.as_tensor(
        season, dtype=torch.float32
    )


def test_normalized_fields_have_unit_variance_and_come_back() -> None:
    x, season = fields(730)
    normalization = Normalization(SPEC, 2, 1)
    normalization.fit(x, season)
    u = normalization.normalize(x, season)
    torch.testing.assert_close(u.std((0, 2, 3)), torch.ones(3), atol=0.08, rtol=0)
    assert u.mean((0, 2, 3)).abs().max() < 0.05
    torch.testing.assert_close(normalization.denormalize(u, season), x, atol=2e-3, rtol=1e-4)


def test_missing_values_become_no_anomaly() -> None:
    x, season = fields(400)
    normalization = Normalization(SPEC, 1, 1)
    normalization.fit(x, season)
    x[3, 1] = torch.nan
    assert (normalization.normalize(x, season)[3, 1] == 0).all()


@given(st.floats(-50, 300))
def test_transform_has_its_inverse_and_slope(value: float) -> None:
    normalization = Normalization(SPEC, 1, 1)
    x = torch.full((3, 8, 16), value, dtype=torch.float64)
    g = normalization.transform(x)
    torch.testing.assert_close(normalization.inverse_transform(g), x)
    step = 1e-6
    difference = (normalization.inverse_transform(g + step) - normalization.inverse_transform(g - step)) / (2 * step)
    torch.testing.assert_close(normalization.slope(g), difference, rtol=1e-4, atol=1e-4)


@given(st.floats(-3, 8), st.floats(-3, 8))
def test_secant_leads_from_the_estimate_to_the_target(start: float, end: float) -> None:
    normalization = Normalization(SPEC, 1, 1)
    g, target = (torch.full((3, 8, 16), v, dtype=torch.float64) for v in (start, end))
    reached = normalization.inverse_transform(g) + normalization.secant(g, target) * (target - g)
    torch.testing.assert_close(reached, normalization.inverse_transform(target), atol=1e-5, rtol=1e-6)


def test_no_spread_is_too_small_to_divide_by() -> None:
    x, season = fields(400)
    x[:, 2, :, :4] = 0.0  # a desert
    normalization = Normalization(SPEC, 1, 1)
    normalization.fit(x, season)
    _, std = normalization.climatology(season)
    assert std.min() > 0.1 * std[:, 2].median()

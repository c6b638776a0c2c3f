"""Normalisation: its inverse, its slopes, and what it makes of missing values and of deserts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xslams.networks.normalization import Normalization
from xslams.spec import Spec, VariableSpec
from xslams.transforms import knots_of

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


@given(st.floats(-1e6, 1e6, width=32), st.integers(0, 2), st.floats(0, 0.5))
def test_a_channel_that_is_the_same_throughout_has_no_anomalies(value: float, channel: int, missing: float) -> None:
    x, season = fields(60)
    x[:, channel] = value
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < missing] = torch.nan
    normalization = Normalization(SPEC, 1, 0)
    normalization.fit(x, season)
    u = normalization.normalize(x, season)
    assert torch.isfinite(normalization.log_std).all()
    assert u[:, channel].abs().max() <= 1e-6 * max(abs(value), 1)
    varies = [c for c in range(3) if c != channel]
    assert (u[:, varies].std((0, 2, 3)) > 0.3).all()


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


def with_scores() -> tuple[Normalization, torch.Tensor]:
    """A channel of rain with its normal scores between two that have none."""
    x = torch.rand(50, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 20 * (x[:, 1] - 0.5).clip(min=0)
    rain = VariableSpec("pr", "mm day-1", transform="scores", knots=knots_of(x[:, 1].numpy()))
    spec = Spec((VariableSpec("t", "K"), rain, VariableSpec("q", "1")), (0.0, 1.0), (0.0, 1.0, 2.0, 3.0), False)
    return Normalization(spec, 0, 0), x


def test_scores_are_those_of_their_own_channel_whichever_are_chosen() -> None:
    normalization, x = with_scores()
    g = normalization.transform(x)
    assert normalization.curved.tolist() == [False, True, False]
    assert torch.equal(g[:, ::2], x[:, ::2])
    assert abs(float(g[:, 1].mean())) < 0.05
    torch.testing.assert_close(normalization.inverse_transform(g), x)
    for channels in ([1], [1, 0], [2, 0]):
        torch.testing.assert_close(normalization.transform(x[:, channels], channels), g[:, channels])
        assert (normalization.slope(g[:, channels], channels) > 0).all()


def test_a_dry_gauge_tells_as_much_as_its_error_allows() -> None:
    normalization, _ = with_scores()
    dry = normalization.transform(torch.zeros(3, 2, 4))

    def told(g: torch.Tensor, error: float) -> float:
        """Error in scores that an error in amounts becomes."""
        slope = normalization.secant(g, dry, error=torch.full((3, 2, 4), error))
        return error / float(slope[1, 0, 0])

    # As far as an amount of the error is from none, and no infinity where all is dry already.
    amount = normalization.transform(torch.full((3, 2, 4), 0.5))
    assert told(dry, 0.5) == pytest.approx(float((amount - dry)[1, 0, 0]), rel=1e-3)
    assert told(dry, 0.1) < told(dry, 2.0)
    # What is expected to be wet is drawn by the slope from there.
    wet = normalization.transform(torch.full((3, 2, 4), 8.0))
    assert told(wet, 0.1) == pytest.approx(0.1 * float((wet - dry)[1, 0, 0]) / 8, rel=1e-3)


def test_slopes_through_scores_can_be_differentiated() -> None:
    normalization, x = with_scores()
    g = normalization.transform(x).requires_grad_()
    normalization.inverse_transform(g).sum().backward()
    assert g.grad is not None
    assert (g.grad > 0).all()

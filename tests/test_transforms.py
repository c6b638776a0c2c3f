"""Curves of normal scores: what they make of amounts with a step at none, of fractions, and of any sample."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xslams.transforms import from_scores, knots_of, score_chord, scores

RNG = np.random.default_rng(0)
# With many values at a bound, at two, of few kinds, and of none.
SAMPLES = {
    "rain": np.maximum(3 * RNG.standard_normal(4000), 0) ** 2,
    "fraction": RNG.normal(0.5, 0.6, 4000).clip(0, 1),
    "oktas": RNG.integers(0, 9, 4000) / 8,
    "flux": 1e-5 * RNG.gamma(0.3, 1, 4000),
    "temperature": 280 + 5 * RNG.standard_normal(4000),
    "two": np.array([1.0, 3.0]),
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_scores_are_close_to_normal_and_come_back_in_numpy_and_torch(sample: np.ndarray) -> None:
    knots = knots_of(sample)
    g = scores(sample, knots)
    assert abs(g.mean()) < 0.05
    assert 0.5 < g.std() < 1.1
    assert (np.diff(scores(np.sort(sample), knots)) >= 0).all()
    np.testing.assert_allclose(from_scores(g, knots), sample, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scores(torch.as_tensor(sample), knots).numpy(), g)
    assert len(knots) <= 33


def test_no_rain_has_the_mean_score_of_the_dry_days_and_the_least_rain_is_a_step_above() -> None:
    sample = np.concatenate([np.zeros(600), RNG.gamma(0.5, 8, 400)])
    dry, wet = scores(np.array([0.0, 0.01]), knots_of(sample))
    assert dry == pytest.approx(-0.644, abs=0.01)
    assert wet > 0.2


@pytest.mark.parametrize("sign", [1, -1])
def test_noise_beyond_a_bound_has_scores_near_it_however_close_the_next_value_is(sign: int) -> None:
    sample = sign * np.concatenate([np.zeros(600), [1e-9] * 50, RNG.gamma(0.5, 8, 400)])
    knots = knots_of(sample)
    bound, beyond = scores(np.array([0.0, -sign * 3.0]), knots)
    assert 0 < sign * (bound - beyond) < 1
    # Within the sample it is the curve of its ranks.
    np.testing.assert_allclose(from_scores(scores(sample, knots), knots), sample, rtol=1e-6, atol=1e-9)


@given(arrays(np.float64, st.integers(0, 60), elements=st.floats(-1e6, 1e6) | st.just(np.nan) | st.just(0.0)))
@settings(max_examples=40, deadline=None)
def test_knots_of_any_sample_rise_or_there_are_none(sample: np.ndarray) -> None:
    knots = knots_of(sample)
    assert len(knots) != 1
    for numbers in zip(*knots, strict=True):
        assert np.isfinite(numbers).all()
        assert (np.diff(numbers) > 0).all()
    if np.unique(sample[np.isfinite(sample)]).size < 2:
        assert knots == ()


@given(st.floats(-8, 8), st.floats(0.01, 5))
def test_values_rise_with_scores_everywhere(low: float, run: float) -> None:
    knots = knots_of(SAMPLES["rain"])
    assert score_chord(np.array([low]), np.array([low + run]), knots) > 0

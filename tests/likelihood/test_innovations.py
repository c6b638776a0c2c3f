"""Variances of errors that innovations tell."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.likelihood.innovations import InnovationSample, error_variances


def draw(deviations, seed, gross=0):
    """Innovations of two networks in a line, whose prior is correlated, with errors of their own."""
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(3):
        place = np.sort(rng.uniform(0, 60, 160))
        prior = 4 * np.exp(-np.abs(place[:, None] - place) / 5)
        source = rng.integers(0, 2, 160)
        truth = np.linalg.cholesky(prior + 1e-9 * np.eye(160)) @ rng.normal(size=160)
        d = truth + rng.normal(size=160) * np.asarray(deviations)[source]
        d[rng.choice(160, gross, replace=False)] += rng.choice([-30.0, 30.0], gross)
        zero = np.zeros(160)
        samples.append(InnovationSample(d, prior, zero, zero + 1.0, source, zero > 1))
    return samples


@settings(max_examples=6)
@given(st.tuples(st.floats(0.4, 3.0), st.floats(0.4, 3.0)), st.integers(0, 50), st.sampled_from([0, 4]))
def test_errors_of_each_source_are_told(deviations, seed, gross):
    found = np.sqrt(error_variances(draw(deviations, seed, gross), 2))
    np.testing.assert_allclose(found, deviations, rtol=0.35)


def test_what_is_known_counts():
    samples = draw([1.0, 2.0], 0)
    told = [s.told(np.array([np.nan, 4.0])) for s in samples]
    np.testing.assert_allclose(error_variances(told, 1), 1.0, rtol=0.4)

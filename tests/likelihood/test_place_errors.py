"""Biases and variances of the errors of places that innovations tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.likelihood.innovations import InnovationSample, error_variances
from xslams.likelihood.place_errors import PlaceSample, place_errors
from xslams.sphere import unit_vectors

PLACES, TIMES, STRETCHES = 60, 4, 4
SOURCE = np.repeat([0, 1], PLACES // 2)


def network(rng):
    """Places in a region of some thousands of kilometres."""
    return rng.uniform(30, 60, PLACES), rng.uniform(0, 40, PLACES)


def correlation(lat, lon, length):
    at = unit_vectors(lat, lon)
    return np.exp(-6371.0 / length * np.linalg.norm(at[:, None] - at, axis=-1))


def draw(rng, lat, lon, bias, deviation, truth=1.0):
    """Innovations of a state with a variance of four, times a factor that the prior does not know."""
    place = np.tile(np.arange(PLACES), TIMES)
    lag = np.repeat(np.arange(TIMES), PLACES)
    prior = 4.0 * correlation(lat, lon, 1500.0)[np.ix_(place, place)] * np.exp(-np.abs(lag[:, None] - lag))
    root = np.linalg.cholesky(prior + 1e-6 * np.eye(place.size))
    zero = np.zeros(place.size)
    samples = []
    for _ in range(STRETCHES):
        state = (root @ rng.normal(size=place.size)) * np.broadcast_to(truth, PLACES)[place]
        d = state + bias[place] + deviation[place] * rng.normal(size=place.size)
        samples.append(PlaceSample(d, prior, zero, zero + 1.0, place))
    return samples


def estimate(samples, lat, lon, biased=(True, True)):
    innovations = [
        InnovationSample(s.innovation, s.prior, s.known, s.unit, SOURCE[s.place], s.unit == 0) for s in samples
    ]
    pooled = error_variances(innovations, 2)
    return place_errors(samples, SOURCE, unit_vectors(lat, lon), pooled, np.array(biased))


@settings(max_examples=4)
@given(st.integers(0, 1000))
def test_biases_and_errors_of_places_are_told(seed):
    rng = np.random.default_rng(seed)
    deviation = np.where(np.arange(PLACES) % 3 == 0, 3.0, 0.7)
    sizes = []
    # One network in a thousand has a few places that share an error by chance.
    for _ in range(3):
        lat, lon = network(rng)
        bias = rng.normal(0, 2, PLACES)
        found = estimate(draw(rng, lat, lon, bias, deviation), lat, lon)
        assert found.told.all()
        assert np.corrcoef(found.bias, bias)[0, 1] > 0.85
        sizes.append([np.sqrt(found.variance[some]).mean() for some in (deviation > 1, deviation < 1)])
    loud, still = np.mean(sizes, axis=0)
    assert 2.0 < loud < 3.6
    assert 0.6 < still < 1.9
    assert loud > 1.3 * still


@settings(max_examples=8)
@given(st.integers(0, 1000), st.floats(0.3, 2.0))
def test_places_that_do_not_differ_stay_alone(seed, error):
    rng = np.random.default_rng(seed)
    lat, lon = network(rng)
    samples = draw(rng, lat, lon, np.zeros(PLACES), np.full(PLACES, error))
    found = estimate(samples, lat, lon)
    assert not found.told.any()
    assert np.ptp(found.variance[SOURCE == 0]) == np.ptp(found.variance[SOURCE == 1]) == 0
    np.testing.assert_array_equal(found.bias, 0)


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_a_prior_with_wrong_variances_makes_no_biases(seed):
    """Standard deviations that are wrong by a sixth from place to place."""
    rng = np.random.default_rng(seed)
    lat, lon = network(rng)
    truth = np.exp(rng.normal(0, 0.15, PLACES))
    found = estimate(draw(rng, lat, lon, np.zeros(PLACES), np.ones(PLACES), truth), lat, lon)
    assert np.abs(found.bias).max() == 0


def test_biases_that_are_known_are_not_sought():
    rng = np.random.default_rng(0)
    lat, lon = network(rng)
    samples = draw(rng, lat, lon, rng.normal(0, 2, PLACES), np.ones(PLACES))
    found = estimate(samples, lat, lon, (True, False))
    assert np.abs(found.bias[SOURCE == 0]).max() > 1
    np.testing.assert_allclose(found.bias[SOURCE == 1], 0, atol=1e-6)


def test_places_elsewhere_have_the_variance_of_biases_too():
    rng = np.random.default_rng(1)
    lat, lon = network(rng)
    found = estimate(draw(rng, lat, lon, rng.normal(0, 3, PLACES), np.ones(PLACES)), lat, lon)
    assert found.elsewhere == pytest.approx(10, rel=0.6)
    assert found.variance.mean() < 0.5 * found.elsewhere.mean()

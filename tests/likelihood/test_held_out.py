"""Errors are inflated by what analyses of a known state ask for, and by nothing where they are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from xslams.likelihood.held_out import HeldOut, inflations, widened


def samples(rng, count, n, m, factors, group):
    """Stretches whose errors have the covariance that is said, times a factor of each group."""
    common = rng.standard_normal((n + m, n + m))
    prior = common @ common.T / (n + m)
    mix = rng.standard_normal((n, n))
    error = (mix @ mix.T / n + 0.3 * np.eye(n)) * (group[:, None] == group)
    out = []
    for _ in range(count):
        x = np.linalg.cholesky(prior) @ rng.standard_normal(n + m)
        e = np.asarray(factors)[group] * (np.linalg.cholesky(error) @ rng.standard_normal(n))
        out.append(
            HeldOut(x[:n] + e, prior[:n, :n], error, group, x[n:], np.diag(prior)[n:].copy(), prior[n:, :n].copy())
        )
    return out


@pytest.mark.parametrize(("factor", "low", "high"), [(1.0, 1.0, 1.4), (1.7, 1.2, 2.5), (3.0, 2.0, 8.0)])
@pytest.mark.parametrize("seed", range(8))
def test_one_factor_is_found(factor, low, high, seed):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 11)), int(rng.integers(2, 13))
    found = inflations(samples(rng, 80, n, m, [factor], np.zeros(n, int)), 1)
    # A factor that does not matter, since the values say little of the state, stays at 1.
    assert found[0] == 1 or low <= found[0] <= high


def test_each_group_has_its_own_factor():
    group = np.repeat([0, 1], 4)
    draws = [samples(np.random.default_rng(seed), 100, 8, 10, [1.0, 3.0], group) for seed in range(7)]
    found = np.array([inflations(draw, 2) for draw in draws])
    assert found[:, 0].max() <= 1.7
    assert found[:, 1].min() >= 1.7
    first, second = np.median(found, axis=0)
    assert first == 1
    assert 2.5 <= second <= 4


def test_right_errors_are_inflated_by_nothing():
    draws = [samples(np.random.default_rng(seed), 30, 5, 6, [1.0], np.zeros(5, int)) for seed in range(12)]
    assert np.mean([inflations(draw, 1)[0] for draw in draws]) < 1.15


def test_the_score_is_that_of_the_exact_posterior():
    rng = np.random.default_rng(0)
    (one,) = samples(rng, 1, 5, 4, [1.0], np.zeros(5, int))
    gain = one.cross @ np.linalg.inv(one.covariance + 4 * one.error)
    mean, std = gain @ one.innovation, np.sqrt(one.variance - np.diag(gain @ one.cross.T))
    wanted = -norm.logpdf(one.state, mean, std) - np.log(np.sqrt(2 * np.pi * one.variance))
    assert one.score(np.array([2.0])) == pytest.approx(wanted.mean())


@pytest.mark.parametrize("short", [1.0, 1.3])
def test_a_prior_that_is_too_sure_is_widened_with_the_errors(short):
    """The gain stays as it is: both covariances are short of the same factor."""
    rng = np.random.default_rng(3)
    group = np.zeros(6, int)
    right = samples(rng, 400, 6, 8, [1.0], group)
    told = [
        replace(
            s, covariance=s.covariance / short**2, error=s.error / short**2, variance=s.variance / short**2,
            cross=s.cross / short**2,
        )
        for s in right
    ]  # fmt: skip
    prior, errors = widened(told, 1)
    assert prior == pytest.approx(short, rel=0.06)
    assert errors[0] == pytest.approx(short, rel=0.2)
    assert errors[0] >= prior

"""The one place that says what the variance of an observation is."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from xslams.likelihood import ErrorModel, Huber, SharedBias
from xslams.likelihood.errors import shared
from xslams.observations.superob import average


def everything(n: int, seed: int = 0) -> ErrorModel:
    """Errors of every kind."""
    rng = np.random.default_rng(seed)
    bias = SharedBias(rng.uniform(0.5, 2, n), rng.integers(0, 3, n))
    errors = ErrorModel(rng.uniform(0.5, 2, n), rng.uniform(0.5, 2, n), bias=bias, robust=Huber())
    return errors.completed(rng.uniform(0, 1, n), rng.uniform(1, 2, n))


def test_variances_add_up():
    errors = everything(5)
    np.testing.assert_array_equal(errors.independent, errors.instrument + errors.local)
    np.testing.assert_array_equal(errors.total, errors.independent + errors.bias.std**2)
    np.testing.assert_allclose(errors.variance, errors.inflation * (errors.independent + errors.decoder), rtol=1e-6)


def test_without_a_model_the_likelihood_takes_what_is_stated():
    errors = ErrorModel(np.full(2, 4.0))
    assert not errors.complete
    np.testing.assert_array_equal(errors.variance, 4.0)
    assert errors.variance.dtype == np.float64


@given(seed=st.integers(0, 99))
def test_variances_are_those_of_torch_to_the_last_bit(seed):
    rng = np.random.default_rng(seed)
    stated, decoder, inflation = rng.lognormal(0, 5, 200), rng.lognormal(0, 5, 200), rng.uniform(1, 2, 200)
    made = ErrorModel(stated).completed(decoder, inflation).variance
    one, two, factor = (torch.as_tensor(v, dtype=torch.float32) for v in (stated, decoder, inflation))
    np.testing.assert_array_equal(made, (factor * (one + two)).numpy())


def test_some_values_keep_all_of_their_errors():
    errors = everything(6)
    chosen = np.array([True, False, True, True, False, False])
    part = errors.keep(chosen)
    for name in ("independent", "total", "variance"):
        np.testing.assert_array_equal(getattr(part, name), getattr(errors, name)[chosen])
    np.testing.assert_array_equal(part.bias.group, errors.bias.group[chosen])
    assert part.robust is errors.robust


def test_variables_of_a_source_have_biases_of_their_own():
    one, two = everything(4, 0), everything(3, 1)
    both = ErrorModel.joined([one, two])
    np.testing.assert_array_equal(both.variance, np.concatenate([one.variance, two.variance]))
    assert not set(both.bias.group[:4]) & set(both.bias.group[4:])
    assert both.bias.groups == one.bias.groups + two.bias.groups
    single = ErrorModel.joined([ErrorModel(np.ones(2)), ErrorModel(np.ones(1))])
    assert single.bias is None and single.local is None and single.variance.tolist() == [1, 1, 1]


def test_what_is_finer_than_the_model_becomes_representativeness():
    errors = ErrorModel(np.ones(3), subgrid=np.full(3, 0.5))
    np.testing.assert_array_equal(errors.variance, 1.0)
    known = errors.with_variability(np.array([0.0, 4.0, 8.0]), np.array([1.0, 1.0, 2.0]))
    np.testing.assert_allclose(known.variance, [1.0, 3.0, 3.0])
    assert known.with_variability(np.ones(3), np.ones(3)) is known


@given(n=st.integers(1, 40), groups=st.integers(1, 6), places=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_variance_of_means_is_that_of_their_errors(n, groups, places, seed):
    rng = np.random.default_rng(seed)
    key, place = rng.integers(0, groups, n), rng.integers(0, places, n)
    variance, rho = rng.uniform(0.5, 2, n) ** 2, rng.uniform(0.5, 2, places)[place]
    mean, member = average(key, variance)
    np.testing.assert_allclose(mean.sum(axis=1), 1.0)
    covariance = np.diag(variance) + np.where(place[:, None] == place, rho[:, None] * rho, 0.0)
    expected = np.diag(mean.toarray() @ covariance @ mean.toarray().T)
    made = ErrorModel(variance, rho**2).averaged(mean, member, place)
    np.testing.assert_allclose(made.variance, expected)
    np.testing.assert_array_equal(made.local, shared(mean, member, place, rho))

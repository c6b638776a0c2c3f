"""Weights of robust likelihoods: one implementation for arrays and tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xslams.errors import OptionError
from xslams.likelihood import ROBUST, Huber, StudentT


@given(name=st.sampled_from(ROBUST.names), e=st.lists(st.floats(-1e4, 1e4), min_size=1), shape=st.floats(0.5, 10))
def test_arrays_and_tensors_have_the_same_weights(name, e, shape):
    likelihood = ROBUST[name](shape)
    made = likelihood.weights(torch.as_tensor(e, dtype=torch.float64))
    # torch divides by way of the reciprocal, which rounds twice.
    np.testing.assert_allclose(made.numpy(), likelihood.weights(np.asarray(e)), rtol=1e-15)


@pytest.mark.parametrize("likelihood", [Huber(2.0), StudentT(3.0)])
def test_weights_are_the_slope_of_the_density(likelihood):
    """Weight times residual is the derivative of minus the logarithm of the density."""
    e = np.linspace(-6, 6, 1201)
    log = {
        Huber: np.where(abs(e) <= 2, e**2 / 2, 2 * abs(e) - 2),
        StudentT: (3 + 1) / 2 * np.log1p(e**2 / 3),
    }[type(likelihood)]
    slope = np.gradient(log, e)
    np.testing.assert_allclose((likelihood.weights(e) * e)[1:-1], slope[1:-1], atol=6e-3)


def test_weights_keep_the_precision_of_what_they_get():
    for likelihood in (Huber(), StudentT()):
        assert likelihood.weights(np.ones(2, np.float32)).dtype == np.float32
        assert likelihood.weights(torch.ones(2)).dtype == torch.float32


def test_an_unknown_likelihood_names_the_nearest():
    with pytest.raises(OptionError, match="Did you mean 'huber'"):
        _ = ROBUST["hubber"]

"""Errors that are shared or have heavy tails: posteriors that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from azula.denoise import GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance
from azula.noise import VESchedule
from hypothesis import given
from hypothesis import strategies as st

from xslams.errors import OptionError
from xslams.inference import sample_posterior
from xslams.inference.guidance import SDA, GuidedDenoiser, guide
from xslams.inference.noise import GeneratorNoise
from xslams.inference.robust import RobustErrors, observation_errors
from xslams.inference.samplers import sample
from xslams.likelihood import ErrorModel, Huber, SharedBias, SourceLikelihood, StudentT
from xslams.linalg.covariances import GroupCovariance


def test_a_marginalised_bias_is_estimated_exactly():
    """State x ~ N(0, 4), bias b ~ N(0, 9), y_i = x + b + e_i, and one instrument z = x + e without bias."""
    n = 20
    y = torch.full((n + 1,), 5.0)
    y[-1] = 1.0
    A = torch.ones(n + 1, 1)
    u = torch.full((n + 1,), 3.0)
    u[-1] = 0.0
    group = torch.zeros(n + 1, dtype=torch.int64)
    group[-1] = 1
    cov = GroupCovariance(torch.ones(n + 1), u, group)
    prior = GaussianDenoiser(torch.zeros(1), DiagonalCovariance(torch.full((1,), 4.0)), VESchedule(0.01, 100.0))
    z = sample_posterior(
        prior, y, lambda x: x @ A.T, cov, shape=(1,), members=2048, generator=torch.Generator().manual_seed(0)
    )
    dense = torch.diag(torch.ones(n + 1)) + u[:, None] * u * (group[:, None] == group)
    precision = A.T @ torch.linalg.solve(dense, A) + 0.25
    mean = torch.linalg.solve(precision, A.T @ torch.linalg.solve(dense, y[:, None]))
    assert float(z.mean()) == pytest.approx(float(mean), abs=0.05)
    assert float(z.std()) == pytest.approx(float(precision) ** -0.5, rel=0.05)
    # Without the bias twenty values that agree would be believed.
    assert float(mean) < 2.0


def test_sda_refuses_shared_errors():
    cov = GroupCovariance(torch.ones(3), torch.ones(3), torch.zeros(3, dtype=torch.int64))
    prior = GaussianDenoiser(torch.zeros(3), DiagonalCovariance(torch.ones(3)), VESchedule(0.01, 100.0))
    with pytest.raises(OptionError, match="independent errors"):
        guide(prior, torch.zeros(3), lambda z: z, cov, "sda")


# --- heavy tails -----------------------------------------------------------------------------------------------------


def robust_sample(y, prior_std, sigma, kind, guidance="mmps", members=256):
    """Members of N(0, prior_std^2) of one element, seen by several instruments at once."""
    n = len(y)
    prior = GaussianDenoiser(
        torch.zeros(1), DiagonalCovariance(torch.full((1,), prior_std**2)), VESchedule(0.01, 100.0)
    )
    errors = DiagonalCovariance(torch.full((n,), sigma**2))
    reweight = None if kind is None else RobustErrors(errors, [(n, kind)])
    guided = guide(prior, torch.as_tensor(y), lambda x: x.expand(-1, n), errors, guidance, reweight=reweight)
    noise = GeneratorNoise((members, 1), torch.Generator().manual_seed(0), torch.zeros(1))
    return sample(guided, 100.0 * noise(0), noise, steps=32).squeeze(-1)


def exact(y, prior_std, sigma, kind):
    """Mean and standard deviation of the posterior by quadrature."""
    x = np.linspace(-30, 30, 60001)
    e = (np.asarray(y)[:, None] - x) / sigma
    if kind is None:
        log = -(e**2) / 2
    elif isinstance(kind, Huber):
        k = kind.shape
        log = -np.where(abs(e) <= k, e**2 / 2, k * abs(e) - k**2 / 2)
    else:
        log = -(kind.shape + 1) / 2 * np.log1p(e**2 / kind.shape)
    p = np.exp(log.sum(0) - x**2 / 2 / prior_std**2 - (log.sum(0) - x**2 / 2 / prior_std**2).max())
    p /= p.sum()
    mean = (p * x).sum()
    return mean, np.sqrt((p * (x - mean) ** 2).sum())


@pytest.mark.parametrize("guidance", ["mmps", "sda"])
@pytest.mark.parametrize("kind", [Huber(1.345), StudentT(4.0)])
def test_one_gross_error_among_good_values_is_seen_through(kind, guidance):
    good = [1.2, 0.8, 1.1, 0.9]
    y = torch.tensor([*good, 25.0])
    plain = robust_sample(y, 2.0, 0.5, None)
    z = robust_sample(y, 2.0, 0.5, kind, SDA(gamma=1.0) if guidance == "sda" else "mmps")
    mean, _ = exact(y, 2.0, 0.5, kind)
    assert abs(float(plain.mean()) - mean) > 3
    assert float(z.mean()) == pytest.approx(mean, abs=0.3)


@pytest.mark.parametrize("kind", [Huber(1.345), StudentT(4.0)])
def test_an_isolated_gross_error_is_drawn_to_as_the_exact_posterior_is(kind):
    mean, std = exact([10.0], 1.0, 1.0, kind)
    z = robust_sample(torch.tensor([10.0]), 1.0, 1.0, kind)
    assert float(z.mean()) == pytest.approx(mean, abs=0.35)
    assert float(z.std()) == pytest.approx(std, rel=0.25)
    assert float(robust_sample(torch.tensor([10.0]), 1.0, 1.0, None).mean()) == pytest.approx(5.0, abs=0.15)


@pytest.mark.parametrize("kind", [Huber(1.345), StudentT(4.0)])
def test_without_gross_errors_the_posterior_is_nearly_gaussian(kind):
    y = torch.tensor([0.9, 1.1, 1.0, 1.3, 0.7])
    mean, std = exact(y, 1.0, 0.5, kind)
    z = robust_sample(y, 1.0, 0.5, kind, members=2048)
    assert float(z.mean()) == pytest.approx(mean, abs=0.05)
    assert float(z.std()) == pytest.approx(std, rel=0.15)


def test_a_huge_shape_is_the_gaussian_likelihood():
    y = torch.tensor([3.0, -1.0])
    plain = robust_sample(y, 1.0, 0.5, None)
    torch.testing.assert_close(robust_sample(y, 1.0, 0.5, Huber(1e6)), plain)
    torch.testing.assert_close(robust_sample(y, 1.0, 0.5, StudentT(1e9)), plain, atol=1e-4, rtol=1e-4)


def test_members_do_not_depend_on_their_company():
    y = torch.tensor([1.0, 9.0])
    prior = GaussianDenoiser(torch.zeros(2), DiagonalCovariance(torch.ones(2)), VESchedule(0.01, 100.0))
    errors = DiagonalCovariance(torch.full((2,), 0.25))
    x = 100 * torch.randn((4, 2), generator=torch.Generator().manual_seed(1))

    def estimates(x):
        guided = guide(prior, y, lambda z: z, errors, reweight=RobustErrors(errors, [(2, Huber(1.0))]))
        return torch.stack(descend(guided, x, 1.0, 0.5, 0.3, 0.1))

    together = estimates(x)
    for i in range(4):
        torch.testing.assert_close(estimates(x[i : i + 1]), together[:, i : i + 1])


def descend(guided: GuidedDenoiser, x: torch.Tensor, *times: float) -> list[torch.Tensor]:
    """Estimates at descending noise, each with what the one before has handed on."""
    state, found = guided.start(), []
    for t in times:
        posterior, state = guided.advance(x, torch.tensor(t), state)
        found.append(posterior.mean)
    return found


def test_weights_are_handed_on_and_a_new_sample_starts_without():
    y, errors = torch.tensor([9.0]), DiagonalCovariance(torch.ones(1))
    prior = GaussianDenoiser(torch.zeros(1), DiagonalCovariance(torch.ones(1)), VESchedule(0.01, 100.0))
    guided = guide(prior, y, lambda z: z, errors, reweight=RobustErrors(errors, [(1, Huber(1.0))]))
    x = torch.ones((1, 1))
    first, again = (descend(guided, x, 0.8, 0.4, 0.2) for _ in range(2))
    assert torch.equal(torch.stack(first), torch.stack(again))
    # Without a state, a guided denoiser knows nothing of other noise levels.
    alone = guide(prior, y, lambda z: z, errors)(x, torch.tensor(0.4)).mean
    assert torch.equal(guided(x, torch.tensor(0.4)).mean, alone)
    plain = guide(prior, y, lambda z: z, errors)(x, torch.tensor(0.4)).mean
    assert float(plain - first[1]) > 0.5


@given(bias=st.floats(0.0, 50.0), size=st.floats(1.0, 10.0))
def test_a_shared_bias_is_no_gross_error(bias, size):
    """Values of a station that all differ by the same are biased, not wrong."""
    n = 12
    cov = GroupCovariance(torch.ones(n), torch.full((n,), 100.0), torch.zeros(n, dtype=torch.int64))
    robust = RobustErrors(cov, [(n, StudentT(4.0))])
    residual = torch.full((1, n), bias)
    assert float(robust.weights(residual).min()) > 1.0
    residual[0, 0] += size * 10
    weights = robust.weights(residual)
    assert float(weights[0, 0]) < 0.1 < 1.0 < float(weights[0, 1:].min())


def test_sources_keep_their_own_likelihood_and_groups():
    def source(n, **more):
        return SourceLikelihood("s", sp.csr_array((n, 4)), np.zeros(n), ErrorModel(np.ones(n), **more))

    plain, robust = source(2), source(3, robust=Huber(2.0))
    biased = source(4, bias=SharedBias(std=np.full(4, 2.0), group=np.array([0, 0, 1, 1])))
    errors, weights = observation_errors([plain], torch.ones(2))
    assert type(errors) is DiagonalCovariance and weights is None
    errors, weights = observation_errors([plain, robust, biased, biased], torch.ones(13))
    dense = errors(torch.eye(13))
    expected = torch.eye(13)
    for a in (5, 7, 9, 11):
        expected[a : a + 2, a : a + 2] += 4.0
    torch.testing.assert_close(dense, expected)
    assert weights is not None
    w = weights.weights(torch.tensor([[9.0] * 5 + [0.0] * 8]))
    assert w[0, :2].tolist() == [1, 1] and (w[0, 2:5] < 0.5).all()

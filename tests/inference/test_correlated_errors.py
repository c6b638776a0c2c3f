"""Errors that are correlated between values, in space and in time: posteriors that are known exactly."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from azula.denoise import GaussianDenoiser
from azula.noise import VESchedule
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.problems.posteriors import FullCovariance, UnitNoise, moments
from xslams.errors import ObservationOptionError, OptionError
from xslams.inference.guidance import SDA, guide
from xslams.inference.robust import observation_errors
from xslams.inference.samplers import sample
from xslams.likelihood import Axis, Chain, ErrorCorrelation, ErrorModel, Huber, SharedBias, SourceLikelihood
from xslams.linalg.precision import inverse_root


def correlation(kind: str, n: int, rng: np.random.Generator) -> ErrorCorrelation:
    """Correlation of some values of one of the kinds, or of several together."""
    place = rng.normal(size=(n, 3))
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    root = rng.normal(size=(3, 5))
    cov = root @ root.T + 0.2 * np.eye(3)
    between = cov / np.sqrt(np.diag(cov)[:, None] * np.diag(cov))
    axes = []
    if "space" in kind:
        axes.append(Axis(place / 0.5))
    if "time" in kind:
        axes.append(Axis(np.sort(rng.uniform(0, 5, n))[:, None], "first"))
    kinds = rng.integers(0, 3, n) if "kinds" in kind else None
    group = rng.integers(0, 3, n) if "groups" in kind else np.zeros(n, int)
    if "chain" in kind:
        # Kinds follow each other; each is seen once at a time.
        step = rng.normal(size=(3, 3))
        step *= 0.8 / np.linalg.norm(step, 2)
        root = np.linalg.cholesky(between)
        lagged = np.stack([root @ np.linalg.matrix_power(step, h) @ root.T for h in range(12)])
        seen = np.sort(rng.permutation(max(3 * n // 2, 3))[:n])
        return ErrorCorrelation(np.zeros(n, int), (), seen % 3, None, chain=Chain(seen // 3, lagged))
    # Values of one kind at one time and place are the same value, but for what is independent.
    return ErrorCorrelation(group, tuple(axes), kinds, between if kinds is not None else None, independent=0.1)


def source(correlation: ErrorCorrelation | None, size: int, rng: np.random.Generator, name: str = "a", **errors):
    n = size if correlation is None else correlation.size
    model = ErrorModel(rng.uniform(0.05, 0.3, n), local=rng.uniform(0, 0.1, n), correlation=correlation, **errors)
    model = model.completed(rng.uniform(0, 0.1, n), np.where(rng.random(n) < 0.5, 1.0, 2.0))
    return SourceLikelihood(name, sp.csr_array(rng.normal(size=(n, 6))), rng.normal(size=n), model)


def dense(sources: list[SourceLikelihood]) -> np.ndarray:
    """Error covariance by its definition."""
    blocks = []
    for each in sources:
        e = each.errors
        iota = e.inflation.astype(float)
        c = np.eye(each.size) if e.correlation is None else e.correlation.matrix()
        inner = np.sqrt(e.instrument)[:, None] * c * np.sqrt(e.instrument) + np.diag(e.local + e.decoder)
        blocks.append(np.sqrt(iota)[:, None] * inner * np.sqrt(iota))
    return np.asarray(sp.block_diag(blocks).toarray())


def covariance(sources):
    variance = torch.as_tensor(np.concatenate([s.errors.variance for s in sources]))
    return observation_errors(sources, variance)


@pytest.mark.parametrize("kind", ["space", "time", "kinds", "space time kinds groups", "chain"])
def test_posteriors_are_those_of_the_dense_covariance(kind):
    """Mean and covariance of the sampler, without sampling error, against the formula; beside an independent source."""
    rng = np.random.default_rng(0)
    sources = [source(None, 3, rng, "b"), source(correlation(kind, 12, rng), 0, rng)]
    errors, robust = covariance(sources)
    assert robust is None
    R = torch.as_tensor(dense(sources))
    A = torch.as_tensor(np.concatenate([s.matrix.toarray() for s in sources]))
    y = torch.as_tensor(np.concatenate([s.values for s in sources]))
    variances = 2.0 ** -torch.arange(6, dtype=torch.float64)
    prior = GaussianDenoiser(
        torch.zeros(6, dtype=torch.float64), FullCovariance(torch.eye(6, dtype=torch.float64), variances),
        VESchedule(1e-3, 1e3),
    )  # fmt: skip
    gain = torch.linalg.solve(A @ torch.diag(variances) @ A.T + R, A @ torch.diag(variances)).T
    guided = guide(prior, y.float().double(), lambda z: z @ A.T, errors, "mmps")
    noise = UnitNoise(6)
    mean, cov = moments(sample(guided, 1e3 * noise(0), noise, steps=32))
    exact = torch.diag(variances) - gain @ A @ torch.diag(variances)
    std = exact.diagonal().sqrt()
    assert float(((mean - gain @ y) / std).abs().max()) < 0.03
    assert float((cov.diagonal().sqrt() / std - 1).abs().max()) < 0.03
    independent = torch.linalg.inv(torch.diag(1 / variances) + A.T @ torch.diag(1 / R.diagonal()) @ A)
    assert float((independent.diagonal().sqrt() / std - 1).abs().max()) > 0.03


@settings(max_examples=15)
@given(
    st.integers(1, 30), st.sampled_from(["space", "time", "time groups", "space time kinds", "kinds groups", "chain"]),
    st.integers(0, 99),
)  # fmt: skip
def test_products_are_those_of_the_dense_covariance_also_with_values_left_out(n, kind, seed):
    rng = np.random.default_rng(seed)
    whole = source(correlation(kind, n, rng), 0, rng)
    some = whole.keep(np.append(rng.random(n - 1) < 0.6, True))
    errors, _ = covariance([some])
    keep = np.flatnonzero(np.isin(whole.values, some.values))
    exact = dense([whole])[np.ix_(keep, keep)]
    np.testing.assert_allclose(dense([some]), exact)
    x = torch.as_tensor(rng.normal(size=(2, some.size)))
    np.testing.assert_allclose(errors.inv(x).numpy(), np.linalg.solve(exact, x.numpy().T).T, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(errors(x).numpy(), x.numpy() @ exact, rtol=1e-4, atol=1e-4)
    root = errors.color(torch.eye(some.size, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(root.T @ root, exact, rtol=1e-4, atol=1e-4)
    assert float(errors.logdet()) == pytest.approx(np.linalg.slogdet(exact)[1], rel=1e-4, abs=1e-4)


@cache
def many(length: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    place = rng.normal(size=(700, 3))
    place /= np.linalg.norm(place, axis=1, keepdims=True)
    c = ErrorCorrelation(np.zeros(700, int), (Axis(place / length),), independent=0.05)
    root = inverse_root(c.elements, np.ones(700), c.group, c.places)
    half = root @ np.linalg.cholesky(c.matrix())
    return half, root


@pytest.mark.parametrize("length", [0.1, 0.5])
def test_large_groups_are_nearly_exact(length):
    """Variance of the whitened errors of any direction is one to within a share, and next to nothing is lost."""
    half, root = many(length)
    values = np.linalg.eigvalsh(half @ half.T)
    assert 0.5 < values[0] < values[-1] < 2.0
    lost = 0.5 * (np.trace(half @ half.T) - 700 - 2 * np.linalg.slogdet(half)[1]) / 700
    assert 0 <= lost < 5e-3
    assert root.nnz < 700 * 25


@pytest.mark.parametrize("independent", [0.0, 0.02])
def test_many_times_of_stations_with_common_errors_are_nearly_exact(independent):
    """The nearest values would not do: errors of stations that have much in common are told apart by all of them."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(40, 40)) * 0.7 ** np.arange(40)
    between = mix @ mix.T + 0.02 * np.eye(40)
    own = np.sqrt(np.diag(between))
    kind, time = np.tile(np.arange(40), 20), np.repeat(np.arange(20.0), 40)
    there = rng.random(800) < 0.95
    between /= own[:, None] * own
    chain = Axis(time[there, None] / 2, "first")
    c = ErrorCorrelation(np.zeros(there.sum(), int), (chain,), kind[there], between, independent=independent)
    root = inverse_root(c.elements, np.ones(c.size), c.group, c.places, layer=c.layer)
    half = root @ np.linalg.cholesky(c.matrix())
    values = np.linalg.eigvalsh(half @ half.T)
    assert 0.8 < values[0] < values[-1] < 1.25
    lost = 0.5 * (np.trace(half @ half.T) - c.size - 2 * np.linalg.slogdet(half)[1]) / c.size
    assert 0 <= lost < 2e-3


def test_many_times_of_errors_that_follow_each_other_are_exact():
    rng = np.random.default_rng(0)
    between = 0.7 ** np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    root = np.linalg.cholesky(between)
    # What is at one place is at the next one a time later.
    step = 0.8 * np.eye(30, k=-1)
    lagged = np.stack([root @ np.linalg.matrix_power(step, h) @ root.T for h in range(31)])
    c = ErrorCorrelation(
        np.zeros(900, int), (), np.tile(np.arange(30), 30), chain=Chain(np.repeat(np.arange(30), 30), lagged)
    )
    order = rng.permutation(900)
    c = c.keep(order)
    root = inverse_root(c.elements, np.ones(900), c.group, c.places, layer=c.layer)
    assert root.nnz < 900 * 300
    np.testing.assert_allclose((root.T @ root).toarray() @ c.matrix(), np.eye(900), atol=1e-6)


def test_a_source_with_heavy_tails_or_a_bias_beside_a_correlated_one():
    rng = np.random.default_rng(1)
    heavy = source(None, 4, rng, "b", robust=Huber(1.345))
    biased = source(None, 3, rng, "c", bias=SharedBias(np.ones(3), np.zeros(3, int)))
    other = source(correlation("time", 5, rng), 0, rng)
    sources = [heavy, biased, other]
    errors, robust = covariance(sources)
    exact = dense(sources)
    exact[4:7, 4:7] += 1
    x = torch.as_tensor(rng.normal(size=(1, 12)))
    np.testing.assert_allclose(errors.inv(x).numpy(), np.linalg.solve(exact, x.numpy().T).T, rtol=1e-4, atol=1e-4)
    residual = torch.zeros(1, 12, dtype=torch.float64)
    residual[0, 0] = 100.0
    weighted = robust(residual)
    assert float(weighted(torch.eye(12, dtype=torch.float64)[:1])[0, 0]) > 10 * exact[0, 0]
    np.testing.assert_allclose(weighted.inv(x)[:, 7:].numpy(), errors.inv(x)[:, 7:].numpy())


def test_sda_refuses_correlated_errors_and_singular_ones_are_named():
    rng = np.random.default_rng(2)
    errors, _ = covariance([source(correlation("space", 5, rng), 0, rng)])
    prior = GaussianDenoiser(torch.zeros(5), FullCovariance(torch.eye(5), torch.ones(5)), VESchedule(0.01, 100.0))
    with pytest.raises(OptionError, match="independent errors"):
        guide(prior, torch.zeros(5), lambda z: z, errors, SDA())
    twice = ErrorCorrelation(np.zeros(2, int), (Axis(np.zeros((2, 3))),))
    same = SourceLikelihood("twice", sp.csr_array(np.eye(2)), np.zeros(2), ErrorModel(np.ones(2), correlation=twice))
    with warnings.catch_warnings(), pytest.raises(ObservationOptionError, match=r"'twice'.*singular"):
        warnings.simplefilter("error")
        observation_errors([same], torch.ones(2))

"""Errors of forecasts that vary as the truth does: laws of Gaussian processes, where latents are the fields."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inference.test_latent_background import LAT, LENGTH, LON, SIZE, gaussian_model, pieces
from xslams.inference.latent_background import LatentBackground
from xslams.likelihood import BackgroundCorrelation, ErrorModel, SourceLikelihood
from xslams.priors.gaussian import StationaryGaussian

KIND = BackgroundCorrelation(increments=True)


def process() -> StationaryGaussian:
    return gaussian_model().prior().gaussian


def correlation_of_modes(lead: float) -> torch.Tensor:
    """Correlations of modes over a lead, by the definition; between whole frames along a line."""
    rho = torch.cat([torch.ones_like(process().correlations(1)), process().correlations(8)])
    low = int(lead)
    return (1 - lead + low) * rho[low] + (lead - low) * rho[low + 1]


def dense(variance: torch.Tensor) -> np.ndarray:
    """Dense covariance of a frame with variances of its modes."""
    one = 2 * LAT * LON
    frames = process().like(variance, torch.zeros_like(variance)).trajectory(1)
    eye = torch.eye(one).reshape(one, 1, 2, LAT, LON)
    return frames.apply(lambda d: d, eye).flatten(1).double().numpy()


def background(values: np.ndarray, variance: np.ndarray, **extra: object) -> list[SourceLikelihood]:
    errors = ErrorModel(variance).completed(np.zeros(SIZE), np.ones(SIZE))
    return [SourceLikelihood("b", sp.csr_array(np.eye(SIZE)), values, errors, background=KIND, **extra)]


def bound(given_: list[SourceLikelihood]) -> LatentBackground:
    prior = gaussian_model().prior()
    rest = torch.zeros(1, LENGTH, *prior.shape)
    return LatentBackground(prior, gaussian_model().spec, prior.fields(torch.zeros(LENGTH)), given_, rest)


def increments(lead: float) -> np.ndarray:
    """Mean squares of the increments of all values, of shape (SIZE,)."""
    _, D, _ = pieces()
    of_frame = dense(2 * process().variances() * (1 - correlation_of_modes(lead)))
    frame = D[: len(of_frame), : len(of_frame)]
    return np.tile(np.diag(frame @ of_frame @ frame.T), LENGTH)


@pytest.mark.parametrize("lead", [0.4, 1.0, 2.3])
def test_a_forecast_of_the_stated_size_is_regressed_mode_by_mode(lead):
    """The analysis of a forecast alone is the expected truth given a state of some time before, with its error."""
    mean, D, P = pieces()
    rng = np.random.default_rng(0)
    area = np.tile(np.cos(np.deg2rad(gaussian_model().spec.lat)).repeat(LON), 2 * LENGTH)
    stated = float((area * increments(lead)).sum() / area.sum())
    z = np.linalg.cholesky(P + 1e-9 * np.eye(SIZE)) @ rng.normal(size=SIZE)
    found = bound(background(mean + D @ z, np.full(SIZE, stated)))
    one = 2 * LAT * LON
    rho = dense(correlation_of_modes(lead))  # the matrix that multiplies each mode with its correlation
    prior = dense(process().variances())
    R = found.errors(torch.eye(SIZE)).double().numpy()[:one, :one]
    gain = np.linalg.solve(prior + R, prior).T
    exact = rho @ z[:one]
    scale = np.sqrt(np.diag(prior))
    np.testing.assert_allclose(gain @ found.y.numpy()[:one] / scale, exact / scale, atol=0.15)
    error = np.diag(prior - gain @ prior) / np.diag(prior - rho @ prior @ rho)
    np.testing.assert_allclose(error.mean(), 1, atol=0.06)
    np.testing.assert_allclose(error, 1, atol=0.25)


def test_errors_have_more_of_what_is_forgotten_sooner():
    found = bound(background(pieces()[0], np.full(SIZE, increments(1.0).mean())))
    values, vectors = np.linalg.eigh(dense(process().variances()))
    R = found.errors(torch.eye(SIZE)).double().numpy()[: len(values), : len(values)]
    ratio = np.diag(vectors.T @ R @ vectors) / values
    forgotten = np.diag(vectors.T @ dense(1 - correlation_of_modes(1.0)) @ vectors)
    assert np.corrcoef(np.log(ratio), forgotten)[0, 1] > 0.9
    assert np.linalg.eigvalsh(found.errors.inv(torch.eye(SIZE)).double().numpy())[0] > 0


@given(st.sampled_from([1e-4, 1e-2, 1.0, 1e4]), st.booleans(), st.integers(0, 9))
@settings(max_examples=4, deadline=None)
def test_any_size_gives_a_covariance_and_no_more_than_the_forecast(size: float, even: bool, seed: int) -> None:
    """Sure forecasts are taken as they are, and of unsure ones nothing is left of what is forgotten."""
    mean, D, P = pieces()
    rng = np.random.default_rng(seed)
    z = np.linalg.cholesky(P + 1e-9 * np.eye(SIZE)) @ rng.normal(size=SIZE)
    variance = np.full(SIZE, size) if even else size * rng.uniform(0.5, 2.0, SIZE)
    found = bound(background(mean + D @ z, variance))
    R = found.errors(torch.eye(SIZE)).double().numpy()
    assert np.linalg.eigvalsh((R + R.T) / 2)[0] > 0
    assert bool(torch.isfinite(found.y).all())
    taken = np.linalg.solve(P + R, P).T @ found.y.double().numpy()
    assert np.linalg.norm(taken) < 1.3 * np.linalg.norm(z)
    if size < 1e-3:
        np.testing.assert_allclose(taken, z, atol=0.1)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_spread_of_an_ensemble_is_the_error_of_its_mean_once(share):
    """An ensemble is a distribution of the truth: with the prior it is what it was without."""
    mean, D, P = pieces()
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(P + 1e-9 * np.eye(SIZE))
    members = D @ (share**0.5 * root @ rng.normal(size=(SIZE, 4)))
    centre = D @ ((1 - share) ** 0.5 * root @ rng.normal(size=SIZE))
    spread = share * np.diag(D @ P @ D.T)
    given_ = background(mean + centre, spread, ensemble=(members - members.mean(1, keepdims=True)).T)
    given_ = [replace(s, background=replace(KIND, static=1.0)) for s in given_]
    found = bound(given_)
    R = found.errors(torch.eye(SIZE)).double().numpy()
    gain = np.linalg.solve(P + R, P).T
    posterior = np.diag(D @ (P - gain @ P) @ D.T) / np.diag(D @ P @ D.T)
    # Frames tell of each other, as the errors of neighbouring ones are taken to be little correlated.
    assert 0.5 * share < posterior.mean() < 1.25 * share
    taken = D @ (gain @ found.y.double().numpy())
    assert np.linalg.norm(taken - centre) < 0.4 * np.linalg.norm(centre)


@given(st.integers(2, 40), st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_an_ensemble_that_knows_nothing_takes_nothing_away(count: int, seed: int) -> None:
    """Members that are independent of the truth, such as those of other years: their mean is that of chance."""
    mean, D, P = pieces()
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(P + 1e-9 * np.eye(SIZE))
    members = D @ (root @ rng.normal(size=(SIZE, count)))
    centre = members.mean(1, keepdims=True)
    variance = np.diag(D @ P @ D.T) * (1 + 1 / count)
    found = bound(background(mean + centre[:, 0], variance, ensemble=(members - centre).T))
    R = found.errors(torch.eye(SIZE)).double().numpy()
    gain = np.linalg.solve(P + R, P).T
    climate = np.trace(D @ P @ D.T)
    taken = D @ (gain @ found.y.double().numpy())
    assert taken @ taken < 0.35 * climate  # nothing but chance: of three members a third without the prior
    assert np.trace(D @ (P - gain @ P) @ D.T) > 0.6 * climate


def test_modes_keep_their_variance_and_correlation_in_a_process_like_another():
    base = process()
    variance, rho = base.variances() * 0.3, torch.full_like(base.variances(), 0.5)
    other = base.like(variance, rho)
    torch.testing.assert_close(other.variances(), variance)
    torch.testing.assert_close(other.correlations(3)[2], rho**3, atol=1e-5, rtol=0)
    x = torch.randn(1, 2, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    now = base.trajectory(1).apply(lambda d: d, x[:, :1]) * 0.3
    found = other.trajectory(2).apply(lambda d: d, torch.cat([x[:, :1], 0 * x[:, :1]], 1))
    torch.testing.assert_close(found, torch.cat([now, 0.5 * now], 1), atol=1e-4, rtol=1e-3)

"""The Gaussian prior against dense linear algebra."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.priors.autoregression import extend, levinson
from xslams.priors.gaussian import StationaryGaussian

SHAPE = (2, 3, 8)


def fitted(*, periodic: bool, modes: int, length: int = 400, coupled: int = 0) -> StationaryGaussian:
    """Prior of a field that is red in space and time."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(length, *SHAPE, generator=generator)
    noise = noise + noise.roll(1, -1) + 0.5 * noise.roll(1, -2)
    z = torch.zeros_like(noise)
    for i in range(1, length):
        # Advection by one cell and decay.
        z[i] = 0.7 * z[i - 1].roll(1, -1) + noise[i]
    prior = StationaryGaussian(SHAPE, periodic=periodic, modes=modes, lags=3, coupled=coupled)
    prior.fit([z[50:200], z[200:]])
    return prior


def dense(prior: StationaryGaussian, length: int) -> torch.Tensor:
    """Covariance of a trajectory as a matrix."""
    gaussian = prior.trajectory(length)
    eye = torch.eye(length * int(np.prod(SHAPE))).reshape(-1, length, *SHAPE)
    return gaussian.apply(lambda d: d, eye).flatten(1)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("modes", [3, 10**6])
@pytest.mark.parametrize("length", [1, 3, 7])
@pytest.mark.parametrize("coupled", [0, 2])
def test_is_a_covariance(periodic: bool, modes: int, length: int, coupled: int) -> None:
    cov = dense(fitted(periodic=periodic, modes=modes, coupled=coupled), length).double()
    torch.testing.assert_close(cov, cov.T, atol=1e-3, rtol=0)
    assert torch.linalg.eigvalsh(cov).min() > -1e-3


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("modes", [3, 10**6])
@pytest.mark.parametrize("coupled", [0, 2])
def test_wiener_filter_and_covariance_are_those_of_the_dense_matrix(periodic: bool, modes: int, coupled: int) -> None:
    prior = fitted(periodic=periodic, modes=modes, coupled=coupled)
    gaussian, length = prior.trajectory(4), 4
    cov = dense(prior, length).double()
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(3, length, *SHAPE, generator=generator)
    for alpha, sigma in [(1.0, 0.3), (0.6, 2.0)]:
        a, s = torch.tensor(alpha), torch.tensor(sigma)
        system = alpha**2 * cov + sigma**2 * torch.eye(len(cov), dtype=cov.dtype)
        mean = alpha * cov @ torch.linalg.solve(system, x_t.flatten(1).double().T)
        torch.testing.assert_close(gaussian.mean(x_t, a, s).flatten(1).double(), mean.T, atol=2e-3, rtol=1e-3)
        post = cov - alpha**2 * cov @ torch.linalg.solve(system, cov)
        product = gaussian.covariance(x_t, a, s).flatten(1).double()
        torch.testing.assert_close(product, x_t.flatten(1).double() @ post, atol=2e-3, rtol=1e-3)
        variance = gaussian.mean_variance(a, s)
        torch.testing.assert_close(variance.double(), post.diagonal().mean(), atol=1e-3, rtol=1e-2)


def test_noise_level_may_differ_by_sample() -> None:
    gaussian = fitted(periodic=True, modes=5).trajectory(3)
    x_t = torch.randn(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    one, sigma = torch.ones(2), torch.tensor([0.5, 3.0])
    together = gaussian.mean(x_t, one, sigma)
    apart = torch.cat([gaussian.mean(x_t[i : i + 1], one[i], sigma[i]) for i in range(2)])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        gaussian.mean_variance(one, sigma), torch.stack([gaussian.mean_variance(one[i], sigma[i]) for i in range(2)])
    )


def test_periodic_prior_does_not_care_where_longitude_begins() -> None:
    gaussian = fitted(periodic=True, modes=4).trajectory(3)
    z = torch.randn(1, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    one = torch.tensor(1.0)
    shifted = gaussian.mean(z.roll(3, -1), one, one)
    torch.testing.assert_close(shifted, gaussian.mean(z, one, one).roll(3, -1), atol=1e-5, rtol=1e-4)


def test_folds_do_not_overrate_the_leading_modes() -> None:
    # White noise: every mode has variance one, whatever a short sample says of its first.
    z = torch.randn(60, *SHAPE, generator=torch.Generator().manual_seed(0))
    leading = []
    for folds in (0, 4):
        prior = StationaryGaussian(SHAPE, periodic=False, modes=5, lags=1)
        prior.fit([z], folds=folds)
        leading.append(float(prior.autocov[0, 0, :, 0].mean()))
    assert leading[0] > 2
    assert 0.6 < leading[1] < 1.4


@pytest.mark.parametrize("periodic", [True, False])
def test_modes_survive_eight_bits(periodic: bool) -> None:
    prior = fitted(periodic=periodic, modes=4)
    basis = prior.basis()
    prior.modes.copy_(prior.quantized())
    gram = prior.basis().mH @ prior.basis()
    torch.testing.assert_close(gram, torch.eye(4).expand_as(gram).to(gram.dtype), atol=1e-3, rtol=0)
    overlap = (prior.basis().conj() * basis).sum(1).abs()
    assert overlap.min() > 0.999
    prior_again = prior.basis()
    prior.modes.copy_(prior.quantized())
    torch.testing.assert_close(prior.basis(), prior_again)


def test_learns_the_direction_in_which_waves_travel() -> None:
    cov = dense(fitted(periodic=True, modes=10**6, length=4000), 2).reshape(2, *SHAPE, 2, *SHAPE)
    # The field moves one cell eastward per frame: the covariance with the next frame peaks one cell to the east.
    ahead = cov[0, 0, 1, 3, 1, 0, 1]
    assert int(ahead.argmax()) == 4


@given(st.lists(st.floats(-0.9, 0.9), min_size=1, max_size=4), st.integers(6, 12))
def test_levinson_solves_the_yule_walker_equations(reflections: list[float], length: int) -> None:
    # Any reflection coefficients below one in modulus are those of a stationary process.
    coefficients = np.zeros(0)
    autocov, variance = [1.0], 1.0
    for k in reflections:
        autocov.append(float(coefficients @ np.array(autocov[::-1][: len(coefficients)])) + k * variance)
        coefficients = np.append(coefficients - k * coefficients[::-1], k)
        variance *= 1 - k**2
    cov = torch.tensor(autocov, dtype=torch.complex128)[:, None, None]
    found = torch.stack(levinson(cov)).real.flatten().numpy()
    np.testing.assert_allclose(found, scipy.linalg.solve_toeplitz(autocov[:-1], autocov[1:]), atol=1e-6)
    extended = extend(cov, length).real.flatten().numpy()
    assert np.linalg.eigvalsh(scipy.linalg.toeplitz(extended)).min() > -1e-9


@pytest.mark.parametrize("period", [5.0, 21.0, 60.0])
def test_a_wave_without_noise_is_extended_as_a_wave(period: float) -> None:
    # Sums over pairs divided by their number would not be positive definite here, and the extension would explode.
    phase = 2 * np.pi * torch.arange(120)[:, None] / period + torch.arange(8) * np.pi / 4
    run = torch.sin(phase)[:, None, None, :].expand(-1, 2, 3, -1).float()
    prior = StationaryGaussian(SHAPE, periodic=True, modes=2, lags=4)
    prior.fit([run])
    cov = torch.view_as_complex(prior.autocov.contiguous())
    extended = extend(cov, 60)
    assert bool((extended.abs() <= 1.001 * cov[0].abs() + 1e-6).all())
    values = prior.trajectory(60).values
    assert bool(torch.isfinite(values).all())


def autoregressive(rho: list[float], frames: int, seed: int) -> torch.Tensor:
    """Frames whose cells are AR(1) processes of variances 4, 3, 2, ..."""
    generator = torch.Generator().manual_seed(seed)
    r = torch.tensor(rho)
    noise = torch.randn(frames, len(rho), generator=generator)
    x = noise[:1].clone()
    frames_ = [x[0]]
    for e in noise[1:]:
        frames_.append(r * frames_[-1] + torch.sqrt(1 - r**2) * e)
    return (torch.stack(frames_) * torch.arange(len(rho), 0, -1)).reshape(frames, 1, 1, len(rho))


def test_smoothing_averages_correlations_and_keeps_variances() -> None:
    run = autoregressive([0.9, 0.5, 0.7, 0.3], 400, seed=0)
    plain, smooth = (StationaryGaussian((1, 1, 4), periodic=False, modes=4, lags=3) for _ in range(2))
    plain.fit([run])
    smooth.fit([run], smoothing=3)
    variance = plain.autocov[0]
    torch.testing.assert_close(smooth.autocov[0], variance)
    own, mean = plain.autocov / variance, smooth.autocov / variance
    torch.testing.assert_close(mean[:, 0, 1], own[:, 0, :3].mean(1))
    torch.testing.assert_close(mean[:, 0, 0], own[:, 0, :2].mean(1))


def test_smoothed_covariances_are_positive_for_any_length() -> None:
    prior = StationaryGaussian((1, 1, 4), periodic=False, modes=4, lags=3)
    prior.fit([autoregressive([0.9, 0.5, 0.7, 0.3], 60, seed=1)], smoothing=3)
    for length in (1, 4, 25):
        trajectory = prior.trajectory(length)
        z = torch.randn(2, length, 1, 1, 4, generator=torch.Generator().manual_seed(2))
        # The clamp of eigenvalues that rounding made negative must have nothing to do.
        torch.testing.assert_close(trajectory.apply(lambda d: d / d, z), z, atol=1e-4, rtol=1e-4)
        assert bool((trajectory.values > 1e-5).all())


def advected(frames: int, seed: int) -> torch.Tensor:
    """A pattern that moves by a cell a frame, on a domain that is not periodic for the prior."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.zeros(frames, 1, 1, 6)
    for i in range(1, frames):
        z[i] = 0.9 * z[i - 1].roll(1, -1) + torch.randn(1, 1, 6, generator=generator)
    return z


def test_coupled_modes_have_the_lag_covariances_of_the_sample() -> None:
    run = advected(300, seed=2)
    prior = StationaryGaussian((1, 1, 6), periodic=False, modes=6, lags=2, coupled=6)
    prior.fit([run])
    x = run.flatten(1).double()
    sample = torch.stack([x[lag:].T @ x[: len(x) - lag] for lag in range(3)]) / len(x)
    eye = torch.eye(18).reshape(-1, 3, 1, 1, 6)
    cov = prior.trajectory(3).apply(lambda d: d, eye).reshape(3, 6, 3, 6).double()
    for lag in range(3):
        torch.testing.assert_close(cov[2, :, 2 - lag], sample[lag], atol=2e-3, rtol=1e-3)


def test_coupled_modes_are_extended_by_their_autoregression() -> None:
    prior = StationaryGaussian((1, 1, 6), periodic=False, modes=6, lags=1, coupled=6)
    prior.fit([advected(20000, seed=3)])
    eye = torch.eye(30).reshape(-1, 5, 1, 1, 6)
    cov = prior.trajectory(5).apply(lambda d: d, eye).reshape(5, 6, 5, 6)
    variance = cov[0, 0, 0, 0]
    # Four frames later the pattern is four cells further on, and weaker by the fourth power of its decay.
    assert float(cov[4, 4, 0, 0] / variance) == pytest.approx(0.9**4, abs=0.03)
    assert float(cov[4, 2, 0, 0] / variance) == pytest.approx(0.0, abs=0.05)


@given(st.floats(0, 1), st.integers(0, 50), st.integers(8, 40))
@settings(max_examples=15, deadline=None)
def test_coupled_covariances_are_positive_for_any_length(coupling: float, seed: int, frames: int) -> None:
    prior = StationaryGaussian((1, 1, 6), periodic=False, modes=6, lags=3, coupled=4)
    prior.fit([advected(frames, seed)], coupling=coupling, folds=4)
    for length in (1, 4, 25):
        values = prior.trajectory(length).coupled_values
        assert bool(torch.isfinite(values).all())
        # Clamped from below, they add up to the variance only if none was negative.
        total = prior.crosscov[0, 0, :, :, 0].trace() * length
        assert float(values.sum()) == pytest.approx(float(total), rel=2e-3, abs=1e-3)


def test_a_change_of_the_weights_is_seen_by_the_next_trajectory() -> None:
    prior = fitted(periodic=False, modes=3)
    before = prior.trajectory(3)
    assert prior.trajectory(3) is before
    prior.inflate(2.0)
    torch.testing.assert_close(prior.trajectory(3).values, 2 * before.values)


def test_runs_shorter_than_the_lags_do_no_harm() -> None:
    run = advected(100, seed=4)
    prior = StationaryGaussian((1, 1, 6), periodic=False, modes=6, lags=4, coupled=2)
    prior.fit([run[:2], run[2:3], run[3:]], folds=2)
    assert bool(torch.isfinite(prior.autocov).all() & torch.isfinite(prior.crosscov).all())

"""Lag correlations averaged over neighbouring modes stay those of a process, and average what they should."""

from __future__ import annotations

import torch

from xslams.priors.gaussian import GaussianPrior


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
    plain, smooth = (GaussianPrior((1, 1, 4), periodic=False, modes=4, lags=3) for _ in range(2))
    plain.fit([run])
    smooth.fit([run], smoothing=3)
    variance = plain.autocov[0]
    torch.testing.assert_close(smooth.autocov[0], variance)
    own, mean = plain.autocov / variance, smooth.autocov / variance
    torch.testing.assert_close(mean[:, 0, 1], own[:, 0, :3].mean(1))
    torch.testing.assert_close(mean[:, 0, 0], own[:, 0, :2].mean(1))


def test_smoothed_covariances_are_positive_for_any_length() -> None:
    prior = GaussianPrior((1, 1, 4), periodic=False, modes=4, lags=3)
    prior.fit([autoregressive([0.9, 0.5, 0.7, 0.3], 60, seed=1)], smoothing=3)
    for length in (1, 4, 25):
        trajectory = prior.trajectory(length)
        z = torch.randn(2, length, 1, 1, 4, generator=torch.Generator().manual_seed(2))
        # The clamp of eigenvalues that rounding made negative must have nothing to do.
        torch.testing.assert_close(trajectory.apply(lambda d: d / d, z), z, atol=1e-4, rtol=1e-4)
        assert bool((trajectory.values > 1e-5).all())

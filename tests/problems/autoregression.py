"""An autoregressive process whose posterior is known exactly, observed at every fifth frame."""

from __future__ import annotations

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.linalg.covariance import IsotropicCovariance
from azula.noise import Schedule
from torch import Tensor

from tests.problems.posteriors import SCHEDULE, UnitNoise, moments
from xslams.inference.guidance import MMPS, guide
from xslams.inference.samplers import sample
from xslams.priors.posteriors import CorrelatedPosterior

LENGTH = 60
SEEN = torch.arange(0, LENGTH, 5)
ERROR = 0.3


def covariance(frames: int, phi: float) -> Tensor:
    k = torch.arange(frames, dtype=torch.float64)
    return phi ** (k[:, None] - k).abs()


class AR1(Denoiser):
    """Exact denoiser of stretches of any length of an AR(1) process of unit variance, each element for itself."""

    def __init__(self, phi: float, schedule: Schedule = SCHEDULE) -> None:
        super().__init__()
        self.phi, self.schedule = phi, schedule
        self.batches: list[tuple[int, ...]] = []

    def wiener(self, frames: int, t: Tensor) -> Tensor:
        alpha, sigma = self.schedule(t.double())
        prior = covariance(frames, self.phi)
        total = alpha**2 * prior + sigma**2 * torch.eye(frames, dtype=torch.float64)
        return torch.linalg.solve(total, alpha * prior).T

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        self.batches.append(tuple(x_t.shape))
        return DiracPosterior(mean=torch.einsum("tu,bu...->bt...", self.wiener(x_t.shape[1], t).to(x_t), x_t))


class KnownAR1(AR1):
    """The same, which knows its covariance."""

    def posterior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> CorrelatedPosterior:
        alpha, sigma = self.schedule(t)

        def product(v: Tensor) -> Tensor:
            return sigma**2 / alpha * torch.einsum("tu,bu...->bt...", self.wiener(v.shape[1], t).to(v), v)

        return CorrelatedPosterior(self(x_t, t).mean, product)


def kalman_smoother(y: Tensor, phi: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of an AR(1) process given values at `SEEN` (Rauch, Tung and Striebel 1965)."""
    forecast, filtered = [], []
    mean, variance = 0.0, 1.0
    values = dict(zip(SEEN.tolist(), y.tolist(), strict=True))
    for frame in range(LENGTH):
        if frame:
            mean, variance = phi * mean, phi**2 * variance + 1 - phi**2
        forecast.append((mean, variance))
        if frame in values:
            gain = variance / (variance + ERROR**2)
            mean, variance = mean + gain * (values[frame] - mean), (1 - gain) * variance
        filtered.append((mean, variance))
    smooth = [filtered[-1]]
    for frame in range(LENGTH - 2, -1, -1):
        mean, variance = filtered[frame]
        gain = phi * variance / forecast[frame + 1][1]
        expected, spread = forecast[frame + 1]
        smooth.append((mean + gain * (smooth[-1][0] - expected), variance + gain**2 * (smooth[-1][1] - spread)))
    means, variances = zip(*reversed(smooth), strict=True)
    return torch.tensor(means, dtype=torch.float64), torch.tensor(variances, dtype=torch.float64)


def observations(phi: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    truth = torch.linalg.cholesky(covariance(LENGTH, phi)) @ torch.randn(
        LENGTH, generator=generator, dtype=torch.float64
    )
    return truth[SEEN] + ERROR * torch.randn(len(SEEN), generator=generator, dtype=torch.float64)


def errors(denoiser: Denoiser, phi: float, draws: int = 1, **options) -> dict[str, float]:
    """Largest errors of mean and deviation in deviations, without sampling error, and that of the covariance."""
    y = observations(phi)
    noise = UnitNoise(LENGTH, draws)
    guided = guide(denoiser, y, lambda z: z[:, SEEN], IsotropicCovariance(ERROR**2), MMPS(tolerance=1e-6))
    mean, cov = moments(sample(guided, 100 * noise(0), noise, **options))
    expected, variance = kalman_smoother(y, phi)
    prior = covariance(LENGTH, phi)
    gain = torch.linalg.solve(prior[SEEN][:, SEEN] + ERROR**2 * torch.eye(len(SEEN)), prior[SEEN]).T
    exact = prior - gain @ prior[SEEN]
    torch.testing.assert_close(exact.diagonal(), variance)  # two ways to the same smoother
    return {
        "mean": float(((mean - expected) / variance.sqrt()).abs().max()),
        "std": float(((cov.diagonal() / variance).sqrt() - 1).abs().max()),
        "covariance": float(torch.linalg.norm(cov - exact) / torch.linalg.norm(exact)),
    }

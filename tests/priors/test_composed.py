"""Trajectories composed of windows, against the Kalman smoother."""

from __future__ import annotations

import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.linalg.covariance import IsotropicCovariance
from azula.noise import CosineSchedule, Schedule, VESchedule
from torch import Tensor

from tests.problems.posteriors import UnitNoise, moments
from xslams.errors import OptionError
from xslams.inference import sample_posterior
from xslams.inference.guidance import MMPS, guide
from xslams.inference.samplers import sample
from xslams.priors.composed import compose
from xslams.priors.posteriors import ConditionalDenoiser, CorrelatedPosterior
from xslams.priors.windows import RULES, pieces

SCHEDULE = VESchedule(0.01, 100.0)
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


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize(
    ("rule", "phi", "window"), [("overlap", 0.5, 5), ("overlap", 0.8, 13), ("interior", 0.5, 9), ("interior", 0.8, 21)]
)
def test_windows_of_a_few_correlation_times_match_the_kalman_smoother(
    rule: str, phi: float, window: int, knows: bool
) -> None:
    denoiser = compose((KnownAR1 if knows else AR1)(phi), window, rule=rule, batch_size=10**6)
    found = errors(denoiser, phi)
    assert found["mean"] < 0.05
    assert found["std"] < 0.03
    assert found["covariance"] < 0.10


def test_corrections_shorten_the_windows_that_are_needed() -> None:
    denoiser = compose(KnownAR1(0.9), 9, rule="overlap", batch_size=10**6)
    rough = errors(denoiser, 0.9)
    fine = errors(denoiser, 0.9, draws=16 * 3, steps=16, corrections=2)
    assert rough["mean"] > 0.2
    assert fine["mean"] < 0.05
    assert fine["std"] < 0.03
    assert fine["covariance"] < 0.10


def test_errors_fall_geometrically_with_the_context() -> None:
    def error(rule: str, window: int) -> float:
        t = torch.tensor(0.5, dtype=torch.float64)  # noise of the size of the data
        x = torch.eye(LENGTH, dtype=torch.float64)
        composed = compose(AR1(0.9), window, rule=rule, batch_size=10**6)(x, t).mean
        return float(torch.linalg.norm(composed - AR1(0.9)(x, t).mean))

    for rule, windows in (("interior", (5, 9, 13)), ("overlap", (3, 5, 7))):
        first, second, third = (error(rule, w) for w in windows)
        # Two frames of context more: on both sides, or shared.
        assert second < 0.6 * first
        assert third / second == pytest.approx(second / first, rel=0.25)
    # Shared frames count for nearly as much as frames on both sides, and windows are half as long.
    assert error("overlap", 5) < 1.6 * error("interior", 9)
    assert error("overlap", 9) < 0.5 * error("interior", 9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("schedule", [SCHEDULE, CosineSchedule(1e-2, 1e-2)])
def test_independent_frames_need_no_context(rule: str, schedule: Schedule) -> None:
    x = torch.randn(3, LENGTH, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor(0.6, dtype=torch.float64)
    whole = KnownAR1(1e-9, schedule)
    for window, context in ((1, 0), (4, 0), (4, 1), (7, 3)):
        composed = compose(KnownAR1(1e-9, schedule), window, rule=rule, context=context)
        torch.testing.assert_close(composed(x, t).mean, whole(x, t).mean)
        torch.testing.assert_close(composed.posterior(x, t).covariance(x), whole.posterior(x, t).covariance(x))


@pytest.mark.parametrize("rule", RULES)
def test_a_trajectory_of_one_window_is_that_window(rule: str) -> None:
    x = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    t = torch.tensor(0.6)
    for window in (5, 9):
        composed = compose(AR1(0.7), window, rule=rule)
        torch.testing.assert_close(composed(x, t).mean, AR1(0.7)(x, t).mean)


@pytest.mark.parametrize("rule", RULES)
def test_composed_covariance_is_symmetric_and_that_of_the_derivative(rule: str) -> None:
    t = torch.tensor(0.5, dtype=torch.float64)
    denoiser = compose(KnownAR1(0.8), 7, rule=rule, context=2)
    eye = torch.eye(20, dtype=torch.float64)
    matrix = denoiser.posterior(eye, t).covariance(eye)
    torch.testing.assert_close(matrix, matrix.T)
    jacobian = torch.autograd.functional.jacobian(lambda x: denoiser(x[None], t).mean[0], eye[0])
    sigma2 = SCHEDULE(t)[1] ** 2
    torch.testing.assert_close(matrix, sigma2 * (jacobian + jacobian.T) / 2)
    assert not isinstance(compose(AR1(0.8), 7), ConditionalDenoiser)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_memory_does_not_depend_on_the_length(rule: str, batch_size: int) -> None:
    x = torch.randn(2, 100, 3, generator=torch.Generator().manual_seed(0))
    t = torch.tensor(0.5)
    part = AR1(0.8)
    composed = compose(part, 6, rule=rule, context=2, batch_size=batch_size)
    reference = compose(AR1(0.8), 6, rule=rule, context=2, batch_size=10**6)
    torch.testing.assert_close(composed(x, t).mean, reference(x, t).mean)
    assert max(len_ for len_, *_ in part.batches) <= batch_size

    # What is kept for derivatives is the inputs of the windows and no more: the windows are computed again.
    class Wide(AR1):
        """A denoiser that needs a lot of memory inside."""

        def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
            inside = torch.tanh(torch.cat([x_t] * 50, dim=-1))
            return DiracPosterior(mean=super().forward(x_t, t).mean + 0 * inside.sum())

    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda a: kept.append(a.numel()) or a, lambda a: a):
        leaf = x.clone().requires_grad_()
        y = compose(Wide(0.8), 6, rule=rule, context=2, batch_size=batch_size)(leaf, t).mean
    windows = sum(size for _, size, _, _ in pieces(100, 6, 2, rule))
    assert sum(kept) < 10 * windows * 2 * 3
    (gradient,) = torch.autograd.grad(y.sum(), leaf)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(reference(leaf, t).mean.sum(), leaf)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("length", [3, 8, 9, 10, 23, 50])
def test_every_frame_is_answered_for_once(rule: str, length: int) -> None:
    for window in (3, 5, 8):
        for context in range(window if rule == "overlap" else (window + 1) // 2):
            count = torch.zeros(length)
            for first, size, counted, sign in pieces(length, window, context, rule):
                assert 0 <= first <= first + size <= length
                count[first : first + size][counted] += sign
            assert (count == 1).all()


def test_members_of_a_long_trajectory_are_posterior_samples() -> None:
    # Through the public function, and on two elements per frame of which one is seen.
    y = observations(0.5).float()
    denoiser = compose(KnownAR1(0.5), 5, rule="overlap", batch_size=10**6)
    z = sample_posterior(
        denoiser, y, lambda z: z[:, SEEN, 0], ERROR**2, shape=(LENGTH, 2), members=512, antithetic=True,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    mean, variance = kalman_smoother(y.double(), 0.5)
    assert ((z[..., 0].mean(0) - mean) / variance.sqrt()).abs().max() < 0.05
    assert (z[..., 0].std(0) / variance.sqrt() - 1).mean().abs() < 0.03
    assert z[..., 1].mean(0).abs().max() < 0.02
    assert (z[..., 1].std(0) - 1).mean().abs() < 0.03


def test_bad_options_are_named() -> None:
    with pytest.raises(OptionError, match="rule 'magic'"):
        compose(AR1(0.5), 5, rule="magic")
    with pytest.raises(OptionError, match="windows of 5 frames and rule='interior', context is 0 to 2; got 3"):
        compose(AR1(0.5), 5, context=3)
    with pytest.raises(OptionError, match="context is 0 to 4; got 5"):
        compose(AR1(0.5), 5, rule="overlap", context=5)

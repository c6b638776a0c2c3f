"""Trajectories composed of windows, against the Kalman smoother."""

from __future__ import annotations

import pytest
import torch
from azula.denoise import DiracPosterior
from azula.noise import CosineSchedule, Schedule
from torch import Tensor

from tests.problems.autoregression import (
    AR1,
    ERROR,
    LENGTH,
    SEEN,
    KnownAR1,
    errors,
    kalman_smoother,
    observations,
)
from tests.problems.posteriors import SCHEDULE
from xslams.errors import OptionError
from xslams.inference import sample_posterior
from xslams.priors.composed import compose
from xslams.priors.posteriors import ConditionalDenoiser
from xslams.priors.windows import RULES, pieces


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

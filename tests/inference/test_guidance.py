"""Guidance: options, derivatives, covariances, and what each method makes of a Gaussian problem."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior, GaussianDenoiser
from azula.guidance.mmps import MMPSDenoiser as AzulaMMPS
from azula.linalg.covariance import DiagonalCovariance, FullCovariance, IsotropicCovariance
from azula.sample import zABSampler
from torch import Tensor

import xslams
from tests.problems.posteriors import SCHEDULE, GaussianProblem, MixtureDenoiser, gaussian, mixture
from xslams.errors import OptionError, SlamsError
from xslams.inference import prior_of, sample_posterior
from xslams.inference.guidance import DPS, GUIDANCE, MMPS, SDA, Guidance, GuidedDenoiser, LinearProblem, guide
from xslams.inference.noise_levels import time_grid
from xslams.priors.posteriors import CorrelatedPosterior, Derivative, TweedieDenoiser


def draw(problem: GaussianProblem, members: int = 2048, **options) -> Tensor:
    return sample_posterior(
        problem.denoiser(), problem.y, problem.observe, problem.error, shape=(problem.size,), members=members,
        antithetic=True, generator=torch.Generator().manual_seed(1), **options,
    )  # fmt: skip


def errors(problem: GaussianProblem, z: Tensor) -> tuple[float, float]:
    """Root mean square error of the mean in posterior deviations, and mean relative error of the deviations."""
    std = (z - z.mean(0)).square().mean(0).sqrt()
    return float(((z.mean(0) - problem.mean) / problem.std).square().mean().sqrt()), float(
        (std / problem.std - 1).mean()
    )


PROBLEM = gaussian(32, 12, "ar", operator="sparse", errors="different", error=0.2)


def test_names_and_options_are_the_same_thing() -> None:
    for name, options in (("mmps", MMPS()), ("sda", SDA()), ("dps", DPS())):
        z = [draw(PROBLEM, 2, guidance=g, steps=4) for g in (name, options)]
        assert torch.equal(*z)
    assert MMPS(iterations=1) == MMPS(iterations=1)
    assert not torch.equal(draw(PROBLEM, 2, guidance=MMPS(iterations=1), steps=4), z[0])


def test_unknown_names_and_bad_errors_are_reported() -> None:
    with pytest.raises(OptionError, match=r"'mpms'\. Did you mean 'mmps'\? Choose one of 'mmps', 'sda', 'dps'"):
        draw(PROBLEM, 2, guidance="mpms")
    with pytest.raises(OptionError, match=r"guidance=MMPS; expected a name or an instance, such as MMPS\(\)"):
        draw(PROBLEM, 2, guidance=MMPS)
    with pytest.raises(SlamsError, match="must be positive numbers; 1 of 1 are not, such as 0"):
        sample_posterior(PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, 0.0, shape=(32,), members=2)
    with pytest.raises(SlamsError, match=r"shape \(1, 3\) for one member, and y has shape \(12,\)"):
        sample_posterior(PROBLEM.denoiser(), PROBLEM.y, lambda z: z[:, :3], 1.0, shape=(32,), members=2)
    correlated = gaussian(8, 4, errors="correlated")
    with pytest.raises(OptionError, match=r"'sda' needs independent errors; got a FullCovariance"):
        draw(correlated, 2, guidance="sda")


def test_the_number_of_iterations_matters() -> None:
    problem = gaussian(32, 12, "steep", operator="sparse", errors="different")
    choices = (MMPS(iterations=1), MMPS(iterations=3), MMPS(iterations=12), MMPS())
    means, spreads = zip(*(errors(problem, draw(problem, guidance=g)) for g in choices), strict=True)
    assert means[0] > 0.1
    assert means[1] < 0.3
    assert max(means[2:]) < 0.005
    assert spreads[0] > 0.1
    # The sampling error of a deviation, pooled over 32 elements that have much in common, is about 0.01.
    assert abs(spreads[1]) < 0.06
    assert max(abs(s) for s in spreads[2:]) < 0.02


def test_errors_may_differ_and_be_correlated() -> None:
    # Given as variances, as one variance, and as a covariance.
    variance = torch.rand(4, generator=torch.Generator().manual_seed(0)) + 0.1
    prior = GaussianDenoiser(torch.zeros(4), DiagonalCovariance(torch.ones(4)), SCHEDULE)
    mix, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3)))
    cases = [
        (variance, torch.diag(variance)),
        (DiagonalCovariance(variance), torch.diag(variance)),
        (0.3, 0.3 * torch.eye(4)),
        (FullCovariance(mix, variance), mix @ torch.diag(variance) @ mix.T),
    ]
    y = torch.arange(4.0)
    for given, dense in cases:
        gain = torch.linalg.inv(torch.eye(4) + dense)
        z = sample_posterior(
            prior, y, lambda x: x, given, shape=(4,), members=4096, antithetic=True,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        torch.testing.assert_close(z.mean(0), gain @ y, atol=0.01, rtol=0)
        torch.testing.assert_close(torch.cov(z.T), torch.eye(4) - gain, atol=0.04, rtol=0)


def test_weights_with_an_exact_solve_are_those_of_azula() -> None:
    problem = gaussian(16, 6, errors="correlated", dtype=torch.float64)
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in torch.linspace(0.1, 0.9, 5, dtype=torch.float64):
        ours = guide(problem.denoiser(), problem.y, problem.observe, problem.error, MMPS(tolerance=1e-9))
        theirs = AzulaMMPS(problem.denoiser(), problem.y, problem.observe, problem.error, iterations=6)
        _, sigma = SCHEDULE(t)
        torch.testing.assert_close(ours(sigma * x, t).mean, theirs(sigma * x, t).mean, rtol=1e-6, atol=1e-8)


def test_forward_mode_gives_the_same() -> None:
    problem = mixture()
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    for options in (MMPS, SDA, DPS):
        for t in (torch.tensor(0.3), torch.tensor(0.6)):
            backward, forward = (
                guide(
                    MixtureDenoiser(problem.prior), problem.y, problem.observe, IsotropicCovariance(problem.error**2),
                    options(derivative=mode),
                )(SCHEDULE(t)[1] * x, t).mean
                for mode in ("vjp", "jvp")
            )  # fmt: skip
            torch.testing.assert_close(forward, backward, rtol=1e-3, atol=1e-4)


class KnowsItsCovariance(GaussianDenoiser):
    """Denoiser with a posterior covariance in closed form, which must not be differentiated."""

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        assert not torch.is_grad_enabled()
        return super().forward(x_t, t)

    def posterior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> CorrelatedPosterior:
        alpha, sigma = self.schedule(t)
        covariance = FullCovariance(self.cov.Q, self.cov.L * sigma**2 / (alpha**2 * self.cov.L + sigma**2))
        return CorrelatedPosterior(self(x_t, t).mean, covariance)


@pytest.mark.parametrize("guidance", ["mmps", "sda", "dps"])
def test_a_covariance_in_closed_form_is_used(guidance: str) -> None:
    denoiser = KnowsItsCovariance(torch.zeros(32), PROBLEM.prior, SCHEDULE)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    for t in (torch.tensor(0.2), torch.tensor(0.5)):
        known, derived = (
            guide(d, PROBLEM.y, PROBLEM.observe, PROBLEM.error, guidance)(SCHEDULE(t)[1] * x, t).mean
            for d in (denoiser, PROBLEM.denoiser())
        )
        torch.testing.assert_close(known, derived, rtol=2e-2, atol=2e-3)


def test_automatic_gamma_is_safe_and_corrections_make_it_exact() -> None:
    for seed in range(2):
        # Observations of widely different accuracy of scales that span two orders of magnitude.
        problem = gaussian(32, 12, "steep", operator="sparse", errors="different", seed=seed)
        rough = errors(problem, draw(problem, guidance="sda"))
        fine = errors(problem, draw(problem, 512, guidance="sda", steps=48, corrections=7))
        assert 0.05 < rough[0] < 2
        assert abs(rough[1]) < 1
        assert fine[0] < min(0.2 * rough[0], 0.2)
        assert abs(fine[1]) < 0.05
        # Set by hand, it is either too small and diverges, or so large that little is learned without corrections.
        small = draw(problem, 64, guidance=SDA(gamma=0.01), steps=48, corrections=7)
        assert not (small.std(0) / problem.std).max() < 10
        assert errors(problem, draw(problem, guidance=SDA(gamma=1.0)))[0] > 1.2 * rough[0]


def test_gamma_by_hand_is_that_of_the_paper() -> None:
    guided = guide(PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, PROBLEM.error, SDA(gamma=0.2))
    t = torch.tensor(0.5)
    alpha, sigma = SCHEDULE(t)
    x = torch.randn(2, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x_hat = PROBLEM.denoiser()(x, t).mean
    variance = PROBLEM.error.D + 0.2 * (sigma / alpha) ** 2
    likelihood = -((PROBLEM.y - PROBLEM.observe(x_hat)).square() / variance).sum() / 2
    expected = x_hat + sigma**2 / alpha * torch.autograd.grad(likelihood, x)[0]
    torch.testing.assert_close(guided(x.detach(), t).mean, expected.detach(), rtol=1e-4, atol=1e-5)


def test_dps_is_a_step_of_given_length() -> None:
    t = torch.tensor(0.5)
    _, sigma = SCHEDULE(t)
    x = torch.randn(2, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x_hat = PROBLEM.denoiser()(x, t).mean
    residual = (PROBLEM.y - PROBLEM.observe(x_hat)) / PROBLEM.error.D.sqrt()
    step = -torch.autograd.grad(residual.norm(dim=-1).sum(), x)[0]
    for zeta in (0.5, 1.0):
        guided = guide(PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, PROBLEM.error, DPS(zeta=zeta))
        torch.testing.assert_close(
            guided(x.detach(), t).mean, (x_hat + zeta * sigma * step).detach(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(("guidance", "tolerance"), [("sda", 0.5), ("dps", 0.5)])
def test_other_guidance_draws_towards_the_observations(guidance: str, tolerance: float) -> None:
    problem = gaussian(16, 6, error=0.3)
    z = draw(problem, 1024, guidance=guidance, steps=64)
    assert torch.linalg.norm(z.mean(0) - problem.mean) < tolerance * torch.linalg.norm(problem.mean)


def test_all_guidance_is_a_denoiser() -> None:
    for name in ("mmps", "sda", "dps"):
        guided = guide(PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, PROBLEM.error, name)
        assert isinstance(guided, GuidedDenoiser)
        assert isinstance(guided, Denoiser)
        assert guided.schedule is SCHEDULE


class Foretold(GaussianDenoiser):
    """Denoiser that counts the products with its Jacobian."""

    def __init__(self, problem: GaussianProblem) -> None:
        super().__init__(torch.zeros(problem.size), problem.prior, SCHEDULE)
        self.products = 0

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        mean = super().forward(x_t, t).mean
        if mean.requires_grad:
            mean.register_hook(self._count)
        return DiracPosterior(mean=mean)

    def _count(self, gradient: Tensor) -> None:
        self.products += 1


def test_a_guided_denoiser_has_no_memory_and_its_state_saves_work() -> None:
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    times = time_grid(SCHEDULE, 24)[4:20].float()
    found, products = {}, {}
    for carried in (True, False):
        denoiser = Foretold(PROBLEM)
        guided, state, estimates = guide(denoiser, PROBLEM.y, PROBLEM.observe, PROBLEM.error), None, []
        for t in times:
            posterior, after = guided.advance(SCHEDULE(t)[1] * x, t, state or guided.start())
            state = after if carried else None
            estimates.append(posterior.mean)
        found[carried], products[carried] = torch.stack(estimates), denoiser.products
    # Without its state every call is the first: what was called before does not matter.
    guided = guide(PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, PROBLEM.error)
    for t, estimate in zip(times.flip(0), found[False].flip(0), strict=True):
        assert torch.equal(guided(SCHEDULE(t)[1] * x, t).mean, estimate)
    torch.testing.assert_close(found[True], found[False], rtol=0, atol=0.05)
    assert products[True] < 0.9 * products[False]


def test_samplers_of_azula_take_a_guided_denoiser() -> None:
    problem = gaussian(16, 6, "ar", operator="sparse", error=0.2, dtype=torch.float64)
    guided = guide(problem.denoiser(), problem.y, problem.observe, problem.error, MMPS(tolerance=1e-6))
    x = 100 * torch.randn(2048, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = zABSampler(guided, steps=64, order=2, silent=True)(x)
    assert ((z.mean(0) - problem.mean) / problem.std).square().mean().sqrt() < 0.05
    assert (z.std(0) / problem.std - 1).mean().abs() < 0.05


class _Rough(Denoiser):
    """An exact denoiser that takes half of the covariance for what it is."""

    def __init__(self, exact: Denoiser) -> None:
        super().__init__()
        self.exact, self.schedule = exact, exact.schedule

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        return self.exact(x_t, t)

    def posterior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> CorrelatedPosterior:
        known = TweedieDenoiser(self.exact).posterior(x_t, t)
        return CorrelatedPosterior(known.mean, lambda v: 0.5 * known.covariance(v))


@pytest.mark.parametrize("derivative", ["vjp", "jvp"])
def test_the_derivative_takes_the_place_of_what_a_denoiser_knows(derivative: Derivative) -> None:
    found = {
        covariance: sample_posterior(
            _Rough(PROBLEM.denoiser()), PROBLEM.y, PROBLEM.observe, PROBLEM.error, shape=(32,), members=256, steps=16,
            guidance=MMPS(covariance=covariance, derivative=derivative), antithetic=True,
            generator=torch.Generator().manual_seed(1),
        )
        for covariance in ("known", "derivative")
    }  # fmt: skip
    assert torch.equal(found["derivative"], draw(PROBLEM, 256, steps=16, guidance=MMPS(derivative=derivative)))
    assert errors(PROBLEM, found["known"])[0] > 10 * errors(PROBLEM, found["derivative"])[0]


def test_a_derivative_that_there_is_not_is_reported() -> None:
    prior = prior_of(xslams.open_model("lorenz63"), length=3)
    with pytest.raises(OptionError, match=r"MarkovDenoiser cannot be differentiated.*covariance='known'"):
        sample_posterior(
            prior.denoiser, torch.zeros(3), lambda z: z[:, :, 0, 0, 0], 0.1, shape=prior.shape, members=2, steps=4,
            guidance=MMPS(covariance="derivative"),
        )  # fmt: skip


def test_a_covariance_has_one_of_two_names() -> None:
    with pytest.raises(OptionError, match="covariance='network'; expected 'known' or 'derivative'"):
        MMPS(covariance="network")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Wiener(Guidance):
    """A toy of the user: the exact solution of the system by its dense matrix, with a damping."""

    damping: float = 1.0

    def weights(self, problem: LinearProblem, memory: object) -> tuple[Tensor, object]:
        eye = torch.eye(problem.innovation.shape[-1]).expand(len(problem.innovation), -1, -1)
        columns = [problem.errors(e) + problem.forward(problem.gain(e)) for e in eye.unbind(1)]
        weights = torch.linalg.solve(torch.stack(columns, -1), problem.innovation)
        return self.damping * weights, cast("int", memory or 0) + 1


@pytest.fixture
def wiener() -> Iterator[str]:
    GUIDANCE.register("wiener")(Wiener)
    yield "wiener"
    GUIDANCE.unregister("wiener")


def test_guidance_from_outside_of_the_package(wiener: str) -> None:
    assert wiener in GUIDANCE.names
    named, given, exact = (draw(PROBLEM, 64, guidance=g, steps=16) for g in (wiener, Wiener(), MMPS(tolerance=1e-6)))
    assert torch.equal(named, given)
    torch.testing.assert_close(named, exact, rtol=1e-3, atol=1e-3)
    guided = guide(PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, PROBLEM.error, wiener)
    _, state = guided.advance(torch.ones(1, 32), torch.tensor(0.5), guided.start())
    assert state.memory == 1

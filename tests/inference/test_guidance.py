"""Guidance: options, derivatives, covariances, and what each method makes of a Gaussian problem."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from azula.denoise import Denoiser, DiracPosterior, GaussianDenoiser
from azula.guidance.mmps import MMPSDenoiser as AzulaMMPS
from azula.linalg.covariance import DiagonalCovariance, FullCovariance, IsotropicCovariance
from torch import Tensor

from tests.problems.posteriors import SCHEDULE, GaussianProblem, MixtureDenoiser, gaussian, mixture
from xslams.errors import OptionError, SlamsError
from xslams.inference import sample_posterior
from xslams.inference.guidance import DPS, MMPS, SDA, GuidedDenoiser, guide
from xslams.inference.observation_operator import linearize
from xslams.linalg.conjugate_gradients import conjugate_gradients
from xslams.priors.posteriors import CorrelatedPosterior


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
    with pytest.raises(OptionError, match=r"guidance 'magic'\. Choose one of 'dps', 'mmps', 'sda'"):
        draw(PROBLEM, 2, guidance="magic")
    with pytest.raises(SlamsError, match="positive; got a smallest value of 0"):
        sample_posterior(PROBLEM.denoiser(), PROBLEM.y, PROBLEM.observe, 0.0, shape=(32,), members=2)
    with pytest.raises(SlamsError, match=r"gives \(3,\) per member, but y has shape \(12,\)"):
        sample_posterior(PROBLEM.denoiser(), PROBLEM.y, lambda z: z[:, :3], 1.0, shape=(32,), members=2)
    correlated = gaussian(8, 4, errors="correlated")
    with pytest.raises(OptionError, match=r"'sda' needs independent errors; got a FullCovariance"):
        draw(correlated, 2, guidance="sda")


def test_the_number_of_iterations_matters() -> None:
    problem = gaussian(32, 12, "steep", operator="sparse", errors="different")
    choices = (MMPS(iterations=1), MMPS(iterations=3), MMPS(iterations=12), MMPS())
    means, spreads = zip(*(errors(problem, draw(problem, guidance=g)) for g in choices), strict=True)
    assert means[0] > 1
    assert means[1] < 0.05
    assert max(means[2:]) < 0.005
    assert spreads[0] > 0.3
    # The sampling error of a deviation, pooled over 32 elements that have much in common, is about 0.01.
    assert spreads[1] < 0.06
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


# Operators.

OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda z: z @ torch.arange(12.0).reshape(4, 3),
    "square": lambda z: z[:, :2] ** 2,
    "fields": lambda z: torch.sin(z.reshape(-1, 2, 2)).sum(1),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_linearised(name: str) -> None:
    operator = OPERATORS[name]
    generator = torch.Generator().manual_seed(0)
    z, v = torch.randn(2, 3, 4, generator=generator)
    value, forward, adjoint = linearize(operator, z)
    torch.testing.assert_close(value, operator(z))
    w = torch.randn(value.shape, generator=generator)
    jacobians = [torch.autograd.functional.jacobian(lambda u: operator(u[None])[0], row) for row in z]
    for i, jacobian in enumerate(jacobians):
        torch.testing.assert_close(forward(v)[i], jacobian @ v[i])
        torch.testing.assert_close(adjoint(w)[i], jacobian.T @ w[i])


# The linear solver.


def spd(size: int = 20) -> Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    return root @ root.T + torch.eye(size)


def test_conjugate_gradients_leave_solved_rows_alone() -> None:
    matrix = spd()
    b = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    b[1] = matrix[:, 0]
    together = conjugate_gradients(lambda v: v @ matrix, b, tolerance=1e-5, iterations=200)
    torch.testing.assert_close(together, torch.linalg.solve(matrix, b.T).T, atol=1e-3, rtol=1e-3)
    apart = torch.cat(
        [conjugate_gradients(lambda v: v @ matrix, row[None], tolerance=1e-5, iterations=200) for row in b]
    )
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=1e-5)


def test_a_good_guess_and_a_preconditioner_save_iterations() -> None:
    scale = 10 ** torch.linspace(-2, 2, 20)
    matrix = torch.diag(scale) + 0.01 * spd() / 20
    b = torch.randn(4, 20, generator=torch.Generator().manual_seed(1))
    exact = torch.linalg.solve(matrix, b.T).T
    products = {"none": 0, "guess": 0, "bad guess": 0, "preconditioned": 0}

    def solve(name: str, **options) -> Tensor:
        def system(v: Tensor) -> Tensor:
            products[name] += 1
            return v @ matrix

        return conjugate_gradients(system, b, tolerance=1e-5, iterations=500, **options)

    solve("none")
    solve("guess", x0=exact * (1 + 1e-4))
    torch.testing.assert_close(solve("bad guess", x0=1e6 * exact), solve("none"), rtol=1e-3, atol=1e-3)
    z = solve("preconditioned", precondition=lambda r: r / scale)
    torch.testing.assert_close(z, exact, rtol=1e-3, atol=1e-4)
    assert products["guess"] < products["none"] / 2
    assert products["preconditioned"] < products["none"] / 4
    assert products["bad guess"] <= products["none"]


def test_the_residual_may_be_absolute() -> None:
    matrix = spd()
    b = torch.randn(3, 20, generator=torch.Generator().manual_seed(1)) * torch.tensor([[1.0], [100.0], [1e-3]])
    x = conjugate_gradients(lambda v: v @ matrix, b, tolerance=0, absolute=0.1, iterations=500)
    residual = torch.linalg.norm(b - x @ matrix, dim=-1)
    assert (residual < 0.101).all()
    assert residual[:2].min() > 1e-4
    assert (x[2] == 0).all()


def test_directions_that_cannot_be_are_not_followed() -> None:
    # A matrix that should exceed the identity, and does but for one direction, in which it nearly vanishes.
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))
    matrix = basis @ torch.diag(torch.tensor([1e-4, 1.5, 2.0, 3.0, 4.0, 5.0])) @ basis.T
    b = torch.ones(1, 6) @ basis.T
    loose, strict = (conjugate_gradients(lambda v: v @ matrix, b, tolerance=1e-6, least=least) for least in (0.0, 0.9))
    assert torch.linalg.norm(loose) > 1000
    assert torch.linalg.norm(strict) < 3

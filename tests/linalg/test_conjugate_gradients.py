"""The solver against dense algebra: its solution and its error, rows for themselves, guesses, impossible directions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xslams.linalg.conjugate_gradients import LinearObservations, Solution, minimum, solve


class Problem:
    """A Gaussian of correlated elements and some observations of it, as matrices in double precision.

    Parameters
    ----------
    size, count
        Number of elements, and of observations.
    decades
        Orders of magnitude over which the variances of the errors are spread.
    seed
        Of everything.
    rows
        Number of innovations.
    """

    def __init__(self, size: int, count: int, decades: float = 0.0, seed: int = 0, rows: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        place = torch.linspace(0, 1, size, dtype=torch.float64)
        self.covariance = 4 * torch.exp(-10 * (place[:, None] - place).abs()) + 0.01 * torch.eye(size)
        self.operator = normal(count, size) / size**0.5
        self.errors = 10 ** (decades * (torch.rand(count, generator=generator, dtype=torch.float64) - 0.5))
        self.innovation = normal(rows, count) * (self._image() + self.errors).sqrt()

    def _image(self) -> Tensor:
        return (self.operator @ self.covariance @ self.operator.T).diagonal()

    def observations(self, dtype: torch.dtype = torch.float64, covariance: Tensor | None = None) -> LinearObservations:
        v, j, r = (
            a.to(dtype) for a in (self.covariance if covariance is None else covariance, self.operator, self.errors)
        )
        return LinearObservations(
            self.innovation.to(dtype),
            lambda z: z @ v,
            lambda z: z @ j.T,
            lambda w: w @ j,
            lambda w: w / r,
        )

    @property
    def precision(self) -> Tensor:
        """Inverse of the covariance of the posterior."""
        return torch.linalg.inv(self.covariance) + self.operator.T @ (self.operator / self.errors[:, None])

    def exact(self) -> Tensor:
        return torch.linalg.solve(self.precision, (self.innovation / self.errors @ self.operator).T).T

    def error(self, solution: Solution) -> Tensor:
        """Error of an increment in units of the posterior covariance, ``(B,)``."""
        off = solution.increment.double() - self.exact()
        return ((off @ self.precision) * off).sum(-1).clamp(min=0).sqrt()


@given(
    size=st.integers(1, 40),
    count=st.integers(1, 120),
    decades=st.sampled_from([0.0, 3.0, 6.0]),
    seed=st.integers(0, 99),
)
def test_the_solution_is_that_of_dense_algebra(size: int, count: int, decades: float, seed: int) -> None:
    """Few observations and many, errors that are alike and that differ a thousandfold."""
    problem = Problem(size, count, decades, seed)
    solution = solve(problem.observations(), tolerance=1e-4, largest=1e-4)
    assert float(problem.error(solution)) < 2e-3
    torch.testing.assert_close(solution.increment, solution.dual @ problem.covariance, rtol=1e-6, atol=1e-6)


@given(size=st.integers(5, 40), count=st.integers(5, 120), decades=st.sampled_from([0.0, 4.0]), seed=st.integers(0, 99))
def test_the_error_is_what_it_is_said_to_be(size: int, count: int, decades: float, seed: int) -> None:
    """An estimate from the last decreases, and no bound; but it holds."""
    problem = Problem(size, count, decades, seed)
    for goal in (0.3, 0.03):
        solution = solve(problem.observations(), tolerance=goal, largest=0.2)
        assert float(solution.error) <= goal
        assert float(problem.error(solution)) < goal * float(solution.signal) ** 0.5


@pytest.mark.parametrize("decades", [0.0, 6.0])
def test_single_precision_is_enough(decades: float) -> None:
    problem = Problem(60, 200, decades)
    solution = solve(problem.observations(torch.float32), tolerance=0.02, largest=0.02)
    assert float(problem.error(solution)) < 2 * 0.02 * float(solution.signal) ** 0.5


@given(seed=st.integers(0, 99), largest=st.sampled_from([0.03, 0.3]))
def test_no_observation_hides_among_many(seed: int, largest: float) -> None:
    """Where each observation determines an element of its own, the error of every one is bounded."""
    generator = torch.Generator().manual_seed(seed)
    variance, errors = (10 ** (4 * torch.rand(300, generator=generator).double() - 2) for _ in range(2))
    innovation = torch.randn(1, 300, generator=generator).double() * (variance + errors).sqrt()
    same = LinearObservations(innovation, lambda z: z * variance, lambda z: z, lambda w: w, lambda w: w / errors)
    exact, std = innovation * variance / (variance + errors), (variance * errors / (variance + errors)).sqrt()
    worst = {
        bound: float(((solve(same, tolerance=0.3, largest=bound).increment - exact) / std).abs().max())
        for bound in (largest, 1e9)
    }
    # A change is no bound of what is left.
    assert worst[largest] <= 3 * largest
    assert worst[largest] <= worst[1e9]


def test_rows_are_solved_each_by_itself() -> None:
    problem = Problem(30, 50, 3.0, rows=4)
    problem.innovation *= torch.tensor([[1.0], [100.0], [1e-3], [0.0]])
    together = solve(problem.observations(), tolerance=1e-6, largest=1e-6)
    assert (together.increment[3] == 0).all()
    whole = problem.innovation
    for i in range(4):
        problem.innovation = whole[i : i + 1]
        apart = solve(problem.observations(), tolerance=1e-6, largest=1e-6)
        torch.testing.assert_close(together.increment[i : i + 1], apart.increment, rtol=1e-5, atol=1e-5)


def test_good_guesses_save_iterations_and_bad_ones_do_no_harm() -> None:
    problem = Problem(60, 100, 2.0)
    observations, settings = problem.observations(), {"tolerance": 0.01, "largest": 0.01}
    exact = solve(observations, tolerance=1e-9, largest=1e-9).dual
    other = torch.randn(exact.shape, generator=torch.Generator().manual_seed(0), dtype=exact.dtype)
    none = solve(observations, **settings)
    # The best combination of two guesses, of which neither is good, is the solution.
    both = solve(observations, guesses=[exact + 2 * other, 1e5 * other], **settings)
    assert both.iterations < none.iterations / 2
    for guesses in ([1e6 * other], [torch.zeros_like(other)], [other, other]):
        bad = solve(observations, guesses=guesses, **settings)
        assert float(problem.error(bad)) < 0.05
        assert bad.iterations <= none.iterations + 3


def test_directions_that_cannot_be_are_not_followed() -> None:
    """The covariance of a network is positive only up to what it has not learned."""
    problem = Problem(6, 6)
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    for small in (-1e-4, -1.0):
        values = torch.tensor([small, 0.5, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
        solution = solve(problem.observations(covariance=basis @ torch.diag(values) @ basis.T), tolerance=1e-6)
        assert torch.isfinite(solution.increment).all()
        assert torch.linalg.norm(solution.increment) < 100 * torch.linalg.norm(problem.innovation)


def test_a_number_of_iterations_is_kept() -> None:
    problem = Problem(30, 50)
    errors = []
    for n in (1, 3, 10):
        solution = solve(problem.observations(), iterations=n)
        assert solution.iterations == n
        errors.append(float(problem.error(solution)))
    assert errors == sorted(errors, reverse=True)


@given(size=st.integers(1, 40), decades=st.sampled_from([0.0, 3.0]), seed=st.integers(0, 99))
def test_a_minimum_is_that_of_dense_algebra_with_any_preconditioner(size: int, decades: float, seed: int) -> None:
    """And what is not yet found is as large as the tolerance says."""
    problem = Problem(size, size, decades, seed, rows=3)
    matrix, slope = problem.precision, problem.innovation / problem.errors @ problem.operator
    rough = torch.linalg.inv(torch.diag_embed(matrix.diagonal()) + 0.2 * matrix)
    place, made = minimum(lambda x: x @ matrix, lambda r: r @ rough, slope, tolerance=1e-3, iterations=1000)
    off = place - problem.exact()
    assert float(((off @ matrix) * off).sum(-1).max() / size) ** 0.5 < 3e-3
    # The estimate of the error looks back over six iterations.
    assert made <= size + 7
    assert minimum(lambda x: x @ matrix, lambda r: r @ rough, slope, tolerance=1e-3, iterations=1)[1] == 1


def test_a_minimum_of_nothing_is_nothing() -> None:
    """Rows without a slope stay where they are, beside others."""
    place, made = minimum(lambda x: 4 * x, lambda r: r, torch.tensor([[0.0], [1.0]]), tolerance=1e-3, iterations=5)
    torch.testing.assert_close(place, torch.tensor([[0.0], [0.25]]))
    assert made == 1

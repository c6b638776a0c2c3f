"""What a background is in latents: the mean of the prior given its values, by dense algebra."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xslams.inference.background_latents import latents_of
from xslams.inference.cell_matrices import CellMatrices
from xslams.priors.gaussian import StationaryGaussian

Z, LENGTH = 3, 3


def process(rows: int, columns: int, generator: torch.Generator, *, periodic: bool, modes: int) -> StationaryGaussian:
    """Return a process that is smooth in space and time, of which modes leave something out or nothing."""
    made = StationaryGaussian((Z, rows, columns), periodic=periodic, modes=modes, lags=1)
    x = torch.zeros(80, Z, rows, columns)
    for i in range(1, len(x)):
        noise = torch.randn(Z, rows, columns, generator=generator)
        x[i] = 0.8 * x[i - 1] + 0.4 * (noise + noise.roll(1, -1) + 0.5 * noise.roll(1, 0))
    made.fit([x / x.std()])
    return made


class Problem:
    """A decoder that shows some directions of each cell ten thousand times better than others, and gaps in values.

    Parameters
    ----------
    rows, columns
        Latent cells.
    seed
        Of everything.
    overlap
        How much of the cells beside it a value sees.
    missing
        Share of the values that are missing, other ones in each frame.
    gaussian
        Whether the prior has a Gaussian process.
    """

    def __init__(
        self, rows: int, columns: int, seed: int, *, overlap: float, missing: float, gaussian: bool, periodic: bool
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        cells = rows * columns
        self.shape = LENGTH, Z, rows, columns
        self.process = None
        if gaussian:
            size = Z * rows * (1 if periodic else columns)
            modes = int(torch.randint(1, size + 1, (), generator=generator))
            self.process = process(rows, columns, generator, periodic=periodic, modes=modes)
        # Four values for each cell, of which the last latent is hardly seen.
        kernel = torch.randn(4, Z, generator=generator) * torch.tensor([1.0, 0.1, 0.01])
        beside = overlap * torch.randn(4, Z, generator=generator) * torch.tensor([1.0, 0.1, 0.01])
        right = torch.eye(cells).reshape(cells, rows, columns).roll(1, -1).reshape(cells, cells)
        frame = torch.einsum("vz,ij->vizj", kernel, torch.eye(cells)) + torch.einsum("vz,ij->vizj", beside, right)
        whole = torch.kron(torch.eye(LENGTH), frame.reshape(4 * cells, Z * cells))
        known = torch.rand(len(whole), generator=generator) >= missing
        self.matrix = whole[known]
        self.variance = 10 ** (torch.rand(len(self.matrix), generator=generator) - 3)
        prior = torch.eye(self.matrix.shape[1])
        if self.process is not None:
            state = prior.reshape(-1, *self.shape)
            prior = self.process.trajectory(LENGTH).apply(lambda d: d, state).flatten(1)
        self.prior = 2 * prior.double()
        truth = prior @ torch.randn(prior.shape[0], 2, generator=generator)
        self.values = (self.matrix @ truth).T
        self.pattern = torch.arange(LENGTH)

    @property
    def cells(self) -> Tensor:
        """What values say of each cell, ``(pattern, cell, z, z)``."""
        count = self.shape[2] * self.shape[3]
        whole = (self.matrix.T / self.variance) @ self.matrix
        whole = whole.reshape(LENGTH, Z, count, LENGTH, Z, count)
        return torch.einsum("tzitxi->tizx", whole).double()

    def exact(self) -> tuple[Tensor, Tensor]:
        """Latents, and the inverse of their covariance given the values."""
        matrix, variance = self.matrix.double(), self.variance.double()
        precision = torch.linalg.inv(self.prior) + (matrix.T / variance) @ matrix
        return torch.linalg.solve(precision, (self.values.double() / variance @ matrix).T).T, precision

    def found(self, tolerance: float, iterations: int) -> Tensor:
        """Latents by the solver, rows of two backgrounds."""
        maps = (lambda v: v.flatten(1) @ self.matrix.T, lambda w: (w @ self.matrix).reshape(-1, *self.shape))
        return latents_of(
            self.process, self.values, maps, self.variance, *torch.linalg.eigh(self.cells), self.pattern,
            tolerance=tolerance, iterations=iterations,
        )  # fmt: skip

    def error(self, found: Tensor) -> Tensor:
        """Root mean square errors in standard deviations given the values."""
        exact, precision = self.exact()
        off = found.flatten(1).double() - exact
        return ((off @ precision * off).sum(-1) / off.shape[1]).sqrt()


@given(
    rows=st.integers(1, 3), columns=st.integers(1, 5), seed=st.integers(0, 2**16), overlap=st.sampled_from([0.0, 0.5]),
    missing=st.sampled_from([0.0, 0.3, 0.9]), gaussian=st.booleans(), periodic=st.booleans(),
)  # fmt: skip
@settings(max_examples=40)
def test_latents_are_the_mean_of_the_prior_given_the_values(
    rows: int, columns: int, seed: int, overlap: float, missing: float, gaussian: bool, periodic: bool
) -> None:
    """Whatever cells are seen, and whatever the decoder mixes between them."""
    problem = Problem(rows, columns, seed, overlap=overlap, missing=missing, gaussian=gaussian, periodic=periodic)
    assert float(problem.error(problem.found(1e-3, 1000)).max()) < 0.02


def test_few_iterations_do() -> None:
    """Four orders between what is seen and what is not, and neighbours in common, take no hundreds of iterations."""
    problem = Problem(3, 8, 0, overlap=0.3, missing=0.2, gaussian=True, periodic=True)
    assert float(problem.error(torch.zeros(2, *problem.shape)).max()) > 10
    assert float(problem.error(problem.found(1e-3, 30)).max()) < 0.02


def test_frames_of_one_pattern_share_matrices_and_others_have_their_own() -> None:
    matrices = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    matrices = matrices + matrices.mT
    v = torch.randn(2, 4, 3, 1, 2, generator=torch.Generator().manual_seed(1))
    pattern = torch.tensor([1, 0, 1, 1])
    exact = torch.einsum("tczy,btyc->btzc", matrices[pattern], v.flatten(3)).reshape(v.shape)
    torch.testing.assert_close(CellMatrices(matrices, pattern)(v), exact)


@pytest.mark.parametrize("iterations", [1, 3])
def test_the_number_of_iterations_is_the_largest(iterations: int) -> None:
    problem = Problem(2, 3, 1, overlap=0.5, missing=0.3, gaussian=True, periodic=False)
    some, more = (float(problem.error(problem.found(1e-6, n)).max()) for n in (iterations, iterations + 2))
    assert math.isfinite(some)
    assert more < some

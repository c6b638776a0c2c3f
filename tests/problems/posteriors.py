"""Problems whose posterior is known exactly: for the tests, and for the benchmarks beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from azula.denoise import Denoiser, DiracPosterior, GaussianDenoiser
from azula.linalg.covariance import Covariance, DiagonalCovariance, FullCovariance, IsotropicCovariance
from azula.noise import Schedule, VESchedule
from torch import Tensor

SCHEDULE = VESchedule(0.01, 100.0)


@dataclass(frozen=True)
class GaussianProblem:
    """A Gaussian prior, a linear operator, observations; and the mean and covariance that follow."""

    prior: FullCovariance
    operator: Tensor
    error: Covariance
    y: Tensor
    mean: Tensor
    covariance: Tensor

    @property
    def size(self) -> int:
        return len(self.mean)

    @property
    def std(self) -> Tensor:
        return self.covariance.diagonal().sqrt()

    def denoiser(self, schedule: Schedule = SCHEDULE) -> GaussianDenoiser:
        return GaussianDenoiser(torch.zeros_like(self.mean), self.prior, schedule)

    def observe(self, z: Tensor) -> Tensor:
        return z @ self.operator.T

    def errors(self, mean: Tensor, covariance: Tensor) -> dict[str, float]:
        """Largest errors of mean and std in posterior standard deviations, and that of the covariance (Frobenius)."""
        std = covariance.diagonal().sqrt()
        return {
            "mean": float(((mean - self.mean) / self.std).abs().max()),
            "std": float((std / self.std - 1).abs().max()),
            "covariance": float(torch.linalg.norm(covariance - self.covariance) / torch.linalg.norm(self.covariance)),
        }


def gaussian(
    size: int,
    observed: int,
    spectrum: str = "red",
    *,
    operator: str = "dense",
    errors: str = "equal",
    error: float = 0.1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> GaussianProblem:
    """Make a Gaussian problem; observations are made of a draw from the prior.

    Parameters
    ----------
    size, observed
        Numbers of elements and of observations.
    spectrum
        ``"red"``: variances 4 / k; ``"steep"``: 100 / k^2.5, so that scales span two orders of magnitude; ``"flat"``:
        the identity; all three in random directions. ``"ar"``: a time series with a correlation of 0.9.
    operator
        ``"dense"``: random; ``"sparse"``: single elements.
    errors
        ``"equal"``, ``"different"`` (variances within two orders of magnitude) or ``"correlated"``.
    error
        Standard deviation of the errors.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    k = torch.arange(1, size + 1, dtype=torch.float64)
    if spectrum == "ar":
        variances, basis = torch.linalg.eigh(0.9 ** (k[:, None] - k).abs())
    else:
        basis, _ = torch.linalg.qr(normal(size, size))
        variances = {"red": 4 / k, "steep": 100 * k**-2.5, "flat": torch.ones_like(k)}[spectrum]
    prior = basis @ torch.diag(variances) @ basis.T
    if operator == "dense":
        matrix = normal(observed, size) / math.sqrt(size)
    else:
        matrix = torch.eye(size, dtype=torch.float64)[torch.randperm(size, generator=generator)[:observed]]
    scales = error**2 * 10 ** (2 * torch.rand(observed, generator=generator, dtype=torch.float64) - 1)
    mix, _ = torch.linalg.qr(normal(observed, observed))
    cov_y: Covariance
    if errors == "equal":
        cov_y, dense = IsotropicCovariance(error**2), error**2 * torch.eye(observed, dtype=torch.float64)
    elif errors == "different":
        cov_y, dense = DiagonalCovariance(scales.to(dtype)), torch.diag(scales)
    else:
        cov_y, dense = FullCovariance(mix.to(dtype), scales.to(dtype)), mix @ torch.diag(scales) @ mix.T
    truth = basis @ (variances.sqrt() * normal(size))
    y = matrix @ truth + torch.linalg.cholesky(dense) @ normal(observed)
    gain = torch.linalg.solve(matrix @ prior @ matrix.T + dense, matrix @ prior).T
    return GaussianProblem(
        FullCovariance(basis.to(dtype), variances.to(dtype)), matrix.to(dtype), cov_y, y.to(dtype),
        (gain @ y).to(dtype), (prior - gain @ matrix @ prior).to(dtype),
    )  # fmt: skip


#: Several sizes, covariances, operators and errors; in all, some of the state is observed and some is not.
GAUSSIANS = {
    "red-8": {"size": 8, "observed": 3, "error": 0.3},
    "red-64": {"size": 64, "observed": 16},
    "steep-64": {"size": 64, "observed": 16, "spectrum": "steep"},
    "steep-64-different": {
        "size": 64,
        "observed": 16,
        "spectrum": "steep",
        "operator": "sparse",
        "errors": "different",
    },
    "flat-32-sparse": {"size": 32, "observed": 12, "spectrum": "flat", "operator": "sparse", "error": 0.3},
    "ar-64-different": {"size": 64, "observed": 16, "spectrum": "ar", "operator": "sparse", "errors": "different"},
    "ar-128-correlated": {"size": 128, "observed": 32, "spectrum": "ar", "operator": "sparse", "errors": "correlated"},
    "red-32-correlated": {"size": 32, "observed": 24, "errors": "correlated"},
    "red-64-everywhere": {"size": 64, "observed": 64, "operator": "sparse", "error": 0.05},
}


@dataclass(frozen=True)
class Mixture:
    """Mixture of Gaussians: weights ``(k,)``, means ``(k, d)`` and covariances ``(k, d, d)``."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def given(self, y: Tensor, operator: Tensor, error: float) -> Mixture:
        """Return the posterior given linear observations with independent errors."""
        noise = error**2 * torch.eye(len(y), dtype=y.dtype)
        total = operator @ self.covariances @ operator.T + noise
        gain = torch.linalg.solve(total, operator @ self.covariances).mT
        innovation = y - self.means @ operator.T
        weighted = torch.linalg.solve(total, innovation)
        evidence = self.weights.log() - 0.5 * ((innovation * weighted).sum(-1) + torch.logdet(total))
        return Mixture(
            torch.softmax(evidence, 0),
            self.means + torch.einsum("kdn,kn->kd", gain, innovation),
            self.covariances - gain @ operator @ self.covariances,
        )

    def draw(self, members: int, generator: torch.Generator) -> Tensor:
        which = torch.multinomial(self.weights, members, replacement=True, generator=generator)
        noise = torch.randn(members, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[which] + torch.einsum("nde,ne->nd", torch.linalg.cholesky(self.covariances)[which], noise)

    def gaussian(self) -> Mixture:
        """Return the Gaussian with the same mean and covariance."""
        mean = self.weights @ self.means
        away = self.means - mean
        between = torch.einsum("k,kd,ke->de", self.weights, away, away)
        within = torch.einsum("k,kde->de", self.weights, self.covariances)
        return Mixture(torch.ones(1, dtype=mean.dtype), mean[None], (between + within)[None])


class MixtureDenoiser(Denoiser):
    """Exact denoiser of a mixture."""

    def __init__(self, mixture: Mixture, schedule: Schedule = SCHEDULE) -> None:
        super().__init__()
        self.mixture = mixture
        self.schedule = schedule
        self.variances, self.basis = torch.linalg.eigh(mixture.covariances)

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        alpha, sigma = self.schedule(t)
        total = alpha**2 * self.variances + sigma**2
        # All components at once: one product leads to standardised departures, and one back.
        root = self.basis / total.sqrt()[:, None]
        shift = torch.einsum("kd,kde->ke", alpha * self.mixture.means, root)
        away = torch.addmm(-shift.flatten(), x_t, root.transpose(0, 1).flatten(1)).unflatten(1, shift.shape)
        evidence = self.mixture.weights.log() - 0.5 * (away.square().sum(-1) + total.log().sum(-1))
        share = torch.softmax(evidence, -1)
        back = (alpha * self.variances)[:, None] * root
        mean = torch.addmm(share @ self.mixture.means, (share[..., None] * away).flatten(1), back.mT.flatten(0, 1))
        return DiracPosterior(mean=mean)


@dataclass(frozen=True)
class MixtureProblem:
    """A mixture as prior, linear observations, and the posterior mixture."""

    prior: Mixture
    operator: Tensor
    error: float
    y: Tensor
    posterior: Mixture

    def observe(self, z: Tensor) -> Tensor:
        return z @ self.operator.T


def mixture(
    separation: float = 0.5,
    seed: int = 0,
    *,
    components: int = 25,
    size: int = 8,
    observed: int = 3,
    error: float = 0.3,
) -> MixtureProblem:
    """Make a mixture problem: components of random shape with a mean variance of 0.36, at random places.

    Parameters
    ----------
    separation
        Standard deviation of the means of the components, per element.
    """
    generator = torch.Generator().manual_seed(seed)
    means = separation * torch.randn(components, size, generator=generator)
    weights = torch.rand(components, generator=generator) + 0.2
    root = torch.randn(components, size, size, generator=generator) / math.sqrt(size)
    prior = Mixture(weights / weights.sum(), means, 0.3 * (root @ root.mT + 0.2 * torch.eye(size)))
    operator = torch.randn(observed, size, generator=generator) / math.sqrt(size)
    truth = prior.draw(1, generator)[0]
    y = operator @ truth + error * torch.randn(observed, generator=generator)
    return MixtureProblem(prior, operator, error, y, prior.given(y, operator, error))


def projected(z: Tensor, directions: int = 256) -> Tensor:
    """Projections of a sample on random lines, sorted, shape ``(directions, members)``."""
    lines = torch.randn(z.shape[1], directions, generator=torch.Generator().manual_seed(0))
    lines = lines / torch.linalg.norm(lines, dim=0)
    return (z @ lines).T.contiguous().sort(-1).values


def sliced_wasserstein(a: Tensor, b: Tensor) -> float:
    """Mean Wasserstein distance (of order one) of two samples of the same size, given their projections."""
    return float((a - b).abs().mean())


def distance_over_floor(z: Tensor, posterior: Mixture, draws: int = 4) -> float:
    """Distance of a sample from the posterior, over that of two exact samples of the same size from each other."""
    generator = torch.Generator().manual_seed(12345)
    exact = [projected(posterior.draw(len(z), generator)) for _ in range(2 * draws)]
    floor = sum(sliced_wasserstein(a, b) for a, b in zip(exact[::2], exact[1::2], strict=True))
    own = projected(z)
    return sum(sliced_wasserstein(own, b) for b in exact[::2]) / floor


class UnitNoise:
    """Noise that makes the matrix of a linear sampler visible.

    Row 0 of every draw is zero; of draw `k`, the rows that belong to it are the unit vectors, all others are zero. A
    linear sampler maps row 0 to its mean and the others to its mean plus the columns of a root of its covariance: both
    are then known without sampling error.

    Parameters
    ----------
    size
        Number of elements of the state.
    draws
        Number of draws; one for deterministic samplers.
    """

    def __init__(self, size: int, draws: int = 1) -> None:
        self.size, self.draws = size, draws

    def __call__(self, draw: int) -> Tensor:
        out = torch.zeros(1 + self.size * self.draws, self.size, dtype=torch.float64)
        first = 1 + draw * self.size
        out[first : first + self.size] = torch.eye(self.size, dtype=torch.float64)
        return out


def moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of a sampler from what it made of `UnitNoise`."""
    root = z[1:] - z[0]
    return z[0], root.T @ root

r"""What is known of clean states given noisy ones: an estimate, and the covariance of its error.

Guidance needs both, :math:`p(z \mid z_t) \approx \mathcal{N}(\hat z, V_t)`. A denoiser that knows its covariance says
so by a method `posterior` (`ConditionalDenoiser`). That of any other denoiser is found by differentiation
(`TweedieDenoiser`), since by Tweedie's formula :math:`V_t = \sigma_t^2 / \alpha_t \, \partial \hat z / \partial z_t`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from azula.denoise import Denoiser
from azula.denoise import Posterior as AzulaPosterior
from azula.noise import Schedule
from torch import Tensor

from xslams.errors import OptionError
from xslams.linalg.autodiff import jvp

__all__ = [
    "ConditionalDenoiser",
    "CorrelatedPosterior",
    "Derivative",
    "GaussianPrior",
    "MaybeGaussian",
    "Posterior",
    "TweedieDenoiser",
    "conditional",
]

#: How to multiply with the Jacobian of a denoiser: backward or forward.
Derivative = Literal["vjp", "jvp"]


class Posterior(Protocol):
    """Gaussian approximation of clean states given noisy ones.

    Attributes
    ----------
    relinearizations
        How often the posterior gains by being linearised about an estimate that knows the observations; 0 where it does
        not depend on where it is linearised.
    nearby
        Whether an estimate from a noise level close by may take the place of the mean at the first linearisation.
    """

    @property
    def mean(self) -> Tensor:
        """Mean, shape ``(B, *shape)``."""
        ...

    def covariance(self, v: Tensor) -> Tensor:
        """Multiply with the covariance, shape ``(B, *shape)``."""
        ...

    @property
    def relinearizations(self) -> int:
        """How often the posterior gains by being linearised about a guess."""
        return 0

    @property
    def nearby(self) -> bool:
        """Whether an estimate from a noise level close by is as good a guess as the mean."""
        return False

    def relinearized(self, guess: Tensor) -> Posterior:
        """Return the posterior if what is nonlinear in it is linearised about a guess, shape ``(B, *shape)``."""
        return self


@dataclass(frozen=True)
class CorrelatedPosterior(AzulaPosterior, Posterior):
    """Estimate with the covariance of its error as a function.

    Attributes
    ----------
    estimate
        Mean, shape ``(B, *shape)``.
    product
        Product with the covariance.
    """

    estimate: Tensor
    product: Callable[[Tensor], Tensor]

    @property
    def mean(self) -> Tensor:  # type: ignore[override]  # azula declares an attribute
        """Mean, shape ``(B, *shape)``."""
        return self.estimate

    def covariance(self, v: Tensor) -> Tensor:
        """Multiply with the covariance, shape ``(B, *shape)``."""
        return self.product(v)


@runtime_checkable
class ConditionalDenoiser(Protocol):
    """A denoiser that knows the covariance of its errors."""

    @property
    def schedule(self) -> Schedule:
        """Noise schedule."""
        ...

    def posterior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> Posterior:
        """Return clean states given noisy ones ``(B, *shape)`` at the time `t`, shape ``()``."""
        ...


class GaussianPrior(NamedTuple):
    """A Gaussian of mean zero that can be drawn from.

    Attributes
    ----------
    covariance, root
        Products with its covariance and with a square root of it, both on ``(B, *shape)``.
    """

    covariance: Callable[[Tensor], Tensor]
    root: Callable[[Tensor], Tensor]


@runtime_checkable
class MaybeGaussian(Protocol):
    """A denoiser of states that may be Gaussian."""

    def gaussian_prior(self) -> GaussianPrior | None:
        """Return the Gaussian that the clean states are, with all that the denoiser knows of them; None: another."""
        ...


class TweedieDenoiser(Denoiser):
    """Any denoiser, with the covariance that its derivative implies.

    Parameters
    ----------
    denoiser
        Denoiser.
    derivative
        ``"vjp"`` goes backward through the graph of one evaluation, which stays in memory; with the U-Net of the
        shipped models a product takes as long as an evaluation. ``"jvp"`` goes forward and keeps nothing, but takes as
        long as four: it pays where the graph does not fit. The Jacobian is symmetric for an exact denoiser and nearly
        so for a learned one.

    Raises
    ------
    OptionError
        By `posterior`, if the estimate has no derivative to go backward by.

    Examples
    --------
    >>> import torch
    >>> from azula.denoise import GaussianDenoiser
    >>> from azula.linalg.covariance import DiagonalCovariance
    >>> from azula.noise import VESchedule
    >>> prior = GaussianDenoiser(torch.zeros(2), DiagonalCovariance(torch.ones(2)), VESchedule(0.01, 100.0))
    >>> posterior = TweedieDenoiser(prior).posterior(torch.zeros(1, 2), torch.tensor(0.5))  # noise of one
    >>> posterior.covariance(torch.ones(1, 2)).round(decimals=3)
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self, denoiser: Denoiser, derivative: Derivative = "vjp") -> None:
        super().__init__()
        self.denoiser, self.derivative = denoiser, derivative

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]  # azula declares an attribute
        """Noise schedule of the denoiser."""
        return self.denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> AzulaPosterior:
        """Estimate clean states as the denoiser does."""
        return self.denoiser(x_t, t, **kwargs)

    def posterior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> CorrelatedPosterior:
        """Return clean states given noisy ones."""
        alpha, sigma = self.schedule(t)
        x_t = x_t.detach()

        def estimate(x: Tensor) -> Tensor:
            return self.denoiser(x, t, **kwargs).mean

        if self.derivative == "jvp":
            return CorrelatedPosterior(estimate(x_t), lambda v: sigma**2 / alpha * jvp(estimate, x_t, v))
        with torch.enable_grad():
            x_t = x_t.clone().requires_grad_()
            x_hat = estimate(x_t)
        if not x_hat.requires_grad:
            msg = (
                f"The estimate of {type(self.denoiser).__name__} cannot be differentiated, which its covariance was to "
                "be found by. Use the covariance that it knows, if it does: MMPS(covariance='known')."
            )
            raise OptionError(msg)

        def product(v: Tensor) -> Tensor:
            return sigma**2 / alpha * torch.autograd.grad(x_hat, x_t, v, retain_graph=True)[0]

        return CorrelatedPosterior(x_hat.detach(), product)


def conditional(
    denoiser: Denoiser, derivative: Derivative = "vjp", *, differentiated: bool = False
) -> ConditionalDenoiser:
    """Return the denoiser itself where it knows its covariance, and one that finds it by differentiation otherwise.

    Parameters
    ----------
    denoiser
        Denoiser.
    derivative
        As for `TweedieDenoiser`.
    differentiated
        Whether to find the covariance by differentiation in any case.
    """
    if isinstance(denoiser, ConditionalDenoiser) and not differentiated:
        return denoiser
    return TweedieDenoiser(denoiser, derivative)

r"""Guidance: denoisers that know of observations.

Given :math:`y = A(z) + e` with :math:`e \sim \mathcal{N}(0, R)`, the expectation of :math:`z` given both :math:`z_t`
and :math:`y` follows from :math:`p(z \mid z_t) \approx \mathcal{N}(\hat z, V_t)`,

.. math:: \mathbb{E}[z \mid z_t, y] \approx \hat z + V_t J^\top (R + J V_t J^\top)^{-1} (y - A(\hat z))

with :math:`J` the Jacobian of :math:`A` at :math:`\hat z` (moment matching posterior sampling, MMPS [1]_). A guided
denoiser is itself a denoiser, so that any sampler of azula takes it.

By Tweedie's formula :math:`V_t = \sigma_t^2 / \alpha_t \, \partial \hat z / \partial z_t`, which is what azula's own
MMPS uses: one backward pass through the network per product. Where a denoiser knows an approximation of its posterior
covariance (the Gaussian prior inside `TrajectoryDenoiser`), that one is used, and the network is called once per step
and never differentiated.

References
----------
.. [1] Rozet et al., Learning Diffusion Priors from Observations by Expectation Maximization, 2024, arXiv 2405.13712.
.. [2] Rozet and Louppe, Score-based Data Assimilation, 2023, arXiv 2306.10574.
.. [3] Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2022, arXiv 2209.14687.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.linalg.covariance import Covariance, DiagonalCovariance, IsotropicCovariance
from torch import Tensor

from xslams.errors import SlamsError
from xslams.inference.solvers import conjugate_gradients

if TYPE_CHECKING:
    from collections.abc import Callable

    from azula.noise import Schedule

    LinearMap = Callable[[Tensor], Tensor]
    Operator = Callable[[Tensor], Tensor]

__all__ = ["DPSDenoiser", "MMPSDenoiser", "SDADenoiser", "guide"]


@runtime_checkable
class _Linearizable(Protocol):
    """An operator that knows its Jacobian and the adjoint of it."""

    def __call__(self, z: Tensor) -> Tensor: ...

    def linearize(self, z: Tensor) -> tuple[LinearMap, LinearMap]: ...


def _linearize(operator: Operator, z: Tensor) -> tuple[Tensor, LinearMap, LinearMap]:
    """Value of an operator at `z`, its Jacobian and the adjoint of that."""
    if isinstance(operator, _Linearizable):
        return operator(z), *operator.linearize(z)
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        y = operator(z)

    def forward(v: Tensor) -> Tensor:
        product: Tensor = torch.func.jvp(operator, (z.detach(),), (v,))[1]
        return product

    def adjoint(w: Tensor) -> Tensor:
        return torch.autograd.grad(y, z, w, retain_graph=True)[0]

    return y.detach(), forward, adjoint


def _error_variance(cov_y: Covariance) -> Tensor | float | None:
    """Diagonal of an error covariance, or None where it has more than a diagonal."""
    if isinstance(cov_y, DiagonalCovariance):
        return cov_y.D
    if isinstance(cov_y, IsotropicCovariance):
        return cov_y.lmbda
    return None


class MMPSDenoiser(Denoiser):
    """Moment-matching guidance.

    Parameters
    ----------
    denoiser
        Denoiser of the prior. If it has a method ``covariance(v, t)``, that is its posterior covariance; otherwise the
        covariance is found by differentiating the denoiser.
    y
        Observations, shape ``(n,)`` or ``(B, n)``.
    A
        Observation operator from ``(B, *shape)`` to ``(B, n)``.
    cov_y
        Error covariance of the observations.
    tolerance
        Relative residual to which the linear system in observation space is solved.
    """

    def __init__(self, denoiser: Denoiser, y: Tensor, A: Operator, cov_y: Covariance, tolerance: float = 0.03) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.y = y
        self.A = A
        self.cov_y = cov_y
        self.tolerance = tolerance
        self._guess: Tensor | None = None

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]  # azula declares an attribute
        """Noise schedule of the prior."""
        return self.denoiser.schedule

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        """Estimate the clean trajectory given the noisy one and the observations."""
        x_hat, cov_x = self._prior(x_t, t, **kwargs)
        y_hat, forward, adjoint = _linearize(self.A, x_hat)
        variance = _error_variance(self.cov_y)
        # In units of the observation error the system is the identity plus a positive matrix, which is what conjugate
        # gradients like.
        scale = 1.0 if variance is None else torch.as_tensor(variance).sqrt()

        def system(v: Tensor) -> Tensor:
            noise = self.cov_y(v) if variance is None else v
            return noise + forward(cov_x(adjoint(v / scale))) / scale

        innovation = (self.y - y_hat) / scale
        guess = self._guess if self._guess is not None and self._guess.shape == innovation.shape else None
        weights = conjugate_gradients(system, innovation, guess, tolerance=self.tolerance)
        # The next noise level is close to this one, and so is its solution.
        self._guess = weights
        return DiracPosterior(mean=x_hat + cov_x(adjoint(weights / scale)))

    def _prior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> tuple[Tensor, LinearMap]:
        """Mean of the prior given `x_t`, and its covariance as a function."""
        covariance = getattr(self.denoiser, "covariance", None)
        if covariance is not None:
            return self.denoiser(x_t, t, **kwargs).mean, lambda v: covariance(v, t)
        alpha, sigma = self.schedule(t)
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            x_hat = self.denoiser(x_t, t, **kwargs).mean

        def product(v: Tensor) -> Tensor:
            return sigma**2 / alpha * torch.autograd.grad(x_hat, x_t, v, retain_graph=True)[0]

        return x_hat.detach(), product


class SDADenoiser(Denoiser):
    r"""Guidance of SDA [2]_: the likelihood of the denoised estimate with an inflated error.

    .. math:: \hat z + \frac{\sigma_t^2}{\alpha_t} \nabla_{z_t} \log \mathcal{N}\left(y \mid A(\hat z),
        R + v_t \, \mathrm{diag}(J J^\top)\right)

    where :math:`v_t` is the mean posterior variance of the prior, which takes the place of the constant that SDA sets
    by hand.

    Parameters
    ----------
    denoiser, y, A, cov_y
        As for `MMPSDenoiser`; the covariance must be diagonal.
    """

    def __init__(self, denoiser: Denoiser, y: Tensor, A: Operator, cov_y: Covariance) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.y = y
        self.A = A
        variance = _error_variance(cov_y)
        if variance is None:
            msg = f"guidance='sda' needs independent errors; got a {type(cov_y).__name__}. Use guidance='mmps'."
            raise SlamsError(msg)
        self.variance = torch.as_tensor(variance)

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]  # azula declares an attribute
        """Noise schedule of the prior."""
        return self.denoiser.schedule

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        """Estimate the clean trajectory given the noisy one and the observations."""
        alpha, sigma = self.schedule(t)
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            x_hat = self.denoiser(x_t, t, **kwargs).mean
        y_hat, forward, adjoint = _linearize(self.A, x_hat.detach())
        spread = getattr(self.denoiser, "spread", None)
        prior = spread(alpha, sigma) ** 2 if spread is not None else sigma**2 / (alpha**2 + sigma**2)
        variance = self.variance + prior * _row_norms(forward, x_hat)
        gradient = adjoint((self.y - y_hat) / variance)
        step = torch.autograd.grad(x_hat, x_t, gradient)[0]
        return DiracPosterior(mean=x_hat.detach() + sigma**2 / alpha * step)


class DPSDenoiser(Denoiser):
    r"""Guidance of DPS [3]_: a step down the gradient of the distance to the observations.

    .. math:: \hat z - \zeta \, \nabla_{z_t} \left\| R^{-1/2} (y - A(\hat z)) \right\|

    Unlike azula's DPS, the distance is each member's own, so that the result does not depend on the batch.

    Parameters
    ----------
    denoiser, y, A, cov_y
        As for `SDADenoiser`.
    zeta
        Strength, in units of the noise level.
    """

    def __init__(self, denoiser: Denoiser, y: Tensor, A: Operator, cov_y: Covariance, zeta: float = 1.0) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.y = y
        self.A = A
        variance = _error_variance(cov_y)
        if variance is None:
            msg = f"guidance='dps' needs independent errors; got a {type(cov_y).__name__}. Use guidance='mmps'."
            raise SlamsError(msg)
        self.scale = torch.as_tensor(variance).sqrt()
        self.zeta = zeta

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]  # azula declares an attribute
        """Noise schedule of the prior."""
        return self.denoiser.schedule

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        """Estimate the clean trajectory given the noisy one and the observations."""
        _, sigma = self.schedule(t)
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            x_hat = self.denoiser(x_t, t, **kwargs).mean
        y_hat, _, adjoint = _linearize(self.A, x_hat.detach())
        residual = (self.y - y_hat) / self.scale
        norm = torch.linalg.vector_norm(residual, dim=-1, keepdim=True).clamp(min=1e-12)
        step = torch.autograd.grad(x_hat, x_t, adjoint(residual / norm / self.scale))[0]
        return DiracPosterior(mean=x_hat.detach() + self.zeta * sigma * step)


def _row_norms(forward: LinearMap, z: Tensor, probes: int = 8) -> Tensor:
    """Diagonal of :math:`J J^T`, estimated by products with random signs that are the same at every call."""
    generator = torch.Generator(device=z.device).manual_seed(0)
    total: Tensor | float = 0.0
    for _ in range(probes):
        signs = torch.randint(0, 2, z.shape[1:], generator=generator, device=z.device, dtype=z.dtype) * 2 - 1
        total = total + forward(signs.expand_as(z)).square()
    return torch.as_tensor(total) / probes


def guide(denoiser: Denoiser, y: Tensor, A: Operator, cov_y: Covariance, guidance: str) -> Denoiser:
    """Wrap a denoiser by the guidance of that name.

    Raises
    ------
    SlamsError
        If there is no guidance of that name.
    """
    if guidance == "mmps":
        return MMPSDenoiser(denoiser, y, A, cov_y)
    if guidance == "sda":
        return SDADenoiser(denoiser, y, A, cov_y)
    if guidance == "dps":
        return DPSDenoiser(denoiser, y, A, cov_y)
    msg = f"Unknown guidance {guidance!r}; choose 'mmps', 'sda' or 'dps'."
    raise SlamsError(msg)

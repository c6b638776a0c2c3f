r"""Guidance: denoisers that know of observations.

Given :math:`y = A(z) + e` with :math:`e \sim \mathcal{N}(0, R)`, the expectation of :math:`z` given both :math:`z_t`
and :math:`y` follows from :math:`p(z \mid z_t) \approx \mathcal{N}(\hat z, V_t)`,

.. math:: \mathbb{E}[z \mid z_t, y] \approx \hat z + V_t J^\top w, \qquad
    w = (R + J V_t J^\top)^{-1} (y - A(\hat z))

with :math:`J` the Jacobian of :math:`A` at :math:`\hat z`. A guided denoiser is itself a denoiser, so that any sampler
takes it. The three methods differ in the weights :math:`w` alone:

- moment matching (MMPS [1]_) solves the system, by conjugate gradients;
- SDA [2]_ puts a diagonal matrix in the place of :math:`J V_t J^\top`;
- DPS [3]_ takes a step of given length along :math:`R^{-1} (y - A(\hat z))`.

By Tweedie's formula :math:`V_t = \sigma_t^2 / \alpha_t \, \partial \hat z / \partial z_t`, one backward pass through
the network per product. Where a denoiser knows an approximation of its posterior covariance (the Gaussian prior inside
`TrajectoryDenoiser`, the blocks that a `MarkovDenoiser` has learned), that one is used, and the network is called once
per step and never differentiated.

References
----------
.. [1] Rozet et al., Learning Diffusion Priors from Observations by Expectation Maximization, 2024, arXiv 2405.13712.
.. [2] Rozet and Louppe, Score-based Data Assimilation, 2023, arXiv 2306.10574.
.. [3] Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2022, arXiv 2209.14687.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.linalg.covariance import Covariance, DiagonalCovariance, IsotropicCovariance
from torch import Tensor

from xslams.errors import OptionError
from xslams.linalg.autodiff import jvp
from xslams.linalg.conjugate_gradients import conjugate_gradients

if TYPE_CHECKING:
    from collections.abc import Callable

    from azula.noise import Schedule

    LinearMap = Callable[[Tensor], Tensor]
    Operator = Callable[[Tensor], Tensor]

__all__ = [
    "DPS",
    "GUIDANCE",
    "MMPS",
    "SDA",
    "DPSDenoiser",
    "GuidedDenoiser",
    "Linearizable",
    "MMPSDenoiser",
    "SDADenoiser",
    "guide",
    "linearize",
]

Derivative = Literal["vjp", "jvp"]

# An iteration of the solver costs a product with the covariance. Systems that need more than these are too badly
# conditioned for single precision.
_MOST_ITERATIONS = 50
# What noisy states have left of an estimate is their noise. More than so many times of it, and it was of other states.
_FOREIGN = 2.0


@runtime_checkable
class Linearizable(Protocol):
    """An operator that knows its Jacobian and the adjoint of it."""

    def __call__(self, z: Tensor) -> Tensor:
        """From states ``(B, *shape)`` to observed values ``(B, n)``."""
        ...

    def linearize(self, z: Tensor) -> tuple[LinearMap, LinearMap]:
        """Product with the Jacobian at `z`, and with its adjoint."""
        ...


class Correlated(Protocol):
    """A Gaussian: what a denoiser that knows its errors returns."""

    @property
    def mean(self) -> Tensor:
        """Mean, shape ``(B, *shape)``."""
        ...

    def covariance(self, v: Tensor) -> Tensor:
        """Multiply with the covariance, shape ``(B, *shape)``."""
        ...


@runtime_checkable
class Dynamical(Protocol):
    """A denoiser that knows the dynamics of what it denoises, and linearises them wherever it is told."""

    def linearizations(self, t: Tensor) -> tuple[int, bool]:
        """How many times to do so, and whether about a guess from a time a little later at once."""
        ...

    def linearized(self, x_t: Tensor, t: Tensor, guess: Tensor) -> Correlated:
        """Clean states given noisy ones if the dynamics are linear about the guess."""
        ...


def linearize(operator: Operator, z: Tensor) -> tuple[Tensor, LinearMap, LinearMap]:
    """Linearise an observation operator.

    Parameters
    ----------
    operator
        From ``(B, *shape)`` to ``(B, n)``. If it has a method ``linearize(z)`` that returns products with the Jacobian
        and with its adjoint, these are used; otherwise they are found by differentiation.
    z
        Where, shape ``(B, *shape)``.

    Returns
    -------
    tuple
        Value ``(B, n)``; the product with the Jacobian, from ``(B, *shape)`` to ``(B, n)``; and with its adjoint, back.

    Examples
    --------
    >>> import torch
    >>> value, forward, adjoint = linearize(lambda z: z**2, torch.tensor([[1.0, 3.0]]))
    >>> value, forward(torch.ones(1, 2)), adjoint(torch.ones(1, 2))
    (tensor([[1., 9.]]), tensor([[2., 6.]]), tensor([[2., 6.]]))
    """
    if isinstance(operator, Linearizable):
        return operator(z), *operator.linearize(z)
    z = z.detach()
    with torch.enable_grad():
        leaf = z.clone().requires_grad_()
        y = operator(leaf)

    def forward(v: Tensor) -> Tensor:
        # Forward mode: reverse mode would have to differentiate the backward pass.
        return jvp(operator, z, v)

    def adjoint(w: Tensor) -> Tensor:
        return torch.autograd.grad(y, leaf, w, retain_graph=True)[0]

    return y.detach(), forward, adjoint


class GuidedDenoiser(Denoiser, abc.ABC):
    """Denoiser of a prior together with observations of what it denoises: what all methods have in common.

    Parameters
    ----------
    denoiser
        Denoiser of the prior. If it has a method ``covariance(v, t)``, that is its posterior covariance; if it has an
        attribute ``correlated`` that is true, what it returns has one, ``covariance(v)``; otherwise the covariance is
        found by differentiating the denoiser.
    y
        Observations, shape ``(n,)`` or ``(B, n)``.
    A
        Observation operator from ``(B, *shape)`` to ``(B, n)``, see `linearize`.
    cov_y
        Error covariance of the observations.
    derivative
        How to multiply with the Jacobian of a denoiser that has no method ``covariance``. ``"vjp"`` goes backward
        through the graph of one evaluation, which stays in memory; with the U-Net of the shipped models a product takes
        as long as an evaluation. ``"jvp"`` goes forward and keeps nothing, but takes as long as four: it pays where the
        graph does not fit. The Jacobian is symmetric for an exact denoiser and nearly so for a learned one.
    """

    def __init__(
        self, denoiser: Denoiser, y: Tensor, A: Operator, cov_y: Covariance, *, derivative: Derivative = "vjp"
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.y = y
        self.A = A
        self.errors = cov_y
        self.cov_y = cov_y
        self.precision_y = cov_y.inv
        self.derivative = derivative
        self.reweight: Callable[[Tensor], Covariance] | None = None
        self._latest = 0.0
        self._estimate: Tensor | None = None

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]  # azula declares an attribute
        """Noise schedule of the prior."""
        return self.denoiser.schedule

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        """Estimate clean states given noisy ones and the observations.

        Parameters
        ----------
        x_t
            Noisy states, shape ``(B, *shape)``.
        t
            Time, shape ``()``.
        """
        if self.reweight is not None and float(t) > self._latest:
            self._set_errors(self.errors)  # back at high noise: another sample
        mean = self._smooth(x_t, t, **kwargs)
        if self.reweight is not None:
            self._set_errors(self.reweight(self.y - self.A(mean)))
            self._latest = float(t)
        return DiracPosterior(mean=mean)

    def _smooth(self, x_t: Tensor, t: Tensor, **kwargs: object) -> Tensor:
        """Mean given noisy states and observations.

        Where the dynamics are known, they are linearised about what the observations make of the estimate: an iterated
        smoother. Without observations it may lie in another valley, and a covariance that is small there holds it back.
        """
        if not isinstance(self.denoiser, Dynamical):
            return self._update(*self._prior(x_t, t, **kwargs), t)
        count, near = self.denoiser.linearizations(t)
        mean = self._nearby(x_t, t) if near and count else None
        if mean is None:
            mean = self._update(*self._prior(x_t, t, **kwargs), t)
        for _ in range(count):
            posterior = self.denoiser.linearized(x_t, t, mean)
            mean = self._update(posterior.mean, posterior.covariance, t)
        self._estimate = mean
        return mean

    def _nearby(self, x_t: Tensor, t: Tensor) -> Tensor | None:
        """Estimate of the call before, of a level close by; noisy states as they are where it was of other states."""
        if self._estimate is None or self._estimate.shape != x_t.shape:
            return None
        alpha, sigma = self.schedule(t)
        noise = (x_t / alpha - self._estimate).flatten(1).square().mean(1).sqrt() * alpha / sigma
        return torch.where((noise < _FOREIGN).view(-1, *[1] * (x_t.ndim - 1)), self._estimate, x_t / alpha)

    def _update(self, x_hat: Tensor, cov_x: LinearMap, t: Tensor) -> Tensor:
        """Bring a Gaussian, mean and covariance, together with the observations."""
        y_hat, forward, adjoint = linearize(self.A, x_hat)
        weights = self._weights(self.y - y_hat, x_hat, forward, lambda w: cov_x(adjoint(w)), t)
        return x_hat + cov_x(adjoint(weights))

    def _set_errors(self, cov_y: Covariance) -> None:
        """Go on with another error covariance."""
        self.cov_y, self.precision_y = cov_y, cov_y.inv

    @abc.abstractmethod
    def _weights(self, innovation: Tensor, x_hat: Tensor, forward: LinearMap, gain: LinearMap, t: Tensor) -> Tensor:
        """Weights of the observations, shape ``(B, n)``, from what the prior misses of them.

        Parameters
        ----------
        innovation
            Observations less what is expected of them, shape ``(B, n)``.
        x_hat
            Mean of the prior, shape ``(B, *shape)``.
        forward
            Product with `J`.
        gain
            Product with `V` times the adjoint of `J`.
        t
            Time.
        """

    def _prior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> tuple[Tensor, LinearMap]:
        """Mean of the prior given `x_t`, and its covariance as a function."""
        known = getattr(self.denoiser, "covariance", None)
        if known is not None:
            return self.denoiser(x_t, t, **kwargs).mean, lambda v: known(v, t)
        if getattr(self.denoiser, "correlated", False):
            posterior = self.denoiser(x_t, t, refine=False, **kwargs)
            return posterior.mean, posterior.covariance
        alpha, sigma = self.schedule(t)
        x_t = x_t.detach()
        if self.derivative == "jvp":

            def estimate(x: Tensor) -> Tensor:
                return self.denoiser(x, t, **kwargs).mean

            return estimate(x_t), lambda v: sigma**2 / alpha * jvp(estimate, x_t, v)
        with torch.enable_grad():
            x_t = x_t.clone().requires_grad_()
            x_hat = self.denoiser(x_t, t, **kwargs).mean

        def product(v: Tensor) -> Tensor:
            return sigma**2 / alpha * torch.autograd.grad(x_hat, x_t, v, retain_graph=True)[0]

        return x_hat.detach(), product


class MMPSDenoiser(GuidedDenoiser):
    """Moment-matching guidance [1]_.

    Parameters
    ----------
    denoiser, y, A, cov_y, derivative
        As for `GuidedDenoiser`.
    iterations
        Number of solver iterations; by default as many as it takes.
    tolerance
        Root mean square of the residual to which the system is solved, in units of the observation errors. Times the
        root of the number of observations, it bounds the error of the estimate in units of its own standard deviation.
        Unused where `iterations` is given.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        A: Operator,
        cov_y: Covariance,
        tolerance: float = 0.03,
        *,
        iterations: int | None = None,
        derivative: Derivative = "vjp",
    ) -> None:
        super().__init__(denoiser, y, A, cov_y, derivative=derivative)
        self.tolerance = 0.0 if iterations is not None else tolerance
        self.iterations = _MOST_ITERATIONS if iterations is None else iterations
        self._past: list[tuple[float, Tensor]] = []

    def _weights(self, innovation: Tensor, x_hat: Tensor, forward: LinearMap, gain: LinearMap, t: Tensor) -> Tensor:
        time = float(t)
        # In units of the observation errors the system is the identity plus a positive matrix, which is what conjugate
        # gradients like.
        weights = conjugate_gradients(
            lambda w: self.cov_y(w) + forward(gain(w)),
            innovation,
            self._guess(time, innovation),
            tolerance=0.0,
            absolute=self.tolerance * innovation.shape[-1] ** 0.5,
            iterations=self.iterations,
            precondition=self.precision_y,
            # A covariance of the prior that is not positive would make it less than one.
            least=0.9,
        )
        descends = self._past and time < self._past[-1][0]
        self._past = [*self._past[-1:], (time, weights)] if descends else [(time, weights)]
        return weights

    def _guess(self, time: float, innovation: Tensor) -> Tensor | None:
        """First guess of the weights: this noise level is close to the last one, and so is its solution."""
        if not self._past or self._past[-1][1].shape != innovation.shape:
            self._past = []
            return None
        latest, last = self._past[-1]
        if len(self._past) == 2 and time < latest:
            # Three levels in a row: go on as before.
            return 2 * last - self._past[0][1]
        return last


class SDADenoiser(GuidedDenoiser):
    r"""Guidance of SDA [2]_: the likelihood of the denoised estimate with an inflated error.

    .. math:: w = (R + \Gamma_t)^{-1} (y - A(\hat z))

    SDA has :math:`\Gamma_t = \gamma \, \sigma_t^2 / \alpha_t^2` with a constant :math:`\gamma` set by hand, of which
    the right value depends on the operator and on the prior. Without one, :math:`\Gamma_t` is found from the prior,

    .. math:: \Gamma_t = \frac{\| M^2 s \|}{\| M s \|} D, \qquad M = D^{-1/2} J V_t J^\top D^{-1/2}, \qquad
        D = \mathrm{diag} \, J J^\top

    with a fixed vector :math:`s` of random signs: two steps of the power method, which come near the largest eigenvalue
    of :math:`M`, at the price of two gradients more. The diagonal of :math:`J V_t J^\top` would be too small: what
    observations have in common would be counted as often as there are observations, spread would be lost, and Langevin
    corrections would diverge. Being too large, :math:`\Gamma_t` draws too little towards the observations while there
    is noise. Corrections make up for that.

    Parameters
    ----------
    denoiser, y, A, cov_y, derivative
        As for `GuidedDenoiser`; errors must be independent.
    gamma
        Constant of SDA; by default automatic.

    Raises
    ------
    OptionError
        If the errors are correlated.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        A: Operator,
        cov_y: Covariance,
        *,
        gamma: float | None = None,
        derivative: Derivative = "vjp",
    ) -> None:
        super().__init__(denoiser, y, A, cov_y, derivative=derivative)
        if not isinstance(cov_y, DiagonalCovariance | IsotropicCovariance):
            msg = f"guidance='sda' needs independent errors; got a {type(cov_y).__name__}. Use guidance='mmps'."
            raise OptionError(msg)
        self.gamma = gamma

    @property
    def variance(self) -> Tensor:
        """Error variances."""
        if isinstance(self.cov_y, IsotropicCovariance):
            return torch.as_tensor(self.cov_y.lmbda)
        variance: Tensor = self.cov_y.D  # type: ignore[attr-defined]  # diagonal, as was checked
        return variance

    def _weights(self, innovation: Tensor, x_hat: Tensor, forward: LinearMap, gain: LinearMap, t: Tensor) -> Tensor:
        if self.gamma is not None:
            alpha, sigma = self.schedule(t)
            return innovation / (self.variance + self.gamma * (sigma / alpha) ** 2)
        signs = _signs(innovation)
        rows = _row_norms(forward, x_hat).clamp(min=1e-30)
        once = forward(gain(signs / rows.sqrt())) / rows.sqrt()
        twice = forward(gain(once / rows.sqrt())) / rows.sqrt()
        size = torch.linalg.vector_norm(twice, dim=-1, keepdim=True)
        size = size / torch.linalg.vector_norm(once, dim=-1, keepdim=True).clamp(min=1e-30)
        return innovation / (self.variance + size * rows)


class DPSDenoiser(GuidedDenoiser):
    r"""Guidance of DPS [3]_: a step down the gradient of the distance to the observations.

    .. math:: \hat z - \zeta \, \sigma_t \nabla_{z_t} \left\| y - A(\hat z) \right\|_{R^{-1}}

    Unlike in azula's DPS, the distance is each member's own, so that the result does not depend on the batch, and the
    step is in units of the noise level, so that it does not depend on the schedule.

    Parameters
    ----------
    denoiser, y, A, cov_y, derivative
        As for `GuidedDenoiser`.
    zeta
        Length of the step.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Tensor,
        A: Operator,
        cov_y: Covariance,
        *,
        zeta: float = 1.0,
        derivative: Derivative = "vjp",
    ) -> None:
        super().__init__(denoiser, y, A, cov_y, derivative=derivative)
        self.zeta = zeta

    def _weights(self, innovation: Tensor, x_hat: Tensor, forward: LinearMap, gain: LinearMap, t: Tensor) -> Tensor:
        alpha, sigma = self.schedule(t)
        slope = self.precision_y(innovation)
        distance = (innovation * slope).sum(-1, keepdim=True).clamp(min=1e-24).sqrt()
        # `gain` is the gradient through the network times sigma^2 / alpha.
        return self.zeta * alpha / sigma * slope / distance


def _signs(like: Tensor, seed: int = 0) -> Tensor:
    """Random signs, the same for every row and at every call."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, like.shape[1:], generator=generator) * 2 - 1
    return signs.to(like).expand_as(like)


def _row_norms(forward: LinearMap, like: Tensor, probes: int = 8) -> Tensor:
    """Diagonal of :math:`J J^T`: exact for rows with one element, an estimate for others; shape ``(B, n)``."""
    return torch.stack([forward(_signs(like, seed)).square() for seed in range(probes)]).mean(0)


@dataclass(frozen=True)
class MMPS:
    """Options of moment matching, see `MMPSDenoiser`.

    Attributes
    ----------
    iterations
        Number of solver iterations per network call; by default until `tolerance` is reached.
    tolerance
        Residual per observation, in units of its error.
    derivative
        ``"vjp"`` or ``"jvp"``.

    Examples
    --------
    ``sample_posterior(..., guidance=MMPS(iterations=3))``
    """

    iterations: int | None = None
    tolerance: float = 0.03
    derivative: Derivative = "vjp"

    def __call__(self, denoiser: Denoiser, y: Tensor, A: Operator, cov_y: Covariance) -> GuidedDenoiser:
        """Guide a denoiser."""
        return MMPSDenoiser(
            denoiser, y, A, cov_y, self.tolerance, iterations=self.iterations, derivative=self.derivative
        )


@dataclass(frozen=True)
class SDA:
    """Options of the guidance of SDA, see `SDADenoiser`.

    Attributes
    ----------
    gamma
        Constant of SDA; by default found from the prior.
    derivative
        ``"vjp"`` or ``"jvp"``.
    """

    gamma: float | None = None
    derivative: Derivative = "vjp"

    def __call__(self, denoiser: Denoiser, y: Tensor, A: Operator, cov_y: Covariance) -> GuidedDenoiser:
        """Guide a denoiser."""
        return SDADenoiser(denoiser, y, A, cov_y, gamma=self.gamma, derivative=self.derivative)


@dataclass(frozen=True)
class DPS:
    """Options of the guidance of DPS, see `DPSDenoiser`.

    Attributes
    ----------
    zeta
        Length of the step.
    derivative
        ``"vjp"`` or ``"jvp"``.
    """

    zeta: float = 1.0
    derivative: Derivative = "vjp"

    def __call__(self, denoiser: Denoiser, y: Tensor, A: Operator, cov_y: Covariance) -> GuidedDenoiser:
        """Guide a denoiser."""
        return DPSDenoiser(denoiser, y, A, cov_y, zeta=self.zeta, derivative=self.derivative)


#: Guidance by name, each with its defaults.
GUIDANCE: dict[str, MMPS | SDA | DPS] = {"mmps": MMPS(), "sda": SDA(), "dps": DPS()}


def guide(
    denoiser: Denoiser,
    y: Tensor,
    A: Operator,
    cov_y: Covariance,
    guidance: str | MMPS | SDA | DPS = "mmps",
    *,
    reweight: Callable[[Tensor], Covariance] | None = None,
) -> GuidedDenoiser:
    """Wrap a denoiser by a guidance.

    Parameters
    ----------
    denoiser, y, A, cov_y
        As for `GuidedDenoiser`.
    guidance
        A name in `GUIDANCE`, or options of one: ``MMPS(iterations=3)``, ``SDA(gamma=0.1)``, ``DPS(zeta=0.5)``.
    reweight
        Error covariance given the residuals ``(B, n)`` of the latest guided estimate, for the call after it; see
        `xslams.inference.robust.RobustErrors`.

    Raises
    ------
    OptionError
        If there is no guidance of that name.

    Examples
    --------
    >>> import torch
    >>> from azula.denoise import GaussianDenoiser
    >>> from azula.linalg.covariance import DiagonalCovariance, IsotropicCovariance
    >>> from azula.noise import VESchedule
    >>> prior = GaussianDenoiser(torch.zeros(2), DiagonalCovariance(torch.ones(2)), VESchedule(0.01, 100.0))
    >>> guided = guide(prior, torch.ones(1), lambda z: z[:, :1], IsotropicCovariance(1.0), MMPS(iterations=1))
    >>> guided(torch.zeros(1, 2), torch.tensor(1.0)).mean.round(decimals=3)
    tensor([[0.5000, 0.0000]])
    """
    if isinstance(guidance, str):
        if guidance not in GUIDANCE:
            msg = f"Unknown guidance {guidance!r}; choose one of {', '.join(map(repr, GUIDANCE))}."
            raise OptionError(msg)
        guidance = GUIDANCE[guidance]
    guided = guidance(denoiser, y, A, cov_y)
    if reweight is not None:
        guided.reweight = reweight
    return guided

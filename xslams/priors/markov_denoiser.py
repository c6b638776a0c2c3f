r"""Denoiser of whole trajectories of a Markov process: a first guess by a network, a step of Gauss and Newton.

With a learned transition :math:`z_{i+1} \sim \mathcal{N}(M(z_i), Q)` from starts :math:`z_1 \sim \mathcal{N}(0, C)`,
and noise of ratio :math:`\sigma` to the signal on all frames, the posterior is

.. math:: -2 \log p(z \mid z_t) = z_1^\top C^{-1} z_1 + \sum_i \| z_{i+1} - M(z_i) \|^2_{Q^{-1}}
    + \sum_i \| z_{t,i} - z_i \|^2 / \sigma^2 + \mathrm{const},

a nonlinear least-squares problem with a block-tridiagonal matrix: what the iterated Kalman smoother [1]_ [2]_ solves.
Its trouble is the first guess, as trajectories that are far apart can both be local minima. A network
(`xslams.networks.two_filter`) gives one close to the mean, and a step or two from there come within a percent of the
exact smoother, where the network alone errs by a tenth to a half more. The inverse of the matrix is the covariance
:math:`V_t` that guidance wants: it is factored once, from the first frame to the last, and a product costs a pass in
each direction, no derivative of the network.

Guidance takes these steps itself (`MarkovPosterior.relinearized`), with the observations in the sum: it becomes an
iterated smoother of the observations and the noisy frames together.

Where noise is so large that the posterior has several modes, the mean is none of them, and the network alone is the
better estimate; where it is small, the noisy frames themselves are close enough, and the network is not called. The
model knows both levels (`refine` and `bare`, found on trajectories that it was not trained on). Starts have the mean
and covariance of the climate and nothing more: the first frames of a trajectory may be off the attractor, to which the
dynamics draws those that follow. The covariance at high noise is that of the network, if it has learned one
(``blocks``),

.. math:: V_t = \left( \frac{U^\top U}{s_t^2} + \frac{I}{\kappa \sigma_t^2} \right)^{-1}

with a large constant :math:`\kappa`. By Tweedie's formula :math:`V_t = \sigma_t^2 \, \partial \hat z / \partial z_t`
for noise on a signal of unit scale: the second term says that an estimate never moves more than :math:`\kappa` times as
far as what it is made from. It hardly matters where the network is right, and keeps covariances finite where it meets
what it has not seen.

References
----------
.. [1] Rauch, Tung and Striebel, Maximum likelihood estimates of linear dynamic systems, 1965, doi:10.2514/3.3166.
.. [2] Bell, The iterated Kalman smoother as a Gauss-Newton method, 1994, doi:10.1137/0804035.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from azula.denoise import Denoiser
from azula.denoise import Posterior as AzulaPosterior
from azula.noise import Schedule, VESchedule
from torch import Tensor

from xslams.linalg.block_tridiagonal import BlockTridiagonal, Diagonal, Solvable
from xslams.priors.posteriors import CorrelatedPosterior, Posterior
from xslams.priors.process import Process, gauss_newton

if TYPE_CHECKING:
    from xslams.networks.two_filter import TrajectoryEstimate
    from xslams.priors.markov import MarkovPrior

__all__ = ["MarkovDenoiser", "MarkovPosterior", "steps_at"]

# How much further than the noisy state an estimate may move: it does so between modes, at high noise, by a factor of
# a few.
_KAPPA = 30.0
# Trajectories that go through the network together: more do not fit into a processor's cache.
_BATCH = 256
# Noise, relative to the signal, beyond which trajectories within reach are bent.
_FAR = 0.5
# Noise up to which one linearisation about an estimate from nearby is as good as several: within two thousandths of the
# noise, where the estimate itself errs by a tenth of it (measured on Lorenz-63 and 96).
_STRAIGHT = 0.15


class MarkovPosterior(AzulaPosterior, Posterior):
    """Trajectories of a Markov process given noisy ones; what nobody asks for is not computed.

    Parameters
    ----------
    denoiser
        Denoiser of the process.
    x_t
        Noisy trajectories, shape ``(B, L, channel, lat, lon)``.
    t
        Time, shape ``()``.
    refine
        Whether the estimate takes the steps of Gauss and Newton; guidance takes them itself, with the observations.
    """

    def __init__(self, denoiser: MarkovDenoiser, x_t: Tensor, t: Tensor, *, refine: bool) -> None:
        self._denoiser, self._x_t, self._t, self._refine = denoiser, x_t, t, refine

    @cached_property
    def _solution(self) -> tuple[Tensor, Solvable]:
        return self._denoiser.solve(self._x_t, self._t, refine=self._refine)

    @property
    def mean(self) -> Tensor:  # type: ignore[override]  # azula declares an attribute
        """Mean, shape of the noisy trajectories."""
        return self._solution[0]

    def covariance(self, v: Tensor) -> Tensor:
        """Multiply with the covariance, shape ``(B, *shape)``."""
        return _product(self._solution[1], v)

    @property
    def relinearizations(self) -> int:
        """How often guidance linearises the dynamics, zero where there is too much noise for it."""
        return self._denoiser.relinearizations_at(self._t)

    @property
    def nearby(self) -> bool:
        """Whether the guided estimate of the level before is the place to begin, instead of the mean."""
        return self._denoiser.is_bare(self._t)

    def relinearized(self, guess: Tensor) -> CorrelatedPosterior:
        """Return the posterior if the dynamics are linear about a guess that knows of observations.

        Parameters
        ----------
        guess
            Estimate of the clean trajectories, shape of the noisy ones.
        """
        return self._denoiser.linearized(self._x_t, self._t, guess)


def _product(precision: Solvable, v: Tensor) -> Tensor:
    """Multiply trajectories ``(B, *shape)`` with a covariance, of which the precision is given in double precision."""
    return precision.solve(v.flatten(2).double()).reshape(v.shape).to(v)


class MarkovDenoiser(Denoiser):
    """Denoiser of trajectories of any length.

    Parameters
    ----------
    networks
        Modules of a model.
    schedule
        Noise schedule; by default variance exploding, over the noise levels of training.
    relinearized
        Largest noise, relative to the signal, at which guidance linearises the dynamics about what the observations
        make of the network's estimate; by default where the model gains by it without observations. Where they are
        sparse, up to two or three times that finds valleys that are lost otherwise.
    relinearizations
        How many times guidance does so per call, at most; where there is little noise, once is enough.

    Examples
    --------
    >>> import torch, xslams
    >>> from xslams.inference import prior_of
    >>> prior = prior_of(xslams.open_model("lorenz63"), length=20)
    >>> estimate = prior.denoiser(torch.zeros(2, 20, 3, 1, 1), torch.tensor(0.5))
    >>> estimate.mean.shape, estimate.covariance(torch.ones(2, 20, 3, 1, 1)).shape
    (torch.Size([2, 20, 3, 1, 1]), torch.Size([2, 20, 3, 1, 1]))
    """

    def __init__(
        self,
        networks: MarkovPrior,
        schedule: Schedule | None = None,
        *,
        relinearized: float | None = None,
        relinearizations: int = 2,
    ) -> None:
        super().__init__()
        self.networks = networks
        self.schedule = VESchedule(0.005, 30.0) if schedule is None else schedule
        self.relinearized = float(networks.refine) if relinearized is None else relinearized
        self.relinearizations = relinearizations

    @property
    def process(self) -> Process:
        """The learned process."""
        return Process(self.networks.transition)

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> MarkovPosterior:
        """Estimate clean trajectories, with the steps of Gauss and Newton.

        Parameters
        ----------
        x_t
            Noisy trajectories, shape ``(B, L, channel, lat, lon)``; the last two are the sites.
        t
            Time, shape ``()``.
        """
        return MarkovPosterior(self, x_t, t, refine=True)

    def posterior(self, x_t: Tensor, t: Tensor, **kwargs: object) -> MarkovPosterior:
        """Return clean trajectories given noisy ones, without the steps that guidance takes itself."""
        return MarkovPosterior(self, x_t, t, refine=False)

    @torch.no_grad()
    def solve(self, x_t: Tensor, t: Tensor, *, refine: bool) -> tuple[Tensor, Solvable]:
        """Estimate clean trajectories, and the precision of the estimate.

        Parameters
        ----------
        x_t, t
            As for `forward`.
        refine
            Whether to take the steps of Gauss and Newton.

        Returns
        -------
        tuple
            Mean, shape of `x_t`, and precision over trajectories ``(B, L, n)``.
        """
        alpha, ratio = self._level(t)
        noisy = (x_t / alpha).flatten(3)
        networks = self.networks
        precision: Solvable
        if ratio <= float(networks.bare):
            # The frames themselves are close enough.
            flat = noisy.flatten(2)
            mean, precision = gauss_newton(networks.transition, flat, flat, ratio, 2 if refine else 1, checked=False)
            return mean.reshape(x_t.shape), precision
        parts = [networks.filters(part, part.new_full((len(part),), ratio)) for part in noisy.split(_BATCH)]
        mean = torch.cat([part.mean for part in parts]).flatten(2)
        refines = refine and ratio <= float(networks.refine)
        if refines:
            mean, precision = gauss_newton(networks.transition, mean, noisy.flatten(2), ratio, steps_at(ratio))
        else:
            precision = _precision(parts, ratio)
        return mean.reshape(x_t.shape), precision

    def _level(self, t: Tensor) -> tuple[Tensor, float]:
        """Return the scale of the signal, and the ratio of noise to it."""
        alpha, sigma = self.schedule(t)
        return alpha, float(sigma / alpha)

    def is_bare(self, t: Tensor) -> bool:
        """Whether there is so little noise that the learned step needs no network to begin with."""
        return self._level(t)[1] <= float(self.networks.bare)

    def relinearizations_at(self, t: Tensor) -> int:
        """How many times guidance linearises the dynamics once more at a time; zero where there is too much noise."""
        _, ratio = self._level(t)
        if ratio > self.relinearized:
            return 0
        return min(1, self.relinearizations) if self.is_bare(t) and ratio < _STRAIGHT else self.relinearizations

    @torch.no_grad()
    def linearized(self, x_t: Tensor, t: Tensor, guess: Tensor) -> CorrelatedPosterior:
        """Linearise the dynamics about a guess that knows of observations.

        Parameters
        ----------
        x_t, t
            As for `forward`.
        guess
            Estimate of the clean trajectories, shape of `x_t`.

        Returns
        -------
        CorrelatedPosterior
            What `x_t` says if the dynamics are linear about the guess; with the observations, the next guess.
        """
        alpha, ratio = self._level(t)
        noisy = (x_t / alpha).flatten(2)
        mean, precision = gauss_newton(self.networks.transition, guess.flatten(2), noisy, ratio, checked=False)
        return CorrelatedPosterior(mean.reshape(x_t.shape), lambda v: _product(precision, v))

    @torch.no_grad()
    def forecast(self, z: Tensor, frames: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Go on with trajectories by the learned step and its noise.

        Parameters
        ----------
        z
            Trajectories, shape ``(B, L, channel, lat, lon)``; only the last frames matter.
        frames
            Number of frames to come.
        generator
            Source of randomness; torch's global generator by default.

        Returns
        -------
        Tensor
            The frames that come, shape ``(B, frames, channel, lat, lon)``: with those of `z` what `sample_posterior`
            takes as `start`, once there are more observations.

        Examples
        --------
        >>> import torch, xslams
        >>> from xslams.inference import prior_of
        >>> prior = prior_of(xslams.open_model("lorenz96"), length=5)
        >>> prior.denoiser.forecast(torch.zeros(2, *prior.shape), 8).shape
        torch.Size([2, 8, 1, 1, 40])
        """
        step = self.networks.transition
        deviation = step.noise.sqrt()[:, None]
        latest, coming = z[:, -1].flatten(2), []
        for _ in range(frames):
            noise = torch.randn(latest.shape, generator=generator, dtype=latest.dtype).to(latest)
            latest = step(latest) + deviation * noise
            coming.append(latest)
        return torch.stack(coming, 1).reshape(len(z), frames, *z.shape[2:])


def steps_at(ratio: float) -> int:
    """Return the number of steps from the network's guess: far from linear, a second one still gains a little."""
    return 2 if ratio > _FAR else 1


def _precision(parts: list[TrajectoryEstimate], ratio: float) -> Solvable:
    """Precision matrix of what the network gave; of blocks with the term that bounds its inverse."""
    neighbours = [part.neighbour for part in parts if part.neighbour is not None]
    if not neighbours:
        roots = torch.cat([part.diagonal / part.scale[:, None, None, None] for part in parts])
        return Diagonal(roots.flatten(2).double().square())
    root = torch.cat([part.diagonal for part in parts]).double()
    matrix = BlockTridiagonal.of_root(root, torch.cat(neighbours)[:, :-1].double())
    unit = (1 / torch.cat([part.scale for part in parts]) ** 2).double()[:, None, None, None]
    eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    return BlockTridiagonal(unit * matrix.diagonal + eye / (_KAPPA * ratio**2), unit * matrix.below).factored()

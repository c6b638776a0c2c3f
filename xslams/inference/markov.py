r"""Denoiser of whole trajectories of a Markov process: a first guess by a network, a step of Gauss and Newton.

With a learned transition :math:`z_{i+1} \sim \mathcal{N}(M(z_i), Q)` from starts :math:`z_1 \sim \mathcal{N}(0, C)`,
and noise of ratio :math:`\sigma` to the signal on all frames, the posterior is

.. math:: -2 \log p(z \mid z_t) = z_1^\top C^{-1} z_1 + \sum_i \| z_{i+1} - M(z_i) \|^2_{Q^{-1}}
    + \sum_i \| z_{t,i} - z_i \|^2 / \sigma^2 + \mathrm{const},

a nonlinear least-squares problem with a block-tridiagonal matrix: what the iterated Kalman smoother [1]_ [2]_ solves.
Its trouble is the first guess, as trajectories that are far apart can both be local minima. A network
(`xslams.models.twofilter`) gives one close to the mean, and a step or two from there come within a percent of the exact
smoother, where the network alone errs by a tenth to a half more. The inverse of the matrix is the covariance
:math:`V_t` that guidance wants: it is factored once, from the first frame to the last, and a product costs a pass in
each direction, no derivative of the network.

Guidance takes these steps itself (`MarkovDenoiser.relinearize`), with the observations in the sum: it becomes an
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

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from azula.denoise import Denoiser, Posterior
from azula.noise import Schedule, VESchedule
from torch import Tensor

if TYPE_CHECKING:
    from xslams.models.systems import SystemNetworks
    from xslams.models.transition import Transition
    from xslams.models.twofilter import Gaussian

__all__ = ["BlockTridiagonal", "CorrelatedPosterior", "Diagonal", "MarkovDenoiser", "gauss_newton", "steps_at"]

# How much further than the noisy state an estimate may move: it does so between modes, at high noise, by a factor of
# a few.
_KAPPA = 30.0
# Trajectories that go through the network together: more do not fit into a processor's cache.
_BATCH = 256
# Noise, relative to the signal, beyond which trajectories within reach are bent.
_FAR = 0.5
# Blocks larger than this are multiplied by a library, smaller ones element by element.
_WIDE = 8


class BlockTridiagonal:
    """Inverse of a symmetric positive definite block-tridiagonal matrix.

    Parameters
    ----------
    diagonal
        Diagonal blocks, shape ``(B, L, n, n)``.
    below
        Blocks below them, shape ``(B, L - 1, n, n)``: rows of frame ``i + 1``, columns of frame ``i``.

    Examples
    --------
    >>> import torch
    >>> matrix = BlockTridiagonal(4 * torch.eye(2).expand(1, 3, 2, 2), torch.eye(2).expand(1, 2, 2, 2))
    >>> matrix.solve(torch.tensor([[[5.0, 5.0], [6.0, 6.0], [5.0, 5.0]]])).round(decimals=3)
    tensor([[[1., 1.],
             [1., 1.],
             [1., 1.]]])
    """

    def __init__(self, diagonal: Tensor, below: Tensor) -> None:
        eye = torch.eye(diagonal.shape[-1], dtype=diagonal.dtype, device=diagonal.device)
        left = diagonal[:, 0]
        inverses: list[Tensor] = []  # of the roots of the diagonal blocks that elimination leaves
        lower: list[Tensor] = []
        for i in range(diagonal.shape[1]):
            root = torch.linalg.cholesky(left)
            inverses.append(torch.linalg.solve_triangular(root, eye.expand_as(root), upper=False))
            if i + 1 < diagonal.shape[1]:
                lower.append(below[:, i] @ inverses[i].mT)
                left = diagonal[:, i + 1] - lower[i] @ lower[i].mT
        self._wide = diagonal.shape[-1] > _WIDE
        # With the batch last, the small sums over blocks run over whole vectors, several times as fast.
        self._inverses = inverses if self._wide else [block.movedim(0, -1).contiguous() for block in inverses]
        self._below = lower if self._wide else [block.movedim(0, -1).contiguous() for block in lower]

    def solve(self, v: Tensor) -> Tensor:
        """Multiply with the inverse, shape ``(B, L, n)``."""
        if self._wide:
            return self._solve_wide(v)
        frames = v.permute(1, 2, 0).contiguous().unbind(0)
        done: list[Tensor] = []
        for i, inverse in enumerate(self._inverses):
            rest = frames[i] if not i else frames[i] - (self._below[i - 1] * done[-1]).sum(1)
            done.append((inverse * rest).sum(1))
        out: list[Tensor] = []
        for i in reversed(range(len(done))):
            rest = done[i] if not out else done[i] - (self._below[i] * out[-1][:, None]).sum(0)
            out.append((self._inverses[i] * rest[:, None]).sum(0))
        return torch.stack(out[::-1]).permute(2, 0, 1)

    def _solve_wide(self, v: Tensor) -> Tensor:
        done: list[Tensor] = []
        for i, inverse in enumerate(self._inverses):
            rest = v[:, i, :, None] if not i else v[:, i, :, None] - self._below[i - 1] @ done[-1]
            done.append(inverse @ rest)
        out: list[Tensor] = []
        for i in reversed(range(len(done))):
            rest = done[i] if not out else done[i] - self._below[i].mT @ out[-1]
            out.append(self._inverses[i].mT @ rest)
        return torch.stack(out[::-1], dim=1).squeeze(-1)


class Diagonal:
    """Inverse of a diagonal matrix: what a network without blocks knows of its errors.

    Parameters
    ----------
    diagonal
        Elements, shape ``(B, L, n)``.
    """

    def __init__(self, diagonal: Tensor) -> None:
        self.diagonal = diagonal

    def solve(self, v: Tensor) -> Tensor:
        """Multiply with the inverse, shape ``(B, L, n)``."""
        return v / self.diagonal


class CorrelatedPosterior(Posterior):
    """Estimate with the covariance of its error.

    Parameters
    ----------
    mean
        Shape ``(B, *shape)``.
    precision
        Inverse of the covariance, over trajectories ``(B, L, n)``.
    """

    def __init__(self, mean: Tensor, precision: BlockTridiagonal | Diagonal) -> None:
        self.mean = mean
        self.precision = precision

    def covariance(self, v: Tensor) -> Tensor:
        """Multiply with the covariance, shape ``(B, *shape)``."""
        return self.precision.solve(v.flatten(2).double()).reshape(v.shape).to(v)


class MarkovDenoiser(Denoiser):
    """Denoiser of trajectories of any length.

    Parameters
    ----------
    networks
        Modules of a model.
    schedule
        Noise schedule; by default variance exploding, over the noise levels of training.

    Examples
    --------
    >>> import torch, xslams
    >>> from xslams.inference.prior import prior_of
    >>> prior = prior_of(xslams.open_model("lorenz63"), length=20)
    >>> estimate = prior.denoiser(torch.zeros(2, 20, 3, 1, 1), torch.tensor(0.5))
    >>> estimate.mean.shape, estimate.covariance(torch.ones(2, 20, 3, 1, 1)).shape
    (torch.Size([2, 20, 3, 1, 1]), torch.Size([2, 20, 3, 1, 1]))
    """

    def __init__(self, networks: SystemNetworks, schedule: Schedule | None = None) -> None:
        super().__init__()
        self.networks = networks
        self.schedule = VESchedule(0.005, 30.0) if schedule is None else schedule
        self.correlated = True
        self.calls = 0

    @torch.no_grad()
    def forward(self, x_t: Tensor, t: Tensor, *, refine: bool = True, **kwargs: object) -> CorrelatedPosterior:
        """Estimate clean trajectories.

        Parameters
        ----------
        x_t
            Noisy trajectories, shape ``(B, L, channel, lat, lon)``; the last two are the sites.
        t
            Time, shape ``()``.
        refine
            Whether to take the steps of Gauss and Newton; guidance takes them itself, with the observations.
        """
        alpha, sigma = self.schedule(t)
        ratio = float(sigma / alpha)
        noisy = (x_t / alpha).flatten(3)
        networks = self.networks
        precision: BlockTridiagonal | Diagonal
        if ratio <= float(networks.bare):
            # The frames themselves are close enough.
            flat = noisy.flatten(2)
            mean, precision = gauss_newton(networks.transition, flat, flat, ratio, 2 if refine else 1, checked=False)
            return CorrelatedPosterior(mean.reshape(x_t.shape), precision)
        self.calls += 1
        parts = [networks.filters(part, part.new_full((len(part),), ratio)) for part in noisy.split(_BATCH)]
        mean = torch.cat([part.mean for part in parts]).flatten(2)
        refines = refine and ratio <= float(networks.refine)
        if refines:
            mean, precision = gauss_newton(networks.transition, mean, noisy.flatten(2), ratio, steps_at(ratio))
        elif networks.filters.blocks:
            precision = _precision(parts, ratio)
        else:
            roots = torch.cat([part.diagonal / part.scale[:, None, None, None] for part in parts])
            precision = Diagonal(roots.flatten(2).double().square())
        return CorrelatedPosterior(mean.reshape(x_t.shape), precision)

    def relinearize(self, x_t: Tensor, t: Tensor, guess: Tensor) -> CorrelatedPosterior | None:
        """Linearise the dynamics about a guess that knows of observations; None where there is too much noise for it.

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
        alpha, sigma = self.schedule(t)
        ratio = float(sigma / alpha)
        if ratio > float(self.networks.refine):
            return None
        noisy = (x_t / alpha).flatten(2)
        mean, precision = gauss_newton(self.networks.transition, guess.flatten(2), noisy, ratio, checked=False)
        return CorrelatedPosterior(mean.reshape(x_t.shape), precision)


def steps_at(ratio: float) -> int:
    """Return the number of steps from the network's guess: far from linear, a second one still gains a little."""
    return 2 if ratio > _FAR else 1


def gauss_newton(
    transition: Transition, guess: Tensor, noisy: Tensor, ratio: float, steps: int = 1, *, checked: bool = True
) -> tuple[Tensor, BlockTridiagonal]:
    """Improve a guess of trajectories by steps of the Gauss-Newton method.

    Parameters
    ----------
    transition
        Learned step of the process.
    guess, noisy
        Guess, and the trajectories with noise, shape ``(B, L, n)``.
    ratio
        Standard deviation of the noise.
    steps
        Number of steps.
    checked
        Whether the last step, too, is only taken where it leads downhill, at the price of one more evaluation.

    Returns
    -------
    tuple
        Improved trajectories, and the matrix of the last step, the precision of the posterior.
    """
    # In double precision, as what the dynamics determine and what they leave open differ by orders of magnitude.
    noise = transition.noise.repeat_interleave(transition.sites).double()
    start = transition.start.double()
    seen = noisy.double()

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Jacobian, weighted residual of every step, and twice the negative log-density of each trajectory."""
        value, jacobian = (a.double() for a in transition.linearize(x[:, :-1].to(guess)))
        wrong = (x[:, 1:] - value) / noise
        cost = (wrong.square() * noise).sum((1, 2)) + ((seen - x) / ratio).square().sum((1, 2))
        return jacobian, wrong, cost + ((x[:, 0] @ start) * x[:, 0]).sum(1)

    def system(x: Tensor, jacobian: Tensor, wrong: Tensor) -> tuple[BlockTridiagonal, Tensor]:
        weighted = jacobian / noise[:, None]
        diagonal = (torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) / ratio**2).repeat(*x.shape[:2], 1, 1)
        diagonal[:, 0] += start
        diagonal[:, :-1] += jacobian.mT @ weighted
        diagonal[:, 1:] += torch.diag(1 / noise)
        downhill = (seen - x) / ratio**2
        downhill[:, 0] -= x[:, 0] @ start
        downhill[:, :-1] += (jacobian.mT @ wrong[..., None]).squeeze(-1)
        downhill[:, 1:] -= wrong
        return BlockTridiagonal(diagonal, -weighted), downhill

    x = guess.double()
    jacobian, wrong, cost = evaluate(x)
    matrix, downhill = system(x, jacobian, wrong)
    for n in range(steps):
        tried = x + matrix.solve(downhill)
        if n + 1 == steps and not checked:
            return tried.to(guess), matrix
        jacobian_there, wrong_there, cost_there = evaluate(tried)
        # A step that does not lead downhill is not taken: the guess was in another valley.
        better = (cost_there < cost)[:, None, None]
        x = torch.where(better, tried, x)
        wrong = torch.where(better, wrong_there, wrong)
        jacobian = torch.where(better[..., None], jacobian_there, jacobian)
        cost = torch.minimum(cost, cost_there.nan_to_num(torch.inf))
        if n + 1 < steps:
            matrix, downhill = system(x, jacobian, wrong)
    return x.to(guess), matrix


def _precision(parts: list[Gaussian], ratio: float) -> BlockTridiagonal:
    """Precision matrix of what the network gave, with the term that bounds its inverse."""
    d = torch.cat([part.diagonal for part in parts]).double()
    n = torch.cat([part.neighbour for part in parts if part.neighbour is not None])[:, :-1].double()
    unit = (1 / torch.cat([part.scale for part in parts]) ** 2).double()[:, None, None, None]
    eye = torch.eye(d.shape[-1], dtype=d.dtype, device=d.device)
    diagonal = d @ d.mT + F.pad(n @ n.mT, (0, 0, 0, 0, 1, 0))
    return BlockTridiagonal(unit * diagonal + eye / (_KAPPA * ratio**2), unit * (n @ d[:, :-1].mT))

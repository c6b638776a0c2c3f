r"""Denoiser of whole trajectories of a small system, with a posterior covariance that is known without derivatives.

The network (`xslams.models.twofilter`) gives a mean and the factor :math:`U` of a block-tridiagonal precision matrix,
the form that it has for a Markov process seen through independent noise. The covariance used for guidance is

.. math:: V_t = \left( \frac{U^\top U}{s_t^2} + \frac{I}{\kappa \sigma_t^2} \right)^{-1}

with a large constant :math:`\kappa`. By Tweedie's formula :math:`V_t = \sigma_t^2 \, \partial \hat z / \partial z_t`
for noise on a signal of unit scale: the second term says that an estimate never moves more than :math:`\kappa` times as
far as what it is made from. It hardly matters where the network is right, and keeps covariances finite where it meets
what it has not seen.

The matrix is factored once per noise level, from the first frame to the last, and a product costs one pass in each
direction: a Kalman smoother [1]_ with learned blocks.

References
----------
.. [1] Rauch, Tung and Striebel, Maximum likelihood estimates of linear dynamic systems, 1965, doi:10.2514/3.3166.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from azula.denoise import Denoiser, DiracPosterior, Posterior
from azula.noise import Schedule, VESchedule
from torch import Tensor

if TYPE_CHECKING:
    from xslams.models.twofilter import Gaussian, TwoFilter

__all__ = ["BlockTridiagonal", "CorrelatedPosterior", "MarkovDenoiser"]

# How much further than the noisy state an estimate may move: it does so between modes, at high noise, by a factor of
# a few.
_KAPPA = 30.0
# Trajectories that go through the network together: more do not fit into a processor's cache.
_BATCH = 128


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
    >>> matrix.solve(torch.tensor([[[5.0, 5.0], [6.0, 6.0], [5.0, 5.0]]]))
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
        # With the batch last, the small sums over blocks run over whole vectors, several times as fast.
        self._inverses = [block.movedim(0, -1).contiguous() for block in inverses]
        self._below = [block.movedim(0, -1).contiguous() for block in lower]

    def solve(self, v: Tensor) -> Tensor:
        """Multiply with the inverse, shape ``(B, L, n)``."""
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


class CorrelatedPosterior(Posterior):
    """Estimate with the covariance of its error.

    Parameters
    ----------
    mean
        Shape ``(B, *shape)``.
    precision
        Inverse of the covariance, over trajectories ``(B, L, n)``.
    """

    def __init__(self, mean: Tensor, precision: BlockTridiagonal) -> None:
        self.mean = mean
        self.precision = precision

    def covariance(self, v: Tensor) -> Tensor:
        """Multiply with the covariance, shape ``(B, *shape)``."""
        return self.precision.solve(v.flatten(2)).reshape(v.shape)


class MarkovDenoiser(Denoiser):
    """Denoiser of trajectories of any length.

    Parameters
    ----------
    network
        Trained network.
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

    def __init__(self, network: TwoFilter, schedule: Schedule | None = None) -> None:
        super().__init__()
        self.network = network
        self.schedule = VESchedule(0.005, 30.0) if schedule is None else schedule
        self.correlated = network.blocks
        self.calls = 0

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> Posterior:
        """Estimate clean trajectories.

        Parameters
        ----------
        x_t
            Noisy trajectories, shape ``(B, L, channel, lat, lon)``; the last two are the sites.
        t
            Time, shape ``()``.
        """
        alpha, sigma = self.schedule(t)
        self.calls += 1
        parts = [
            self.network(part, (sigma / alpha).expand(len(part)).to(part))
            for part in (x_t / alpha).flatten(3).split(_BATCH)
        ]
        mean = torch.cat([part.mean for part in parts]).reshape(x_t.shape)
        if not self.network.blocks:
            return DiracPosterior(mean=mean)
        return CorrelatedPosterior(mean, _precision(parts, sigma / alpha))


def _precision(parts: list[Gaussian], ratio: Tensor) -> BlockTridiagonal:
    """Precision matrix of what the network gave, with the term that bounds its inverse."""
    d = torch.cat([part.diagonal for part in parts])
    n = torch.cat([part.neighbour for part in parts if part.neighbour is not None])[:, :-1]
    unit = (1 / torch.cat([part.scale for part in parts]) ** 2)[:, None, None, None]
    eye = torch.eye(d.shape[-1], dtype=d.dtype, device=d.device)
    diagonal = d @ d.mT + F.pad(n @ n.mT, (0, 0, 0, 0, 1, 0))
    return BlockTridiagonal(unit * diagonal + eye / (_KAPPA * ratio**2), unit * (n @ d[:, :-1].mT))

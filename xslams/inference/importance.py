r"""Members of a Markov process that fell into wrong valleys: weights by evidence, and resampling.

Where dynamics hardly have noise, the posterior of a trajectory consists of valleys, long and narrow, and far apart. At
high noise of the diffusion a member has to choose one before the density of trajectories at that noise, which guidance
takes to be Gaussian, says which is right; at low noise it cannot leave it. A few of a hundred members end where the
observations are many errors off, and ruin mean and spread.

The joint density of trajectory and observations is known, however, and so is the shape of a valley, by the Laplace
approximation at its lowest point. This is importance sampling [1]_ with the valleys that the members found: member
:math:`j`, whose valley has its minimum :math:`m_j` and the precision :math:`H_j` there, has the weight

.. math:: w_j \propto \frac{p(y, m_j)}{\frac{1}{N} \sum_i \mathcal{N}(m_j \mid m_i, H_i^{-1})}

Members of the same valley share what it is worth; how many there are does not matter. Inside a valley a member stays
where the sampler has put it.

References
----------
.. [1] Cappé et al., Population Monte Carlo, 2004, doi:10.1198/106186004X12803.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from xslams.errors import OptionError
from xslams.inference.observation_operator import linearize
from xslams.linalg.block_tridiagonal import BlockTridiagonal
from xslams.linalg.covariances import error_covariance
from xslams.priors.markov_denoiser import MarkovDenoiser
from xslams.priors.process import Linearized, Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from azula.denoise import Denoiser
    from azula.linalg.covariance import Covariance

__all__ = ["importance_weights", "resample"]

# Steps to the bottom of a valley: from where samplers end three or four, where the process hardly has noise about ten.
_STEPS = 12
# Steps that are taken wherever they lead: samplers end beside the valley, and most first steps down to its floor lead
# up its sides first.
_FREE = 3
# Fraction of a step at which a member is given up.
_SHORTEST = 1e-3
# What a further step would gain, in units of the log-density, that is not worth it.
_BOTTOM = 0.01


def importance_weights(
    denoiser: Denoiser,
    z: Tensor,
    y: Tensor,
    A: Callable[[Tensor], Tensor],
    cov_y: Covariance | Tensor | float,
    *,
    members: int | None = None,
) -> Tensor:
    """Weigh members by the evidence for the valleys of the posterior that they are in.

    Parameters
    ----------
    denoiser
        Prior, with a learned step: ``prior_of(model, length).denoiser`` of a model of a system.
    z
        Members, shape ``(B, L, channel, lat, lon)``, drawn by `sample_posterior`.
    y, A, cov_y
        Observations, operator and error covariance, as for `sample_posterior`. Each observation must depend on one
        frame.
    members
        Members of a case, where `z` holds those of several cases, one after the other; by default all of them.

    Returns
    -------
    Tensor
        Weights, shape ``(B,)``; those of a case sum to one.

    Raises
    ------
    OptionError
        If the prior has no learned step, if an observation depends on several frames, or if the number of members does
        not divide that of a batch.

    Examples
    --------
    >>> import torch, xslams
    >>> from xslams.inference import importance_weights, prior_of
    >>> prior = prior_of(xslams.open_model("lorenz63-ode"), length=11)
    >>> z = prior.denoiser(torch.zeros(4, *prior.shape), torch.tensor(0.1)).mean
    >>> weights = importance_weights(prior.denoiser, z, torch.zeros(3), lambda z: z[:, ::5, 0, 0, 0], 0.01)
    >>> weights.round(decimals=2)  # one valley
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if not isinstance(denoiser, MarkovDenoiser):
        msg = f"Weights need a prior with a learned step, such as that of 'lorenz63'; got a {type(denoiser).__name__}."
        raise OptionError(msg)
    members = len(z) if members is None else members
    if members < 1 or len(z) % members:
        msg = f"{len(z)} members cannot be cases of members={members} each; give a divisor of {len(z)}."
        raise OptionError(msg)
    precision = error_covariance(cov_y).inv
    every = y.expand(len(z), -1)
    parts = [
        _case(denoiser.process, case, values, A, cast("Callable[[Tensor], Tensor]", precision))
        for case, values in zip(z.split(members), every.split(members), strict=True)
    ]
    return torch.cat(parts).to(z)


def resample(
    z: Tensor, weights: Tensor, *, members: int | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Draw members of equal weight from weighted ones: most of them stay as they are.

    Parameters
    ----------
    z
        Members, shape ``(B, *shape)``.
    weights
        Weights, shape ``(B,)``.
    members
        Members of a case; by default all of them.
    generator
        Source of randomness; torch's global generator by default.

    Returns
    -------
    Tensor
        Members, shape of `z`. A member with a weight of at least its share is kept at its place; the places of the
        others go to copies, as often as weights say (systematic resampling of what is left).

    Examples
    --------
    >>> import torch
    >>> resample(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.25, 0.0, 0.5, 0.25]))
    tensor([1., 3., 3., 4.])
    """
    members = len(z) if members is None else members
    out = z.clone()
    for first in range(0, len(z), members):
        expected = weights[first : first + members].double().cpu() * members
        counts = (expected + 1e-6).floor()
        left = int(members - counts.sum())
        if left:
            rest = (expected - counts).clamp(min=0).cumsum(0)
            start = torch.rand((), generator=generator, dtype=torch.float64)
            marks = (start + torch.arange(left)) * rest[-1] / left
            counts += torch.bincount(torch.searchsorted(rest, marks).clamp(max=members - 1), minlength=members)
        free = (counts == 0).nonzero().flatten()
        copies = torch.arange(members).repeat_interleave((counts - 1).clamp(min=0).long())
        out[first + free] = z[first + copies]
    return out


def _case(
    process: Process, z: Tensor, y: Tensor, A: Callable[[Tensor], Tensor], precision: Callable[[Tensor], Tensor]
) -> Tensor:
    """Weights of the members of one case, shape ``(N,)``."""

    def evaluate(x: Tensor) -> tuple[Linearized, Tensor]:
        about = process.linearize(x)
        residual = y - A(x.to(z).reshape(z.shape))
        return about, about.cost + (residual.double() * precision(residual).double()).sum(1)

    def system(x: Tensor, about: Linearized) -> tuple[BlockTridiagonal, Tensor]:
        matrix, downhill = process.system(x, about)
        observed, slope = _observed(x.to(z).reshape(z.shape), y, A, precision)
        return BlockTridiagonal(matrix.diagonal + observed, matrix.below), downhill + slope

    x = z.flatten(2).double()
    about, cost = evaluate(x)
    length = torch.ones(len(x), 1, 1, dtype=x.dtype, device=x.device)
    for n in range(_STEPS):
        matrix, downhill = system(x, about)
        step = matrix.factored().solve(downhill)
        tried = x + length * step
        candidate, candidate_cost = evaluate(tried)
        taken = (candidate_cost < cost) | (n < _FREE)
        gains = (step * downhill).sum((1, 2)) > _BOTTOM
        x = torch.where(taken[:, None, None], tried, x)
        cost = torch.where(taken, candidate_cost, cost)
        about = about.where(taken, candidate)
        # A step that is not taken was too long for a bend.
        length = torch.where(taken[:, None, None], (2 * length).clamp(max=1), length / 4)
        if not bool((gains & (length.flatten() > _SHORTEST)).any()):
            break
    matrix, _ = system(x, about)
    log_roots = matrix.factored().log_determinant() / 2
    distance = matrix.quadratic(x[None] - x[:, None])  # from the minimum of row i to that of column j
    density = torch.logsumexp(log_roots[:, None] - distance / 2, dim=0) - math.log(len(x))
    return torch.softmax(-cost / 2 - density, dim=0)


def _observed(
    z: Tensor, y: Tensor, A: Callable[[Tensor], Tensor], precision: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return what observations add to the blocks on the diagonal ``(B, L, n, n)`` and to the slope ``(B, L, n)``."""
    value, forward, adjoint = linearize(A, z)

    def weigh(v: Tensor) -> Tensor:
        return adjoint(precision(forward(v.to(z).reshape(z.shape)))).flatten(2)

    flat = z.flatten(2)
    columns = []
    for n in range(flat.shape[-1]):  # one component of all frames at a time
        unit = torch.zeros_like(flat)
        unit[..., n] = 1
        columns.append(weigh(unit))
    blocks = torch.stack(columns, dim=-1)
    generator = torch.Generator().manual_seed(0)
    signs = (torch.randint(0, 2, flat.shape[1:], generator=generator) * 2 - 1).to(flat).expand_as(flat)
    apart = weigh(signs) - (blocks @ signs[..., None]).squeeze(-1)
    if float(apart.abs().max()) > 1e-3 * float(blocks.abs().max()):
        msg = (
            "Weights need observations that depend on one frame each, with errors that are independent between frames; "
            "got an operator or a covariance that connects frames."
        )
        raise OptionError(msg)
    return blocks.double(), adjoint(precision(y - value)).flatten(2).double()

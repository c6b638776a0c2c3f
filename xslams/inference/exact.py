r"""Members of Gaussian posteriors: one linear solve for each, in place of a reverse process.

Where the prior is Gaussian, :math:`z \sim \mathcal{N}(0, C)`, and observations are linear, :math:`y = A z + e` with
:math:`e \sim \mathcal{N}(0, R)`, a draw :math:`z_0 = C^{1/2} \varepsilon` from the prior becomes one from the
posterior by the analysis of observations that are disturbed by their errors [1]_ [2]_,

.. math:: z = z_0 + C A^\top (R + A C A^\top)^{-1} \big( y + R^{1/2} \eta - A z_0 \big) .

The reverse process solves the same system at every noise level, and leads to members of the same distribution.

Where observed variables are transformed ones, operators are linearised again about the member until the linear map
foretells what the operator makes of it (randomised maximum likelihood [3]_). That is an approximation, as guidance is.

References
----------
.. [1] Burgers, van Leeuwen and Evensen, Analysis scheme in the ensemble Kalman filter, 1998,
   doi:10.1175/1520-0493(1998)126<1719:ASITEK>2.0.CO;2.
.. [2] Hoffman and Ribak, Constrained realizations of Gaussian fields, 1991, doi:10.1086/186160.
.. [3] Oliver, He and Reynolds, Conditioning permeability fields to pressure data, 1996,
   doi:10.3997/2214-4609.201406884.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.inference.guidance import GUIDANCE
from xslams.inference.observation_operator import linearize
from xslams.linalg.conjugate_gradients import LinearObservations, solve
from xslams.priors.posteriors import MaybeGaussian

if TYPE_CHECKING:
    from collections.abc import Callable

    from azula.linalg.covariance import Covariance

    from xslams.inference.guidance import Guidance, Observed
    from xslams.options import SamplerOptions
    from xslams.priors.posteriors import GaussianPrior

__all__ = ["draw_exactly", "exact_prior"]

# Error of a solution, in standard deviations of the analysis, and its last change at an observation, in units of its
# error; see `xslams.linalg.conjugate_gradients`. A rough solution has so many times as much.
_TOLERANCE, _LARGEST, _ROUGH, _MOST = 0.007, 0.1, 15, 1000
# What a linear map may be off, in units of the errors of observations: root mean square, and at the worst of them. So
# often it is made again at most.
_MISSED, _MOST_MISSED, _LINEARIZATIONS = 0.02, 0.2, 10


def exact_prior(denoiser: object, observed: Observed | None, options: SamplerOptions) -> GaussianPrior | None:
    """Return the prior where members can be drawn by it, if that is how they are to be drawn.

    Parameters
    ----------
    denoiser
        Denoiser of the prior.
    observed
        Observations; None where there are none.
    options
        Guidance, sampler, and corrections. Only the defaults leave the method open.

    Returns
    -------
    GaussianPrior or None
        None where prior or errors are not Gaussian, an operator is unknown, or a method is asked for.
    """
    if options.sampler != "auto" or options.corrections:
        return None
    default: Guidance = GUIDANCE.instance("mmps")
    if GUIDANCE.instance(options.guidance) != default or not isinstance(denoiser, MaybeGaussian):
        return None
    if observed is not None and (observed.reweight is not None or not getattr(observed.operator, "monotone", False)):
        return None
    return denoiser.gaussian_prior()


@torch.no_grad()
def draw_exactly(
    prior: GaussianPrior,
    x: Tensor,
    observed: Observed | None,
    disturbance: Tensor | None,
    monitor: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Draw members.

    Parameters
    ----------
    prior
        Prior.
    x
        Standard normal noise, shape ``(B, *shape)``.
    observed
        Observations by operators that are linear but for transforms of single values; None draws from the prior.
    disturbance
        Standard normal noise for the observations, shape ``(B, n)``; None where there are none.
    monitor
        Called with the error of the solution in standard deviations of the analysis, shape ``(B,)``.

    Returns
    -------
    Tensor
        Members, shape of `x`.

    Examples
    --------
    The posterior mean of a standard normal variable observed as 1 with unit error is 1/2:

    >>> from azula.linalg.covariance import IsotropicCovariance
    >>> from xslams.inference.guidance import Observed
    >>> from xslams.priors.posteriors import GaussianPrior
    >>> observed = Observed(torch.ones(1), lambda z: z, IsotropicCovariance(1.0))
    >>> noise = torch.randn(2, 4096, 1, generator=torch.Generator().manual_seed(0))
    >>> z = draw_exactly(GaussianPrior(lambda v: v, lambda v: v), noise[0], observed, noise[1])
    >>> bool((z.mean() - 0.5).abs() < 0.05), bool((z.std() - 0.5**0.5).abs() < 0.03)
    (True, True)
    """
    drawn = prior.root(x)
    if observed is None or disturbance is None:
        return drawn
    precision, disturbed = observed.errors.inv, observed.y + observed.errors.color(disturbance)
    z, dual = drawn, None
    # What the map at the mean of the prior foretells shows whether the operator is linear.
    expected, forward, _ = linearize(observed.operator, torch.zeros_like(drawn))
    told, accurate = expected + forward(drawn), False
    active = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
    for _ in range(_LINEARIZATIONS):
        expected, forward, adjoint = linearize(observed.operator, z)
        curved = _is_curved(expected - told, precision)
        if accurate:
            active = active & curved
            if not bool(active.any()):
                break
        # The first map of a curved operator is off by more than a rough solution.
        accurate = dual is not None or not bool(curved.any())
        innovation = disturbed - expected + forward(z - drawn)
        found = solve(
            LinearObservations(innovation, prior.covariance, forward, adjoint, precision),
            guesses=() if dual is None else (dual,),
            tolerance=_TOLERANCE if accurate else _ROUGH * _TOLERANCE,
            largest=_LARGEST if accurate else _ROUGH * _LARGEST,
            iterations=_MOST,
        )
        # Members that are done are left alone, so that none depends on which others are drawn with it.
        if monitor is not None and accurate:
            monitor(torch.where(active[:, 0], found.error, 0.0))
        rows = active.reshape(-1, *[1] * (x.ndim - 1))
        step = torch.where(rows, drawn + found.increment - z, 0.0)
        z, dual, told = z + step, found.dual, expected + forward(step)
    return z


def _is_curved(missed: Tensor, precision: Covariance) -> Tensor:
    """Whether what an operator makes of a state differs from what its linear map foretold, ``(B, 1)``."""
    square = missed * precision(missed)
    return (square.mean(1, keepdim=True) > _MISSED**2) | (square.amax(1, keepdim=True) > _MOST_MISSED**2)

r"""Latents of which the decoder makes given values.

They are the mean of the prior, of covariance :math:`V`, given values :math:`d` whose errors :math:`\Lambda` are small:
where :math:`J^\top \Lambda^{-1} (d - J z) = V^{-1} z`, with the decoder :math:`J`. Two kinds of directions meet in
this. Within a latent cell the values tell most directions ten thousand times better than the prior, and others hardly
or not at all: those that only variables that are not given would show, and cells without values. There the prior
decides, by what it knows of the cells around.

Conjugate gradients with :math:`V` as preconditioner, as for observations, do not see the first kind, and those with an
inverse for each cell not that frames of the prior are smooth. Together they do,

.. math:: (V^{-1} + J^\top \Lambda^{-1} J)^{-1} \approx S \, (V^{-1} + \kappa I)^{-1} S, \qquad
    S = \left(I + P / \kappa\right)^{-1/2},

with the diagonal blocks :math:`P` of :math:`J^\top \Lambda^{-1} J`, one for each cell, and the mean :math:`\kappa` of
the diagonal of :math:`V^{-1}`. It is near :math:`P^{-1}` where values tell all, and near :math:`V`, as far as that is
not larger than :math:`1 / \kappa`, where they tell nothing. Where variances of the prior are alike, a multiple of the
identity does for the function of the prior, and saves a product with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.inference.cell_matrices import CellMatrices
from xslams.linalg.conjugate_gradients import minimum

if TYPE_CHECKING:
    from collections.abc import Callable

    from xslams.priors.fields import LinearMaps
    from xslams.priors.gaussian import StationaryGaussian

__all__ = ["latents_of"]

# Factor of the variances of the prior, which has to be wide enough for a state with errors.
_WIDE = 2.0
# Mean of the variances of the prior times that of their inverses, up to which they are alike: there the product with a
# function of the prior costs what it saves in iterations.
_ALIKE = 6.0


def latents_of(
    process: StationaryGaussian | None,
    values: Tensor,
    maps: LinearMaps,
    variance: Tensor,
    told: Tensor,
    directions: Tensor,
    pattern: Tensor,
    *,
    tolerance: float,
    iterations: int,
) -> Tensor:
    """Find latents ``(B, L, z, z_lat, z_lon)`` of given values.

    Parameters
    ----------
    process
        Gaussian process of the latents; None: they are independent, and of unit variance.
    values
        Values less those of latents that are zero, shape ``(B, n)``.
    maps
        From latents to values, and the adjoint.
    variance
        Variance up to which latents need not fit the values, shape ``(n,)``.
    told, directions
        What values say of each latent cell, its block of the adjoint times the map in units of `variance`: eigenvalues
        ``(pattern, cell, z)``, and -vectors ``(pattern, cell, z, z)``. May be those of a map that is nearly the given
        one.
    pattern
        Pattern that each frame has, shape ``(L,)``.
    tolerance
        Root mean square error, in standard deviations of latents given the values.
    iterations
        Largest number of iterations.
    """
    forward, adjoint = maps
    gaussian = None if process is None else process.trajectory(len(pattern))

    def prior(function: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
        if gaussian is None:
            return function(torch.full((), _WIDE, dtype=v.dtype, device=v.device)) * v
        return gaussian.apply(lambda d: function(_WIDE * d), v)

    level, spread = 1 / _WIDE, 1.0
    if gaussian is not None:
        level = float(gaussian.average(lambda d: 1 / (_WIDE * d)))
        spread = level * float(gaussian.average(lambda d: _WIDE * d))
    alike = spread < _ALIKE
    # What a map that is not local says of a cell may be less than nothing.
    share = (level / (level + told.clamp(min=0))).pow(1.0 if alike else 0.5)
    untold = CellMatrices(((directions * share[..., None, :]) @ directions.mT).to(values.dtype), pattern)

    def inverse(r: Tensor) -> Tensor:
        return untold(r) / level if alike else untold(prior(lambda d: d / (1 + level * d), untold(r)))

    return minimum(
        lambda v: prior(lambda d: 1 / d, v) + adjoint(forward(v) / variance),
        inverse,
        adjoint(values / variance),
        tolerance=tolerance,
        iterations=iterations,
    )[0]

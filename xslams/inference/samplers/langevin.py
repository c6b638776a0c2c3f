r"""Langevin corrections, and the predictor that makes up for what is lost in between.

Corrections [1]_ renew the noise at a noise level and thereby forget the errors of higher levels: of guidance, which is
approximate where the posterior is not Gaussian, least at low noise. Euler-Maruyama steps have to be small to keep the
variance, and then forget little: what is needed is hundreds. The scheme of Leimkuhler and Matthews [2]_ in the form of
[3]_ is exact for every Gaussian with steps of any stable length. With the length one it reads: from a state :math:`y`
with half the noise variance,

.. math:: y \leftarrow m(y + \kappa, r) + \kappa, \qquad \kappa \sim \mathcal{N}(0, r^2 / 2 \, I) .

The predictor therefore goes to half the variance of the next level, and as every level starts from new noise, it has no
history and is of first order:

.. math:: x \leftarrow x + k \, (m - x), \qquad k = \frac{1 - \sqrt{1 - \theta (1 - \rho^2)}}{\theta}

from the level :math:`r` to :math:`\rho r`. DDIM has :math:`\theta = 1`: every step loses variance. For a Gaussian with
the variance :math:`s^2` the error in variance is :math:`k^2 (u - \theta) r^2` with :math:`u = r^2 / (s^2 + r^2)`, of
which :math:`n` corrections at the next level :math:`r'` leave the share :math:`(1 - u')^{2n}`. Over all scales
:math:`s` of the data the errors add up to nothing with

.. math:: \theta = 2n \int_0^1 \frac{(1 - v) \, v^{2n - 1}}{1 - v + v \, r'^2 / r^2} dv,

which is :math:`1 / (2n + 1)` for small steps, and 1 for large ones and without corrections.

References
----------
.. [1] Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021, arXiv 2011.13456.
.. [2] Leimkuhler and Matthews, Rational Construction of Stochastic Numerical Methods for Molecular Sampling, 2013,
   doi:10.1093/amrx/abs010.
.. [3] Vilmart, Postprocessed Integrators for the High Order Integration of Ergodic SDEs, 2015,
   doi:10.1137/140974328.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from xslams.inference.samplers.base import Run, Step, StepSampler

__all__ = ["PredictorCorrector"]


@dataclass(frozen=True)
class PredictorCorrector(StepSampler):
    """Predictor of first order that keeps, with the corrections that follow, the variance over all scales."""

    def stepper(self, run: Run) -> Step:
        """Return the step."""
        levels = run.levels

        def step(x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
            # No correction follows the last step.
            theta = 1.0 if i == run.last else _theta(levels[i + 1] / levels[i], run.corrections)
            factor = (1 - math.sqrt(1 - theta * (1 - (target / levels[i]) ** 2))) / theta
            return x + factor * (mean - x), (x - mean) / levels[i]

        return step


def _theta(ratio: float, corrections: int) -> float:
    """Share of the step of DDIM that, with the corrections that follow, keeps the variance over all scales."""
    points, weights = np.polynomial.legendre.leggauss(32)
    v = (points + 1) / 2
    integrand = (1 - v) * v ** (2 * corrections - 1) / (1 - v + v * ratio**2)
    return float(corrections * np.sum(weights * integrand))

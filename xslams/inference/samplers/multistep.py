r"""Linear multistep methods: the integral of the polynomial through the last estimates.

.. math:: x(r') = \frac{r'}{r} x(r) + r' \int_{r'}^{r} \frac{m(\rho)}{\rho^2} d\rho \qquad \text{or} \qquad
    x(r') = x(r) + \int_r^{r'} \frac{x - m}{\rho} d\rho

with the polynomial in :math:`\log \rho` for the first (exponential: UniPC [1]_, DPM-Solver++ [2]_) and in :math:`\rho`
for the second (Adams-Bashforth [3]_). With corrections every level starts from new noise, so that there is no history,
and all of them are DDIM.

References
----------
.. [1] Zhao et al., UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models, 2023,
   arXiv 2302.04867.
.. [2] Lu et al., DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models, 2022,
   arXiv 2211.01095.
.. [3] Zhang and Chen, Fast Sampling of Diffusion Models with Exponential Integrator, 2023, arXiv 2204.13902.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from xslams.arguments import require_flag, require_whole
from xslams.inference.samplers.base import SAMPLERS, Run, Step, StepSampler
from xslams.inference.samplers.ddim import DDIM

__all__ = ["AdamsBashforth", "DPMSolverPP2M", "UniPC"]


# Polynomials of higher order swing between the levels.
_MOST_ESTIMATES = 12


class _Multistep(StepSampler, Protocol):
    """Sampler of a linear multistep method."""

    order: int
    exponential: bool
    repeats: bool

    def __post_init__(self) -> None:
        require_whole("order", self.order, 1, _MOST_ESTIMATES)
        require_flag(exponential=self.exponential, repeats=self.repeats)

    def stepper(self, run: Run) -> Step:
        """Return the step, which remembers the last estimates; without history it is DDIM."""
        if run.corrections:
            return DDIM().stepper(run)
        return _MultistepStep(run.levels, order=self.order, exponential=self.exponential, repeats=self.repeats)


@SAMPLERS.register("unipc")
@dataclass(frozen=True)
class UniPC(_Multistep):
    """Third order, with data prediction; the last step is repeated with the estimate at its end.

    Attributes
    ----------
    order
        Number of estimates.
    exponential
        Whether the polynomial is one of estimates in the logarithm of the level, instead of slopes in the level.
    repeats
        Whether the last step is repeated with the estimate at its end, before the next one.
    """

    order: int = 3
    exponential: bool = True
    repeats: bool = True


@SAMPLERS.register("dpmpp2m")
@dataclass(frozen=True)
class DPMSolverPP2M(_Multistep):
    """Second order, with data prediction; settings as for `UniPC`."""

    order: int = 2
    exponential: bool = True
    repeats: bool = False


@SAMPLERS.register("ab2")
@dataclass(frozen=True)
class AdamsBashforth(_Multistep):
    """Second order, with slopes; settings as for `UniPC`."""

    order: int = 2
    exponential: bool = False
    repeats: bool = False


class _MultistepStep:
    """Step of a linear multistep method, with the history of its run.

    Parameters
    ----------
    levels
        Noise levels.
    order, exponential, repeats
        As for `UniPC`.
    """

    def __init__(self, levels: list[float], *, order: int, exponential: bool, repeats: bool) -> None:
        self.levels, self.order, self.exponential, self.repeats = levels, order, exponential, repeats
        self.history: list[tuple[float, Tensor]] = []
        self.start: tuple[float, Tensor] | None = None

    def __call__(self, x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
        level = self.levels[i]
        self.history = [*self.history, (level, mean if self.exponential else (x - mean) / level)][-self.order :]
        if self.repeats and self.start is not None:
            x = self._integrate(*self.start, level)
        self.start = level, x
        return self._integrate(level, x, target), (x - mean) / level

    def _integrate(self, level: float, x: Tensor, target: float) -> Tensor:
        nodes = [node for node, _ in self.history]
        if self.exponential:
            weights = _weights([math.log(n) for n in nodes], math.log(target), math.log(level), target)
            x = target / level * x
        else:
            weights = _weights(nodes, level, target)
        for weight, (_, value) in zip(weights, self.history, strict=True):
            x = x + weight * value
        return x


def _weights(nodes: list[float], start: float, stop: float, scale: float | None = None) -> list[float]:
    r"""Integrals from `start` to `stop` of the Lagrange polynomials of `nodes`.

    With a `scale` they are weighted by :math:`scale \, e^{-v}`, as data prediction in log ratios wants it. Gauss's
    formula is exact for the polynomials and, for steps of any use, to rounding also for their product with an
    exponential.
    """
    points, weights = np.polynomial.legendre.leggauss(12)
    v = (start + stop) / 2 + (stop - start) / 2 * points
    weights = weights * (stop - start) / 2
    if scale is not None:
        weights = weights * scale * np.exp(-v)
    others = [[m for k, m in enumerate(nodes) if k != j] for j in range(len(nodes))]
    basis = [np.prod([(v - m) / (n - m) for m in rest], axis=0) for n, rest in zip(nodes, others, strict=True)]
    return [float(np.sum(weights * b)) for b in basis]

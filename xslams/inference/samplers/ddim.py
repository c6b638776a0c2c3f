"""Samplers of first order: DDIM, which follows the flow, and DDPM, which renews the noise in every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from xslams.inference.samplers.base import SAMPLERS, Run, Step, StepSampler

__all__ = ["DDIM", "DDPM"]


@SAMPLERS.register("ddim")
@dataclass(frozen=True)
class DDIM(StepSampler):
    """Euler's method in the ratio of noise to signal (Song et al., 2021, arXiv 2010.02502)."""

    def stepper(self, run: Run) -> Step:
        """Return the step."""

        def step(x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
            slope = (x - mean) / run.levels[i]
            return x + (target - run.levels[i]) * slope, slope

        return step


@SAMPLERS.register("ddpm")
@dataclass(frozen=True)
class DDPM(StepSampler):
    """Ancestral sampling, with new noise in every step (Ho et al., 2020, arXiv 2006.11239)."""

    def stepper(self, run: Run) -> Step:
        """Return the step."""
        levels, plain = run.levels, DDIM().stepper(run)

        def step(x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
            if i == run.last:
                # New noise here could not be taken away again.
                return plain(x, mean, i, target)
            kept = (target / levels[i]) ** 2
            new = target * math.sqrt(1 - kept) * run.draw()
            return mean + kept * (x - mean) + new, (x - mean) / levels[i]

        return step

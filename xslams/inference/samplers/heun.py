"""Heun's method, as EDM uses it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xslams.inference.samplers.base import SAMPLERS, Run, Step, StepSampler
from xslams.inference.samplers.ddim import DDIM

__all__ = ["Heun"]


@SAMPLERS.register("heun")
@dataclass(frozen=True)
class Heun(StepSampler):
    """Second order in the ratio of noise to signal, with two calls per step.

    References
    ----------
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, arXiv 2206.00364.
    """

    def intervals(self, steps: int) -> int:
        """Return the number of intervals; each costs two calls."""
        return (steps - 1) // 2

    def stepper(self, run: Run) -> Step:
        """Return the step."""
        levels, plain = run.levels, DDIM().stepper(run)

        def step(x: Tensor, mean: Tensor, i: int, target: float) -> tuple[Tensor, Tensor]:
            guess, slope = plain(x, mean, i, levels[i + 1])
            after = (guess - run.estimate(guess, i + 1)) / levels[i + 1]
            x = x + (levels[i + 1] - levels[i]) * (slope + after) / 2 + (target - levels[i + 1]) * after
            return x, slope

        return step

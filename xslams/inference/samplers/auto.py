"""The sampler that is best calibrated for a number of steps and corrections."""

from __future__ import annotations

from dataclasses import dataclass

from xslams.inference.samplers.base import SAMPLERS, Run, Step, StepSampler
from xslams.inference.samplers.langevin import PredictorCorrector
from xslams.inference.samplers.multistep import UniPC

__all__ = ["Auto"]


@SAMPLERS.register("auto")
@dataclass(frozen=True)
class Auto(StepSampler):
    """UniPC, or with corrections the predictor that makes up for what is lost in between."""

    def stepper(self, run: Run) -> Step:
        """Return the step of the sampler of choice."""
        return (PredictorCorrector() if run.corrections else UniPC()).stepper(run)

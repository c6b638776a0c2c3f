"""Options of sampling and training: frozen, typed, with every default in one place."""

from xslams.options.sampling import (
    GUIDANCE,
    MOST_MEMBERS,
    MOST_SEED,
    SAMPLERS,
    ComputeOptions,
    EnsembleOptions,
    SamplerOptions,
)
from xslams.options.training import SystemTrainingOptions, TrainingOptions

__all__ = [
    "GUIDANCE",
    "MOST_MEMBERS",
    "MOST_SEED",
    "SAMPLERS",
    "ComputeOptions",
    "EnsembleOptions",
    "SamplerOptions",
    "SystemTrainingOptions",
    "TrainingOptions",
]

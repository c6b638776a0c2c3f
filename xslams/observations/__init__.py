"""Observations: what was measured, where and when, how well, and as which linear map of the model's fields."""

from xslams.observations.nearby import around
from xslams.observations.quality import QualityControl
from xslams.observations.reduction import reduced
from xslams.observations.screening import (
    COLUMNS,
    Guess,
    background_check,
    first_guess,
    innovations,
    report,
    statistics,
    subgrid,
)
from xslams.observations.simulate import simulate_observations
from xslams.observations.source import (
    Observation,
    ObservationsLike,
    Owner,
    as_observations,
    background_observation,
    warn,
)

__all__ = [
    "COLUMNS",
    "Guess",
    "Observation",
    "ObservationsLike",
    "Owner",
    "QualityControl",
    "around",
    "as_observations",
    "background_check",
    "background_observation",
    "first_guess",
    "innovations",
    "reduced",
    "report",
    "simulate_observations",
    "statistics",
    "subgrid",
    "warn",
]

"""Observations: what was measured, where and when, how well, and as which linear map of the model's fields."""

from xslams.observations.background_check import (
    COLUMNS,
    Guess,
    background_check,
    first_guess,
    innovations,
    report,
    statistics,
    subgrid,
)
from xslams.observations.observation import (
    Observation,
    ObservationsLike,
    Owner,
    as_observations,
    background_observation,
    warn,
)
from xslams.observations.quality import QualityControl
from xslams.observations.simulate import simulate_observations
from xslams.observations.subset import around
from xslams.observations.superob import reduced

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

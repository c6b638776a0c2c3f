"""Observations: what was measured, where and when, how well, and as which linear map of the model's fields."""

from xslams.observations.nearby import around
from xslams.observations.simulate import simulate_observations
from xslams.observations.source import Observation, ObservationsLike, as_observations, background_observation

__all__ = [
    "Observation",
    "ObservationsLike",
    "around",
    "as_observations",
    "background_observation",
    "simulate_observations",
]

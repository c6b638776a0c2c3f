"""Observations: what was measured, where and when, how well, and as which linear map of the model's fields."""

from xslams.observations.audit import REASONS, Audit, AuditedLikelihood
from xslams.observations.background import background_observation
from xslams.observations.background_check import (
    Expectation,
    background_check,
    expectation,
    first_guess,
    with_variability,
)
from xslams.observations.background_error import BackgroundError, stated_background
from xslams.observations.bound import BoundSource
from xslams.observations.ensemble import BoundBackground, bound_background, first_member, members_of, spread_of
from xslams.observations.error_covariance import ErrorCovariance
from xslams.observations.gross_errors import DEVIATIONS, GrossErrors, PlausibleRange, gross_error_check, plausible_range
from xslams.observations.learned import Lessons, learn_sources, learned_variables, with_learned
from xslams.observations.observation import Observation, ObservationsLike, as_observations, lacks_errors
from xslams.observations.operators import OPERATORS
from xslams.observations.place_values import PlaceValues
from xslams.observations.quality import QualityControl
from xslams.observations.report import COLUMNS, by_window, report, statistics, total
from xslams.observations.simulate import simulate_observations
from xslams.observations.sites import Sites, one_of_each_frame, sites_of
from xslams.observations.superob import reduced

__all__ = [
    "COLUMNS",
    "DEVIATIONS",
    "OPERATORS",
    "REASONS",
    "Audit",
    "AuditedLikelihood",
    "BackgroundError",
    "BoundBackground",
    "BoundSource",
    "ErrorCovariance",
    "Expectation",
    "GrossErrors",
    "Lessons",
    "Observation",
    "ObservationsLike",
    "PlaceValues",
    "PlausibleRange",
    "QualityControl",
    "Sites",
    "as_observations",
    "background_check",
    "background_observation",
    "bound_background",
    "by_window",
    "expectation",
    "first_guess",
    "first_member",
    "gross_error_check",
    "lacks_errors",
    "learn_sources",
    "learned_variables",
    "members_of",
    "one_of_each_frame",
    "plausible_range",
    "reduced",
    "report",
    "simulate_observations",
    "sites_of",
    "spread_of",
    "stated_background",
    "statistics",
    "total",
    "with_learned",
    "with_variability",
]

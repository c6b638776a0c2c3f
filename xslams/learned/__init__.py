"""Learned observation operators as arrays: what an instrument reports, as a linear function of the state near it."""

from xslams.learned.errors import LearnedErrors, joint_errors
from xslams.learned.fitting import FEWEST, Learned, Settings, States, Values, in_step, learn
from xslams.learned.operator import LearnedOperator
from xslams.learned.storage import from_storage, to_storage

__all__ = [
    "FEWEST",
    "Learned",
    "LearnedErrors",
    "LearnedOperator",
    "Settings",
    "States",
    "Values",
    "from_storage",
    "in_step",
    "joint_errors",
    "learn",
    "to_storage",
]

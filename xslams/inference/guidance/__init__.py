"""Guidance: denoisers that know of observations. One file for each method; a new one registers itself in `GUIDANCE`."""

from xslams.inference.guidance.base import (
    GUIDANCE,
    Guidance,
    GuidanceState,
    GuidedDenoiser,
    Increment,
    LinearProblem,
    Observed,
    guide,
)
from xslams.inference.guidance.dps import DPS
from xslams.inference.guidance.mmps import MMPS
from xslams.inference.guidance.sda import SDA

__all__ = [
    "DPS",
    "GUIDANCE",
    "MMPS",
    "SDA",
    "Guidance",
    "GuidanceState",
    "GuidedDenoiser",
    "Increment",
    "LinearProblem",
    "Observed",
    "guide",
]

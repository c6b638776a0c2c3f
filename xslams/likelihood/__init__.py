"""Observations as arrays that cross from the labelled side to the torch side: numpy and scipy only."""

from xslams.likelihood.arrays import Boxes, SourceLikelihood
from xslams.likelihood.background import BackgroundCorrelation
from xslams.likelihood.correlation import Axis, Chain, ErrorCorrelation
from xslams.likelihood.errors import ErrorModel, SharedBias
from xslams.likelihood.robust import ROBUST, Huber, RobustLikelihood, StudentT

__all__ = [
    "ROBUST",
    "Axis",
    "BackgroundCorrelation",
    "Boxes",
    "Chain",
    "ErrorCorrelation",
    "ErrorModel",
    "Huber",
    "RobustLikelihood",
    "SharedBias",
    "SourceLikelihood",
    "StudentT",
]

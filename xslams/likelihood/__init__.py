"""Observations as arrays that cross from the labelled side to the torch side: numpy and scipy only."""

from xslams.likelihood.arrays import Boxes, SourceLikelihood
from xslams.likelihood.errors import ErrorModel, SharedBias
from xslams.likelihood.robust import ROBUST, Huber, RobustLikelihood, StudentT

__all__ = ["ROBUST", "Boxes", "ErrorModel", "Huber", "RobustLikelihood", "SharedBias", "SourceLikelihood", "StudentT"]

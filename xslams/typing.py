"""Plain containers that cross from the xarray side to the torch side. Numpy and scipy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

__all__ = ["Edges", "FloatArray", "Guidance", "Method", "SourceArrays"]

FloatArray = npt.NDArray[np.floating]
Guidance = Literal["mmps", "sda", "dps"]
Method = Literal["bilinear", "conservative", "nearest"]
Edges = Literal["great_circle", "parallel"]


@dataclass(frozen=True)
class SourceArrays:
    """One source of observations as the likelihood sees it: ``values = operator @ field + error``.

    Attributes
    ----------
    name
        Name of the source, for messages and reports.
    operator
        Sparse matrix of shape ``(n, time * channel * lat * lon)`` that acts on the decoded physical fields, flattened
        in C order. Channels run over `Spec.channels`: every variable of the model, state first, level by level.
    values
        Observed values, shape ``(n,)``, in the units of the model's variables. Missing values are not in here.
    variance
        Error variances, shape ``(n,)``, same units squared.
    """

    name: str
    operator: sp.csr_array
    values: FloatArray
    variance: FloatArray

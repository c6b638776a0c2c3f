"""Types that several rooms share: arrays, functions of users, and the words that options take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

__all__ = [
    "PRECISIONS",
    "Edges",
    "FieldFunction",
    "FloatArray",
    "Guidance",
    "Method",
    "Precision",
]

FloatArray = npt.NDArray[np.floating]
Guidance = Literal["mmps", "sda", "dps"]
Method = Literal["bilinear", "conservative", "nearest"]
Edges = Literal["great_circle", "parallel"]
Precision = Literal["float32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FieldFunction = Callable[[Mapping[str, Any]], Any]
"""Observation operator of a user: torch tensors of physical fields by name, to a tensor on the same grid and times."""

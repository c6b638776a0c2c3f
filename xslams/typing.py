"""Types that several rooms share: arrays, functions of users, and the words that options take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

__all__ = [
    "PRECISIONS",
    "Edges",
    "Engine",
    "FieldFunction",
    "FloatArray",
    "GuidanceName",
    "Method",
    "Precision",
    "SamplerName",
]

FloatArray = npt.NDArray[np.floating]
# Names of the parts that the package registers itself; the registries in `xslams.options` know those of others, too.
GuidanceName = Literal["mmps", "sda", "dps"]
SamplerName = Literal["auto", "ab2", "ddim", "ddpm", "dpmpp2m", "heun", "unipc"]
Engine = Literal["auto", "embedded", "xesmf"]
Method = Literal["bilinear", "conservative", "nearest"]
Edges = Literal["great_circle", "parallel"]
Precision = Literal["float32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FieldFunction = Callable[[Mapping[str, Any]], Any]
"""Observation operator of a user: torch tensors of physical fields by name, to a tensor on the same grid and times."""

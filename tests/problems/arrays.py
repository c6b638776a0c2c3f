"""Analyses on arrays, with all options as keyword arguments."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from xslams.inference.arrays import assimilate_arrays
from xslams.model import Model
from xslams.options import ComputeOptions, SamplerOptions


def draw(model: Model, **settings: Any) -> np.ndarray:
    """Call `assimilate_arrays` with the options of sampling and computing sorted out of the settings."""
    sampling, compute = (
        kind(**{f.name: settings.pop(f.name) for f in fields(kind) if f.name in settings})
        for kind in (SamplerOptions, ComputeOptions)
    )
    return assimilate_arrays(model, options=sampling, compute=compute, **settings)

"""Transforms of values that bring them closer to a normal distribution, from which evidence chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from xslams.transforms import square_root
from xslams.typing import FloatArray

__all__ = ["TRANSFORMS", "Transform"]


@dataclass(frozen=True)
class Transform:
    """A transform with one scale, and the values to which it may be applied.

    Attributes
    ----------
    forward
        Transforms values, given the scale.
    share
        The scale, in units of the median of the absolute values other than zero.
    signed
        Whether values of both signs may be transformed.
    """

    forward: Callable[[FloatArray, float], FloatArray]
    share: float
    signed: bool = False


def _identity(values: FloatArray, scale: float) -> FloatArray:
    return np.asarray(values, float)


def _square_root(values: FloatArray, scale: float) -> FloatArray:
    return np.asarray(square_root(np.asarray(values, float), scale))


def _logarithm(values: FloatArray, scale: float) -> FloatArray:
    return np.asarray(np.sign(values) * np.log1p(np.abs(values) / scale))


#: Transforms by name. The logarithm with a small scale tells above all whether there was any rain.
TRANSFORMS: Mapping[str, Transform] = {
    "identity": Transform(_identity, 1.0, signed=True),
    "sqrt": Transform(_square_root, 0.5),
    "log": Transform(_logarithm, 0.05),
}

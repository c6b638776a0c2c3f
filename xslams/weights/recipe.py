"""Weights applied to arrays, from a recipe that is small enough to be in every task of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.geometry import Geometry, Packed
from xslams.typing import Edges, FloatArray, Method
from xslams.weights.base import METHODS
from xslams.weights.store import build_weights, key_of, stored

__all__ = ["Recipe", "float_type", "regridded"]

# Values that are converted to double precision and multiplied at once.
_SLAB = 4_000_000


@dataclass(frozen=True)
class Recipe:
    """What determines the weights, but for the coordinates; small, so that it may be in every task of a graph."""

    key: str
    source: Packed
    target: Packed
    method: Method
    edges: Edges
    engine: str

    @classmethod
    def of(
        cls, source: Geometry, target: Geometry, method: Method, edges: Edges, engine: str
    ) -> tuple[Recipe, FloatArray]:
        """Recipe, and the coordinates of source and target as one array."""
        (source_header, source_array), (target_header, target_array) = source.pack(), target.pack()
        key = key_of(source, target, method, edges, engine)
        recipe = cls(key, source_header, target_header, method, edges, engine)
        return recipe, np.concatenate([source_array, target_array])

    def build(self, coordinates: FloatArray) -> sp.csr_array:
        """Weights, from the coordinates."""
        cut = self.source.length
        source, target = self.source.unpack(coordinates[:cut]), self.target.unpack(coordinates[cut:])
        return build_weights(source, target, self.method, self.edges, self.engine)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return type(self).__name__, self.key


def regridded(field: npt.NDArray[Any], coordinates: FloatArray, *, recipe: Recipe) -> npt.NDArray[Any]:
    """Regrid an array, shape (..., *source) to (..., *target)."""
    weights = stored(recipe.key, lambda: recipe.build(coordinates))
    cover = np.asarray(weights.sum(axis=1)).reshape(-1, 1)
    loop = field.shape[: field.ndim - len(recipe.source.shape)]
    flat = field.reshape(-1, weights.shape[1])
    out = np.empty((len(flat), weights.shape[0]), float_type(field.dtype))
    step = max(1, _SLAB // max(weights.shape))
    for start in range(0, len(flat), step):
        slab = slice(start, start + step)
        out[slab] = _product(weights, cover, flat[slab].T.astype(float), METHODS[recipe.method].cover).T
    return out.reshape(*loop, *recipe.target.shape)


def _product(weights: sp.csr_array, cover: FloatArray, fields: FloatArray, enough: float) -> FloatArray:
    """Weights times fields, shape (source, n) to (target, n), where enough of the weights fall on values."""
    valid = np.isfinite(fields)
    share = cover
    if not valid.all():
        share = weights @ valid.astype(float)
        fields = np.where(valid, fields, 0.0)
    total = weights @ fields
    where = np.broadcast_to(share >= enough, total.shape)
    return np.asarray(np.divide(total, share, out=np.full(total.shape, np.nan), where=where))


def float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of the result: that of the field where it is a floating-point type, else double precision."""
    return dtype if dtype.kind == "f" else np.dtype(float)

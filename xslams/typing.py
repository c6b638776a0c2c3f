"""Plain containers that cross from the xarray side to the torch side. Numpy and scipy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

__all__ = [
    "PER_VALUE",
    "PRECISIONS",
    "Edges",
    "FieldFunction",
    "FloatArray",
    "Guidance",
    "Method",
    "Precision",
    "SourceArrays",
]

#: Attributes of `SourceArrays` that have an element for each value, but for the operator.
PER_VALUE = (
    "values", "variance", "group", "bias_error", "local", "subgrid", "thin_box", "thin_distance", "mean_box", "spot",
    "merged", "owned",
)  # fmt: skip

FloatArray = npt.NDArray[np.floating]
Guidance = Literal["mmps", "sda", "dps"]
Method = Literal["bilinear", "conservative", "nearest"]
Edges = Literal["great_circle", "parallel"]
Precision = Literal["float32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FieldFunction = Callable[[Mapping[str, Any]], Any]
"""Observation operator of a user: torch tensors of physical fields by name, to a tensor on the same grid and times."""


@dataclass(frozen=True)
class SourceArrays:
    """One source of observations as the likelihood sees it: ``values = operator @ field + error``.

    Attributes
    ----------
    name
        Name of the source, for messages and reports.
    operator
        Sparse matrix of shape ``(n, time * channel * lat * lon)`` that acts on the decoded physical fields, flattened
        in C order. Channels run over `Spec.channels`: every variable of the model, state first, level by level. With a
        `function` it acts on what that returns, of shape ``(time, lat, lon)``.
    values
        Observed values, shape ``(n,)``, in the units of the model's variables. Missing values are not in here.
    variance
        Error variances, shape ``(n,)``, same units squared.
    function
        Observation operator on physical fields that comes before `operator`.
    robust
        Likelihood with heavy tails, ``("huber", k)`` or ``("student-t", degrees of freedom)``; None: Gaussian.
    background_check
        Largest innovation, in standard deviations of what is expected of it.
    group, bias_error
        Which values share an unknown bias, numbers from 0, and its standard deviation, each of shape ``(n,)``.
    local
        Standard deviation of what all values of a place and time share and the model cannot represent, shape ``(n,)``;
        not yet part of `variance`.
    subgrid
        Share of the variance below the grid scale that is `local`, shape ``(n,)``, where it is to be derived from the
        model.
    thin_box, thin_distance
        Box of which one value is to be kept, and distance from its centre, each of shape ``(n,)``.
    mean_box
        Box over which values are to be averaged, shape ``(n,)``.
    spot
        Place of each value, shape ``(n,)``.
    merged
        Number of values that were averaged into each, shape ``(n,)``; None where nothing was.
    owned
        Which values belong to the frames that are kept, shape ``(n,)``; None where all do. The others are counted with
        another segment of the time axis.
    given
        Number of elements of the data, those of other segments left out.
    rejected
        Number of values that take no part, by reason.
    """

    name: str
    operator: sp.csr_array
    values: FloatArray
    variance: FloatArray
    function: FieldFunction | None = None
    robust: tuple[str, float] | None = None
    background_check: float | None = None
    group: npt.NDArray[np.intp] | None = None
    bias_error: FloatArray | None = None
    local: FloatArray | None = None
    subgrid: FloatArray | None = None
    thin_box: npt.NDArray[np.intp] | None = None
    thin_distance: FloatArray | None = None
    mean_box: npt.NDArray[np.intp] | None = None
    spot: npt.NDArray[np.intp] | None = None
    merged: npt.NDArray[np.intp] | None = None
    owned: npt.NDArray[np.bool_] | None = None
    given: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)

    def keep(self, chosen: npt.NDArray[np.bool_], reason: str) -> SourceArrays:
        """Leave out values, and count those that belong here.

        Parameters
        ----------
        chosen
            Which values to keep, shape ``(n,)``.
        reason
            Why the others are left out.

        Examples
        --------
        >>> source = SourceArrays("a", sp.csr_array(np.eye(2)), np.zeros(2), np.ones(2))
        >>> source.keep(np.array([True, False]), "background").rejected
        {'background': 1}
        """
        lost = ~chosen if self.owned is None else ~chosen & self.owned
        count = int(lost.sum() if self.merged is None else self.merged[lost].sum())
        arrays = {name: value[chosen] for name in PER_VALUE if (value := getattr(self, name)) is not None}
        rejected = {**self.rejected, reason: self.rejected.get(reason, 0) + count}
        return replace(self, operator=self.operator[np.flatnonzero(chosen)], rejected=rejected, **arrays)

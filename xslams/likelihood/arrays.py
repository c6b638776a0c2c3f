"""A source of observations as the likelihood sees it: values, the rows that map fields to them, and their errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.likelihood.background import BackgroundCorrelation
from xslams.likelihood.errors import ErrorModel, IntArray
from xslams.likelihood.identity import named
from xslams.typing import FieldFunction, FloatArray

__all__ = ["Boxes", "SourceLikelihood"]


@dataclass(frozen=True)
class Boxes:
    """Boxes in which values of the same frames and level are to be thinned or averaged.

    Attributes
    ----------
    place
        Place of each value, numbers from 0, shape ``(n,)``.
    thin, distance
        Box of which one value is to be kept, and the distance from its centre, each of shape ``(n,)``.
    mean
        Box over which values are to be averaged, shape ``(n,)``.
    """

    place: IntArray
    thin: IntArray | None = None
    distance: FloatArray | None = None
    mean: IntArray | None = None

    def keep(self, chosen: npt.NDArray[Any]) -> Boxes:
        """Boxes of some of the values, given as a mask or as positions."""
        arrays = self.thin, self.distance, self.mean
        return Boxes(self.place[chosen], *(None if v is None else v[chosen] for v in arrays))

    @staticmethod
    def joined(parts: Sequence[Boxes]) -> Boxes:
        """Boxes of several variables of one source; each has its own."""

        def each(name: str) -> Any:
            arrays = [getattr(p, name) for p in parts]
            return None if arrays[0] is None else np.concatenate(arrays)

        return Boxes(each("place"), each("thin"), each("distance"), each("mean"))


@dataclass(frozen=True)
class SourceLikelihood:
    """One variable of a source of observations: ``values = matrix @ field + error``.

    Attributes
    ----------
    name
        Name of the source, for messages and reports.
    matrix
        Sparse rows of shape ``(n, time * channel * lat * lon)`` that act on the decoded physical fields, flattened in C
        order. Channels run over `Spec.channels`: every variable of the model, state first, level by level. With a
        `function` they act on what that returns, of shape ``(time, lat, lon)``.
    values
        Observed values, shape ``(n,)``, in the units of the model's variables, without missing ones.
    errors
        Errors of the values.
    function
        Observation operator of a user on physical fields, which comes before `matrix`.
    background_check
        Largest innovation, in standard deviations of what is expected of it; ``"gross"`` for a check for gross errors
        alone, None for no check.
    boxes
        Boxes in which values are to be thinned or averaged; None where they are not, or have been.
    background
        How errors are correlated in the latent space of the model, for a background; None where they are not.
    ensemble
        Values of the members of a background less `values`, shape ``(member, n)``; None where it has no members.
    """

    name: str
    matrix: sp.csr_array
    values: FloatArray
    errors: ErrorModel
    function: FieldFunction | None = None
    background_check: float | Literal["gross"] | None = None
    boxes: Boxes | None = None
    background: BackgroundCorrelation | None = None
    ensemble: FloatArray | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        return self.values.size

    def keep(self, chosen: npt.NDArray[np.bool_]) -> SourceLikelihood:
        """Likelihood of some of the values.

        Parameters
        ----------
        chosen
            Which values to keep, shape ``(n,)``.

        Examples
        --------
        >>> two = SourceLikelihood("a", sp.csr_array(np.eye(2)), np.arange(2.0), ErrorModel(np.ones(2)))
        >>> two.keep(np.array([False, True])).values
        array([1.])
        """
        boxes = None if self.boxes is None else self.boxes.keep(chosen)
        rows = self.matrix[np.flatnonzero(chosen)]
        ensemble = None if self.ensemble is None else self.ensemble[:, chosen]
        return replace(
            self,
            matrix=rows,
            values=self.values[chosen],
            errors=self.errors.keep(chosen),
            boxes=boxes,
            ensemble=ensemble,
        )

    def first_frame(self, frames: int) -> IntArray:
        """Return the first frame that each value sees, shape ``(n,)``.

        Parameters
        ----------
        frames
            Number of frames that `matrix` acts on.

        Examples
        --------
        Three frames of one cell, of which values see the second, and a mean of the first two:

        >>> rows = sp.csr_array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
        >>> SourceLikelihood("a", rows, np.ones(2), ErrorModel(np.ones(2))).first_frame(3)
        array([1, 0])
        """
        rows = sp.coo_array(self.matrix)
        first = np.full(self.size, frames - 1, dtype=np.intp)
        np.minimum.at(first, rows.coords[0], rows.coords[1] // (self.matrix.shape[1] // frames))
        return first

    def identity(self, frame: IntArray, frames: int) -> npt.NDArray[np.uint64]:
        """Return numbers that name the values of each frame, shape ``(n,)``; see `xslams.likelihood.identity`.

        Parameters
        ----------
        frame
            First frame that each value sees.
        frames
            Number of frames that `matrix` acts on.
        """
        kind = None if self.errors.correlation is None else self.errors.correlation.kind
        return named(self.name, self.matrix, frame, self.matrix.shape[1] // frames, kind)

    def shifted(self, before: int, after: int, frames: int) -> SourceLikelihood:
        """Likelihood of a longer trajectory, whose further frames are not observed.

        Parameters
        ----------
        before, after
            Number of frames that are added on either side.
        frames
            Number of frames that `matrix` acts on.
        """
        if not before + after:
            return self
        size = self.matrix.shape[1] // frames
        shape = self.matrix.shape[0], self.matrix.shape[1] + (before + after) * size
        indices = self.matrix.indices.astype(np.int64) + before * size
        return replace(self, matrix=sp.csr_array((self.matrix.data, indices, self.matrix.indptr), shape=shape))

    @staticmethod
    def joined(name: str, parts: Sequence[SourceLikelihood]) -> SourceLikelihood:
        """Likelihood of several variables of one source together.

        Parameters
        ----------
        name
            Name of the source.
        parts
            Variables of the source, at least one.
        """
        if len(parts) == 1:
            return replace(parts[0], name=name)
        boxes = [p.boxes for p in parts if p.boxes is not None]
        members = [p.ensemble for p in parts if p.ensemble is not None]
        return replace(
            parts[0],
            name=name,
            matrix=sp.csr_array(sp.vstack([p.matrix for p in parts], format="csr")),
            values=np.concatenate([p.values for p in parts]),
            errors=ErrorModel.joined([p.errors for p in parts]),
            boxes=Boxes.joined(boxes) if boxes else None,
            ensemble=np.concatenate(members, axis=1) if members else None,
        )

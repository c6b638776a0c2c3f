"""What became of the values of a source: how many were given, which take part, and why the others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xslams.likelihood import SourceLikelihood
from xslams.likelihood.errors import IntArray

__all__ = ["REASONS", "Audit", "AuditedLikelihood", "NothingLeft", "Tally"]

#: Why a value takes no part, in the order in which it is found out.
REASONS = ("time", "place", "level", "missing", "infinite", "flag", "error", "background", "thinned")


@dataclass(frozen=True)
class Audit:
    """Counts of the values of one variable, and which values of its likelihood they are about.

    Analysis windows overlap; each value is counted in the one that keeps the frame which it observes.

    Attributes
    ----------
    given
        Number of elements of the data.
    rejected
        Number of elements that take no part, by reason, see `REASONS`.
    owned
        Which values of the likelihood are counted, shape (n,).
    merged
        Number of elements that were averaged into each value, shape (n,); None where nothing was.
    elements
        Position of each value in the data, counted in the order of their dimensions, shape (n,); None once values are
        averaged.
    """

    given: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    owned: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    merged: IntArray | None = None
    elements: IntArray | None = None

    def keep(self, chosen: npt.NDArray[np.bool_], reason: str) -> Audit:
        """Return the audit once some values are left out.

        Parameters
        ----------
        chosen
            Which values are kept, shape (n,).
        reason
            Why the others are left out.

        Examples
        --------
        >>> Audit(2, owned=np.ones(2, bool)).keep(np.array([True, False]), "background").rejected
        {'background': 1}
        """
        lost = ~chosen & self.owned
        count = int(lost.sum() if self.merged is None else self.merged[lost].sum())
        rejected = {**self.rejected, reason: self.rejected.get(reason, 0) + count}
        merged = None if self.merged is None else self.merged[chosen]
        elements = None if self.elements is None else self.elements[chosen]
        return replace(self, rejected=rejected, owned=self.owned[chosen], merged=merged, elements=elements)

    def averaged(self, member: IntArray) -> Audit:
        """Return the audit once values are averaged.

        Parameters
        ----------
        member
            Mean that each value is in, numbers from 0, shape (n,).
        """
        # Values of one mean are of the same frames, and hence of one window.
        first = np.unique(member, return_index=True)[1]
        return replace(self, owned=self.owned[first], merged=np.bincount(member), elements=None)

    @property
    def used(self) -> int:
        """Number of elements that take part, by themselves or in a mean."""
        return int(self.owned.sum() if self.merged is None else self.merged[self.owned].sum())


class AuditedLikelihood(NamedTuple):
    """Likelihood of one variable of a source, and what became of its values."""

    likelihood: SourceLikelihood
    audit: Audit

    def keep(self, chosen: npt.NDArray[np.bool_], reason: str) -> AuditedLikelihood:
        """Leave out values, and count them.

        Parameters
        ----------
        chosen
            Which values to keep, shape (n,).
        reason
            Why the others are left out.
        """
        return AuditedLikelihood(self.likelihood.keep(chosen), self.audit.keep(chosen, reason))


class NothingLeft(Exception):
    """No value is left; the message tells the user why, and is empty where a check ends."""


class Tally:
    """Count of the elements of one variable that take no part, in the order of the checks.

    Parameters
    ----------
    given
        Number of elements of the data.
    rejected
        Elements that are rejected already, by reason.
    owned
        Which of the times have values that are counted, shape (observation time,).
    """

    def __init__(self, given: int, rejected: Mapping[str, int], owned: npt.NDArray[np.bool_]) -> None:
        self.given, self.owned = given, owned
        self.rejected: Counter[str] = Counter(rejected)
        self.valid: npt.NDArray[np.bool_] = np.ones((), bool)

    def reject(self, reason: str, good: npt.NDArray[np.bool_], times: IntArray) -> npt.NDArray[np.bool_]:
        """Go on with the elements that are good, and count the others.

        Parameters
        ----------
        reason
            Why the others take no part.
        good, times
            Whether each element of the data is good, and the position of its time, of the shape of the data.

        Returns
        -------
        ndarray
            Which elements are left, with the shape of the data.
        """
        if self.valid.shape != times.shape:
            self.valid = np.ones(times.shape, bool)
        if not good.all():
            if reason != "time":  # these are counted where times are matched
                self.rejected[reason] += int((self.valid & ~good & self.owned[times]).sum())
            self.valid &= good
        return self.valid

    def audit(self, times: IntArray, elements: IntArray | None = None) -> Audit:
        """Return the audit of a likelihood.

        Parameters
        ----------
        times
            Position of the time of each of its values, shape (n,).
        elements
            Position of each value in the data, shape (n,).
        """
        return Audit(self.given, dict(self.rejected), self.owned[times], elements=elements)

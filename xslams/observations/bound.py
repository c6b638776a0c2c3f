"""A source bound to a model and to the frames of an analysis: read and matched once, then cut for each window.

What a variable observes, in which units, and which frames a time stamp stands for is told from all of the data: whether
stamps are those of months shows in several of them. An analysis window sees a part of the frames, and gets the values
that observe these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams.errors import CoverageError, warn
from xslams.labels.calendar import check_order, hours
from xslams.labels.domain import domain_of
from xslams.labels.frames import Frames
from xslams.labels.periods import SECOND
from xslams.likelihood import SourceLikelihood
from xslams.observations.assemble import assemble
from xslams.observations.audit import AuditedLikelihood
from xslams.observations.bound_variable import BoundVariable, Window, bound_variable
from xslams.observations.cuts import Cuts
from xslams.observations.reading import read
from xslams.observations.superob import reduced
from xslams.observations.variables import choose, learned_by, made_by
from xslams.spec import Spec

if TYPE_CHECKING:
    from xslams.observations.observation import Observation

__all__ = ["BoundSource"]


@dataclass(frozen=True)
class BoundSource:
    """A source of observations bound to a model and to frames.

    Attributes
    ----------
    name
        Name of the source.
    spec
        The model's.
    frames
        Ascending times of the frames, shape (time,).
    variables
        What it observes.
    """

    name: str
    spec: Spec
    frames: xr.DataArray
    variables: tuple[BoundVariable, ...]

    @classmethod
    def of(cls, source: Observation, spec: Spec, frames: xr.DataArray | Frames) -> BoundSource:
        """Bind observations.

        Parameters
        ----------
        source
            Observations. Of lazy data only coordinates are read.
        spec
            The model's.
        frames
            Ascending times of the frames, shape (time,), or `Frames`, which say what these stand for.

        Raises
        ------
        VariableError, UnitError, ObservationError, DimensionError
            If the data cannot be understood as observations of the model's variables.
        """
        frames = frames if isinstance(frames, Frames) else Frames.of(frames, spec)
        check_order(frames.time)
        ds = domain_of(spec).adopt(read(source.data, source.name))
        if source.learned is not None:
            chosen = learned_by(source.learned, ds, source.variable, source.name)
        elif source.operator is None:
            chosen = choose(ds, source.variable, spec, source.name)
        else:
            chosen = made_by(source.operator, ds, source.variable, source.name)
        cut = Cuts()
        variables = []
        for name, observed in chosen.items():
            label = source.name if len(chosen) == 1 else f"{source.name}:{name}"
            variables.append(bound_variable(source, ds, name, observed, label, spec, frames, cut))
        return cls(source.name, spec, frames.time, tuple(variables))

    @property
    def labels(self) -> list[str]:
        """Name of each variable in reports: that of the source, with the variable's where it has several."""
        return [v.label for v in self.variables]

    @property
    def within_days(self) -> list[str]:
        """Labels of the variables whose values are those of times of the day, at different ones or past noon."""
        return [v.label for v in self.variables if v.match.matched.any() and not v.match.averages and _has_clock(v)]

    @property
    def units(self) -> list[str]:
        """Units of the values of each variable in the likelihood."""
        # Of a learned operator they are standard deviations of the transformed values.
        return [v.observed.units if v.learned is None else "1" for v in self.variables]

    def within(self, window: Window) -> BoundSource:
        """Return what a window of the time axis sees of the source.

        Parameters
        ----------
        window
            Frames that are seen, and frames whose observations are counted.

        Returns
        -------
        BoundSource
            With lazy data where they are lazy.
        """
        if window.start == window.first == 0 and window.stop == window.last == self.frames.size:
            return self
        cut = Cuts()
        frames = self.frames[window.start : window.stop]
        return replace(self, frames=frames, variables=tuple(v.within(window, cut) for v in self.variables))

    @property
    def lazy(self) -> bool:
        """Whether there are values that have yet to be computed."""
        return any(da.chunks is not None for v in self.variables for da in v.data.data_vars.values())

    def without_lazy(self) -> tuple[BoundSource, list[Any]]:
        """Return the source without what is lazy in it, and that, each thing once: a task computes it first."""
        found: dict[int, Any] = {}
        for variable in self.variables:
            for part in (variable.data, variable.error):
                if _is_lazy(part):
                    found.setdefault(id(part), part)
        position = {key: i for i, key in enumerate(found)}

        def bare(part: Any) -> Any:
            return _Missing(position[id(part)]) if id(part) in position else part

        variables = tuple(replace(v, data=bare(v.data), error=bare(v.error)) for v in self.variables)
        return replace(self, variables=variables), list(found.values())

    def with_computed(self, parts: Sequence[Any]) -> BoundSource:
        """Return the source with what `without_lazy` took out of it."""

        def filled(part: Any) -> Any:
            return parts[part.position] if isinstance(part, _Missing) else part

        variables = tuple(replace(v, data=filled(v.data), error=filled(v.error)) for v in self.variables)
        return replace(self, variables=variables)

    def check(self) -> None:
        """Raise or warn as `audited` does, without reading lazy data.

        Raises
        ------
        VariableError, UnitError, ObservationError, DimensionError, CoverageError
            As `audited`.
        """
        self._assembled(strict=True, read=not self.lazy, rows=False)

    def audited(self, *, strict: bool = False) -> list[AuditedLikelihood]:
        """Likelihood of each variable, not yet thinned and averaged, and what became of its values.

        Parameters
        ----------
        strict
            Raise where there is nothing to assimilate, and warn about what is dropped. A pipeline that works through
            the period in windows checks the whole period first, and then goes through the windows with False.

        Returns
        -------
        list of AuditedLikelihood
            One for each variable, also for those without any value; named like `labels`. Values and errors are in the
            model's units.

        Raises
        ------
        ObservationError, DimensionError, UnitError
            If errors, flags, places or levels cannot be understood.
        CoverageError
            If no value lies in the period and domain of the model, or all are missing.
        """
        return self._assembled(strict=strict)

    def likelihood(self, *, strict: bool = False) -> SourceLikelihood:
        """Likelihood of all variables together, thinned and averaged; see `audited`."""
        parts = [reduced(p).likelihood for p in self.audited(strict=strict)]
        some = [p for p in parts if p.size]
        return SourceLikelihood.joined(self.name, some or parts[:1])

    def _assembled(self, *, strict: bool, read: bool = True, rows: bool = True) -> list[AuditedLikelihood]:
        parts: list[AuditedLikelihood] = []
        empty: list[str] = []
        for variable in self.variables:
            part, why = assemble(variable, strict=strict, read=read, rows=rows)
            parts.append(part)
            if why:
                empty.append(why)
        if strict and len(empty) == len(parts):
            raise CoverageError("\n".join(empty))
        if strict:
            for text in empty:
                warn(text)
        return parts


@dataclass(frozen=True)
class _Missing:
    """Stands for something lazy that is computed elsewhere: its position among all such things of a source."""

    position: int


def _has_clock(variable: BoundVariable) -> bool:
    """Whether stamps tell times of the day apart; at one time of the day, before noon, days would be the same."""
    clock = (hours(variable.stamps).ravel() + SECOND) % 24.0
    return bool(np.ptp(clock) > 2 * SECOND or clock.max() > 12.0 + 2 * SECOND)


def _is_lazy(part: Any) -> bool:
    """Whether this is a DataArray or Dataset with something in it that has yet to be computed."""
    if isinstance(part, xr.DataArray):
        part = part.coords.to_dataset().assign(values=part.variable)
    return isinstance(part, xr.Dataset) and any(v.chunks is not None for v in part.variables.values())

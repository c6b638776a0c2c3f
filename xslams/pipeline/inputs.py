"""What a user gives to an analysis, bound to a model: the background, observations, and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import xarray as xr

from xslams import observations
from xslams.labels.calendar import on_time_axis
from xslams.labels.domain import domain_of
from xslams.pipeline.windows import AnalysisWindow
from xslams.seasons import warn_of_season

if TYPE_CHECKING:
    from xslams.model import Model
    from xslams.observations import BackgroundError, BoundSource, Observation, ObservationsLike

__all__ = ["Inputs"]


@dataclass(frozen=True)
class Inputs:
    """Background and observations, checked, and bound to a model and to the frames of an analysis.

    Attributes
    ----------
    template
        Coordinates of the analysis.
    time
        Times of the frames as dates, shape (time,).
    given
        Observations as the user gave them.
    sources
        The same, bound.
    background
        The background as one more source; None where it has no error.
    """

    template: xr.Dataset
    time: xr.DataArray
    given: Sequence[Observation]
    sources: Sequence[BoundSource]
    background: BoundSource | None

    @classmethod
    def of(
        cls,
        ds: xr.Dataset,
        obs: ObservationsLike,
        model: Model,
        background_error: float | Mapping[str, Any] | xr.DataArray | BackgroundError | None,
    ) -> Inputs:
        """Check and bind what a user gives; see ``ds.slams.assimilate`` for the parameters and errors."""
        spec, domain = model.spec, domain_of(model.spec)
        ds = on_time_axis(ds)
        domain.check(ds)
        template = domain.template(ds)
        time = domain.label(domain.adopt(template))
        warn_of_season(spec.covered_days, domain.season(time), spec.name, spec.time_step)
        given = observations.as_observations(obs)
        _check_operators(model, given, time)
        frames = observations.Frames.of(time, spec, ds)
        sources = [source.bind(spec, frames) for source in given]
        background = None
        if background_error is not None:
            bound = observations.background_observation(ds, spec, background_error).bind(spec, frames.own)
            background = replace(bound, background=observations.stated_background(background_error)[1])
        return cls(template, time, given, sources, background)

    def within(self, window: AnalysisWindow) -> tuple[list[BoundSource], BoundSource | None]:
        """Return what a window sees of observations and background."""
        near = [source.within(window) for source in self.sources]
        return near, None if self.background is None else self.background.within(window)


def _check_operators(model: Model, sources: Sequence[Observation], time: xr.DataArray) -> None:
    """Check the observation operators of users on a few frames."""
    for source in sources:
        if source.operator is not None:
            from xslams.inference.arrays import check_operator

            check_operator(model, source.operator, domain_of(model.spec).season(time[: model.spec.window]), source.name)

"""What a user gives to an analysis, bound to a model: the background, observations, and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from xslams import observations
from xslams.errors import warn
from xslams.labels.calendar import on_time_axis
from xslams.labels.coordinates import listed
from xslams.labels.domain import domain_of
from xslams.labels.frames import Frames
from xslams.pipeline.automatic_errors import Estimated, with_errors
from xslams.pipeline.windows import AnalysisWindow
from xslams.seasons import warn_of_season
from xslams.typing import Engine
from xslams.weights.engines import engine_of
from xslams.zoo.pretrained import opening

if TYPE_CHECKING:
    from xslams.model import Model
    from xslams.observations import BackgroundError, BoundBackground, BoundSource, Observation, ObservationsLike

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
    frames
        The same, and what they stand for.
    given
        Observations as the user gave them.
    sources
        The same, bound.
    background
        The background as one more source; None where it has no error.
    background_error
        Its error, as it was given; that of an ensemble without one by its spread. None where there is none.
    estimated
        Errors that were estimated, as nobody gave them.
    """

    template: xr.Dataset
    time: xr.DataArray
    frames: Frames
    given: Sequence[Observation]
    sources: Sequence[BoundSource]
    background: BoundBackground | None
    background_error: Any = None
    estimated: Sequence[Estimated] = ()

    @classmethod
    def of(
        cls,
        ds: xr.Dataset,
        obs: ObservationsLike,
        model: Model,
        background_error: float | Mapping[str, Any] | xr.DataArray | BackgroundError | None,
        engine: Engine = "auto",
    ) -> Inputs:
        """Check and bind what a user gives; see ``ds.slams.assimilate`` for the parameters and errors."""
        engine_of(engine)
        spec, domain = model.spec, domain_of(model.spec)
        ds = whole = on_time_axis(ds)
        ds, members = observations.members_of(whole)
        if members and background_error is None:
            background_error = observations.spread_of(whole)
        domain.check(ds, opening(model))
        template = domain.template(ds)
        time = domain.label(domain.adopt(template))
        warn_of_season(spec.covered_days, domain.season(time), spec.name, spec.time_step)
        known = observations.with_learned(observations.as_observations(obs), model.operators)
        given = [_with_engine(source, engine) for source in known]
        _check_operators(model, given, time)
        frames = Frames.of(time, spec, ds)
        given, estimated = with_errors(given, model, frames, time)
        sources = [source.bind(spec, frames) for source in given]
        background = None
        if background_error is not None:
            each = [observations.background_observation(state, spec, background_error) for state in (ds, *members)]
            mean, *rest = [_with_engine(source, engine).bind(spec, frames.own) for source in each]
            background = observations.bound_background(mean, rest, background_error)
        if frames.assumed(spec):
            _warn_of_days(sources)
        return cls(template, time, frames, given, sources, background, background_error, estimated)

    def within(self, window: AnalysisWindow) -> tuple[list[BoundSource], BoundBackground | None]:
        """Return what a window sees of observations and background."""
        near = [source.within(window) for source in self.sources]
        return near, None if self.background is None else self.background.within(window)


def _with_engine(source: Observation, engine: Engine) -> Observation:
    """Observations with the engine of the analysis, unless they have one of their own."""
    return source.replace(engine=engine) if source.engine == "auto" and engine != "auto" else source


def _check_operators(model: Model, sources: Sequence[Observation], time: xr.DataArray) -> None:
    """Check the observation operators of users on a few frames."""
    for source in sources:
        if source.operator is not None:
            from xslams.inference.arrays import check_operator

            check_operator(model, source.operator, domain_of(model.spec).season(time[: model.spec.window]), source.name)


def _warn_of_days(sources: Sequence[BoundSource]) -> None:
    """Warn that frames are taken for days, where observations tell times of the day apart."""
    if names := [label for source in sources for label in source.within_days]:
        warn(
            "Frames of the state are a day apart and stamped at midnight, and neither the model nor the state says "
            f"what they stand for: values of {listed(names)} at times of the day observe the means of the calendar "
            "days (UTC) that begin at these stamps. Say what frames are by bounds of the state's time, or by "
            "cell_methods of its variables, 'time: mean' or 'time: point'."
        )

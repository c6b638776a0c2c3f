"""Report what would become of observations, without an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import observations
from xslams.labels.domain import domain_of
from xslams.pipeline import windows
from xslams.pipeline.report import labels
from xslams.pipeline.segment import prepare
from xslams.spec import Spec
from xslams.zoo.pretrained import open_model

if TYPE_CHECKING:
    import os

    from xslams.model import Model
    from xslams.observations import BoundSource, Observation, ObservationsLike

__all__ = ["bound_background", "check", "check_operators"]


def check(
    ds: xr.Dataset,
    obs: ObservationsLike,
    model: Model | str | os.PathLike[str],
    *,
    background_error: float | Mapping[str, Any] | xr.DataArray | None = None,
) -> xr.Dataset:
    """Report what would become of observations, without an analysis; see ``ds.slams.check``.

    Parameters
    ----------
    ds, obs, model, background_error
        As in ``ds.slams.assimilate``.

    Returns
    -------
    Dataset
        As `xslams.observations.report.report`, before the analysis.
    """
    model = open_model(model)
    spec, domain = model.spec, domain_of(model.spec)
    domain.check(ds)
    time = domain.label(domain.adopt(domain.template(ds)))
    given = observations.as_observations(obs)
    cut = windows.cut(time, spec)
    check_operators(model, given, time)
    sources = [source.bind(spec, time) for source in given]
    background = bound_background(ds, spec, time, background_error)
    sums = np.zeros((1, 1))
    for window in cut:
        frames = time.isel({time.dims[0]: slice(window.start, window.stop)})
        near = [source.within(window) for source in sources]
        own = None if background is None else background.within(window)
        parts, expected = prepare(model, near, own, frames, strict=len(cut) == 1, report=True)
        each = [observations.statistics(part, guess) for part, guess in zip(parts, expected, strict=True)]
        sums = sums + np.reshape(each, (len(each), len(observations.COLUMNS)))
    return observations.report(*labels(spec, sources, background_error), sums, after=False)


def bound_background(ds: xr.Dataset, spec: Spec, time: xr.DataArray, error: Any) -> BoundSource | None:
    """Background as one more source; None where it has no error."""
    return None if error is None else observations.background_observation(ds, spec, error).bind(spec, time)


def check_operators(model: Model, sources: Sequence[Observation], time: xr.DataArray) -> None:
    """Check the observation operators of users on a few frames."""
    for source in sources:
        if source.operator is not None:
            from xslams.inference.arrays import check_operator

            check_operator(model, source.operator, domain_of(model.spec).season(time[: model.spec.window]), source.name)

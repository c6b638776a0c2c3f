"""Report what would become of observations, without an analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import observations
from xslams.labels.domain import domain_of
from xslams.pipeline import windows
from xslams.pipeline.finding import model_for
from xslams.pipeline.inputs import Inputs
from xslams.pipeline.report import labels
from xslams.pipeline.segment import prepare
from xslams.typing import Engine

if TYPE_CHECKING:
    import os

    from xslams.model import Model
    from xslams.observations import BackgroundError, ObservationsLike

__all__ = ["check"]


def check(
    ds: xr.Dataset,
    obs: ObservationsLike,
    model: Model | str | os.PathLike[str] | None = None,
    *,
    background_error: float | Mapping[str, Any] | xr.DataArray | BackgroundError | None = None,
    engine: Engine = "auto",
) -> xr.Dataset:
    """Report what would become of observations, without an analysis; see ``ds.slams.check``.

    Parameters
    ----------
    ds, obs, model, background_error, engine
        As in ``ds.slams.assimilate``.

    Returns
    -------
    Dataset
        As `xslams.observations.report.report`, before the analysis.
    """
    from xslams.inference.arrays import climatology_arrays

    model = model_for(observations.first_member(ds), model)
    inputs = Inputs.of(ds, obs, model, background_error, engine)
    cut = windows.cut(inputs.time, model.spec)
    sums, gross = np.zeros((1, 1)), observations.GrossErrors()
    for window in cut:
        frames = inputs.time.isel({inputs.time.dims[0]: slice(window.start, window.stop)})
        climatology = climatology_arrays(model, domain_of(model.spec).season(frames))
        seen = *inputs.within(window), frames, climatology, gross
        parts, expected = prepare(model, *seen, strict=len(cut) == 1, report=True)
        each = [observations.statistics(part, guess) for part, guess in zip(parts, expected, strict=True)]
        sums = sums + np.reshape(each, (len(each), len(observations.COLUMNS)))
    gross.warn()
    return observations.report(*labels(model.spec, inputs.sources, inputs.background_error), sums, after=False)

"""What the members of an analysis say of its observations, source by source, with the errors that the analysis used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams import observations
from xslams.errors import ModelError, VariableError
from xslams.labels.domain import domain_of
from xslams.likelihood.consistency import Departures
from xslams.pipeline.inputs import Inputs
from xslams.pipeline.report import labels
from xslams.pipeline.segment import prepare
from xslams.scores.dimensions import MEMBER
from xslams.zoo.pretrained import known_models, open_model

if TYPE_CHECKING:
    import os

    from xslams.likelihood import SourceLikelihood
    from xslams.model import Model
    from xslams.observations import ObservationsLike
    from xslams.typing import FloatArray

__all__ = ["departures", "model_of"]


def model_of(analysis: xr.Dataset, model: Model | str | os.PathLike[str] | None) -> Model:
    """Open the model of an analysis, or the one that is given.

    Raises
    ------
    ModelError
        If the analysis does not say which model made it, or that model is none of the pretrained ones.
    """
    if model is not None:
        return open_model(model)
    named = analysis.attrs.get("xslams_model")
    if named not in known_models():
        said = "does not say which model made it" if named is None else f"was made by the model {named!r} of your own"
        msg = f"This Dataset {said}. Give that model, or the path of its file: model=... (--model on the command line)."
        raise ModelError(msg)
    return open_model(named)


def departures(
    analysis: xr.Dataset,
    obs: ObservationsLike,
    model: Model,
    background: xr.Dataset | None = None,
) -> tuple[dict[str, Departures], dict[str, str], list[str]]:
    """Compare an analysis with its observations.

    Parameters
    ----------
    analysis
        Members of all state variables of the model.
    obs
        What was assimilated.
    model
        The model of the analysis.
    background
        What it started from, if anything.

    Returns
    -------
    tuple of dict, dict and list
        Departures by the name of each variable of each source; units of each; and names of those that are left out,
        because they observe what the analysis does not hold: auxiliary variables, and what functions make of them.

    Raises
    ------
    VariableError
        If there are no members, or not all variables of the state.
    """
    from xslams.inference.arrays import climatology_arrays, complete_errors

    _check(analysis, model)
    first = analysis.isel({MEMBER: 0}, drop=True)
    inputs = Inputs.of(first, obs, model, None)
    season = domain_of(model.spec).season(inputs.time)
    gross = observations.GrossErrors()
    climatology = climatology_arrays(model, season)
    parts, _ = prepare(model, inputs.sources, None, inputs.time, climatology, gross, strict=False, report=False)
    names, units = labels(model.spec, inputs.sources, None)
    likelihoods = complete_errors(model, [part.likelihood for part in parts], season)
    held, cells = _held(analysis, model), len(model.spec.lat) * len(model.spec.lon)
    seen = {n: each for n, each in zip(names, likelihoods, strict=True) if _is_of(each, held, cells)}
    left = [n for n in names if n not in seen]
    predicted: dict[str, list[FloatArray]] = {n: [] for n in seen}
    for member in range(analysis.sizes[MEMBER]):
        fields = _fields(analysis.isel({MEMBER: member}, drop=True), model)
        for n, likelihood in seen.items():
            predicted[n].append(likelihood.matrix @ fields)
    started = None if background is None else _fields(background, model)
    exact = float("inf") if "antithetic" in analysis[MEMBER].attrs else None
    size = int(np.prod(model.spec.frame_shape))
    found = {}
    for n, likelihood in seen.items():
        # A value that is a mean over several frames counts at the first.
        filled = likelihood.matrix.indptr[:-1][np.diff(likelihood.matrix.indptr) > 0]
        kept = np.diff(likelihood.matrix.indptr) > 0
        found[n] = Departures(
            values=likelihood.values[kept].astype(float),
            variance=likelihood.errors.variance[kept].astype(float),
            predicted=np.stack(predicted[n])[:, kept],
            frame=(likelihood.matrix.indices[filled] // size).astype(np.intp),
            background=None if started is None else (likelihood.matrix @ started)[kept],
            independent=exact,
        )
    return found, dict(zip(names, units, strict=True)), left


def _held(analysis: xr.Dataset, model: Model) -> npt.NDArray[np.bool_]:
    """Which channels of the model an analysis holds: auxiliary variables are part of a draw, but not of the result."""
    held = [v.name in analysis.data_vars for v in model.spec.variables for _ in range(v.channels)]
    return np.array(held, bool)


def _is_of(source: SourceLikelihood, held: npt.NDArray[np.bool_], cells: int) -> bool:
    """Whether a source observes nothing but channels that are held."""
    if source.function is not None:
        return False
    return bool(held[source.matrix.indices // cells % held.size].all())


def _fields(state: xr.Dataset, model: Model) -> FloatArray:
    """Variables that are there, in the order in which observation operators want them; zero for those that are not."""
    missing = [v for v in model.spec.variables if v.name not in state.data_vars]
    channels = domain_of(model.spec).to_channels(state, allow_missing=bool(missing))
    return np.asarray(np.nan_to_num(channels.values.astype(float)).ravel())


def _check(analysis: xr.Dataset, model: Model) -> None:
    if analysis.sizes.get(MEMBER, 0) < 2:
        msg = f"A diagnosis needs an ensemble, with two members or more; got dimensions {dict(analysis.sizes)}."
        raise VariableError(msg)
    missing = [v.name for v in model.spec.state if v.name not in analysis.data_vars]
    if missing:
        msg = (
            f"To compare with observations, the analysis must have the whole state; {missing} are not there. Do not "
            "restrict it by variables=, or diagnose without obs=."
        )
        raise VariableError(msg)

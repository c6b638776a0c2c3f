"""``analysis.slams.diagnose`` and ``analysis.slams.impact``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import scores
from xslams.arguments import require, require_flag
from xslams.diagnostics import sources
from xslams.diagnostics.calibration import calibration
from xslams.diagnostics.departures import departures, model_of
from xslams.diagnostics.diagnosis import Diagnosis, Finding
from xslams.errors import ObservationError, VariableError
from xslams.labels.coordinates import coordinate
from xslams.likelihood.consistency import sums_by_frame
from xslams.observations import as_observations, by_window
from xslams.pipeline.report import STATISTICS, tables_of
from xslams.scores.dimensions import MEMBER, space
from xslams.scores.matching import match, pairs

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from xslams.model import Model
    from xslams.observations import ObservationsLike
    from xslams.typing import FloatArray

__all__ = ["diagnose", "impact"]

_SEE_REPORT = "Look at analysis.slams.report(), from assimilate(..., report=True)."


def diagnose(
    analysis: xr.Dataset,
    obs: ObservationsLike | None = None,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    model: Model | str | os.PathLike[str] | None = None,
    background: xr.Dataset | None = None,
) -> Diagnosis:
    """Say in words whether an analysis is calibrated and its errors are as stated; see ``analysis.slams.diagnose``.

    Parameters
    ----------
    analysis
        Ensemble.
    obs, truth, model, background
        As in ``analysis.slams.diagnose``.

    Returns
    -------
    Diagnosis
        Findings; print them.
    """
    for name, value in (("truth", truth), ("background", background)):
        require(value is None or isinstance(value, xr.Dataset | xr.DataArray), name, value, "a Dataset or a DataArray")
    carried = STATISTICS in analysis.coords
    known = obs is not None or truth is not None or carried
    require(known, "obs", obs, "observations, or truth=, or both, or an analysis of assimilate(..., report=True)")
    findings: list[Finding] = [] if truth is None else list(_calibration(analysis, truth))
    if obs is not None:
        found, units, left = departures(analysis, obs, model_of(analysis, model), background)
        frames = max((int(part.frame.max(initial=-1)) + 1 for part in found.values()), default=0)
        findings += _of_sources({name: sums_by_frame(part, frames) for name, part in found.items()}, units)
        findings += [_unjudged(name) for name in left]
    elif carried:
        findings += _of_sources(*_carried(analysis))
    return Diagnosis(tuple(findings))


def _of_sources(sums: Mapping[str, FloatArray], units: Mapping[str, str]) -> Iterator[Finding]:
    for name, each in sums.items():
        yield from sources.consistency(name, each, units[name])
    yield from sources.signal(sums)


def _carried(analysis: xr.Dataset) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """Return sums over the observations of each analysis window as a report has them, and units, by source."""
    names, units, tables = tables_of(analysis)
    known = np.nan_to_num(np.asarray(tables))
    members = np.inf if "antithetic" in analysis[MEMBER].attrs else float(analysis.sizes[MEMBER])
    sums = {name: by_window(known[:, i], members) for i, name in enumerate(names)}
    return sums, dict(zip(names, units, strict=True))


def _calibration(analysis: xr.Dataset, truth: xr.Dataset | xr.DataArray) -> Iterator[Finding]:
    if analysis.sizes.get(MEMBER, 0) < 2:
        msg = f"A diagnosis needs an ensemble, with two members or more; got dimensions {dict(analysis.sizes)}."
        raise VariableError(msg)
    for name, (ensemble, true) in pairs(analysis, truth).items():
        level = coordinate(ensemble, "level")
        if level is None or level not in ensemble.dims:
            yield from calibration(ensemble, true, str(name))
            continue
        # Levels that both have; `match` brings their units together.
        both, known = match(ensemble, true)
        for k, value in enumerate(both[level].values):
            at = {level: k}
            subject = f"{name} at {level} {value:g}"
            yield from calibration(both.isel(at, drop=True), known.isel(at, drop=True), subject)


def _unjudged(name: str) -> Finding:
    meaning = "It observes what this analysis does not hold (auxiliary variables, or a function of them)."
    return Finding(
        name,
        "chi-square",
        np.nan,
        np.nan,
        1.0,
        "unsure",
        meaning,
        _SEE_REPORT,
    )


def impact(
    analysis: xr.Dataset,
    obs: ObservationsLike,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    model: Model | str | os.PathLike[str] | None = None,
    leave_one_out: bool = False,
) -> xr.Dataset:
    """Say what each source is worth; see ``analysis.slams.impact``.

    Parameters
    ----------
    analysis
        Ensemble.
    obs, truth, model, leave_one_out
        As in ``analysis.slams.impact``.

    Returns
    -------
    Dataset
        By source.
    """
    require_flag(leave_one_out=leave_one_out)
    opened = model_of(analysis, model)
    found, _, _ = departures(analysis, obs, opened)
    names = list(found)
    signal = np.array([float((p.spread / p.variance).sum()) for p in found.values()])
    values = np.array([p.values.size for p in found.values()])
    ds = xr.Dataset(
        {
            "values": ("source", values, {"long_name": "number of values in the likelihood", "units": "1"}),
            "signal": ("source", signal, {"long_name": "degrees of freedom for signal", "units": "1"}),
            "share": ("source", signal / signal.sum() if signal.sum() else signal,
                      {"long_name": "share of what was learned from the sources judged", "units": "1"}),
        },
        {"source": np.array(names, object)},
    )  # fmt: skip
    return ds.merge(_without_each(analysis, obs, truth, opened)) if leave_one_out else ds


def _without_each(
    analysis: xr.Dataset, obs: ObservationsLike, truth: xr.Dataset | xr.DataArray | None, model: Model
) -> xr.Dataset:
    """Run the analysis again without each source: how much larger its spread is then, and its error."""
    from xslams.pipeline.assimilate import assimilate

    given = as_observations(obs)
    if len(given) < 2:
        msg = "leave_one_out=True leaves out one source of several; there is one. Without it nothing is observed."
        raise ObservationError(msg)
    said = analysis.attrs
    names = [n for n in ("steps", "seed", "corrections") if f"xslams_{n}" in said]
    settings: dict[str, Any] = {n: int(said[f"xslams_{n}"]) for n in names}
    settings["members"] = analysis.sizes[MEMBER]
    template = analysis.isel({MEMBER: 0}, drop=True)
    whole = _sizes(analysis, truth)
    parts = []
    for number, source in enumerate(given):
        others = [s for k, s in enumerate(given) if k != number]
        without = _sizes(assimilate(template, others, model, **settings), truth)
        ratio = (without / whole).expand_dims(left_out=[source.name or f"source {number + 1}"])
        parts.append(ratio)
    return xr.concat(parts, "left_out")


def _sizes(analysis: xr.Dataset, truth: xr.Dataset | xr.DataArray | None) -> xr.Dataset:
    """Spread of every variable, and the error of its mean where the truth is known."""
    fields = {n: v for n, v in analysis.data_vars.items() if space(v)}
    found = {f"{n}_spread_ratio": scores.spread(v, v.isel({MEMBER: 0}, drop=True), v.dims) for n, v in fields.items()}
    if truth is not None:
        known = pairs(analysis, truth)
        found |= {f"{n}_rmse_ratio": scores.rmse(a, t, a.dims) for n, (a, t) in known.items()}
    return xr.Dataset(found).drop_attrs()

"""What training data hold, looked at once before anything is trained: land, gaps, fill values, bounds and drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from xslams.errors import CoverageError, warn
from xslams.labels.valid_values import limits_in_words
from xslams.masks import packed
from xslams.pipeline.drift import YearlyMeans
from xslams.pipeline.frames import LazyFrames, Survey, filled_frames, survey
from xslams.spec import Spec, VariableSpec
from xslams.typing import FloatArray

__all__ = ["examined"]


def examined(
    runs: Sequence[FloatArray | LazyFrames], spec: Spec, ds: xr.Dataset
) -> tuple[Spec, list[FloatArray | LazyFrames]]:
    """Look at all values once, and return what they say of the variables, and frames without gaps at masked cells.

    Parameters
    ----------
    runs
        Stretches of frames, each of shape (T, channel, lat, lon).
    spec
        What is known of the data so far.
    ds
        Where they are from, for messages.

    Returns
    -------
    tuple
        The specification with masks and bounds of the variables, and the stretches.

    Raises
    ------
    CoverageError
        If values are missing, or all are.

    Warns
    -----
    SlamsWarning
        Of drift, of fill values that are not declared, and of values that their quantity does not have.
    """
    years = [YearlyMeans(spec, len(frames)) for frames in runs]
    surveys = [survey(frames, spec, own) for frames, own in zip(runs, years, strict=True)]
    each = {v.name: [s[v.name] for s in surveys] for v in spec.variables}
    spec = replace(spec, variables=tuple(_masked(v, each[v.name]) for v in spec.variables))
    _require_complete(each, spec, ds)
    for v in spec.state:
        _warn_of_fill_values(v, each[v.name])
    filled = [filled_frames(frames, spec) for frames in runs]
    _require_some(each, spec)
    for own in years:
        own.warn()
    return replace(spec, variables=tuple(_bounded(v, each[v.name]) for v in spec.variables)), filled


def _bounded(variable: VariableSpec, surveys: Sequence[Survey]) -> VariableSpec:
    """Give a variable the bounds of its quantity, if its values keep to them: those of anomalies do not."""
    low, high = variable.valid_range
    # Auxiliary variables may have gaps, in some stretches of time altogether.
    known = [s for s in surveys if s.count]
    least, most = min(s.least for s in known), max(s.most for s in known)
    slack = 0.05 * max(s.std for s in known)
    below, above = least < low - slack, most > high + slack
    if below or above:
        warn(
            f"{variable.name!r} has values from {least:g} to {most:g} {variable.units}; its quantity goes from {low:g} "
            f"to {high:g}. It is taken for something else, such as anomalies, and analyses are not kept within that."
        )
    return replace(
        variable,
        bounds=(
            None if below or np.isinf(low) else low,
            None if above or np.isinf(high) else high,
        ),
    )


def _require_some(surveys: Mapping[str, Sequence[Survey]], spec: Spec) -> None:
    for v in spec.aux:
        if not any(s.count for s in surveys[v.name]):
            msg = f"All values of {v.name!r} are missing. Leave it out of aux, or give data of the period of the state."
            raise CoverageError(msg)


def _masked(variable: VariableSpec, surveys: Sequence[Survey]) -> VariableSpec:
    """Give a state variable the cells in which it never has a value, as it has none of the ocean on land."""
    if variable.role != "state":
        return variable
    masked = ~np.any([s.ever for s in surveys], axis=0)
    if (count := int(masked.all((-2, -1)).sum())) and not masked.all():
        msg = (
            f"{variable.name!r} has no value at {count} of {variable.channels} levels. Leave these out: "
            f"ds.isel({variable.level_dim}=...)."
        )
        raise CoverageError(msg)
    return variable if masked.all() else replace(variable, masked=packed(masked))


def _warn_of_fill_values(variable: VariableSpec, surveys: Sequence[Survey]) -> None:
    """Warn of cells that always have one value, beyond all that others ever have: a fill value that is not declared."""
    lowest = np.fmin.reduce([s.lowest for s in surveys])
    highest = np.fmax.reduce([s.highest for s in surveys])
    constant, varies = lowest == highest, lowest < highest
    if not constant.any() or not varies.any():
        return
    least, most = lowest[varies].min(), highest[varies].max()
    # By more than they differ among themselves.
    slack = most - least
    beyond = constant & ((lowest < least - slack) | (lowest > most + slack))
    if beyond.any():
        values, counts = np.unique(lowest[beyond], return_counts=True)
        fill = float(values[counts.argmax()])
        warn(
            f"The training data: {int(beyond.sum())} of {beyond.size} cells of {variable.name!r} are {fill:g} in all "
            f"frames, while all others lie between {least:g} and {most:g} {variable.units}. If that stands for no "
            f"value, as on land, mask it: ds.where(ds[{variable.name!r}] != {fill:g})."
        )


def _require_complete(surveys: Mapping[str, Sequence[Survey]], spec: Spec, ds: xr.Dataset) -> None:
    parts, limits = [], ""
    remedies = ["Fill them (ds.interpolate_na, ds.fillna)"]
    for v in spec.variables:
        own = surveys[v.name]
        size = sum(s.count + s.missing + s.infinite for s in own)
        # Auxiliary variables may have gaps, as they are observed and not analysed.
        absent, what = sum(s.infinite for s in own), "infinite"
        if v.role == "state":
            ever, always = np.any([s.ever for s in own], axis=0), np.all([s.always for s in own], axis=0)
            never = ever.size - int(ever.sum()) if ever.any() else 0
            absent += sum(s.missing for s in own) - never * size // ever.size
            what = "missing or infinite"
            if absent and ever.any():
                what += f" (in {int((ever & ~always).sum())} of {ever.size} cells)"
                if never:
                    # What fills all gaps would make water of the land.
                    land = f".where(ds[{v.name!r}].notnull().any('time'))"
                    remedies[0] = f"Fill them (ds.interpolate_na('time'), or ds.fillna(...){land}, which keeps land)"
                else:
                    remedies.append("drop the frames that lack them (ds.dropna('time'))")
                remedies.append(f"leave such cells out (ds.where(ds[{v.name!r}].notnull().all('time')))")
        if absent:
            parts.append(f"{absent} of {size} values of {v.name!r} are {what}")
            limits += limits_in_words(ds[v.name])
    if parts:
        msg = (
            f"{' and '.join(parts)}. Training needs all values of the state, except in cells that never have one, such "
            f"as land in data of the ocean.{limits} {', or '.join(dict.fromkeys(remedies))}."
        )
        raise CoverageError(msg)

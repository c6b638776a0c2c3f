"""From a bound variable to its likelihood: find places and levels, read values and errors, drop what cannot be used.

Row n of the matrix is a product of three rows of weights: which frames (`match_times`), which channels (levels), and
which cells (`point_weights`, `cell_weights`) the n-th value observes. Missing values, and values that lie outside of
the model's domain or period, make no row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import ObservationError, warn
from xslams.labels.calendar import hours, stamp
from xslams.labels.coordinates import coordinate, listed
from xslams.labels.valid_values import limits_in_words
from xslams.likelihood import Boxes, ErrorModel, SharedBias, SourceLikelihood
from xslams.likelihood.errors import IntArray
from xslams.observations.audit import AuditedLikelihood, NothingLeft, Tally
from xslams.observations.belonging import ancillary
from xslams.observations.correlations import correlation_of
from xslams.observations.flags import Flag, quality_flags
from xslams.observations.learned_rows import learned_likelihood
from xslams.observations.masked_cells import without_masked
from xslams.observations.place_values import PlaceValues
from xslams.observations.places import Places
from xslams.observations.stated_errors import Error, require_representable, spread_over, standard_error
from xslams.observations.superob import boxes as boxes_of
from xslams.observations.superob import combined, model_cells, positions, row_keys, within_cell
from xslams.typing import FloatArray
from xslams.weights import row_kron

if TYPE_CHECKING:
    from xslams.observations.bound_variable import BoundVariable

__all__ = ["assemble"]

# An error of zero is taken as this share of the spread of the values, since a likelihood without error is degenerate.
_EXACT = 1e-3
# Times the median deviation beyond which a value says nothing of the spread.
_WILD = 1e3

BoolArray = npt.NDArray[np.bool_]


def assemble(
    variable: BoundVariable, *, strict: bool, read: bool = True, rows: bool = True
) -> tuple[AuditedLikelihood, str]:
    """Likelihood of one variable, and why it is empty.

    Parameters
    ----------
    variable
        Variable of a source, bound to a model.
    strict
        Whether to warn about what is dropped.
    read
        Whether to read values; else only what can be told without them is checked.
    rows
        Whether to build the rows; else values and errors are only checked.

    Returns
    -------
    tuple
        Likelihood and audit, and a text for the user that is empty where there are values. Of a check the likelihood is
        empty.

    Raises
    ------
    ObservationError, DimensionError, UnitError
        If errors, flags, places or levels cannot be understood.
    """
    tally = Tally(variable.given, variable.rejected, variable.owned)
    try:
        if variable.learned is not None:
            _require_a_time(variable, strict=strict)
            return learned_likelihood(variable, variable.learned, tally, strict=strict, read=read, rows=rows), ""
        return _assemble(variable, tally, strict=strict, read=read, rows=rows), ""
    except NothingLeft as e:
        none = np.zeros(0)
        empty = SourceLikelihood(
            variable.label, sp.csr_array((0, variable.width)), none, ErrorModel(none), variable.function
        )
        return AuditedLikelihood(empty, tally.audit(np.zeros(0, np.intp))), str(e)


def _assemble(variable: BoundVariable, tally: Tally, *, strict: bool, read: bool, rows: bool) -> AuditedLikelihood:
    """Go through the steps; raise where nothing is left."""
    _require_a_time(variable, strict=strict)
    places = Places.of(variable, read=read)
    if strict:
        places.warn_of_outside(variable)
    error, flags = _stated_quality(variable)
    if read:
        # Of data that are not read there may be more than memory holds; even a mask is too large.
        tally.reject("time", variable.match.matched[places.times], places.times)
        tally.reject("place", places.in_domain[places.cells] & places.unmasked, places.times)
        tally.reject("level", places.in_levels[places.channels], places.times)
    places.require_some(variable)
    if not read:
        raise NothingLeft
    values, known, stated = _read(variable, error)
    if strict and (lost := int((np.isfinite(values) & places.in_domain[places.cells] & ~places.unmasked).sum())):
        warn(
            f"Source {variable.source!r}: {lost} values of {variable.name!r} lie where {variable.observed.name!r} of "
            "the model never has one, such as on land, and are dropped."
        )
    valid = _usable(variable, values, known, stated, flags, places, tally, strict=strict)
    frame, level, place = places.times[valid], places.channels[valid], places.cells[valid]
    factor = variable.factor[frame] if isinstance(variable.factor, np.ndarray) else variable.factor
    y = factor * values[valid] + variable.offset
    scale = np.abs(factor)
    sigma = _without_zeros(scale * error[valid], y)
    errors = replace(_errors(variable, sigma, scale, valid, frame), correlation=correlation_of(variable, places, valid))
    boxes = _boxes(variable, places, frame, level, place)
    if not rows:
        raise NothingLeft
    weights = row_kron(variable.match.weights, places.vertical, frame, level)
    matrix = row_kron(weights, places.horizontal, rows_b=place)
    if places.known is not None and variable.spec.masked is not None:
        matrix = without_masked(matrix, variable.spec.masked)
    likelihood = SourceLikelihood(
        variable.label, matrix, y, errors, variable.function, variable.qc.background_check, boxes
    )
    return AuditedLikelihood(likelihood, tally.audit(frame, np.flatnonzero(valid)))


# --- times -----------------------------------------------------------------------------------------------------------


def _require_a_time(variable: BoundVariable, *, strict: bool) -> None:
    """Raise where there is no value, or none at a time of the state."""
    values, source, name = variable.values, variable.source, variable.name
    if not values.size:
        msg = f"Source {source!r}: {name!r} is empty, {dict(values.sizes)}. Check the selection."
        raise NothingLeft(msg)
    if strict:
        _warn_of_times(variable)
    if not variable.match.matched.any():
        msg = (
            f"Source {source!r} covers {_period(variable.stamps)}; the state covers {_period(variable.frames)}. No "
            "time overlaps. Select the same period, or check the years and the calendar."
        )
        raise NothingLeft(msg)


def _warn_of_times(variable: BoundVariable) -> None:
    source, values, stamps, match = variable.source, variable.values, variable.stamps, variable.match
    methods = str(values.attrs.get("cell_methods", ""))
    if extreme := re.search(r"time:\s*(maximum|minimum|range|median|variance|standard_deviation)", methods):
        warn(
            f"Source {source!r}: cell_methods of {variable.name!r} say {extreme[0]!r}; it is taken for the value of "
            "the nearest frame. Say what it is of the frames with operator=, or correct cell_methods."
        )
    if match.assumed:
        about = match.assumed if ";" in match.assumed else f"values are taken for {match.assumed}"
        warn(
            f"Source {source!r}: {about}. Give bounds of time, or attributes avg_period and cell_methods, to say more."
        )
    if match.missed and match.matched.any():
        warn(
            f"Source {source!r}: {match.missed} of {variable.times} times lie between the frames of the state and are "
            f"dropped. Frames are {variable.spec.time_step:g} h apart; raise tolerance= to use them."
        )
    if match.undated:
        warn(
            f"Source {source!r}: {match.undated} of {variable.times} dates are not in the calendar of the state, "
            f"{variable.frames.dt.calendar!r}, and are dropped. To keep them, convert the data: .convert_calendar()."
        )
    # A platform that moves is at another place each time.
    lat = coordinate(values, "lat")
    moving = lat is not None and set(stamps.dims) <= set(values[lat].dims)
    crowded = match.crowding > 1 and stamps.dims == (stamps.name,) and not moving
    if crowded and not variable.qc.superob and not _has_errors_of_places(variable):
        warn(
            f"Source {source!r}: up to {match.crowding} times fall on one frame of the state "
            f"({variable.spec.time_step:g} h), each as an observation with an independent error. Average them first: "
            ".resample(time=...).mean(), or qc={'superob': True}."
        )


def _has_errors_of_places(variable: BoundVariable) -> bool:
    """Whether errors were calibrated or estimated, and therefore inflated where values of one place are alike."""
    error = variable.error
    if isinstance(error, Mapping):
        error = next((error[n] for n in variable.names if n in error), None)
    return isinstance(error, PlaceValues)


def _period(time: xr.DataArray) -> str:
    at = hours(time).ravel()
    stamps = time.values.ravel()
    return f"{stamp(stamps[at.argmin()])} to {stamp(stamps[at.argmax()])}"


# --- values and errors -----------------------------------------------------------------------------------------------


def _stated_quality(variable: BoundVariable) -> tuple[FloatArray, list[Flag]]:
    """Return standard errors with the shape of the data, and flags with their rules."""
    values = variable.values
    deviation, _ = ancillary(variable.data, values)
    error = None if isinstance(variable.error, str) else variable.error
    if deviation is not None and not _names_any(error, variable.names):
        error = deviation
    spread = standard_error(error, values, variable.names, variable.source)
    return spread, quality_flags(variable.data, values, variable.qc.flags, variable.source)


def _read(variable: BoundVariable, error: FloatArray) -> tuple[FloatArray, BoolArray, str]:
    """Return values without their known bias, which of them have a known error, and what that is called."""
    values: FloatArray = np.asarray(variable.values.values, float)
    known = np.isfinite(error)
    if variable.qc.bias is None:
        return values, known, "error (error=)"
    bias = spread_over(variable.qc.bias, variable.values, variable.names, variable.source, "bias", signed=True)
    finite = np.isfinite(bias)
    return values - np.where(finite, bias, 0.0), known & finite, "error or bias (error=, qc bias)"


def _usable(
    variable: BoundVariable,
    values: FloatArray,
    known: BoolArray,
    stated: str,
    flags: list[Flag],
    places: Places,
    tally: Tally,
    *,
    strict: bool,
) -> BoolArray:
    """Which values can be used: neither missing nor flagged, and with a known error."""
    tally.reject("missing", ~np.isnan(values), places.times)
    tally.reject("infinite", ~np.isinf(values), places.times)
    if strict and (infinite := tally.rejected["infinite"]):
        warn(
            f"Source {variable.source!r}: infinite values of {variable.name!r} are dropped, {infinite} in all. They "
            "come from a division by zero or an overflow; check how the data were made."
        )
    for flag in flags:
        tally.reject("flag", flag.passes(), places.times)
    measured = tally.valid.copy()
    valid = tally.reject("error", known, places.times)
    if not valid.any():
        if measured.any():
            why = f"has no finite {stated} for any of its"
        elif tally.rejected["flag"]:
            why = f"is rejected by its flag {listed(f.name for f in flags)} for all of its"
        else:
            why = "holds no finite value among its"
        msg = (
            f"Source {variable.source!r}: {variable.name!r} {why} {places.inside} elements in the period and domain of "
            f"the state. Check missing_value and the selection.{limits_in_words(variable.values)}"
        )
        raise NothingLeft(msg)
    if strict and (lost := int((measured & ~valid).sum())):
        warn(
            f"Source {variable.source!r}: {lost} of {int(measured.sum())} values of {variable.name!r} have no finite "
            f"{stated} and are dropped."
        )
    return valid


def _without_zeros(sigma: FloatArray, y: FloatArray) -> FloatArray:
    """Errors of which none is zero."""
    if (sigma > 0).all():
        return sigma
    # A gross error must not tell how exact the others are.
    away = np.abs(y - np.median(y))
    usual = y[away <= _WILD * np.median(away[away > 0])] if (away > 0).any() else y
    exact = max(_EXACT * float(np.std(usual)), 1e-6 * max(float(np.abs(usual).max()), 1e-6))
    return np.where(sigma > 0, sigma, exact)


def _errors(
    variable: BoundVariable, sigma: FloatArray, scale: float | FloatArray, valid: BoolArray, frame: IntArray
) -> ErrorModel:
    """Errors of the valid values, in the units of the model."""
    qc = variable.qc
    require_representable(sigma, variable.source, "error")

    def spread(value: Error, what: str) -> FloatArray:
        whole = spread_over(value, variable.values, variable.names, variable.source, what)
        deviation = np.asarray(scale * whole[valid])
        require_representable(deviation, variable.source, what)
        return deviation

    local = subgrid = bias = None
    if isinstance(qc.representativeness, str):
        if variable.function is not None:
            msg = (
                f"Source {variable.source!r}: representativeness='auto' is known for variables of the model, not for "
                "what an operator= makes. Give its standard deviation."
            )
            raise ObservationError(msg)
        # Errors of places are taken to be independent from frame to frame.
        squares = np.asarray(variable.match.weights.power(2).sum(axis=1)).ravel()
        subgrid = within_cell(variable.values, variable.geometry, variable.method) * squares[frame]
    elif qc.representativeness is not None:
        local = spread(qc.representativeness, "representativeness") ** 2
    if qc.bias_error is not None:
        bias = SharedBias(spread(qc.bias_error, "bias_error"), _bias_groups(variable, valid))
    return ErrorModel(sigma**2, local, subgrid, bias, qc.likelihood)


def _bias_groups(variable: BoundVariable, valid: BoolArray) -> IntArray:
    """Which valid values share a bias."""
    values, per = variable.values, variable.qc.bias_per
    if per == "source":
        return np.zeros(int(valid.sum()), np.intp)
    names = [coordinate(values, "lat"), coordinate(values, "lon")] if per == "station" else [per]
    if any(n not in values.coords for n in names):
        msg = (
            f"Source {variable.source!r}: bias_per={per!r} is neither 'source' nor 'station' nor a coordinate of the "
            f"data, {listed(values.coords)}."
        )
        raise ObservationError(msg)
    bare = values.reset_coords(drop=True)
    whole = (values[n].reset_coords(drop=True).broadcast_like(bare).transpose(*values.dims) for n in names)
    return combined(*(w.values[valid] for w in whole))


def _boxes(variable: BoundVariable, places: Places, frame: IntArray, level: IntArray, place: IntArray) -> Boxes | None:
    """Boxes in which values of the same frames and level are thinned or averaged."""
    qc = variable.qc
    if qc.thin is None and not qc.superob:
        return None
    lat, lon = positions(variable.values, places.place)
    frames = row_keys(variable.match.weights)[frame]
    thin = distance = mean = None
    if qc.thin is not None:
        box, apart = boxes_of(lat, lon, qc.thin)
        thin, distance = combined(frames, level, box[place]), apart[place]
    if qc.superob:
        whole = qc.superob is True
        box = model_cells(variable.spec, lat, lon) if whole else boxes_of(lat, lon, float(qc.superob))[0]
        mean = combined(frames, level, box[place])
    return Boxes(combined(lat, lon)[place], thin, distance, mean)


def _names_any(error: Error | None, names: tuple[str, ...]) -> bool:
    """Whether a user gave an error for any of these names."""
    if error is None:
        return False
    return not isinstance(error, Mapping | xr.Dataset) or any(n in error for n in names)

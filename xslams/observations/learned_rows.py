"""From a bound variable with a learned operator to its likelihood: places that it knows, and values that it can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from xslams.errors import DimensionError, ObservationOptionError, warn
from xslams.labels.calendar import frame_numbers, hours
from xslams.labels.coordinates import listed
from xslams.labels.domain import domain_of
from xslams.learned import LearnedOperator
from xslams.likelihood import Axis, Chain, ErrorCorrelation, ErrorModel, SourceLikelihood
from xslams.observations.audit import AuditedLikelihood, NothingLeft, Tally
from xslams.observations.flags import quality_flags
from xslams.observations.horizontal import cells, expand
from xslams.observations.superob import positions

if TYPE_CHECKING:
    from xslams.likelihood.errors import IntArray
    from xslams.observations.bound_variable import BoundVariable
    from xslams.typing import FloatArray

__all__ = ["Elements", "elements", "learned_likelihood"]

# Standard deviations from the seasonal cycle beyond which a value is a gross error.
_GROSS = 20.0
# Quality control that a learned operator has no use for, and the reason.
_UNUSED = {
    "bias": "it has learned the bias",
    "bias_error": "it has learned the bias, and how errors persist",
    "representativeness": "it has learned the error",
    "robust": "its errors are correlated",
    "thin": "it has learned the correlation of errors, by which values are weighted",
    "superob": "it has learned the correlation of errors, by which values are weighted",
}


class Elements:
    """Where the elements of a bound variable are, whatever the model's variables.

    Parameters
    ----------
    variable
        Bound to a model on the globe.

    Attributes
    ----------
    lat, lon
        Places in degrees, shape ``(place,)``.
    inside
        Which places lie in the domain of the model.
    place, stamp
        Place and time stamp of each element, with the shape of the data.
    frame, matched
        Frame that each time stamp observes most of, and whether there is one, shape ``(stamp,)``.
    """

    def __init__(self, variable: BoundVariable) -> None:
        values, stamps = variable.values, variable.stamps
        if variable.spec.flat:
            msg = f"Source {variable.source!r}: operators are learned on the globe; the model is one of a system."
            raise ObservationOptionError(msg)
        weights, place = cells(variable.data, values, variable.geometry, "nearest", variable.source, variable.engine)
        if extra := [d for d in values.dims if d not in {*place.dims, *stamps.dims}]:
            msg = (
                f"Source {variable.source!r}: {variable.name!r} varies along {listed(extra)}, and an operator "
                "is learned for times and places. Select along it: .isel()."
            )
            raise DimensionError(msg)
        self.lat, self.lon = positions(values, place)
        self.inside = np.asarray(np.diff(weights.indptr) > 0)
        self.place = expand(place, values)
        number = stamps.copy(data=np.arange(stamps.size).reshape(stamps.shape)).reset_coords(drop=True)
        self.stamp = expand(number, values)
        share = variable.match.weights
        self.matched = variable.match.matched
        self.frame = np.zeros(stamps.size, np.intp)
        matched = np.flatnonzero(self.matched)
        self.frame[matched] = np.asarray(share[matched].argmax(axis=1)).ravel()


def elements(variable: BoundVariable) -> Elements:
    """Return where the elements of a variable are."""
    return Elements(variable)


def learned_likelihood(
    variable: BoundVariable, operator: LearnedOperator, tally: Tally, *, strict: bool, read: bool, rows: bool
) -> AuditedLikelihood:
    """Likelihood of a variable by the operator that was learned for it.

    Parameters
    ----------
    variable
        Bound to a model.
    operator
        Its operator.
    tally
        Counts the values that take no part.
    strict, read, rows
        As for `xslams.observations.assemble.assemble`.

    Returns
    -------
    AuditedLikelihood
        Empty where the operator has found that the source tells nothing.

    Raises
    ------
    ObservationOptionError
        If quality control is asked for that does not go with it, or the operator is of another model.
    NothingLeft
        If no value can be used.
    """
    _require_usable(variable, operator)
    at = elements(variable)
    known = operator.places(at.lat, at.lon)
    seen = known >= 0
    _tell_of_places(variable, operator, seen, strict=strict)
    if not operator.informative.any():
        if strict:
            warn(
                f"Source {variable.source!r}: held-out blocks of the training period found that {operator.variable!r} "
                f"tells nothing of the state (skill {operator.held_out_skill:.3f}); it gets no weight."
            )
        return _empty(variable, tally)
    if read:
        tally.reject("time", at.matched[at.stamp], at.stamp)
        tally.reject("place", seen[at.place], at.stamp)
    if not read:
        raise NothingLeft
    values = np.asarray(variable.values.values, float)
    tally.reject("missing", ~np.isnan(values), at.stamp)
    tally.reject("infinite", ~np.isinf(values), at.stamp)
    for flag in quality_flags(variable.data, variable.values, variable.qc.flags, variable.source):
        tally.reject("flag", flag.passes(), at.stamp)
    valid = tally.reject("error", operator.informative[known][at.place], at.stamp)
    season = np.asarray(domain_of(variable.spec).season(variable.frames), float)
    anomalies = _anomalies(variable, operator, values, valid, at, known, season)
    good = np.zeros(values.shape, bool)
    good[valid] = np.isfinite(anomalies) & (np.abs(anomalies) <= _GROSS)
    kept = good[valid]
    valid = tally.reject("background", good, at.stamp)
    if not valid.any():
        msg = f"Source {variable.source!r}: {variable.name!r} holds no value that its operator can use in this period."
        raise NothingLeft(msg)
    if not rows:
        raise NothingLeft
    frame, place = at.frame[at.stamp[valid]], known[at.place[valid]]
    first, last = _stretch(frame_numbers(variable.frames, variable.spec), frame)
    matrix, offset, sigma = operator.rows(frame, place, season, first, last, variable.frames.size)
    errors = ErrorModel(sigma**2, correlation=_correlation(variable, operator, frame, place))
    likelihood = SourceLikelihood(
        variable.label, matrix, anomalies[kept] - offset, errors, None, variable.qc.background_check
    )
    return AuditedLikelihood(likelihood, tally.audit(at.stamp[valid]))


def _require_usable(variable: BoundVariable, operator: LearnedOperator) -> None:
    if operator.frame_shape != variable.spec.frame_shape:
        msg = (
            f"Source {variable.source!r}: its operator was learned for frames of shape {operator.frame_shape}, "
            f"the model has {variable.spec.frame_shape}. Learn it with this model: xslams.learn_operator()."
        )
        raise ObservationOptionError(msg)
    if variable.error is not None:
        msg = f"Source {variable.source!r}: error= is given, and a learned operator has its own. Leave error= out."
        raise ObservationOptionError(msg)
    for name, why in _UNUSED.items():
        if getattr(variable.qc, name) not in (None, False):
            msg = f"Source {variable.source!r}: qc {name} does not go with a learned operator: {why}. Leave it out."
            raise ObservationOptionError(msg)


def _tell_of_places(
    variable: BoundVariable, operator: LearnedOperator, seen: npt.NDArray[np.bool_], *, strict: bool
) -> None:
    """Warn of places that were not seen in training, and raise where all of them were not."""
    unseen = int((~seen).sum())
    remedy = "Learn them with their own past, xslams.learn_operator(), or train with them in aux=."
    if not seen.any():
        msg = (
            f"Source {variable.source!r}: none of its {seen.size} places is one of the {operator.lat.size} that the "
            f"operator of {operator.variable!r} was learned for. {remedy}"
        )
        raise NothingLeft(msg)
    if strict and unseen:
        warn(
            f"Source {variable.source!r}: {unseen} of {seen.size} places were not seen in training; left out. {remedy}"
        )


def _empty(variable: BoundVariable, tally: Tally) -> AuditedLikelihood:
    none = np.zeros(0)
    empty = SourceLikelihood(variable.label, sp.csr_array((0, variable.width)), none, ErrorModel(none))
    return AuditedLikelihood(empty, tally.audit(np.zeros(0, np.intp)))


def _anomalies(
    variable: BoundVariable,
    operator: LearnedOperator,
    values: FloatArray,
    valid: npt.NDArray[np.bool_],
    at: Elements,
    known: IntArray,
    season: FloatArray,
) -> FloatArray:
    """Anomalies of the valid values; NaN of those that are out of the bounds of their quantity."""
    stamp = at.stamp[valid]
    factor = variable.factor[stamp] if isinstance(variable.factor, np.ndarray) else variable.factor
    y = factor * values[valid] + variable.offset
    low, high = operator.bounds
    slack = 1e-3 * max(float(np.abs(y).max(initial=0.0)), 1e-30)
    out = (y < (-np.inf if low is None else low) - slack) | (y > (np.inf if high is None else high) + slack)
    y = np.clip(y, low, high) if low is not None or high is not None else y
    anomalies = operator.anomalies(y, known[at.place[valid]], season[at.frame[stamp]])
    return np.where(out, np.nan, anomalies)


def _stretch(number: FloatArray, frame: IntArray) -> tuple[IntArray, IntArray]:
    """First frame of the stretch without gaps that holds each frame, and the frame after its last."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(number) > 1.001) + 1, [number.size]])
    which = np.searchsorted(edges, frame, side="right")
    return edges[which - 1], edges[which]


def _correlation(
    variable: BoundVariable, operator: LearnedOperator, frame: IntArray, place: IntArray
) -> ErrorCorrelation | None:
    """Correlation of the errors of values: between places, and in time."""
    errors = operator.errors
    if errors.lagged is not None:
        number = frame_numbers(variable.frames, variable.spec)
        step = np.rint(number - number[0]).astype(np.intp)
        chain = Chain(step[frame], errors.lagged)
        group = np.zeros(frame.size, np.intp)
        return ErrorCorrelation(group, (), operator.kind[place], None, errors.independent, errors.link, chain)
    after = errors.hours(variable.spec.time_step)
    at = hours(variable.frames)[frame]
    # Variables of one link have the same groups, whichever of their values are there.
    group, axes = (
        (np.rint(at).astype(np.intp), ())
        if after is None
        else (np.zeros(frame.size, np.intp), (Axis(at[:, None] / after, "first"),))
    )
    return ErrorCorrelation(group, axes, operator.kind[place], errors.between, errors.independent, errors.link)

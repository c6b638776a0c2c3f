"""Learned operators in a model file: a record of each in the header, and its arrays among the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xslams.errors import ModelError
from xslams.learned.chains import chained, positive
from xslams.learned.errors import LearnedErrors
from xslams.learned.operator import Coefficients, LearnedOperator, Tile
from xslams.learned.transforms import TRANSFORMS
from xslams.typing import FloatArray

__all__ = ["PREFIX", "from_storage", "to_storage"]

#: Begin of the names of all arrays.
PREFIX = "operators."
Array = npt.NDArray[Any]
_PLAIN = ("lat", "lon", "tile", "cycle", "spread", "skill", "kind")
_TEXTS = ("name", "variable", "units", "transform")


def to_storage(operators: Sequence[LearnedOperator]) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """Return the records and arrays of operators.

    Parameters
    ----------
    operators
        Operators of one model. Correlations that several of them share are stored once.
    """
    records: list[dict[str, Any]] = []
    arrays: dict[str, Array] = {}
    shared: dict[int, int] = {}
    for number, operator in enumerate(operators):
        first = shared.setdefault(id(operator.errors), number)
        start = f"{PREFIX}{number}."
        if first == number:
            arrays[f"{start}between"] = operator.errors.between.astype(np.float32)
            if operator.errors.before is not None:
                arrays[f"{start}before"] = operator.errors.before.astype(np.float32)
        for name in _PLAIN:
            values = getattr(operator, name)
            arrays[start + name] = values.astype(np.int64 if values.dtype.kind == "i" else np.float64)
        for k, tile in enumerate(operator.tiles):
            arrays[f"{start}tiles.{k}.columns"] = tile.columns.astype(np.int64)
            arrays[f"{start}tiles.{k}.patterns"] = tile.patterns.astype(np.float64)
            arrays[f"{start}tiles.{k}.cycle"] = tile.cycle.astype(np.float64)
        for k, part in enumerate(operator.coefficients):
            arrays[f"{start}coefficients.{k}.weights"] = part.weights.astype(np.float32)
            arrays[f"{start}coefficients.{k}.error"] = part.error.astype(np.float32)
        records.append(
            {n: getattr(operator, n) for n in (*_TEXTS, "standard_name", "scale")}
            | {
                "bounds": list(operator.bounds),
                "lags": [list(part.lags) for part in operator.coefficients],
                "tiles": len(operator.tiles),
                "errors": {
                    "of": first,
                    "persistence": operator.errors.persistence,
                    "independent": operator.errors.independent,
                    "link": operator.errors.link,
                },
                "record": dict(operator.record),
            }
            # Operators without are read by versions that know of none.
            | ({"day_order": operator.day_order} if operator.day_order else {})
        )
    return records, {k: np.ascontiguousarray(v) for k, v in arrays.items()}


def from_storage(
    records: Sequence[Mapping[str, Any]], arrays: Mapping[str, Array], frame_shape: tuple[int, int, int]
) -> tuple[LearnedOperator, ...]:
    """Return the operators of a model file.

    Parameters
    ----------
    records, arrays
        As `to_storage` returns them.
    frame_shape
        Shape ``(channel, lat, lon)`` of the frames of the model.

    Raises
    ------
    ModelError
        If they contradict each other, or hold numbers that are not finite.
    """
    errors: dict[int, LearnedErrors] = {}
    out = []
    for number, record in enumerate(records):
        try:
            out.append(_read(number, record, arrays, frame_shape, errors))
        except ModelError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as e:
            msg = (
                f"The learned operator {number} of the model is damaged ({type(e).__name__}: {e}). Fetch or train the "
                "model again."
            )
            raise ModelError(msg) from e
    return tuple(out)


def _read(
    number: int,
    record: Mapping[str, Any],
    arrays: Mapping[str, Array],
    frame_shape: tuple[int, int, int],
    errors: dict[int, LearnedErrors],
) -> LearnedOperator:
    start = f"{PREFIX}{number}."

    def array(name: str, *shape: int | None, whole: int | None = None) -> Array:
        values = np.asarray(arrays[start + name])
        fits = values.ndim == len(shape) and all(s is None or s == n for s, n in zip(shape, values.shape, strict=True))
        _require(fits, f"{start}{name} has the shape {values.shape}")
        if whole is not None:
            _require(values.dtype.kind == "i", f"{start}{name} is no list of whole numbers")
            _require(values.size == 0 or 0 <= values.min() <= values.max() < whole, f"{start}{name} is out of range")
            return values.astype(np.intp)
        _require(values.dtype.kind == "f" and bool(np.isfinite(values).all()), f"{start}{name} is not finite")
        return values.astype(float)

    scale = _checked(record)
    n, size = array("lat", None).size, int(np.prod(frame_shape))
    tiles = []
    for k in range(int(record["tiles"])):
        columns = array(f"tiles.{k}.columns", None, whole=size)
        patterns = array(f"tiles.{k}.patterns", None, columns.size)
        tiles.append(Tile(columns, patterns, array(f"tiles.{k}.cycle", None, len(patterns))))
    day_order = record.get("day_order", 0)
    cycles = [array("cycle", None, n), *(t.cycle for t in tiles)]
    known = isinstance(day_order, int) and day_order >= 0 and all(len(c) % 2 and len(c) > 2 * day_order for c in cycles)
    _require(known, f"day_order is {day_order!r}")
    lags = [tuple(int(v) for v in each) for each in record["lags"]]
    _require(len(lags) > 0 and lags[-1] == (0,), f"lags are {lags}")
    most = max((len(t.patterns) for t in tiles), default=0)
    coefficients = tuple(
        Coefficients(
            each,
            array(f"coefficients.{k}.weights", None, len(each) * most, n),
            array(f"coefficients.{k}.error", None, n),
        )
        for k, each in enumerate(lags)
    )
    _require(all((part.error > 0).all() for part in coefficients), "errors are not positive")
    about = record["errors"]
    joint = _errors(int(about["of"]), about, arrays, errors)
    low, high = (None if v is None else float(v) for v in record["bounds"])
    spread: FloatArray = array("spread", n)
    _require(bool((spread > 0).all()), "the spread of values is not positive")
    standard_name = record["standard_name"]
    return LearnedOperator(
        record["name"], record["variable"], record["units"], None if standard_name is None else str(standard_name),
        record["transform"], scale, (low, high), frame_shape, array("lat", n), array("lon", n),
        array("tile", n, whole=len(tiles)), tuple(tiles), cycles[0], spread, coefficients,
        array("skill", n), joint, array("kind", n, whole=len(joint.between)), dict(record["record"]),
        day_order,
    )  # fmt: skip


def _checked(record: Mapping[str, Any]) -> float:
    """Check the texts of a record, and return its scale."""
    for name in _TEXTS:
        _require(isinstance(record[name], str), f"{name} is no text")
    _require(record["transform"] in TRANSFORMS, f"transform is {record['transform']!r}")
    scale = float(record["scale"])
    _require(np.isfinite(scale) and scale > 0, f"scale is {scale}")
    return scale


def _errors(
    of: int, about: Mapping[str, Any], arrays: Mapping[str, Array], known: dict[int, LearnedErrors]
) -> LearnedErrors:
    if of not in known:
        between = np.asarray(arrays[f"{PREFIX}{of}.between"], float)
        persistence, independent = float(about["persistence"]), float(about["independent"])
        square = between.ndim == 2 and between.shape[0] == between.shape[1]
        _require(square and bool(np.isfinite(between).all()), "the correlation of errors is no matrix")
        _require(bool(np.allclose(between, between.T, atol=1e-4)), "the correlation of errors is not symmetric")
        _require(0 <= persistence < 1 and 0 <= independent <= 1, "the correlation of errors is out of range")
        before = arrays.get(f"{PREFIX}{of}.before")
        if before is not None:
            fits = before.shape == between.shape and bool(np.isfinite(before).all())
            _require(fits, "the correlation of errors with those before is not finite, or no matrix of their size")
            # Rounded on the way into the file.
            between, before = positive(between), np.asarray(before, float)
            before = chained(between, before)
        link = about.get("link")
        known[of] = LearnedErrors(between, persistence, independent, None if link is None else str(link), before)
    return known[of]


def _require(holds: bool, what: str) -> None:
    if not holds:
        msg = f"A learned operator of the model is damaged: {what}. Fetch or train the model again."
        raise ModelError(msg)

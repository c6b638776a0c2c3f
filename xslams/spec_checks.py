"""What a specification may be: types, and ranges of every number, before anything is made of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from xslams.errors import ModelError
from xslams.masks import unpacked

if TYPE_CHECKING:
    from xslams.spec import Spec, VariableSpec

__all__ = ["check_spec", "whole"]

#: Largest number of frames in a window; far more than a score network is trained on.
_LARGEST_WINDOW = 2**16 + 1


def whole(value: object, least: int, most: int) -> bool:
    """Whether a value is a whole number in a range.

    Examples
    --------
    >>> whole(3, 1, 5), whole(True, 1, 5), whole(9, 1, 5)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def check_spec(spec: Spec) -> None:
    """Refuse a specification that no model can have.

    Parameters
    ----------
    spec
        As it was read from a file.

    Raises
    ------
    ModelError
        If the type or the range of an entry is not that of its description; the message names the entry.
    """
    for name in ("name", "summary", "license", "kind"):
        _require(isinstance(getattr(spec, name), str), name, getattr(spec, name), "text")
    for name in ("architecture", "training", "scores", "system"):
        _require(isinstance(getattr(spec, name), dict), name, getattr(spec, name), "a record")
    _require(isinstance(spec.periodic, bool), "periodic", spec.periodic, "true or false")
    _require(_positive(spec.time_step), "time_step", spec.time_step, "a positive number of hours")
    odd = whole(spec.window, 1, _LARGEST_WINDOW) and spec.window % 2 == 1
    _require(odd, "window", spec.window, f"an odd number from 1 to {_LARGEST_WINDOW}")
    texts = all(map(_text, spec.dims))
    _require(texts and len(set(spec.dims)) == len(spec.dims), "dims", spec.dims, "different names")
    for name, values in {"lat": spec.lat, "lon": spec.lon}.items():
        _require(bool(values) and _finite(values), name, _brief(values), "finite numbers")
        _require(_monotonic(values), name, _brief(values), "numbers that increase or decrease")
    if not spec.flat:
        _require(all(abs(v) <= 90 for v in spec.lat), "lat", _brief(spec.lat), "degrees from -90 to 90")
        _require(all(abs(v) <= 720 for v in spec.lon), "lon", _brief(spec.lon), "degrees")
    for start, end in spec.covered_days:
        _require(_finite((start, end)), "covered_days", (start, end), "finite numbers")
    roles = [v.role for v in spec.variables]
    _require("state" in roles and roles == sorted(roles, reverse=True), "variables", roles, "state variables, then aux")
    names = [v.name for v in spec.variables]
    for variable in spec.variables:
        _check_variable(variable)
        _check_mask(variable, (variable.channels, len(spec.lat), len(spec.lon)))
    _require(len(set(names)) == len(names), "variables", names, "different names")


def _check_variable(variable: VariableSpec) -> None:
    entry = f"variable {variable.name!r}"
    _require(_text(variable.name), "name", variable.name, "text")
    _require(isinstance(variable.units, str), f"{entry}: units", variable.units, "text")
    _require(isinstance(variable.cell_method, str), f"{entry}: cell_method", variable.cell_method, "text")
    limits = [v for v in variable.bounds or () if v is not None]
    _require(_finite(limits) and limits == sorted(limits), f"{entry}: bounds", variable.bounds, "two numbers in order")
    for name in ("standard_name", "long_name", "level_dim"):
        value = getattr(variable, name)
        _require(value is None or isinstance(value, str), f"{entry}: {name}", value, "text or null")
    _require(variable.role in ("state", "aux"), f"{entry}: role", variable.role, "'state' or 'aux'")
    _require(variable.transform in ("identity", "sqrt", "scores"), f"{entry}: transform", variable.transform, "known")
    _check_knots(variable, entry)
    _require(_positive(variable.scale), f"{entry}: scale", variable.scale, "a positive number")
    _require(_finite(variable.levels), f"{entry}: levels", _brief(variable.levels), "finite numbers")
    _require(isinstance(variable.level_attrs, dict), f"{entry}: level_attrs", variable.level_attrs, "a record")


def _check_mask(variable: VariableSpec, shape: tuple[int, int, int]) -> None:
    entry = f"variable {variable.name!r}: masked"
    text = isinstance(variable.masked, str)
    _require(text and not (variable.masked and variable.role == "aux"), entry, variable.masked, "text, of the state")
    some = not unpacked(variable.masked, shape).all((1, 2)).any()
    _require(some, entry, "all cells of a level", "some with values")


def _check_knots(variable: VariableSpec, entry: str) -> None:
    values, scores = ([knot[i] for knot in variable.knots] for i in (0, 1))
    rising = (
        _finite(values) and _finite(scores) and all(a < b for v in (values, scores) for a, b in itertools.pairwise(v))
    )
    enough = len(values) > 1 if variable.transform == "scores" else not values
    _require(rising and enough, f"{entry}: knots", _brief(variable.knots), "rising values and scores of normal scores")


def _require(holds: bool, entry: str, got: object, expected: str) -> None:
    if not holds:
        text = str(got)
        text = text if len(text) <= 60 else f"{text[:57]}..."
        msg = f"The specification is damaged: {entry} is {text}; expected {expected}. Fetch or train the model again."
        raise ModelError(msg)


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _finite(values: Iterable[object]) -> bool:
    return all(map(_number, values))


def _monotonic(values: tuple[float, ...]) -> bool:
    def ordered(follows: Callable[[float, float], bool]) -> bool:
        return all(follows(a, b) for a, b in itertools.pairwise(values))

    return ordered(lambda a, b: a < b) or ordered(lambda a, b: a > b)


def _brief(values: tuple[object, ...]) -> str:
    return f"{list(values[:4])!r}{'...' if len(values) > 4 else ''}"

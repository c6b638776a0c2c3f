"""Checks of arguments: one rule for each kind of value; what is out of range is refused before anything runs."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping

import numpy as np

from xslams.errors import OptionError

__all__ = [
    "is_names",
    "is_number",
    "is_whole",
    "require",
    "require_flag",
    "require_text",
    "require_whole",
    "shown",
]

# Whole or real numbers by their classes, but not as values of an argument.
_NO_NUMBERS = (bool, np.bool_, np.timedelta64)
# Enough to recognise a value by; an error is no place for a whole Dataset.
_LONGEST = 120


def shown(value: object) -> str:
    """Return a value as a message shows it: in one line, and short.

    Parameters
    ----------
    value
        Anything.

    Examples
    --------
    >>> shown(-1), shown("a" * 1000)
    ('-1', 'a str')
    """
    try:
        text = repr(value)
    except Exception:  # whatever a foreign class or a number of many digits raises, the message is about something else
        text = ""
    return text if 0 < len(text) <= _LONGEST and "\n" not in text else f"a {type(value).__name__}"


def require(holds: bool, name: str, got: object, expected: str, kind: type[OptionError] = OptionError) -> None:
    """Raise an error unless the condition on an argument holds.

    Parameters
    ----------
    holds
        The condition.
    name, got
        Name and value of the argument.
    expected
        What was expected, for the message.
    kind
        Class of the error.

    Raises
    ------
    OptionError
        Of that class, if the condition does not hold.

    Examples
    --------
    >>> require(False, "members", 0, "a positive whole number")
    Traceback (most recent call last):
    xslams.errors.OptionError: members=0; expected a positive whole number.
    """
    if not holds:
        msg = f"{name}={shown(got)}; expected {expected}."
        raise kind(msg)


def is_whole(value: object, least: int, most: int | None = None) -> bool:
    """Whether a value is a whole number in a range; True and False are none."""
    if isinstance(value, _NO_NUMBERS) or not isinstance(value, numbers.Integral):
        return False
    return int(value) >= least and (most is None or int(value) <= most)


def is_number(value: object, least: float = -math.inf) -> bool:
    """Whether a value is a finite number of at least `least`; True and False are none."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    if isinstance(value, _NO_NUMBERS) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value) and float(value) >= least
    except OverflowError:  # a whole number that no float can hold
        return False


def require_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise `OptionError` unless a value is a whole number in a range.

    Examples
    --------
    >>> require_whole("seed", -1, 0, 2**63 - 1)
    Traceback (most recent call last):
    xslams.errors.OptionError: seed=-1; expected a whole number from 0 to 9223372036854775807.
    """
    span = f"of at least {least}" if most is None else f"from {least} to {most}"
    require(is_whole(value, least, most), name, value, f"a whole number {span}")


def require_flag(**flags: object) -> None:
    """Raise `OptionError` unless all values are True or False.

    Examples
    --------
    >>> require_flag(report="no")
    Traceback (most recent call last):
    xslams.errors.OptionError: report='no'; expected True or False.
    """
    for name, value in flags.items():
        require(isinstance(value, bool | np.bool_), name, value, "True or False")


def require_text(kind: type[OptionError] = OptionError, **texts: object) -> None:
    """Raise an error of that class unless all values are text."""
    for name, value in texts.items():
        require(isinstance(value, str), name, value, "text", kind)


def is_names(value: object) -> bool:
    """Whether a value is a name, several, or a mapping of names to names."""
    if isinstance(value, str):
        return True
    if isinstance(value, Mapping):
        return all(isinstance(name, str) for pair in value.items() for name in pair)
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)

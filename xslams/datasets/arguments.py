"""Checks of the arguments of data sets, before anything is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from numbers import Integral, Real

from xslams.errors import OptionError

__all__ = ["Years", "check_choice", "check_levels", "check_names", "check_years", "days_in", "now"]

Years = int | Iterable[int]
"""A year, or several: a range, list or array of whole numbers."""


def now() -> datetime:
    """Return the current time in UTC, which defines the running year."""
    return datetime.now(UTC)


def days_in(year: int) -> int:
    """Return the number of days in a year.

    Examples
    --------
    >>> days_in(2000), days_in(1900)
    (366, 365)
    """
    return 366 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 365


def check_years(years: Years, first: int, last: int | None = None) -> list[int]:
    """Check years and return them in ascending order.

    Parameters
    ----------
    years
        A whole number, or several of them (range, list, array).
    first, last
        First and last year of the data set; None for a data set that extends to the running year.

    Returns
    -------
    list of int
        The years.

    Raises
    ------
    OptionError
        If the years are not whole numbers, are repeated, lie outside the data set, or there are none.

    Examples
    --------
    >>> check_years(range(2003, 2000, -1), 1979)
    [2001, 2002, 2003]
    """
    expected = "expected a year or several: 2010, range(2010, 2014), [2010, 2012]"
    given: object = years
    if isinstance(given, str | bytes) or not isinstance(given, Iterable | Integral):
        msg = f"years={given!r}; {expected}."
        raise OptionError(msg)
    listed = [given] if isinstance(given, Integral) else list(given)
    invalid = [y for y in listed if isinstance(y, bool) or not isinstance(y, Integral)]
    if invalid or not listed:
        msg = f"years={given!r} holds {', '.join(map(repr, invalid)) if invalid else 'no year'}; {expected}."
        raise OptionError(msg)
    found = sorted(int(y) for y in listed)
    if repeated := sorted({y for y in found if found.count(y) > 1}):
        msg = f"years={given!r} repeats {', '.join(map(str, repeated))}; name each year once."
        raise OptionError(msg)
    end = now().year if last is None else last
    if outside := [y for y in found if not first <= y <= end]:
        msg = f"years={given!r} asks for {', '.join(map(str, outside))}; the data set has {first} to {end}."
        raise OptionError(msg)
    return found


def check_levels(levels: float | Iterable[float] | None, known: Sequence[float]) -> list[float]:
    """Check pressure levels and return them in the order of the data set.

    Parameters
    ----------
    levels
        One or several, in hPa; None for all.
    known
        All levels of the data set.

    Returns
    -------
    list of float
        The levels.

    Raises
    ------
    OptionError
        If a level is not in the data set or is repeated, or there is none.

    Examples
    --------
    >>> check_levels([500, 850], (1000.0, 850.0, 500.0))
    [850.0, 500.0]
    """
    if levels is None:
        return list(known)
    given: object = levels
    shown = ", ".join(f"{v:g}" for v in known)
    if isinstance(given, str | bytes) or not isinstance(given, Iterable | Real):
        msg = f"levels={given!r}; expected one or several of {shown} (hPa)."
        raise OptionError(msg)
    listed = [given] if isinstance(given, Real) else list(given)
    invalid = [v for v in listed if isinstance(v, bool) or not isinstance(v, Real) or float(v) not in known]
    if invalid or not listed:
        what = ", ".join(map(repr, invalid)) if invalid else "no level"
        msg = f"levels={given!r} holds {what}; the data set has {shown} (hPa)."
        raise OptionError(msg)
    if len(set(listed)) < len(listed):
        msg = f"levels={given!r} repeats a level; name each once."
        raise OptionError(msg)
    return [v for v in known if v in listed]


def check_names(
    names: str | Iterable[str] | None, known: Sequence[str], default: Sequence[str], what: str
) -> list[str]:
    """Check names of variables and return them in the order of the data set.

    Raises
    ------
    OptionError
        If a name is unknown, or there is none.

    Examples
    --------
    >>> check_names("t", ("z", "t"), ("z",), "variables")
    ['t']
    """
    if names is None:
        return list(default)
    given: object = names
    listed = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    invalid = [n for n in listed if n not in known]
    if invalid or not listed:
        got = ", ".join(map(repr, invalid)) if invalid else "nothing"
        msg = f"{what}={given!r} holds {got}; choose from {', '.join(map(repr, known))}."
        raise OptionError(msg)
    return [n for n in known if n in listed]


def check_choice(value: str, choices: Sequence[str], what: str) -> str:
    """Check that a value is one of several words, and return it.

    Raises
    ------
    OptionError
        If it is none of them.

    Examples
    --------
    >>> check_choice("daily", ("daily", "6h"), "frequency")
    'daily'
    """
    if value not in choices:
        msg = f"{what}={value!r}; choose one of {', '.join(map(repr, choices))}."
        raise OptionError(msg)
    return value

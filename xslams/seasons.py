"""Which days of the year training data cover, and what they can tell of the seasonal cycle.

A climatology is never extrapolated. Data that leave out a part of the year give as many annual harmonics as they can
support, a constant where they cover little; between the ends of what they cover the climatology is interpolated; and an
analysis of days that are far from the covered ones gives a warning.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from xslams.errors import warn
from xslams.typing import FloatArray

__all__ = [
    "DAYS", "Periods", "covered_days", "gaps_between", "harmonics", "in_the_year", "periods_in_words",
    "supported_day_order", "supported_order", "warn_of_season",
]  # fmt: skip

#: Length of the year that fractions of the year count.
DAYS = 365.25
#: First and last days of periods, counted from 1 January as 0; none stands for the whole year.
Periods = tuple[tuple[float, float], ...]

# Days from the nearest covered one that still count as covered.
_NEAR = 15.0
# Days after which the weather has forgotten what it was, so that a mean gains from another value.
_MEMORY = 10.0
# Days from which a mean for each time of the day is told.
_LEAST_DAYS = 10
# Variance of the fitted climatology at its worst day, over that of a single value, that is accepted.
_VARIANCE = 0.4


def in_the_year(days: FloatArray) -> FloatArray:
    """Fractions of the year of days that are counted from a 1 January, also of those before it and after its year.

    Years have whole days here, so that a fraction keeps the time of the day: the last three quarters of day 366, which
    pass the length of the year, are those of the first day of the next.

    Examples
    --------
    >>> in_the_year(np.array([0.5, 365.0, 365.5, -0.75])) * DAYS
    array([  0.5 , 365.  ,   0.5 , 364.25])
    """
    days = np.asarray(days, float)
    for _ in range(2):  # of many years at once, some quarters of a day are left
        days = days - 365 * np.floor(days / DAYS)
    return np.asarray(days % DAYS / DAYS)


def supported_day_order(season: FloatArray, time_step: float, wanted: int) -> int:
    """Return the number of daily harmonics that data can tell of.

    Parameters
    ----------
    season
        Fraction of the year of every frame, shape (n,).
    time_step
        Hours between frames.
    wanted
        Number of harmonics that are wanted.

    Returns
    -------
    int
        0 where frames are days or longer, or cover a few days; else half of the number of times of the day at most.

    Examples
    --------
    >>> [supported_day_order(np.arange(0, 30, step / 24) / DAYS, step, 2) for step in (24.0, 12.0, 6.0, 1.0)]
    [0, 1, 2, 2]
    """
    if time_step >= 24.0 or season.size * time_step < 24.0 * _LEAST_DAYS:
        return 0
    times = np.unique(np.round(season * DAYS % 1.0 * 240) % 240)
    return min(wanted, times.size // 2)


def covered_days(season: FloatArray, time_step: float = 24.0) -> Periods:
    """Days of the year that data cover.

    Parameters
    ----------
    season
        Fraction of the year of every frame, shape (n,).
    time_step
        Hours between frames; the days in between are covered.

    Returns
    -------
    tuple of pair
        First and last day of each period, of which one may go on into the next year; none for the whole year.

    Examples
    --------
    >>> [covered_days(np.arange(start, stop) / DAYS) for start, stop in ((0, 60), (0, 350), (-30, 30))]
    [((0.0, 59.0),), (), ((335.25, 394.25),)]
    """
    days = np.unique(np.round((season % 1.0) * DAYS, 4) % DAYS)
    away = np.diff(days, append=days[0] + DAYS)
    last = np.flatnonzero(away > max(2 * _NEAR, 1.5 * time_step / 24.0))
    ends = days[last]
    starts = days[(last[np.arange(last.size) - 1] + 1) % days.size] if last.size else ends
    return tuple(
        (float(start), float(end if end >= start else end + DAYS)) for start, end in zip(starts, ends, strict=True)
    )


def gaps_between(covered: Periods) -> Periods:
    """Return what lies between periods, as fractions of the year; none where they are the whole year."""
    following = [*covered[1:], *covered[:1]]
    return tuple(
        (end / DAYS % 1.0, start / DAYS % 1.0) for (_, end), (start, _) in zip(covered, following, strict=True)
    )


def supported_order(season: FloatArray, time_step: float, wanted: int, *, everywhere: bool = False) -> int:
    """Return the number of annual harmonics that data can tell of.

    Parameters
    ----------
    season
        Fraction of the year of every frame, shape (n,).
    time_step
        Hours between frames.
    wanted
        Number of harmonics that are wanted; returned where the data cover the year.
    everywhere
        Whether the harmonics have to be known on all days of the year, and not on covered ones alone.

    Examples
    --------
    >>> [supported_order(np.arange(n) / DAYS, 24.0, 2) for n in (30, 60, 200, 400)]
    [0, 0, 1, 2]
    """
    if not covered_days(season, time_step):
        return min(wanted, (np.unique(season).size - 1) // 2)
    # Frames of consecutive hours tell no more than those of consecutive days.
    count = max(min(season.size, season.size * time_step / 24.0 / _MEMORY), 1.0)
    days = np.arange(DAYS) / DAYS if everywhere else np.unique(season)
    for order in range(wanted, 0, -1):
        basis = harmonics(season, order)
        gram = basis.T @ basis / len(basis)
        if np.linalg.cond(gram) > 1e10:
            continue
        at = harmonics(days, order)
        if np.einsum("ij,jk,ik->i", at, np.linalg.inv(gram), at).max() <= _VARIANCE * count:
            return order
    return 0


def harmonics(season: FloatArray, order: int, day_order: int = 0) -> FloatArray:
    """Constant, cosines and sines of the year, and of the day, shape ``(n, 1 + 2 order + 2 day_order)``.

    Examples
    --------
    >>> harmonics(np.array([0.0, 0.25]), 1).round(6)
    array([[1., 1., 0.],
           [1., 0., 1.]])
    """
    season = np.asarray(season, float)
    phase = 2 * np.pi * season[:, None] * np.arange(1, order + 1)
    daily = 2 * np.pi * (season * DAYS % 1.0)[:, None] * np.arange(1, day_order + 1)
    waves = [f(p) for p in (phase, daily) for f in (np.cos, np.sin)]
    return np.concatenate([np.ones((len(season), 1)), *waves], axis=1)


def warn_of_season(covered: Periods, season: FloatArray, model: str, time_step: float = 24.0) -> None:
    """Warn where frames lie far from the days of the year that a model was trained on.

    Parameters
    ----------
    covered
        What `covered_days` gave of the training data.
    season
        Fraction of the year of every frame, shape (n,).
    model
        Name of the model.
    time_step
        Hours between frames.
    """
    if not covered or not season.size:
        return
    day = (season % 1.0) * DAYS
    away = np.min([_days_outside(day, *period) for period in covered], axis=0)
    far = away > max(_NEAR, 0.75 * time_step / 24.0)
    if far.any():
        warn(
            f"{int(far.sum())} of {far.size} frames are up to {away.max():.0f} days of the year away from what the "
            f"model {model!r} was trained on, {periods_in_words(covered)}. Its climatology there is interpolated, and "
            "the analysis of such a season is not to be trusted. Train on data that cover it."
        )


def _days_outside(day: FloatArray, start: float, end: float) -> FloatArray:
    """Days between a day of the year and the nearest one of a period."""
    after = (day - start) % DAYS
    outside = np.minimum(after - (end - start), DAYS - after)
    return np.where(after <= end - start, 0.0, outside)


def periods_in_words(covered: Periods) -> str:
    """Say which days of the year periods are.

    Examples
    --------
    >>> periods_in_words(((0.0, 59.0), (335.25, 340.0)))
    '1 January to 1 March and 2 December to 7 December'
    """

    def day(number: float) -> str:
        when = date(2001, 1, 1) + timedelta(days=int(number % DAYS))
        return f"{when.day} {when:%B}"

    return " and ".join(f"{day(start)} to {day(end)}" for start, end in covered)

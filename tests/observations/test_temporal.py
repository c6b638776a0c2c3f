"""Values whose period straddles frames observe each by its share; periods that fit keep their one frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xslams.observations.temporal import match_times


def times(start: str, count: int) -> xr.DataArray:
    """Days as a coordinate."""
    return xr.DataArray(pd.date_range(start, periods=count), dims="time")


def bounds(time: xr.DataArray, offset_hours: float, length_hours: float = 24.0) -> xr.DataArray:
    """Periods that begin some hours after the stamps."""
    start = pd.DatetimeIndex(time.values) + pd.Timedelta(hours=offset_hours)
    return xr.DataArray(np.stack([start, start + pd.Timedelta(hours=length_hours)], axis=1), dims=("time", "nv"))


@pytest.mark.parametrize("offset", [-10.0, 6.0, 9.5, 30.0])
def test_local_day_observes_frames_by_share(offset: float) -> None:
    frames, days = times("2014-07-01", 6), times("2014-07-01", 6)
    match = match_times(days, frames, 24.0, bounds=bounds(days, offset))
    weights = match.weights.toarray()
    # The law: a field that is linear in time, as step means, is seen with the mean of the period.
    start = np.arange(6) * 24.0 + offset
    covered = (start >= 0) & (start + 24 <= 6 * 24)
    np.testing.assert_array_equal(match.matched, covered)
    expected = np.zeros((6, 6))
    for n in np.flatnonzero(covered):
        first, part = divmod(start[n], 24.0)
        expected[n, int(first)] += 1 - part / 24
        if part:
            expected[n, int(first) + 1] += part / 24
    np.testing.assert_allclose(weights, expected, atol=1e-12)


def test_period_of_its_frame_keeps_weight_one() -> None:
    frames = times("2014-07-01", 4)
    match = match_times(frames, frames, 24.0, bounds=bounds(frames, 0.0))
    np.testing.assert_array_equal(match.weights.toarray(), np.eye(4))


def test_period_beyond_the_frames_is_left_out() -> None:
    frames, days = times("2014-07-01", 3), times("2014-06-29", 7)
    match = match_times(days, frames, 24.0, bounds=bounds(days, 12.0))
    np.testing.assert_array_equal(match.matched, [False, False, True, True, False, False, False])


def test_short_frames_average_over_the_period() -> None:
    frames = xr.DataArray(pd.date_range("2014-07-01", periods=8, freq="6h"), dims="time")
    day = times("2014-07-01", 1)
    match = match_times(day, frames, 6.0, bounds=bounds(day, 6.0))
    np.testing.assert_allclose(match.weights.toarray(), [[0, 0.25, 0.25, 0.25, 0.25, 0, 0, 0]])


@pytest.mark.parametrize("first", ["2014-06-30", "2014-07-01", "2014-07-02"])
@pytest.mark.parametrize("bounded", [False, True])
def test_days_stamped_at_noon_are_seen_by_values_of_their_day(first: str, bounded: bool) -> None:
    frames, days = times("2014-07-01T12", 4), times(first, 6)
    match = match_times(days, frames, 24.0, bounds=bounds(days, 0.0) if bounded else None)
    expected = np.equal.outer(days.dt.floor("D").values, frames.dt.floor("D").values)
    np.testing.assert_array_equal(match.weights.toarray(), expected)
    # Bounds decide; without them what was assumed is said.
    assert bool(match.assumed) != bounded


def test_reports_of_a_day_are_seen_by_its_noon_stamp() -> None:
    hourly = xr.DataArray(pd.date_range("2014-07-01", periods=48, freq="h"), dims="time")
    match = match_times(hourly, times("2014-07-01T12", 2), 24.0)
    np.testing.assert_array_equal(match.first, np.repeat([0, 1], 24))


@pytest.mark.parametrize("seconds", [-20, 0, 20])
@pytest.mark.parametrize("hour", [0, 6, 12])
def test_rounding_of_times_moves_and_drops_nothing(seconds: int, hour: int) -> None:
    frames = times("2014-07-01", 8)
    rounded = frames.astype("M8[s]") + np.timedelta64(3600 * hour, "s")
    rounded = rounded + np.where(np.arange(8) % 2, seconds, 0).astype("m8[s]")
    np.testing.assert_array_equal(match_times(rounded, frames, 24.0).weights.toarray(), np.eye(8))

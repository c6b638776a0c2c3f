"""Time grids: monotonic, uniform in what they say, inverse to the schedule."""

from __future__ import annotations

import pytest
import torch
from azula.noise import CosineSchedule, DecaySchedule, RectifiedSchedule, Schedule, VPSchedule

from tests.problems.posteriors import SCHEDULE
from xslams.errors import OptionError
from xslams.inference.noise_levels import GRIDS, time_at, time_grid

SCHEDULES = [SCHEDULE, CosineSchedule(), VPSchedule(), RectifiedSchedule(), DecaySchedule()]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("grid", GRIDS)
def test_grids_fall_from_one_to_zero(schedule: Schedule, grid: str) -> None:
    t = time_grid(schedule, 50, grid)
    assert t.shape == (51,)
    assert t[0] == 1
    assert t[-1] == 0
    assert (t.diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_grids_are_uniform_in_what_they_say(schedule: Schedule) -> None:
    maps = {"log-snr": torch.log, "cosine": torch.atan, "rho": lambda r: r ** (1 / 7)}
    for grid, function in maps.items():
        alpha, sigma = schedule(time_grid(schedule, 20, grid))
        steps = function(sigma / alpha).diff()
        torch.testing.assert_close(steps, steps.mean().expand_as(steps), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_times_invert_the_schedule(schedule: Schedule) -> None:
    t = torch.linspace(0.01, 0.99, 23, dtype=torch.float64)
    alpha, sigma = schedule(t)
    torch.testing.assert_close(time_at(schedule, sigma / alpha), t, atol=1e-9, rtol=0)


def test_cosine_grid_is_uniform_time_on_a_cosine_schedule() -> None:
    t = time_grid(CosineSchedule(1e-4, 1e-4), 16, "cosine")
    torch.testing.assert_close(t, torch.linspace(1, 0, 17, dtype=torch.float64), atol=1e-4, rtol=0)


def test_bad_grids_are_named() -> None:
    with pytest.raises(OptionError, match="grid 'magic'"):
        time_grid(SCHEDULE, 4, "magic")
    with pytest.raises(OptionError, match="at least one step"):
        time_grid(SCHEDULE, 0)

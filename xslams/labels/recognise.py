"""What is recognised in a Dataset, in the terms of CF."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xslams.geometry import Grid
from xslams.labels.calendar import check_order, hours, on_time_axis, time_step
from xslams.labels.coordinates import coordinate
from xslams.labels.grid import grid_of
from xslams.labels.periods import is_monthly
from xslams.labels.repeats import without_repeats

__all__ = ["Schema", "inspect"]


@dataclass(frozen=True)
class Schema:
    """What was recognised in a Dataset.

    Attributes
    ----------
    time, lat, lon, level
        Names of the coordinates, None where there is none.
    variables
        Names of the data variables that hold fields (at least one of time, lat and lon among their coordinates).
    grid
        The rectilinear grid, columns that are repeated counted once; None for points or curvilinear grids.
    time_step
        Hours between frames that follow each other; None where there is no regular step.
    monthly
        Whether frames are those of calendar months, of which steps differ.
    stretches
        Number of stretches of frames that follow each other, between which there are gaps.
    problems
        What keeps the Dataset from being a state, each as a sentence.
    """

    time: str | None
    lat: str | None
    lon: str | None
    level: str | None
    variables: tuple[str, ...]
    grid: Grid | None
    time_step: float | None
    monthly: bool
    stretches: int
    problems: tuple[str, ...]


def inspect(ds: xr.Dataset) -> Schema:
    """Say what is recognised in a Dataset; never raises.

    Parameters
    ----------
    ds
        Any Dataset.

    Returns
    -------
    Schema
        Names of the coordinates, the variables, the grid and step, and the problems.

    Examples
    --------
    >>> import xarray as xr
    >>> inspect(xr.Dataset()).problems[0]
    'no time coordinate'
    """
    names: dict[str, str | None] = dict.fromkeys(("time", "lat", "lon", "level"))
    problems: list[str] = []
    with suppress(Exception):  # a repr must not fail on odd attributes
        ds = on_time_axis(ds)
    for kind in names:
        try:
            names[kind] = coordinate(ds, kind)
        except Exception as e:  # a repr must not fail on odd attributes
            problems.append(f"{kind}: {e}")
        if names[kind] is None and kind != "level":
            problems.append(f"no {kind} coordinate")
    grid, step, monthly, stretches = None, None, False, 1
    if names["lat"] is not None and names["lon"] is not None:
        try:
            grid = grid_of(without_repeats(ds))
        except Exception as e:  # as above
            problems.append(str(e))
    if names["time"] is not None:
        try:
            step = time_step(ds[names["time"]])
            check_order(ds[names["time"]])
            if step is None and ds[names["time"]].size > 1:
                step, monthly, stretches = _with_gaps(ds[names["time"]])
                if step is None and not monthly:
                    problems.append("the time step is not constant")
        except Exception as e:  # as above
            problems.append(str(e))
    located = {names["lat"], names["lon"]} - {None} or {names["time"]}
    fields = tuple(str(n) for n, da in ds.data_vars.items() if _is_field(da) and located <= {str(c) for c in da.coords})
    problems += [f"{n!r} has no units" for n in fields if "units" not in ds[n].attrs]
    if not fields:
        problems.append("no variable with time, lat and lon")
    return Schema(
        **names, variables=fields, grid=grid, time_step=step, monthly=monthly, stretches=stretches,
        problems=tuple(problems),
    )  # fmt: skip


def _with_gaps(time: xr.DataArray) -> tuple[float | None, bool, int]:
    """Step of ordered times, whether it is one of months, and the number of stretches between gaps."""
    steps, months = np.diff(hours(time)), np.diff(time.dt.year.values * 12 + time.dt.month.values)
    if (months == 1).any() and is_monthly(time, steps, stated=False):
        return None, True, 1 + int((months > 1).sum())
    typical = float(np.median(steps))
    follow = np.abs(steps / typical - 1) < 1e-3
    # Of times that hardly ever follow each other there is no step.
    return (typical, False, 1 + int((~follow).sum())) if 2 * follow.sum() > follow.size else (None, False, 1)


def _is_field(da: xr.DataArray) -> bool:
    return da.dtype.kind in "fiu" and not any(str(d) in ("bnds", "nv", "bounds", "nbnds") for d in da.dims)

"""The period of a value comes from bounds or the calendar, never from a spacing that gaps make longer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams import Observation
from xslams.errors import SlamsWarning
from xslams.labels.periods import length_of_each
from xslams.observations.temporal import match_times, matched
from xslams.spec import Spec, VariableSpec

SPEC = Spec((VariableSpec("t", "K"),), lat=(-45.0, 0.0, 45.0), lon=(0.0, 90.0, 180.0, 270.0), periodic=True)


def axis(values: object, **attrs: str) -> xr.DataArray:
    """Times as a coordinate of their own."""
    return xr.DataArray(values, dims="time", coords={"time": values}, name="time").assign_attrs(attrs)


def months(calendar: str, place: str, kept: list[int]) -> xr.DataArray:
    """Stamps of some of 36 months from January 2001, at one place in each."""
    start = xr.date_range("2001-01-01", periods=36, freq="MS", calendar=calendar, use_cftime=True)
    days = [{"first": 1, "middle": 15, "last": t.daysinmonth}[place] for t in start]
    stamps = xr.CFTimeIndex([t.replace(day=d) for t, d in zip(start, days, strict=True)])
    return axis(stamps[np.array(kept)])


@settings(max_examples=25, deadline=None)
@given(
    calendar=st.sampled_from(["standard", "noleap", "360_day"]),
    place=st.sampled_from(["first", "middle", "last"]),
    kept=st.lists(st.integers(0, 35), min_size=2, max_size=12, unique=True),
)
def test_months_with_gaps_are_means_of_their_months(calendar: str, place: str, kept: list[int]) -> None:
    stamps = months(calendar, place, kept)
    frames = axis(pd.date_range("2001-01-01", "2003-12-31"))
    match = match_times(stamps, frames, 24.0, attrs={"cell_methods": "time: mean"})
    assert match.averages and match.matched.all() and not match.undated
    number = (frames.dt.year.values - 2001) * 12 + frames.dt.month.values - 1
    for row, month in enumerate(kept):
        seen = number[match.weights.indices[match.weights.indptr[row] : match.weights.indptr[row + 1]]]
        assert (seen == month).all() and seen.size == (number == month).sum()


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
@pytest.mark.parametrize("kept", [[0, 12, 24], [0, 2, 3, 7, 8], [1, 1 + 12]])
def test_amounts_of_months_with_gaps_have_the_length_of_their_month(calendar: str, kept: list[int]) -> None:
    stamps = months(calendar, "first", kept)
    days = [t.daysinmonth for t in stamps.values]
    np.testing.assert_allclose(length_of_each(stamps, {}, None), np.array(days) * 24.0)


@pytest.mark.parametrize("kept", [[0, 1, 2, 3, 6, 7], [0, 2, 3, 9], [0, 3, 6, 9]])
def test_gaps_do_not_lengthen_shorter_periods(kept: list[int]) -> None:
    pentads = axis(pd.date_range("2001-01-03", periods=10, freq="5D")[kept])
    lengths = length_of_each(pentads, {}, None)
    assert lengths is not None and (lengths == np.diff(kept).min() * 120.0).all()


def test_selected_januaries_are_announced_where_nothing_tells() -> None:
    frames = axis(pd.date_range("2001-01-01", "2003-12-31"))
    sure = match_times(axis(pd.date_range("2001-01-01", periods=12, freq="MS")), frames, 24.0)
    guessed = match_times(months("standard", "first", [0, 12, 24]), frames, 24.0)
    assert sure.averages and not sure.assumed
    assert guessed.averages and "calendar months" in guessed.assumed
    # Values of an instant stay what they are.
    point = match_times(months("standard", "first", [0, 12, 24]), frames, 24.0, attrs={"cell_methods": "time: point"})
    assert not point.averages and point.matched.all()


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (None, "not among the data"),
        (np.arange(8.0).reshape(4, 2), "which is no time"),
        (np.full((4, 3), "2001-01-01", "M8[ns]"), "have shape"),
        (np.full((4, 2), "2011-01-01", "M8[ns]"), "do not hold 4 of 4 stamps"),
    ],
)
def test_bounds_that_cannot_be_used_are_announced(bounds: np.ndarray | None, said: str) -> None:
    frames = axis(pd.date_range("2001-01-01", periods=6))
    stamps = pd.date_range("2001-01-02", periods=4)
    place = {"lat": ("station", [1.0, 2.0]), "lon": ("station", [1.0, 2.0])}
    data = xr.DataArray(np.ones((4, 2)), dims=("time", "station"), coords={"time": stamps, **place}, name="t")
    ds = data.assign_attrs(units="K").to_dataset()
    ds.time.attrs["bounds"] = "time_bnds"
    if bounds is not None:
        ds["time_bnds"] = (("time", "nv"), bounds)
    with pytest.warns(SlamsWarning, match=f"{said}.*nearest frames"):
        assert Observation(ds, "t", error=1.0, method="nearest").to_arrays(SPEC, frames).values.size == 8
    assert said in matched(ds, ds["t"], "time", frames, 24.0, None, "s").assumed

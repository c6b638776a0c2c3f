"""Analysis and truth are compared where both are known, in the same units, at the same places and times, each once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams import scores
from xslams.errors import CoverageError, GridError, UnitError
from xslams.scores.alignment import nearest, positions
from xslams.scores.matching import match

LAT = xr.DataArray([-60.0, 0.0, 60.0], dims="lat", attrs={"units": "degrees_north"})
LON = xr.DataArray([0.0, 90.0, 180.0, 270.0], dims="lon", attrs={"units": "degrees_east"})
LEVEL = xr.DataArray([1000.0, 500.0, 0.1], dims="level", attrs={"units": "hPa"})
TIME = pd.date_range("2001-01-01", periods=4, freq="6h")


def fields(members: int = 3, **attrs: str) -> tuple[xr.DataArray, xr.DataArray]:
    rng = np.random.default_rng(0)
    coords = {"time": TIME, "level": LEVEL, "lat": LAT, "lon": LON}
    dims = ("member", "time", "level", "lat", "lon")
    both = xr.DataArray(rng.normal(size=(members + 1, 4, 3, 3, 4)), coords=coords, dims=dims, name="t", attrs=attrs)
    return both.isel(member=slice(members)), both.isel(member=-1, drop=True)


def test_units_convert_or_are_refused() -> None:
    analysis, truth = fields(units="K")
    result = scores.score(analysis, (truth - 273.15).assign_attrs(units="degC"))
    xr.testing.assert_allclose(result, scores.score(analysis, truth))
    assert result["rmse"].attrs["units"] == "K"
    with pytest.raises(UnitError, match="Cannot convert"):
        scores.rmse(analysis, truth.assign_attrs(units="m s-1"))


def months(field: xr.DataArray) -> xr.DataArray:
    return field.rename(time="month").assign_coords(month=[1, 2, 3, 4])


@pytest.mark.parametrize(
    ("rename", "cut"),
    [
        (lambda f: f, {"time": [0, 3]}),
        (lambda f: f, {"level": [2, 0]}),
        (months, {"month": [1, 2]}),
        (lambda f: f.rename(time="station").assign_coords(station=list("abcd")), {"station": [3, 1]}),
        (lambda f: f.convert_calendar("noleap"), {"time": [1, 2]}),
        (lambda f: f.assign_coords(time=f["time"] - f["time"][0]), {"time": [1, 2]}),
    ],
)
def test_what_has_no_truth_is_left_out_and_the_result_says_so(rename, cut) -> None:
    analysis, truth = map(rename, fields())
    part = truth.isel(cut)
    got = scores.rmse(analysis, part)
    ((dim, index),) = cut.items()
    xr.testing.assert_allclose(
        got, scores.rmse(analysis.isel({dim: sorted(index)}), part.sortby(dim, ascending=dim != "level"))
    )
    assert f"{dim}: {len(index)} of" in got.attrs["matched"]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.assign_coords(time=t["time"] + pd.Timedelta(seconds=40)),
        lambda t: t.assign_coords(lat=(LAT + 1e-4).assign_attrs(LAT.attrs)),
        lambda t: t.assign_coords(lon=(LON.astype("f4") - 360.001).assign_attrs(LON.attrs)),
        lambda t: t.assign_coords(level=(LEVEL * 100).assign_attrs(units="Pa")),
        lambda t: t.convert_calendar("standard", use_cftime=True),
        lambda t: xr.concat([t, t.isel(time=[1])], "time"),
        lambda t: xr.concat([t, t.isel(lon=[0]).assign_coords(lon=[360.0])], "lon"),
    ],
)  # fmt: skip
def test_rounding_conventions_and_repetition_change_nothing(change) -> None:
    analysis, truth = fields()
    expected = scores.crps(analysis, truth)
    np.testing.assert_allclose(scores.crps(analysis, change(truth)), expected, rtol=1e-5)
    mine, theirs = match(change(analysis), truth)
    assert mine.sizes["time"] == theirs.sizes["time"] == 4
    np.testing.assert_allclose(scores.crps(change(analysis), truth), expected, rtol=1e-5)


def test_labels_that_differ_by_more_are_others() -> None:
    analysis, truth = fields()
    with pytest.raises(CoverageError, match="no time in common"):
        scores.rmse(analysis, truth.assign_coords(time=TIME + pd.Timedelta(hours=2)))
    with pytest.raises(GridError, match="'level' differs"):
        scores.rmse(analysis, truth.assign_coords(level=[0.2, 0.3, 0.4]))
    with pytest.raises(GridError, match="'lon' differs"):
        scores.rmse(analysis.isel(lon=slice(3)), truth)
    with pytest.raises(GridError, match="no coordinate in both"):
        scores.rmse(analysis, truth.isel(level=slice(2)).drop_vars("level"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_positions_are_those_of_a_search(have: list[int], want: list[int]) -> None:
    # Of labels that are all the same nothing says how far others are.
    want, have = [*want, 40], [*have, 40]
    rng = np.random.default_rng(0)
    mine, theirs = np.array(want) + rng.uniform(-1e-6, 1e-6, len(want)), np.array(have, float)
    kept, index = positions(theirs, mine)
    assert [want[i] for i in kept] == [v for v in dict.fromkeys(want) if v in have] == [have[i] for i in index]
    np.testing.assert_array_equal(nearest(theirs % 50, mine + 100, 50.0) >= 0, np.isin(want, have))


@settings(max_examples=4, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), max_size=12))
def test_every_score_leaves_out_what_is_missing_in_a_member(holes: set[tuple[int, ...]]) -> None:
    analysis, truth = (f.isel(level=0, drop=True) for f in fields())
    broken, gappy = analysis.copy(deep=True), truth.copy(deep=True)
    for member, *place in holes:
        broken.values[(member, *place)] = np.nan
        # A value at such a place is out of any range.
        broken.values[((member + 1) % 3, *place)] = 1e6
        gappy.values[tuple(place)] = np.nan
    for function in (scores.rmse, scores.bias, scores.crps, scores.spread, scores.rank_histogram, scores.wasserstein):
        np.testing.assert_allclose(function(broken, truth), function(analysis, gappy))


def test_weights_count_each_place_once_and_points_alike() -> None:
    twice = xr.DataArray([0.0, 90.0, 180.0, 270.0, 360.0, 450.0], dims="lon", attrs=LON.attrs)
    error = xr.DataArray(np.arange(18.0).reshape(3, 6) ** 2, dims=("lat", "lon"), coords={"lat": LAT, "lon": twice})
    once = error.isel(lon=slice(4))
    np.testing.assert_allclose(scores.bias(error, 0 * error), scores.bias(once, 0 * once))
    np.testing.assert_allclose(scores.wasserstein(error, 0 * error), scores.wasserstein(once, 0 * once), rtol=0.05)

    lat, lon = xr.broadcast(LAT, twice)
    bent = error.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    bent = bent.assign_coords(lat=(("y", "x"), lat.values, LAT.attrs), lon=(("y", "x"), lon.values, LON.attrs))
    np.testing.assert_allclose(scores.bias(bent, 0 * bent), scores.bias(once, 0 * once))
    # Places that are rounded differently keep their weights, and NaN places have none.
    moved = bent.assign_coords(lat=bent["lat"] + 1e-6)
    np.testing.assert_allclose(scores.bias(bent, 0 * moved), scores.bias(once, 0 * once), rtol=1e-6)
    gone = bent.assign_coords(lat=bent["lat"].where(bent["lat"] < 10), lon=bent["lon"].where(bent["lat"] < 10))
    np.testing.assert_allclose(scores.bias(gone, 0 * gone), scores.bias(once[:2], 0 * once[:2]))
    with pytest.raises(GridError, match="differ by up to 1 degrees"):
        scores.bias(bent, (0 * bent).assign_coords(lat=bent["lat"] + 1))

    sites = {"lat": ("p", [0.0, 80.0, np.nan], LAT.attrs), "lon": ("p", [0.0, 0.0, 0.0], LON.attrs)}
    points = xr.DataArray([1.0, 3.0, 100.0], dims="p", coords=sites)
    assert float(scores.bias(points, 0 * points)) == 2.0


def mirrored(
    pairs: int, single: int = 0, count: int = 20_000, centre: float = 3.0
) -> tuple[xr.DataArray, xr.DataArray]:
    """Members and truth of a normal distribution with standard deviation 2, whose mean the pairs know."""
    rng = np.random.default_rng(1)
    half = rng.normal(0, 2, (pairs, count))
    values = np.concatenate([np.stack([half, -half], 1).reshape(-1, count), rng.normal(0, 2, (single, count))]) + centre
    member = xr.DataArray([*range(2 * pairs), *range(2 * pairs, 2 * (pairs + single), 2)], dims="member")
    analysis = xr.DataArray(values, dims=("member", "time"), coords={"member": member}, name="t")
    analysis["member"].attrs["antithetic"] = "yes"
    return analysis, xr.DataArray(rng.normal(centre, 2, count), dims="time", name="t")


@pytest.mark.parametrize(("pairs", "single"), [(1, 0), (2, 0), (1, 1), (2, 1), (0, 3)])
def test_every_score_knows_antithetic_pairs(pairs: int, single: int) -> None:
    analysis, truth = mirrored(pairs, single)
    order = np.random.default_rng(2).permutation(analysis.sizes["member"])
    for ensemble in (analysis, analysis.isel(member=order)):
        result = scores.score(ensemble, truth)
        assert float(result["crps"]) == pytest.approx(2 / np.sqrt(np.pi), rel=0.02)
        assert float(result["spread"]) == pytest.approx(2.0, rel=0.02)
        assert float(result["spread_skill"]) == pytest.approx(1.0, rel=0.02)
        assert result.sizes["rank"] == pairs + single + 1
        np.testing.assert_allclose(result["rank_histogram"], 1 / (pairs + single + 1), atol=0.012)

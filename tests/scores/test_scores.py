"""Scores obey their definitions, on arrays, with gaps, and chunked."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from scoringrules import crps_ensemble

from xslams import scores
from xslams.errors import ChunkError, CoverageError, DimensionError, GridError, VariableError

LAT = xr.DataArray([-75.0, -30.0, 10.0, 60.0], dims="lat", attrs={"units": "degrees_north"})
LON = xr.DataArray(np.arange(6) * 60.0, dims="lon", attrs={"units": "degrees_east"})
TIME = xr.DataArray(np.datetime64("2001-01-01", "ns") + np.arange(5) * np.timedelta64(1, "D"), dims="time")


def fields(members: int = 7, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    """An ensemble and a truth that are exchangeable, on two levels."""
    rng = np.random.default_rng(seed)
    dims = ("member", "time", "level", "lat", "lon")
    coords = {"time": TIME, "level": [850.0, 500.0], "lat": LAT, "lon": LON}
    values = rng.normal(280, 3, size=(members + 1, 5, 2, 4, 6))
    both = xr.DataArray(values, dims=dims, coords=coords, name="t", attrs={"units": "K"})
    return both.isel(member=slice(members)), both.isel(member=-1, drop=True)


def weighted(field: xr.DataArray) -> np.ndarray:
    """Mean over time, lat and lon, written out."""
    weights = np.cos(np.deg2rad(LAT.values))[:, None] * np.ones(6)
    return np.average(
        field.transpose("level", "time", "lat", "lon").mean("time").values.reshape(2, -1),
        weights=weights.ravel(),
        axis=1,
    )


def test_scores_are_what_their_definitions_say():
    analysis, truth = fields()
    result = scores.score(analysis, truth)
    mean = analysis.mean("member")
    np.testing.assert_allclose(result["rmse"], weighted((mean - truth) ** 2) ** 0.5)
    np.testing.assert_allclose(result["bias"], weighted(mean - truth))
    np.testing.assert_allclose(result["spread"], weighted(analysis.var("member", ddof=1)) ** 0.5)
    np.testing.assert_allclose(result["spread_skill"], (8 / 7) ** 0.5 * result["spread"] / result["rmse"])
    pairs = abs(analysis - analysis.rename(member="other")).sum(["member", "other"]) / (2 * 7 * 6)
    np.testing.assert_allclose(result["crps"], weighted(abs(analysis - truth).mean("member") - pairs))
    assert result["rmse"].attrs["units"] == "K"
    assert result["spread_skill"].attrs["units"] == "1"


def test_crps_is_the_fair_estimator():
    analysis, truth = fields()
    ours = scores.crps(analysis, truth, dims=[])
    theirs = crps_ensemble(truth.values, np.moveaxis(analysis.values, 0, -1), estimator="fair", backend="numpy")
    np.testing.assert_allclose(ours, theirs)


def test_rank_histogram_is_flat_for_exchangeable_members_and_sums_to_one():
    rng = np.random.default_rng(1)
    lat = xr.DataArray(np.linspace(-60, 60, 40), dims="lat", attrs={"units": "degrees_north"})
    both = xr.DataArray(rng.normal(size=(5, 50, 40, 30)), dims=("member", "time", "lat", "lon"), coords={"lat": lat})
    histogram = scores.rank_histogram(both.isel(member=slice(4)), both.isel(member=4))
    np.testing.assert_allclose(histogram.sum(), 1)
    np.testing.assert_allclose(histogram, 0.2, atol=0.01)


def test_ties_share_their_weight_evenly():
    analysis, truth = fields(members=3)
    histogram = scores.rank_histogram(analysis * 0, truth * 0)
    np.testing.assert_allclose(histogram, 0.25)


def test_perfect_and_shifted_analyses():
    _, truth = fields()
    copies = truth.expand_dims(member=3)
    perfect = scores.score(copies, truth)
    for name in ("rmse", "bias", "crps", "spread", "wasserstein"):
        np.testing.assert_allclose(perfect[name], 0, atol=1e-12)
    shifted = scores.score(copies + 2.0, truth)
    np.testing.assert_allclose(shifted["bias"], 2)
    np.testing.assert_allclose(shifted["wasserstein"], 2, rtol=0.02)
    elsewhere = truth.copy(data=truth.values[..., ::-1])
    np.testing.assert_allclose(scores.wasserstein(elsewhere, truth), 0, atol=1e-12)


def test_without_members_crps_is_the_mean_absolute_error():
    analysis, truth = fields()
    one = analysis.isel(member=0, drop=True)
    result = scores.score(one, truth)
    np.testing.assert_allclose(result["crps"], weighted(abs(one - truth)))
    assert "spread" not in result
    xr.testing.assert_allclose(result, scores.score(analysis.isel(member=[0]), truth))


def test_missing_truth_is_left_out_of_every_score():
    analysis, truth = fields()
    kept = dict(lat=slice(1, None), lon=slice(0, 4))
    gappy = truth.where((truth["lat"] > -70) & (truth["lon"] < 200))
    xr.testing.assert_allclose(scores.score(analysis, gappy), scores.score(analysis.isel(kept), truth.isel(kept)))


def test_missing_member_is_not_averaged_away():
    analysis, truth = fields()
    broken = analysis.where((analysis["lat"] > -70) | xr.DataArray(np.arange(7) != 3, dims="member"))
    kept = dict(lat=slice(1, None))
    result, expected = scores.score(broken, truth), scores.score(analysis.isel(kept), truth.isel(kept))
    for name in ("rmse", "crps", "rank_histogram"):
        xr.testing.assert_allclose(result[name], expected[name])


@pytest.mark.parametrize(("time", "level", "chunk_truth"), [(1, 1, True), (2, 2, False), (5, 1, True)])
def test_lazy_scores_equal_eager_ones(time, level, chunk_truth):
    analysis, truth = fields()
    expected = scores.score(analysis, truth)

    def refuse(*args, **kwargs):
        raise AssertionError("computed while the graph was built")

    with dask.config.set(scheduler=refuse):
        lazy = scores.score(
            analysis.chunk(time=time, level=level), truth.chunk(time=time, level=level) if chunk_truth else truth
        )
    assert all(v.chunks is not None for v in lazy.data_vars.values())
    xr.testing.assert_allclose(lazy.compute(scheduler="sync"), expected)


def test_chunked_members_are_refused_with_the_remedy():
    analysis, truth = fields()
    with pytest.raises(ChunkError, match=r"chunk\(\{'member': -1\}\)"):
        scores.crps(analysis.chunk(member=2), truth)


def test_times_are_matched_and_order_of_latitudes_does_not_matter():
    analysis, truth = fields()
    expected = scores.score(analysis.isel(time=slice(1, 4)), truth.isel(time=slice(1, 4)))
    turned = truth.isel(time=slice(1, 4), lat=slice(None, None, -1))
    turned = turned.assign_coords(lon=LON.copy(data=(LON.values + 180) % 360 - 180))
    xr.testing.assert_allclose(scores.score(analysis, turned), expected)


def test_several_variables_have_their_names_in_front():
    analysis, truth = fields()
    two = xr.Dataset({"t": analysis, "u": 2 * analysis.isel(level=0, drop=True)})
    true = xr.Dataset({"t": truth, "u": 2 * truth.isel(level=0, drop=True), "z": truth})
    result = scores.score(two, true)
    xr.testing.assert_allclose(result["t_crps"], scores.crps(analysis, truth).rename("t_crps"))
    assert "level" not in result["u_rmse"].dims


def test_bad_input_is_named():
    analysis, truth = fields()
    with pytest.raises(VariableError, match=r"\['t'\], the truth \['q'\]"):
        scores.score(analysis.to_dataset(), truth.to_dataset(name="q"))
    with pytest.raises(GridError, match=r"'lat' differs: the analysis has 4 values .*slams\.regrid"):
        scores.score(analysis, truth.assign_coords(lat=LAT + 1))
    with pytest.raises(GridError, match="'lon' differs"):
        scores.score(analysis, truth.isel(lon=slice(3)))
    with pytest.raises(CoverageError, match="no time in common"):
        scores.score(analysis, truth.assign_coords(time=TIME + np.timedelta64(99, "D")))
    with pytest.raises(DimensionError, match="must have the same ones"):
        scores.score(analysis, truth.isel(level=0))


def test_scores_of_mirrored_members_estimate_those_of_independent_ones() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(4, 40_000))
    truth = xr.DataArray(rng.normal(size=40_000), dims="time", name="t")
    mirrored = xr.DataArray(np.stack([half, -half], axis=1).reshape(8, -1), dims=("member", "time"), name="t")
    mirrored = mirrored.assign_coords(member=np.arange(8))
    plain = scores.crps(mirrored, truth)
    mirrored["member"].attrs["antithetic"] = "yes"
    # A normal distribution: 1 / sqrt(pi) is its CRPS, 1 its spread and its error.
    assert float(scores.crps(mirrored, truth)) == pytest.approx(1 / np.sqrt(np.pi), rel=0.01)
    assert float(plain) < 0.97 / np.sqrt(np.pi)
    assert float(scores.spread(mirrored, truth)) == pytest.approx(1.0, rel=0.01)
    assert float(scores.spread_skill(mirrored, truth)) == pytest.approx(1.0, rel=0.02)
    # Pairs that are torn apart are independent again.
    lone = mirrored.isel(member=slice(None, None, 2))
    assert float(scores.spread_skill(lone, truth)) == pytest.approx(1.0, rel=0.02)
    assert float(scores.crps(lone, truth)) == pytest.approx(1 / np.sqrt(np.pi), rel=0.01)

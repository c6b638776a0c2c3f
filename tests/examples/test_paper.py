"""The experiments of the paper run, and their parts do what they say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

import xslams
from examples.paper import __main__ as command
from examples.paper import figures
from examples.paper.atmosphere import Atmosphere, era5, speedy
from examples.paper.configurations import EXPERIMENTS, FULL, QUICK, Size
from examples.paper.degraded import Degraded
from examples.paper.optimal_interpolation import OptimalInterpolation
from examples.paper.scoring import along, comparisons, difference, interval, paired, score, summary

LEVELS = [0.9, 0.5]


@pytest.fixture(scope="module")
def atmosphere() -> Atmosphere:
    """Waves around the globe that both levels and precipitation share."""
    rng = np.random.default_rng(0)
    time = np.datetime64("2001-01-01", "ns") + np.arange(800) * np.timedelta64(1, "D")
    lat, lon = np.linspace(-78.75, 78.75, 8), np.arange(0.0, 360.0, 22.5)
    amplitude = rng.standard_normal((800, 4))
    wave = np.stack([np.sin(np.deg2rad(k * lon)) for k in (1, 2)] + [np.cos(np.deg2rad(k * lon)) for k in (1, 2)])
    anomaly = (amplitude @ wave)[:, None, :] * np.cos(np.deg2rad(lat))[:, None]
    t = 280 + np.stack([2 * anomaly, anomaly], axis=1) + 0.1 * rng.standard_normal((800, 2, 8, 16))
    rain = np.maximum(anomaly, 0) + 0.1
    axes = {"time": time, "sigma": LEVELS, "lat": lat, "lon": lon}
    ds = xr.Dataset(
        {
            "t": (("time", "sigma", "lat", "lon"), t.astype(np.float32), {"units": "K"}),
            "pr": (("time", "lat", "lon"), rain.astype(np.float32), {"units": "mm day-1"}),
            "olr": (("time", "lat", "lon"), (240 - 10 * anomaly).astype(np.float32), {"units": "W m-2"}),
        },
        axes,
    )
    ds["lat"].attrs["units"], ds["lon"].attrs["units"] = "degrees_north", "degrees_east"
    ds["sigma"].attrs = {"units": "1", "axis": "Z"}
    testing = ds.isel(time=slice(740, None))
    gauges = xslams.simulate_observations(testing["pr"], mask=0.5, error=1.0, seed=1)
    satellite = xslams.simulate_observations(testing["olr"], coarsen={"lat": 2, "lon": 2}, error=5.0, seed=2)
    return Atmosphere(ds.isel(time=slice(740)), testing, {"pr": gauges, "olr": satellite}, "sigma")


def test_a_degraded_background_is_what_it_is_said_to_be(atmosphere: Atmosphere) -> None:
    spread = atmosphere.spread
    assert float(spread[0] / spread[1]) == pytest.approx(2, rel=0.05)
    t = atmosphere.testing["t"]
    exact = Degraded(coarsen=2, noise=0.0).observe(t, spread).data
    noisy = Degraded(coarsen=2, noise=0.5).observe(t, spread).data
    np.testing.assert_allclose((noisy - exact).std(["time", "lat", "lon"]), 0.5 * spread, rtol=0.05)
    sparse = Degraded(every=4, noise=0.0).observe(t, spread).data
    np.testing.assert_allclose(sparse, t[..., ::4, ::4])


@given(cells=st.integers(1, 4), boxes=st.integers(1, 6), every=st.integers(1, 6))
def test_boxes_are_as_wide_on_larger_cells(cells: int, boxes: int, every: int) -> None:
    fine = Degraded(coarsen=boxes * cells, noise=0.3, every=every * cells)
    assert fine.on(cells) == Degraded(coarsen=boxes, noise=0.3, every=every)
    assert Degraded(noise=0.3).on(cells) == Degraded(noise=0.3)
    if cells > 1:
        with pytest.raises(ValueError, match="times as large"):
            Degraded(coarsen=boxes * cells + 1).on(cells)


@pytest.mark.parametrize("size", [FULL, dataclasses.replace(FULL, coarsen=4), QUICK])
def test_every_background_can_be_had_on_the_cells_of_the_tables(size: Size) -> None:
    for experiment in EXPERIMENTS.values():
        found = [degraded.on(size.coarsen) for degraded in experiment.backgrounds.values()]
        assert len(set(found)) == len(found)
        # None of the 48 latitudes of the simulation is left over.
        assert all(48 // size.coarsen % degraded.coarsen == 0 for degraded in found)


def ablation() -> pd.DataFrame:
    """Errors of two models and of three sets of sources that are known, with cases that differ far more."""
    rng = np.random.default_rng(3)
    hard = rng.uniform(1, 2, 12)
    rows = [
        {"method": method, "sources": names, "coarse": n, "case": case, "level": level,
         "crps": hard[case] + 0.1 * n + less + worse, "mse": 1.0, "variance": 1.0}
        for n in (2, 4)
        for method, worse in (("pixel", 0.0), ("latent", -0.01 * n))
        for names, less in (("background", 0.0), ("background, pr", -0.2), ("background, pr, olr", -0.3))
        for case in range(12)
        for level in LEVELS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_ablations_are_compared_case_by_case() -> None:
    frame = ablation()
    found = along(frame, "coarse")
    assert list(found.columns) == [2, 4]
    assert found.loc["latent less pixel, background, pr", 4] == "-0.040 (-0.040 to -0.040)"
    assert found.loc["pr added, latent", 2] == "-0.200 (-0.200 to -0.200)"
    assert found.loc["olr added, pixel", 2] == "-0.100 (-0.100 to -0.100)"
    one, other = comparisons(frame)["olr added, pixel"]
    assert difference(frame, one, other).shape == (12,)
    mse = along(frame, "coarse", "mse")
    assert set(mse.to_numpy().ravel()) == {"+0.000 (+0.000 to +0.000)"}


@pytest.mark.parametrize("log", [False, True])
def test_curves_have_a_tick_at_each_value_and_every_comparison(log: bool) -> None:
    frame = ablation()
    drawn = figures.curves(frame, "coarse", "cells", log=log)
    apart = figures.differences(frame, "coarse", "cells", log=log)
    for ax in (*drawn.axes, *apart.axes):
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["2", "4"]
    assert len(drawn.axes[0].lines) == 6
    assert [len(ax.containers) for ax in apart.axes] == [3, 4]
    plt.close("all")


def test_optimal_interpolation_is_tuned_on_training_days_and_beats_the_climatology(atmosphere: Atmosphere) -> None:
    degraded = Degraded(coarsen=4, noise=0.5)
    background = degraded.observe(atmosphere.testing["t"], atmosphere.spread)
    oi = OptimalInterpolation(atmosphere, degraded, ("pr", "olr"))
    observed = {"background": background.data, **{n: o.data for n, o in atmosphere.networks.items()}}
    analysis = oi.analyse(observed, atmosphere.testing)
    scores = oi.score(analysis, atmosphere.testing)
    assert list(scores.index) == LEVELS
    assert (scores["mse"] < 0.5 * atmosphere.spread.values**2).all()
    assert 0.8 < np.sqrt(scores["variance"].mean() / scores["mse"].mean()) < 1.25


def test_scores_of_a_gaussian_are_those_of_its_members(atmosphere: Atmosphere) -> None:
    truth = atmosphere.testing.isel(time=slice(20))
    shape = truth["t"].shape
    rng = np.random.default_rng(0)
    mean = truth["t"].values + rng.standard_normal(shape).astype(np.float32)
    members = mean + rng.standard_normal((24, *shape)).astype(np.float32)
    ensemble = truth[["t"]].assign(t=(("member", *truth["t"].dims), members, truth["t"].attrs))
    degraded = Degraded(coarsen=4)
    gaussian = OptimalInterpolation(atmosphere, degraded, tuned=False).score((mean, np.ones_like(mean)), truth)
    found = score(ensemble, truth, "sigma")
    for name in ("crps", "variance", "mse"):
        np.testing.assert_allclose(found[name], gaussian[name], rtol=0.06)
    np.testing.assert_allclose(found["wasserstein"], gaussian["wasserstein"], rtol=0.2)


def test_the_simulation_is_cut_where_it_is_said_to_be(shared_data: Path) -> None:
    found = speedy(shared_data, coarsen=4, days=20, judged=10)
    assert found.training.sizes == {"time": 20, "sigma": 8, "lat": 12, "lon": 24}
    assert found.testing["time"].values[0] - found.training["time"].values[-1] == np.timedelta64(1, "D")
    assert found.testing.sizes["time"] == found.networks["olr"].data.sizes["time"] == 10
    assert found.training["t"].attrs["units"] == "K"
    assert found.cases(2, 4) == [slice(0, 4), slice(6, 10)]
    assert sorted(found.in_turn(4, 2)) == list(enumerate(found.cases(4, 2)))
    assert [number for number, _ in found.in_turn(4, 2)] != [0, 1, 2, 3]


def test_intervals_are_those_of_cases() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(1.0, 0.2, 100)
    low, high = interval(values)
    assert high - low == pytest.approx(2 * 1.96 * 0.02, rel=0.2)
    assert interval(values**2, root=True)[1] < 1.2
    constant = {"mse": 1.0, "variance": 1.0, "wasserstein": 0.1, "seconds": 2.0}
    frame = pd.concat(
        [
            pd.DataFrame({"method": name, "case": np.arange(100), "crps": values + more, **constant})
            for name, more in (("a", 0.0), ("b", 0.5))
        ],
        ignore_index=True,
    )
    assert paired(frame, {"method": "a"}, {"method": "b"}) == "-0.500 (-0.500 to -0.500)"
    found = summary(frame, ["method"])
    assert found.loc["b", "CRPS"] == pytest.approx(values.mean() + 0.5)
    assert found.loc["b", "s/member"] == 2.0


def test_maps_and_histograms_show_every_field_with_its_unit(atmosphere: Atmosphere) -> None:
    t = atmosphere.testing["t"].isel(time=slice(2))
    background = Degraded(coarsen=2).observe(t, atmosphere.spread).data
    members = xr.concat([t + 1, t - 1], "member")
    figure = figures.panel({"background": background[0], "analysis": members.mean("member")[0]}, t[0], LEVELS)
    maps = [ax for ax in figure.axes if ax.get_xlim() == (0, 360)]
    assert len(maps) == 4 * len(LEVELS)
    assert [ax.get_ylabel() for ax in maps if ax.get_ylabel()] == [
        "truth", "background", "analysis", "analysis\nless truth",
    ]  # fmt: skip
    assert sum(ax.get_xlabel() == "K" for ax in figure.axes) == 2 * len(LEVELS)
    assert all(any(c.get_label() == "coast" for c in ax.collections) for ax in maps)
    drawn = figures.histograms({"background": background, "analysis": members}, t, LEVELS)
    labels = drawn.axes[0].get_legend_handles_labels()[1]
    assert labels[0] == "truth"
    assert [text.split(":")[0] for text in labels[1:]] == ["background", "analysis"]
    plt.close("all")


def test_era5_is_that_of_the_public_data_sets(monkeypatch: pytest.MonkeyPatch, atmosphere: Atmosphere) -> None:
    whole = xr.concat([atmosphere.training, atmosphere.testing], "time").rename(sigma="level")
    fine = whole.interp(lat=np.linspace(-75, 75, 11), lon=np.arange(5.0, 355.0, 10.0))
    parts = {
        "era5_chaosbench": whole[["t"]], "cpc": fine[["pr"]].rename(pr="precip"), "noaa_olr": fine[["olr"]],
    }  # fmt: skip
    for name, data in parts.items():
        for coordinate in ("lat", "lon"):
            data[coordinate].attrs = whole[coordinate].attrs
        monkeypatch.setitem(xslams.datasets.SOURCES._parts, name, lambda years, data=data, **_: data)
    found = era5(range(2001, 2002), range(2002, 2003))
    assert set(found.training["time"].dt.year.values) == {2001}
    assert set(found.testing["time"].dt.year.values) == {2002}
    assert set(found.training.data_vars) == {"t", "pr", "olr"}
    assert found.networks["pr"].data.sizes["lat"] == 11
    assert found.level == "level"


@pytest.mark.parametrize("name", ["cases", "published"])
def test_a_quick_run_prints_and_writes_its_table(
    name: str,
    atmosphere: Atmosphere,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "open_atmosphere", lambda *_: atmosphere)
    command.main([name, "--quick", "--cases", "1", "--out", str(tmp_path)])
    text = capsys.readouterr().out
    experiment = EXPERIMENTS[name]
    assert experiment.title in text
    frame = figures.read(tmp_path / f"{name}.csv")
    assert (tmp_path / f"{name}.csv").read_text().startswith(f"# python -m examples.paper {name} --quick --cases 1\n")
    figure = figures.by_level(frame) if name == "cases" else figures.curves(frame, "coarse", "cells in a box")
    assert figure.axes[0].lines
    plt.close("all")
    mean = frame.groupby(["method", "sources"])["mse"].mean()
    if name == "cases":
        assert mean["pixel", "background"] < mean["climatology", "none"]
    else:
        # Whatever becomes of the background, an analysis that was shown the truth is the same.
        shown = frame[frame["sources"] == "the truth, encoded"].groupby("coarse")["mse"].mean()
        assert shown.max() == pytest.approx(shown.min())

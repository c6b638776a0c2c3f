"""Maps: which panels there are, what their scales have in common, and what their labels say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib import pyplot as plt

import xslams
from xslams import plot
from xslams.errors import DimensionError, VariableError


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fields():
    """Truth, three sources and an ensemble around the truth."""
    rng = np.random.default_rng(0)
    coords = {
        "time": pd.date_range("2001-01-01", periods=4),
        "level": ("level", [850.0, 500.0], {"units": "hPa", "axis": "Z"}),
        "lat": ("lat", np.linspace(-70, 70, 8), {"units": "degrees_north"}),
        "lon": ("lon", np.arange(16) * 22.5, {"units": "degrees_east"}),
    }
    attrs = {"units": "K", "standard_name": "air_temperature", "long_name": "temperature over terrain"}
    rain = {"units": "mm day-1", "standard_name": "lwe_precipitation_rate"}
    truth = xr.Dataset(
        {
            "t": (("time", "level", "lat", "lon"), rng.normal(280, 5, (4, 2, 8, 16)), attrs),
            "pr": (("time", "lat", "lon"), rng.gamma(1, 2, (4, 8, 16)), rain),
        },
        coords,
    )
    analysis = xr.concat([truth[["t"]] + rng.normal(0, 1, truth["t"].shape) for _ in range(5)], "member")
    analysis["t"].attrs = attrs
    obs = [
        xslams.simulate_observations(truth["pr"], coarsen=2, error=0.1),
        xslams.simulate_observations(truth["t"], stations=20, error=1.0).replace(name="stations"),
    ]
    return truth, analysis, obs


def titles(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_visible() and ax.get_title()]


def images(figure):
    return {ax.get_title().split(" (")[0]: ax.collections[0] for ax in figure.axes if ax.get_title()}


def test_all_panels(fields, tmp_path):
    truth, analysis, obs = fields
    figure = analysis.slams.plot(truth, obs, level=500.0)
    shown = titles(figure)
    assert shown[:2] == ["Truth", "Analysis, mean of 5 members"]
    assert shown[2].startswith("Error of the mean (RMSE 0.4")
    assert shown[3].startswith("Spread of the members (")
    assert shown[4:] == [
        "Observed by pr: pr (32 values)",
        "Observed by stations: t at level 500 hPa (20 values)",
    ]
    assert figure.get_suptitle() == "Temperature over terrain (t) at level 500 hPa, 2001-01-03"
    labels = {ax.get_xlabel() for ax in figure.axes}
    assert {"t [K]", "pr [mm day-1]"} <= labels
    figure.savefig(tmp_path / "panels.png")


def test_panels_that_are_compared_share_their_scales(fields):
    truth, analysis, obs = fields
    drawn = images(analysis.slams.plot(truth, obs))
    mean = "Analysis, mean of 5 members"
    assert drawn["Truth"].get_clim() == drawn[mean].get_clim()
    assert drawn["Observed by stations: t at level 850 hPa"].get_clim() == drawn["Truth"].get_clim()
    error, spread = drawn["Error of the mean"].get_clim(), drawn["Spread of the members"].get_clim()
    assert error == (-spread[1], spread[1])
    assert spread[0] == 0
    assert drawn["Truth"].get_cmap().name == "viridis"
    assert drawn["Observed by pr: pr"].get_cmap().name == "YlGnBu"


def test_time_and_level_select_the_nearest(fields):
    truth, analysis, _ = fields
    figure = analysis.slams.plot(truth, time="2001-01-01T08", level=510.0)
    field = truth["t"].isel(time=0, level=1)
    np.testing.assert_allclose(images(figure)["Truth"].get_array().ravel(), field.values.ravel())


def test_without_truth_observations_or_members(fields):
    _, analysis, _ = fields
    assert [t.split(" (")[0] for t in titles(analysis.slams.plot())] == [
        "Analysis, mean of 5 members",
        "Spread of the members",
    ]
    assert titles(analysis.isel(member=0).slams.plot(variable="t")) == ["Analysis"]
    assert titles(analysis["t"].isel(time=0, level=0, member=0).slams.plot()) == ["Analysis"]


def test_a_lazy_analysis_computes_what_is_drawn(fields):
    _, analysis, _ = fields
    figure = analysis.chunk(time=1).slams.plot(time="2001-01-02")
    assert "2001-01-02" in figure.get_suptitle()


def test_rank_histogram(fields):
    truth, analysis, _ = fields
    ax = plot.rank_histogram(analysis.slams.score(truth)["rank_histogram"])
    assert len(ax.patches) == 6
    assert sum(p.get_height() for p in ax.patches) == pytest.approx(1)


def test_bad_input_is_named(fields):
    truth, analysis, _ = fields
    with pytest.raises(VariableError, match=r"no variable 'q' to plot; it has \['t'\]"):
        analysis.slams.plot(variable="q")
    with pytest.raises(VariableError, match="The truth has no variable 't'"):
        analysis.slams.plot(truth[["pr"]])
    with pytest.raises(DimensionError, match="A map needs latitude and longitude"):
        analysis.expand_dims(experiment=2).slams.plot()
    with pytest.raises(DimensionError, match="has a dimension 'rank'"):
        plot.rank_histogram(truth["t"])


def reports(analysis, days):
    """One report after the other, a day of them flagged, on other days than the analysis, too."""
    times = pd.date_range(analysis["time"].values[0] - np.timedelta64(days, "D"), periods=4 * days + 8, freq="12h")
    n = times.size
    flag = {"standard_name": "quality_flag", "flag_values": [0, 2], "flag_meanings": "good bad"}
    data = xr.Dataset(
        {
            "tavg": ("obs", np.full(n, 7.0), {"units": "degC", "ancillary_variables": "flag"}),
            "flag": ("obs", np.where(times == analysis["time"].values[1], 2, 0), flag),
        },
        {
            "time": ("obs", times),
            "lat": ("obs", np.linspace(-9, 9, n)),
            "lon": ("obs", np.full(n, 8.0)),
            "level": 850.0,
        },
    )
    return xslams.Observation(data, {"tavg": "t"}, error=1.0, name="reports")


@pytest.mark.parametrize("bounds", [False, True])
def test_reports_are_drawn_on_the_map_of_their_frame_without_those_that_are_flagged(fields, bounds):
    _, analysis, _ = fields
    if bounds:  # the frame is the day that begins at the stamp, not that around it
        days = np.stack([analysis["time"].values, analysis["time"].values + np.timedelta64(1, "D")], axis=1)
        analysis = analysis.assign_coords(time_bnds=(("time", "bnds"), days))
        analysis["time"].attrs["bounds"] = "time_bnds"
    source = reports(analysis, 3)
    label = analysis["time"].values[1]
    late = source.replace(data=source.data.isel(obs=slice(-3, None)), name="late")
    drawn = titles(analysis.slams.plot.maps(obs=[source, late], time=label))
    assert [title.rpartition("(")[2] for title in drawn if "Observed" in title] == ["1 values)", "0 values)"]


def test_series_show_the_observations_of_their_period(fields):
    truth, analysis, _ = fields
    figure = analysis.slams.plot.series(truth, reports(analysis, 30), at=(0, 0), level=850.0)
    (seen,) = [line for line in figure.axes[0].lines if line.get_label() == "observations"]
    times = pd.DatetimeIndex(seen.get_xdata())
    assert times.min() >= pd.Timestamp("2000-12-31")
    assert times.max() <= pd.Timestamp("2001-01-05")
    assert (seen.get_ydata() == 280.15).all()

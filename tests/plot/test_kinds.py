"""Every kind of plot by its name: what it shows, its small multiples, and what it says of bad input."""

from __future__ import annotations

import inspect

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

import xslams
from xslams.errors import DimensionError, OptionError, SlamsError, VariableError
from xslams.plot import PLOTS, panels
from xslams.plot.coasts import coastlines, draw_coasts
from xslams.scores.spectra import zonal_spectrum

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fields():
    """Truth, background and ensemble of four members on a small globe."""
    rng = np.random.default_rng(0)
    coords = {
        "time": pd.date_range("2001-01-01", periods=3),
        "level": ("level", [850.0, 500.0], {"units": "hPa", "axis": "Z"}),
        "lat": ("lat", np.linspace(-60, 60, 4), {"units": "degrees_north"}),
        "lon": ("lon", np.arange(6) * 60.0, {"units": "degrees_east"}),
    }
    attrs = {"units": "K", "standard_name": "air_temperature", "long_name": "temperature"}
    truth = xr.Dataset({"t": (("time", "level", "lat", "lon"), rng.normal(280, 5, (3, 2, 4, 6)), attrs)}, coords)
    background = truth + rng.normal(0, 2, truth["t"].shape)
    analysis = xr.concat([truth + rng.normal(0, 1, truth["t"].shape) for _ in range(4)], "member")
    for ds in (background, analysis):
        ds["t"].attrs = attrs
    return truth, background, analysis


def drawn(figure):
    return [ax for ax in figure.axes if ax.get_visible() and ax.collections and ax.get_label() != "<colorbar>"]


def colours(ax):
    return np.asarray(ax.collections[0].get_array()).reshape(4, 6)


# ------------------------------------------------------------------------------------------------------------- kinds


def test_increment_is_analysis_less_background_around_zero(fields):
    _, background, analysis = fields
    figure = analysis.slams.plot.increment(background=background, time="2001-01-02", level=500.0)
    (ax,) = drawn(figure)
    expected = analysis["t"].mean("member") - background["t"]
    np.testing.assert_allclose(colours(ax), expected.sel(time="2001-01-02", level=500.0), rtol=1e-12)
    low, high = ax.collections[0].get_clim()
    assert low == -high
    assert "level 500 hPa" in ax.get_title()
    assert "t [K]" in {a.get_xlabel() for a in figure.axes}


@pytest.mark.parametrize("members", [False, True])
def test_a_background_may_have_members_and_another_order(fields, members):
    _, background, analysis = fields
    other = background.isel(lat=slice(None, None, -1), time=[2, 1, 0])
    other = xr.concat([other - 1.0, other + 1.0], "member") if members else other
    other["t"].attrs["units"] = "K"
    (ax,) = drawn(analysis.slams.plot.increment(background=other))
    expected = (analysis["t"].mean("member") - background["t"]).isel(time=1, level=0)
    np.testing.assert_allclose(colours(ax), expected, atol=1e-9)


def test_small_multiples_show_every_label_on_one_scale(fields):
    truth, _, analysis = fields
    figure = analysis.slams.plot.error(truth, row="time", col="level")
    axes = drawn(figure)
    assert [ax.get_title() for ax in axes][:3] == [
        "2001-01-01, level 850 hPa", "2001-01-01, level 500 hPa", "2001-01-02, level 850 hPa"
    ]  # fmt: skip
    assert len({ax.collections[0].get_clim() for ax in axes}) == 1
    expected = analysis["t"].mean("member") - truth["t"]
    np.testing.assert_allclose(colours(axes[3]), expected.isel(time=1, level=1), atol=1e-9)
    assert len(drawn(analysis.slams.plot.spread(col="time", col_wrap=2))) == 3
    assert len(drawn(analysis.slams.plot.members())) == 4
    assert len(drawn(analysis.slams.plot.members(row="level"))) == 8


def test_curves_have_small_multiples_too(fields):
    truth, background, analysis = fields
    for name in ("rank_histogram", "spread_skill", "spectra"):
        figure = getattr(analysis.slams.plot, name)(truth, background=background, col="level")
        assert [ax.get_title() for ax in figure.axes] == ["level 850 hPa", "level 500 hPa"]
    heights = [
        [p.get_height() for p in ax.patches] for ax in analysis.slams.plot.rank_histogram(truth, col="level").axes
    ]
    np.testing.assert_allclose(heights, analysis.slams.score(truth)["rank_histogram"].transpose("level", "rank"))


def test_panel_has_a_row_of_each_and_a_column_by_level(fields):
    truth, background, analysis = fields
    axes = drawn(analysis.slams.plot.panel(truth, background=background))
    assert len(axes) == 8
    assert [ax.get_ylabel() for ax in axes[::2]] == ["Truth", "Background", "Analysis\nmean", "Error"]
    assert axes[0].collections[0].get_clim() == axes[2].collections[0].get_clim() == axes[4].collections[0].get_clim()
    assert axes[6].collections[0].get_clim() == axes[7].collections[0].get_clim()
    assert len(drawn(analysis.slams.plot.panel(level=500.0))) == 1


def test_series_of_an_area_and_of_a_place(fields):
    truth, _, analysis = fields
    (ax,) = analysis.slams.plot.series(truth).axes
    line = next(x for x in ax.lines if x.get_label() == "truth")
    weights = np.cos(np.deg2rad(truth["lat"]))
    np.testing.assert_allclose(line.get_ydata(), truth["t"].isel(level=0).weighted(weights).mean(("lat", "lon")))
    station = xslams.Observation(truth["t"].isel(lat=[2], lon=[5]), error=1.0, name="station")
    (ax,) = analysis.slams.plot.series(truth, station, at=(25, -65), level=500.0).axes
    lines = {x.get_label(): x.get_ydata() for x in ax.lines}
    np.testing.assert_allclose(lines["truth"], truth["t"].isel(level=1, lat=2, lon=5))
    np.testing.assert_allclose(lines["observations"], truth["t"].isel(level=1, lat=2, lon=5))
    assert "near 25°N 65°W" in ax.get_title(loc="left")


def test_hovmoeller_of_a_globe_is_the_mean_over_latitude(fields):
    truth, _, analysis = fields
    figure = analysis.slams.plot.hovmoeller(truth)
    mean = truth["t"].isel(level=0).weighted(np.cos(np.deg2rad(truth["lat"]))).mean("lat")
    got = np.asarray(figure.axes[0].collections[0].get_array()).reshape(6, 3)
    np.testing.assert_allclose(got, mean.transpose("lon", "time"))
    assert figure.get_suptitle().endswith("mean over 60°S to 60°N")


def test_axes_and_size_that_are_given_are_taken(fields):
    truth, _, analysis = fields
    for name in ("mean", "spectra", "series"):
        figure, ax = plt.subplots()
        assert getattr(analysis.slams.plot, name)(truth, ax=ax) is figure
        assert ax.has_data()
    for name in ("maps", "hovmoeller"):
        figure = getattr(analysis.slams.plot, name)(truth, figsize=(3.0, 2.0))
        assert tuple(figure.get_size_inches()) == (3.0, 2.0)


def test_every_kind_is_found_by_its_name_and_by_tab(fields):
    plot = fields[2].slams.plot
    assert set(PLOTS.names) <= set(dir(plot))
    assert "background" in (plot.increment.__doc__ or "")
    with pytest.raises(AttributeError, match=r"There is no plot 'incrment'; there are .*increment"):
        plot.incrment()
    assert not hasattr(plot, "_repr_html_")
    # The arguments are said once, by `panels`; completion finds them everywhere.
    said = inspect.signature(panels).parameters
    assert inspect.signature(plot).parameters == {n: p for n, p in said.items() if n != "analysis"}
    assert inspect.signature(plot.spread).parameters == {n: p for n, p in said.items() if n not in {"analysis", "kind"}}
    assert "`xslams.plot.panels` but ``analysis``" in (plot.__call__.__doc__ or "")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p, t: p.increment(), VariableError, "background=background"),
        (lambda p, t: p.error(), VariableError, "needs the truth"),
        (lambda p, t: p.spread_skill(), VariableError, "needs the truth"),
        (lambda p, t: p.innovations(), VariableError, "report=True"),
        (lambda p, t: p.mean(col="depth"), DimensionError, "no dimension"),
        (lambda p, t: p.mean(row="time", col="time"), OptionError, "the same"),
        (lambda p, t: p.mean(row="time", col="level", col_wrap=2), OptionError, "col_wrap"),
        (lambda p, t: p.mean(col_wrap=0, col="time"), OptionError, "col_wrap"),
        (lambda p, t: p.maps(col="time"), OptionError, "panels of its own"),
        (lambda p, t: p.mean(col="time", ax=plt.gca()), OptionError, "one picture"),
        (lambda p, t: p.series(at=3.0), OptionError, "at="),
        (lambda p, t: p.mean(figsize="big"), OptionError, "figsize="),
        (lambda p, t: p.increment(background=3.0), OptionError, "background="),
    ],
)
def test_bad_input_is_named(fields, call, error, message):
    with pytest.raises(error, match=message):
        call(fields[2].slams.plot, fields[0])


def test_without_members_what_needs_them_says_so(fields):
    truth, _, analysis = fields
    for name in ("members", "spread", "rank_histogram", "spread_skill"):
        with pytest.raises(SlamsError, match="member"):
            getattr(analysis.isel(member=0).slams.plot, name)(truth)


# ------------------------------------------------------------------------------------------------------------ coasts


@given(middle=st.floats(-180, 360), width=st.floats(5, 360))
@settings(max_examples=10, deadline=None)
def test_coasts_lie_in_the_window_of_the_map_and_never_cross_it(middle, width):
    figure, ax = plt.subplots()
    low, high = middle - width / 2, middle + width / 2
    ax.set_xlim(low, high)
    ax.set_ylim(-90, 90)
    draw_coasts(ax, np.linspace(low, high, 9))
    assert ax.get_xlim() == (low, high)
    for line in ax.collections[0].get_segments():
        assert np.ptp(line[:, 0]) < 360
        assert np.abs(np.diff(line[:, 0])).max() < 30
        assert line[:, 0].max() >= low
        assert line[:, 0].min() <= high
    # Every map as wide as the world has land in it.
    assert width < 200 or len(ax.collections[0].get_segments()) > 50
    plt.close(figure)


def test_coasts_are_where_land_ends():
    points = np.concatenate(coastlines())
    for lon, lat in ((-9.5, 38.7), (18.4, -34.2), (-68.0, -55.0), (142.5, -10.7)):
        assert np.hypot(points[:, 0] - lon, points[:, 1] - lat).min() < 1.5
    # None in the middle of an ocean or a continent.
    for lon, lat in ((-30.0, 30.0), (90.0, 60.0), (-140.0, 10.0)):
        assert np.hypot(points[:, 0] - lon, points[:, 1] - lat).min() > 5.0


# ----------------------------------------------------------------------------------------------------------- spectra


@given(count=st.integers(3, 12), width=st.sampled_from([30.0, 90.0, 360.0]), seed=st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_a_spectrum_sums_up_to_the_variance_along_rows(count, width, seed):
    lon = 200.0 + np.arange(count) * width / count
    lat = np.array([-50.0, 10.0, 40.0])
    values = np.random.default_rng(seed).normal(size=(2, 3, count))
    coords = {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    field = xr.DataArray(values, coords, ("time", "lat", "lon"), name="t", attrs={"units": "K"})
    expected = field.var("lon").weighted(np.cos(np.deg2rad(field["lat"]))).mean("lat")
    power = zonal_spectrum(field)
    np.testing.assert_allclose(power.sum("wavenumber"), expected)
    assert power.attrs["units"] == "K2"
    np.testing.assert_allclose(zonal_spectrum(field.isel(lon=slice(None, None, -1))).sum("wavenumber"), expected)


def test_uneven_longitudes_have_no_spectrum():
    coords = {
        "lat": ("lat", [0.0], {"units": "degrees_north"}),
        "lon": ("lon", [0.0, 1.0, 5.0], {"units": "degrees_east"}),
    }
    with pytest.raises(DimensionError, match="evenly spaced"):
        zonal_spectrum(xr.DataArray(np.zeros((1, 3)), coords, ("lat", "lon")))

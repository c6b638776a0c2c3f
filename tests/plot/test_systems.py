"""Plots of small systems: series without space, Hovmoeller diagrams on a circle, maps of a plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import xslams
from xslams.errors import DimensionError, OptionError, VariableError
from xslams.plot import PLOTS
from xslams.systems import KolmogorovFlow, Lorenz63, Lorenz96

MEMBERS = 6


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def ensemble(truth: xr.Dataset) -> xr.Dataset:
    rng = np.random.default_rng(0)
    noisy = [truth + {n: rng.normal(0, 1, v.shape) for n, v in truth.data_vars.items()} for _ in range(MEMBERS)]
    analysis = xr.concat(noisy, "member")
    for name in truth.data_vars:
        analysis[name].attrs = truth[name].attrs
    return analysis


@pytest.fixture(scope="module")
def lorenz63() -> tuple[xr.Dataset, xr.Dataset, xslams.Observation]:
    truth = Lorenz63().simulate(40, spinup=0)
    return truth, ensemble(truth), xslams.Observation(truth["x"].isel(time=slice(None, None, 8)), error=1.0)


@pytest.fixture(scope="module")
def lorenz96() -> tuple[xr.Dataset, xr.Dataset, xslams.Observation]:
    truth = Lorenz96(sites=12).simulate(30, spinup=0)
    seen = truth["x"].isel(time=slice(None, None, 5), lon=slice(None, None, 2))
    return truth, ensemble(truth), xslams.Observation(seen, error=1.0)


def drawn(figure: Figure) -> list[Any]:
    return [ax for ax in figure.axes if ax.get_visible() and ax.get_title(loc="left")]


def dots(ax: Any) -> int:
    return sum(line.get_xdata().size for line in ax.lines if line.get_marker() == "o")


def test_series_have_a_panel_for_each_variable(lorenz63):
    truth, analysis, obs = lorenz63
    axes = drawn(analysis.slams.plot(truth, obs))
    assert [ax.get_ylabel() for ax in axes] == ["x", "y", "z"]
    assert axes[0].get_title(loc="left").startswith("Intensity of convective overturning (x): RMSE 0.")
    assert axes[-1].get_xlabel() == "time"
    for ax in axes:
        lines = [line for line in ax.lines if line.get_marker() != "o"]
        assert len(lines) == MEMBERS + 2  # truth and mean
        np.testing.assert_allclose(lines[-1].get_ydata(), analysis[ax.get_ylabel()].mean("member"))
    assert [dots(ax) for ax in axes] == [6, 0, 0]


def test_series_without_truth_observations_or_members(lorenz63):
    _, analysis, _ = lorenz63
    (ax,) = drawn(analysis.isel(member=0).slams.plot(variable="z"))
    assert len(ax.lines) == 1
    assert "RMSE" not in ax.get_title(loc="left")
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["analysis"]


def test_a_hovmoeller_diagram_stands_above_series_of_sites(lorenz96, tmp_path):
    truth, analysis, obs = lorenz96
    figure = analysis.slams.plot(truth, obs)
    axes = drawn(figure)
    titles = [ax.get_title(loc="left").split(" (")[0] for ax in axes]
    assert titles == [
        "Truth",
        "Observed by x: x",
        f"Analysis, mean of {MEMBERS} members",
        "Error of the mean",
        "Spread of the members",
        "Series at lon 60°E",
        "Series at lon 180°",
        "Series at lon 60°W",
    ]
    shape = truth.sizes["lon"], truth.sizes["time"]
    assert [ax.collections[0].get_array().shape for ax in (axes[0], *axes[2:5])] == [shape] * 4
    assert axes[0].collections[0].get_clim() == axes[1].collections[0].get_clim() == axes[2].collections[0].get_clim()
    # All panels share the axis of time.
    assert len({ax.get_xlim() for ax in axes}) == 1
    assert len({ax.get_ylim() for ax in axes[:5]}) == 1
    # All three sites are among those that are observed.
    assert [dots(ax) for ax in axes[5:]] == [7, 7, 7]
    assert all(len(ax.lines) == MEMBERS + 3 for ax in axes[5:])
    figure.savefig(tmp_path / "hovmoeller.png")


def test_observations_at_points_are_drawn_at_their_sites(lorenz96):
    truth, analysis, _ = lorenz96
    # One report after the other, on the other side of the circle's seam.
    time, lon = truth["time"].values[[2, 4, 6]], [180.0, 179.0, -180.0]
    reports = xr.DataArray(
        [1.0, 2.0, 3.0], dims="report", name="x", coords={"time": ("report", time), "lon": ("report", lon)}
    )
    axes = drawn(analysis.slams.plot(truth, xslams.Observation(reports, error=1.0)))
    assert [dots(ax) for ax in axes[-3:]] == [0, 3, 0]


def test_one_time_of_a_circle_is_a_series_over_its_sites(lorenz96):
    truth, analysis, obs = lorenz96
    (ax,) = drawn(analysis.isel(time=3).slams.plot(truth.isel(time=3), obs))
    assert ax.get_xlabel() == "lon"
    assert len(ax.lines) == MEMBERS + 2


def test_a_time_is_marked_in_plots_over_time(lorenz63, lorenz96):
    for truth, analysis, _ in (lorenz63, lorenz96):
        time = float(truth["time"][5])
        plain, marked = analysis.slams.plot(), analysis.slams.plot(time=time)
        for without, ax in zip(drawn(plain), drawn(marked), strict=True):
            added = ax.lines[len(without.lines) :]
            assert {tuple(line.get_xdata()) for line in added} == {(time, time)}


def test_maps_of_a_plane_have_the_names_of_its_axes_and_no_degrees():
    truth = KolmogorovFlow(size=16, reynolds=50).simulate(4, spinup=0)
    analysis = ensemble(truth)
    seen = truth["vorticity"].coarsen(x=4, y=4).mean()
    figure = analysis.slams.plot(truth, xslams.Observation(seen, error=1.0), time=0.19)
    figure.canvas.draw()
    maps = [ax for ax in figure.axes if ax.get_visible() and ax.get_title()]
    assert [ax.get_title().split(" (")[0] for ax in maps] == [
        "Truth",
        f"Analysis, mean of {MEMBERS} members",
        "Error of the mean",
        "Spread of the members",
        "Observed by vorticity: vorticity",
    ]
    assert figure.get_suptitle() == "Vorticity, time 0.2"
    np.testing.assert_allclose(maps[0].collections[0].get_array(), truth["vorticity"].isel(time=1))
    for ax in maps:
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
        assert ax.get_aspect() == 1.0
        assert ax.get_xlim() == maps[0].get_xlim()
        assert not any("°" in label.get_text() for label in [*ax.get_xticklabels(), *ax.get_yticklabels()])


def test_rank_histogram_by_its_kind(lorenz63):
    truth, analysis, _ = lorenz63
    (ax,) = analysis.slams.plot(truth, variable="y", kind="rank_histogram").axes
    assert len(ax.patches) == MEMBERS + 1
    with pytest.raises(VariableError, match="needs the truth"):
        analysis.slams.plot(kind="rank_histogram")
    with pytest.raises(DimensionError, match="two members or more"):
        analysis.isel(member=[0]).slams.plot(truth, kind="rank_histogram")


def test_kinds_are_checked(lorenz63, lorenz96):
    truth, analysis, _ = lorenz63
    with pytest.raises(OptionError, match="Did you mean 'series'"):
        analysis.slams.plot(truth, kind="serie")
    with pytest.raises(DimensionError, match="needs time and one horizontal dimension"):
        analysis.slams.plot(truth, kind="hovmoeller")
    with pytest.raises(DimensionError, match="one dimension beside 'member'"):
        lorenz96[1].slams.plot(kind="series")
    with pytest.raises(DimensionError, match="No plot suits 'x' with dimensions"):
        lorenz96[1].expand_dims(run=2).slams.plot()


def test_a_plot_registered_outside_of_the_package_is_drawn(lorenz63):
    truth, analysis, _ = lorenz63

    @xslams.plot.register_plot("attractor", suits=lambda field: field.name == "x" and "lat" not in field.dims)
    def attractor(request: xslams.plot.Request) -> Figure:
        figure, ax = plt.subplots()
        ax.plot(request.field("x").mean("member"), request.field("z").mean("member"))
        ax.set_title("Butterfly")
        return figure

    try:
        for options in ({"kind": "attractor"}, {}):  # by its name, and because it suits
            (ax,) = analysis.slams.plot(truth, **options).axes
            assert ax.get_title() == "Butterfly"
    finally:
        PLOTS.unregister("attractor")
    assert len(drawn(analysis.slams.plot(truth))) == 3

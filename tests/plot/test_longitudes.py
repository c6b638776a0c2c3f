"""Everything in a plot lies in one window of longitudes, and is what was used."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

import xslams
from xslams.plot import observed
from xslams.plot.longitudes import in_window, middle_of, moved


def west(lon):
    """Longitudes from -180 to 180."""
    return (lon + 180) % 360 - 180


def east(lon):
    """Longitudes from 0 to 360."""
    return lon % 360


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def field(lat, lon) -> xr.Dataset:
    values = np.random.default_rng(0).normal(280, 5, (2, len(lat), len(lon)))
    attrs = {"units": "K", "standard_name": "air_temperature"}
    coords = {
        "time": pd.date_range("2001-01-01", periods=2),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    return xr.Dataset({"t": (("time", "lat", "lon"), values, attrs)}, coords)


def in_convention(ds: xr.Dataset, turn, *, ordered: bool = True) -> xr.Dataset:
    lon = ds["lon"].copy(data=turn(ds["lon"].values))
    ds = ds.assign_coords(lon=lon)
    return ds.sortby("lon") if ordered else ds


def stations(count: int = 12) -> xr.Dataset:
    rng = np.random.default_rng(1)
    values = rng.normal(10, 5, (2, count))
    return xr.Dataset(
        {
            "tavg": (
                ("time", "station"),
                values,
                {"units": "degC", "standard_name": "air_temperature", "ancillary_variables": "tavg_err tavg_flag"},
            ),
            "tavg_err": (("time", "station"), np.ones((2, count)), {"units": "degC"}),
            "tavg_flag": (("time", "station"), np.zeros((2, count), int)),
            "rain": (("time", "station"), np.ones((2, count)), {"units": "mm"}),
        },
        {
            "time": pd.date_range("2001-01-01", periods=2),
            "lat": ("station", rng.uniform(25, 49, count)),
            "lon": ("station", rng.uniform(-124, -67, count)),
        },
    )


def panels(figure) -> dict:
    return {ax.get_title().split(" (")[0].split(":")[0]: ax for ax in figure.axes if ax.get_title()}


REGIONS = {"america": np.arange(200.0, 331.0, 10.0), "date line": np.arange(140.0, 221.0, 10.0)}


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("turn", [west, east])
@pytest.mark.parametrize("other", [west, east])
def test_panels_of_every_convention_show_the_same(region, turn, other) -> None:
    truth = field(np.arange(20.0, 61.0, 10.0), REGIONS[region])
    obs = xslams.Observation(in_convention(truth, other)["t"].isel(time=[1]), error=1.0, name="grid")
    figure = in_convention(truth, turn).slams.plot(in_convention(truth, other), obs, variable="t")
    axes = panels(figure)
    expected = truth["t"].isel(time=1).values
    for name in ("Truth", "Analysis", "Observed by grid"):
        np.testing.assert_allclose(axes[name].collections[0].get_array().reshape(expected.shape), expected)
        assert axes[name].get_xlim() == axes["Truth"].get_xlim()
    assert np.ptp(axes["Truth"].get_xlim()) == pytest.approx(np.ptp(REGIONS[region]) + 10.0)


def test_stations_to_the_west_lie_on_a_map_that_counts_to_the_east() -> None:
    analysis, seen = field(np.arange(20.0, 61.0, 10.0), REGIONS["america"]), stations()
    axes = panels(analysis.slams.plot(obs=xslams.Observation(seen, "tavg", error=1.0, name="USCRN")))
    assert list(axes) == ["Analysis", "Observed by USCRN"]
    dots = axes["Observed by USCRN"].collections[0]
    np.testing.assert_allclose(np.sort(dots.get_offsets()[:, 0]), np.sort(seen["lon"] + 360))
    low, high = axes["Observed by USCRN"].get_xlim()
    assert low < dots.get_offsets()[:, 0].min() and dots.get_offsets()[:, 0].max() < high
    # Degrees Celsius on the scale of an analysis in kelvin.
    assert dots.get_clim() == axes["Analysis"].collections[0].get_clim()
    np.testing.assert_allclose(np.sort(dots.get_array()), np.sort(seen["tavg"].isel(time=1) + 273.15))


@pytest.mark.parametrize(
    ("variable", "shown"),
    [
        (None, {"tavg": "t"}),
        ("tavg", {"tavg": "t"}),
        (["tavg", "rain"], {"tavg": "t", "rain": None}),
        ({"rain": "pr"}, {"rain": "pr"}),
        ({"tavg": "t"}, {"tavg": "t"}),
    ],
)
def test_what_was_used_is_shown(variable, shown) -> None:
    analysis = field([30.0, 40.0], [200.0, 250.0])
    got = observed.fields(xslams.Observation(stations(), variable, error=1.0), analysis, None)
    assert {s.field.name: s.observes for s in got} == shown


def test_of_data_that_observe_nothing_known_all_fields_are_shown() -> None:
    other = field([30.0, 40.0], [200.0, 250.0]).drop_attrs()
    assert [s.field.name for s in observed.fields(stations(), other)] == ["tavg", "rain"]
    # Coordinates that are variables of the file are no fields.
    loose = stations().reset_coords(["lat", "lon"])
    assert [s.field.name for s in observed.fields(loose)] == ["tavg", "rain"]


@pytest.mark.parametrize("dim", ["lat", "lon"])
def test_a_single_row_is_seen(dim) -> None:
    ds = field(np.arange(20.0, 61.0, 10.0), REGIONS["america"]).isel({dim: [1]})
    mesh = panels(ds.slams.plot())["Analysis"].collections[0]
    corners = mesh.get_coordinates()
    assert np.ptp(corners[..., 0]) > 5 and np.ptp(corners[..., 1]) > 5


def test_a_hovmoeller_diagram_has_one_window_too() -> None:
    truth = field([0.0, 10.0], REGIONS["date line"]).isel(lat=0, drop=True)
    seen = in_convention(truth, west, ordered=False)["t"].rename(lon="longitude")
    figure = in_convention(truth, west).slams.plot(truth, xslams.Observation(seen, error=1.0, name="ships"))
    axes = {ax.get_title(loc="left").split(" (")[0].split(":")[0]: ax for ax in figure.axes}
    low, high = axes["Analysis"].get_ylim()
    places = axes["Observed by ships"].collections[0].get_offsets()[:, 1]
    assert len(places) == seen.size and low < places.min() and places.max() < high
    for name in ("Truth", "Analysis"):
        np.testing.assert_allclose(axes[name].collections[0].get_array(), truth["t"].transpose("lon", "time"))


@settings(max_examples=40, deadline=None)
@given(st.floats(-180, 360), st.floats(1, 200), st.integers(2, 20), st.sampled_from([west, east]))
def test_the_window_holds_a_region_in_any_convention(start, width, count, turn) -> None:
    lon = start + np.linspace(0, width, count)
    middle = middle_of(turn(lon))
    there = np.sort(moved(turn(lon), middle))
    if width < 170 or width / (count - 1) < 50:  # else the way round the other side is as short
        np.testing.assert_allclose(np.diff(there), width / (count - 1), atol=1e-6)
        assert np.cos(np.deg2rad(middle - start - width / 2)) == pytest.approx(1.0)
    ds = in_window(xr.DataArray(np.zeros(count), dims="lon", coords={"lon": turn(lon)}), middle)
    assert (np.diff(ds["lon"]) > 0).all() and ds.sizes["lon"] == count

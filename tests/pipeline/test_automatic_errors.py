"""Errors that are estimated where none are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xslams
from xslams.errors import ObservationError, SlamsWarning
from xslams.labels.frames import Frames
from xslams.pipeline.automatic_errors import with_errors


@pytest.fixture(scope="module")
def state(tiny_model):
    """What the tiny model was trained on, nearly: waves that travel."""
    lat, lon = np.asarray(tiny_model.spec.lat), np.asarray(tiny_model.spec.lon)
    days, rng = np.arange(24), np.random.default_rng(3)
    wave = np.sin(np.deg2rad(lon) * 2 - 0.3 * days[:, None, None]) * np.cos(np.deg2rad(lat))[:, None]
    t = np.stack([285 + 8 * wave, 250 + 5 * np.roll(wave, 1, axis=-1)], axis=1) + rng.normal(0, 0.5, (24, 2, 8, 16))
    coords = {"time": pd.date_range("2001-01-01", periods=24), "level": ("level", [850.0, 500.0], {"axis": "Z"})}
    attrs = {"units": "K", "standard_name": "air_temperature"}
    coords |= {"lat": lat, "lon": lon}
    return xr.DataArray(t, coords, ("time", "level", "lat", "lon"), "t", attrs).to_dataset()


def noisy(state, error, seed):
    noise = np.random.default_rng(seed).normal(0, error, state["t"].shape)
    return state["t"] + noise.astype("f4")


def test_bare_data_are_the_only_line(state, tiny_model):
    obs = [noisy(state, 1.0, 1), noisy(state, 4.0, 2).to_dataset()]
    with pytest.warns(SlamsWarning, match=r"No error= is given; .*t: t \d.* K; t 2: t \d"):
        analysis = state.slams.assimilate(obs, tiny_model, members=1, steps=1)
    first, second = (float(e.split()[-2]) for e in analysis.attrs["xslams_estimated_errors"].split(";"))
    assert first == pytest.approx(1.0, rel=0.5)
    assert second == pytest.approx(4.0, rel=0.3)
    with pytest.warns(SlamsWarning, match="No error= is given"):
        checked = state.slams.check(obs, tiny_model)
    np.testing.assert_allclose(checked["error"], [first, second], rtol=1e-6)


def test_the_same_whatever_the_chunks_and_without_a_warning_where_asked(state, tiny_model):
    source = xslams.Observation(noisy(state, 2.0, 4), error="auto")
    lazy = xslams.Observation(noisy(state, 2.0, 4).chunk(time=5), error="auto")
    options = {"members": 1, "steps": 1}
    one = state.slams.assimilate(source, tiny_model, **options)
    two = state.chunk(time=7).slams.assimilate(lazy, tiny_model, **options)
    assert one.attrs["xslams_estimated_errors"] == two.attrs["xslams_estimated_errors"]
    xr.testing.assert_allclose(one, two.compute())


BIASES = np.random.default_rng(6).normal(0, 3, 40)


@pytest.fixture(scope="module")
def stations(state):
    """Forty stations of which each has a bias, and every fourth is bad."""
    rng = np.random.default_rng(5)
    lat, lon = rng.uniform(-60, 60, 40), rng.uniform(0, 330, 40)
    near = {"lat": xr.DataArray(lat, dims="station"), "lon": xr.DataArray(lon, dims="station")}
    at = state["t"].isel(level=0).interp(near)
    error = np.where(np.arange(40) % 4 == 0, 4.0, 0.5)
    return (at + rng.normal(size=at.shape) * error + BIASES).assign_attrs(state["t"].attrs)


def estimated(state, source, model):
    """Errors and biases of places, and the text about them."""
    time = state["time"]
    (told,), (text,) = with_errors([source], model, Frames.of(time, model.spec), time)
    return told.error["t"], told.qc.bias["t"], str(text)


def test_places_that_differ_have_errors_and_biases_of_their_own(state, stations, tiny_model):
    error, bias, text = estimated(state, xslams.Observation(stations, error="auto"), tiny_model)
    assert text.startswith("t: t 0.")
    assert "K at 40 places, without biases of -" in text
    assert np.corrcoef(bias.over(stations).values, BIASES)[0, 1] > 0.8
    bad = np.arange(40) % 4 == 0
    errors = error.over(stations).values
    assert np.median(errors[bad]) > 2 * np.median(errors[~bad])
    assert error.pooled[0] > 3
    analysis = state.slams.assimilate(xslams.Observation(stations, error="auto"), tiny_model, members=1, steps=1)
    assert analysis.attrs["xslams_estimated_errors"] == text


def test_values_of_one_place_and_frame_count_as_their_mean(state, stations, tiny_model):
    often = xr.concat(
        [stations.assign_coords(time=stations["time"] + np.timedelta64(h, "h")) for h in range(4)], "time"
    )
    settings = {"error": "auto", "tolerance": "6h"}
    many = estimated(state, xslams.Observation(often.sortby("time"), **settings), tiny_model)
    few = estimated(state, xslams.Observation(stations, **settings), tiny_model)
    np.testing.assert_allclose(many[0].values, 2 * few[0].values, rtol=0.02)
    np.testing.assert_allclose(many[1].values, few[1].values, atol=0.02)


def test_a_source_of_many_places_beside_one_of_few(state, stations, tiny_model):
    """Grids of more values than are looked at place by place have one error, whatever else there is."""
    fine = state["t"].isel(level=0).interp(lat=np.linspace(-60, 60, 31), lon=np.linspace(0, 337, 31))
    grid = (fine + np.random.default_rng(8).normal(0, 2.0, fine.shape)).assign_attrs(state["t"].attrs)
    time = state["time"]
    sources = [xslams.Observation(grid, error="auto"), xslams.Observation(stations, error="auto", name="sites")]
    (one, other), _ = with_errors(sources, tiny_model, Frames.of(time, tiny_model.spec), time)
    assert one.error["t"] == pytest.approx(2.0, rel=0.3)
    assert one.qc.bias is None
    assert np.corrcoef(other.qc.bias["t"].over(stations).values, BIASES)[0, 1] > 0.8


def test_places_that_differ_in_their_errors_alone_have_no_biases(state, tiny_model):
    rng = np.random.default_rng(9)
    lat, lon = rng.uniform(-60, 60, 40), rng.uniform(0, 330, 40)
    near = {"lat": xr.DataArray(lat, dims="station"), "lon": xr.DataArray(lon, dims="station")}
    at = state["t"].isel(level=0).interp(near)
    values = (at + rng.normal(size=at.shape) * np.where(np.arange(40) % 4 == 0, 9.0, 1.5)).assign_attrs(at.attrs)
    time = state["time"]
    source = xslams.Observation(values.assign_attrs(state["t"].attrs), error="auto")
    (told,), (text,) = with_errors([source], tiny_model, Frames.of(time, tiny_model.spec), time)
    assert told.qc.bias is None
    assert "biases" not in str(text)
    assert np.ptp(told.error["t"].values) > 2


def test_errors_of_places_need_no_warning_of_repeated_values(state, stations, tiny_model):
    noon = state.assign_coords(time=state["time"] + np.timedelta64(12, "h"))
    often = xr.concat([stations.assign_coords(time=noon["time"] + np.timedelta64(h, "h")) for h in range(4)], "time")
    source = xslams.Observation(often.sortby("time"), error="auto", tolerance="6h")
    noon.slams.check(source, tiny_model)  # without a warning, which would be an error
    with pytest.warns(SlamsWarning, match="4 times fall on one frame"):
        noon.slams.check(source.replace(error=1.0), tiny_model)


def test_a_bias_that_is_given_stays(state, stations, tiny_model):
    source = xslams.Observation(stations, error="auto", qc={"bias": xr.DataArray(BIASES, dims="station")})
    time = state["time"]
    (told,), (text,) = with_errors([source], tiny_model, Frames.of(time, tiny_model.spec), time)
    assert told.qc == source.qc
    assert "40 places" in str(text)
    assert "biases" not in str(text)


def test_errors_that_are_given_stay(state, tiny_model):
    given = xslams.Observation(noisy(state, 1.0, 1), error=1.5)
    analysis = state.slams.assimilate(given, tiny_model, members=1, steps=1)
    assert "xslams_estimated_errors" not in analysis.attrs


@pytest.mark.parametrize("error", ["auto", None])
def test_too_few_values_are_an_error(state, tiny_model, error):
    few = noisy(state, 1.0, 1).isel(time=slice(1), level=slice(1), lat=slice(2), lon=slice(3))
    with pytest.raises(ObservationError, match="6 values in a sample of the period are too few"):
        state.slams.check(xslams.Observation(few, error=error), tiny_model)


def test_what_an_operator_makes_needs_an_error(state, tiny_model):
    def low(fields):
        return fields["t"][:, :, 0]

    source = xslams.Observation(noisy(state, 1.0, 1).isel(level=0, drop=True), operator=low)
    with pytest.raises(ObservationError, match="operator= makes cannot be estimated"):
        state.slams.check(source, tiny_model)


@pytest.mark.parametrize("error", ["automatic", "", "Auto"])
def test_other_texts_are_no_errors(state, error):
    with pytest.raises(ObservationError, match="expected a number"):
        xslams.Observation(state["t"], error=error)


def test_a_prior_without_covariance_needs_errors():
    system = xslams.open_model("lorenz63")
    coords = {"time": system.spec.time_step * np.arange(40)}
    ds = xr.Dataset({n: ("time", np.ones(40), {"units": "1"}) for n in "xyz"}, coords)
    with pytest.raises(ObservationError, match="error='auto' needs the covariance"):
        ds.slams.check(xslams.Observation(ds["x"], error="auto"), system)
    with pytest.raises(ObservationError, match="missing"):
        ds.slams.check(xslams.Observation(ds["x"]), system)

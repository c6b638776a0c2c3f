"""Learned operators between a user's data and an analysis: `fit`, `learn_operator`, `assimilate`, and a model file."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xslams
from xslams.errors import CoverageError, ObservationOptionError, SlamsError, SlamsWarning, UnitError, VariableError

OPTIONS = {"budget": 0, "epochs": 0, "progress": False}
LAT, LON = [40.0, 42.5, 45.0], [0.0, 2.5, 5.0, 7.5]


def _state(frames=480):
    rng = np.random.default_rng(0)
    x, pattern = np.zeros((frames, 3, 4)), rng.standard_normal((4, 3, 4))
    amplitude = np.zeros(4)
    for t in range(frames):
        amplitude = 0.7 * amplitude + rng.standard_normal(4)
        x[t] = 280 + np.tensordot(amplitude, pattern, 1) + 0.1 * rng.standard_normal((3, 4))
    time = pd.date_range("2001-01-01T12", periods=frames)
    t = (("time", "lat", "lon"), x, {"units": "K", "standard_name": "air_temperature"})
    return xr.Dataset({"t": t}, coords={"time": time, "lat": LAT, "lon": LON})


def _stations(state, seed=1, shared=0.8):
    """Stations in degC with biases of their own, whose errors are mostly shared."""
    rng = np.random.default_rng(seed)
    at = state["t"].values[:, [0, 1, 2], [0, 1, 3]]
    n = len(at)
    noise = np.sqrt(shared) * rng.standard_normal((n, 1)) + np.sqrt(1 - shared) * rng.standard_normal((n, 3))
    y = at - 273.15 + np.array([5.0, -3.0, 0.0]) + noise
    y[rng.random(y.shape) < 0.05] = np.nan
    coords = {
        "time": state["time"].values,
        "lat": ("station", [40.2, 42.4, 45.0]),
        "lon": ("station", [0.3, 2.6, 7.4]),
    }
    return xr.DataArray(y, dims=("time", "station"), coords=coords, name="tas", attrs={"units": "degC"})


@pytest.fixture(scope="module")
def state():
    return _state()


@pytest.fixture(scope="module")
def stations(state):
    return _stations(state)


@pytest.fixture(scope="module")
def past(state):
    return state.isel(time=slice(400))


@pytest.fixture(scope="module")
def model(past, stations):
    rng = np.random.default_rng(4)
    noise = stations.copy(data=rng.standard_normal(stations.shape)).rename("noise").isel(station=[0])
    aux = [xslams.Observation(stations, name="network"), xslams.Observation(noise.sel(time=past["time"]))]
    with pytest.warns(SlamsWarning, match="'noise' tells nothing"):
        return past.slams.fit(aux, **OPTIONS)


def _rmse(analysis, truth):
    return float(np.sqrt(((analysis["t"].mean("member") - truth["t"]) ** 2).mean()))


def test_fit_learns_sources_that_assimilate_takes_by_name(state, stations, model):
    truth = state.isel(time=slice(460, 480))
    analysis = truth.slams.assimilate(stations, model, members=8, steps=16)
    assert _rmse(analysis, truth) < 0.75 * float(truth["t"].std())
    spread = float(analysis["t"].std("member", ddof=1).mean())
    assert 0.6 < spread / _rmse(analysis, truth) < 1.5


def test_a_source_that_tells_nothing_changes_nothing(state, stations, model):
    truth = state.isel(time=slice(460, 470))
    noise = xslams.Observation(stations.rename("noise").isel(station=[0]))
    with pytest.warns(SlamsWarning, match="no weight"):
        both = truth.slams.assimilate([stations, noise], model, members=2, steps=4)
    xr.testing.assert_equal(both["t"], truth.slams.assimilate(stations, model, members=2, steps=4)["t"])


def test_operators_are_part_of_the_model_file(state, stations, model, tmp_path):
    loaded = xslams.Model.load(model.save(tmp_path / "m.safetensors"))
    assert [o.name for o in loaded.operators] == ["network", "noise"]
    assert loaded.spec.operators[0]["record"]["skill"] > 0.5
    truth = state.isel(time=slice(460, 466))
    a, b = (truth.slams.assimilate(stations, m, members=2, steps=4)["t"] for m in (model, loaded))
    xr.testing.assert_allclose(a, b, atol=1e-3)


def test_a_lazy_analysis_is_the_same(state, stations, model):
    truth = state.isel(time=slice(460, 470))
    lazy = truth.chunk(time=5).slams.assimilate(stations, model, members=2, steps=4)
    xr.testing.assert_allclose(
        lazy["t"].compute(), truth.slams.assimilate(stations, model, members=2, steps=4)["t"], atol=1e-3
    )


def test_stations_come_and_go(state, stations, model):
    truth = state.isel(time=slice(460, 470))
    new = stations.assign_coords(lat=("station", [40.2, 42.4, 41.0]))
    with pytest.warns(SlamsWarning, match="1 of 3 places were not seen in training"):
        some = truth.slams.assimilate(new.isel(station=[2, 1, 0]), model, members=2, steps=4)
    known = truth.slams.assimilate(stations.isel(station=[0, 1]), model, members=2, steps=4)
    xr.testing.assert_allclose(some["t"], known["t"], atol=0.05)
    with pytest.raises(SlamsError, match="none of its 1 places"):
        truth.slams.assimilate(new.isel(station=[2]), model, members=2, steps=4)


def test_units_are_those_of_training_or_converted(state, stations, model):
    truth = state.isel(time=slice(460, 464))
    kelvin = (stations + 273.15).assign_attrs(units="K")
    a, b = (truth.slams.assimilate(o, model, members=2, steps=4)["t"] for o in (stations, kelvin))
    xr.testing.assert_allclose(a, b, atol=1e-2)


def test_errors_of_few_samples_are_inflated_by_held_out_analyses():
    """Many stations and a short past: coefficients have errors that an analysis takes for information."""
    state = _state(520)
    rng = np.random.default_rng(7)
    at = state["t"].values[:, rng.integers(0, 3, 40), rng.integers(0, 4, 40)]
    y = at + 6 * rng.standard_normal((len(at), 40))
    place = {"lat": ("station", 40 + 5 * rng.random(40)), "lon": ("station", 7.5 * rng.random(40))}
    da = xr.DataArray(y, dims=("time", "station"), coords={"time": state["time"].values, **place}, name="tas",
                      attrs={"units": "K"})  # fmt: skip
    past = state.isel(time=slice(420))
    found = past.slams.fit([xslams.Observation(da.isel(time=slice(420)), name="tas")], **OPTIONS)
    (operator,) = found.operators
    assert operator.record["inflation"] >= 1
    again = xslams.learn_operator(xslams.Observation(da.isel(time=slice(420)), name="tas"), past, found)
    # The prior has been widened since, as far as analyses by the operator were too sure of themselves.
    assert again.record["inflation"] == pytest.approx(operator.record["inflation"], rel=0.15)
    plain = [one.coefficients[0].error / one.record["inflation"] for one in (again, operator)]
    np.testing.assert_allclose(*plain, rtol=1e-5)
    truth = state.isel(time=slice(430, 520))
    analysis = truth.slams.assimilate([xslams.Observation(da, name="tas")], model=found, members=8, steps=8)
    assert 0.8 < float(analysis.slams.score(truth).spread_skill) < 1.25


def test_a_short_past_gives_no_evidence_on_errors(state, stations):
    short = state.isel(time=slice(150))
    with pytest.warns(SlamsWarning, match="whole years"):
        found = short.slams.fit([xslams.Observation(stations.isel(time=slice(150)), name="tas")], **OPTIONS)
    assert "inflation" not in found.operators[0].record


def test_an_operator_for_a_model_that_is_there(state, past, stations, model):
    operator = xslams.learn_operator(stations.sel(time=past["time"]), past, model)
    assert "3 places" in repr(operator)
    assert (operator.errors.between[0, 1] > 0.2) and operator.held_out_skill > 0.5
    truth = state.isel(time=slice(460, 470))
    given = truth.slams.assimilate(xslams.Observation(stations, operator=operator), model, members=2, steps=4)
    stored = truth.slams.assimilate(stations, model, members=2, steps=4)
    xr.testing.assert_allclose(given["t"], stored["t"], atol=0.3)
    report = truth.slams.check(xslams.Observation(stations, operator=operator), model)
    assert int(report["used"].isel(source=0)) > 20


def test_sources_of_one_variable_share_their_errors(past, stations):
    parts = [xslams.Observation(stations.isel(station=i), name=n) for i, n in (([0], "a"), ([1, 2], "b"))]
    model = past.slams.fit(parts, **OPTIONS)
    a, b = model.operators
    assert a.errors is b.errors
    assert a.errors.between[0, 1] > 0.2
    truth = past.isel(time=slice(10, 16))
    apart = truth.slams.assimilate(parts, model, members=2, steps=4)
    # Whatever their order.
    turned = truth.slams.assimilate(parts[::-1], model, members=2, steps=4)
    xr.testing.assert_allclose(turned["t"], apart["t"], atol=0.05)


def test_an_error_that_is_given_is_taken(state, stations, model):
    truth = state.isel(time=slice(460, 462))
    with pytest.raises(VariableError, match="none agrees"):
        truth.slams.assimilate(xslams.Observation(stations, error=1.0), model, members=2, steps=4)
    with pytest.raises(ObservationOptionError, match="error= is given"):
        own = xslams.Observation(stations, error=1.0, operator=model.operators[0])
        truth.slams.assimilate(own, model, members=2, steps=4)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (
            lambda o: o.assign_coords(time=o["time"] + pd.Timedelta("3650D")),
            CoverageError,
            "no value lies in the period",
        ),
        (lambda o: o.isel(time=slice(30)), CoverageError, "at most (29|30) values"),
        (lambda o: o.where(False), CoverageError, "at most 0 values"),
        (lambda o: o.drop_attrs(), UnitError, "no units"),
        (lambda o: o.expand_dims(height=[2.0, 10.0]).copy(), SlamsError, "height"),
        (lambda o: xr.Dataset({"a": o, "b": o}), ObservationOptionError, "learned for one"),
        (lambda o: xslams.Observation(o, error=1.0), ObservationOptionError, "leave them out"),
    ],
)
def test_what_cannot_be_learned_is_refused(past, stations, model, change, error, says):
    with pytest.raises(error, match=says):
        xslams.learn_operator(change(stations), past, model)


@pytest.mark.parametrize("change", [lambda o: o.isel(time=slice(30)), lambda o: o.assign_coords(lat=o["lat"] * np.nan)])
def test_what_cannot_be_learned_is_refused_before_the_training(past, stations, change, monkeypatch):
    monkeypatch.setattr("xslams.training.fit_chosen", lambda *_, **__: pytest.fail("the model was trained first"))
    with pytest.raises(CoverageError, match=r"at most \d+ values.*of \d+ places lie in its domain"):
        past.slams.fit(aux=[xslams.Observation(change(stations))], **OPTIONS)


def test_flagged_values_teach_nothing_and_flags_are_not_learned(past, stations, model):
    flag = {"flag_values": [0, 1], "flag_meanings": "good bad"}
    wrong = np.random.default_rng(5).random(stations.shape) < 0.2
    ds = xr.Dataset({"tas": stations + 30.0 * wrong, "tas_qc": (stations.dims, wrong.astype("int8"), flag)})
    ds["tas"].attrs = stations.attrs
    got = xslams.learn_operator(ds, past, model)
    expected = xslams.learn_operator(stations.where(~wrong).assign_attrs(stations.attrs), past, model)
    assert got.held_out_skill == expected.held_out_skill


def test_quality_control_that_does_not_go_with_it_is_refused(state, stations, model):
    truth = state.isel(time=slice(460, 462))
    source = xslams.Observation(stations, operator=model.operators[0], qc={"superob": True})
    with pytest.raises(ObservationOptionError, match="superob"):
        truth.slams.assimilate(source, model, members=2, steps=4)


def test_gross_errors_are_dropped(state, stations, model):
    truth = state.isel(time=slice(460, 464))
    wild = stations.copy()
    wild[461, 0] = 9e5
    gone = stations.copy()
    gone[461, 0] = np.nan
    a, b = (truth.slams.assimilate(o, model, members=2, steps=4)["t"] for o in (wild, gone))
    xr.testing.assert_allclose(a, b, atol=1e-3)

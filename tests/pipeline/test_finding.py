"""The model that is found where none is named, and the line that brings data to the grid of one that is."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams.errors import GridError, ModelError, SlamsError
from xslams.pipeline.finding import model_for
from xslams.zoo import pretrained


@pytest.fixture(scope="module")
def state():
    return xslams.open_tutorial().isel(time=slice(0, 2))


@pytest.fixture
def only_tiny(tiny_model, monkeypatch):
    """A world in which the tiny model is the one that is known."""
    monkeypatch.setattr(pretrained, "_embedded", lambda: [tiny_model.path])
    spec = tiny_model.spec
    coords = {"time": np.array(["2001-01-01", "2001-01-02", "2001-01-03"], "M8[ns]"), "lat": list(spec.lat)}
    coords |= {"lon": list(spec.lon), "level": ("level", [850.0, 500.0], {"axis": "Z"})}
    attrs = {"units": "K", "standard_name": "air_temperature"}
    t = xr.DataArray(np.full((3, 2, 8, 16), 280.0), coords, ("time", "level", "lat", "lon"), name="t", attrs=attrs)
    pr = t.isel(level=0, drop=True).rename("pr") * 0 + 1.0
    pr.attrs = {"units": "mm/day", "standard_name": "precipitation_flux"}
    return xr.Dataset({"t": t, "pr": pr})


def test_the_one_model_that_fits_is_taken(only_tiny, tiny_model):
    ds = only_tiny
    rain = xslams.Observation(ds["pr"], error=1.0)
    options = {"members": 1, "steps": 1}
    found, named = (ds.slams.assimilate(rain, *model, **options) for model in ([], [tiny_model.path]))
    xr.testing.assert_equal(found, named)
    assert found.attrs["xslams_model"] == "tiny"
    assert int(ds.slams.check(rain)["used"].sum()) == ds["pr"].size
    xr.testing.assert_equal(ds.slams.encode().slams.decode()["t"], ds.slams.encode(tiny_model).slams.decode()["t"])


@settings(max_examples=12)
@given(
    flip=st.booleans(),
    shift=st.booleans(),
    name=st.sampled_from(["t", "ta", "temperature"]),
    units=st.sampled_from(["K", "degC", "kelvin"]),
    chunked=st.booleans(),
    fields=st.booleans(),
)
def test_what_is_labelled_otherwise_is_found_all_the_same(state, flip, shift, name, units, chunked, fields):
    ds = state[["t"]].rename({} if name == "t" else {"t": name})
    ds[name].attrs["units"] = units
    ds = ds.isel(lat=slice(None, None, -1)) if flip else ds
    ds = ds.assign_coords(lon=(ds["lon"] + 180) % 360 - 180) if shift else ds
    ds = ds if fields else ds.drop_vars(name)
    model = model_for(ds.chunk(time=1) if chunked else ds, None)
    assert model.spec.name == "speedy-t30"
    assert not model.loaded


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda ds: ds.rename(t="u").drop_attrs(), "no 't' among the variables"),
        (lambda ds: ds.assign(t=ds["t"].assign_attrs(units="m")), "Cannot convert units 'm' to 'K'"),
        (lambda ds: ds.isel(sigma=slice(3)), "needs 0.95, 0.835"),
        (lambda ds: ds.isel(sigma=0, drop=True), "'t' is on 1 level, 't' on 8"),
        (lambda ds: ds.isel(lat=slice(20)), "another grid"),
        (lambda ds: ds.assign_coords(time=ds["time"].values[0] + np.array([0, 6], "m8[h]")), "24 h apart"),
        (lambda ds: ds.drop_vars("lat"), "latitude"),
    ],
)
def test_where_none_fits_the_error_lists_the_candidates_and_fit(state, change, why):
    with pytest.raises(ModelError, match=re.escape("ds.slams.fit()")) as caught:
        change(state).slams.encode()
    (line,) = (row for row in str(caught.value).splitlines() if row.startswith("  speedy-t30: "))
    assert "t (K, 8 levels), observes pr, olr; grid 48 x 96" in line
    assert why in line
    assert all(f"  {name}: " in str(caught.value) for name in xslams.list_models().index)


def test_where_several_fit_the_error_says_which():
    ds = xr.Dataset({name: ("time", [1.0], {"units": "1"}) for name in "xyz"}, {"time": [0.0]})
    with pytest.raises(ModelError, match=r"2 known models fit.*\n.*lorenz63.*\n.*lorenz63.*\nName one of them: model="):
        model_for(ds, None)


def test_models_that_were_not_fetched_are_candidates_and_are_not_fetched(state, monkeypatch):
    entry = pretrained.Entry("far", "0" * 64, 10, url="https://models.invalid/far.safetensors")
    monkeypatch.setattr(pretrained, "_remote", lambda: {"far": entry})
    assert model_for(state, None).spec.name == "speedy-t30"
    with pytest.raises(ModelError, match="far: not fetched"):
        model_for(state.isel(lat=slice(20)), None)


def _line(message: str) -> str:
    """The line that a message tells to run."""
    start = message.index("ds.slams.regrid(")
    depth = 0
    for i, letter in enumerate(message[start:], start):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and letter == ")":
            return message[start : i + 1]
    raise AssertionError(message)


def _curvilinear(ds):
    lon, lat = np.meshgrid(ds["lon"], ds["lat"])
    ds = ds.rename(lat="y", lon="x").drop_vars(["y", "x"])
    return ds.assign_coords(lat=(("y", "x"), lat + 0.001 * lon), lon=(("y", "x"), lon))


GRIDS = {
    "coarser": lambda ds: ds.isel(lat=slice(None, None, 2), lon=slice(None, None, 2)),
    "larger": lambda ds: ds.pad(lat=(1, 0), constant_values=280.0).assign_coords(lat=[-89.0, *ds["lat"].values]),
    "curvilinear": _curvilinear,
    "points": lambda ds: ds.stack(place=("lat", "lon")).reset_index("place"),
}


CASES = [("path", "coarser"), ("path", "curvilinear"), ("model", "points"), (None, "larger"), (None, "points")]


@pytest.mark.parametrize(("given", "kind"), CASES)
def test_the_line_of_the_message_brings_data_to_the_grid(only_tiny, tiny_model, unsaved_model, kind, given):
    model = {"path": tiny_model.path, "model": unsaved_model, None: None}[given]
    ds = GRIDS[kind](only_tiny)
    for call in (
        lambda ds: ds.slams.encode(model),
        lambda ds: ds.slams.assimilate([], model, members=1, steps=1),
        lambda ds: ds.slams.check([], model),
    ):
        with pytest.raises(ModelError if model is None else GridError, match="regrid") as caught:
            call(ds)
        brought = eval(_line(str(caught.value)), {"ds": ds, "model": model, "xslams": xslams})
        call(brought)


def test_a_name_that_is_known_is_what_the_line_opens(state):
    with pytest.raises(GridError, match=re.escape("ds.slams.regrid(xslams.open_model('speedy-t30'))")) as caught:
        state.isel(lat=slice(20)).slams.assimilate([], "speedy-t30")
    assert isinstance(caught.value, SlamsError)

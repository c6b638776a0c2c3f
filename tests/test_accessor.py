"""The accessor delegates, and its repr says what it recognised."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xslams
from xslams import regrid, scores
from xslams.accessor import SlamsAccessor
from xslams.pipeline import assimilate, encoding, fitting

DELEGATES = {
    "encode": (encoding, "encode", ("model",)),
    "decode": (encoding, "decode", ()),
    "regrid": (regrid, "regrid", ("target",)),
    "fit": (fitting, "fit", ()),
    "assimilate": (assimilate, "assimilate", ("obs", "model")),
    "score": (scores, "score", ("truth",)),
}


@pytest.mark.parametrize("method", DELEGATES)
def test_methods_hand_everything_on(monkeypatch, method):
    module, name, required = DELEGATES[method]
    seen = {}
    monkeypatch.setattr(module, name, lambda *args, **kwargs: seen.update(args=args, kwargs=kwargs) or "result")
    ds = xr.Dataset({"t": ("x", [1.0])})
    parameters = inspect.signature(getattr(SlamsAccessor, method)).parameters
    options = {
        k: f"given {k}" for k, p in parameters.items() if k not in ("self", *required) and p.kind is not p.VAR_KEYWORD
    }
    assert getattr(ds.slams, method)(*required, **options) == "result"
    assert seen["args"][0].identical(ds)
    given = {*seen["args"][1:], *seen["kwargs"].values()}
    assert given == {*required, *options.values()}


@pytest.mark.parametrize("method", DELEGATES)
def test_defaults_agree_with_those_of_the_functions(method):
    module, name, _ = DELEGATES[method]
    ours = inspect.signature(getattr(SlamsAccessor, method)).parameters
    theirs = inspect.signature(getattr(module, name)).parameters
    for key in ours.keys() - {"self", "options"}:
        assert ours[key].default == theirs[key].default, key


def test_the_design_of_assimilate():
    parameters = inspect.signature(SlamsAccessor.assimilate).parameters
    defaults = {k: p.default for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert defaults == {
        "members": 16, "background_error": None, "guidance": "mmps", "sampler": "auto", "steps": 32, "corrections": 0,
        "antithetic": False, "overlap": "auto", "variables": None, "seed": 0, "device": None, "batch_size": "auto",
        "precision": "float32", "compile": False, "progress": None, "report": False, "engine": "auto",
    }  # fmt: skip


def test_repr_says_what_was_recognised():
    text = repr(xslams.open_tutorial().slams)
    assert "t (K), pr (mm day-1), olr (W m-2)" in text
    assert "60 frames every 24 h, 2003-12-15 to 2004-02-12" in text
    assert "sigma: 8 values, 0.95 to 0.025" in text
    assert "48 x 96" in text and "periodic" in text
    assert "missing    nothing" in text
    assert repr(xslams.open_tutorial()["pr"].slams).splitlines()[1] == "variables  pr (mm day-1)"


def test_repr_says_what_is_missing():
    text = repr(xr.Dataset({"t": (("lat", "lon"), np.zeros((2, 3)))}, {"lat": [0.0, 1.0], "lon": [0.0, 1, 2]}).slams)
    assert "missing    no time coordinate" in text
    assert "'t' has no units" in text


@pytest.mark.parametrize(
    "obj",
    [
        xr.Dataset(),
        xr.DataArray(1.0),
        xr.DataArray(np.zeros(3), dims="lat"),
        xr.Dataset(coords={"time": pd.date_range("2000", periods=0)}),
        xr.Dataset(coords={"time": [1, 2], "lat": ["a", "b"], "lon": [np.nan, 0.0], "level": ["top", "bottom"]}),
        xr.Dataset(coords={"lat": ("s", [1.0, 2.0]), "lon": ("s", [3.0, 4.0]), "time": pd.Timestamp("2000-01-01")}),
    ],
)
def test_repr_never_fails(obj):
    assert repr(obj.slams).startswith("<xslams accessor>")
    assert obj.slams._repr_html_().count("<tr>") == len(repr(obj.slams).splitlines()) - 1


def test_html_is_escaped():
    ds = xr.Dataset({"<b>": ("time", [1.0])}, {"time": pd.date_range("2000", periods=1)})
    assert "&lt;b&gt;" in ds.slams._repr_html_()
    assert "<b>" not in ds.slams._repr_html_()


def test_repr_reads_no_data():
    import dask

    def refuse(*args, **kwargs):
        raise AssertionError("computed for a repr")

    with dask.config.set(scheduler=refuse):
        assert "60 frames" in repr(xslams.open_tutorial().chunk(time=10).slams)


def test_a_dataarray_without_a_name_is_a_dataset_of_one_variable():
    da = xslams.open_tutorial()["pr"].rename(None)
    assert "values (mm day-1)" in repr(da.slams)
    assert da.slams.regrid(da.isel(lat=slice(0, 4)), "nearest").sizes["lat"] == 4

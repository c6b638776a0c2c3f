"""Models are found by name or path, fetched only with the right hash, and every failure says what to do."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from functools import partial

import numpy as np
import pytest

import xslams
from xslams import zoo
from xslams.errors import ModelError


@pytest.fixture
def server(tmp_path):
    """A folder served on this machine."""
    (tmp_path / "www").mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield tmp_path / "www", f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def remote(server, tiny_model, tmp_path, monkeypatch):
    """A registry that knows one model on the server."""
    folder, address = server
    shutil.copy(tiny_model.path, folder / "remote-tiny.safetensors")
    data = tmp_path / "data"
    data.mkdir()
    entry = {
        "url": f"{address}/remote-tiny.safetensors",
        "sha256": tiny_model.sha256,
        "size": tiny_model.path.stat().st_size,
        "summary": "far away",
    }
    (data / "registry.json").write_text(json.dumps({"remote-tiny": entry}))
    monkeypatch.setattr(zoo, "_DATA", data)
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "cache"))
    return folder, data, entry


def test_tutorial_is_a_state_that_the_package_understands():
    ds = xslams.open_tutorial()
    assert dict(ds.sizes) == {"time": 60, "sigma": 8, "lat": 48, "lon": 96}
    assert {n: ds[n].attrs["units"] for n in ds} == {"t": "K", "pr": "mm day-1", "olr": "W m-2"}
    assert all(np.isfinite(ds[n]).all() for n in ds)
    assert "missing    nothing" in repr(ds.slams)


def test_tutorial_is_within_its_rounding_of_the_simulation(shared_data):
    import xarray as xr

    ds = xslams.open_tutorial()
    with xr.open_dataset(shared_data / "speedy_t30_daily_4yr.nc") as full:
        for name, step in {"t": 0.1, "pr": 0.1, "olr": 0.25}.items():
            assert float(abs(full[name].sel(time=ds["time"]) - ds[name]).max()) <= step / 2 + 1e-4


def test_unknown_names_are_errors_that_list_the_known_ones():
    with pytest.raises(ModelError, match="no tutorial data set 'nothing'; choose one of 'speedy'"):
        xslams.open_tutorial("nothing")
    with pytest.raises(ModelError, match=r"no model 'nothing'.*list_models"):
        xslams.open_model("nothing")
    with pytest.raises(ModelError, match=r"no model file .*nothing\.safetensors"):
        xslams.open_model("nothing.safetensors")


def test_a_path_and_a_model_are_opened_as_they_are(tiny_model):
    assert xslams.open_model(tiny_model) is tiny_model
    assert xslams.open_model(tiny_model.path).spec.to_json() == tiny_model.spec.to_json()
    assert xslams.open_model(str(tiny_model.path)).sha256 == tiny_model.sha256


def test_embedded_models_are_listed(tiny_model, remote):
    _, data, _ = remote
    shutil.copy(tiny_model.path, data / "small.safetensors")
    row = xslams.list_models().loc["small"]
    assert row["where"] == "embedded"
    assert row["sha256"] == tiny_model.sha256
    assert row["variables"] == "t (2 levels), pr [aux]"
    assert row["grid"] == "8 x 16, global"
    assert row["size"] == pytest.approx(tiny_model.path.stat().st_size / 1e6)
    assert xslams.open_model("small").spec.name == "tiny"


def test_a_remote_model_is_fetched_once(remote, tiny_model):
    folder, _, entry = remote
    before = xslams.list_models().loc["remote-tiny"]
    assert (before["where"], before["summary"]) == (entry["url"], "far away")
    assert xslams.open_model("remote-tiny").spec.to_json() == tiny_model.spec.to_json()
    assert xslams.list_models().loc["remote-tiny", "where"] == "cached"
    (folder / "remote-tiny.safetensors").unlink()
    assert xslams.open_model("remote-tiny").sha256 == tiny_model.sha256


def test_a_damaged_or_absent_remote_file_is_an_error(remote):
    folder, _, entry = remote
    with (folder / "remote-tiny.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelError, match=f"could not be fetched from {entry['url']}.*{entry['sha256']}"):
        xslams.open_model("remote-tiny")
    (folder / "remote-tiny.safetensors").unlink()
    with pytest.raises(ModelError, match="Check the network"):
        xslams.open_model("remote-tiny")


def test_shipped_models_are_small_and_say_what_they_are():
    for name, row in xslams.list_models().iterrows():
        if row["where"] == "embedded":
            assert row["size"] < 10, name
            assert row["summary"], name
            assert xslams.open_model(name).spec.name == name

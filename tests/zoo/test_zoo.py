"""Models are found by name or path, fetched whole and right or not at all; every failure says what to do."""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import shutil
import signal
import struct
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import xslams
from xslams.errors import ModelError, SlamsWarning
from xslams.model import Model
from xslams.zoo import pretrained as zoo
from xslams.zoo import registry

ROOT = Path(__file__).parents[2]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; slowly, or less than it has announced, where the server says so."""

    def log_message(self, *args):
        pass

    def copyfile(self, source, outputfile):
        self.server.requests += 1
        data = source.read()
        if self.server.short:
            data = data[: len(data) // 2]
        for start in range(0, len(data), 2**14):
            outputfile.write(data[start : start + 2**14])
            time.sleep(self.server.pause)


@pytest.fixture
def server(tmp_path):
    """A folder served on this machine."""
    (tmp_path / "www").mkdir()
    handler = partial(Handler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.requests, httpd.short, httpd.pause = 0, False, 0.0
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield tmp_path / "www", httpd
        httpd.shutdown()
        thread.join()


@pytest.fixture
def remote(server, tiny_model, tmp_path, monkeypatch):
    """A registry that knows one model on the server."""
    folder, httpd = server
    shutil.copy(tiny_model.path, folder / "remote-tiny.safetensors")
    data = tmp_path / "data"
    data.mkdir()
    entry = {
        "url": f"http://127.0.0.1:{httpd.server_port}/remote-tiny.safetensors",
        "sha256": tiny_model.sha256,
        "size": tiny_model.path.stat().st_size,
        "license": "MIT",
        "summary": "far away",
        "known_to_later_versions": True,
    }
    (data / "registry.json").write_text(json.dumps({"remote-tiny": entry}))
    monkeypatch.setattr(registry, "DATA", data)
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("XSLAMS_MIRROR", raising=False)
    return folder, data, entry


def left(tmp_path):
    """What is in the cache, temporary files included."""
    return sorted(p.name for p in (tmp_path / "cache").glob("*"))


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
    assert registry.read()["remote-tiny"].license == "MIT"
    before = xslams.list_models().loc["remote-tiny"]
    assert (before["where"], before["summary"]) == (entry["url"], "far away")
    assert xslams.open_model("remote-tiny").spec.to_json() == tiny_model.spec.to_json()
    assert xslams.list_models().loc["remote-tiny", "where"] == "cached"
    (folder / "remote-tiny.safetensors").unlink()
    assert xslams.open_model("remote-tiny").sha256 == tiny_model.sha256


def damage(folder, how):
    path = folder / "remote-tiny.safetensors"
    data = bytearray(path.read_bytes())
    if how == "truncated":
        data = data[:-1000]
    elif how == "wrong hash":
        data[-1] ^= 1
    elif how == "another file":
        data += b"more"
    else:
        data = bytearray(b"<!DOCTYPE html><title>Please log in</title>")
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["truncated", "wrong hash", "another file", "not a model file"])
def test_a_damaged_file_is_refused_and_removed(remote, tmp_path, how):
    folder, _, entry = remote
    damage(folder, how)
    with pytest.raises(ModelError, match=f"fetched from {entry['url']} and refused.*{how}.*has been removed"):
        xslams.open_model("remote-tiny")
    assert left(tmp_path) == []


def test_a_transfer_that_breaks_off_leaves_nothing(remote, server, tmp_path):
    server[1].short = True
    with pytest.raises(ModelError, match=r"could not be fetched|is truncated"):
        xslams.open_model("remote-tiny")
    assert left(tmp_path) == []
    server[1].short = False
    assert xslams.open_model("remote-tiny").spec.name == "tiny"


def test_an_absent_file_says_how_to_do_without_the_network(remote, tmp_path):
    folder, _, entry = remote
    (folder / "remote-tiny.safetensors").unlink()
    with pytest.raises(ModelError, match=f"404.*Check the network.*{entry['sha256']}.*XSLAMS_MIRROR"):
        xslams.open_model("remote-tiny")
    assert left(tmp_path) == []


def test_a_cache_that_cannot_be_written_says_which_variable_moves_it(remote, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="XSLAMS_CACHE"):
        xslams.open_model("remote-tiny")


@pytest.mark.parametrize("how", ["truncated", "wrong hash", "another file", "not a model file"])
def test_a_damaged_copy_in_the_cache_is_never_opened(remote, server, tmp_path, how):
    xslams.open_model("remote-tiny")
    damage(tmp_path / "cache", how)
    with pytest.warns(SlamsWarning, match=f"{how}.*fetched again"):
        model = xslams.open_model("remote-tiny")
    assert model.sha256 == remote[2]["sha256"]
    damage(tmp_path / "cache", how)
    (remote[0] / "remote-tiny.safetensors").unlink()
    with pytest.warns(SlamsWarning, match=how), pytest.raises(ModelError, match="could not be fetched"):
        xslams.open_model("remote-tiny")
    assert left(tmp_path) == []


def test_verify_knows_absent_intact_and_damaged(remote, tmp_path):
    assert zoo.verify_model("remote-tiny") == "absent"
    zoo.fetch_model("remote-tiny")
    assert zoo.verify_model("remote-tiny") == "cached"
    damage(tmp_path / "cache", "wrong hash")
    with pytest.raises(ModelError, match=r"wrong hash.*has been removed"):
        zoo.verify_model("remote-tiny")
    assert left(tmp_path) == []
    with pytest.raises(ModelError, match="Did you mean 'remote-tiny'"):
        zoo.verify_model("remote-tyni")


def test_a_damaged_embedded_model_is_told_and_kept(remote, tiny_model):
    _, data, _ = remote
    shutil.copy(tiny_model.path, data / "small.safetensors")
    with pytest.raises(ModelError, match=r"not in its registry.*install xslams again"):
        zoo.verify_model("small")
    entry = {"sha256": tiny_model.sha256, "size": tiny_model.path.stat().st_size}
    (data / "registry.json").write_text(json.dumps({"small": entry}))
    assert zoo.verify_model("small") == "embedded"
    with (data / "small.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelError, match=r"another file.*install xslams again"):
        zoo.verify_model("small")
    assert (data / "small.safetensors").exists()


@pytest.mark.parametrize("by", ["argument", "environment"])
@pytest.mark.parametrize("kind", ["folder", "file", "file://", "memory://", "http"])
def test_a_mirror_takes_the_place_of_the_address(remote, server, tmp_path, monkeypatch, by, kind):
    folder, _, entry = remote
    (folder / "mirror").mkdir()
    file = folder / "mirror" / "remote-tiny.safetensors"
    (folder / "remote-tiny.safetensors").rename(file)
    mirror = {
        "folder": str(file.parent),
        "file": str(file),
        "file://": file.parent.as_uri(),
        "memory://": "memory://bucket/models/",
        "http": f"{entry['url'].rpartition('/')[0]}/mirror",
    }[kind]
    if kind == "memory://":
        import fsspec

        fsspec.filesystem("memory").pipe_file("/bucket/models/remote-tiny.safetensors", file.read_bytes())
    if by == "environment":
        monkeypatch.setenv("XSLAMS_MIRROR", mirror)
        assert xslams.list_models().loc["remote-tiny", "where"].startswith(mirror.rstrip("/"))
    model = xslams.open_model("remote-tiny", mirror=mirror if by == "argument" else None)
    assert model.sha256 == entry["sha256"]
    assert model.path == tmp_path / "cache" / "remote-tiny.safetensors"


def test_a_mirror_is_not_trusted(remote, tmp_path):
    damage(remote[0], "wrong hash")
    with pytest.raises(ModelError, match="wrong hash"):
        xslams.open_model("remote-tiny", mirror=str(remote[0]))
    assert left(tmp_path) == []


def test_an_unknown_kind_of_mirror_is_an_error(remote):
    with pytest.raises(ModelError, match="could not be fetched from nonsense://place"):
        xslams.open_model("remote-tiny", mirror="nonsense://place")


def newer(tiny_model, path, **changes):
    """Copy of a model file whose specification says something else."""
    data = tiny_model.path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    spec = json.loads(header["__metadata__"]["spec"]) | changes
    header["__metadata__"]["spec"] = json.dumps(spec)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path


def test_a_model_newer_than_the_package_says_so(tiny_model, tmp_path):
    path = newer(tiny_model, tmp_path / "new.safetensors", format_version=99)
    with pytest.raises(ModelError, match=r"new.safetensors.*format 99.*Update xslams"):
        xslams.open_model(path)
    path = newer(tiny_model, tmp_path / "new.safetensors", invented_later=1)
    with pytest.raises(ModelError, match=r"new.safetensors.*invented_later.*newer xslams"):
        xslams.open_model(path)
    path = newer(tiny_model, tmp_path / "new.safetensors", variables=3)
    with pytest.raises(ModelError, match=r"new.safetensors.*does not understand"):
        xslams.open_model(path)


def test_a_newer_model_is_not_even_fetched(remote, server):
    _, data, entry = remote
    (data / "registry.json").write_text(json.dumps({"remote-tiny": entry | {"format_version": 99}}))
    with pytest.raises(ModelError, match=r"format 99.*Update xslams"):
        xslams.open_model("remote-tiny")
    assert server[1].requests == 0


def test_a_registered_file_that_is_no_model_is_removed(remote, tiny_model, tmp_path):
    folder, data, entry = remote
    path = newer(tiny_model, folder / "remote-tiny.safetensors", format_version=99)
    entry = entry | {"sha256": Model(tiny_model.spec, path=path).sha256, "size": path.stat().st_size}
    (data / "registry.json").write_text(json.dumps({"remote-tiny": entry}))
    with pytest.raises(ModelError, match=r"cannot be read.*Update xslams"):
        xslams.open_model("remote-tiny")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", '{"a": 1}', '{"a": {"sha256": "x"}}', '{"a": {"sha256": "x", "size": 1}}']
)
def test_a_damaged_registry_is_an_error(remote, text):
    (remote[1] / "registry.json").write_text(text)
    with pytest.raises(ModelError, match=r"registry.json.*Install xslams again"):
        xslams.list_models()


FETCH = """
import sys, pathlib
from xslams.zoo import registry
from xslams.zoo import pretrained as zoo
registry.DATA = pathlib.Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
path = zoo.fetch_model("remote-tiny")
registry.check(path, registry.read()["remote-tiny"])
print("whole", flush=True)
"""


def worker(fresh_python, data, tmp_path):
    return subprocess.Popen(
        [fresh_python, "-c", FETCH, str(data)],
        env={**os.environ, "XSLAMS_CACHE": str(tmp_path / "cache")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_many_processes_may_fetch_at_the_same_time(remote, server, tmp_path, fresh_python):
    _, data, _ = remote
    server[1].pause = 0.01
    workers = [worker(fresh_python, data, tmp_path) for _ in range(4)]
    for w in workers:
        assert w.stdout.readline() == "ready\n"
    for w in workers:
        w.stdin.write("go\n")
        w.stdin.flush()
    assert [w.communicate(timeout=60)[0] for w in workers] == ["whole\n"] * 4
    assert server[1].requests > 1  # they did overlap
    assert left(tmp_path) == ["remote-tiny.safetensors"]


def test_a_process_killed_while_it_fetches_leaves_nothing_under_the_name(remote, server, tmp_path, fresh_python):
    _, data, _ = remote
    server[1].pause = 0.2
    victim = worker(fresh_python, data, tmp_path)
    assert victim.stdout.readline() == "ready\n"
    victim.stdin.write("go\n")
    victim.stdin.flush()
    deadline = time.monotonic() + 60
    while not left(tmp_path):  # its temporary file
        assert time.monotonic() < deadline
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=60)
    assert "remote-tiny.safetensors" not in left(tmp_path)
    server[1].pause = 0.0
    assert xslams.open_model("remote-tiny").spec.name == "tiny"


def test_shipped_models_are_small_and_say_what_they_are():
    for name, row in xslams.list_models().iterrows():
        if row["where"] == "embedded":
            assert row["size"] < 30, name
            assert row["summary"], name
            assert xslams.open_model(name).spec.name == name


def test_the_registry_says_what_the_package_holds():
    hint = "run: python examples/register_models.py"
    embedded = {name: e for name, e in registry.read().items() if e.embedded}
    assert set(embedded) == {p.stem for p in registry.DATA.glob("*.safetensors")}, hint
    for name, entry in embedded.items():
        model = xslams.open_model(name)
        found = dataclasses.replace(
            entry, sha256=model.sha256, size=model.path.stat().st_size, license=model.spec.license
        )
        assert found == entry, hint
        assert entry.license, name
        assert zoo.verify_model(name) == "embedded"


def test_entries_to_fetch_are_complete():
    for name, entry in registry.read().items():
        if not entry.embedded:
            assert entry.url.startswith("https://"), name
            assert entry.license, name
            assert entry.summary, name


def test_a_wheel_holds_the_models_and_nothing_from_outside(tmp_path, fresh_python):
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")
    import zipfile

    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [fresh_python, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        names = set(wheel.namelist())
        for entry in registry.read().values():
            if entry.embedded:
                copy = Path(wheel.extract(f"xslams/data/{entry.file}", tmp_path))
                registry.check(copy, entry)
    tracked = {
        str(p.relative_to(ROOT)) for p in (ROOT / "xslams").rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }
    assert {n for n in names if n.startswith("xslams/")} == tracked
    assert {n.split("/")[0].split("-")[0] for n in names} == {"xslams"}
    assert "xslams/data/registry.json" in names

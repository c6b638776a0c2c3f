"""Transfers end at the known size and at a total time, stay within their folder, and never show a credential."""

from __future__ import annotations

import http.server
import json
import logging
import os
import threading
import time
import traceback
import warnings
from base64 import b64encode
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams import addresses, downloads, places
from xslams.cli.commands import main
from xslams.datasets import cache
from xslams.datasets.cache import Access, Provider, Remote
from xslams.errors import DatasetError, FileError, ModelError, OptionError, SlamsError, SlamsWarning
from xslams.model import Model
from xslams.pipeline import provenance
from xslams.zoo import registry
from xslams.zoo.registry import Entry

BODY = bytes(range(256)) * 16
SECRETS = ("Sup3rSecret", "T0kenOfMine", "S1gnature")
QUERY = "token=T0kenOfMine&X-Amz-Signature=S1gnature"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the first part of the path says."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        getattr(self, "do_" + urlsplit(self.path).path.split("/")[1])()

    def begin(self, length=None, code=200, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def pour(self, piece, pause=0.0):
        try:
            while not self.server.closing:
                self.wfile.write(piece)
                time.sleep(pause)
        except OSError:
            self.server.hung_up += 1

    def do_whole(self):
        self.begin(len(BODY))
        self.wfile.write(BODY)

    def do_unannounced(self):
        self.begin()
        self.wfile.write(BODY)

    def do_endless(self):
        self.begin()
        self.pour(BODY)

    def do_announced_endless(self):
        self.begin(len(BODY))
        self.pour(BODY)

    def do_huge(self):
        self.begin(10**15)
        self.pour(BODY)

    def do_short(self):
        self.begin(len(BODY) + 1)
        self.wfile.write(BODY)

    def do_slow(self):
        self.begin(len(BODY))
        self.pour(b"x", 0.02)

    def do_slow_header(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
        self.pour(b"x", 0.02)

    def do_silent(self):
        while not self.server.closing:
            time.sleep(0.02)

    def do_loop(self):
        self.begin(0, 302, Location=f"/loop?{QUERY}")

    def do_moved(self):
        self.begin(0, 302, Location=f"/whole/f.bin?{QUERY}")

    def do_gone(self):
        self.begin(0, 302, Location=f"/forbidden?{QUERY}")

    def do_forbidden(self):
        self.begin(0, 403)

    def do_local(self):
        self.begin(0, 302, Location="file:///etc/hostname")

    def do_part(self):
        self.begin(len(BODY), 206, Content_Range=f"bytes 7-{len(BODY) + 6}/{len(BODY) + 7}")
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("XSLAMS_MIRROR", raising=False)
    monkeypatch.setattr(cache, "_PAUSE", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.seen, httpd.closing, httpd.hung_up = [], False, 0
        httpd.daemon_threads = True
        httpd.at = f"127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield httpd
        httpd.closing = True
        httpd.shutdown()
        thread.join()


def left(tmp_path):
    return [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def everything(error):
    """All that an error says, with what a traceback shows of its causes."""
    text = "".join(traceback.format_exception(error))
    return text + repr(error) + str(error) + repr(error.__cause__)


def fetch(address, name="f.bin", largest=10**6, **options):
    remote = Remote(name, lambda path: {"size": path.stat().st_size}, largest=largest, **options)
    return cache.fetch(Provider("place", "https://nowhere.invalid"), remote, Access(address))


def model(url):
    return registry.fetch(Entry("far", "0" * 64, len(BODY), url=url))


# ---------------------------------------------------------------------------------------------------------------------
# Size and time
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["endless", "huge"])
def test_a_transfer_stops_at_the_largest_size(server, tmp_path, kind):
    with pytest.raises(DatasetError, match=r"could not be fetched \(it has .*expected at most 1000000"):
        fetch(f"http://{server.at}/{kind}")
    assert left(tmp_path) == []
    assert len(server.seen) == 1


@pytest.mark.parametrize("kind", ["endless", "huge", "announced_endless", "short", "slow"])
def test_a_model_stops_at_the_size_of_the_registry(server, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("XSLAMS_DOWNLOAD_SECONDS", "0.3")
    with pytest.raises(ModelError, match=r"fetched from http://.* (refused|after 0.3 seconds)|could not be fetched"):
        model(f"http://{server.at}/{kind}/far.safetensors")
    assert left(tmp_path) == []


def test_the_announced_size_is_the_last_byte(server, tmp_path):
    assert fetch(f"http://{server.at}/announced_endless").path.read_bytes() == BODY
    assert fetch(f"http://{server.at}/unannounced", "g.bin").path.read_bytes() == BODY


@pytest.mark.parametrize("kind", ["slow", "slow_header", "silent"])
@pytest.mark.parametrize("what", [fetch, model])
def test_a_transfer_stops_at_the_total_time(server, tmp_path, monkeypatch, kind, what):
    monkeypatch.setenv("XSLAMS_DOWNLOAD_SECONDS", "0.2")
    start = time.monotonic()
    with pytest.raises(SlamsError, match=r"not complete after 0\.2 seconds; XSLAMS_DOWNLOAD_SECONDS"):
        what(f"http://{server.at}/{kind}")
    assert time.monotonic() - start < 2
    assert left(tmp_path) == []


def test_a_file_shorter_than_announced_is_refused(server, tmp_path):
    with pytest.raises(DatasetError, match="could not be fetched"):
        fetch(f"http://{server.at}/short")
    assert left(tmp_path) == []


def test_another_part_than_asked_for_is_refused(server, tmp_path):
    with pytest.raises(DatasetError, match="another part of the file"):
        fetch(f"http://{server.at}/part")
    assert left(tmp_path) == []


def test_other_file_systems_stop_at_the_size_too(server, tmp_path):
    (tmp_path / "far.safetensors").write_bytes(b"\0" * 8 + b"{" + BODY * 2)
    with pytest.raises(ModelError, match="is another file: it has more than 4096 bytes"):
        model(str(tmp_path / "far.safetensors"))
    assert left(tmp_path) == []


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "inf"])
def test_a_time_that_is_none(server, monkeypatch, text):
    monkeypatch.setenv("XSLAMS_DOWNLOAD_SECONDS", text)
    with pytest.raises(OptionError, match=f"XSLAMS_DOWNLOAD_SECONDS='{text}'"):
        fetch(f"http://{server.at}/whole")


def test_redirects_are_followed_within_the_web(server, tmp_path):
    assert fetch(f"http://{server.at}/moved").path.read_bytes() == BODY
    for kind in ("loop", "local"):
        with pytest.raises(DatasetError, match=r"TooManyRedirects|InvalidSchema"):
            fetch(f"http://{server.at}/{kind}", f"{kind}.bin")
    assert not any(kind in name for name in left(tmp_path) for kind in ("loop", "local"))


def test_the_command_line_reads_no_endless_file(server, monkeypatch):
    monkeypatch.setenv("XSLAMS_DOWNLOAD_SECONDS", "0.3")
    from xslams.cli import files

    monkeypatch.setattr(files, "_LARGEST", 10**5)
    for kind in ("endless", "slow"):
        with pytest.raises(downloads.TransferError, match=r"expected at most 100000|not complete after"):
            files._netcdf(None, f"http://{server.at}/{kind}/t.nc?{QUERY}", remote=True)


# ---------------------------------------------------------------------------------------------------------------------
# Credentials
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", [fetch, model])
@pytest.mark.parametrize("kind", ["forbidden", "gone", "loop", "short", "huge", "slow", "local"])
def test_errors_and_logs_hold_no_credentials(server, monkeypatch, caplog, kind, what):
    monkeypatch.setenv("XSLAMS_DOWNLOAD_SECONDS", "0.2")
    caplog.set_level(logging.DEBUG)
    url = f"http://me:Sup3rSecret@{server.at}/{kind}/far.safetensors?{QUERY}"  # lines of code are in tracebacks
    with pytest.raises(SlamsError) as caught:
        what(url)
    said = everything(caught.value) + caplog.text
    assert server.at.partition(":")[0] in said
    assert not [s for s in SECRETS if s in said]
    # They are used, nevertheless.
    path, authorization = server.seen[0]
    assert "token=T0kenOfMine" in path
    assert authorization == "Basic " + b64encode(b"me:Sup3rSecret").decode()


def test_a_refused_connection_holds_no_credentials(server):
    url = f"http://me:Sup3rSecret@127.0.0.1:9/a?{QUERY}"
    for what in (fetch, model):
        with pytest.raises(SlamsError) as caught:
            what(url)
        assert not [s for s in SECRETS if s in everything(caught.value)]


def test_records_and_warnings_hold_no_credentials(server, tmp_path):
    address = f"http://me:Sup3rSecret@{server.at}/whole?{QUERY}"
    found = fetch(address)
    text = "".join(p.read_text() for p in (tmp_path / "cache").rglob("*.json"))
    assert json.loads(text)["url"] == f"http://***@{server.at}/whole/f.bin?token=***&X-Amz-Signature=***"
    assert not [s for s in SECRETS if s in text]
    found.path.write_bytes(b"changed")
    with pytest.raises(DatasetError, match=r"was changed after it was fetched from http://\*\*\*@") as caught:
        fetch(address)
    assert not [s for s in SECRETS if s in everything(caught.value)]


def test_the_list_of_models_holds_no_credentials(server, tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    record = {"url": f"https://me:Sup3rSecret@h.example/far.safetensors?{QUERY}", "sha256": "0" * 64, "size": 1}
    (data / "registry.json").write_text(json.dumps({"far": record}))
    monkeypatch.setattr(registry, "DATA", data)
    assert xslams.list_models().loc["far", "where"].startswith("https://***@h.example/far")
    monkeypatch.setenv("XSLAMS_MIRROR", f"https://me:Sup3rSecret@mirror.example/?{QUERY}")
    assert xslams.list_models().loc["far", "where"].startswith("https://***@mirror.example/far.safetensors?token=***")


@pytest.mark.parametrize(
    "call",
    [
        ["score", "URL", "URL"],
        ["score", "URL", "URL", "--out", "URL"],
        ["regrid", "URL", "--target", "URL", "--out", "out.nc"],
        ["assimilate", "tutorial:speedy", "--obs", "URL", "--model", "URL", "--out", "out.nc"],
        ["assimilate", "tutorial:speedy", "--obs", "tutorial:speedy", "--model", "URL", "--out", "out.nc"],
        ["assimilate", "tutorial:speedy", "--obs", "URL", "--model", "URL", "--config", "URL"],
        ["models", "info", "URL"],
    ],
)
def test_the_command_line_shows_no_credentials(server, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    url = f"http://me:Sup3rSecret@{server.at}/forbidden/t.nc?{QUERY}"
    result = CliRunner().invoke(main, [part.replace("URL", url) for part in call])
    assert result.exit_code
    assert "***" in result.output
    assert not [s for s in SECRETS if s in result.output]


def test_attributes_and_history_hold_no_credentials():
    made = SimpleNamespace(spec=SimpleNamespace(name="tiny"), sha256="0" * 64)
    ds = xslams.open_tutorial().isel(time=[0])
    ds.attrs["history"] = f"wget https://me:Sup3rSecret@h.example/t.nc?{QUERY}"
    attrs = provenance.attributes(ds, made, "assimilate", sources="s3://me:Sup3rSecret@bucket/o.nc", seed=1)
    assert "https://***@h.example/t.nc?token=***" in attrs["history"]
    assert attrs["xslams_sources"] == "s3://***@bucket/o.nc"
    assert attrs["xslams_seed"] == 1
    assert not [s for s in SECRETS if s in str(attrs)]


def test_addresses_that_became_paths_hold_no_credentials(caplog):
    url = f"https://me:Sup3rSecret@h.example/far.safetensors?{QUERY}"
    caplog.set_level(logging.DEBUG)
    logging.getLogger("fsspec.http").debug("%s opened", url)
    assert "https://***@h.example" in caplog.text
    for call in (xslams.open_model, Model.load, xslams.open_analysis):
        for text in (url, f"{url}.safetensors"):
            with pytest.raises((SlamsError, ImportError)) as caught:
                call(text)
            assert not [s for s in SECRETS if s in everything(caught.value) + caplog.text]
    assert addresses.hide("/here/https:/me:Sup3rSecret@h.example/a?b=c is no file") == (
        "/here/https:/***@h.example/a?b=*** is no file"
    )


@pytest.mark.parametrize("kind", [DatasetError, FileError, ModelError, OptionError])
def test_every_message_passes_the_rule(kind):
    assert str(kind(f"s3://me:Sup3rSecret@bucket/o.nc?{QUERY}.")) == (
        "s3://***@bucket/o.nc?token=***&X-Amz-Signature=***."
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        xslams.errors.warn("of ftp://me:Sup3rSecret@h.example")
    assert str(caught[0].message) == "of ftp://***@h.example"
    assert isinstance(caught[0].message, SlamsWarning)


_SCHEMES = st.sampled_from(["http", "https", "s3", "gs", "ftp", "abfs", "simplecache::https", "zip://a.nc::s3"])
_SECRET = st.text("abcXYZ019%+@:!$'()*,-._~/", min_size=6, max_size=20).map(lambda text: f"Zq{text}qZ")


@settings(max_examples=60, deadline=None)
@given(_SCHEMES, _SECRET, _SECRET, st.sampled_from(["token", "sig", "X-Amz-Signature", "key", "a"]))
def test_no_address_shows_its_secrets(scheme, password, token, name):
    url = f"{scheme}://me:{password}@host.example/a/t.nc?page=1&{name}={token}"
    for text in (addresses.public(url), addresses.hide(f"It failed: {url!r}.", url), str(FileError(f"at {url}: no"))):
        assert "host.example/a/t.nc?page=***" in text
        assert password not in text
        assert token not in text
        assert addresses.hide(text) == text


@pytest.mark.parametrize(
    "plain", ["/data/t.nc", "a b/c?.nc", "https://h.example:8080/a@v1/t.nc", "s3://bucket/t?.nc", "file:///a/b.nc",
              "memory://x/y.zarr", "C:\\data\\t.nc", "https://[::1]:80/a", "is it 0? t=1 & u=2", "me@host.example"],
)  # fmt: skip
def test_what_holds_no_secret_is_kept(plain):
    assert addresses.public(plain) == plain
    assert addresses.hide(f"It failed at {plain}.") == f"It failed at {plain}."


# ---------------------------------------------------------------------------------------------------------------------
# Names and temporary files
# ---------------------------------------------------------------------------------------------------------------------
OUTSIDE = [
    "../f.bin",
    "a/../../f.bin",
    "/tmp/f.bin",
    "..",
    "",
    ".",
    "a\\..\\f.bin",
    "C:/f.bin",
    "C:f.bin",
    "a\0b",
    "a\n",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_cannot_leave_the_cache(server, tmp_path, name):
    with pytest.raises(OptionError, match="no name of a file"):
        places.within(tmp_path, name)
    with pytest.raises(SlamsError, match="no name of a file"):
        fetch(f"http://{server.at}/whole", name)
    with pytest.raises(SlamsError, match="no name of a file"):
        cache.derive(Provider(name, "https://h.example"), "f.bin", "o", lambda p: None, lambda p: {}, Access())
    assert server.seen == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../far", "a/far", "/tmp/far", "a\\far", "..\\far", "a\0"])
def test_names_of_models_cannot_leave_the_cache(server, tmp_path, monkeypatch, name):
    with pytest.raises(ModelError, match="name of the model"):
        registry.fetch(Entry(name, "0" * 64, 1, url=f"http://{server.at}/whole"))
    (tmp_path / "registry.json").write_text(json.dumps({name: {"sha256": "0" * 64, "size": 1}}))
    with pytest.raises(ModelError, match="name of the model"):
        registry.read(tmp_path)


def test_a_record_cannot_name_a_file_outside(server, tmp_path):
    found = fetch(f"http://{server.at}/whole")
    (path,) = (tmp_path / "cache").rglob("*.json")
    (tmp_path / "private").write_bytes(BODY)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"file": os.path.relpath(tmp_path / "private", path.parent)}))
    assert fetch(f"http://{server.at}/whole").path == found.path
    assert len(server.seen) == 2


def test_what_killed_transfers_of_models_left_is_swept(server, tmp_path):
    place = tmp_path / "cache"
    place.mkdir()
    for name, age in ((".part-old", 3), (".part-new", 0)):
        (place / name).write_text("half")
        then = time.time() - age * 86400
        os.utime(place / name, (then, then))
    with pytest.raises(ModelError):
        model(f"http://{server.at}/whole")
    assert left(tmp_path) == [".part-new"]


def test_nothing_watches_on_when_a_transfer_has_ended(server, tmp_path):
    with (tmp_path / "f").open("w+b") as file:
        downloads.receive(f"http://{server.at}/whole", file, largest=len(BODY))
    assert (tmp_path / "f").read_bytes() == BODY
    time.sleep(0.05)
    assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("how", ["cause", "context", "note", "group"])
def test_no_cause_of_a_cause_holds_credentials(depth, how):
    """A traceback shows the whole chain, each with its notes."""
    url = f"s3://me:Sup3rSecret@bucket/run.zarr?{QUERY}"
    error = OSError("plain") if how == "note" else ValueError(f"no such key: {url}")
    if how == "note":
        error.add_note(f"while reading {url}")
    elif how == "group":
        error = ExceptionGroup("several", [error])
    for _ in range(depth):
        above = KeyError("above")
        above.__cause__, above.__context__ = (error, None) if how == "cause" else (None, error)
        error = above
    kept = addresses.cleaned(error)
    try:
        raise SlamsError("Failed.") from kept
    except SlamsError as e:
        said = everything(e)
    assert not [s for s in SECRETS if s in said] and type(error).__name__ in said
    plain = ValueError("nothing to hide")
    plain.__context__ = KeyError("nor here")
    assert addresses.cleaned(plain) is plain


def test_failures_of_stores_hold_no_credentials(monkeypatch):
    """Of libraries that name the address, or the password alone."""
    from xslams.pipeline import opening, store

    def fails(*args, **kwargs):
        raise OSError(f"cannot write {url}: signature of Sup3rSecret is wrong") from KeyError(url)

    url = f"memory://me:Sup3rSecret@bucket/run.zarr?{QUERY}"
    ds = xslams.open_tutorial()[["pr"]].isel(time=[0]).chunk()
    monkeypatch.setattr(store, "compute", fails)
    with pytest.raises(SlamsError, match="failed") as caught:
        ds.slams.to_zarr(url.replace("run", "killed"))
    assert not [s for s in SECRETS if s in everything(caught.value)]
    monkeypatch.undo()
    ds.slams.to_zarr(url)
    monkeypatch.setattr(opening.xr, "open_dataset", fails)
    with pytest.raises(SlamsError, match="cannot be opened") as caught:
        xslams.open_analysis(url)
    assert not [s for s in SECRETS if s in everything(caught.value)]


@pytest.mark.parametrize("command", ["assimilate", "score", "plot", "regrid", "train"])
def test_printed_configurations_hold_no_credentials(command, tmp_path):
    url = f"s3://me:Sup3rSecret@bucket/t.zarr?{QUERY}"
    calls = {
        "assimilate": [url, "--obs", f"{url},error=0.5", "--model", url, "--out", url],
        "score": [url, url],
        "plot": [url, "--out", f"{url}.png", "--obs", url],
        "regrid": [url, "--target", url, "--out", url],
        "train": [url, "--out", url],
    }
    result = CliRunner().invoke(main, [command, *calls[command], "--print-config"])
    assert result.exit_code == 0 and result.output.startswith("# Credentials are not printed")
    assert "s3://***@bucket/t.zarr" in result.output
    assert not [s for s in SECRETS if s in result.output]
    (tmp_path / "run.yaml").write_text(result.output)
    assert CliRunner().invoke(main, [command, "--config", str(tmp_path / "run.yaml"), "--print-config"]).exit_code == 0
    assert "***" not in CliRunner().invoke(main, [command, "--print-config"]).output

"""Progress: where a person waits and nowhere else, with frames, network calls and time left, within windows as well."""

from __future__ import annotations

import functools
import io
import itertools
import multiprocessing
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import dask
import numpy as np
import pytest
import tqdm
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from tests.pipeline.test_assimilate import FAST, waves
from xslams import progress
from xslams.errors import OptionError
from xslams.progress import Progress, require_progress, wanted


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


def at_terminal(monkeypatch) -> Terminal:
    """Make the messages of a test go to a terminal; no fixture, as pytest sets streams anew for each test."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    # Every line, and not ten in a second.
    monkeypatch.setattr(tqdm, "tqdm", functools.partial(tqdm.tqdm, mininterval=0, miniters=0))
    return stream


QUICK = {
    "window": 3, "epochs": 1, "patch": 4, "autoencoder_epochs": 1, "holdout": 0.3, "budget": 0, "modes": 4,
    "mean_order": 0, "hidden": 8, "width": (8,), "blocks": 1,
}  # fmt: skip


def gauges(ds):
    return xslams.Observation(ds["pr"], error=1.0, name="gauges")


def test_a_person_waits_at_a_terminal_or_a_notebook(monkeypatch):
    at_terminal(monkeypatch)
    assert wanted(None) and wanted(True) and not wanted(False)
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(wanted, None).result()
        assert pool.submit(wanted, True).result()
    with monkeypatch.context() as patch:
        patch.setattr(multiprocessing, "parent_process", lambda: "a parent")
        assert not wanted(None)
    for value, seen in (("1", False), ("0", True), ("", True)):
        monkeypatch.setenv("TQDM_DISABLE", value)
        assert wanted(None) is seen and wanted(True)
    for stream in (io.StringIO(), None, SimpleNamespace()):
        monkeypatch.setattr(sys, "stderr", stream)
        assert not wanted(None)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert not wanted(None)
    for shell, seen in ((SimpleNamespace(kernel="a kernel"), True), (SimpleNamespace(), False), (None, False)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert wanted(None) is seen


@pytest.mark.parametrize("value", [0, 1, "yes", [], np.nan])
def test_something_else_is_refused(value):
    with pytest.raises(OptionError, match="progress="):
        require_progress(value)


@settings(max_examples=30)
@given(
    st.integers(1, 50), st.none() | st.integers(1, 6), st.integers(0, 6),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30), st.lists(st.integers(1, 9), max_size=9)), max_size=6),
)  # fmt: skip
def test_a_bar_never_goes_back_nor_beyond_its_end(frames, parts, done, windows):
    """Whatever samplers call, batches repeat and regions complete."""
    seen = []
    bar = SimpleNamespace(total=frames, n=0.0, set_postfix_str=lambda *a, **k: None)
    bar.update = lambda step: (setattr(bar, "n", bar.n + step), seen.append(bar.n))
    shown = Progress(bar, parts, min(done, parts or 0))
    for each, calls, batches in windows:
        called = shown.window(each, calls)
        for members in batches:
            called(members)
        if parts:
            shown.complete()
    shown.finish()
    assert (np.diff(seen) >= -1e-9).all() and min(seen) >= 0 and max(seen) <= frames + 1e-9
    assert bar.n == pytest.approx(frames)


def test_an_eager_call_at_a_terminal_shows_frames_calls_and_time_within_one_window(tiny_model, monkeypatch):
    terminal = at_terminal(monkeypatch)
    ds = waves(4)
    ds.slams.assimilate([gauges(ds)], tiny_model, members=2, steps=4)
    lines = re.split(r"[\r\n]+", terminal.getvalue())
    shown = [
        re.search(r"assimilate: +(\d+)%.* ([\d.]+)/4 frames \[[\d:]+<[\d:?]+, (\d+) network calls\]", x) for x in lines
    ]
    shown = [s for s in shown if s]
    percents = [int(s[1]) for s in shown]
    assert percents == sorted(percents) and percents[-1] == 100
    assert len(set(percents)) >= 4, "there is one window, and progress within it"
    assert shown[-1][2] == "4.0" and shown[-1][3] == str(2 * 4)


def test_nothing_is_shown_where_nobody_waits_or_wants_it(tiny_model, monkeypatch):
    terminal = at_terminal(monkeypatch)
    ds = waves(4)
    ds.slams.assimilate([gauges(ds)], tiny_model, progress=False, **FAST)
    task = dask.delayed(ds.slams.assimilate)([gauges(ds)], tiny_model, **FAST)
    task.compute(scheduler="threads")
    assert terminal.getvalue() == ""
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    ds.slams.assimilate([gauges(ds)], tiny_model, **FAST)
    assert pipe.getvalue() == ""
    ds.slams.assimilate([gauges(ds)], tiny_model, progress=True, **FAST)
    assert "4.0/4 frames" in pipe.getvalue()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 2000))
def test_a_bar_writes_few_lines_where_they_stay(frames, calls):
    """Their number is that of the seconds, not that of the network calls; the last one says that all is done."""
    lines = {}
    for stream in (io.StringIO(), Terminal()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            # A clock that a call moves on by a second.
            now = itertools.count()
            patch.setattr(tqdm.std, "time", lambda now=now: float(next(now)))
            with progress.shown("assimilate", frames, True) as seen:
                called = seen.window(frames, calls)
                for _ in range(calls):
                    called(1)
                seen.finish()
        lines[type(stream)] = re.findall(r"assimilate: .*?frames", stream.getvalue())
        assert f"{frames}.0/{frames} frames" in lines[type(stream)][-1]
    assert len(lines[io.StringIO]) <= 3 + calls / 5
    assert len(lines[Terminal]) >= len(lines[io.StringIO])


def test_writing_shows_progress_within_a_region_too(tiny_model, tmp_path, monkeypatch):
    terminal = at_terminal(monkeypatch)
    ds = waves(4).chunk(time=2)
    analysis = ds.slams.assimilate([gauges(ds)], tiny_model, members=1, steps=4)
    with dask.config.set(scheduler="threads"):
        analysis.slams.to_zarr(tmp_path / "a.zarr")
    text = terminal.getvalue()
    assert "to_zarr" in text and "4.0/4 frames" in text and "4 network calls" in text
    assert len(set(re.findall(r"(\d+)%", text))) >= 4
    assert progress.current() is None
    again = analysis.slams.to_zarr(tmp_path / "a.zarr", resume=True, progress=False)
    np.testing.assert_array_equal(again["t"], analysis["t"])


@pytest.mark.filterwarnings("ignore:The training data cover")
def test_training_shows_stage_and_held_out_score_and_time_left(monkeypatch):
    terminal = at_terminal(monkeypatch)
    ds = waves(12)
    ds.slams.fit("pr", **QUICK)
    text = terminal.getvalue()
    assert "autoencoder" in text and "score network" in text
    assert re.search(r"held-out score \d\.\d+ \(climatology 1\)", text)
    assert re.search(r"\[\d\d:\d\d<", text)


@pytest.mark.filterwarnings("ignore:The training data cover")
def test_models_are_the_same_whether_or_not_somebody_looks():
    ds = waves(12)
    one, two = (ds.slams.fit("pr", **QUICK, progress=p).prior().storage_state() for p in (None, True))
    assert all((one[k] == two[k]).all() for k in one)


def test_two_threads_count_together():
    bar = SimpleNamespace(total=100, n=0.0, set_postfix_str=lambda *a, **k: None)
    bar.update = lambda step: setattr(bar, "n", bar.n + step)
    called = Progress(bar).window(100, 2000)
    threads = [threading.Thread(target=lambda: [called(1) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bar.n == pytest.approx(100)

"""Data that are larger than memory are read by parts of any size, and give the model of data in memory."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xslams.networks.normalization import Normalization
from xslams.pipeline import frames as lazily
from xslams.pipeline.frames import LazyFrames, Survey
from xslams.spec import Spec, VariableSpec
from xslams.training import frames, stages

pytestmark = pytest.mark.filterwarnings("ignore:The training data:xslams.errors.SlamsWarning")

SMALL: dict[str, Any] = {"modes": 8, "folds": 0, "epochs": 1, "width": (8,), "blocks": 1, "location": 2, "batch": 32}


def data(days: int = 120, lat: int = 4, lon: int = 6) -> xr.Dataset:
    rng = np.random.default_rng(0)
    values = 280 + rng.standard_normal((days, lat, lon)).astype(np.float32).cumsum(0) % 7
    coords = {"time": pd.date_range("2001-01-01", periods=days), "lat": np.linspace(30, 60, lat), "lon": np.arange(lon)}
    return xr.Dataset({"t": (("time", "lat", "lon"), values, {"units": "K"})}, coords)


def weights(ds: xr.Dataset, **options: Any) -> dict[str, torch.Tensor]:
    given = {"budget": 0, "progress": False, "device": "cpu", **SMALL, **options}
    return ds.slams.fit(**given).prior().state_dict()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of seven frames of `data`, where all is larger than memory."""
    monkeypatch.setattr(frames, "_BLOCK", 7 * 24 * 4)
    monkeypatch.setattr(lazily, "_BLOCK", 7 * 24 * 4)


@pytest.mark.usefixtures("small_blocks")
def test_chunks_change_no_bit_and_memory_only_what_it_has_to(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = data(40)
    # The covariances are those of a part that memory holds: of all, to compare them.
    monkeypatch.setattr(stages, "spread", lambda lengths, most: [(i, slice(0, n)) for i, n in enumerate(lengths)])
    inside = weights(ds)
    for chunks in ({"time": 3}, {"time": -1}, {"time": 11, "lat": 2, "lon": 3}):
        outside = weights(ds.chunk(chunks), memory=1e-9)
        assert all(torch.equal(inside[k], outside[k]) for k in inside), chunks
    assert not list(Path.cwd().glob(".xslams-*"))


def test_covariances_of_more_than_memory_holds_are_those_of_a_part() -> None:
    ds = data(400)
    model = ds.chunk({"time": 50}).slams.fit(budget=0, progress=False, modes=8, memory=2**-9 * 24 * 4 / 2**30)
    assert model.spec.training["data"]["frames"] == 400
    assert "trained on 400 frames, 2001-01-01 to 2002-02-04" in repr(model)
    assert model.spec.training["data"]["periods"] == [["2001-01-01T00:00:00", "2002-02-04T00:00:00"]]


@settings(max_examples=8, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), block=st.integers(1, 12), share=st.floats(0, 0.6),
    orders=st.tuples(st.integers(0, 2), st.integers(0, 1)),
)  # fmt: skip
def test_a_climatology_is_the_same_by_blocks_of_any_length(
    lengths: list[int], block: int, share: float, orders: tuple[int, int]
) -> None:
    rng = np.random.default_rng(len(lengths) + block)
    count = 40 + sum(lengths)
    x = 280 + 5 * rng.standard_normal((count, 2, 2, 3))
    x[:, 1][rng.random((count, 2, 3)) < share] = np.nan
    season = torch.as_tensor(rng.random(count), dtype=torch.float32)
    fields = torch.as_tensor(x, dtype=torch.float32)
    spec = Spec((VariableSpec("t", "K"), VariableSpec("u", "K", "aux")), (0.0, 1.0), (0.0, 1.0, 2.0), periodic=False)
    whole, parts = Normalization(spec, *orders), Normalization(spec, *orders)
    whole.fit(fields, season)
    parts.fit_blocks(list(zip(fields.split(block), season.split(block), strict=True)))
    torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(parts.log_std, whole.log_std, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(
    chunks=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    cut=st.lists(st.integers(0, 80), min_size=2, max_size=8),
)
def test_frames_are_those_that_were_asked_for(chunks: list[int], cut: list[int]) -> None:
    total = sum(chunks)
    values = np.arange(total * 2, dtype=np.float32).reshape(total, 1, 1, 2)
    fields = xr.DataArray(values, dims=("time", "channel", "lat", "lon")).chunk({"time": tuple(chunks)})
    lazy = LazyFrames(fields)
    for a, b in itertools.pairwise(cut):
        np.testing.assert_array_equal(np.asarray(lazy[a:b]), values[a:b])
        np.testing.assert_array_equal(np.asarray(lazy[a:][: max(b - a, 0)]), values[a : max(a, b)])
        assert lazy[a:b].shape == values[a:b].shape


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32) | st.just(np.nan) | st.just(np.inf), max_size=5), max_size=5))
def test_a_survey_is_that_of_all_values_together(parts: list[list[float]]) -> None:
    found, everything = Survey(), np.array([v for part in parts for v in part], np.float32)
    for part in parts:
        found.add(np.array(part, np.float32))
    known = everything[np.isfinite(everything)]
    assert (found.count, found.missing) == (known.size, np.isnan(everything).sum())
    assert found.infinite == everything.size - known.size - found.missing
    if known.size:
        assert (found.least, found.most) == (known.min(), known.max())
        np.testing.assert_allclose(found.std, known.astype(float).std(), rtol=1e-5, atol=1e-3)


def own_memory() -> int:
    """Bytes of memory of this process that no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    pytest.skip("this system does not tell")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4 * 2500 * 60 * 60  # 36 MB; in memory, this training takes five times as much
    values = dask.array.zeros((2500, 60, 60), chunks=(50, 60, 60), dtype=np.float32)
    values = values + dask.array.arange(2500, chunks=50, dtype=np.float32)[:, None, None] % 7
    ds = data(1, 60, 60).isel(time=0, drop=True)["t"]
    ds = xr.Dataset({"t": (("time", "lat", "lon"), values, {"units": "K"})}, ds.coords)
    ds = ds.assign_coords(time=pd.date_range("2001-01-01", periods=2500))
    for module in (frames, lazily):
        monkeypatch.setattr(module, "_BLOCK", 2**21)
    options = {"budget": 0, "progress": False, "modes": 4, "folds": 0, "patch": 20, "latent_channels": 4, "lags": 1}
    ds.isel(time=slice(100)).slams.fit(**options)  # loads what is loaded once
    start, peak, done = own_memory(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], own_memory())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ds.slams.fit(**options, memory=2**-9)
    finally:
        done.set()
        watcher.join()
    assert peak[0] - start < 2.5 * size

"""Weights that are kept: once per pair of geometries, whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import xarray as xr

from xslams.errors import SlamsWarning
from xslams.geometry import Curvilinear, Grid, Points
from xslams.regrid import regrid
from xslams.weights import grid_weights, store


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache, in memory and on disk."""
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_kept", type(store._kept)())
    monkeypatch.setattr(store, "_locks", {})
    return tmp_path / "cache" / "weights"


def forget():
    store._kept.clear()


SOURCE = Grid(np.linspace(-80, 80, 9), np.arange(0, 360, 30.0), periodic=True)
TARGET = Grid(np.linspace(-60, 60, 5), np.arange(0, 360, 45.0), periodic=True)


def test_once_built_never_again(folder, monkeypatch):
    first = store.weights_between(SOURCE, TARGET)
    monkeypatch.setattr(store, "build_weights", lambda *_: pytest.fail("built again"))
    assert store.weights_between(SOURCE, TARGET) is first
    forget()
    again = store.weights_between(SOURCE, TARGET)
    assert again is not first
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert [p.suffix for p in folder.iterdir()] == [".npz"]
    # Nothing in it needs a pickle.
    with np.load(next(folder.iterdir()), allow_pickle=False) as file:
        assert set(file) == {"data", "indices", "indptr", "shape", "key"}


def test_keys_tell_everything_apart():
    lon, lat = np.meshgrid(SOURCE.lon, SOURCE.lat)
    bounds = np.stack([SOURCE.lat - 1, SOURCE.lat + 1], axis=1)
    sources = [
        SOURCE,
        Grid(SOURCE.lat, SOURCE.lon, periodic=False),
        Grid(SOURCE.lat, SOURCE.lon, periodic=True, lat_bounds=bounds),
        Grid(np.nextafter(SOURCE.lat, 90), SOURCE.lon, periodic=True),
        Grid(SOURCE.lat[::-1], SOURCE.lon, periodic=True),
        Curvilinear(lat, lon),
        Curvilinear(lat, lon, corners=np.zeros((2, *lat.shape, 4))),
        Points(lat, lon),
        Points(lat.ravel(), lon.ravel()),
    ]
    keys = [store.key_of(a, b) for s in sources for a, b in ((s, TARGET), (TARGET, s))]
    keys += [store.key_of(SOURCE, TARGET, m) for m in ("conservative", "nearest")]
    keys += [store.key_of(SOURCE, TARGET, "bilinear", "parallel"), store.key_of(SOURCE, TARGET, engine="xesmf")]
    assert len(set(keys)) == len(keys)
    renamed = Grid(SOURCE.lat.copy(), SOURCE.lon.copy(), "latitude", "longitude", True)
    assert store.key_of(renamed, TARGET) == keys[0]


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "foreign", "pickle", "inconsistent", "other key"])
def test_damaged_files_are_built_anew(folder, damage):
    expected = store.weights_between(SOURCE, TARGET).toarray()
    (path,) = folder.iterdir()
    raw = path.read_bytes()
    with np.load(path) as file:
        parts = dict(file)
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "half":
        path.write_bytes(raw[: len(raw) // 2])
    elif damage == "flipped":
        at = raw.index(parts["data"].tobytes()) + 11
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 255]) + raw[at + 1 :])
    elif damage == "foreign":
        path.write_text("not weights")
    elif damage == "pickle":
        np.savez(path, **{**parts, "data": np.array([{"a": 1}], dtype=object)})
    elif damage == "inconsistent":
        np.savez(path, **{**parts, "indices": parts["indices"] + 10**6})
    else:
        np.savez(path, **{**parts, "key": np.asarray("0" * 64)})
    forget()
    np.testing.assert_array_equal(store.weights_between(SOURCE, TARGET).toarray(), expected)
    forget()
    # And the file is whole again.
    assert store._read(store.key_of(SOURCE, TARGET)) is not None
    assert len(list(folder.iterdir())) == 1


def test_threads_build_once(monkeypatch):
    built = []

    def build():
        built.append(threading.get_ident())
        time.sleep(0.05)
        return sp.csr_array(np.eye(3))

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: store.stored("a" * 64, build), range(16)))
    assert len(built) == 1
    assert all(r is results[0] for r in results)


def _work(folder):
    os.environ["XSLAMS_CACHE"] = folder
    return store.weights_between(SOURCE, TARGET, "conservative").sum()


def test_processes_share_a_folder(folder):
    import multiprocessing

    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(_work, [str(folder.parent)] * 6))
    assert np.ptp(results) == 0
    assert [p.suffix for p in folder.iterdir()] == [".npz"]


def test_a_folder_that_cannot_be_written_to(folder):
    folder.parent.write_text("a file where a folder is needed")
    with pytest.warns(SlamsWarning, match="XSLAMS_CACHE"):
        weights = store.weights_between(SOURCE, TARGET)
    np.testing.assert_array_equal(weights.toarray(), grid_weights(SOURCE, TARGET).toarray())


def test_an_interrupted_write_leaves_nothing(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(SlamsWarning, match="No space left"):
        store.weights_between(SOURCE, TARGET)
    assert list(folder.iterdir()) == []


def test_files_can_be_read_by_others_where_the_folder_is_shared(folder):
    store.weights_between(SOURCE, TARGET)
    mask = os.umask(0)
    os.umask(mask)
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(store, "_MEMORY", 3 * store._bytes(sp.csr_array(np.eye(100))))
    for i in range(10):
        store.stored(f"{i:064d}", lambda: sp.csr_array(np.eye(100)))
    assert 1 <= len(store._kept) <= 3
    assert len(store._locks) <= 3


def test_regrid_keeps_its_weights(folder, monkeypatch):
    lat, lon = np.linspace(-80, 80, 9), np.arange(0, 360, 30.0)
    ds = xr.Dataset({"t": (("time", "lat", "lon"), np.ones((4, 9, 12)))}, {"lat": lat, "lon": lon}).chunk(time=1)
    target = xr.Dataset(coords={"lat": lat * 0.9, "lon": lon + 5})
    lazy = regrid(ds, target, "conservative")
    assert not folder.exists()
    lazy.compute()
    assert len(list(folder.iterdir())) == 1
    forget()
    monkeypatch.setattr("xslams.weights.recipe.build_weights", lambda *_: pytest.fail("built again"))
    regrid(ds, target, "conservative").compute()


def test_a_worker_of_its_own_finds_them(folder):
    """Across processes the key is the same, and nothing of torch is loaded to use it."""
    expected = store.weights_between(SOURCE, TARGET)
    code = (
        "import numpy as np, sys; from xslams.weights import store; from xslams.geometry import Grid\n"
        "a = Grid(np.linspace(-80, 80, 9), np.arange(0, 360, 30.0), periodic=True)\n"
        "b = Grid(np.linspace(-60, 60, 5), np.arange(0, 360, 45.0), periodic=True)\n"
        "store.build_weights = None\n"
        "print(repr(float(store.weights_between(a, b).data.sum())))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(out.stdout) == expected.data.sum()

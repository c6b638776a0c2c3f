"""Runs on dask.distributed: small graphs, models loaded once, one task per device, and processes that are killed."""

from __future__ import annotations

import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from tests.pipeline.test_assimilate import FAST, gauges, waves
from xslams.errors import ModelError
from xslams.pipeline import graph, store, workers
from xslams.pipeline.layout import layout_of
from xslams.priors import loading

ROOT = Path(__file__).parents[2]


@contextmanager
def cluster(threads: int = 2, **options):
    """A cluster whose workers are threads of this process."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=threads, processes=False, dashboard_address=":0", **options) as it,
        Client(it) as client,
    ):
        yield client


@pytest.fixture
def forgotten(monkeypatch):
    """A process that has loaded no model yet; counts how often one is."""
    monkeypatch.setattr(workers, "_RESIDENT", type(workers._RESIDENT)())
    calls = []
    load = loading.load_prior
    monkeypatch.setattr(loading, "load_prior", lambda spec, path: calls.append(path) or load(spec, path))
    return calls


@pytest.fixture(scope="module")
def long(tiny_model):
    truth = waves(75)
    return truth, truth.slams.assimilate([gauges(truth)], tiny_model, **FAST)


def test_cluster_writes_what_one_thread_computes(tiny_model, long, tmp_path, forgotten):
    truth, expected = long
    model = xslams.open_model(tiny_model.path)
    with cluster():
        lazy = truth.chunk(time=10).slams.assimilate([gauges(truth)], model, **FAST)
        written = lazy.slams.to_zarr(tmp_path / "run.zarr")
    xr.testing.assert_equal(written.compute(), expected)
    # The handle in the graph is another object in every task.
    assert forgotten == [tiny_model.path]
    assert not model.loaded


def test_handles_that_were_sent_share_one_model(tiny_model, forgotten):
    handles = [cloudpickle.loads(cloudpickle.dumps(xslams.open_model(tiny_model.path))) for _ in range(3)]
    threads = [threading.Thread(target=workers.resident, args=(handle,)) for handle in handles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(workers.resident(handle)) for handle in handles}) == 1
    assert len(forgotten) == 1


def test_another_file_at_the_same_path_is_refused(tiny_model, tmp_path, forgotten):
    path = tmp_path / "model.safetensors"
    path.write_bytes(tiny_model.path.read_bytes())
    handle = xslams.open_model(path)
    sent = cloudpickle.dumps((handle.sha256, handle))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="Give all workers the same file"):
        workers.resident(cloudpickle.loads(sent)[1])


@pytest.mark.filterwarnings("ignore:.* days of the year away from what the model")
def test_graph_grows_by_what_a_region_observes(tiny_model):
    """No tensors, no networks, and of the observations each segment's own."""

    def size(days: int) -> int:
        truth = waves(days)
        lazy = truth.chunk(time=30).slams.assimilate([gauges(truth)], tiny_model, **FAST, background_error=None)
        return len(cloudpickle.dumps(dict(lazy["t"].data.dask)))

    short, double, quadruple = size(150), size(300), size(600)
    observed = gauges(waves(150)).data.nbytes
    assert quadruple - double < 2 * (double - short) + 20_000
    assert double - short < 2 * observed + 5 * 10_000
    assert short < 10 * tiny_model.path.stat().st_size


@pytest.mark.filterwarnings("ignore:.* days of the year away from what the model")
def test_no_task_of_a_run_carries_what_is_of_other_regions(tiny_model):
    from dask.base import collections_to_expr

    def largest(days: int) -> int:
        truth = waves(days)
        lazy = truth.chunk(time=30).slams.assimilate([gauges(truth)], tiny_model, **FAST)
        layout = layout_of(lazy)
        tasks = store._tasks(lazy, store.Target("nowhere.zarr"), layout, layout.indices())
        graph = dict(collections_to_expr(tasks).optimize().__dask_graph__())
        return max(len(cloudpickle.dumps(task)) for task in graph.values())

    # The time axis is the one thing that all have.
    assert largest(600) < largest(150) + 450 * 20


@pytest.mark.parametrize("declared", [True, False])
def test_workers_that_declare_a_gpu_compute_one_region_at_a_time(tiny_model, long, tmp_path, monkeypatch, declared):
    _, expected = long
    inside, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(2)
    write = store._store

    def watched(*args):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if not declared:
            together.wait(60)  # there are two at once, or this fails
        write(*args)
        with lock:
            inside -= 1

    # Tasks travel by name.
    watched.__module__, watched.__qualname__ = store.__name__, "_store"
    monkeypatch.setattr(store, "_store", watched)
    two = expected.isel(time=slice(60)).chunk(time=30)
    with cluster(**({"resources": {"GPU": 1}} if declared else {})):
        two.slams.to_zarr(tmp_path / "run.zarr")
    assert most == (1 if declared else 2)


def test_a_failure_on_the_cluster_stops_the_run(tiny_model, long, tmp_path, monkeypatch):
    _, expected = long

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_store", full)
    with cluster(), pytest.raises(xslams.errors.StoreError, match=r"No space left.*resume=True"):
        expected.chunk(time=30).slams.to_zarr(tmp_path / "run.zarr")


@settings(max_examples=6)
@given(st.integers(1, 75), st.sampled_from(["sync", "threads"]), st.sampled_from([1, 2, "auto"]), st.integers(1, 3))
def test_members_are_bitwise_the_same_however_they_are_computed(tiny_model, long, chunk, scheduler, size, threads):
    import torch

    truth, expected = long
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        lazy = truth.chunk(time=chunk).slams.assimilate([gauges(truth)], tiny_model, **FAST, batch_size=size)
        np.testing.assert_array_equal(
            lazy["t"].isel(time=slice(55, None)).compute(scheduler=scheduler), expected["t"][:, 55:]
        )
    finally:
        torch.set_num_threads(before)


def test_large_members_have_blocks_of_their_own(tiny_model, long, monkeypatch):
    truth, expected = long
    monkeypatch.setattr(graph, "_BLOCK_BYTES", 1)
    with dask.config.set(scheduler="sync"):
        lazy = truth.chunk(time=75).slams.assimilate([gauges(truth)], tiny_model, **FAST)
        assert lazy["t"].chunksizes["member"] == (1, 1)
        xr.testing.assert_equal(lazy.isel(time=slice(40, 50)).compute(), expected.isel(time=slice(40, 50)))


@pytest.mark.slow
def test_killed_processes_leave_no_trace(fresh_python):
    """Two faults of the benchmark, which makes fifty."""
    command = [fresh_python, "-m", "benchmarks", "faults", "--faults", "2", "--days", "60"]
    done = subprocess.run([*command, "--kinds", "client", "worker"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'identical': True" in done.stdout

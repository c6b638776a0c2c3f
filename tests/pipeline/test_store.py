"""Analyses written region by region: what was killed goes on, and what belongs to another run is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

import xslams
from tests.conftest import ROOT
from tests.pipeline.test_assimilate import FAST, gauges, refuse, waves
from xslams.errors import ChunkError, OptionError, SlamsWarning, StoreError
from xslams.pipeline import segment, store
from xslams.pipeline.layout import common

DAYS = 75


class Killed(BaseException):
    """The end of a process, as far as a test in the same process can have it."""


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return waves(DAYS)


def run(truth, model, **options):
    return truth.chunk(time=20).slams.assimilate([gauges(truth)], model, **FAST | options)


@pytest.fixture(scope="module")
def expected(truth, tiny_model):
    """What an undisturbed run gives: three regions."""
    return run(truth, tiny_model).compute(scheduler="sync")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def counted(monkeypatch):
    """First frames of the segments that were computed."""
    calls = []
    compute = segment.analyse
    monkeypatch.setattr(segment, "analyse", lambda *a, **k: calls.append(a[4].first) or compute(*a, **k))
    return calls


def test_store_holds_what_was_computed(truth, tiny_model, expected, tmp_path):
    written = run(truth, tiny_model).slams.to_zarr(tmp_path / "run.zarr")
    assert written.chunks["time"] == (30, 30, 15)
    xr.testing.assert_identical(written.compute().drop_attrs(), expected.drop_attrs())
    assert written.attrs["xslams_complete"] == 1
    assert written["t"].attrs == expected["t"].attrs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_equal(xr.open_zarr(tmp_path / "run.zarr").compute(), expected)


def test_nothing_is_computed_before_the_store_is_accepted(truth, tiny_model, tmp_path):
    (tmp_path / "data.zarr").mkdir()
    (tmp_path / "data.zarr" / "precious.txt").write_text("not ours")
    with dask.config.set(scheduler=refuse), pytest.raises(StoreError, match=r"something else \(precious.txt\)"):
        run(truth, tiny_model).slams.to_zarr(tmp_path / "data.zarr", resume=True)
    assert files(tmp_path / "data.zarr") == {"precious.txt": b"not ours"}


def test_an_existing_store_is_not_overwritten(truth, tiny_model, expected, tmp_path):
    expected.slams.to_zarr(tmp_path / "run.zarr")
    with pytest.raises(StoreError, match="resume=True"):
        expected.slams.to_zarr(tmp_path / "run.zarr")
    waves(3).to_zarr(tmp_path / "waves.zarr", consolidated=False)
    with pytest.raises(StoreError, match=r"was not written by .slams.to_zarr"):
        xslams.open_analysis(tmp_path / "waves.zarr")
    with pytest.raises(StoreError, match="something else"):
        run(truth, tiny_model).slams.to_zarr(tmp_path / "waves.zarr", resume=True)


def test_resuming_computes_what_is_missing_and_no_more(truth, tiny_model, expected, tmp_path, counted):
    """Stop after a region, and then make regions incomplete in each of the ways in which they can be."""
    path = tmp_path / "run.zarr"
    write, written = store._store, []

    def stopping(fields, rows, target, layout, index):
        if written:
            raise Killed
        write(fields, rows, target, layout, index)
        written.append(index[1])

    with dask.config.set(scheduler="sync"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_store", stopping)
        with pytest.raises(Killed):
            run(truth, tiny_model).slams.to_zarr(path, resume=True)
    assert xr.open_zarr(path).attrs["xslams_complete"] == 0
    with pytest.raises(StoreError, match="not complete: 1 of its regions"):
        xslams.open_analysis(path)
    with pytest.warns(SlamsWarning, match="not complete"):
        part = xslams.open_analysis(path, incomplete="warn")
    assert int(part["t"].isnull().any(["member", "level", "lat", "lon"]).sum()) == DAYS - (15 if written == [2] else 30)
    counted.clear()
    run(truth, tiny_model).slams.to_zarr(path, resume=True)
    assert sorted(counted) == sorted({0, 30, 60} - {30 * written[0]})
    whole = files(path)
    xr.testing.assert_equal(xslams.open_analysis(path).compute(), expected)
    # A complete store is left alone.
    counted.clear()
    run(truth, tiny_model).slams.to_zarr(path, resume=True)
    assert counted == []
    assert files(path) == whole
    # A chunk without its marker, a marker without its chunk, and a chunk that lost its content.
    for damage in ("_xslams/complete/c/0/1/0/0/0", "t/c/0/1/0/0/0", "emptied"):
        counted.clear()
        if damage == "emptied":
            (path / "t/c/0/1/0/0/0").write_bytes(b"")
        else:
            (path / damage).unlink()
        run(truth, tiny_model).slams.to_zarr(path, resume=True)
        assert counted == [30], damage
        assert files(path) == whole


def test_a_run_killed_while_the_store_was_created_starts_anew(truth, tiny_model, expected, tmp_path, monkeypatch):
    path = tmp_path / "run.zarr"

    def killed(*args, **kwargs):
        raise Killed

    for where, what in ((zarr, "create_group"), (xr.Dataset, "to_zarr"), (store, "_consolidate")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(where, what, killed)
            with pytest.raises(Killed):
                expected.slams.to_zarr(path, resume=True)
    expected.slams.to_zarr(path, resume=True)
    xr.testing.assert_equal(xslams.open_analysis(path).compute(), expected)


@pytest.mark.parametrize("files", [["zarr.json"], ["zarr.json", "_xslams/zarr.json"]])
def test_a_store_that_was_hardly_begun_is_begun_again(expected, tmp_path, files):
    path = tmp_path / "run.zarr"
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    (path / "t.0123456789abcdef.partial").write_text("half of a file")
    expected.slams.to_zarr(path, resume=True)
    xr.testing.assert_equal(xslams.open_analysis(path).compute(), expected)


def test_a_store_lost_while_in_use_is_made_again(truth, tiny_model, expected, tmp_path):
    path = tmp_path / "run.zarr"
    expected.slams.to_zarr(path)
    for name, content in files(path).items():
        (path / name).unlink()
        if name.startswith("t/c/"):
            (path / name).write_bytes(content[:10])
    expected.slams.to_zarr(path, resume=True)
    xr.testing.assert_equal(xslams.open_analysis(path).compute(), expected)


def test_store_of_another_run_is_refused_with_what_differs(truth, tiny_model, tmp_path):
    from xslams.model import Model

    path = tmp_path / "run.zarr"
    run(truth, tiny_model).slams.to_zarr(path)
    before = files(path)
    networks = tiny_model.prior().__class__(tiny_model.spec)
    networks.load_state_dict(tiny_model.prior().state_dict())
    networks.calibration.mul_(0.5)
    other = Model(tiny_model.spec, prior=networks)
    other.save(tmp_path / "other.safetensors")
    noisy = gauges(truth)
    noisy.data[0, 0] += 1.0
    warm = truth.chunk(time=20)

    def refused(analysis, match):
        with dask.config.set(scheduler=refuse), pytest.raises(StoreError, match=match):
            analysis.slams.to_zarr(path, resume=True)

    refused(run(truth, other), rf"model sha256 \({tiny_model.sha256[:50]}.*, {other.sha256[:50]}.* in this run\)")
    refused(run(truth, tiny_model, seed=5), r"differs: seed \(0 in the store, 5 in this run\)\. ")
    refused(run(truth, tiny_model, steps=3), r"steps \(2 in the store, 3")
    refused(run(truth, tiny_model, members=3), r"members \(2 .*coordinate 'member'")
    refused(warm.slams.assimilate([noisy], tiny_model, **FAST), r"differs: inputs \(t [0-9a-f]{16} in the store, t ")
    refused(warm.slams.assimilate([gauges(truth).replace(error=2.0)], tiny_model, **FAST), "differs: inputs")
    refused(warm.slams.assimilate([], tiny_model, **FAST), "observations")
    refused(warm.slams.assimilate([gauges(truth)], tiny_model, **FAST, background_error=1.0), "background")
    refused(run(truth.isel(time=slice(70)), tiny_model), "coordinate 'time'")
    refused(run(truth, tiny_model)[[]].assign(u=run(truth, tiny_model)["t"]), "variable 't'")
    assert files(path) == before


def test_background_and_lazy_observations_are_told_apart(truth, tiny_model):
    def inputs(ds, obs):
        return ds.slams.assimilate(obs, tiny_model, **FAST, background_error=1.0).attrs["xslams_inputs"]

    obs = gauges(truth)
    reference = inputs(truth.chunk(time=20), obs)
    assert reference == inputs(truth.copy(deep=True).chunk(time=20), gauges(truth))
    assert reference != inputs((truth + 1).assign_attrs(truth.attrs).chunk(time=20), obs)
    lazy = obs.replace(data=obs.data.copy(data=obs.data.chunk(time=5).data))
    with dask.config.set(scheduler=refuse):
        assert inputs(truth.chunk(time=20), lazy) == inputs(truth.chunk(time=20), lazy) != reference


def test_tokens_are_those_of_another_process(truth, tiny_model, fresh_python):
    import subprocess

    code = f"""
from tests.pipeline.test_assimilate import FAST, gauges, waves
truth = waves({DAYS})
obs = gauges(truth)
lazy = obs.replace(data=obs.data.copy(data=obs.data.chunk(time=5).data))
print(truth.chunk(time=20).slams.assimilate([obs, lazy], {str(tiny_model.path)!r}, **FAST).attrs["xslams_inputs"])
"""
    printed = subprocess.run(
        [fresh_python, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()
    obs = gauges(truth)
    lazy = obs.replace(data=obs.data.copy(data=obs.data.chunk(time=5).data))
    assert printed == truth.chunk(time=20).slams.assimilate([obs, lazy], tiny_model, **FAST).attrs["xslams_inputs"]


def test_urls(truth, expected, tmp_path):
    for url in ("memory://run.zarr", f"file://{tmp_path}/run.zarr"):
        expected.slams.to_zarr(url)
        xr.testing.assert_equal(xslams.open_analysis(url).compute(), expected)
        expected.slams.to_zarr(url, resume=True)
        with pytest.raises(StoreError, match="already"):
            expected.slams.to_zarr(url)
    with pytest.raises(OptionError, match="expected a path or the URL"):
        expected.slams.to_zarr({})
    with pytest.raises(OptionError, match="belong to URLs"):
        expected.slams.to_zarr(tmp_path / "x.zarr", storage_options={"key": 1})


def test_a_full_disk_is_said_and_run_through_later(truth, tiny_model, expected, tmp_path, monkeypatch):
    from zarr.storage import LocalStore

    path = tmp_path / "run.zarr"
    put = LocalStore.set

    async def full(self, key, value):
        if key.startswith("t/c/0/1"):
            raise OSError(28, "No space left on device")
        await put(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "set", full)
        with pytest.raises(StoreError, match=r"No space left.*make room .*resume=True"):
            run(truth, tiny_model).slams.to_zarr(path, resume=True)
    with pytest.raises(StoreError, match="not complete"):
        xslams.open_analysis(path)
    run(truth, tiny_model).slams.to_zarr(path, resume=True)
    xr.testing.assert_equal(xslams.open_analysis(path).compute(), expected)


def test_a_failure_of_any_single_write_is_survived(expected, tmp_path, monkeypatch):
    """Count the writes of a run, then let each of them be the one at which it ends."""
    from zarr.storage import LocalStore

    put = LocalStore.set
    done = 0

    async def failing(self, key, value):
        nonlocal done
        done += 1
        if done == last:
            raise OSError(28, "No space left on device")
        await put(self, key, value)

    monkeypatch.setattr(LocalStore, "set", failing)
    short = expected.isel(time=slice(4)).chunk(time=2)
    last = 0
    short.slams.to_zarr(tmp_path / "undisturbed.zarr", resume=True)
    writes = done
    assert writes > 10
    for end in range(1, writes + 1):
        path = tmp_path / f"{end}.zarr"
        done, last = 0, end
        with pytest.raises(StoreError, match="No space left"):
            short.slams.to_zarr(path, resume=True)
        if end < writes:
            with pytest.raises(StoreError):
                xslams.open_analysis(path)
        else:  # the word that all is there was written; what follows makes opening faster
            xr.testing.assert_equal(xslams.open_analysis(path).compute(), short.compute())
        last = 0
        short.slams.to_zarr(path, resume=True)
        assert files(path) == files(tmp_path / "undisturbed.zarr")


def test_leftovers_of_killed_writes_neither_disturb_nor_stay(truth, tiny_model, expected, tmp_path):
    """A file that was being written when the process died lies beside its place, under a name of its own."""
    path = tmp_path / "run.zarr"
    run(truth, tiny_model).slams.to_zarr(path)
    whole = files(path)
    folders = [p for p in [path, *path.rglob("*")] if p.is_dir()]
    (path / "_xslams/complete/c/0/1/0/0/0").unlink()
    group = zarr.open_group(path, mode="r+")
    group.attrs["xslams_complete"] = 0
    for folder in folders:
        (folder / "zarr.0123456789abcdef.partial").write_text("half of a file")
    with pytest.warns(SlamsWarning, match="2 of its regions are") as caught:
        xslams.open_analysis(path, incomplete="warn")
    assert len(caught) == 1
    run(truth, tiny_model).slams.to_zarr(path, resume=True)
    assert files(path) == whole
    xr.testing.assert_equal(xslams.open_analysis(path).compute(), expected)


def test_a_report_is_written_region_by_region(truth, tiny_model, tmp_path, counted):
    path = tmp_path / "run.zarr"

    def reporting(state):
        analysis = state.slams.assimilate([gauges(truth)], tiny_model, **FAST, report=True, background_error=1.0)
        return analysis.assign(warmer=analysis["t"] + 1)

    reporting(truth.chunk(time=20)).slams.to_zarr(path, resume=True)
    assert sorted(counted) == [0, 30, 60]  # once each, for both variables and the report
    whole = files(path)
    expected = reporting(truth)
    stored = xslams.open_analysis(path)
    table = expected.slams.report()
    assert int(table.used.sum()) > 0
    assert set(table.source.values) == {"t", "background"}
    xr.testing.assert_identical(stored.slams.report().load(), table)
    xr.testing.assert_equal(stored.load(), expected)
    # Without a region of the middle its part of the report is missing, and comes again with it.
    for damage in ("_xslams/complete/c/0/1/0/0/0", "obs_statistics/c/1/0/0"):
        (path / damage).unlink()
        counted.clear()
        reporting(truth.chunk(time=20)).slams.to_zarr(path, resume=True)
        assert counted == [30], damage
        assert files(path) == whole
    expected.slams.to_zarr(tmp_path / "eager.zarr")
    xr.testing.assert_identical(xslams.open_analysis(tmp_path / "eager.zarr").slams.report().load(), table)


def test_a_report_of_what_there_is(truth, tiny_model, tmp_path, monkeypatch):
    path = tmp_path / "run.zarr"
    write = store._store

    def two(fields, rows, target, layout, index):
        if index[1] == 1:
            raise OSError(28, "No space left on device")
        write(fields, rows, target, layout, index)

    monkeypatch.setattr(store, "_store", two)
    with dask.config.set(scheduler="sync"), pytest.raises(StoreError, match="No space left"):
        run(truth, tiny_model, report=True).slams.to_zarr(path)
    with pytest.warns(SlamsWarning, match="not complete"):
        part = xslams.open_analysis(path, incomplete="warn")
    there = part["obs_statistics"].notnull().all(["obs_source", "obs_statistic"])
    assert not there[1]
    whole = run(truth, tiny_model, report=True).compute()
    xr.testing.assert_equal(
        part.slams.report().load(), whole.assign_coords(obs_statistics=whole.obs_statistics.where(there)).slams.report()
    )


def test_a_report_goes_where_its_times_are(truth, tiny_model, tmp_path, counted):
    analysis = run(truth, tiny_model, report=True)
    table = analysis.slams.report().compute()
    for name, other in {
        "mean": analysis.mean("member", keep_attrs=True),
        "other chunks": analysis.chunk(time=40, member=1),
        "all": analysis.mean("time", keep_attrs=True),
    }.items():
        counted.clear()
        other.slams.to_zarr(tmp_path / name, resume=True)
        assert sorted(counted) == [0, 30, 60], name
        xr.testing.assert_identical(xslams.open_analysis(tmp_path / name).slams.report().load(), table)
    with pytest.raises(ChunkError, match=r"no longer in the Dataset.*drop_vars\('obs_statistics'\)"):
        analysis.isel(time=slice(40)).slams.to_zarr(tmp_path / "part.zarr")
    part = analysis.isel(time=slice(40)).drop_vars("obs_statistics")
    part.slams.to_zarr(tmp_path / "part.zarr")
    bare = truth.chunk(time=20).slams.assimilate([], tiny_model, **FAST, report=True)
    bare.slams.to_zarr(tmp_path / "bare.zarr")
    assert xslams.open_analysis(tmp_path / "bare.zarr").slams.report().sizes["source"] == 0


def test_regions_never_share_a_chunk():
    for sizes in ((30, 30, 15), (30, 30, 40), (30, 12, 7), (5,), (1, 44, 30)):
        chunk = common(sizes)
        starts = np.cumsum([0, *sizes[:-1]])
        assert (starts % chunk == 0).all()


def test_results_of_an_analysis_can_be_written_too(truth, tiny_model, expected, tmp_path):
    mean = run(truth, tiny_model).mean("member", keep_attrs=True)
    mean.slams.to_zarr(tmp_path / "mean.zarr", resume=True)
    xr.testing.assert_allclose(xslams.open_analysis(tmp_path / "mean.zarr").compute(), expected.mean("member"))
    bare = run(truth, tiny_model).drop_attrs()
    with pytest.raises(OptionError, match="what made it"):
        bare.slams.to_zarr(tmp_path / "bare.zarr", resume=True)
    area = truth["pr"].isel(time=0, drop=True).drop_attrs()
    with_area = run(truth, tiny_model).isel(time=slice(5)).assign_coords(area=area.chunk(lat=4))
    with_area.mean("member", keep_attrs=True).slams.to_zarr(tmp_path / "area.zarr")
    assert "area" in xslams.open_analysis(tmp_path / "area.zarr").coords
    with pytest.raises(ChunkError, match="coordinates spread are made of"):
        mean.assign_coords(spread=mean["t"].std("time")).slams.to_zarr(tmp_path / "spread.zarr")
    both = run(truth, tiny_model).assign(other=truth["pr"].chunk(time=20))
    with pytest.raises(ChunkError, match="unify_chunks"):
        both.slams.to_zarr(tmp_path / "both.zarr")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        ("notes.txt", "notes.txt"),
        ("notes.txt", "notes.txt/run.zarr"),
        ("run.zarr/film.partial", "run.zarr"),
        ("run.zarr/c/0.partial", "run.zarr"),
        ("run.zarr/t/notes.txt", "run.zarr"),
        ("run.zarr/u/c/0", "run.zarr"),
        ("run.zarr/_xslams/notes.txt", "run.zarr"),
        ("in.zarr/zarr.json", "in.zarr/run.zarr"),
        ("in.zarr/.zgroup", "in.zarr/t/run.zarr"),
    ],
)
def test_nothing_is_destroyed_that_no_run_wrote(expected, tmp_path, place, resume):
    precious, path = place
    (tmp_path / precious).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / precious).write_text("precious")
    with dask.config.set(scheduler=refuse), pytest.raises(StoreError):
        expected.slams.to_zarr(tmp_path / path, resume=resume)
    assert files(tmp_path) == {precious: b"precious"}


def test_a_begun_store_with_a_file_of_the_user_is_kept(expected, tmp_path):
    path = tmp_path / "run.zarr"
    zarr.create_group(path, path="_xslams")
    (path / "notes.txt").write_text("precious")
    before = files(path)
    with pytest.raises(StoreError, match=r"something else \(notes.txt\)"):
        expected.slams.to_zarr(path, resume=True)
    assert files(path) == before

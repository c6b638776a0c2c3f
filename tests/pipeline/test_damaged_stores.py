"""Damage to a store: truncated, flipped, swapped, deleted and edited files are seen, and repaired by resuming."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import xslams
from xslams.errors import SlamsWarning, StoreError
from xslams.pipeline import store
from xslams.pipeline.targets import Target


def result(seed: int = 0) -> xr.Dataset:
    """Something lazy that says what made it, with coordinates of all kinds, in three regions."""
    rng = np.random.default_rng(0)
    fields = {"t": (("time", "lat", "lon"), rng.normal(280, 10, (6, 3, 4))), "u": (("time", "lat"), rng.random((6, 3)))}
    coords = {
        "time": pd.date_range("2001-01-01", periods=6), "lat": [-60.0, 0.0, 60.0], "lon": np.arange(4) * 90.0,
        "area": ("lat", [0.5, 1.0, 0.5]), "name": ("lat", np.array(["south", "tropics", "north"], object)),
    }  # fmt: skip
    attrs = {"xslams_model_sha256": "0" * 64, "xslams_seed": seed, "history": "made"}
    ds = xr.Dataset(fields, coords, attrs)
    ds["area"].encoding = {"zlib": True, "dtype": "float32"}  # as of a netCDF file
    return ds.chunk(time=2).assign_coords(ds.coords)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "run.zarr"
    result().slams.to_zarr(path)
    return path


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(written, tmp_path / "run.zarr")
    with dask.config.set(scheduler="sync"):
        yield tmp_path / "run.zarr"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Regions that were computed and written."""
    calls: list[int] = []
    write = store._store
    monkeypatch.setattr(store, "_store", lambda *a: calls.append(a[-1][0]) or write(*a))
    return calls


def flip(content: bytes) -> bytes:
    data = bytearray(content)
    data[len(data) // 2] ^= 4
    return bytes(data)


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "truncated": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "flipped": flip,
    "deleted": lambda content: None,
    "lengthened": lambda content: content + b"\0",
    "nonsense": lambda content: b"[]",
}


def spoil(path: Path, key: str, how: str) -> None:
    content = DAMAGES[how]((path / key).read_bytes())
    if content is None:
        (path / key).unlink()
    else:
        (path / key).write_bytes(content)


def refused(path: Path, **options: object) -> bool:
    try:
        xslams.open_analysis(path, **options)
    except StoreError as e:
        assert "resume=True" in str(e)
        return True
    return False


def is_content(key: str) -> bool:
    """Whether a file is not compared unless it is read: it belongs to a region."""
    return key.startswith(("t/c/", "u/c/", "_xslams/complete/c/"))


def test_damage_to_any_file_is_seen(path: Path) -> None:
    kinds = list(DAMAGES)
    for i, (key, content) in enumerate(files(path).items()):
        how = kinds[i * 3 % len(kinds)]
        spoil(path, key, how)
        assert refused(path, verify=True), (key, how)
        cheap = how == "flipped" and is_content(key)
        marker = key.startswith("_xslams/complete/c/") and how not in ("deleted", "emptied")
        assert refused(path) == (not cheap and not marker), (key, how)
        (path / key).write_bytes(content)
    assert not refused(path, verify=True)


@pytest.mark.parametrize(("how", "other"), list(zip(DAMAGES, [*list(DAMAGES)[1:], "truncated"], strict=True)))
def test_damage_is_repaired(path: Path, computed: list[int], how: str, other: str) -> None:
    """Of chunks, hashes and markers their region is computed again, of metadata and coordinates nothing."""
    whole = files(path)
    spoil(path, "t/c/1/0/0", how)
    spoil(path, "_xslams/complete/c/1/0/0", other)
    for key in ("lat/c/0", "u/zarr.json", "_xslams/digests/zarr.json", "zarr.json")[:: 1 if how < "f" else 2]:
        spoil(path, key, other)
    result().slams.to_zarr(path, resume=True)
    assert files(path) == whole
    assert computed == [1]
    for key in ("_xslams/digests/c/2/0/0/0/0", "_xslams/zarr.json")[how < "f" :]:
        spoil(path, key, how)
    result().slams.to_zarr(path, resume=True)
    assert files(path) == whole


def test_every_chunk_has_a_checksum(path: Path) -> None:
    for key, content in files(path).items():
        if key.endswith("zarr.json") and (metadata := json.loads(content))["node_type"] == "array":
            assert metadata["codecs"][-1]["name"] == "crc32c", key
    spoil(path, "t/c/1/0/0", "flipped")
    ds = xslams.open_analysis(path)
    with pytest.raises(StoreError, match="checksum"):
        ds["t"].load()


EXCHANGED = (
    ("t/c/0/0/0", "t/c/2/0/0"),
    ("u/c/0/0", "u/c/1/0"),
    ("lat/c/0", "lon/c/0"),
    ("_xslams/digests/c/0/0/0/0/0", "_xslams/digests/c/1/0/0/0/0"),
    ("lat/zarr.json", "area/zarr.json"),
)


def test_exchanged_files_are_seen_and_repaired(path: Path) -> None:
    whole = files(path)
    for keys in EXCHANGED:
        for a, b in (keys, keys[::-1]):
            (path / a).write_bytes(whole[b])
        assert refused(path, verify=True)
        for key in keys:
            (path / key).write_bytes(whole[key])
    for keys in EXCHANGED:
        for a, b in (keys, keys[::-1]):
            (path / a).write_bytes(whole[b])
    result().slams.to_zarr(path, resume=True)
    assert files(path) == whole


def test_regions_exchanged_with_their_hashes_are_seen(path: Path) -> None:
    """Whoever exchanges regions as a whole, all that belongs to them included, does not go unnoticed."""
    whole = files(path)
    for key in ("t/c/{}/0/0", "u/c/{}/0", "_xslams/digests/c/{}/0/0/0/0"):
        for a, b in ((0, 1), (1, 0)):
            (path / key.format(a)).write_bytes(whole[key.format(b)])
    assert refused(path, verify=True)
    result().slams.to_zarr(path, resume=True)
    assert files(path) == whole


def edit(path: Path, key: str, *place: str, value: object) -> None:
    content = json.loads((path / key).read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    (path / key).write_text(json.dumps(content))


EDITED: list[tuple[tuple[str, ...], object]] = [
    (("t/zarr.json", "attributes", "units"), "degC"),
    (("t/zarr.json", "shape"), [6, 3, 3]),
    (("t/zarr.json", "fill_value"), 0.0),
    (("time/zarr.json", "attributes", "units"), "days since 1901-01-01"),
    (("zarr.json", "attributes", "xslams_seed"), 7),
    (("zarr.json", "attributes", "note"), "mine"),
    (("zarr.json", "consolidated_metadata", "metadata", "t", "attributes", "units"), "degC"),
    (("_xslams/zarr.json", "attributes", "plan", "settings", "seed"), 7),
    (("_xslams/zarr.json", "attributes", "plan"), 3),
    (("_xslams/zarr.json", "attributes", "files"), {}),
    (("_xslams/zarr.json", "attributes", "layout", "blocks"), [["time", [6]]]),
    (("_xslams/zarr.json", "attributes", "created"), 0),
    (("_xslams/zarr.json", "attributes", "seal"), ""),
    (("_xslams/zarr.json", "attributes"), {}),
    (("_xslams/complete/zarr.json", "shape"), [4]),
    (("_xslams/digests/zarr.json", "shape"), [2, 2, 40]),
]


def test_edited_metadata_are_seen_and_repaired(path: Path) -> None:
    whole = files(path)
    for place, value in EDITED:
        edit(path, *place, value=value)
        assert refused(path), place
        (path / place[0]).write_bytes(whole[place[0]])
    for journal in (False, True):
        for place, value in EDITED:
            if (place[0] == "_xslams/zarr.json") == journal and place[-1] != "attributes":
                edit(path, *place, value=value)
        result().slams.to_zarr(path, resume=True)
        assert files(path) == whole


def test_edited_values_are_seen_and_repaired(path: Path, computed: list[int]) -> None:
    whole = files(path)
    # With right checksums of zarr.
    zarr.open_array(path, path="t", mode="r+")[3, 1, 1] = 0.0
    assert refused(path, verify=True)
    zarr.open_array(path, path="lat", mode="r+")[0] = -61.0
    assert refused(path)
    result().slams.to_zarr(path, resume=True)
    assert computed == [1]
    assert files(path) == whole


def test_files_that_no_run_has_written_are_seen(path: Path) -> None:
    whole = files(path)
    for key in ("t/c/3/0/0", "area/c/7", "_xslams/digests/c/9/0/0"):
        (path / key).parent.mkdir(parents=True, exist_ok=True)
        (path / key).write_bytes(b"1")
        assert refused(path)
    result().slams.to_zarr(path, resume=True)
    assert files(path) == whole


@pytest.mark.parametrize("folders", [["_xslams"], ["_xslams/complete", "lat"], ["_xslams/digests"], ["t"]])
def test_lost_folders_are_seen_and_repaired(path: Path, folders: list[str]) -> None:
    whole = files(path)
    for folder in folders:
        shutil.rmtree(path / folder)
    assert refused(path)
    result().slams.to_zarr(path, resume=True)
    assert files(path) == whole


def test_a_store_whose_plan_is_lost_is_repaired_by_its_own_run_alone(path: Path) -> None:
    spoil(path, "_xslams/zarr.json", "half")
    before = files(path)
    with pytest.raises(StoreError, match="do not say that it belongs to this run"):
        result(seed=1).slams.to_zarr(path, resume=True)
    assert files(path) == before
    with pytest.raises(StoreError, match="an analysis"):
        result().slams.to_zarr(path)


def test_a_repair_that_is_cut_short_is_done_by_the_next_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zarr.storage import LocalStore

    whole, put, done = files(path), LocalStore.set, 0

    async def failing(self, key, value):
        nonlocal done
        done += 1
        if done == last:
            raise OSError(28, "No space left on device")
        await put(self, key, value)

    monkeypatch.setattr(LocalStore, "set", failing)

    def spoil_and_resume(end: int) -> None:
        nonlocal done, last
        for key in ("t/zarr.json", "u/c/1/0"):
            spoil(path, key, "half")
        done, last = 0, end
        result().slams.to_zarr(path, resume=True)

    last = 0
    spoil_and_resume(0)
    writes = done
    assert writes > 10
    for end in (2, writes // 2, writes - 2):
        with pytest.raises(StoreError, match="No space left"):
            spoil_and_resume(end)
        assert refused(path)
        last = 0
        result().slams.to_zarr(path, resume=True)
        assert files(path) == whole


def test_what_is_damaged_can_be_opened_with_a_warning(path: Path) -> None:
    (path / "t/c/1/0/0").unlink()
    with pytest.warns(SlamsWarning, match=r"damaged: one of its files is missing.* \(t/c/1/0/0\)"):
        ds = xslams.open_analysis(path, incomplete="warn")
    assert ds["t"].isnull().any(["lat", "lon"]).values.tolist() == [False, False, True, True, False, False]
    spoil(path, "zarr.json", "half")
    with pytest.warns(SlamsWarning, match="damaged"), pytest.raises(StoreError, match="cannot be opened"):
        xslams.open_analysis(path, incomplete="warn")


def test_stores_of_equal_runs_differ_in_their_history_alone(path: Path, tmp_path: Path) -> None:
    result().assign_attrs(history="made later").slams.to_zarr(tmp_path / "later.zarr")
    first, later = files(path), files(tmp_path / "later.zarr")
    assert {key for key in first.keys() | later.keys() if first.get(key) != later.get(key)} == {"zarr.json"}


def earlier(path: Path) -> None:
    """Make a store one of an earlier version, which had no hashes."""
    shutil.rmtree(path / "_xslams/digests")
    journal = json.loads((path / "_xslams/zarr.json").read_text())
    journal["attributes"] = {"plan": journal["attributes"]["plan"], "created": 1}
    (path / "_xslams/zarr.json").write_text(json.dumps(journal))
    store._consolidate(Target.of(path, None))


def test_stores_of_earlier_versions_are_opened_and_continued(path: Path, computed: list[int]) -> None:
    expected = xslams.open_analysis(path).load()
    earlier(path)
    xr.testing.assert_identical(xslams.open_analysis(path).load(), expected)
    with pytest.warns(SlamsWarning, match="nothing could be verified"):
        xslams.open_analysis(path, verify=True)
    (path / "t/c/1/0/0").unlink()
    with pytest.warns(SlamsWarning, match="earlier version"):
        result().slams.to_zarr(path, resume=True)
    assert computed == [1]
    xr.testing.assert_identical(xslams.open_analysis(path).load(), expected)


def test_a_copy_that_xarray_wrote_is_opened(path: Path, tmp_path: Path) -> None:
    ds = xslams.open_analysis(path).load()
    ds.drop_encoding().to_zarr(tmp_path / "copy.zarr", consolidated=False)
    xr.testing.assert_identical(xslams.open_analysis(tmp_path / "copy.zarr").load(), ds)
    with pytest.warns(SlamsWarning, match="nothing could be verified"):
        xslams.open_analysis(tmp_path / "copy.zarr", verify=True)


def test_a_moved_store_and_an_object_store_are_verified(path: Path, tmp_path: Path) -> None:
    shutil.move(path, tmp_path / "moved.zarr")
    assert not refused(tmp_path / "moved.zarr", verify=True)
    import fsspec

    url = "memory://damaged.zarr"
    result().slams.to_zarr(url)
    assert not refused(url, verify=True)
    fs = fsspec.filesystem("memory")
    content = fs.cat_file("/damaged.zarr/t/c/0/0/0")
    fs.pipe_file("/damaged.zarr/t/c/0/0/0", flip(content))
    assert refused(url, verify=True)
    result().slams.to_zarr(url, resume=True)
    assert fs.cat_file("/damaged.zarr/t/c/0/0/0") == content


@pytest.mark.parametrize("name", ["t", "u"])
@pytest.mark.parametrize("damage", ["flip", "zero", "garbage"])
def test_a_damaged_chunk_is_told_where_it_is_read(path, name, damage):
    """As long as it was: only reading finds it, and says of which store, where, and what helps."""
    chunk = path / name / "c" / "1" / ("0/0" if name == "t" else "0")
    content = bytearray(chunk.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 4
    else:
        content[:] = bytes(len(content)) if damage == "zero" else b"x" * len(content)
    chunk.write_bytes(content)
    opened = xslams.open_analysis(path)
    words = rf"run\.zarr: '{name}' cannot be read at time 2 to 3, lat 0 to 2.*resume=True"
    with pytest.raises(StoreError, match=words):
        opened[name].compute()
    with pytest.raises(StoreError, match=words.replace(" to 3", "")):
        opened[name].isel(time=2).mean().compute(scheduler="threads")
    # The rest is as good as it was, and resuming repairs the store.
    np.testing.assert_array_equal(opened[name][:2], result()[name][:2])
    result().slams.to_zarr(path, resume=True)
    xr.testing.assert_equal(xslams.open_analysis(path).compute(), result().compute())


def test_an_opened_store_has_the_same_keys_until_its_content_differs(path, tmp_path):
    """Two processes that open a store agree on what it is, which hashes of inputs need."""
    token = dask.base.tokenize
    first, again = xslams.open_analysis(path), xslams.open_analysis(path)
    assert token(first["t"].data) == token(again["t"].data) != token(first["u"].data)
    assert first["t"].chunks == result()["t"].chunks and first["t"].encoding["chunks"]
    shutil.rmtree(path)
    other = result(seed=1)
    (other + other.t * 0).assign_attrs(other.attrs).slams.to_zarr(path)
    other = xslams.open_analysis(path)
    assert token(other["t"].data) != token(first["t"].data)
    copied = pickle.loads(pickle.dumps(other["t"].data))  # as distributed workers get it
    np.testing.assert_array_equal(copied.compute(), other["t"])

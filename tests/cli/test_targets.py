"""Where results go: inputs and what is not ours stay, and old results stay until new ones are complete."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr

from xslams.cli import files, targets
from xslams.errors import FileError
from xslams.pipeline.targets import is_leftover, is_part


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def field() -> xr.Dataset:
    return xr.Dataset({"t": (("lat", "lon"), np.arange(6.0).reshape(2, 3))}, {"lat": [0.0, 1.0], "lon": [0.0, 1, 2]})


@pytest.mark.parametrize(
    ("out", "given", "relation"),
    [
        ("in.nc", "in.nc", "is an input"),
        ("./x/../in.nc", "in.nc", "is an input"),
        ("link.nc", "in.nc", "is an input"),
        ("in.nc", "link.nc", "is an input"),
        ("hard.nc", "in.nc", "is an input"),
        ("in.nc", "*.nc", "is an input"),
        ("in.zarr/", "in.zarr", "is an input"),
        ("in.zarr/a.zarr", "in.zarr", "is inside an input"),
        ("linked.zarr/a.zarr", "in.zarr", "is inside an input"),
        ("x", "x/in.nc", "contains an input"),
        ("x", "x/y/*.nc", "contains an input"),
    ],
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_result_is_kept_from_inputs(tmp_path, out, given, relation, resume):
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "in.zarr").mkdir()
    (tmp_path / "in.nc").write_bytes(b"input")
    (tmp_path / "link.nc").symlink_to(tmp_path / "in.nc")
    (tmp_path / "hard.nc").hardlink_to(tmp_path / "in.nc")
    (tmp_path / "linked.zarr").symlink_to(tmp_path / "in.zarr")
    for scheme in ("", "file://"):
        with pytest.raises(FileError, match=relation):
            targets.check_target(
                f"{tmp_path}/{out}", overwrite=True, inputs=[None, f"{scheme}{tmp_path}/{given}"], resume=resume
            )
    targets.check_target(f"{tmp_path}/other.zarr", overwrite=True, inputs=[f"{tmp_path}/{given}", "tutorial:speedy"])


def test_addresses_are_compared_too():
    fs = fsspec.filesystem("memory")
    fs.pipe("/inputs/a.nc", b"x")
    for out in ("memory://inputs/a.nc", "memory:///inputs//a.nc", "memory://inputs"):
        with pytest.raises(FileError, match="an input"):
            targets.check_target(out, overwrite=True, inputs=["memory://inputs/*.nc"])
    targets.check_target("memory://inputs-of-others.nc", overwrite=True, inputs=["memory://inputs/a.nc"])


@pytest.mark.parametrize("name", ["a.nc", "a.zarr", "a.json", "a.png", "a.svg", "a.pdf", "a.safetensors"])
@pytest.mark.parametrize("what", [b"", b"notes", b"\x89HDF\r\n\x1a\n", b'{"a": 1}', "folder", "foreign"])
def test_only_results_of_ours_are_replaced(tmp_path, field, name, what):
    path = tmp_path / name
    if isinstance(what, bytes):
        path.write_bytes(what)
    elif what == "folder":
        path.mkdir()
        (path / "film.partial").write_text("precious")
    elif name.endswith(".zarr"):
        field.to_zarr(path, consolidated=False)
    else:
        field.to_netcdf(path)
    before = content(tmp_path)
    with pytest.raises(FileError, match="is not replaced"):
        targets.check_target(str(path), overwrite=True)
    assert content(tmp_path) == before


@pytest.mark.parametrize("place", ["local", "memory"])
@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_results_of_ours_are_replaced(tmp_path, field, name, place):
    path = f"{tmp_path}/{name}" if place == "local" else f"memory://replaced/{name}"
    files.write_data(field, path)
    targets.check_target(path, overwrite=True)
    files.write_data(field + 1, path)
    xr.testing.assert_equal(files.open_data(path).compute(), field + 1)
    if name == "a.zarr":
        fs, inner = fsspec.core.url_to_fs(path)
        fs.pipe(f"{inner}/t/notes.txt", b"mine")
        with pytest.raises(FileError, match=r"something else \(t/notes.txt\)"):
            targets.check_target(path, overwrite=True)


@pytest.mark.parametrize("place", ["local", "memory"])
def test_an_old_result_stays_until_the_new_one_is_complete(tmp_path, field, place, monkeypatch):
    path = f"{tmp_path}/a.zarr" if place == "local" else "memory://kept/a.zarr"
    new = field.assign_attrs(xslams_model_sha256="0", xslams_seed=1).chunk(lat=1)
    settings = {"resume": False, "overwrite": True, "progress": False}
    targets.write_analysis(field.chunk(), path, **settings)
    for seed in (1, 1, 2):
        failing = new.assign_attrs(xslams_seed=seed).assign(t=(new["t"] + 1).map_blocks(_fail, template=new["t"]))
        with pytest.raises(RuntimeError, match="oops"):
            targets.write_analysis(failing, path, **settings)
        xr.testing.assert_equal(files.open_data(path).compute(), field)
    targets.write_analysis(new, path, **settings)
    assert files.open_data(path).attrs["xslams_seed"] == 1
    fs, inner = fsspec.core.url_to_fs(path)
    assert [Path(p).name for p in fs.ls(inner.rpartition("/")[0], detail=False)] == ["a.zarr"]


def _fail(da):
    if da.size:
        raise RuntimeError("oops")
    return da


def test_a_model_that_cannot_be_opened_costs_no_result(tmp_path, field):
    from click.testing import CliRunner

    from xslams.cli import main

    field.to_netcdf(tmp_path / "in.nc")
    files.write_data(field, f"{tmp_path}/a.zarr")
    before = content(tmp_path)
    args = ["assimilate", "in.nc", "--obs", "in.nc,error=1", "--model", "none", "--out", "a.zarr", "--overwrite"]
    paths = [f"{tmp_path}/{a}" if a.startswith(("in.nc", "a.zarr")) else a for a in args]
    assert CliRunner().invoke(main, paths).exit_code == 1
    assert content(tmp_path) == before


def test_scores_and_models_bear_a_mark(tmp_path, tiny_model):
    import shutil

    shutil.copy(tiny_model.path, tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text(json.dumps({"attrs": {"xslams_version": "0"}}))
    for name in ("a.safetensors", "a.json"):
        targets.check_target(str(tmp_path / name), overwrite=True)


@pytest.mark.parametrize(
    "key", ["film.partial", "t.partial", "a/b.123.partial", "notes.txt", "t/d/0", "t/c/x", "t/c/0/"]
)
def test_what_no_run_writes(key):
    assert not is_leftover(key)
    assert not is_part(key)

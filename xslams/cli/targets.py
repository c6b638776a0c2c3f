"""Where results go: what may be replaced, and how.

A result replaces only a result of the same kind that xslams has written, never an input, and not before it is complete
itself: it is made beside the old one, and takes its place by a rename. The files of a zarr store on an object store
cannot be renamed together: they are copied, and ``zarr.json`` of the root, which makes the store readable, last.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from xslams.errors import FileError, ModelError
from xslams.pipeline.targets import MARK, Target

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["beside", "check_target", "discard", "format_of", "is_local", "replace_store", "write_analysis"]

_SUFFIXES = {".nc": "netcdf", ".nc4": "netcdf", ".cdf": "netcdf", ".netcdf": "netcdf", ".h5": "netcdf", ".zarr": "zarr"}


def format_of(path: str) -> str | None:
    """Return the format that the name of a file implies.

    Parameters
    ----------
    path
        Path or URL.

    Returns
    -------
    str or None
        "zarr", "netcdf", or None for other names.

    Examples
    --------
    >>> format_of("s3://bucket/analysis.zarr/"), format_of("truth.nc")
    ('zarr', 'netcdf')
    """
    return _SUFFIXES.get(os.path.splitext(path.rstrip("/"))[1].lower())


def is_local(fs: Any) -> bool:
    """Whether a file system is that of this machine."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(fs, LocalFileSystem)


def check_target(path: str, *, overwrite: bool, inputs: Iterable[str | None] = (), resume: bool = False) -> None:
    """Check, before anything is read or computed, that a result can be written.

    Parameters
    ----------
    path
        Path or URL of the result.
    overwrite
        Whether an existing result may be replaced.
    inputs
        Paths, URLs and patterns of what goes in; None and names that are no places are passed over.
    resume
        Whether the store of an interrupted run is continued.

    Raises
    ------
    FileError
        If the path is, is inside or contains an input; if it exists and is not a result of xslams that may be
        replaced; if its folder does not exist; or if the file system is unknown.
    """
    import fsspec

    try:
        fs, inner = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError) as e:
        msg = f"{path}: {e}"
        raise FileError(msg) from None
    _check_inputs(path, inputs)
    if resume:
        return
    if is_local(fs) and not Path(inner).parent.is_dir():
        msg = f"{path}: there is no folder {Path(inner).parent}. Make it first."
        raise FileError(msg)
    if not fs.exists(inner):
        return
    if not overwrite:
        msg = f"{path} exists. Choose another place, or replace it with --overwrite."
        raise FileError(msg)
    if fault := _objection(fs, inner, path):
        msg = f"{path} is not replaced: {fault}. Choose another place, or remove it yourself."
        raise FileError(msg)


def _check_inputs(path: str, inputs: Iterable[str | None]) -> None:
    out = _parts(path)
    for given in inputs:
        if given is None or given.startswith("tutorial:"):
            continue
        for found in _expanded(given):
            known = _parts(found)
            if known == out or _is_same(found, path):
                relation = "is an input"
            elif out[: len(known)] == known:
                relation = "is inside an input"
            elif known[: len(out)] == out:
                relation = "contains an input"
            else:
                continue
            msg = f"--out: {path} {relation} ({given}); the result would destroy it. Choose another place."
            raise FileError(msg)


def _parts(path: str) -> tuple[str, ...]:
    """Protocol and folders of a place, links resolved, so that places can be compared."""
    import fsspec

    # Of "zip://a.nc::file:///b.zip" the last part says where the bytes lie.
    fs, inner = fsspec.core.url_to_fs(path.rsplit("::", 1)[-1])
    if is_local(fs):
        return ("file", *Path(os.path.realpath(inner)).parts)
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    return (protocol, *(part for part in inner.split("/") if part not in ("", ".")))


def _expanded(path: str) -> list[str]:
    """List a path and, if it is a pattern, what it matches."""
    import fsspec

    try:
        fs, inner = fsspec.core.url_to_fs(path)
        matches = fs.glob(inner) if any(c in path for c in "*?[") else []
        return [path, *(str(m) if is_local(fs) else fs.unstrip_protocol(m) for m in matches)]
    except (ValueError, ImportError, OSError):
        return []  # opening it says what is wrong


def _is_same(a: str, b: str) -> bool:
    """Whether two names are of one file, through links or on disks that ignore case."""
    try:
        return os.path.samefile(a.removeprefix("file://"), b.removeprefix("file://"))
    except (OSError, ValueError):
        return False


def _objection(fs: Any, inner: str, path: str) -> str | None:
    """Why what is at a place may not be replaced; None if it is a result of xslams of the kind to be written."""
    store = format_of(path) == "zarr"
    if fs.isdir(inner):
        return Target.of(path, None).objection() if store else "it is a folder"
    if store:
        return "it is a file and not a store"
    suffix = os.path.splitext(inner)[1].lower()
    kind = "netcdf" if format_of(path) == "netcdf" else suffix
    try:
        with fs.open(inner, "rb") as file:
            return None if _RECOGNISED[kind](file) else f"it is not a result of xslams ({suffix})"
    except Exception as e:  # whatever a reader raises about a file of another kind
        return f"it is not a result of xslams ({suffix}; {type(e).__name__})"


def _is_netcdf(file: IO[bytes]) -> bool:
    import xarray as xr

    with xr.open_dataset(file, engine="h5netcdf", decode_cf=False) as ds:
        return MARK in ds.attrs


def _is_json(file: IO[bytes]) -> bool:
    import json

    return MARK in json.load(file)["attrs"]


def _is_model(file: IO[bytes]) -> bool:
    from xslams.model import Model

    with tempfile.TemporaryDirectory(prefix="xslams-") as folder:
        copy = Path(folder) / "model.safetensors"
        with copy.open("wb") as target:
            shutil.copyfileobj(file, target)
        try:
            Model.load(copy)
        except ModelError:
            return False
    return True


def _begins(*starts: bytes) -> Callable[[IO[bytes]], bool]:
    return lambda file: file.read(16).startswith(starts)


# Figures bear no mark: one may replace a figure of the same format.
_RECOGNISED: dict[str, Callable[[IO[bytes]], bool]] = {
    "netcdf": _is_netcdf,
    ".json": _is_json,
    ".safetensors": _is_model,
    ".png": _begins(b"\x89PNG"),
    ".pdf": _begins(b"%PDF"),
    ".svg": _begins(b"<?xml", b"<svg"),
}


def beside(path: str) -> str:
    """Return the place where a store is made that replaces another.

    Examples
    --------
    >>> beside("s3://bucket/a.zarr/")
    's3://bucket/.a.zarr.new'
    """
    head, slash, name = path.rstrip("/").rpartition("/")
    return f"{head}{slash}.{name}.new"


def discard(path: str) -> None:
    """Remove a store that was made beside another one, file by file.

    Parameters
    ----------
    path
        Result of `beside`.

    Raises
    ------
    FileError
        If it holds what xslams does not write.
    """
    target = Target.of(path, None)
    if other := target.foreign():
        msg = f"{path} is in the way: it holds something that xslams did not write ({other}). Move it elsewhere."
        raise FileError(msg)
    target.remove(sorted(target.files(), key=lambda key: key != "zarr.json"))
    target.prune()


def write_analysis(analysis: xr.Dataset, path: str, *, resume: bool, overwrite: bool, progress: bool | None) -> None:
    """Write an analysis region by region; a store that is there stays until the new one is complete.

    Parameters
    ----------
    analysis
        Lazy analysis.
    path
        Path or URL of the store.
    resume, overwrite
        Continue the store that is there, or replace it. A replacement that was interrupted is continued by itself.
    progress
        Whether to show a progress bar.
    """
    import fsspec

    from xslams.pipeline.store import is_begun

    fs, inner = fsspec.core.url_to_fs(path)
    if not overwrite or not fs.exists(inner):
        analysis.slams.to_zarr(path, resume=resume, progress=progress)
        return
    place = beside(path)
    if Target.of(place, None).files() and not is_begun(analysis, place):
        discard(place)
    analysis.slams.to_zarr(place, resume=True, progress=progress)
    replace_store(place, path)


def replace_store(new: str, path: str) -> None:
    """Put a complete store in the place of another, which need not exist.

    Parameters
    ----------
    new
        Path or URL of the store, on the same file system; it is moved.
    path
        Path or URL where it goes.
    """
    import fsspec

    fs, inner = fsspec.core.url_to_fs(path)
    inner = inner.rstrip("/")
    _, source = fsspec.core.url_to_fs(new)
    if not is_local(fs):
        _copy(fs, source, inner)
        discard(new)
        return
    if not os.path.lexists(inner):
        os.replace(source, inner)
        return
    with tempfile.TemporaryDirectory(dir=Path(inner).parent, prefix=f".{Path(inner).name}.", suffix=".part") as aside:
        old = os.path.join(aside, "old")
        os.replace(inner, old)
        try:
            os.replace(source, inner)
        except BaseException:
            os.replace(old, inner)
            raise


def _copy(fs: Any, source: str, inner: str) -> None:
    """Copy a store within an object store over another one, which is unreadable meanwhile."""
    root = f"{inner}/zarr.json"
    if fs.exists(root):
        fs.rm_file(root)
    keys = [name.removeprefix(f"{source}/") for name in fs.find(source)]
    for name in fs.find(inner):
        if name.removeprefix(f"{inner}/") not in keys:
            fs.rm_file(name)
    for key in sorted(keys, key=lambda key: key == "zarr.json"):
        fs.cp_file(f"{source}/{key}", f"{inner}/{key}")

"""Reading data from any place that fsspec supports, and writing results atomically.

A result is written under a temporary name, on the same disk or in a temporary folder for a remote target, and is
renamed when it is complete; see `xslams.cli.targets`.
"""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from xslams import __version__
from xslams.addresses import cleaned, hide, public
from xslams.cli.targets import beside, discard, format_of, is_local, replace_store
from xslams.downloads import is_web, receive
from xslams.errors import FileError
from xslams.pipeline.targets import MARK
from xslams.progress import wanted

__all__ = [
    "open_data",
    "progress_bar",
    "select",
    "write_data",
    "write_file",
]

_TUTORIAL = "tutorial:"
_SMALL = 256 * 2**20  # bytes
_TABLES = (".csv", ".tsv", ".txt", ".dat")
_LARGEST = 8 * 2**30  # bytes of a file of a web server, which is read into memory


def open_data(path: str, *, small: bool = False) -> xr.Dataset:
    """Open a Dataset.

    Parameters
    ----------
    path
        Path or URL of a zarr store or netCDF file; a pattern with ``*`` for several netCDF files; ``tutorial:NAME``. A
        remote netCDF file is read completely.
    small
        Whether to load data of up to 256 MiB into memory.

    Returns
    -------
    Dataset
        Lazy, unless it was loaded.

    Raises
    ------
    FileError
        If there are no data, or they cannot be read.
    """
    if path.startswith(_TUTORIAL):
        from xslams.zoo.pretrained import open_tutorial

        return open_tutorial(path.removeprefix(_TUTORIAL)).chunk()
    ds = _open(path)
    return ds.load() if small and ds.nbytes <= _SMALL else ds


def _open(path: str) -> xr.Dataset:
    import fsspec

    try:
        fs, inner = fsspec.core.url_to_fs(path)
        remote = not is_local(fs)
        names = sorted(fs.glob(inner)) if any(c in path for c in "*?[") else [inner]
        if not names or not fs.exists(names[0]):
            msg = f"There is nothing at {public(path)}. Check the path; relative paths start from {os.getcwd()}."
            raise FileError(msg)
        if Path(names[0]).suffix.lower() in _TABLES and not fs.isdir(names[0]):
            msg = (
                f"{public(path)} is a table; expected zarr or netCDF. Write it as netCDF in Python: "
                "pandas.read_csv(path, parse_dates=['time']).to_xarray().set_coords(['time', 'lat', 'lon'])"
                ".to_netcdf('reports.nc'), and say the units of its variables: ds['tavg'].attrs['units'] = 'degC'."
            )
            raise FileError(msg)
        if len(names) > 1 or (names[0] != inner):
            parts = [_netcdf(fs, name, remote=remote) for name in names]
            return parts[0] if len(parts) == 1 else xr.combine_by_coords(parts, combine_attrs="drop_conflicts")  # type: ignore[return-value]
        if fs.isdir(inner) or format_of(path) == "zarr":
            with warnings.catch_warnings():
                # A store without consolidated metadata is only slower to open.
                warnings.filterwarnings("ignore", message="Failed to open Zarr store with consolidated metadata")
                ds = xr.open_dataset(path if remote else inner, engine="zarr", chunks={})
            if "xslams_complete" in ds.attrs:
                from xslams.pipeline.opening import open_analysis

                return open_analysis(path)  # or an error that says what is missing or damaged and what to do
            return ds
        return _netcdf(fs, inner, remote=remote)
    except FileError:
        raise
    except (OSError, ValueError, ImportError, KeyError) as e:
        msg = f"{public(path)} cannot be opened as zarr or netCDF ({type(e).__name__}: {hide(str(e), path)})."
        failed = isinstance(e, OSError) and not isinstance(e, FileNotFoundError)
        raise FileError(msg) from (cleaned(e, path) if failed else None)


def _netcdf(fs: Any, name: str, *, remote: bool) -> xr.Dataset:
    if not remote:
        return xr.open_dataset(name, chunks={})
    # In memory, so that equal content counts as the same input, whatever its address and date.
    content = io.BytesIO()
    if is_web(name):
        receive(name, content, largest=_LARGEST)
    else:
        content.write(fs.cat_file(name))
    content.seek(0)
    with xr.open_dataset(content) as ds:
        return ds.load().chunk()


def select(ds: xr.Dataset, start: str | None, end: str | None) -> xr.Dataset:
    """Select a period.

    Parameters
    ----------
    ds
        Data with a time coordinate.
    start, end
        First and last time, such as "2004-01" or "2004-01-05T12"; None for no limit.

    Returns
    -------
    Dataset
        Frames of the period.

    Raises
    ------
    FileError
        If the period has no frames.
    """
    from xslams.labels.coordinates import coordinate

    if start is None and end is None:
        return ds
    time = coordinate(ds, "time")
    if time is None:
        msg = "--start and --end need a time coordinate, and the data have none."
        raise FileError(msg)
    try:
        chosen = ds.sel({time: slice(start, end)})
    except (KeyError, ValueError, TypeError) as e:
        ends = " and ".join(f"{name} {end}" for name, end in (("--start", start), ("--end", end)) if end is not None)
        msg = f"{ends} cannot be read as dates of the data ({e}); expected dates such as 2004-01-05."
        raise FileError(msg) from None
    if not chosen.sizes[time]:
        msg = f"No frame lies from {start} to {end}; the data have {ds[time].values[0]} to {ds[time].values[-1]}."
        raise FileError(msg)
    return chosen


def write_data(ds: xr.Dataset, path: str, *, progress: bool | None = None) -> None:
    """Write a Dataset as zarr or netCDF, depending on the suffix; an existing result is replaced.

    Parameters
    ----------
    ds
        Dataset, which is computed while it is written.
    path
        Path or URL.
    progress
        Whether to show a progress bar with the remaining time.

    Raises
    ------
    FileError
        If it cannot be written; no incomplete result is left.
    """
    # The encoding of the input need not suit the output; the mark says that the result is ours to replace.
    ds = ds.drop_encoding().assign_attrs({MARK: __version__})
    with progress_bar(progress):
        if format_of(path) == "zarr":
            _write_zarr(ds, path)
        else:
            write_file(path, lambda temporary: ds.to_netcdf(temporary, engine="h5netcdf"))


def write_file(path: str, write: Callable[[str], Any]) -> None:
    """Write one file atomically; an existing file is replaced.

    Parameters
    ----------
    path
        Path or URL.
    write
        Function that is called with the path of a temporary file with the same suffix.

    Raises
    ------
    FileError
        If it cannot be written; no incomplete file is left.
    """
    import fsspec

    fs, inner = fsspec.core.url_to_fs(path)
    with _failing(path), tempfile.TemporaryDirectory(**_place(fs, inner)) as folder:
        temporary = os.path.join(folder, f"new{os.path.splitext(inner)[1]}")
        write(temporary)
        if is_local(fs):
            os.replace(temporary, inner)
            return
        # A copy or rename within a file system is atomic, which a transfer need not be.
        partial = f"{inner}.{os.path.basename(folder)}.part"
        try:
            fs.put_file(temporary, partial)
            fs.mv(partial, inner)
        except BaseException:
            if fs.exists(partial):
                fs.rm_file(partial)
            raise


def _write_zarr(ds: xr.Dataset, path: str) -> None:
    import fsspec

    fs, inner = fsspec.core.url_to_fs(path)
    inner = inner.rstrip("/")
    with _failing(path), tempfile.TemporaryDirectory(**_place(fs, inner)) as folder:
        temporary = os.path.join(folder, "new.zarr")
        with warnings.catch_warnings():
            # The specification of zarr 3 does not include consolidated metadata, which libraries support nevertheless.
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
            ds.to_zarr(temporary, mode="w", consolidated=True, zarr_format=3)
        if is_local(fs):
            replace_store(temporary, path)
            return
        # What is there already stays until the new store is complete beside it.
        place = beside(path) if fs.exists(inner) else path
        try:
            _put(temporary, place)
        except BaseException:
            if place != path:
                discard(place)
            raise
        if place != path:
            replace_store(place, path)


def _put(folder: str, path: str) -> None:
    """Transfer a store, what makes it readable last."""
    import fsspec

    fs, inner = fsspec.core.url_to_fs(path)
    files = sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())
    for name in sorted(files, key=lambda name: name == "zarr.json"):
        fs.put_file(os.path.join(folder, name), f"{inner.rstrip('/')}/{name.replace(os.sep, '/')}")


def _place(fs: Any, inner: str) -> dict[str, Any]:
    """Return the place of a temporary folder: on the disk of a local target, so that a rename suffices."""
    if not is_local(fs):
        return {"prefix": "xslams-"}
    return {"dir": Path(inner).parent, "prefix": f".{Path(inner).name}.", "suffix": ".part"}


@contextmanager
def _failing(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as e:
        if isinstance(e, FileError):
            raise
        reason = f"{type(e).__name__}: {hide(str(e), path)}"
        msg = f"{public(path)} could not be written ({reason}). No incomplete result is left."
        raise FileError(msg) from cleaned(e, path)


@contextmanager
def progress_bar(progress: bool | None) -> Iterator[None]:
    """Show the progress of dask and the remaining time.

    Parameters
    ----------
    progress
        Whether to show a bar.
    """
    if not wanted(progress):
        yield
        return
    from tqdm.dask import TqdmCallback

    with TqdmCallback(desc="tasks"):
        yield

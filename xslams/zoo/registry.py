"""The registry of pretrained models, and the transfer of their files into the cache.

``xslams/data/registry.json`` lists every model by name: ``sha256`` and ``size`` (bytes) of its file, its ``license``,
and ``url``, which is empty for a model that is embedded in the package. For other models it also holds what
`list_models` shows before they are fetched: ``summary``, ``variables``, ``grid``, and the ``format_version`` of the
file.

A file is fetched under a temporary name in the cache, its size and hash are compared with the registry, and only then
is it renamed. Any number of processes may therefore fetch the same model at the same time, and none opens an incomplete
file. A transfer stops at the size of the registry, and a file that does not match is removed. The cache is that of
pooch for the user; the environment variable ``XSLAMS_CACHE`` sets another folder.

If the registered address cannot be reached, ``mirror=`` or the environment variable ``XSLAMS_MIRROR`` sets another one:
a folder that holds ``NAME.safetensors``, or the file itself. It may be http(s), a path, or anything that fsspec opens.
The file is still compared with the hash of the registry, so a mirror need not be trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import dataclass, fields
from pathlib import Path

from xslams import places
from xslams.addresses import cleaned, join, public
from xslams.downloads import TooLargeError, TransferError, copy
from xslams.errors import ModelError, OptionError, SlamsWarning
from xslams.spec import FORMAT_VERSION

__all__ = ["DATA", "SUFFIX", "Entry", "address", "cached", "check", "fetch", "read"]

#: Folder of the embedded models and data.
DATA = Path(__file__).parents[1] / "data"
SUFFIX = ".safetensors"

# Verified files by path, size and time of change, so that a hash is computed once per process.
_known: set[tuple[str, int, int, str]] = set()


@dataclass(frozen=True)
class Entry:
    """One model of the registry.

    Attributes
    ----------
    name, sha256, size, license
        Properties of the file; the size is in bytes.
    url
        Address of the file; empty if it is embedded in the package.
    summary, variables, grid
        Description of a model that has not been fetched.
    format_version
        Format of the file, see `Spec`.
    """

    name: str
    sha256: str
    size: int
    license: str = ""
    url: str = ""
    summary: str = ""
    variables: str = ""
    grid: str = ""
    format_version: int = 1

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.name}{SUFFIX}"

    @property
    def embedded(self) -> bool:
        """Whether the file comes with the package."""
        return not self.url


def read(folder: Path | None = None) -> dict[str, Entry]:
    """Read the registry.

    Parameters
    ----------
    folder
        Folder of ``registry.json``; by default that of the package.

    Returns
    -------
    dict
        Entries by name.

    Raises
    ------
    ModelError
        If the registry is damaged; the message names the entry.

    Examples
    --------
    >>> read()["speedy-t30"].embedded
    True
    """
    path = (DATA if folder is None else folder) / "registry.json"
    known = {f.name for f in fields(Entry)} - {"name"}
    entries = {}
    try:
        for name, record in json.loads(path.read_text()).items():
            # Later versions of the registry may have further keys.
            entry = Entry(name=name, **{k: v for k, v in record.items() if k in known})
            if len(entry.sha256) != 64 or set(entry.sha256) - set("0123456789abcdef") or entry.size <= 0:
                msg = f"{path}: the entry {name!r} has no sha256 or size. Install xslams again."
                raise ModelError(msg)
            cached(entry)
            entries[name] = entry
    except (json.JSONDecodeError, AttributeError, TypeError) as e:
        msg = f"{path} is not a registry of models ({e}). Install xslams again."
        raise ModelError(msg) from cleaned(e)
    return entries


def cached(entry: Entry) -> Path:
    """Return the path of a model in the cache, whether or not the file exists.

    Parameters
    ----------
    entry
        Entry of the model.

    Returns
    -------
    Path
        Path of the file.

    Raises
    ------
    ModelError
        If the name of the model is none of a file in the cache.
    """
    import pooch

    folder = Path(os.environ.get("XSLAMS_CACHE") or pooch.os_cache("xslams")).expanduser().absolute()
    try:
        path = places.within(folder, entry.file)
    except OptionError as e:
        msg = f"The name of the model {entry.name!r} leaves the cache. {e} Install xslams again."
        raise ModelError(msg) from cleaned(e)
    if path.parent != folder:
        msg = f"The name of the model {entry.name!r} is none of a file in {folder}. Install xslams again."
        raise ModelError(msg)
    return path


def address(entry: Entry, mirror: str | None = None) -> str:
    """Return the address from which a model is fetched.

    Parameters
    ----------
    entry
        Entry of the model.
    mirror
        Address of a folder that holds the file, or of the file itself; by default the value of ``XSLAMS_MIRROR``, or
        else the address in the registry.

    Returns
    -------
    str
        Address of the file.

    Examples
    --------
    >>> entry = Entry("big", "0" * 64, 1, url="https://models.example/big.safetensors")
    >>> address(entry, "s3://our-bucket/models/")
    's3://our-bucket/models/big.safetensors'
    """
    base = mirror or os.environ.get("XSLAMS_MIRROR") or ""
    if not base:
        return entry.url
    return base if base.partition("?")[0].endswith(SUFFIX) else join(base, entry.file)


def check(path: Path, entry: Entry) -> None:
    """Compare a file with the registry.

    Parameters
    ----------
    path
        The file.
    entry
        Entry of the model.

    Raises
    ------
    ModelError
        If the file is truncated, of another kind, or has another hash.
    """
    status = path.stat()
    key = str(path), status.st_size, status.st_mtime_ns, entry.sha256
    if key in _known:
        return
    with path.open("rb") as file:
        start = file.read(64)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest() if status.st_size == entry.size else ""
    if digest != entry.sha256:
        # The first eight bytes of a safetensors file are the length of its header, which opens with a brace.
        if start[8:9] != b"{":
            fault = f"is not a model file: it begins with {start[:24]!r}"
        elif status.st_size < entry.size:
            fault = f"is truncated: {status.st_size} of {entry.size} bytes"
        elif status.st_size > entry.size:
            fault = f"is another file: it has {status.st_size} bytes, expected {entry.size}"
        else:
            fault = f"has the wrong hash: sha256 {digest}, expected {entry.sha256}"
        msg = f"The file of the model {entry.name!r} {fault}."
        raise ModelError(msg)
    _known.add(key)


def fetch(entry: Entry, *, mirror: str | None = None, progress: bool = False) -> Path:
    """Fetch a model into the cache, unless an intact copy is there.

    Parameters
    ----------
    entry
        Entry of the model.
    mirror
        As for `address`.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        Path of the complete and verified file.

    Raises
    ------
    ModelError
        If the model needs a newer xslams, cannot be fetched, or does not match the registry; no file is left.

    Warns
    -----
    SlamsWarning
        If a copy in the cache was damaged and is fetched again.
    """
    if entry.format_version > FORMAT_VERSION:
        msg = (
            f"The model {entry.name!r} has format {entry.format_version}; this xslams reads formats up to "
            f"{FORMAT_VERSION}. Update xslams (pip install --upgrade xslams)."
        )
        raise ModelError(msg)
    path = cached(entry)
    try:
        check(path, entry)
    except OSError:
        pass  # missing or unreadable; the download below reports which
    except ModelError as e:
        warnings.warn(f"{e} The file is in the cache ({path}) and is fetched again.", SlamsWarning, stacklevel=2)
    else:
        return path
    try:
        _download(address(entry, mirror), path, entry, progress=progress)
    except BaseException:
        _remove_damaged(path, entry)
        raise
    return path


def _remove_damaged(path: Path, entry: Entry) -> None:
    """Remove a damaged file, unless another process has replaced it meanwhile."""
    try:
        check(path, entry)
    except ModelError:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _download(url: str, path: Path, entry: Entry, *, progress: bool) -> None:
    try:
        with places.temporary(path) as part:
            try:
                copy(url, part, largest=entry.size, progress=progress)
            except TooLargeError as e:
                _refuse_larger(part, entry, e)
            check(part, entry)
            os.replace(part, path)
    except ModelError as e:
        msg = (
            f"The model {entry.name!r} was fetched from {public(url)} and refused. {e} The fetched file has been "
            "removed. Try again. If it happens again, the address holds another file, or a proxy replaces it: set "
            "another address with mirror= or XSLAMS_MIRROR."
        )
        raise ModelError(msg) from cleaned(e)
    except OSError as e:
        reason = str(e) if isinstance(e, TransferError) else f"{type(e).__name__}: {e}"
        msg = (
            f"The model {entry.name!r} could not be fetched from {public(url)} to {path} ({reason}). Check the "
            "network and that the folder is writable (XSLAMS_CACHE sets another). Without a network, fetch the file "
            f"elsewhere, check that its sha256 is {entry.sha256}, and set its folder with mirror= or XSLAMS_MIRROR, or "
            "pass its path instead of the name."
        )
        raise ModelError(msg) from cleaned(e)


def _refuse_larger(part: Path, entry: Entry, error: TooLargeError) -> None:
    """Say what a file is of which there is more than the registry says."""
    with part.open("rb") as file:
        start = file.read(24)
    fault = f"is another file: {error}"
    if start and start[8:9] != b"{":
        fault = f"is not a model file: it begins with {start!r}"
    msg = f"The file of the model {entry.name!r} {fault}."
    raise ModelError(msg)

"""The registry of pretrained models, and how a file gets from an address into the cache: whole, right, and at once.

``xslams/data/registry.json`` lists every model by name: ``sha256`` and ``size`` (bytes) of its file, its ``license``,
and ``url``, which is empty for a model that is embedded in the package. Of models to fetch it also says what
`list_models` shows before they are there: ``summary``, ``variables``, ``grid``, and the ``format_version`` of the file.

A file is fetched under a temporary name in the cache, its size and hash are compared with the registry, and only then
is it renamed, so that any number of processes may fetch the same model at the same time, and none ever opens a file
that is not complete. What is not as the registry says is removed. The cache is that of pooch for this user, which the
environment variable ``XSLAMS_CACHE`` moves.

Where the registered address cannot be reached, ``mirror=`` or the environment variable ``XSLAMS_MIRROR`` names another
place: the address of a folder that holds ``NAME.safetensors``, or of the file itself. That may be http(s), a path, or
anything that fsspec opens. The hash stays that of the registry, so a mirror need not be trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from xslams.errors import ModelError, SlamsWarning
from xslams.spec import FORMAT_VERSION

__all__ = ["DATA", "SUFFIX", "Entry", "address", "cached", "check", "fetch", "read"]

#: Folder of what is embedded in the package.
DATA = Path(__file__).parents[1] / "data"
SUFFIX = ".safetensors"

_SECONDS_OF_SILENCE = 60
# Files that were found to be right: path, size and time of change, so that a hash is computed once per process.
_known: set[tuple[str, int, int, str]] = set()


@dataclass(frozen=True)
class Entry:
    """One model of the registry.

    Attributes
    ----------
    name, sha256, size, license
        Of the file; the size is in bytes.
    url
        Address of the file; empty where it is embedded in the package.
    summary, variables, grid
        What is shown of a model that is not here yet.
    format_version
        Of the file, see `Spec`.
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
        Where ``registry.json`` lies; by default in the package.

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
            # A later version may say more of a model than this one understands.
            entry = Entry(name=name, **{k: v for k, v in record.items() if k in known})
            if len(entry.sha256) != 64 or set(entry.sha256) - set("0123456789abcdef") or entry.size <= 0:
                msg = f"{path}: the entry {name!r} has no sha256 or size. Install xslams again."
                raise ModelError(msg)
            entries[name] = entry
    except (json.JSONDecodeError, AttributeError, TypeError) as e:
        msg = f"{path} is not a registry of models ({e}). Install xslams again."
        raise ModelError(msg) from e
    return entries


def cached(entry: Entry) -> Path:
    """Path that a model has in the cache, whether or not it is there.

    Parameters
    ----------
    entry
        The model's.

    Returns
    -------
    Path
        Of the file.
    """
    import pooch

    folder = os.environ.get("XSLAMS_CACHE") or pooch.os_cache("xslams")
    return Path(folder).expanduser().absolute() / entry.file


def address(entry: Entry, mirror: str | None = None) -> str:
    """Where a model is fetched from.

    Parameters
    ----------
    entry
        The model's.
    mirror
        Address of a folder that holds the file, or of the file itself; by default the value of ``XSLAMS_MIRROR`` and
        then what the registry says.

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
    return base if base.endswith(SUFFIX) else f"{base.rstrip('/')}/{entry.file}"


def check(path: Path, entry: Entry) -> None:
    """Compare a file with the registry.

    Parameters
    ----------
    path
        The file.
    entry
        What it should be.

    Raises
    ------
    ModelError
        If the file is truncated, something else altogether, or has another hash.
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
            fault = f"is no model file: it begins with {start[:24]!r}"
        elif status.st_size < entry.size:
            fault = f"is truncated: {status.st_size} of {entry.size} bytes"
        elif status.st_size > entry.size:
            fault = f"is another file: {status.st_size} bytes where {entry.size} were expected"
        else:
            fault = f"has the wrong hash: sha256 {digest}, expected {entry.sha256}"
        msg = f"The file of the model {entry.name!r} {fault}."
        raise ModelError(msg)
    _known.add(key)


def fetch(entry: Entry, *, mirror: str | None = None, progress: bool = False) -> Path:
    """Bring a model into the cache, unless it is there and right.

    Parameters
    ----------
    entry
        The model's.
    mirror
        As for `address`.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        Of the complete and verified file.

    Raises
    ------
    ModelError
        If the model needs a newer xslams, cannot be fetched, or is not what the registry says; nothing is left of it.

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
        pass  # not there, or not to be read: what comes next says which
    except ModelError as e:
        warnings.warn(f"{e} It lay in the cache, {path}; it is fetched again.", SlamsWarning, stacklevel=2)
    else:
        return path
    try:
        _download(address(entry, mirror), path, entry, progress=progress)
    except BaseException:
        _remove_damaged(path, entry)
        raise
    return path


def _remove_damaged(path: Path, entry: Entry) -> None:
    """Remove a file that is wrong; another process may have brought the right one meanwhile."""
    try:
        check(path, entry)
    except ModelError:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _download(url: str, path: Path, entry: Entry, *, progress: bool) -> None:
    import pooch

    def transfer(url: str, temporary: str, _: Any) -> None:
        if url.startswith(("http://", "https://")):
            pooch.HTTPDownloader(progressbar=progress, timeout=_SECONDS_OF_SILENCE)(url, temporary, None)
        else:
            _copy(url, Path(temporary))
        check(Path(temporary), entry)

    try:
        # pooch writes to a temporary file next to the target, and renames it when `transfer` has not complained.
        pooch.retrieve(url, known_hash=f"sha256:{entry.sha256}", fname=path.name, path=path.parent, downloader=transfer)
    except ModelError as e:
        msg = (
            f"The model {entry.name!r} was fetched from {url} and refused. {e} What was fetched has been removed. Try "
            "again; should it happen again, the address holds another file, or something on the way replaces it: name "
            "another address with mirror= or XSLAMS_MIRROR."
        )
        raise ModelError(msg) from e
    except (OSError, ValueError, ImportError) as e:
        msg = (
            f"The model {entry.name!r} could not be fetched from {url} to {path} ({type(e).__name__}: {e}). Check the "
            "network and that the folder can be written (XSLAMS_CACHE names another). Without a network, fetch the "
            f"file elsewhere, check that its sha256 is {entry.sha256}, and name its folder with mirror= or "
            "XSLAMS_MIRROR, or pass its path instead of the name."
        )
        raise ModelError(msg) from e


def _copy(url: str, temporary: Path) -> None:
    """Copy from anything that fsspec opens: a path, an object store."""
    import shutil

    import fsspec

    with fsspec.open(url, "rb") as source, temporary.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)

"""Files of public providers: fetched once, checked, and kept with a record.

The record of a file, ``NAME.json``, holds its address, size and sha256 and the results of its check. The data are kept
under ``NAME`` with the first digits of the hash before the suffix. A file counts as cached only if a record names it,
and records are replaced atomically. Processes that fetch the same file at the same time therefore do not disturb each
other, and a process that is stopped leaves nothing that looks like data.

A file is accepted only if it has the length that the server announced, the hash that its provider publishes (if any),
and the structure of its format. When it is opened later, it must still have the hash on record. Transfers end, see
`xslams.downloads`; names do not leave the folder of the provider, and records and messages hold no credentials.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xslams import places
from xslams.addresses import cleaned, join, public
from xslams.datasets import arguments
from xslams.downloads import TransferError, receive
from xslams.errors import DatasetError, OptionError, SlamsWarning

__all__ = ["Access", "Cached", "Provider", "Remote", "derive", "fetch", "folder", "is_cached"]

_ATTEMPTS = 3
_PAUSE = 2.0  # seconds before the second attempt, twice as long before each further one
#: A copy that may not be final is compared with its provider once a day.
_STALE = timedelta(hours=24)
_verified: set[tuple[str, int, int, str]] = set()


@dataclass(frozen=True)
class Provider:
    """A provider of public files.

    Attributes
    ----------
    name
        Name of its folder in the cache and, in capitals, of the environment variable ``XSLAMS_..._URL`` that replaces
        its address.
    address
        Address of its files, without a slash at the end.
    """

    name: str
    address: str

    @property
    def variable(self) -> str:
        """Environment variable that replaces the address."""
        return f"XSLAMS_{self.name.upper()}_URL"

    def base(self, base_url: str | os.PathLike[str] | None) -> str:
        """Return the address to fetch from: the argument, or the environment variable, or the provider's own.

        Examples
        --------
        >>> Provider("cpc", "https://example.org").base("https://mirror.example.org/cpc/")
        'https://mirror.example.org/cpc'
        """
        given = os.fspath(base_url) if base_url is not None else os.environ.get(self.variable) or self.address
        if given.lower().startswith(("http://", "https://", "file:")):
            return given if "?" in given else given.rstrip("/")
        if Path(given).is_dir():
            return Path(given).resolve().as_uri()
        msg = (
            f"The address {public(given)!r} of {self.name} is neither a web address (https://...) nor an existing "
            f"folder. Correct base_url= or {self.variable}."
        )
        raise OptionError(msg)


@dataclass(frozen=True)
class Remote:
    """A file of a provider.

    Attributes
    ----------
    path
        Path below the address of the provider.
    check
        Function that reads a fetched file, raises DatasetError if the file is invalid, and returns details for the
        record (JSON).
    sha256
        Published hash, if there is one.
    final
        Day from which on the provider no longer changes the file; None if it never does.
    listing
        Whether the file is a list of files instead of data; its changes cause no warning.
    largest
        Number of bytes that it can plausibly have; a transfer stops there.
    """

    path: str
    check: Callable[[Path], dict[str, Any]]
    sha256: str | None = None
    final: date | None = None
    listing: bool = False
    largest: int = 8 * 2**30


@dataclass(frozen=True)
class Access:
    """How files are fetched.

    Attributes
    ----------
    base_url
        Address that replaces the one of the provider.
    refresh
        None compares a copy with its provider once a day as long as it may not be final; True compares it now; False
        uses the copy in the cache.
    progress
        Show progress bars.

    Raises
    ------
    OptionError
        If `refresh` has another value.
    """

    base_url: str | os.PathLike[str] | None = None
    refresh: bool | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        given: object = self.refresh
        if given is not None and not isinstance(given, bool):
            msg = f"refresh={given!r}; expected None (where files may have changed), True (all) or False (none)."
            raise OptionError(msg)


@dataclass(frozen=True)
class Cached:
    """A checked file in the cache, and the results of its check."""

    path: Path
    details: Mapping[str, Any]


def folder(provider: Provider) -> Path:
    """Return the folder of a provider in the cache of the package."""
    import pooch

    return Path(os.environ.get("XSLAMS_CACHE") or pooch.os_cache("xslams")) / "datasets" / provider.name


def fetch(provider: Provider, remote: Remote, access: Access) -> Cached:
    """Fetch a file, or find it in the cache.

    Parameters
    ----------
    provider, remote
        The file.
    access
        Address, and whether a copy in the cache suffices. A copy is replaced only if the provider has another version.

    Returns
    -------
    Cached
        Path of the file, and the results of its check.

    Raises
    ------
    DatasetError
        If the file cannot be fetched, fails its check, or was changed in the cache.
    """
    place = _place(provider, remote.path)
    url = join(provider.base(access.base_url), remote.path)
    record = _read_record(place)
    if record is not None and remote.sha256 not in (None, record["sha256"]):
        record = None  # of another release of the data set
    due = access.refresh or (access.refresh is None and record is not None and _may_have_changed(remote, record))
    if record is not None and not due:
        return _verify(place, record)
    try:
        return _update(url, provider, remote, place, record, progress=access.progress)
    except DatasetError as e:
        if record is None or access.refresh:
            raise
        warnings.warn(
            f"{remote.path} could not be compared with its source and is used as it was on {record['checked'][:10]}. "
            f"{e} Pass refresh=False to use the copy without a comparison.",
            SlamsWarning,
            stacklevel=4,
        )
        return _verify(place, record)


def is_cached(provider: Provider, path: str, origin: str) -> bool:
    """Whether `derive` would find a file in the cache."""
    record = _read_record(_place(provider, path))
    return record is not None and record["url"] == public(origin)


def derive(
    provider: Provider,
    path: str,
    origin: str,
    make: Callable[[Path], None],
    check: Callable[[Path], dict[str, Any]],
    access: Access,
) -> Cached:
    """Make a file from fetched files, or find it in the cache; it is kept and checked like a fetched file.

    Parameters
    ----------
    provider
        Provider in whose folder the file is kept.
    path
        Path below that folder.
    origin
        Identity of the files from which it is made; if it differs from the record, the file is made again.
    make
        Function that writes the file.
    check
        As for a fetched file.
    access
        With ``refresh=True`` the file is made again.

    Returns
    -------
    Cached
        Path of the file, and the results of its check.

    Raises
    ------
    DatasetError
        If the file cannot be made, fails its check, or was changed in the cache.
    """
    place = _place(provider, path)
    record = _read_record(place)
    if record is not None and record["url"] == public(origin) and not access.refresh:
        return _verify(place, record)
    started = arguments.now().isoformat(timespec="seconds")
    with _temporary(place) as part:
        make(part)
        return _publish(
            place, part, {"url": public(origin), "checked": started, "details": check(part), "sha256": _sha256(part)}
        )


def _may_have_changed(remote: Remote, record: Mapping[str, Any]) -> bool:
    if remote.final is None or _day(record) >= remote.final:
        return False
    return arguments.now() - datetime.fromisoformat(record["checked"]) >= _STALE


def _update(
    url: str, provider: Provider, remote: Remote, place: Path, record: dict[str, Any] | None, *, progress: bool
) -> Cached:
    """Fetch the current version of a file, unless it is the one on record."""
    if record is not None:
        try:
            _verify(place, record)
        except DatasetError:
            record = None  # damaged: to be replaced in any case
    started = arguments.now().isoformat(timespec="seconds")
    with _temporary(place) as part:
        answer = _download(url, provider, remote, part, record, progress)
        if answer is None and record is not None:
            # Unchanged, but a year that was incomplete when it was fetched must be complete after its end.
            details = _check(url, remote, place.parent / record["file"])
            _write_record(place, record | {"checked": started, "details": details})
            return Cached(place.parent / record["file"], details)
        headers = answer or {}
        new = {
            "url": public(url),
            "etag": headers.get("etag"),
            "last_modified": headers.get("last-modified"),
            "checked": started,
        }
        digest = _sha256(part)
        details = _accept(url, remote, part, headers, digest)
        cached = _publish(place, part, new | {"sha256": digest, "details": details})
    settled = remote.final is None or (record is not None and _day(record) >= remote.final)
    if record is not None and settled and not remote.listing and cached.path.name != record["file"]:
        warnings.warn(
            f"{remote.path} has changed at its source since {record['checked'][:10]} and was replaced: "
            f"{record['file']} became {cached.path.name}. Results that were obtained with the old file may change.",
            SlamsWarning,
            stacklevel=5,
        )
    return cached


def _publish(place: Path, part: Path, record: Mapping[str, Any]) -> Cached:
    """Move a checked file to its place in the cache, and write its record."""
    digest = record["sha256"]
    path = place.parent / f"{place.stem}.{digest[:12]}{place.suffix}"
    new = {**record, "file": path.name, "size": part.stat().st_size}
    last = _read_record(place) or new
    os.replace(part, path)
    _write_record(place, new)
    _verified.add(_state(path, digest))
    for other in place.parent.glob(f"{place.stem}.{'[0-9a-f]' * 12}{place.suffix}"):
        # Other processes may still read the previous version, or one that has just been made.
        if other.name not in (path.name, last["file"]) and places.is_abandoned(other):
            other.unlink(missing_ok=True)
    return Cached(path, record["details"])


def _day(record: Mapping[str, Any]) -> date:
    return datetime.fromisoformat(record["checked"]).date()


def _accept(url: str, remote: Remote, part: Path, headers: Mapping[str, str], digest: str) -> dict[str, Any]:
    """Check a fetched file."""
    size = part.stat().st_size
    announced = headers.get("content-length") if "content-encoding" not in headers else None
    if announced is not None and announced.isdigit() and int(announced) != size:
        msg = f"{public(url)} sent {size} bytes; expected {announced} as announced. Nothing was kept; try again."
        raise DatasetError(msg)
    if remote.sha256 not in (None, digest):
        msg = (
            f"{public(url)} has the sha256 {digest}; expected {remote.sha256}, which is published. The file was "
            "damaged during the transfer, or the source has changed. Nothing was kept; try again, or look for a newer "
            "version of xslams."
        )
        raise DatasetError(msg)
    return _check(url, remote, part)


def _check(url: str, remote: Remote, path: Path) -> dict[str, Any]:
    try:
        return remote.check(path)
    except DatasetError as e:
        msg = (
            f"{public(url)} did not pass its check: {e} Nothing was kept; try again, and if that does not help, open "
            "the address in a browser."
        )
        raise DatasetError(msg) from cleaned(e)


def _download(
    url: str, provider: Provider, remote: Remote, part: Path, record: Mapping[str, Any] | None, progress: bool
) -> dict[str, str] | None:
    """Fetch a file; return the headers of the response, or None if the file equals the one on record."""
    if url.startswith("file:"):
        try:
            shutil.copyfile(urllib.request.url2pathname(urlsplit(url).path), part)
        except OSError as e:
            msg = f"{url} could not be copied ({type(e).__name__}: {e}). Check base_url= or {provider.variable}."
            raise DatasetError(msg) from cleaned(e)
        return {}
    headers = {}
    if record is not None and record["url"] == public(url):
        known = {"If-None-Match": record["etag"], "If-Modified-Since": record["last_modified"]}
        headers = {k: v for k, v in known.items() if v}
    with part.open("r+b") as file:
        try:
            return receive(
                url, file, largest=remote.largest, headers=headers, attempts=_ATTEMPTS, pause=_PAUSE, progress=progress
            )
        except TransferError as e:
            raise DatasetError(_reason(url, provider, e)) from cleaned(e)


def _reason(url: str, provider: Provider, error: TransferError) -> str:
    if error.status in (404, 410):
        fault = f"{public(url)} does not exist (status {error.status})"
        remedy = "The source may not have it yet, or may have moved"
    else:
        fault = f"{public(url)} could not be fetched ({error})"
        remedy = "Check the network"
    return f"{fault}. {remedy}; another address can be set with base_url= or {provider.variable} in the environment."


def _verify(place: Path, record: Mapping[str, Any]) -> Cached:
    """Return a cached file if it is unchanged; its hash is computed once per process."""
    path = place.parent / record["file"]
    key = _state(path, record["sha256"])
    if key not in _verified:
        if path.stat().st_size != record["size"] or _sha256(path) != record["sha256"]:
            msg = (
                f"{path} was changed after it was fetched from {record['url']} (its sha256 is no longer "
                f"{record['sha256']}). Pass refresh=True to fetch it again."
            )
            raise DatasetError(msg)
        _verified.add(key)
    return Cached(path, record["details"])


def _state(path: Path, digest: str) -> tuple[str, int, int, str]:
    state = path.stat()
    return str(path), state.st_size, state.st_mtime_ns, digest


def _sha256(path: Path) -> str:
    import pooch

    return str(pooch.file_hash(os.fspath(path), alg="sha256"))


def _read_record(place: Path) -> dict[str, Any] | None:
    """Read the record of a file; None if there is no record, or its file is missing."""
    try:
        record: dict[str, Any] = json.loads(place.with_name(f"{place.name}.json").read_text())
        record["url"] = public(record["url"])
        beside = places.within(place.parent, record["file"])
        return record if beside.parent == place.parent and beside.is_file() else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _write_record(place: Path, record: Mapping[str, Any]) -> None:
    with _temporary(place) as part:
        part.write_text(json.dumps(record))
        os.replace(part, place.with_name(f"{place.name}.json"))


def _place(provider: Provider, path: str) -> Path:
    """Return where a file is kept, which is within the folder of its provider."""
    return places.within(places.within(folder(provider).parent, provider.name), path)


@contextmanager
def _temporary(place: Path) -> Iterator[Path]:
    """Provide the path of a temporary file in the same folder, which is removed afterwards unless it was moved."""
    with ExitStack() as stack:
        try:
            part = stack.enter_context(places.temporary(place))
        except OSError as e:
            msg = f"Cannot write to the cache {place.parent} ({e}). Set XSLAMS_CACHE to a writable folder."
            raise DatasetError(msg) from cleaned(e)
        yield part

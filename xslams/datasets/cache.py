"""Files of public sources: fetched once, checked, and kept with a record of what they were.

Every file has a record beside it, ``NAME.json``: where it came from, its size and sha256, and what its check found. The
data lie in ``NAME`` with the start of the hash before the suffix, so that the record, which is replaced in one step, is
what makes a file known: processes that fetch the same file at the same time do not disturb each other, and one that is
stopped leaves nothing that looks like data.

A file is accepted only when it has the length that the server announced, the hash that its source publishes (where it
does), and the structure of its format. When it is opened later, it must still have the hash on record.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from xslams.datasets import arguments
from xslams.errors import DatasetError, OptionError, SlamsWarning

__all__ = ["Access", "Cached", "Remote", "Source", "derive", "fetch", "folder", "is_cached"]

_ATTEMPTS = 3
_PAUSE = 2.0  # seconds before the second attempt, twice as long before each further one
_TIMEOUT = 60.0
#: Bytes that are written at once; of a chunk that breaks off nothing is kept.
_CHUNK = 2**14
#: A copy that may not be final is compared with the source once a day.
_STALE = timedelta(hours=24)
#: What a process that was killed left behind is removed after this time.
_ABANDONED = timedelta(days=2)
_PART = ".part-"
_verified: set[tuple[str, int, int, str]] = set()


@dataclass(frozen=True)
class Source:
    """A public source.

    Attributes
    ----------
    name
        Its folder in the cache; in capitals the middle of the environment variable ``XSLAMS_..._URL`` that moves it.
    address
        Where its files are, without a slash at the end.
    """

    name: str
    address: str

    @property
    def variable(self) -> str:
        """Environment variable that replaces the address."""
        return f"XSLAMS_{self.name.upper()}_URL"

    def base(self, base_url: str | os.PathLike[str] | None) -> str:
        """Address to fetch from: the argument, else the environment variable, else the source's own.

        Examples
        --------
        >>> Source("cpc", "https://example.org").base("https://mirror.example.org/cpc/")
        'https://mirror.example.org/cpc'
        """
        given = os.fspath(base_url) if base_url is not None else os.environ.get(self.variable) or self.address
        if urlsplit(given).scheme in ("http", "https", "file"):
            return given.rstrip("/")
        if Path(given).is_dir():
            return Path(given).resolve().as_uri()
        msg = (
            f"The address {given!r} of {self.name} is neither a web address (https://...) nor an existing folder. "
            f"Correct base_url= or {self.variable}."
        )
        raise OptionError(msg)


@dataclass(frozen=True)
class Remote:
    """A file of a source.

    Attributes
    ----------
    path
        Below the address of the source.
    check
        Reads a fetched file, raises DatasetError if it is not what it should be, and returns what is worth recording
        (JSON).
    sha256
        Published hash, if there is one.
    final
        Day from which on the source no longer changes the file; None where it never does.
    listing
        Whether it is a list of files, and no data: that it has changed is no news.
    """

    path: str
    check: Callable[[Path], dict[str, Any]]
    sha256: str | None = None
    final: date | None = None
    listing: bool = False


@dataclass(frozen=True)
class Access:
    """How files are fetched.

    Attributes
    ----------
    base_url
        Replaces the address of the source.
    refresh
        None compares a copy with the source once a day as long as it may not be final, True compares it now, False uses
        what is in the cache.
    progress
        Show progress bars.

    Raises
    ------
    OptionError
        If `refresh` is something else.
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
    """A checked file in the cache, and what its check found."""

    path: Path
    details: Mapping[str, Any]


def folder(source: Source) -> Path:
    """Folder of a source in the cache of the package."""
    import pooch

    return Path(os.environ.get("XSLAMS_CACHE") or pooch.os_cache("xslams")) / "datasets" / source.name


def fetch(source: Source, remote: Remote, access: Access) -> Cached:
    """Fetch a file, or find it in the cache.

    Parameters
    ----------
    source, remote
        What to fetch.
    access
        From where, and whether a copy will do. A copy is replaced only where the source has another one.

    Returns
    -------
    Cached
        Its path, and what its check found.

    Raises
    ------
    DatasetError
        If it cannot be fetched, is not what it should be, or was changed in the cache.
    """
    place = folder(source) / remote.path
    url = f"{source.base(access.base_url)}/{remote.path}"
    record = _read_record(place)
    if record is not None and remote.sha256 not in (None, record["sha256"]):
        record = None  # of another release of the source
    due = access.refresh or (access.refresh is None and record is not None and _may_have_changed(remote, record))
    if record is not None and not due:
        return _verify(place, record)
    try:
        return _update(url, source, remote, place, record, progress=access.progress)
    except DatasetError as e:
        if record is None or access.refresh:
            raise
        warnings.warn(
            f"{remote.path} could not be compared with its source, and is used as it was on {record['checked'][:10]}. "
            f"{e} Or pass refresh=False.",
            SlamsWarning,
            stacklevel=4,
        )
        return _verify(place, record)


def is_cached(source: Source, path: str, origin: str) -> bool:
    """Whether `derive` would find a file in the cache."""
    record = _read_record(folder(source) / path)
    return record is not None and record["url"] == origin


def derive(
    source: Source,
    path: str,
    origin: str,
    make: Callable[[Path], None],
    check: Callable[[Path], dict[str, Any]],
    access: Access,
) -> Cached:
    """Make a file from fetched ones, or find it in the cache; it is kept and checked as they are.

    Parameters
    ----------
    source
        In whose folder it is kept.
    path
        Below that folder.
    origin
        What it is made of; made anew where that is not what the record says.
    make
        Writes it.
    check
        As for a fetched file.
    access
        ``refresh=True`` makes it anew.

    Returns
    -------
    Cached
        Its path, and what its check found.

    Raises
    ------
    DatasetError
        If it cannot be made, is not what it should be, or was changed in the cache.
    """
    place = folder(source) / path
    record = _read_record(place)
    if record is not None and record["url"] == origin and not access.refresh:
        return _verify(place, record)
    started = arguments.now().isoformat(timespec="seconds")
    with _temporary(place) as part:
        make(part)
        return _publish(
            place, part, {"url": origin, "checked": started, "details": check(part), "sha256": _sha256(part)}
        )


def _may_have_changed(remote: Remote, record: Mapping[str, Any]) -> bool:
    if remote.final is None or _day(record) >= remote.final:
        return False
    return arguments.now() - datetime.fromisoformat(record["checked"]) >= _STALE


def _update(
    url: str, source: Source, remote: Remote, place: Path, record: dict[str, Any] | None, *, progress: bool
) -> Cached:
    """Fetch what the source has now, unless it is what the record says."""
    if record is not None:
        try:
            _verify(place, record)
        except DatasetError:
            record = None  # damaged: to be replaced, whatever the source says
    started = arguments.now().isoformat(timespec="seconds")
    with _temporary(place) as part:
        answer = _download(url, source, part, record, progress)
        if answer is None and record is not None:
            # Unchanged, but a year that was going on when it was fetched has to be complete some day.
            details = _check(url, remote, place.parent / record["file"])
            _write_record(place, record | {"checked": started, "details": details})
            return Cached(place.parent / record["file"], details)
        headers = answer or {}
        new = {
            "url": url,
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
            f"{remote.path} has changed at its source since {record['checked'][:10]}, and was replaced: it was "
            f"{record['file']}, and is {cached.path.name}. Results that were made with the old file may change.",
            SlamsWarning,
            stacklevel=5,
        )
    return cached


def _publish(place: Path, part: Path, record: Mapping[str, Any]) -> Cached:
    """Move a checked file to where it is kept, and make it known."""
    digest = record["sha256"]
    path = place.parent / f"{place.stem}.{digest[:12]}{place.suffix}"
    new = {**record, "file": path.name, "size": part.stat().st_size}
    last = _read_record(place) or new
    os.replace(part, path)
    _write_record(place, new)
    _verified.add(_state(path, digest))
    for other in place.parent.glob(f"{place.stem}.{'[0-9a-f]' * 12}{place.suffix}"):
        # Whoever has the last version open, or one that another process has just made, may go on reading it.
        if other.name not in (path.name, last["file"]) and _is_abandoned(other):
            other.unlink(missing_ok=True)
    return Cached(path, record["details"])


def _is_abandoned(path: Path) -> bool:
    try:
        return datetime.now(UTC) - datetime.fromtimestamp(path.stat().st_mtime, UTC) > _ABANDONED
    except FileNotFoundError:  # another process was faster
        return False


def _day(record: Mapping[str, Any]) -> date:
    return datetime.fromisoformat(record["checked"]).date()


def _accept(url: str, remote: Remote, part: Path, headers: Mapping[str, str], digest: str) -> dict[str, Any]:
    """Check a fetched file."""
    size = part.stat().st_size
    announced = headers.get("content-length") if "content-encoding" not in headers else None
    if announced is not None and announced.isdigit() and int(announced) != size:
        msg = f"{url} sent {size} bytes, but announced {announced}. Nothing was kept; try again."
        raise DatasetError(msg)
    if remote.sha256 not in (None, digest):
        msg = (
            f"{url} has the sha256 {digest}, but {remote.sha256} is published: the file was damaged on the way, or the "
            "source has changed. Nothing was kept; try again, or look for a newer version of xslams."
        )
        raise DatasetError(msg)
    return _check(url, remote, part)


def _check(url: str, remote: Remote, path: Path) -> dict[str, Any]:
    try:
        return remote.check(path)
    except DatasetError as e:
        msg = (
            f"{url} is not what it should be: {e} Nothing was kept; try again, and look at the address in a browser if "
            "that does not help."
        )
        raise DatasetError(msg) from e


def _download(
    url: str, source: Source, part: Path, record: Mapping[str, Any] | None, progress: bool
) -> dict[str, str] | None:
    """Fetch a file; headers of the answer, or None if it is as on record."""
    if url.startswith("file:"):
        try:
            shutil.copyfile(urllib.request.url2pathname(urlsplit(url).path), part)
        except OSError as e:
            msg = f"{url} could not be copied ({type(e).__name__}: {e}). Check base_url= or {source.variable}."
            raise DatasetError(msg) from e
        return {}
    headers = {"Accept-Encoding": "identity"}
    if record is not None and record["url"] == url:
        known = {"If-None-Match": record["etag"], "If-Modified-Since": record["last_modified"]}
        headers |= {k: v for k, v in known.items() if v}
    failures = 0
    with part.open("r+b") as file:
        while True:
            before = file.tell()
            answers: list[Any] = []
            try:
                _request(url, file, headers, answers, progress)
            except OSError as e:
                failures = failures + 1 if file.tell() <= before else 1  # what brings something may go on for long
                status = getattr(getattr(e, "response", None), "status_code", None)
                if failures >= _ATTEMPTS or (status is not None and status < 500):
                    raise DatasetError(_reason(url, source, e, status)) from e
                time.sleep(_PAUSE * 2 ** (failures - 1))
                headers = _to_resume(file, answers, headers)
                continue
            if answers[-1].status_code == 304:
                return None
            found = {k.lower(): v for k, v in answers[-1].headers.items()}
            if answers[-1].status_code == 206:
                found["content-length"] = found.get("content-range", "").rpartition("/")[2]
            return found


def _request(url: str, file: IO[bytes], headers: Mapping[str, str], answers: list[Any], progress: bool) -> None:
    """Make one request, and write what comes to a file: behind what it holds if that is continued."""
    import pooch

    def receive(response: Any, *args: Any, **kwargs: Any) -> None:
        answers.append(response)
        if response.status_code == 200:
            file.seek(0)
            file.truncate()

    hooks = {"response": receive}
    download = pooch.HTTPDownloader(
        progressbar=progress, chunk_size=_CHUNK, timeout=_TIMEOUT, headers=headers, hooks=hooks
    )
    try:
        download(url, file, None)
    finally:
        for response in answers:  # of which pooch leaves those open that were an error
            response.close()


def _to_resume(file: IO[bytes], answers: Sequence[Any], headers: dict[str, str]) -> dict[str, str]:
    """Headers of the next attempt: go on where the last one broke off, if the file is still the same by then."""
    last = answers[-1].headers if answers and answers[-1].status_code in (200, 206) else {}
    etag = last.get("etag") or ""
    mark = etag if etag and not etag.startswith("W/") else last.get("last-modified")
    if not file.tell() or not mark:
        return headers
    return {"Accept-Encoding": "identity", "Range": f"bytes={file.tell()}-", "If-Range": mark}


def _reason(url: str, source: Source, error: OSError, status: int | None) -> str:
    if status in (404, 410):
        why = f"{url} does not exist (status {status})"
        what = "The source may not have it yet, or may have moved"
    else:
        why = f"{url} could not be fetched ({type(error).__name__}: {error})"
        what = "Check the network"
    return f"{why}. {what}; another address can be given with base_url= or the environment variable {source.variable}."


def _verify(place: Path, record: Mapping[str, Any]) -> Cached:
    """Return a cached file, if it still is what was fetched; hashed once in a process."""
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
    """Record of a file; None where there is none, or the file that it speaks of is gone."""
    try:
        record: dict[str, Any] = json.loads(place.with_name(f"{place.name}.json").read_text())
        return record if (place.parent / record["file"]).is_file() else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _write_record(place: Path, record: Mapping[str, Any]) -> None:
    with _temporary(place) as part:
        part.write_text(json.dumps(record))
        os.replace(part, place.with_name(f"{place.name}.json"))


@contextmanager
def _temporary(place: Path) -> Iterator[Path]:
    """Path of a file beside another one, that is gone afterwards unless it was moved."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Not by tempfile: only its owner could read such a file, but a cache may be shared.
        part = place.with_name(f"{_PART}{os.getpid()}-{uuid.uuid4().hex}{place.suffix}")
        part.touch(exist_ok=False)
    except OSError as e:
        msg = f"Cannot write to the cache {place.parent} ({e}). Set XSLAMS_CACHE to a folder that can be written."
        raise DatasetError(msg) from e
    for other in place.parent.glob(f"{_PART}*"):
        if _is_abandoned(other):
            shutil.rmtree(other, ignore_errors=True) if other.is_dir() else other.unlink(missing_ok=True)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)

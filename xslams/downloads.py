"""Transfers from the network that end: at the size that is known, and at a total time.

A server decides how much it sends and how fast, so both have bounds here. A transfer stops as soon as it exceeds the
size that is known from elsewhere, or else what the server itself has announced, or the largest size that is plausible.
All attempts together end after ten minutes and the time that the announced size takes at 64 KiB/s, or after an hour if
no size is announced; the environment variable ``XSLAMS_DOWNLOAD_SECONDS`` sets another time. Errors name addresses
without their secrets, and have no cause that would show them.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from xslams.addresses import hide
from xslams.errors import OptionError

__all__ = ["TooLargeError", "TooSlowError", "TransferError", "copy", "is_web", "receive"]

_SILENCE = 60.0  # seconds
#: Bytes that are written at once; an incomplete chunk is discarded.
_CHUNK = 2**14
_SECONDS = "XSLAMS_DOWNLOAD_SECONDS"
_START, _UNKNOWN, _LONGEST = 600.0, 3600.0, 24 * 3600.0
_SLOWEST = 2**16  # bytes per second


class TransferError(OSError):
    """A transfer failed.

    Parameters
    ----------
    text
        What happened, without secrets.
    status
        Status of the response, if that is the reason.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class TooLargeError(TransferError):
    """There is more than there may be.

    Parameters
    ----------
    size
        Number of bytes that were announced; None if they are only known to be more than there may be.
    largest
        Number of bytes that there may be.
    """

    def __init__(self, size: int | None, largest: int) -> None:
        self.size = f"more than {largest} bytes" if size is None else f"{size} bytes"
        super().__init__(f"it has {self.size}, expected at most {largest}")


class TooSlowError(TransferError):
    """The total time is over."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it is not complete after {seconds:g} seconds; {_SECONDS} allows more")


class _Clock:
    """The total time of a transfer, after which its connections are shut down, whatever they wait for."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._sockets: list[socket.socket] = []
        self._timer: threading.Timer | None = None
        self._given = _given_seconds()
        self.seconds = 0.0
        self.allow(_START)

    def allow(self, seconds: float) -> None:
        """Set the total time, counted from the start."""
        self.seconds = min(seconds, _LONGEST) if self._given is None else self._given
        self.stop()
        self._timer = threading.Timer(max(self.seconds - (time.monotonic() - self._start), 0), self._shut)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Let connections be."""
        if self._timer is not None:
            self._timer.cancel()

    def watch(self, connected: socket.socket) -> None:
        """Shut a connection down when the time is over."""
        self._sockets.append(connected)
        self.check()

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() - self._start >= self.seconds

    def check(self) -> None:
        """Raise `TooSlowError` if the time is over."""
        if self.over:
            raise TooSlowError(self.seconds)

    def _shut(self) -> None:
        for connected in self._sockets:
            with suppress(OSError):  # closed already
                # Not the method of a TLS connection, which is in use by another thread.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _given_seconds() -> float | None:
    text = os.environ.get(_SECONDS)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        msg = f"{_SECONDS}={text!r}; expected the longest time of a download in seconds, a positive number."
        raise OptionError(msg)
    return seconds


class _Quiet(logging.Filter):
    """Hides secrets in the records of the libraries below."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = hide(record.getMessage()), ()
        return True


for _name in ("urllib3.connectionpool", "urllib3.poolmanager", "urllib3.util.retry", "fsspec.http"):
    logging.getLogger(_name).addFilter(_Quiet())


def _session(clock: _Clock) -> Any:
    """Session of requests whose connections the clock knows from the start."""
    import requests
    from requests.adapters import HTTPAdapter

    def watched(pool: Any) -> Any:
        class Connection(pool.ConnectionCls):  # type: ignore[misc]  # one of two classes of urllib3
            def connect(self) -> None:
                super().connect()
                clock.watch(self.sock)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

    def watch(manager: Any) -> Any:
        manager.pool_classes_by_scheme = {k: watched(v) for k, v in manager.pool_classes_by_scheme.items()}
        return manager

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            watch(self.poolmanager)

        def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
            known = proxy in self.proxy_manager
            manager = super().proxy_manager_for(proxy, **kwargs)
            return manager if known else watch(manager)

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session


def is_web(url: str) -> bool:
    """Whether an address is that of a web server."""
    return url.lower().startswith(("http://", "https://"))


def receive(
    url: str,
    file: IO[bytes],
    *,
    largest: int,
    headers: Mapping[str, str] | None = None,
    attempts: int = 1,
    pause: float = 0.0,
    progress: bool = False,
) -> dict[str, str] | None:
    """Fetch a file from a web server.

    Parameters
    ----------
    url
        Address, http or https.
    file
        File to write to, open for reading and writing.
    largest
        Number of bytes at which the transfer stops.
    headers
        Headers of the request.
    attempts
        How often to try; attempts that make progress do not count, and go on where the last one ended if the server
        says that the file is still the same.
    pause
        Seconds before the second attempt, twice as long before each further one.
    progress
        Show a progress bar.

    Returns
    -------
    dict or None
        Headers of the response, with names in lower case; None if the file is as the headers of the request say.

    Raises
    ------
    TransferError
        If the file cannot be fetched, is larger, or takes too long.
    OptionError
        If ``XSLAMS_DOWNLOAD_SECONDS`` is no time.
    """
    asked = {"Accept-Encoding": "identity", **(headers or {})}
    clock = _Clock()
    failures = 0
    try:
        while True:
            before, last = file.tell(), dict[str, str]()
            failed = _attempt(url, file, asked, clock, largest, progress, last)
            if failed is None:
                return None if last["status"] == "304" else last
            failures = failures + 1 if file.tell() <= before else 1
            final = isinstance(failed, TooLargeError | TooSlowError) or (failed.status or 500) < 500
            if final or failures >= attempts:
                raise failed
            time.sleep(pause * 2 ** (failures - 1))
            asked = _to_resume(file, last) or asked
    finally:
        clock.stop()


def _attempt(
    url: str, file: IO[bytes], headers: Mapping[str, str], clock: _Clock, largest: int, progress: bool,
    found: dict[str, str],
) -> TransferError | None:  # fmt: skip
    """Make one request; fill in the headers of its response, and return what went wrong."""
    try:
        clock.check()
        with _session(clock) as session, session.get(url, headers=headers, stream=True, timeout=_SILENCE) as response:
            response.raise_for_status()
            found |= {k.lower(): v for k, v in response.headers.items()} | {"status": str(response.status_code)}
            if response.status_code != 304:
                _write(response, file, found, clock, largest, progress)
        clock.check()  # a connection that was shut down may look complete
    except TransferError as e:
        return e
    except (OSError, ValueError, AttributeError) as e:  # the last ones of addresses and connections that are none
        if clock.over:
            return TooSlowError(clock.seconds)
        status = getattr(getattr(e, "response", None), "status_code", None)
        return TransferError(f"{type(e).__name__}: {hide(str(e), url)}", status)
    return None


def _write(response: Any, file: IO[bytes], found: dict[str, str], clock: _Clock, largest: int, progress: bool) -> None:
    """Write the body of a response; a partial response is appended."""
    if response.status_code == 206:
        span, _, total = found.get("content-range", "").rpartition("/")
        if not re.fullmatch(rf"bytes\s+{file.tell()}-\d+", span.strip()):
            msg = f"the server sent another part of the file than {file.tell()} to its end"
            raise TransferError(msg, response.status_code)
        found["content-length"] = total
    else:
        file.seek(0)
        file.truncate()
    announced = found.get("content-length", "") if "content-encoding" not in found else ""
    size = int(announced) if announced.isdecimal() and len(announced) < 20 else None
    if size is not None and size > largest:
        raise TooLargeError(size, largest)
    clock.allow(_UNKNOWN if size is None else _START + size / _SLOWEST)
    with _bar(progress, size) as update:
        for chunk in response.iter_content(_CHUNK):
            clock.check()
            left = (largest if size is None else size) - file.tell()
            file.write(chunk[:left])
            update(min(left, len(chunk)))
            if len(chunk) > left:
                raise TooLargeError(None, file.tell())
    file.flush()


@contextmanager
def _bar(progress: bool, size: int | None) -> Iterator[Callable[[int], Any]]:
    if not progress:
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(total=size, ncols=79, unit="B", unit_scale=True) as bar:
        yield bar.update


def _to_resume(file: IO[bytes], last: Mapping[str, str]) -> dict[str, str] | None:
    """Return headers of a request for the rest of a file, if it is known to be the same."""
    etag = last.get("etag") or ""
    mark = etag if etag and not etag.startswith("W/") else last.get("last-modified")
    if not file.tell() or not mark or last.get("status") not in ("200", "206"):
        return None
    return {"Accept-Encoding": "identity", "Range": f"bytes={file.tell()}-", "If-Range": mark}


def copy(url: str, path: Path, *, largest: int, progress: bool = False) -> None:
    """Copy a file from any place: a web server, a path, or what else fsspec opens.

    Parameters
    ----------
    url
        Path or URL.
    path
        File to write.
    largest
        Number of bytes at which the transfer stops.
    progress
        Show a progress bar, of a web server.

    Raises
    ------
    TransferError
        If the file cannot be fetched, is larger, or takes too long. The file may hold a part of it.
    """
    if is_web(url):
        with path.open("w+b") as file:
            receive(url, file, largest=largest, progress=progress)
        return
    failed = _copy(url, path, largest)
    if failed is not None:
        raise failed


def _copy(url: str, path: Path, largest: int) -> TransferError | None:
    import fsspec

    start, seconds = time.monotonic(), _given_seconds() or _START + min(largest / _SLOWEST, _LONGEST)
    try:
        with fsspec.open(url, "rb") as source, path.open("wb") as target:
            while block := source.read(2**20):
                left = largest - target.tell()
                target.write(block[:left])
                if len(block) > left:
                    return TooLargeError(None, largest)
                if time.monotonic() - start > seconds:
                    return TooSlowError(seconds)
    except (OSError, ValueError, ImportError) as e:
        return TransferError(f"{type(e).__name__}: {hide(str(e), url)}")
    return None

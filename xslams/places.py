"""Files of a cache: names that stay within it, and temporary files that do not stay."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath, PureWindowsPath

from xslams.addresses import public
from xslams.errors import OptionError

__all__ = ["is_abandoned", "temporary", "within"]

_PART = ".part-"
#: Temporary files of killed processes are removed after this time.
_ABANDONED = timedelta(days=2)


def within(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder, whatever the name.

    Parameters
    ----------
    folder
        Folder.
    name
        Name of the file, relative to the folder; it may hold folders.

    Raises
    ------
    OptionError
        If the name is empty, absolute, leaves the folder, or is none of a file.

    Examples
    --------
    >>> within(Path("cache"), "2004/t.nc").as_posix()
    'cache/2004/t.nc'
    """
    given: object = name
    if isinstance(given, str) and given.isprintable() and "\\" not in given:
        parts = PurePosixPath(given).parts
        windows = PureWindowsPath(given)
        if parts and ".." not in given.split("/") and not given.startswith("/") and not windows.drive:
            return folder / given
    msg = f"{public(str(name))!r} is no name of a file in {folder}; expected a relative path without '..'."
    raise OptionError(msg)


@contextmanager
def temporary(place: Path) -> Iterator[Path]:
    """Provide a temporary file beside a file, which is removed afterwards unless it was moved.

    What killed processes left in the folder is removed after two days.

    Parameters
    ----------
    place
        Path that the file is for; the temporary one has the same suffix.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    # Not with tempfile, whose files only their owner can read, because a cache may be shared.
    part = place.with_name(f"{_PART}{os.getpid()}-{uuid.uuid4().hex}{place.suffix}")
    part.touch(exist_ok=False)
    for other in place.parent.glob(f"{_PART}*"):
        if is_abandoned(other):
            shutil.rmtree(other, ignore_errors=True) if other.is_dir() else other.unlink(missing_ok=True)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def is_abandoned(path: Path) -> bool:
    """Whether a file has not changed for two days."""
    try:
        return datetime.now(UTC) - datetime.fromtimestamp(path.stat().st_mtime, UTC) > _ABANDONED
    except FileNotFoundError:  # another process has removed it
        return False

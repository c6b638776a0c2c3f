"""Places of stores: what a folder or a prefix of an object store is, and what of it may be removed.

Nothing is removed by the folder. A file may go if its key is one that a run writes, and if the place bears the mark of
a run, which is the group ``_xslams`` of a store, or the attribute ``xslams_version`` of other results. Whatever else
lies there is named in an error and left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xslams.arguments import shown
from xslams.errors import OptionError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["GROUP", "MARK", "PARTIAL", "ROOTS", "Target", "is_leftover", "is_part"]

#: Group with the plan and the markers of a run.
GROUP = "_xslams"
#: Attribute of every other result of ours.
MARK = "xslams_version"
#: How zarr names a file until it is complete, after a dot and random digits.
PARTIAL = ".partial"
#: Files that make a folder a zarr store.
ROOTS = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
_LEFTOVER = re.compile(r"(?:.*/)?[^/]+\.[0-9a-f]{16,}" + re.escape(PARTIAL))
_PART = re.compile(r"(?:(?:complete|digests)/)?(?:zarr\.json|c(?:/\d+)*)")


def is_leftover(key: str) -> bool:
    """Whether a file is one that zarr did not get done with.

    Examples
    --------
    >>> is_leftover("t/c/0/1.0123456789abcdef.partial"), is_leftover("film.partial")
    (True, False)
    """
    return _LEFTOVER.fullmatch(key) is not None


def is_part(key: str, names: Collection[str] | None = None) -> bool:
    """Whether a key, but for that of the root, is one that a run writes.

    Parameters
    ----------
    key
        Key within a store.
    names
        Variables of the run; None for any.

    Examples
    --------
    >>> is_part("t/c/0/1", {"t"}), is_part("t/notes.txt", {"t"}), is_part("u/c/0/1", {"t"})
    (True, False, False)
    """
    first, _, rest = key.partition("/")
    known = first == GROUP or names is None or first in names
    return is_leftover(key) or (known and _PART.fullmatch(rest) is not None)


@dataclass(frozen=True)
class Target:
    """Where a store is: a local path or an fsspec URL.

    Attributes
    ----------
    url
        Absolute path, or URL.
    options
        ``storage_options`` of a URL.
    """

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, store: str | os.PathLike[str], options: Mapping[str, Any] | None) -> Target:
        """Path or URL as every worker understands it."""
        given: object = store
        if not isinstance(given, str | os.PathLike) or not os.fspath(given):
            msg = (
                f"store={shown(given)}; expected a path or the URL of an object store, such as 's3://bucket/run.zarr'."
            )
            raise OptionError(msg)
        text = os.fspath(given).removeprefix("file://")
        if "://" not in text:
            if options:
                msg = f"storage_options= belong to URLs; got the path {text!r}. Leave them out."
                raise OptionError(msg)
            return cls(os.path.abspath(text))
        return cls(text, dict(options or {}))

    @property
    def local(self) -> bool:
        """Whether it is a directory."""
        return "://" not in self.url

    @property
    def arguments(self) -> dict[str, Any]:
        """What zarr and xarray want besides the address."""
        return {} if self.local else {"storage_options": self.options}

    def files(self) -> dict[str, int]:
        """Size of everything in the store, by key."""
        import fsspec

        fs, root = fsspec.core.url_to_fs(self.url, **self.options)
        # Another process may have written since this one last looked.
        fs.invalidate_cache()
        found = fs.find(root, detail=True)
        prefix = root.rstrip("/") + "/"
        return {k.removeprefix(prefix): int(v["size"] or 0) for k, v in found.items() if k.startswith(prefix)}

    def read(self, key: str) -> bytes:
        """Content of a file."""
        import fsspec

        fs, root = fsspec.core.url_to_fs(self.url, **self.options)
        content: bytes = fs.cat_file(f"{root.rstrip('/')}/{key}")
        return content

    def check(self) -> None:
        """Refuse a place where no store can be made, or where it would be part of something else.

        Raises
        ------
        StoreError
            If there is a file, or the place lies within a zarr store.
        """
        if not self.local:
            return
        for folder in (self.url, *map(str, Path(self.url).parents)):
            if os.path.isfile(folder):
                msg = f"{folder} is a file; the store {self.url} needs a folder. Choose another place."
                raise StoreError(msg)
            if folder != self.url and any(os.path.exists(os.path.join(folder, name)) for name in ROOTS):
                msg = f"{self.url} lies within the zarr store {folder}. Choose another place."
                raise StoreError(msg)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove files, and nothing else."""
        import fsspec

        fs, root = fsspec.core.url_to_fs(self.url, **self.options)
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                fs.rm_file(f"{root.rstrip('/')}/{key}")

    def prune(self) -> None:
        """Remove empty folders, which zarr does not know as a part of a store."""
        if self.local:
            for folder, _, _ in os.walk(self.url, topdown=False):
                with contextlib.suppress(OSError):  # it holds something
                    os.rmdir(folder)

    def sweep(self, keys: Iterable[str]) -> None:
        """Remove what writes left behind that were cut short, beside the files that they were to become."""
        self.remove(key for key in keys if is_leftover(key))

    def sync(self, keys: Iterable[str]) -> None:
        """Have the disk hold files and the directories that list them; object stores do on their own."""
        if not self.local:
            return
        folders = set()
        for key in keys:
            path = os.path.join(self.url, key)
            _fsync(path)
            folders.add(os.path.dirname(path))
        for folder in folders:
            _fsync(folder)

    def foreign(self) -> str | None:
        """Key of something that no run writes, if there is any."""
        return next((k for k in self.files() if k != "zarr.json" and not is_part(k)), None)

    def objection(self) -> str | None:
        """Why a folder may not be replaced as a whole; None if it is a result of ours, begun or finished."""
        files = self.files()
        if other := self.foreign():
            return f"it holds something else ({other})"
        return None if f"{GROUP}/zarr.json" in files or MARK in self._attributes(files) else "xslams did not write it"

    def _attributes(self, files: Collection[str]) -> Mapping[str, Any]:
        """Attributes of the root."""
        if "zarr.json" not in files:
            return {}
        try:
            found = json.loads(self.read("zarr.json")).get("attributes", {})
        except (ValueError, AttributeError):
            return {}
        return found if isinstance(found, dict) else {}


def _fsync(path: str) -> None:
    if os.name == "nt" and os.path.isdir(path):
        return  # Windows cannot open directories, and does not have to
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

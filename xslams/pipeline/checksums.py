"""Damage in a store: what is missing, truncated, changed or in another place than it was written to.

Every chunk ends with a checksum (crc32c) that zarr compares whenever it is read. A checksum does not see that a chunk
is missing, for which zarr gives fill values, or was exchanged for another one. Size and sha256 of the chunks of a
region, together with their keys, are therefore written before its marker, in the array ``_xslams/digests``; those of
metadata and coordinates are in the journal. Sizes, metadata and coordinates are compared whenever a store is opened,
all else on demand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from xslams.pipeline.layout import Layout
from xslams.pipeline.plan import COMPLETE, JOURNAL, ROOT, Journal, read_root
from xslams.pipeline.targets import GROUP, Target, is_leftover, is_part

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "WIDTH",
    "Damage",
    "codecs",
    "damaged_files",
    "damaged_regions",
    "digest",
    "digest_of_root",
    "find_damage",
    "to_rows",
    "unexpected",
]

#: Bytes of a size and a sha256.
WIDTH = 8 + 32
_READERS = 8


@dataclass
class Damage:
    """What is wrong in a store.

    Attributes
    ----------
    files
        Keys of metadata and coordinates that are missing or changed.
    regions
        Keys that are missing or changed, by the region that they belong to.
    unexpected
        Keys of chunks and metadata that no run has written there.
    """

    files: list[str] = field(default_factory=list)
    regions: dict[tuple[int, ...], list[str]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.files or self.regions or self.unexpected)

    def __str__(self) -> str:
        keys = [*self.files, *(k for keys in self.regions.values() for k in keys), *self.unexpected]
        count = f"{len(keys)} of its files are" if len(keys) > 1 else "one of its files is"
        return f"{count} missing, truncated, changed or not its own ({', '.join(keys[:3])}{', ...' * (len(keys) > 3)})"


def codecs() -> tuple[Any, ...]:
    """Compression as zarr does it by default, and a checksum of what comes out."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return ZstdCodec(level=0, checksum=False), Crc32cCodec()


def digest(key: str, content: bytes) -> str:
    """Return the sha256 of a file and of its place, so that two that were exchanged are seen."""
    return hashlib.sha256(f"{key}\0".encode() + content).hexdigest()


def digest_of_root(root: Mapping[str, Any]) -> str:
    """Return the sha256 of the metadata of a store as a whole, but for what changes while it is written.

    Without the history, which says when a run was made, and would make the hashes of equal runs differ.
    """
    attributes = {k: v for k, v in root.get("attributes", {}).items() if k not in (COMPLETE, "history")}
    fixed = {k: v for k, v in root.items() if k != "consolidated_metadata"} | {"attributes": attributes}
    return digest(ROOT, json.dumps(fixed, sort_keys=True).encode())


def to_rows(keys: Sequence[str], written: Mapping[str, tuple[int, str]], count: int) -> npt.NDArray[np.uint8]:
    """Sizes and hashes of the chunks of a region as `find_damage` reads them, shape (count, byte).

    Parameters
    ----------
    keys
        Keys of the chunks.
    written
        Size and sha256 by key.
    count
        Number of rows, as many as the largest region has chunks; those that are left are 0.
    """
    rows = np.zeros((count, WIDTH), np.uint8)
    for row, key in zip(rows, keys, strict=False):
        size, found = written[key]
        row[:] = np.frombuffer(size.to_bytes(8, "little") + bytes.fromhex(found), np.uint8)
    return rows


def find_damage(target: Target, journal: Journal, files: Mapping[str, int], *, complete: bool, read: bool) -> Damage:
    """Compare a store with its hashes.

    Parameters
    ----------
    target
        Place of the store.
    journal
        Its journal, with hashes.
    files
        Sizes by key of what is there.
    complete
        Whether all regions should be there, or only those that have a marker.
    read
        Whether to read all chunks; otherwise only their sizes are compared.
    """
    layout = journal.layout
    assert layout is not None
    due = [index for index in layout.indices() if complete or files.get(layout.marker(index))]
    return Damage(
        damaged_files(target, journal, files, complete=complete),
        damaged_regions(target, layout, files, due, read=read),
        unexpected(journal, layout, files),
    )


def damaged_regions(
    target: Target, layout: Layout, files: Mapping[str, int], indices: Sequence[tuple[int, ...]], *, read: bool
) -> dict[tuple[int, ...], list[str]]:
    """Keys that are missing or changed, by region; of a layout without hashes, those that are missing.

    Parameters
    ----------
    target, layout, files
        The store and what is there.
    indices
        Regions that should be there.
    read
        Whether to read all chunks; otherwise only their sizes are compared.
    """
    recorded = _recorded(target, layout, indices) if layout.checked else {}
    found = {}
    for index in indices:
        keys = layout.keys(index)
        wrong = [k for k in (layout.marker(index), *keys) if not files.get(k)]
        if layout.checked and index not in recorded:
            wrong.append(layout.digests(index))
        entries = zip(keys, recorded.get(index, ()), strict=False)
        wrong += [k for k, (size, _) in entries if files.get(k) and files[k] != size]
        if wrong:
            found[index] = wrong
    if read and layout.checked:
        intact = [index for index in indices if index not in found]
        hashes = {k: h for i in intact for k, (_, h) in zip(layout.keys(i), recorded[i], strict=True)}
        changed = _changed(target, hashes) | set(_unmarked(target, layout, intact))
        for index in intact:
            if wrong := [k for k in (layout.marker(index), *layout.keys(index)) if k in changed]:
                found[index] = wrong
    return found


def damaged_files(target: Target, journal: Journal, files: Mapping[str, int], *, complete: bool) -> list[str]:
    """Keys of metadata and coordinates that are missing or changed.

    Parameters
    ----------
    target, journal, files
        The store and what is there.
    complete
        Whether metadata should be together in one file, too.
    """
    root = read_root(target) if files.get(ROOT) else {}
    wrong = _changed(target, {k: h for k, h in journal.files.items() if k != ROOT and k in files})
    wrong |= {k for k in journal.files if k not in files}
    if digest_of_root(root) != journal.files[ROOT] or (complete and not _agrees(target, root, files)):
        wrong.add(ROOT)
    return sorted(wrong)


def _agrees(target: Target, root: Mapping[str, Any], files: Mapping[str, int]) -> bool:
    """Whether the metadata in one file, as most libraries read them, are those of the arrays."""

    def plain(record: Mapping[str, Any]) -> str:
        return json.dumps({k: v for k, v in record.items() if k != "consolidated_metadata"}, sort_keys=True)

    if root.get("consolidated_metadata") is None:
        return True
    try:
        for path, record in root["consolidated_metadata"]["metadata"].items():
            key = f"{path}/zarr.json"
            if key not in files or plain(json.loads(target.read(key))) != plain(record):
                return False
    except (LookupError, TypeError, AttributeError, ValueError):
        return False
    return True


def _changed(target: Target, hashes: Mapping[str, str]) -> set[str]:
    """Keys whose files have another hash, or cannot be read."""

    def differs(key: str) -> bool:
        try:
            return digest(key, target.read(key)) != hashes[key]
        except OSError:
            return True

    with ThreadPoolExecutor(_READERS) as pool:
        return {key for key, wrong in zip(hashes, pool.map(differs, hashes), strict=True) if wrong}


def _recorded(
    target: Target, layout: Layout, indices: Iterable[tuple[int, ...]]
) -> dict[tuple[int, ...], list[tuple[int, str]]]:
    """Sizes and hashes of the chunks of regions, without those that cannot be read."""
    found = {}
    for index, rows in _blocks(target, "digests", indices).items():
        parts = [row.tobytes() for row in rows[: len(layout.keys(index))]]
        entries = [(int.from_bytes(part[:8], "little"), part[8:].hex()) for part in parts]
        if all(size for size, _ in entries):
            found[index] = entries
    return found


def _unmarked(target: Target, layout: Layout, indices: Iterable[tuple[int, ...]]) -> list[str]:
    """Keys of markers that are there and do not say so."""
    indices = list(indices)
    marks = _blocks(target, "complete", indices)
    return [layout.marker(index) for index in indices if index not in marks or marks[index] != 1]


def _blocks(target: Target, name: str, indices: Iterable[tuple[int, ...]]) -> dict[tuple[int, ...], Any]:
    """Part of every region in an array of the journal; together if that can be read as a whole."""
    import zarr

    faults = (OSError, ValueError, RuntimeError, LookupError, TypeError)
    try:
        array: Any = zarr.open_array(target.url, path=f"{GROUP}/{name}", mode="r", **target.arguments)
    except faults:
        return {}
    try:
        whole = array[...]
        return {index: whole[index] for index in indices}
    except faults:
        pass
    found = {}
    for index in indices:
        try:
            found[index] = array[index]
        except faults:
            continue
    return found


def unexpected(journal: Journal, layout: Layout, files: Mapping[str, int]) -> list[str]:
    """Keys that look like a part of the store, but that no run has written there."""
    names = {str(n) for n in layout.chunks} | {k.partition("/")[0] for k in journal.files if "/" in k}
    own = {JOURNAL, *journal.files}
    for index in layout.indices():
        own |= {layout.marker(index), layout.digests(index), *layout.keys(index)}
    return [k for k in files if k not in own and not is_leftover(k) and is_part(k, names)]

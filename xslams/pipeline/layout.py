"""How a result is cut into regions, which are written and counted whole, and these into chunks."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xslams.errors import ChunkError
from xslams.labels.coordinates import coordinate
from xslams.pipeline.report import STATISTICS, WINDOW_START
from xslams.pipeline.targets import GROUP

__all__ = ["Layout", "common", "layout_of"]

#: Size of a chunk in bytes, before compression, that is not exceeded where it can be helped.
_CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Layout:
    """How a result is cut into regions, and these into chunks.

    Attributes
    ----------
    blocks
        Sizes of the blocks along every dimension that the lazy variables have.
    chunks
        Chunks of every lazy variable, by dimension, in the order of its dimensions.
    reported
        Rows of the report on observations that a region brings, by its number; empty where there is none.
    checked
        Whether hashes of the chunks of a region are written with it; stores of earlier versions have none.
    """

    blocks: dict[Hashable, tuple[int, ...]]
    chunks: dict[Hashable, dict[Hashable, int]]
    reported: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)
    checked: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of blocks along every dimension."""
        return tuple(len(b) for b in self.blocks.values())

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Numbers of all regions."""
        return itertools.product(*map(range, self.shape))

    def region(self, index: tuple[int, ...]) -> dict[Hashable, slice]:
        """Where a region lies."""
        return {dim: slice(*edges[i : i + 2]) for i, (dim, edges) in zip(index, self._edges.items(), strict=True)}

    @functools.cached_property
    def _edges(self) -> dict[Hashable, list[int]]:
        """Where blocks begin and end."""
        return {dim: [0, *itertools.accumulate(sizes)] for dim, sizes in self.blocks.items()}

    def keys(self, index: tuple[int, ...]) -> list[str]:
        """Keys of the chunks of a region."""
        region = self.region(index)
        found = []
        for name, chunks in self.chunks.items():
            ranges = [range(region[d].start // n, -(-region[d].stop // n)) for d, n in chunks.items()]
            found += ["/".join([str(name), "c", *map(str, i)]) for i in itertools.product(*ranges)]
        return found + [f"{STATISTICS}/c/{row}/0/0" for row in self.reported.get(index, ())]

    def most(self) -> int:
        """Largest number of chunks of a region."""
        return max(len(self.keys(index)) for index in self.indices())

    def digests(self, index: tuple[int, ...]) -> str:
        """Key of the hashes of a region."""
        return "/".join([GROUP, "digests", "c", *map(str, index), "0", "0"])

    def marker(self, index: tuple[int, ...]) -> str:
        """Key of the marker of a region."""
        return "/".join([GROUP, "complete", "c", *map(str, index)])

    def record(self) -> dict[str, Any]:
        """Return it as JSON knows it; in lists, since the order counts."""
        return {
            "blocks": [[str(d), list(sizes)] for d, sizes in self.blocks.items()],
            "chunks": [[str(n), [[str(d), k] for d, k in sizes.items()]] for n, sizes in self.chunks.items()],
            "reported": [[list(index), list(rows)] for index, rows in self.reported.items()],
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Layout:
        """Undo `record`."""
        return cls(
            {d: tuple(sizes) for d, sizes in record["blocks"]},
            {n: dict(sizes) for n, sizes in record["chunks"]},
            {tuple(index): tuple(rows) for index, rows in record["reported"]},
        )


def layout_of(analysis: xr.Dataset) -> Layout:
    """Cut a lazy analysis into regions and chunks.

    Parameters
    ----------
    analysis
        The analysis; blocks of its variables become regions.

    Raises
    ------
    ChunkError
        If variables are chunked differently, or the report is of times that are not in the analysis.
    """
    try:
        blocks = {d: tuple(sizes) for d, sizes in analysis.drop_vars(STATISTICS, errors="ignore").chunksizes.items()}
    except ValueError as e:
        msg = f"The variables are chunked differently ({e}). Call .unify_chunks() before writing."
        raise ChunkError(msg) from e
    chunks = {}
    for name, da in analysis.data_vars.items():
        if da.chunks is None:
            continue
        size = {d: common(blocks[d]) for d in da.dims}
        # Maps stay in one piece: what is far in time or another member is read less often together.
        for dim in sorted(da.dims, key=lambda d: d != "time"):
            if dim in da.dims[-2:]:
                continue
            rest = math.prod(size.values()) // size[dim] * da.dtype.itemsize
            size[dim] = max(n for n in _divisors(size[dim]) if n == 1 or n * rest <= _CHUNK_BYTES)
        chunks[name] = size
    return Layout(blocks, chunks, _reported(analysis, blocks))


def _reported(
    analysis: xr.Dataset, blocks: Mapping[Hashable, tuple[int, ...]]
) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Rows of the report on observations by the region that holds the first time of their segment."""
    if STATISTICS not in analysis.coords or analysis[STATISTICS].chunks is None:
        return {}
    name = coordinate(analysis, "time")
    time = None if name is None else analysis[name].dims[0]
    starts = analysis[WINDOW_START].values
    at = np.zeros(starts.size, int) if time is None else analysis.get_index(time).get_indexer(starts)
    if (at < 0).any():
        msg = (
            f"The report on observations is of times from {starts[0]} on, of which some are no longer in the Dataset. "
            "Select the period before the analysis (ds.sel(time=...).slams.assimilate(..., report=True)), or leave the "
            f"report out: .drop_vars({STATISTICS!r})."
        )
        raise ChunkError(msg)
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for row, position in enumerate(at):
        block = {time: int(np.searchsorted(np.cumsum(blocks[time]), position, side="right"))} if time in blocks else {}
        index = tuple(block.get(d, 0) for d in blocks)
        found[index] = (*found.get(index, ()), row)
    return found


def common(sizes: Sequence[int]) -> int:
    """Longest chunk that has an edge wherever one of the blocks begins."""
    return math.gcd(*itertools.accumulate(sizes[:-1])) or sizes[-1]


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]

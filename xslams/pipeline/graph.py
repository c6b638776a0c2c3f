"""The dask graph of a lazy analysis: a block for each analysis window, of all members or, on large grids, of some.

Tasks carry the model as a handle (a path and a hash), and of the observations what their window sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams import observations
from xslams.pipeline import segment, windows
from xslams.pipeline.inputs import Inputs
from xslams.pipeline.report import labels
from xslams.pipeline.segment import Run

if TYPE_CHECKING:
    from xslams.model import Model
    from xslams.observations import BoundBackground, BoundSource

__all__ = ["is_lazy", "lazy_analysis"]

# Size of a block of a lazy result that is not exceeded where it can be helped; members are split for it.
_BLOCK_BYTES = 128 * 2**20


def lazy_analysis(
    model: Model,
    inputs: Inputs,
    cut: Sequence[windows.AnalysisWindow],
    settings: Run,
    shape: tuple[int, ...],
    *,
    report: bool,
) -> tuple[Any, Any]:
    """Make a dask array with blocks of an analysis window and some members; in its graph the model is a handle.

    What `report` asks for comes out of the same call as the block, so that both are computed at once.
    """
    import dask.array as da
    from dask.delayed import delayed

    handle = delayed(model, pure=True, traverse=False)
    axis = delayed(inputs.time, pure=True, traverse=False)
    run = delayed(segment.analyse, pure=True, traverse=False)
    blocks, tables = [], []
    rows = len(labels(model.spec, inputs.sources, inputs.background)[0]) if report else 0
    meta = np.empty((0,) * len(shape), np.float32)
    # A report needs mean and spread of all members at every value, squared and compared with limits there: sums over
    # groups of members would not add up to it. So a window stays in one piece.
    each = 0 if report else 4 * windows.CORE * math.prod(shape[2:])
    groups = _groups(settings.members, each)
    for window in cut:
        sources, background = inputs.within(window)
        near = [_deferred(source) for source in sources]
        own = None if background is None else _deferred(background)
        column = []
        for members in groups:
            both = run(handle, near, own, axis, window, replace(settings, members=members), report=report)
            part = (len(members), window.last - window.first, *shape[2:])
            column.append(da.from_delayed(both[0], part, dtype=np.float32, meta=meta))  # type: ignore[no-untyped-call]
            if rows:
                size = rows, len(observations.COLUMNS)
                tables.append(da.from_delayed(both[1], size, dtype=np.float64, meta=np.empty((0, 0))))  # type: ignore[no-untyped-call]
        blocks.append(da.concatenate(column, axis=0))  # type: ignore[no-untyped-call]
    # Without sources there is nothing to compute for the report.
    sums = da.stack(tables) if rows else np.zeros((len(cut), 0, len(observations.COLUMNS)))  # type: ignore[no-untyped-call]
    return da.concatenate(blocks, axis=1), sums  # type: ignore[no-untyped-call]


def _groups(members: Sequence[int], each: int) -> list[tuple[int, ...]]:
    """Members that share a block, which holds `each` bytes of one; as many as stay below the limit, evenly."""
    count = -(-len(members) // max(_BLOCK_BYTES // each, 1)) if each else 1
    return [tuple(int(m) for m in part) for part in np.array_split(np.asarray(members), count)]


def _deferred(source: BoundSource | BoundBackground) -> Any:
    """Make a source one node of a graph; what is lazy in it is computed before the node is used."""
    from dask.delayed import delayed

    bare, lazy = source.without_lazy()
    node = delayed(bare, pure=True, traverse=False)
    return delayed(_refill, pure=True)(node, lazy) if lazy else node


def _refill(source: BoundSource | BoundBackground, computed: Sequence[Any]) -> BoundSource | BoundBackground:
    return source.with_computed(computed)


def is_lazy(ds: xr.Dataset) -> bool:
    """Whether a Dataset is backed by dask."""
    return any(da.chunks is not None for da in ds.data_vars.values())

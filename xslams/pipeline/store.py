"""A lazy analysis to zarr, region by region, so that a run that was killed goes on where it was.

A region is a block of the lazy result. The order of what is written makes a store tell the truth at any moment:

1. the plan: what the store belongs to (model, seed, settings, inputs, coordinates), in the group ``_xslams``;
2. metadata and coordinates of the whole result, with the attribute ``xslams_complete = 0``;
3. per region its chunks, with them the statistics of its observations if there is a report, and when these are durable
   its marker, one chunk of the array ``_xslams/complete``;
4. when all markers are there, ``xslams_complete = 1``.

Every file is written beside its place and renamed into it (an object store puts it whole), so that a chunk or a marker
is there or not. No chunk belongs to two regions, hence nobody reads what another writes, and two workers that compute
the same region, as happens when one was taken for dead, write the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xslams.arguments import require, require_flag
from xslams.errors import ChunkError, OptionError, SlamsWarning, StoreError
from xslams.labels.coordinates import coordinate
from xslams.pipeline.report import STATISTICS, WINDOW_START
from xslams.pipeline.targets import GROUP, PARTIAL, Target, is_leftover, is_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["open_analysis", "write"]

_COMPLETE = "xslams_complete"
#: Size of a chunk in bytes, before compression, that is not exceeded where it can be helped.
_CHUNK_BYTES = 16 * 2**20
# Names under which dask knows the scheduler of a client; a client that is the default sets the second.
_DISTRIBUTED = (None, "dask.distributed", "distributed")
# What an encoding says of the store that a variable came from, and not of the one that it goes to.
_STORAGE = ("chunks", "preferred_chunks", "shards", "compressor", "compressors", "filters", "serializer", "source")


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
    """

    blocks: dict[Hashable, tuple[int, ...]]
    chunks: dict[Hashable, dict[Hashable, int]]
    reported: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of blocks along every dimension."""
        return tuple(len(b) for b in self.blocks.values())

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Numbers of all regions."""
        return itertools.product(*map(range, self.shape))

    def region(self, index: tuple[int, ...]) -> dict[Hashable, slice]:
        """Where a region lies."""
        return {
            dim: slice(sum(sizes[:i]), sum(sizes[: i + 1]))
            for i, (dim, sizes) in zip(index, self.blocks.items(), strict=True)
        }

    def keys(self, index: tuple[int, ...]) -> list[str]:
        """Keys of the chunks of a region."""
        region = self.region(index)
        found = []
        for name, chunks in self.chunks.items():
            ranges = [range(region[d].start // n, -(-region[d].stop // n)) for d, n in chunks.items()]
            found += ["/".join([str(name), "c", *map(str, i)]) for i in itertools.product(*ranges)]
        return found + [f"{STATISTICS}/c/{row}/0/0" for row in self.reported.get(index, ())]

    def marker(self, index: tuple[int, ...]) -> str:
        """Key of the marker of a region."""
        return "/".join([GROUP, "complete", "c", *map(str, index)])


def write(
    analysis: xr.Dataset,
    store: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Compute a lazy analysis into a zarr store; see ``analysis.slams.to_zarr``.

    Parameters
    ----------
    analysis, store, resume, progress, storage_options
        As in ``analysis.slams.to_zarr``.

    Returns
    -------
    Dataset
        What the store holds, lazy.

    Raises
    ------
    OptionError
        If an argument is of another type.
    StoreError
        If there is something else at that place, or the store belongs to another run, or writing fails.
    ChunkError
        If variables are chunked differently, or coordinates depend on what is still to be computed.
    """
    require_flag(resume=resume, progress=progress)
    options = storage_options is None or isinstance(storage_options, Mapping)
    require(options, "storage_options", storage_options, "a mapping of options of the file system")
    target = Target.of(store, storage_options)
    analysis = _prepare(analysis)
    layout = _layout(analysis)
    plan = _plan(analysis, layout)
    try:
        missing = _open(target, analysis, layout, plan, resume=resume)
        done = math.prod(layout.shape) - len(missing)
        _compute(_tasks(analysis, target, layout, missing), done=done, progress=progress)
        files = target.files()
        lost = [index for index in layout.indices() if not _is_complete(files, layout, index)]
        if lost:
            msg = (
                f"{len(lost)} of {math.prod(layout.shape)} regions are missing from {target.url} although they were "
                "written: the store was changed from outside. Run the same again with resume=True."
            )
            raise StoreError(msg)
        _finish(target)
    except (OSError, KeyError) as e:
        if isinstance(e, StoreError):
            raise
        msg = (
            f"Writing to {target.url} failed ({type(e).__name__}: {e}). What is in there is complete region by region: "
            "make room or bring the store back, and run the same again with resume=True."
        )
        raise StoreError(msg) from e
    return open_analysis(store, storage_options=storage_options)


def is_begun(analysis: xr.Dataset, store: str | os.PathLike[str]) -> bool:
    """Whether a store was begun by the run that makes an analysis, and can be resumed.

    Parameters
    ----------
    analysis
        Lazy analysis.
    store
        Path or URL.
    """
    import zarr

    target = Target.of(store, None)
    if f"{GROUP}/zarr.json" not in target.files():
        return False
    old = zarr.open_group(target.url, path=GROUP, mode="r").attrs.get("plan")
    analysis = _prepare(analysis)
    return isinstance(old, dict) and not _differences(old, _plan(analysis, _layout(analysis)))


def open_analysis(
    store: str | os.PathLike[str],
    *,
    incomplete: Literal["raise", "warn"] = "raise",
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open what ``analysis.slams.to_zarr`` has written.

    Parameters
    ----------
    store
        Path or URL.
    incomplete
        What to do with a store that is not complete: "raise" an error, or "warn" and open it, with NaN for what is
        missing.
    storage_options
        Options of the file system of a URL.

    Returns
    -------
    Dataset
        Lazy, one chunk of dask per chunk of the store.

    Raises
    ------
    StoreError
        If there is no such store, or it is incomplete and shall not be.

    Examples
    --------
    >>> import xslams
    >>> xslams.open_analysis("nowhere.zarr")
    Traceback (most recent call last):
    ...
    xslams.errors.StoreError: There is no analysis at ...nowhere.zarr. ...
    """
    if incomplete not in ("raise", "warn"):
        msg = f"incomplete={incomplete!r}; expected 'raise' or 'warn'."
        raise OptionError(msg)
    target = Target.of(store, storage_options)
    files = target.files()
    if "zarr.json" not in files:
        msg = (
            f"There is no analysis at {target.url}. Check the path; ds.slams.assimilate(...).slams.to_zarr writes one."
        )
        raise StoreError(msg)
    with _leftovers_ignored():
        ds: xr.Dataset = xr.open_zarr(target.url, consolidated=False, **target.arguments)
    if _COMPLETE not in ds.attrs:
        msg = (
            f"{target.url} was not written by .slams.to_zarr, or only just begun, and does not say whether it is "
            "complete. Open it with xarray.open_zarr, or run what writes it again."
        )
        raise StoreError(msg)
    if not ds.attrs[_COMPLETE]:
        markers = sum(k.startswith(f"{GROUP}/complete/c/") and not k.endswith(PARTIAL) for k in files)
        msg = (
            f"{target.url} is not complete: {markers} of its regions are. Run what writes it again with resume=True, "
            "or open what there is with incomplete='warn'."
        )
        if incomplete == "raise":
            raise StoreError(msg)
        warnings.warn(msg, SlamsWarning, stacklevel=2)
    return ds


def _prepare(analysis: xr.Dataset) -> xr.Dataset:
    """Load the coordinates, and forget how variables were stored elsewhere."""
    computed = {k for da in analysis.data_vars.values() if da.chunks is not None for k in da.data.dask}
    # Statistics of observations are written region by region.
    lazy = {n: c for n, c in analysis.coords.items() if c.chunks is not None and n != STATISTICS}
    if costly := [str(n) for n, c in lazy.items() if not computed.isdisjoint(c.data.dask)]:
        msg = (
            f"The coordinates {', '.join(costly)} are made of what is still to be computed, but have to be written "
            "before. Leave them out (.drop_vars), or load everything (.compute())."
        )
        raise ChunkError(msg)
    analysis = analysis.assign_coords({n: c.compute() for n, c in lazy.items()})
    if not computed:
        analysis = analysis.chunk().assign_coords(analysis.coords)
    for variable in analysis.variables.values():
        for key in _STORAGE:
            variable.encoding.pop(key, None)
    return analysis


def _layout(analysis: xr.Dataset) -> Layout:
    try:
        blocks = {d: tuple(sizes) for d, sizes in analysis.drop_vars(STATISTICS, errors="ignore").chunksizes.items()}
    except ValueError as e:
        msg = f"The variables are chunked differently ({e}). Call .unify_chunks() before writing."
        raise ChunkError(msg) from e
    chunks = {}
    for name, da in analysis.data_vars.items():
        if da.chunks is None:
            continue
        size = {d: _common(blocks[d]) for d in da.dims}
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


def _common(sizes: Sequence[int]) -> int:
    """Longest chunk that has an edge wherever one of the blocks begins."""
    return math.gcd(*itertools.accumulate(sizes[:-1])) or sizes[-1]


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def _plan(analysis: xr.Dataset, layout: Layout) -> dict[str, Any]:
    """Say, as JSON knows it, what a store belongs to; runs with the same plan write the same bits."""
    settings = {
        k.removeprefix("xslams_"): v for k, v in analysis.attrs.items() if k.startswith("xslams_") and k != _COMPLETE
    }
    plan = {
        "settings": settings,
        "coordinates": {
            str(k): _digest(v)
            for k, v in sorted(analysis.coords.items(), key=lambda kv: str(kv[0]))
            if v.chunks is None
        },
        "variables": {str(k): [*map(str, v.dims), str(v.dtype)] for k, v in analysis.data_vars.items()},
        "blocks": {str(k): list(v) for k, v in layout.blocks.items()},
    }
    plain: dict[str, Any] = json.loads(json.dumps(plan, default=lambda v: v.item()))
    return plain


def _digest(da: xr.DataArray) -> str:
    values = np.ascontiguousarray(da.values)
    content = repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes()
    return f"{values.shape} {hashlib.sha256(content).hexdigest()[:16]}"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Which entries of two plans differ, and how."""
    found = []
    for part in ("settings", "coordinates", "variables", "blocks"):
        before, after = old.get(part, {}), new.get(part, {})
        for key in [*before, *(k for k in after if k not in before)]:
            here, there = before.get(key, "nothing"), after.get(key, "nothing")
            if here != there:
                label = key.replace("_", " ") if part == "settings" else f"{part.removesuffix('s')} {key!r}"
                found.append(f"{label} ({_short(here)} in the store, {_short(there)} in this run)")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _open(
    target: Target, analysis: xr.Dataset, layout: Layout, plan: dict[str, Any], *, resume: bool
) -> list[tuple[int, ...]]:
    """Create the store, or check that it is this run's; return the regions that are missing."""
    import zarr

    target.check()
    files = target.files()
    ours = f"{GROUP}/zarr.json" in files
    state: dict[str, Any] = {}
    if ours:
        state = dict(zarr.open_group(target.url, path=GROUP, mode="r", **target.arguments).attrs)
    known = ours or _is_empty(target, files)
    owned = [k for k in files if _is_owned(k, analysis, root=known, chunks=ours or resume)]
    foreign = [] if state.get("created") else [k for k in files if k not in owned]
    if foreign or (ours and not resume):
        what = f"something else ({foreign[0]})" if foreign else "an analysis"
        remedy = "Choose" if foreign else "Go on with it by resume=True, or choose"
        msg = f"There is {what} at {target.url} already. {remedy} another place, or remove it first."
        raise StoreError(msg)
    if ours:
        if "plan" in state and (different := _differences(state["plan"], plan)):
            msg = (
                f"{target.url} belongs to another run. What differs: {'; '.join(different)}. Give what the store was "
                "begun with, or choose another place."
            )
            raise StoreError(msg)
    if resume and "model_sha256" not in plan["settings"]:
        msg = (
            "resume=True needs the attributes xslams_* of an analysis, which say what made it; they are missing here. "
            "Keep them (xarray.set_options(keep_attrs=True)), or write without resume."
        )
        raise OptionError(msg)
    if not state.get("created"):
        target.remove(owned)
        target.prune()
        _create(target, analysis, layout, plan)
        return list(layout.indices())
    # Of metadata only, over which libraries stumble: a worker that is taken for dead may still be writing a chunk.
    target.sweep(key for key in files if "/c/" not in key)
    return [index for index in layout.indices() if not _is_complete(files, layout, index)]


def _is_owned(key: str, analysis: xr.Dataset, *, root: bool, chunks: bool) -> bool:
    """Whether a file of a store that is not yet usable can only be this run's.

    Without its plan, a store that was lost while it was in use is known by the chunks of its variables.
    """
    if key == "zarr.json":
        return root
    names = {str(n) for n in analysis.variables}
    return is_part(key, names if chunks else set()) and (root or not key.endswith("/zarr.json"))


def _is_empty(target: Target, files: Mapping[str, int]) -> bool:
    """Whether there is a group of zarr and nothing in it, as it is for a moment when a store is made."""
    import zarr

    if {k for k in files if not is_leftover(k)} != {"zarr.json"}:
        return False
    return not zarr.open(target.url, mode="r", **target.arguments).attrs


def _is_complete(files: Mapping[str, int], layout: Layout, index: tuple[int, ...]) -> bool:
    """Whether a region has its marker and, as stores lose things, its chunks."""
    return all(files.get(key) for key in (layout.marker(index), *layout.keys(index)))


def _create(target: Target, analysis: xr.Dataset, layout: Layout, plan: dict[str, Any]) -> None:
    """Write the plan, then metadata and coordinates, then the word that these are there."""
    import zarr

    group = zarr.create_group(target.url, path=GROUP, attributes={"plan": plan}, zarr_format=3, **target.arguments)
    group.create_array(
        "complete", shape=layout.shape, chunks=(1,) * len(layout.shape), dtype="uint8", fill_value=0, compressors=None
    )
    encoding: dict[Hashable, dict[str, Any]] = {
        name: {"chunks": tuple(size.values())} for name, size in layout.chunks.items()
    }
    if layout.reported:
        encoding[STATISTICS] = {"chunks": (1, *analysis[STATISTICS].shape[1:]), "fill_value": np.nan}
    begun = analysis.assign_attrs({_COMPLETE: 0})
    begun.to_zarr(
        target.url, mode="a", compute=False, consolidated=False, zarr_format=3, encoding=encoding, **target.arguments
    )
    _consolidate(target)
    target.sync(k for k in target.files() if not k.endswith(PARTIAL))
    group.attrs.update({"created": 1})


def _finish(target: Target) -> None:
    import zarr

    target.sweep(target.files())
    zarr.open_group(target.url, mode="r+", use_consolidated=False, **target.arguments).attrs.update({_COMPLETE: 1})
    _consolidate(target)
    target.sync(["zarr.json"])


@contextlib.contextmanager
def _leftovers_ignored() -> Iterator[None]:
    """List a store without a warning of the files that a killed run did not get done with."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=rf"Object at .*{re.escape(PARTIAL)} is not recognized")
        yield


def _consolidate(target: Target) -> None:
    """All metadata in one file, as xarray likes to find them."""
    import zarr

    with _leftovers_ignored():
        # Consolidated metadata are an agreement among libraries that zarr's third specification has not adopted yet.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(zarr.open_group(target.url, mode="r+", **target.arguments).store)


def _store(
    fields: dict[Hashable, Any], rows: list[Any], target: Target, layout: Layout, index: tuple[int, ...]
) -> None:
    """Write a region, given as an array for every variable and its rows of the report, and then its marker."""
    import zarr

    lazy = xr.Dataset({name: (tuple(layout.chunks[name]), values) for name, values in fields.items()})
    # An array that is all fill value would otherwise leave no chunk, and look as if it was lost.
    region: Any = layout.region(index)
    lazy.to_zarr(
        target.url, mode="r+", region=region, consolidated=False, write_empty_chunks=True,
        **target.arguments,
    )  # fmt: skip
    if rows:
        statistics = zarr.open_array(target.url, path=STATISTICS, mode="r+", **target.arguments)
        for row, values in zip(layout.reported[index], rows, strict=True):
            statistics[row : row + 1] = values
    target.sync(layout.keys(index))
    markers = zarr.open_array(target.url, path=f"{GROUP}/complete", mode="r+", **target.arguments)
    markers[index] = 1
    target.sync([layout.marker(index)])


def _tasks(analysis: xr.Dataset, target: Target, layout: Layout, indices: Iterable[tuple[int, ...]]) -> list[Any]:
    """Task of dask for every region."""
    from dask.delayed import delayed

    names = [*layout.chunks, *([STATISTICS] if layout.reported else [])]
    # Blocks, as nodes of the graph that they are in: of arrays dask makes graphs of their own, in which all that
    # variables, the report, and regions have in common is computed for each; of a Dataset every task would take the
    # graph of the whole run along.
    blocks = {name: analysis.variables[name].data.to_delayed(optimize_graph=False) for name in names}
    run = delayed(_store, pure=False)
    tasks = []
    for index in indices:
        at = dict(zip(layout.blocks, index, strict=True))
        fields = {name: blocks[name][tuple(at[d] for d in dims)] for name, dims in layout.chunks.items()}
        rows = [blocks[STATISTICS][row, 0, 0] for row in layout.reported.get(index, ())]
        tasks.append(run(fields, rows, target, layout, index))
    return tasks


def _compute(tasks: Sequence[Any], *, done: int, progress: bool) -> None:
    """Have dask compute and write every region."""
    from dask.base import compute
    from dask.callbacks import Callback
    from tqdm import tqdm

    if not tasks:
        return
    with tqdm(total=done + len(tasks), initial=done, desc="regions", unit="region", disable=not progress) as bar:
        client = _client()
        if client is not None:
            _distribute(client, tasks, bar)
            return
        keys = {task.key for task in tasks}

        def count(key: Any, *_: Any) -> None:
            if key in keys:
                bar.update()

        with Callback(posttask=count):  # type: ignore[no-untyped-call]
            compute(*tasks)  # type: ignore[no-untyped-call]


def _client() -> Any:
    """Client of dask.distributed that computes by default, if there is one."""
    import dask

    if "distributed" not in sys.modules or dask.config.get("scheduler", None) not in _DISTRIBUTED:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _distribute(client: Any, tasks: Sequence[Any], bar: Any) -> None:
    """Compute on a cluster; where workers declare ``GPU``, one region at a time on each."""
    from distributed import as_completed

    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    resources = {"GPU": 1} if any(w.get("resources", {}).get("GPU") for w in workers) else None
    futures = client.compute(list(tasks), resources=resources)
    try:
        for future in as_completed(futures):  # type: ignore[no-untyped-call]
            future.result()
            bar.update()
            future.release()
    finally:
        client.cancel(futures)

"""A lazy analysis to zarr, region by region, so that a run that was killed goes on where it was.

A region is a block of the lazy result. The order of what is written makes a store tell the truth at any moment:

1. the plan: what the store belongs to (model, seed, settings, inputs, coordinates), in the group ``_xslams``;
2. metadata and coordinates of the whole result, with the attribute ``xslams_complete = 0``, and then their hashes;
3. per region its chunks, with them the statistics of its observations if there is a report, then the hashes of these
   chunks, and when all are durable its marker, one chunk of the array ``_xslams/complete``;
4. when all markers are there, ``xslams_complete = 1``.

Every file is written beside its place and renamed into it (an object store puts it whole), so that a chunk or a marker
is there or not. No chunk belongs to two regions, hence nobody reads what another writes, and two workers that compute
the same region, as happens when one was taken for dead, write the same bits.
"""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xslams.addresses import cleaned, hide
from xslams.arguments import require, require_flag
from xslams.errors import ChunkError, OptionError, StoreError, warn
from xslams.pipeline.checksums import (
    WIDTH,
    codecs,
    damaged_files,
    damaged_regions,
    digest_of_root,
    to_rows,
    unexpected,
)
from xslams.pipeline.layout import Layout, layout_of
from xslams.pipeline.opening import leftovers_ignored, open_analysis
from xslams.pipeline.plan import (
    COMPLETE,
    JOURNAL,
    ROOT,
    Journal,
    differences,
    plan_of,
    read_journal,
    read_root,
    settings_of,
)
from xslams.pipeline.recording import recording
from xslams.pipeline.report import STATISTICS
from xslams.pipeline.scheduling import compute
from xslams.pipeline.targets import GROUP, PARTIAL, Target, is_leftover, is_part
from xslams.progress import require_progress, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["is_begun", "write"]

# What an encoding says of the store that a variable came from, and not of the one that it goes to.
_STORAGE = ("chunks", "preferred_chunks", "shards", "compressor", "compressors", "filters", "serializer", "source")


def write(
    analysis: xr.Dataset,
    store: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool | None = None,
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
    require_flag(resume=resume)
    require_progress(progress)
    options = storage_options is None or isinstance(storage_options, Mapping)
    require(options, "storage_options", storage_options, "a mapping of options of the file system")
    target = Target.of(store, storage_options)
    analysis = _prepare(analysis)
    layout = layout_of(analysis)
    plan = plan_of(analysis, layout)
    try:
        layout, missing = _open(target, analysis, layout, plan, resume=resume)
        done = math.prod(layout.shape) - len(missing)
        tasks, frames = _tasks(analysis, target, layout, missing), analysis.sizes.get("time", math.prod(layout.shape))
        with shown("to_zarr", frames, progress, parts=math.prod(layout.shape), done=done, tasks=True) as seen:
            compute(tasks, None if seen is None else seen.complete)
        lost = damaged_regions(target, layout, target.files(), list(layout.indices()), read=False)
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
        reason = hide(f"{type(e).__name__}: {e}", target.url)
        msg = (
            f"Writing to {target.url} failed ({reason}). What is in there is complete region by region: make room or "
            "bring the store back, and run the same again with resume=True."
        )
        raise StoreError(msg) from cleaned(e, target.url)
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
    target = Target.of(store, None)
    journal = read_journal(target, target.files())
    if journal is None or not (journal.plan or journal.damaged):
        return False
    analysis = _prepare(analysis)
    try:
        _require_own(target, journal, plan_of(analysis, layout_of(analysis)))
    except StoreError:
        return False
    return True


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


def _open(
    target: Target, analysis: xr.Dataset, layout: Layout, plan: dict[str, Any], *, resume: bool
) -> tuple[Layout, list[tuple[int, ...]]]:
    """Create the store, or check that it is this run's; return how it is cut and the regions that are missing."""
    target.check()
    files = target.files()
    journal = read_journal(target, files)
    known = journal is not None or _is_empty(target, files)
    owned = [k for k in files if _is_owned(k, analysis, root=known, chunks=journal is not None or resume)]
    usable = journal is not None and journal.created
    foreign = [] if usable else [k for k in files if k not in owned]
    if foreign or (journal is not None and not resume):
        what = f"something else ({foreign[0]})" if foreign else "an analysis"
        remedy = "Choose" if foreign else "Go on with it by resume=True, or choose"
        msg = f"There is {what} at {target.url} already. {remedy} another place, or remove it first."
        raise StoreError(msg)
    if journal is not None:
        _require_own(target, journal, plan)
    if resume and "model_sha256" not in plan["settings"]:
        msg = (
            "resume=True needs the attributes xslams_* of an analysis, which say what made it; they are missing here. "
            "Keep them (xarray.set_options(keep_attrs=True)), or write without resume."
        )
        raise OptionError(msg)
    if journal is not None and usable:
        # Of metadata only, over which libraries stumble: a worker that is taken for dead may still be writing a chunk.
        target.sweep(key for key in files if "/c/" not in key)
        if _repair(target, analysis, journal, files):
            return _missing(target, journal, layout)
    target.remove(owned)
    target.prune()
    _create(target, analysis, layout, plan)
    return layout, list(layout.indices())


def _require_own(target: Target, journal: Journal, plan: Mapping[str, Any]) -> None:
    """Refuse a store of another run; where its plan is lost, the attributes of the result say what made it."""
    if journal.damaged:
        if settings_of(read_root(target).get("attributes", {})) != plan["settings"]:
            msg = (
                f"{target.url} is damaged: its journal ({JOURNAL}) was changed, and its attributes do not say that it "
                "belongs to this run. Choose another place, or remove it first."
            )
            raise StoreError(msg)
    elif journal.plan and (different := differences(journal.plan, plan)):
        msg = (
            f"{target.url} belongs to another run. What differs: {'; '.join(different)}. Give what the store was "
            "begun with, or choose another place."
        )
        raise StoreError(msg)


def _repair(target: Target, analysis: xr.Dataset, journal: Journal, files: Mapping[str, int]) -> bool:
    """Write metadata and coordinates again where they are damaged; return whether chunks may stay as they are."""
    layout = journal.layout
    if layout is None:
        return True
    target.remove(unexpected(journal, layout, files))
    if not damaged_files(target, journal, files, complete=False):
        return True
    # Together, since metadata name each other. Whatever ends this, what is missing is seen by the next run.
    target.remove(journal.files)
    target.prune()
    written = _write_metadata(target, analysis, layout)
    arrays = [*map(str, layout.chunks), *([STATISTICS] if layout.reported else []), f"{GROUP}/digests"]
    if any(written[f"{name}/zarr.json"] != journal.files[f"{name}/zarr.json"] for name in arrays):
        return False  # another version of zarr, with metadata that may not be those of the chunks
    _seal(target, dataclasses.replace(journal, files=written))
    return True


def _missing(target: Target, journal: Journal, layout: Layout) -> tuple[Layout, list[tuple[int, ...]]]:
    """How a begun store is cut, and the regions of it that are not there or damaged."""
    if journal.layout is None:
        warn(
            f"{target.url} was begun by an earlier version of xslams, without hashes of its chunks: what is there is "
            "kept as it is, and damage in it cannot be seen."
        )
        layout = dataclasses.replace(layout, checked=False)
    else:
        layout = journal.layout
    files = target.files()
    missing = damaged_regions(target, layout, files, list(layout.indices()), read=True)
    if missing and read_root(target).get("attributes", {}).get(COMPLETE):
        _say(target, 0)
    return layout, list(missing)


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


def _create(target: Target, analysis: xr.Dataset, layout: Layout, plan: dict[str, Any]) -> None:
    """Write the plan, then metadata and coordinates, then their hashes and the word that these are there."""
    import zarr

    # A request of a run that failed may still be on its way to the store, and arrive after what was there was removed.
    zarr.create_group(
        target.url, path=GROUP, attributes={"plan": plan}, zarr_format=3, overwrite=True, **target.arguments
    )
    _seal(target, Journal(plan, layout=layout, files=_write_metadata(target, analysis, layout)))


def _write_metadata(target: Target, analysis: xr.Dataset, layout: Layout) -> dict[str, str]:
    """Write metadata and coordinates; return their hashes."""
    import zarr

    watched = _recorded(target)
    compression = codecs()
    group = zarr.open_group(watched, path=GROUP, mode="r+", zarr_format=3)
    ones = (1,) * len(layout.shape)
    for name, more in {"complete": (), "digests": (layout.most(), WIDTH)}.items():
        group.create_array(
            name, shape=(*layout.shape, *more), chunks=(*ones, *more), dtype="uint8", fill_value=0,
            compressors=compression[-1:],
        )  # fmt: skip
    encoding: dict[Hashable, dict[str, Any]] = {
        name: {"chunks": tuple(size.values()), "compressors": compression} for name, size in layout.chunks.items()
    }
    if layout.reported:
        encoding[STATISTICS] = {"chunks": (1, *analysis[STATISTICS].shape[1:]), "fill_value": np.nan}
        encoding[STATISTICS]["compressors"] = compression
    begun = analysis.copy().assign_attrs({COMPLETE: 0})
    for key, variable in begun.variables.items():
        if key not in encoding:
            variable.encoding = {**variable.encoding, "compressors": compression}
    with leftovers_ignored():
        begun.to_zarr(watched, mode="a", compute=False, consolidated=False, zarr_format=3, encoding=encoding)
    _consolidate(target)
    target.sync(k for k in target.files() if not k.endswith(PARTIAL))
    hashes = {key: found for key, (_, found) in watched.written.items() if key not in (JOURNAL, ROOT)}
    return hashes | {ROOT: digest_of_root(read_root(target))}


def _recorded(target: Target) -> Any:
    """Return the store as zarr knows it, which remembers what is written to it."""
    import zarr

    return recording(zarr.open_group(target.url, path=GROUP, mode="r+", **target.arguments).store)


def _seal(target: Target, journal: Journal) -> None:
    """Say that metadata and coordinates are there, and what their hashes are."""
    import zarr

    group = zarr.open_group(target.url, path=GROUP, mode="r+", **target.arguments)
    group.attrs.update(journal.attributes())
    target.sync([JOURNAL])


def _finish(target: Target) -> None:
    target.sweep(target.files())
    _say(target, 1)


def _say(target: Target, complete: int) -> None:
    """Say whether all regions are there."""
    import zarr

    root = zarr.open_group(target.url, mode="r+", use_consolidated=False, **target.arguments)
    root.attrs.update({COMPLETE: complete})
    _consolidate(target)
    target.sync([ROOT])


def _consolidate(target: Target) -> None:
    """All metadata in one file, as xarray likes to find them."""
    import zarr

    with leftovers_ignored():
        # Consolidated metadata are an agreement among libraries that zarr's third specification has not adopted yet.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(zarr.open_group(target.url, mode="r+", **target.arguments).store)


def _store(
    fields: dict[Hashable, Any], rows: list[Any], target: Target, layout: Layout, index: tuple[int, ...]
) -> None:
    """Write a region, given as an array for every variable and its rows of the report, and then its marker."""
    import zarr

    lazy = xr.Dataset({name: (tuple(layout.chunks[name]), values) for name, values in fields.items()})
    watched = _recorded(target)
    # An array that is all fill value would otherwise leave no chunk, and look as if it was lost.
    region: Any = layout.region(index)
    lazy.to_zarr(watched, mode="r+", region=region, consolidated=False, write_empty_chunks=True)
    if rows:
        statistics = zarr.open_array(watched, path=STATISTICS, mode="r+", config={"write_empty_chunks": True})
        for row, values in zip(layout.reported[index], rows, strict=True):
            statistics[row : row + 1] = values
    keys = layout.keys(index)
    target.sync(keys)
    if layout.checked:
        digests = zarr.open_array(watched, path=f"{GROUP}/digests", mode="r+")
        digests[index] = to_rows(keys, watched.written, digests.shape[-2])
        target.sync([layout.digests(index)])
    markers = zarr.open_array(watched, path=f"{GROUP}/complete", mode="r+")
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

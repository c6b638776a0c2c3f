"""Open a store that was written region by region, if it is complete and undamaged."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import xarray as xr

from xslams.addresses import cleaned, hide
from xslams.arguments import require, require_flag
from xslams.errors import StoreError, warn
from xslams.pipeline.checksums import find_damage
from xslams.pipeline.guarding import guarded
from xslams.pipeline.plan import COMPLETE, JOURNAL, ROOT, read_journal, read_root
from xslams.pipeline.targets import GROUP, PARTIAL, Target

__all__ = ["leftovers_ignored", "open_analysis"]


def open_analysis(
    store: str | os.PathLike[str],
    *,
    incomplete: Literal["raise", "warn"] = "raise",
    verify: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open what ``analysis.slams.to_zarr`` has written.

    Parameters
    ----------
    store
        Path or URL.
    incomplete
        What to do with a store that is not complete, or damaged: "raise" an error, or "warn" and open it, with NaN for
        what is missing.
    verify
        Read all chunks and compare them with the hashes that were written with them. Otherwise only metadata,
        coordinates, and the sizes of chunks are compared; a chunk whose content was changed is a `StoreError` when it
        is read, unless it was exchanged for another one.
    storage_options
        Options of the file system of a URL.

    Returns
    -------
    Dataset
        Lazy, one chunk of dask per chunk of the store.

    Raises
    ------
    StoreError
        If there is no such store, or it is incomplete or damaged and shall not be.
    OptionError
        If an option has another value.

    Warns
    -----
    SlamsWarning
        If the store is incomplete or damaged and shall be opened, or `verify` is asked of a store without hashes, as
        earlier versions wrote them.

    Examples
    --------
    >>> import xslams
    >>> xslams.open_analysis("nowhere.zarr")
    Traceback (most recent call last):
    ...
    xslams.errors.StoreError: There is no analysis at ...nowhere.zarr. ...
    """
    require(incomplete in ("raise", "warn"), "incomplete", incomplete, "'raise' or 'warn'")
    require_flag(verify=verify)
    target = Target.of(store, storage_options)
    files = target.files()
    if ROOT not in files and JOURNAL not in files:
        msg = (
            f"There is no analysis at {target.url}. Check the path; ds.slams.assimilate(...).slams.to_zarr writes one."
        )
        raise StoreError(msg)
    if fault := _fault(target, files, verify=verify):
        if incomplete == "raise":
            msg = f"{fault} or open what there is with incomplete='warn'."
            raise StoreError(msg)
        warn(f"{fault} or open what there is with incomplete='warn'.")
    try:
        with leftovers_ignored():
            ds: xr.Dataset = xr.open_dataset(
                target.url, engine="zarr", consolidated=False, chunks=None, cache=False, **target.arguments
            )
            ds = guarded(ds, target.url, _identity(target, files))
    except (OSError, ValueError, LookupError, TypeError, RuntimeError) as e:
        reason = hide(f"{type(e).__name__}: {e}", target.url)
        msg = f"{target.url} cannot be opened ({reason}). Run what writes it again with resume=True."
        raise StoreError(msg) from cleaned(e, target.url)
    return ds


def _identity(target: Target, files: Mapping[str, int]) -> str:
    """Return what tells the content of a store from others: hashes of its regions, or else the sizes of its files."""
    told = [k for k in sorted(files) if k == JOURNAL or k.startswith(f"{GROUP}/digests/c/")]
    parts = [target.read(k) for k in told] if len(told) > 1 else [repr(sorted(files.items())).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _fault(target: Target, files: Mapping[str, int], *, verify: bool) -> str:
    """Return what is wrong with a store, as the begin of a message; empty if nothing is."""
    root, journal = read_root(target), read_journal(target, files)
    remedy = "Run what writes it again with resume=True,"
    if not root:
        return f"{target.url} is damaged: its metadata ({ROOT}) are missing or cannot be read. {remedy}"
    if COMPLETE not in root["attributes"] and (journal is None or not (journal.created or journal.damaged)):
        msg = (
            f"{target.url} was not written by .slams.to_zarr, or only just begun, and does not say whether it is "
            "complete. Open it with xarray.open_zarr, or run what writes it again."
        )
        raise StoreError(msg)
    complete = bool(root["attributes"].get(COMPLETE))
    if journal is not None and journal.damaged:
        return f"{target.url} is damaged: its journal ({JOURNAL}) is missing or was changed. {remedy}"
    if journal is not None and journal.layout is not None:
        if damage := find_damage(target, journal, files, complete=complete, read=verify):
            return f"{target.url} is damaged: {damage}. {remedy}"
    if verify and (journal is None or journal.layout is None):
        warn(
            f"{target.url} bears no hashes of its chunks, as it was written by an earlier version of xslams or by "
            "something else: nothing could be verified."
        )
    if complete:
        return ""
    markers = sum(k.startswith(f"{GROUP}/complete/c/") and not k.endswith(PARTIAL) for k in files)
    return f"{target.url} is not complete: {markers} of its regions are. {remedy}"


@contextlib.contextmanager
def leftovers_ignored() -> Iterator[None]:
    """List a store without a warning of what a killed run did not get done with, or whose metadata are lost."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Object at .* is not recognized")
        yield

"""Lazy variables of a store whose damage is told in terms of the store, when it is met.

A chunk with flipped bits has a wrong checksum, which zarr finds as it decodes the chunk: in a task, far from whoever
opened the store, with a message that names neither the store nor the chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import ExplicitIndexer, IndexingSupport, LazilyIndexedArray, explicit_indexing_adapter

from xslams.addresses import cleaned, hide
from xslams.errors import StoreError

__all__ = ["guarded"]


def guarded(ds: xr.Dataset, url: str, identity: str) -> xr.Dataset:
    """Return a Dataset in chunks as they are stored, that names what of the store cannot be read.

    Parameters
    ----------
    ds
        Dataset that was opened without chunks.
    url
        Address of its store.
    identity
        What tells the content of the store from others, for the keys of dask.

    Returns
    -------
    Dataset
        The same, lazy.
    """
    found = {}
    for name, variable in ds.variables.items():
        if name in ds.indexes or getattr(variable, "_in_memory", True):
            continue
        lazy = LazilyIndexedArray(_Guarded(variable, str(name), url, identity))
        stored = dict(variable.encoding.get("preferred_chunks", {}))
        found[name] = xr.Variable(variable.dims, lazy, variable.attrs, variable.encoding).chunk(stored)
    return ds.assign({n: v for n, v in found.items() if n in ds.data_vars}).assign_coords(
        {n: v for n, v in found.items() if n in ds.coords}
    )


class _Guarded(BackendArray):
    """A variable of a store."""

    def __init__(self, variable: xr.Variable, name: str, url: str, identity: str) -> None:
        self.variable, self.name, self.url, self.identity = variable, name, url, identity
        self.shape, self.dtype = variable.shape, variable.dtype

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return "xslams store", self.url, self.name, self.identity

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._part)

    def _part(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        try:
            return np.asarray(self.variable[key].values)
        # What codecs, file systems and zarr raise.
        except (OSError, ValueError, RuntimeError, LookupError, TypeError) as e:
            where = ", ".join(_where(self.variable, key)) or "its only value"
            reason = hide(f"{type(e).__name__}: {str(e).rstrip('.')}", self.url)
            msg = (
                f"{self.url}: {self.name!r} cannot be read at {where} ({reason}). If the store can be reached, it is "
                "damaged: xslams.open_analysis(store, verify=True) names all damage, and what wrote the store, run "
                "again with resume=True, computes it again."
            )
            raise StoreError(msg) from cleaned(e, self.url)


def _where(variable: xr.Variable, key: tuple[Any, ...]) -> Iterator[str]:
    """Positions along each dimension."""
    for dim, part, size in zip(variable.dims, key, variable.shape, strict=False):
        if isinstance(part, slice):
            start, stop, _ = part.indices(size)
            yield f"{dim} {start} to {stop - 1}"
        else:
            yield f"{dim} {np.min(part)} to {np.max(part)}" if np.size(part) > 1 else f"{dim} {int(np.min(part))}"

"""Weights that were built once are kept: in the process, and on disk.

Files lie in ``weights`` under the cache of pooch, which the environment variable ``XSLAMS_CACHE`` moves. Their name is
a hash of all that determines the weights: both geometries to the last bit, method, edges, engine, and the version of
the definition. A file is written under another name and then moved, so that concurrent workers see it whole or not at
all; one that cannot be read is built anew. They are plain arrays, never pickles, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from xslams import places
from xslams.errors import SlamsWarning
from xslams.geometry import Geometry
from xslams.typing import Edges, Method
from xslams.weights.engines import ENGINES

__all__ = ["build_weights", "folder", "key_of", "stored", "weights_between"]

# Raise it when the definition of the weights changes, so that files of an older one are not read.
_VERSION = 4
_MEMORY = 1 << 30

_lock = threading.Lock()
_locks: dict[str, threading.Lock] = {}
_kept: OrderedDict[str, sp.csr_array] = OrderedDict()


def folder() -> Path:
    """Folder of the files, which need not exist."""
    moved = os.environ.get("XSLAMS_CACHE")
    if moved:
        return Path(moved) / "weights"
    import pooch

    return Path(pooch.os_cache("xslams")) / "weights"


def key_of(
    source: Geometry,
    target: Geometry,
    method: Method = "bilinear",
    edges: Edges = "great_circle",
    engine: str = "embedded",
) -> str:
    """Hash of what determines the weights.

    Parameters
    ----------
    source, target, method, edges
        As in `xslams.weights.grid_weights`.
    engine
        One of `xslams.weights.engines.ENGINES`.

    Returns
    -------
    str
        Hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from xslams.geometry import Grid
    >>> a, b = (Grid(np.array([0.0, 10.0]), np.array([0.0, last])) for last in (10.0, 20.0))
    >>> key_of(a, a) == key_of(a, a), key_of(a, a) == key_of(a, b)
    (True, False)
    """
    parts = (_VERSION, method, edges, engine, ENGINES[engine].version, source.key, target.key)
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def weights_between(
    source: Geometry,
    target: Geometry,
    method: Method = "bilinear",
    edges: Edges = "great_circle",
    engine: str = "embedded",
) -> sp.csr_array:
    """Weights from one geometry to another: those that are kept, else built and kept.

    Parameters
    ----------
    source, target, method, edges, engine
        As in `key_of`.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (size of target, size of source). Shared: do not change it.

    Raises
    ------
    GridError
        If the method needs what the geometry does not have.

    Warns
    -----
    SlamsWarning
        If the folder cannot be written to.

    Examples
    --------
    >>> import numpy as np
    >>> from xslams.geometry import Grid
    >>> grid = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0]))
    >>> weights_between(grid, grid) is weights_between(grid, grid)
    True
    """
    return stored(
        key_of(source, target, method, edges, engine), lambda: build_weights(source, target, method, edges, engine)
    )


def build_weights(source: Geometry, target: Geometry, method: Method, edges: Edges, engine: str) -> sp.csr_array:
    """Weights from one geometry to another, built anew."""
    return ENGINES[engine].weights(source, target, method, edges)


def stored(key: str, build: Callable[[], sp.csr_array]) -> sp.csr_array:
    """Weights of this key: from memory, else from disk, else built and kept in both.

    Parameters
    ----------
    key
        From `key_of`.
    build
        Makes the weights.

    Returns
    -------
    scipy.sparse.csr_array
        Weights. Threads of one process wait for the first of them; processes may build the same weights at once.
    """
    with _lock:
        mine = _locks.setdefault(key, threading.Lock())
    with mine:
        with _lock:
            if key in _kept:
                _kept.move_to_end(key)
                return _kept[key]
        weights = _read(key)
        if weights is None:
            weights = build()
            _write(key, weights)
        with _lock:
            _kept[key] = weights
            while len(_kept) > 1 and sum(_bytes(w) for w in _kept.values()) > _MEMORY:
                oldest, _ = _kept.popitem(last=False)
                _locks.pop(oldest, None)
    return weights


def _bytes(weights: sp.csr_array) -> int:
    return int(weights.data.nbytes + weights.indices.nbytes + weights.indptr.nbytes)


def _read(key: str) -> sp.csr_array | None:
    path = folder() / f"{key}.npz"
    try:
        # The archive's checksums find what is truncated or overwritten.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            data, indices, indptr, shape = (file[n] for n in ("data", "indices", "indptr", "shape"))
            if str(file["key"]) != key:
                return None
        weights = sp.csr_array((data, indices, indptr), shape=tuple(int(n) for n in shape))
        weights.check_format(full_check=True)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return weights


def _write(key: str, weights: sp.csr_array) -> None:
    path = folder() / f"{key}.npz"
    try:
        with places.temporary(path) as part:
            with part.open("wb") as file:
                np.savez(
                    file,
                    data=weights.data,
                    indices=weights.indices,
                    indptr=weights.indptr,
                    shape=np.asarray(weights.shape),
                    key=np.asarray(key),
                )
            os.replace(part, path)
    except OSError as e:
        warnings.warn(
            f"Interpolation weights could not be kept in {path.parent} ({e}); each process builds them anew. "
            "Set XSLAMS_CACHE to a folder that can be written to.",
            SlamsWarning,
            stacklevel=2,
        )

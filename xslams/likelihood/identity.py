"""Numbers that name observed values, the same whatever other values there are, and in whatever order.

Noise that is keyed by such a number belongs to its value. The numbers are mixed by the finaliser of SplitMix64 [1]_, a
bijection of 64 bits in which every bit of the input changes half of those of the output.

References
----------
.. [1] Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014, doi:10.1145/2660193.2660195.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

__all__ = ["mixed", "named"]

UIntArray = npt.NDArray[np.uint64]


def mixed(number: UIntArray) -> UIntArray:
    """Mix the bits of whole numbers.

    Examples
    --------
    >>> mixed(np.array([0, 1], np.uint64))
    array([16294208416658607535, 10451216379200822465], dtype=uint64)
    """
    z = number + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def named(
    name: str, rows: sp.csr_array, frame: npt.NDArray[np.intp], size: int, kind: npt.NDArray[np.intp] | None = None
) -> UIntArray:
    """Name the values of a source: by their kind or by what they see, and by the name of the source.

    Values that see the same are told apart by their order.

    Parameters
    ----------
    name
        Name of the source.
    rows
        What each value sees, shape ``(n, frames * size)``.
    frame
        First frame that each value sees, shape ``(n,)``.
    size
        Number of elements of a frame.
    kind
        Kind of each value, such as the place of which it is, shape ``(n,)``. Without it, values are told apart by the
        elements that they see, counted from their first frame.

    Returns
    -------
    ndarray
        Shape ``(n,)``; those of one frame are different.

    Examples
    --------
    The cell that is seen, not the frame, makes the name:

    >>> both = named("a", sp.csr_array(np.eye(4)), np.array([0, 0, 1, 1]), 2)
    >>> bool((both[:2] == both[2:]).all()), bool(both[0] == both[1])
    (True, False)
    """
    of = np.frombuffer(hashlib.blake2b(name.encode(), digest_size=8).digest(), np.uint64)[0]
    own = np.full(frame.size, of, dtype=np.uint64)
    if kind is None:
        row, column = sp.coo_array(rows).coords
        np.add.at(own, row, mixed((column - frame[row] * size).astype(np.uint64)))
    else:
        own += mixed(kind.astype(np.uint64))
    order = np.lexsort((own, frame))
    starts = np.r_[True, (np.diff(frame[order]) != 0) | (own[order][1:] != own[order][:-1])]
    position = np.arange(order.size)
    rank = np.empty_like(position)
    rank[order] = position - np.maximum.accumulate(np.where(starts, position, 0))
    return mixed(own + rank.astype(np.uint64))

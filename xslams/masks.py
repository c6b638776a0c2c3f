"""Cells in which a variable never has a value, as that of the ocean on land.

A model knows them by a text in the header of its file, so that they are at hand without the weights. Its networks see
the value of the nearest cell that has one: fields stay as smooth, and as variable, as they are at the coast.
"""

from __future__ import annotations

import base64
import math
import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from xslams.errors import ModelError

__all__ = ["filled", "joined", "nearest_known", "packed", "unpacked"]

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.intp]


def packed(masked: BoolArray) -> str:
    """Write a mask as text: one bit for each cell, compressed.

    Parameters
    ----------
    masked
        True where there is no value, any shape.

    Returns
    -------
    str
        Empty where all cells have values.

    Examples
    --------
    >>> coast = np.array([[True, True, False]])
    >>> unpacked(packed(coast), (1, 3))
    array([[ True,  True, False]])
    """
    if not masked.any():
        return ""
    return base64.b64encode(zlib.compress(np.packbits(masked).tobytes(), 9)).decode("ascii")


@lru_cache(maxsize=16)
def unpacked(text: str, shape: tuple[int, ...]) -> BoolArray:
    """Read what `packed` wrote.

    Parameters
    ----------
    text
        The text; empty where all cells have values.
    shape
        Shape of the mask.

    Raises
    ------
    ModelError
        If the text is none of a mask of this shape.
    """
    if not text:
        masked = np.zeros(shape, bool)
    else:
        cells = math.prod(shape)
        size = -(-cells // 8)
        try:
            # What is longer than it should be is not unpacked.
            found = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
        except (ValueError, zlib.error) as e:
            msg = f"The mask of a variable is damaged ({e})."
            raise ModelError(msg) from e
        if len(found) != size:
            msg = f"The mask of a variable has not {size} bytes, as cells of the shape {shape} take."
            raise ModelError(msg)
        masked = np.unpackbits(np.frombuffer(found, np.uint8), count=cells).astype(bool).reshape(shape)
    masked.flags.writeable = False
    return masked


@lru_cache(maxsize=4)
def joined(texts: tuple[str, ...], levels: tuple[int, ...], grid: tuple[int, int]) -> BoolArray:
    """Join the masks of variables.

    Parameters
    ----------
    texts, levels
        Mask and number of channels of each variable, see `packed`.
    grid
        Numbers of latitudes and longitudes.

    Returns
    -------
    ndarray
        Shape (channel, lat, lon).
    """
    masked = np.concatenate([unpacked(text, (count, *grid)) for text, count in zip(texts, levels, strict=True)])
    masked.flags.writeable = False
    return masked


@lru_cache(maxsize=4)
def nearest_known(
    texts: tuple[str, ...], levels: tuple[int, ...], lat: tuple[float, ...], lon: tuple[float, ...], *, globe: bool
) -> IntArray:
    """Find the nearest cell with a value for each cell.

    Parameters
    ----------
    texts, levels
        As for `joined`.
    lat, lon
        Coordinates of the cells.
    globe
        Whether they are degrees on a sphere, else numbers of a plane.

    Returns
    -------
    ndarray
        Positions in the flattened grid, shape (channel, cell); that of the cell itself where it has a value.
    """
    from scipy.spatial import cKDTree

    y, x = (a.ravel() for a in np.meshgrid(lat, lon, indexing="ij"))
    if globe:
        phi, theta = np.deg2rad(y), np.deg2rad(x)
        points = np.stack([np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)], axis=1)
    else:
        points = np.stack([y, x], axis=1)
    found: list[IntArray] = []
    trees: dict[bytes, IntArray] = {}
    for masked in joined(texts, levels, (len(lat), len(lon))).reshape(-1, len(y)):
        # Levels often share a mask, and variables do.
        key = masked.tobytes()
        if key not in trees:
            own = np.arange(len(y))
            known = np.flatnonzero(~masked)
            if masked.any() and known.size:
                own[masked] = known[cKDTree(points[known]).query(points[masked])[1]]
            trees[key] = own
        found.append(trees[key])
    nearest = np.stack(found)
    nearest.flags.writeable = False
    return nearest


def filled(fields: npt.NDArray[np.float32], nearest: IntArray) -> npt.NDArray[np.float32]:
    """Give masked cells the value of the nearest cell that has one, whatever they hold.

    Parameters
    ----------
    fields
        Shape (*, channel, lat, lon).
    nearest
        See `nearest_known`, of as many channels or more.

    Returns
    -------
    ndarray
        New array.

    Examples
    --------
    >>> filled(np.array([[[np.nan, 1.0, 2.0]]], np.float32), np.array([[1, 1, 2]]))
    array([[[1., 1., 2.]]], dtype=float32)
    """
    whole = fields.reshape(*fields.shape[:-2], -1).copy()
    for channel in range(whole.shape[-2]):
        own = nearest[channel]
        masked = np.flatnonzero(own != np.arange(own.size))
        if masked.size:
            whole[..., channel, masked] = whole[..., channel, own[masked]]
    return whole.reshape(fields.shape)

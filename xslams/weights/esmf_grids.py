"""What ESMF is handed for a geometry: grids or points under the names that xESMF looks for.

ESMF's grids are rows and columns of places, or of cells that share their corners. It takes neither NaN nor an array
with a seam in the middle; curvilinear grids end for it where their arrays do. So missing places are masked or left out,
columns are put in order, halos are left out, and the first column of a grid that closes on itself stands again behind
the last one: what ESMF is handed has other cells than the geometry, and `Described.cells` says which they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.errors import GridError
from xslams.geometry import Geometry, Grid
from xslams.geometry.corners import crossed
from xslams.geometry.curvilinear import closes, padded
from xslams.geometry.edges import seam
from xslams.geometry.halos import without_halo
from xslams.geometry.sphere import Vectors, around, length, normalised
from xslams.typing import FloatArray, Method

__all__ = ["Described", "described_source", "described_target", "shared_nodes"]

_Indices = npt.NDArray[np.intp]
# Corners of two cells are the same node within half a metre on the Earth.
_SAME = 1e-7
#: The corners of a cell from any of them on, in either direction.
_ORDERS = tuple(tuple((first + way * k) % 4 for k in range(4)) for way in (1, -1) for first in range(4))
#: Views of nodes in which each of the four sides of a grid is the first row.
_SIDES: tuple[Callable[[Vectors], Vectors], ...] = (
    lambda v: v,
    lambda v: v[::-1],
    lambda v: np.swapaxes(v, 0, 1),
    lambda v: np.swapaxes(v, 0, 1)[::-1],
)


@dataclass(frozen=True)
class Described:
    """What ESMF is handed.

    Attributes
    ----------
    dataset
        Coordinates, and a mask where places are missing.
    cells
        Which cell or place of the geometry each one of ESMF's is, shape (n,).
    points
        Whether these are points.
    periodic
        Whether ESMF is to close the circle.
    """

    dataset: xr.Dataset
    cells: _Indices
    points: bool = False
    periodic: bool = False


def described_source(geometry: Geometry, method: Method) -> Described:
    """Describe where values come from.

    Raises
    ------
    GridError
        If ESMF has no such grid.
    """
    if method == "conservative":
        return _cells(geometry, source=True)
    if method == "bilinear":
        if min(geometry.shape, default=0) < 2:
            msg = f"ESMF interpolates between two rows and columns or more; got {geometry}. Use engine='embedded'."
            raise GridError(msg)
        if geometry.rectilinear is None:
            return _closed(geometry)
    return _places(geometry, source=True)


def described_target(geometry: Geometry, method: Method) -> Described:
    """Describe where values are wanted.

    Raises
    ------
    GridError
        If ESMF has no such grid.
    """
    return _cells(geometry, source=False) if method == "conservative" else _places(geometry, source=False)


# ---------------------------------------------------------------------------------------------------------------------
# Places
# ---------------------------------------------------------------------------------------------------------------------
def _places(geometry: Geometry, *, source: bool) -> Described:
    """Centres as a grid; as points where they are points or some of them are missing."""
    if geometry.rectilinear is not None:
        return _rectilinear(geometry.rectilinear, cells=False)
    lat, lon = geometry.centres()
    known = np.flatnonzero(np.isfinite(lat + lon))
    if source and not known.size:
        msg = f"None of the {lat.size} places of the source has a latitude and longitude; expected at least one."
        raise GridError(msg)
    if geometry.bounded and known.size == lat.size and len(geometry.shape) == 2 and min(geometry.shape) > 1:
        return Described(_two_dimensional(lat.reshape(geometry.shape), lon.reshape(geometry.shape)), known)
    return Described(
        xr.Dataset(coords={"lat": ("point", lat[known]), "lon": ("point", lon[known])}), known, points=True
    )


def _closed(geometry: Geometry) -> Described:
    """Centres of a curvilinear grid to interpolate between, closed where it closes on itself."""
    x = geometry.neighbours()
    rows, columns = without_halo(x)
    index = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2])[:rows, :columns]
    x = x[:rows, :columns]
    if closes(x):
        index = np.concatenate([index, index[:, :1]], axis=1)
    if closes(np.swapaxes(x, 0, 1)):
        index = np.concatenate([index, index[:1]], axis=0)
    lat, lon = (values[index] for values in geometry.centres())
    return Described(_masked(lat, lon, np.isfinite(lat + lon)), index.ravel())


def _two_dimensional(lat: FloatArray, lon: FloatArray) -> xr.Dataset:
    return xr.Dataset(coords={"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)})


def _masked(lat: FloatArray, lon: FloatArray, known: npt.NDArray[np.bool_]) -> xr.Dataset:
    """Grid with a mask where places are missing, which have some coordinates all the same."""
    if known.all():
        return _two_dimensional(lat, lon)
    if not known.any():
        msg = f"None of the {lat.size} cells has a latitude and longitude; expected at least one."
        raise GridError(msg)
    lat, lon = (_filled(values, known) for values in (lat, lon))
    return _two_dimensional(lat, lon).assign(mask=(("y", "x"), known.astype(np.int32)))


def _filled(values: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    """Values of the nearest element that is known, where one is not."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)])


# ---------------------------------------------------------------------------------------------------------------------
# Cells
# ---------------------------------------------------------------------------------------------------------------------
def _cells(geometry: Geometry, *, source: bool) -> Described:
    if geometry.rectilinear is not None:
        return _rectilinear(geometry.rectilinear, cells=True)
    shape = geometry.shape
    corners = geometry.cells() if len(shape) == 2 else np.empty((0, 0, 3))
    if corners.shape[1] != 4:
        msg = f"xESMF needs cells of four corners in rows and columns; got {geometry}. Use engine='embedded'."
        raise GridError(msg)
    known = np.asarray(np.isfinite(corners).all(axis=(1, 2)))
    if source:
        known &= ~geometry.repeats()
    corners = np.where(known[:, None, None], corners, np.nan).reshape(*shape, 4, 3)
    known = known.reshape(shape)
    lat, lon = (values.reshape(shape) for values in geometry.centres())
    ds = _masked(lat, lon, known)
    nodes = shared_nodes(corners)
    if nodes is None:
        raise _gaps()
    nodes = _ending_at_poles(nodes)
    given = np.isfinite(nodes[..., 0])
    nodes = nodes if given.all() else np.stack([_filled(nodes[..., k], given) for k in range(3)], axis=-1)
    lat_b, lon_b = (
        np.rad2deg(np.arcsin(np.clip(nodes[..., 2], -1, 1))),
        np.rad2deg(np.arctan2(nodes[..., 1], nodes[..., 0])),
    )
    ds = ds.assign_coords(lat_b=(("y_b", "x_b"), lat_b), lon_b=(("y_b", "x_b"), lon_b))
    return Described(ds, np.arange(geometry.size))


def shared_nodes(corners: Vectors) -> Vectors | None:
    """Corners that cells in rows and columns share, whatever corner each cell begins with, and in either direction.

    Parameters
    ----------
    corners
        Unit vectors in order around each cell, shape (y, x, 4, 3); NaN where there is no cell.

    Returns
    -------
    ndarray or None
        Unit vectors, shape (y + 1, x + 1, 3), NaN where no cell ends; None where cells leave gaps or overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from xslams.geometry import unit_vectors
    >>> lon, lat = np.meshgrid([0.0, 10.0, 20.0], [0.0, 10.0, 20.0])
    >>> nodes = unit_vectors(lat, lon)
    >>> bool(np.allclose(shared_nodes(around(nodes)[:, :, [2, 1, 0, 3]]), nodes))
    True
    """
    for order in _ORDERS:
        nodes = _joined(corners[:, :, order])
        if nodes is not None:
            return nodes
    if min(corners.shape[:2]) < 2:
        return None
    # Each cell begins with a corner of its own: the order is the one that comes closest to the middles between cells.
    x, _ = padded(normalised(corners.mean(axis=2)), 1.0)
    between = around(normalised(x[:-1, :-1] + x[1:, :-1] + x[:-1, 1:] + x[1:, 1:]))
    likeness = np.stack([np.einsum("yxki,yxki->yx", corners[:, :, order], between) for order in _ORDERS])
    best = np.asarray(_ORDERS)[np.nan_to_num(likeness, nan=-np.inf).argmax(axis=0)]
    return _joined(np.take_along_axis(corners, best[..., None], axis=2))


def _joined(corners: Vectors) -> Vectors | None:
    """Mean of the corners at each node; None where they are not the same place."""
    height, width = corners.shape[:2]
    total, count = np.zeros((height + 1, width + 1, 3)), np.zeros((height + 1, width + 1, 1))
    known = np.isfinite(corners)
    values = np.where(known, corners, 0.0)
    for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 1), (1, 0))):
        total[i : height + i, j : width + j] += values[:, :, k]
        count[i : height + i, j : width + j] += known[:, :, k, :1]
    with np.errstate(invalid="ignore", divide="ignore"):
        nodes = total / count
    apart = length(around(nodes) - corners)
    return None if (apart[np.isfinite(apart)] > _SAME).any() else nodes


def _ending_at_poles(nodes: Vectors) -> Vectors:
    """Nodes of which those that lie beyond a pole are at it, where the edges of the outermost cells cross."""
    for turn in _SIDES:
        turned = turn(nodes)
        near, far = turned[1], turned[0]
        # Of cells whose edges cross, those in which the edges are the two that lead outwards.
        sides = np.cross(near, far)
        ways = np.stack([_side(sides[:-1], near[1:], far[1:]), _side(sides[1:], near[:-1], far[:-1])])
        wrong = crossed(around(turned[:2])[0]) & (ways < 0).all(axis=0)
        if not wrong.any():
            continue
        # The planes of both sides of a cell meet where its sides cross: at the pole, the same for all of them.
        meet = np.cross(sides[:-1], sides[1:])[wrong]
        towards = np.einsum("xi,xi->x", meet, (near[:-1] + near[1:])[wrong])
        pole = (meet * np.sign(towards)[:, None] / np.maximum(length(meet), 1e-300)[:, None]).sum(axis=0)
        if not length(pole) > 0:
            continue
        # Of a ring around the pole every cell ends there, also one that happens not to reach it.
        beyond = np.append(wrong, False) | np.append(False, wrong) | (wrong.mean() > 0.5)
        nodes = nodes.copy()
        turn(nodes)[0][beyond] = normalised(pole)
    return nodes


def _side(plane: Vectors, one: Vectors, other: Vectors) -> FloatArray:
    """Negative where a plane lies between two places, shapes (n, 3)."""
    return np.asarray(np.einsum("xi,xi->x", plane, one) * np.einsum("xi,xi->x", plane, other))


def _rectilinear(grid: Grid, *, cells: bool) -> Described:
    if cells and grid.wide:
        msg = f"A cell of {grid} spans half a circle or more. Divide its longitudes, or use engine='embedded'."
        raise GridError(msg)
    first = seam(grid.lon)
    columns = np.roll(np.arange(len(grid.lon)), -first)
    lon = np.unwrap(grid.lon[columns], period=360.0) if first else grid.lon
    ds = xr.Dataset(coords={"lat": ("lat", grid.lat), "lon": ("lon", lon)})
    if cells:
        lat_b, lon_b = _chain(grid.lat_intervals, grid.lat), _chain(grid.lon_intervals[columns], lon)
        ds = ds.assign_coords(lat_b=("lat_b", lat_b), lon_b=("lon_b", lon_b))
    index = (np.arange(len(grid.lat))[:, None] * len(grid.lon) + columns).ravel()
    # ESMF closes the circle by itself where the cells have edges.
    return Described(ds, index, periodic=grid.periodic and not cells)


def _chain(pairs: FloatArray, centres: FloatArray) -> FloatArray:
    """Edges of cells that touch, shape (n + 1,), in the order of the centres."""
    descending = len(centres) > 1 and pairs[0, 0] > pairs[1, 0]
    ordered = pairs[:, ::-1] if descending else pairs
    if not np.allclose(ordered[1:, 0], ordered[:-1, 1], atol=1e-6):
        raise _gaps()
    return np.append(ordered[:, 0], ordered[-1, 1])


def _gaps() -> GridError:
    return GridError("xESMF needs cells that touch; the bounds leave gaps or overlap. Use engine='embedded'.")

r"""Fewer values than were given: thinning, and means over boxes with the error that such a mean has.

Errors that average out and errors that do not are kept apart, see `xslams.likelihood.errors.ErrorModel.averaged`. For
`n` equal instruments at places of their own, with an error :math:`\sigma` each and a representativeness :math:`\rho`,
the mean has the error variance :math:`(\sigma^2 + \rho^2) / n`; for `n` reports of one instrument it is
:math:`\sigma^2 / n + \rho^2`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import xarray as xr

from xslams.errors import ObservationError
from xslams.geometry import Geometry
from xslams.labels.coordinates import coordinate
from xslams.labels.grid import grid_of_spec
from xslams.likelihood.errors import IntArray
from xslams.observations.audit import AuditedLikelihood
from xslams.spec import Spec
from xslams.sphere import EARTH_RADIUS
from xslams.typing import FloatArray, Method
from xslams.weights import point_weights

__all__ = [
    "average",
    "boxes",
    "combined",
    "model_cells",
    "positions",
    "reduced",
    "row_keys",
    "thinned",
    "within_cell",
]

# Variance between the points of a square, where the squared difference of two points grows with their distance to the
# power of 2/3, in units of half of that at the length of its side: the mean of that power over all pairs of points.
_WITHIN_SQUARE = 0.62929
_MESOSCALE = 2.0 / 3.0


def boxes(lat: FloatArray, lon: FloatArray, side: float) -> tuple[IntArray, FloatArray]:
    """Boxes of nearly equal area that hold the places, and the distance from their centres.

    Parameters
    ----------
    lat, lon
        Degrees, shape (n,).
    side
        Length of the sides in km.

    Returns
    -------
    tuple
        Number of the box, and the squared distance from its centre in units of its side, each of shape (n,).

    Examples
    --------
    >>> import numpy as np
    >>> box, _ = boxes(np.array([0.2, 0.3, 0.2]), np.array([359.9, -0.2, 20.0]), 500.0)
    >>> bool(box[0] == box[1]), bool(box[0] == box[2])
    (True, False)
    """
    rows = max(round(np.pi * EARTH_RADIUS / side), 1)
    y = (lat + 90.0) / 180.0 * rows
    row = np.clip(np.floor(y), 0, rows - 1).astype(np.intp)
    around = np.maximum(
        np.rint(2 * np.pi * EARTH_RADIUS / side * np.cos(np.pi * ((np.arange(rows) + 0.5) / rows - 0.5))), 1
    ).astype(np.intp)
    start = np.concatenate([[0], np.cumsum(around)])
    x = (lon % 360.0) / 360.0 * around[row]
    column = np.minimum(np.floor(x).astype(np.intp), around[row] - 1)
    return start[row] + column, (y - row - 0.5) ** 2 + (x - column - 0.5) ** 2


def thinned(key: IntArray, distance: FloatArray, sigma: FloatArray) -> npt.NDArray[np.bool_]:
    """Keep one value of each key: that of the smallest distance, then of the smallest error, then the first.

    Examples
    --------
    >>> import numpy as np
    >>> thinned(np.array([1, 1, 2]), np.array([0.2, 0.1, 0.3]), np.ones(3))
    array([False,  True,  True])
    """
    order = np.lexsort((np.arange(key.size), sigma, distance, key))
    first = np.ones(key.size, bool)
    first[1:] = key[order][1:] != key[order][:-1]
    keep = np.zeros(key.size, bool)
    keep[order[first]] = True
    return keep


def average(key: IntArray, variance: FloatArray) -> tuple[sp.csr_array, IntArray]:
    """Means over values of the same key, weighted by the inverse of their error variances.

    Parameters
    ----------
    key
        Group of each value, shape (n,).
    variance
        Error variances of each value, of what is independent in them, shape (n,).

    Returns
    -------
    tuple
        Matrix of shape (m, n) with rows that add up to one, in the order of the first value of each group; and the
        group of each value, 0 to m - 1.

    Examples
    --------
    >>> import numpy as np
    >>> average(np.array([7, 3, 7]), np.array([1.0, 1.0, 3.0]))[0].toarray()
    array([[0.75, 0.  , 0.25],
           [0.  , 1.  , 0.  ]])
    """
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(first.size, np.intp)
    rank[np.argsort(first)] = np.arange(first.size)
    group = rank[inverse]
    precision = 1.0 / variance
    weight = precision / np.bincount(group, precision)[group]
    return sp.csr_array((weight, (group, np.arange(key.size))), shape=(first.size, key.size)), group


def reduced(part: AuditedLikelihood) -> AuditedLikelihood:
    """Thin and average the values of a source where it has boxes for that.

    Parameters
    ----------
    part
        Likelihood and audit; returned as they are where there is nothing to do.

    Returns
    -------
    AuditedLikelihood
        Fewer values, with the errors and rows that means have.

    Examples
    --------
    >>> from xslams.likelihood import Boxes, ErrorModel, SourceLikelihood
    >>> from xslams.observations.audit import Audit
    >>> four = SourceLikelihood("a", sp.csr_array(np.eye(4)), np.arange(4.0), ErrorModel(np.ones(4)),
    ...                         boxes=Boxes(place=np.arange(4), mean=np.zeros(4, int)))
    >>> one = reduced(AuditedLikelihood(four, Audit(4, owned=np.ones(4, bool))))
    >>> one.likelihood.values, one.likelihood.errors.variance, one.likelihood.matrix.toarray(), one.audit.merged
    (array([1.5]), array([0.25]), array([[0.25, 0.25, 0.25, 0.25]]), array([4]))
    """
    if part.likelihood.boxes is None or not part.likelihood.size:
        return part
    thin, distance = part.likelihood.boxes.thin, part.likelihood.boxes.distance
    if thin is not None and distance is not None:
        part = part.keep(thinned(thin, distance, part.likelihood.errors.instrument), "thinned")
    likelihood, audit = part
    if likelihood.boxes is None or likelihood.boxes.mean is None:
        return AuditedLikelihood(replace(likelihood, boxes=None), audit)
    mean, member = average(likelihood.boxes.mean, likelihood.errors.instrument)
    averaged = replace(
        likelihood,
        matrix=sp.csr_array(mean @ likelihood.matrix),
        values=mean @ likelihood.values,
        errors=likelihood.errors.averaged(mean, member, likelihood.boxes.place),
        boxes=None,
    )
    return AuditedLikelihood(averaged, audit.averaged(member))


def positions(da: xr.DataArray, place: xr.DataArray) -> tuple[FloatArray, FloatArray]:
    """Latitude and longitude of every place, in the order of their numbers."""
    lat, lon = xr.broadcast(
        *(da[str(coordinate(da, kind))].reset_coords(drop=True) for kind in ("lat", "lon")),
    )
    order = np.argsort(place.values.ravel())
    first, second = (np.asarray(v.transpose(*place.dims).values, float).ravel()[order] for v in (lat, lon))
    return first, second


def model_cells(spec: Spec, lat: FloatArray, lon: FloatArray) -> IntArray:
    """Cell of the model that holds each place; a number of its own for places outside."""
    nearest = point_weights(grid_of_spec(spec), lat, lon, "nearest")
    cell = -1 - np.arange(lat.size)
    inside = np.diff(nearest.indptr) > 0
    cell[inside] = nearest.indices[nearest.indptr[:-1][inside]]
    return cell


def row_keys(w: sp.csr_array) -> IntArray:
    """Return a number for each row of weights of frames, the same for rows that are the same; 0 for empty ones."""
    filled = np.flatnonzero(np.diff(w.indptr) > 0)
    key = np.zeros(w.shape[0], np.intp)
    ends = np.stack([w.indices[w.indptr[filled]], w.indices[w.indptr[filled + 1] - 1], w.data[w.indptr[filled]]])
    key[filled] = np.unique(ends, axis=1, return_inverse=True)[1].ravel()
    return key


def combined(*parts: npt.NDArray[Any]) -> IntArray:
    """Return one number for each combination of values."""
    key = np.zeros(parts[0].shape, np.intp)
    for part in parts:
        number = np.unique(part, return_inverse=True)[1]
        key = np.unique(key * (int(number.max(initial=0)) + 1) + number, return_inverse=True)[1]
    return key


def within_cell(da: xr.DataArray, geometry: Geometry, method: Method) -> float:
    """Variance of values of the data's resolution within a cell of the model, in units of that one cell apart.

    Raises
    ------
    ObservationError
        If the model has no grid on the globe.
    """
    grid = geometry.rectilinear
    if grid is None:
        msg = (
            f"representativeness='auto' is known on grids of latitudes and longitudes; the model has {geometry}. Give "
            "its standard deviation."
        )
        raise ObservationError(msg)
    lat, lon = (da[str(coordinate(da, kind))] for kind in ("lat", "lon"))
    ratio = 0.0
    cell = _step(grid.lat) * _step(grid.lon)
    if lat.ndim == lon.ndim == 1 and lat.dims != lon.dims:
        ratio = (_step(lat.values) * _step(lon.values) / cell) ** 0.5
    elif lat.ndim == 2 and lon.dims == lat.dims:
        # Footprints of a swath: the area of the parallelogram between neighbours.
        south, east = np.gradient(lat.values), np.gradient(np.unwrap(lon.values, period=360.0))
        area = np.abs(south[0] * east[1] - south[1] * east[0])
        ratio = float(np.nanmedian(area) / cell) ** 0.5
    if method == "conservative" and ratio >= 1:
        return 0.0
    return float(_WITHIN_SQUARE * abs(1.0 - ratio**_MESOSCALE))


def _step(axis: FloatArray) -> float:
    """Typical distance between neighbours on an axis."""
    if axis.size < 2:
        return 0.0
    return float(np.median(np.abs(np.diff(np.unwrap(np.asarray(axis, float), period=360.0)))))

"""Edges of cells along one axis.

Cells are bounded by what the data say, else by the latitudes that make the quadrature of a Gaussian grid exact, else
half way to the neighbours.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xslams.typing import FloatArray

__all__ = ["cell_edges", "gaussian_edges", "is_periodic", "lat_intervals", "lon_intervals", "seam", "unwrapped"]


def cell_edges(centres: FloatArray, *, latitude: bool) -> FloatArray:
    """Edges of cells, shape (n + 1,), in the order of the centres.

    Parameters
    ----------
    centres
        Monotonic cell centres in degrees.
    latitude
        Whether these are latitudes, whose edges stop at the poles and which may be Gaussian.

    Returns
    -------
    ndarray
        Edges: those of a Gaussian grid where the latitudes are Gaussian, else half way to the neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> cell_edges(np.array([80.0, 60.0, 40.0]), latitude=True)
    array([90., 70., 50., 30.])
    """
    centres = np.asarray(centres, float)
    if latitude:
        gaussian = gaussian_edges(centres)
        if gaussian is not None:
            return gaussian
    if len(centres) == 1:
        # Nothing says how wide a single cell is; one degree is narrow on any grid that a model has.
        edges = centres[0] + np.array([-0.5, 0.5])
    else:
        middle = 0.5 * (centres[1:] + centres[:-1])
        edges = np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
    if latitude:
        edges = np.clip(edges, -90.0, 90.0)
        for end, nxt in ((0, 1), (-1, -2)) if len(centres) > 1 else ():
            # Rows that widen towards the pole leave half a step past the last a little short of it.
            if 90.0 - abs(edges[end]) < 0.35 * abs(edges[end] - edges[nxt]):
                edges[end] = np.copysign(90.0, edges[end])
    return np.asarray(edges)


@lru_cache(maxsize=32)
def _gaussian(n: int) -> tuple[FloatArray, FloatArray]:
    """Latitudes of a Gaussian grid and the edges of its cells, ascending."""
    from scipy.special import roots_legendre

    x, w = roots_legendre(n)
    # The rows' areas are the weights of the quadrature, so that sums over cells are exact where the quadrature is.
    edges = np.concatenate([[-1.0], np.cumsum(w) - 1.0])
    # Rounding must not leave the poles or the equator.
    edges = 0.5 * (edges - edges[::-1])
    edges[[0, -1]] = -1.0, 1.0
    return np.rad2deg(np.arcsin(x)), np.rad2deg(np.arcsin(edges))


def gaussian_edges(lat: FloatArray) -> FloatArray | None:
    """Edges of the cells of Gaussian latitudes, or of a contiguous part of them; None where they are not Gaussian.

    A row's share of the sphere is its weight in the Gauss-Legendre quadrature.

    Parameters
    ----------
    lat
        Latitudes in degrees, ascending or descending, shape (n,).

    Returns
    -------
    ndarray or None
        Edges, shape (n + 1,), in the order of `lat`.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian_edges(np.rad2deg(np.arcsin([0.5773502692, -0.5773502692])))
    array([ 90.,   0., -90.])
    >>> gaussian_edges(np.array([30.0, 0.0, -30.0])) is None
    True
    """
    lat = np.asarray(lat, float)
    if len(lat) < 2 or not np.isfinite(lat).all():
        return None
    steps = np.abs(np.diff(lat))
    if steps.min() <= 0:
        return None
    # Two points of a few latitudes prove nothing: a part of a grid must show how its steps change.
    whole = abs(lat[0] + lat[-1]) < 1e-2 * steps[0] and 90.0 - abs(lat[0]) < steps[0]
    if not whole and (len(lat) < 8 or np.ptp(steps) < 1e-7 * steps[0]):
        return None
    ascending = lat if lat[-1] > lat[0] else lat[::-1]
    estimate = round(180.0 / float(np.median(steps)) - 0.5)
    for n in [len(lat)] if whole else [m for m in range(estimate - 2, estimate + 3) if m >= len(lat)]:
        if n > 8000:
            continue
        rows, edges = _gaussian(n)
        start = int(np.abs(rows - ascending[0]).argmin())
        part = rows[start : start + len(lat)]
        # Evenly spaced latitudes are off by a hundredth of a step; published tables are rounded to 1e-3 degrees.
        if len(part) == len(lat) and np.abs(part - ascending).max() <= max(2e-3 * steps.min(), 1e-5):
            found = edges[start : start + len(lat) + 1]
            return found if lat[-1] > lat[0] else found[::-1]
    return None


def seam(values: FloatArray, period: float = 360.0) -> int:
    """Column at which a region begins, whose columns are in the order of their longitudes in some convention.

    A region that crosses the date line, or the meridian of 0 degrees, lies in two parts of an array that is sorted from
    -180 to 180, or from 0 to 360.

    Parameters
    ----------
    values
        Longitudes, shape (n,).
    period
        Length of the circle.

    Returns
    -------
    int
        Number of columns that belong behind the others; 0 where the array is one part, or in no order.

    Examples
    --------
    >>> import numpy as np
    >>> seam(np.array([-180.0, -170.0, 160.0, 170.0])), seam(np.array([160.0, 170.0, 180.0, -170.0]))
    (2, 0)
    """
    values = np.asarray(values, float)
    # Any three places are in order around a circle; those that are cut at a seam are also sorted by their numbers.
    ascending = np.diff(values) > 0
    if len(values) < 3 or not np.isfinite(values).all() or ascending.any() != ascending.all():
        return 0
    around = np.roll(values, -1) - values
    # From each column to the next, and from the last to the first: once round the circle, eastwards or westwards.
    steps = next((s for s in (around % period, -around % period) if abs(s.sum() - period) < 1e-6 * period), None)
    if steps is None:
        return 0
    widest = int(steps[:-1].argmax())
    if steps[widest] > 0.5 * period:
        return widest + 1
    # A region of more than half a circle: what lies outside of it is far wider than the steps on both sides.
    beside = max(steps[widest - 1], steps[widest + 1])
    closes = steps[-1] <= 1.5 * max(steps[0], steps[-2])
    return widest + 1 if closes and steps[widest] > 3.0 * beside else 0


def unwrapped(values: FloatArray, period: float = 360.0) -> FloatArray:
    """Longitudes of neighbouring columns without a jump by whole circles, in the order of the array, shape (n,).

    Examples
    --------
    >>> import numpy as np
    >>> unwrapped(np.array([-180.0, -170.0, 160.0, 170.0]))
    array([180., 190., 160., 170.])
    """
    first = seam(values, period)
    return np.roll(np.unwrap(np.roll(np.asarray(values, float), -first), period=period), first)


def is_periodic(values: FloatArray, period: float = 360.0) -> bool:
    """Whether evenly spaced longitudes, or the sites of another periodic axis, close the circle.

    Examples
    --------
    >>> import numpy as np
    >>> is_periodic(np.arange(0, 360, 2.5)), is_periodic(np.arange(200, 332.5, 2.5))
    (True, False)
    """
    values = np.asarray(values, float)
    if len(values) < 3:
        return False
    step = np.abs(np.diff(np.unwrap(np.roll(values, -seam(values, period)), period=period)))
    return bool(abs(step.sum() + np.median(step) - period) < 0.5 * np.median(step))


def lat_intervals(lat: FloatArray, bounds: FloatArray | None = None) -> FloatArray:
    """Southern and northern edge of every row of cells in degrees, shape (lat, 2)."""
    if bounds is not None:
        return np.sort(np.clip(bounds, -90.0, 90.0), axis=1)
    return _intervals(cell_edges(lat, latitude=True))


def lon_intervals(
    lon: FloatArray, bounds: FloatArray | None = None, *, closed: bool = False, period: float | None = 360.0
) -> FloatArray:
    """Lower and upper edge of every cell along an axis that may be periodic, without a jump by whole periods.

    Parameters
    ----------
    lon
        Centres, shape (n,): longitudes, or positions on another axis.
    bounds
        Edges, shape (n, 2), where they are known.
    closed
        Whether the cells close the circle.
    period
        Length of the circle; None for an axis that has ends.

    Returns
    -------
    ndarray
        Shape (n, 2).
    """
    if bounds is not None:
        return np.asarray(bounds)
    begin = 0 if period is None else seam(lon, period)
    ordered = lon if period is None else np.unwrap(np.roll(lon, -begin), period=period)
    pairs = np.roll(_intervals(cell_edges(ordered, latitude=False)), begin, axis=0)
    if closed and period is not None:
        # Uneven spacing must not leave a gap or an overlap where the circle closes.
        first, last = pairs[:, 0].argmin(), pairs[:, 1].argmax()
        pairs[last, 1] = pairs[first, 0] + period
    return pairs


def _intervals(edges: FloatArray) -> FloatArray:
    return np.sort(np.stack([edges[:-1], edges[1:]], axis=1), axis=1)

"""Cells of a curvilinear grid that repeat others: halos of columns and rows, and rows that a grid is folded along.

Models of the ocean store the columns where a grid closes twice, and a row or two beyond the fold between its northern
poles. A cell is at the same place as another where their centres are, to within a thousandth of a step; those of a row
at a pole share one centre, but not with cells of other rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from xslams.geometry.sphere import Vectors, length

__all__ = ["once", "without_halo"]

_Indices = npt.NDArray[np.intp]
# Rows beyond a fold.
_FOLD = 4


def once(x: Vectors) -> _Indices:
    """Cell that each cell repeats, or its own where it repeats none.

    Parameters
    ----------
    x
        Unit vectors of the centres, shape (y, x, 3); NaN where unknown.

    Returns
    -------
    ndarray
        Positions in the flattened grid, shape (y, x).

    Examples
    --------
    >>> import numpy as np
    >>> from xslams.geometry.sphere import unit_vectors
    >>> lon, lat = np.meshgrid(np.arange(0.0, 361.0, 90.0), [0.0, 10.0])
    >>> once(unit_vectors(lat, lon))
    array([[0, 1, 2, 3, 0],
           [5, 6, 7, 8, 5]])
    """
    index = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2])
    rows, columns = without_halo(x)
    core, inner = x[:rows, :columns], index[:rows, :columns]
    for cells, others in _folds(core):
        inner[cells] = inner[others]
    for cells, others in _folds(np.swapaxes(core, 0, 1)):
        inner.T[cells] = inner.T[others]
    index[rows:, :columns] = inner[: x.shape[0] - rows]
    index[:, columns:] = index[:, : x.shape[1] - columns]
    return index


def without_halo(x: Vectors) -> tuple[int, int]:
    """Count the rows and the columns that come before a grid repeats itself."""
    step = _step(x)
    return _before_repeats(np.swapaxes(x, 0, 1), step), _before_repeats(x, step)


def _step(x: Vectors) -> float:
    """Distance of centres that is typical along the closer of both axes."""
    some = [slice(None, None, max(1, n // 50)) for n in x.shape[:2]]
    steps = [length(np.diff(part, axis=axis)) for axis, part in ((0, x[:, some[1]]), (1, x[some[0]]))]
    known = [s[np.isfinite(s) & (s > 1e-12)] for s in steps]
    return min((float(np.median(s)) for s in known if s.size), default=0.0)


def _same(a: Vectors, b: Vectors, step: float) -> bool:
    """Whether places are the same, as far as both are known."""
    away = length(a - b)
    known = np.isfinite(away)
    return bool(known.any()) and bool((away[known] <= 1e-3 * step).all())


def _before_repeats(x: Vectors, step: float) -> int:
    count: int = x.shape[1]
    known = np.flatnonzero(np.isfinite(x[:, 0, 0]))
    if not known.size:
        return count
    # Few columns have anything at the place of one cell of the first; NaN may be there too.
    row = x[known[len(known) // 2]]
    for start in 2 + np.flatnonzero(~(length(row[2:] - row[0]) > 1e-3 * step)).astype(int):
        if _same(x[:, start], x[:, 0], step) and _same(x[:, start:], x[:, : count - start], step):
            # A swath that stands still, or goes back and forth, comes to the same places within itself.
            within = (_same(x[:, k], x[:, k + n], step) for n in (1, 2) for k in range(start - n))
            return count if any(within) else int(start)
    return count


def _folds(x: Vectors) -> Iterator[tuple[tuple[_Indices, _Indices], tuple[_Indices, _Indices]]]:
    """Cells beyond a fold at the first or last row, and the cells that they repeat, as rows and columns."""
    (height, width), step = x.shape[:2], _step(x)
    along = np.arange(width)
    for end, inwards in ((0, 1), (height - 1, -1)) if width > 3 else ():
        for away in range(1, min(_FOLD, height - 1) + 1):
            mirrored = _mirrored(x[end], x[end + inwards * away], step)
            if mirrored is None:
                continue
            for k in range(away // 2 + 1):
                one, other = end + inwards * k, end + inwards * (away - k)
                # The row of the fold itself repeats one half of it.
                beyond = along[mirrored < along] if one == other else along
                yield (np.full(beyond.size, one), beyond), (np.full(beyond.size, other), mirrored[beyond])
            break


def _mirrored(row: Vectors, other: Vectors, step: float) -> _Indices | None:
    """Columns of another row at which the places of a row are, in the opposite direction; None where they are not."""
    known = np.flatnonzero(np.isfinite(row[:, 0]))
    if not known.size:
        return None
    away = np.nan_to_num(length(other - row[known[0]]), nan=np.inf)
    if away.min() > 1e-3 * step:
        return None
    found = (known[0] + int(away.argmin()) - np.arange(len(row))) % len(row)
    return found if _same(row, other[found], step) else None

"""The part of a source that some frames can see, so that a task does not carry the observations of other years."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xslams.coordinates import coordinate, hours

if TYPE_CHECKING:
    from xslams.observations.source import Observation

__all__ = ["around"]

# What is kept on either side beyond what can be seen, in steps of the frames and of the source: whether a source is one
# of months is told from several of its stamps.
_STEPS, _SPACINGS = 3, 3
_PERIOD = re.compile(r"(\d+)-(\d+)-(\d+)(?:[ T](\d+):(\d+))?")


def around(source: Observation, frames: xr.DataArray, step: float) -> Observation:
    """Restrict a source to the neighbourhood of some frames, in which its likelihood is the same.

    Parameters
    ----------
    source
        Observations. Lazy data stay lazy.
    frames
        Ascending times of the frames, shape (time,).
    step
        Hours between frames.

    Returns
    -------
    Observation
        The source itself where its times have not one dimension of their own, or cannot be understood.
    """
    data = source.data
    at = coordinate(data, "time")
    if at is None or data[at].ndim != 1 or data[at].size < 2:
        return source
    stamps, own, reach = data[at], hours(data[at]), hours(frames)
    dim = stamps.dims[0]
    pad = _STEPS * step + _SPACINGS * float(np.median(np.diff(np.sort(own)))) + _longest_average(data, at)
    pad += 0.0 if source.tolerance is None else float(source.tolerance)
    keep = np.flatnonzero((own >= reach[0] - pad) & (own <= reach[-1] + pad))
    if keep.size == own.size:
        return source
    # A slice of what is lazy costs less than a list of positions.
    if keep.size and keep[-1] - keep[0] + 1 == keep.size:
        part: slice | np.ndarray = slice(int(keep[0]), int(keep[-1]) + 1)
    else:
        part = keep
    changes = {"data": data.isel({dim: part})}
    error = source.error
    if isinstance(error, xr.DataArray | xr.Dataset) and error.sizes.get(dim) == own.size:
        changes["error"] = error.isel({dim: part})
    return source.replace(**changes)


def _longest_average(data: xr.DataArray | xr.Dataset, at: str) -> float:
    """Hours of the longest period that a value may be the average of, as its attributes and bounds say."""
    stamps = data[at]
    variables = list(data.data_vars.values()) if isinstance(data, xr.Dataset) else [data]
    longest = 0.0
    for text in (v.attrs.get(key) for v in (stamps, *variables) for key in ("avg_period", "delta_t")):
        found = _PERIOD.match(str(text)) if text is not None else None
        if found is not None:
            years, months, days, hour, minute = (int(g or 0) for g in found.groups())
            longest = max(longest, 24.0 * (366 * years + 31 * months + days) + hour + minute / 60.0)
    name = stamps.attrs.get("bounds", stamps.encoding.get("bounds"))
    if isinstance(data, xr.Dataset) and name in data.variables:
        bounds = data[name]
        if bounds.ndim == 2 and np.issubdtype(bounds.dtype, np.datetime64) and bounds.size:
            edges = hours(xr.DataArray(bounds.values.ravel(), dims="edge")).reshape(bounds.shape)
            longest = max(longest, float(np.abs(edges - hours(stamps)[:, None]).max()))
    return longest

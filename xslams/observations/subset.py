"""The part of a source that some frames can see, so that a task does not carry the observations of other years."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.labels.calendar import calendar_of, hours
from xslams.labels.coordinates import coordinate, is_time
from xslams.observations.reading import read
from xslams.observations.temporal import averaging_period, bounds_of, is_sum, match_times, period_lengths

if TYPE_CHECKING:
    import scipy.sparse as sp

    from xslams.observations.observation import Observation

__all__ = ["around"]

# What is kept on either side beyond what can be seen, in steps of the frames and of the source: whether a source is one
# of months is told from several of its stamps.
_STEPS, _SPACINGS = 3, 3
# Quality control that may be given per value.
_ARRAYS = ("bias", "bias_error", "representativeness")


def around(source: Observation, frames: xr.DataArray, step: float) -> Observation:
    """Restrict a source to the neighbourhood of some frames, in which its likelihood is the same.

    What a stamp stands for may depend on the stamps around it. So what is kept is matched with the frames once more,
    and where it is another match than that of all stamps, nothing is left out.

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
    data = read(source.data, source.name)
    at = coordinate(data, "time")
    if at is None or data[at].ndim != 1 or data[at].size < 2:
        return source
    stamps = data[at]
    if bool(stamps.isnull().any()) or calendar_of(stamps) != calendar_of(frames):
        return source
    own, reach, dim = hours(stamps), hours(frames), stamps.dims[0]
    pad = _STEPS * step + _SPACINGS * float(np.median(np.diff(np.sort(own)))) + _longest_average(data, at)
    pad += 0.0 if source.tolerance is None else float(source.tolerance)
    keep = np.flatnonzero((own >= reach[0] - pad) & (own <= reach[-1] + pad))
    if keep.size == own.size:
        return source
    # A slice of what is lazy costs less than a list of positions.
    run = keep.size and keep[-1] - keep[0] + 1 == keep.size
    part: slice | npt.NDArray[np.intp] = slice(int(keep[0]), int(keep[-1]) + 1) if run else keep
    near = data.isel({dim: part})
    if not _same(data, near, at, keep, frames, step, source.tolerance):
        return source

    def cut(value: Any) -> Any:
        """Restrict what goes with the data by position; what has labels finds its place by them."""
        if isinstance(value, xr.DataArray | xr.Dataset):
            labelled = dim in value.indexes and dim in data.indexes
            same = value.sizes.get(dim) == own.size and (not labelled or value.indexes[dim].equals(data.indexes[dim]))
            return value.isel({dim: part}) if same else value
        return {k: cut(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    quality = replace(source.qc, **{n: cut(getattr(source.qc, n)) for n in _ARRAYS})
    return source.replace(data=near, error=cut(source.error), qc=quality)


def _same(
    data: xr.Dataset,
    near: xr.Dataset,
    at: str,
    keep: npt.NDArray[np.intp],
    frames: xr.DataArray,
    step: float,
    tolerance: float | None,
) -> bool:
    """Whether stamps that are kept match the frames as they do among all stamps, and no others match any."""
    if not keep.size:
        return not _matched(data, at, {}, frames, step, tolerance).nnz
    variables = [v for v in data.data_vars.values() if at in v.coords]
    seen = {tuple(str(v.attrs.get(k)) for k in ("cell_methods", "avg_period")): v.attrs for v in variables}
    for attrs in seen.values():
        whole, part = (_matched(ds, at, attrs, frames, step, tolerance) for ds in (data, near))
        here = whole[keep]
        if here.nnz != whole.nnz or part.shape != here.shape or abs(here - part).max() > 0:
            return False
        if is_sum(attrs):
            sums = [period_lengths(ds[at], attrs, bounds_of(ds, ds[at])) for ds in (data, near)]
            if sums[0] is not None and (sums[1] is None or not np.array_equal(sums[0].ravel()[keep], sums[1].ravel())):
                return False
    return True


def _matched(
    ds: xr.Dataset, at: str, attrs: Mapping[Any, Any], frames: xr.DataArray, step: float, tolerance: float | None
) -> sp.csr_array:
    return match_times(ds[at], frames, step, tolerance=tolerance, attrs=attrs, bounds=bounds_of(ds, ds[at])).weights


def _longest_average(data: xr.Dataset, at: str) -> float:
    """Hours of the longest period that a value may be the average of, as its attributes and bounds say."""
    stamps = data[at]
    longest = 0.0
    for text in (v.attrs.get(key) for v in (stamps, *data.data_vars.values()) for key in ("avg_period", "delta_t")):
        period = averaging_period(text)
        if period is not None:
            longest = max(longest, 24.0 * 31 * period[0] + period[1])
    bounds = bounds_of(data, stamps)
    if bounds is not None and bounds.ndim == 2 and is_time(bounds) and bounds.size:
        edges = hours(xr.DataArray(bounds.values.ravel(), dims="edge")).reshape(bounds.shape)
        longest = max(longest, float(np.abs(edges - hours(stamps)[:, None]).max()))
    return longest

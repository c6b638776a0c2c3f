"""Frames of training, in memory, or read part by part where they are lazy and large; and a first look at values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xslams.pipeline.drift import YearlyMeans
from xslams.spec import Spec
from xslams.typing import FloatArray

__all__ = ["LazyFrames", "Survey", "filled_frames", "frames_of", "survey", "whole_frames"]

# Bytes of a block that is looked at; chunks up to some of these are read as a whole and kept until the next is asked
# for, so that a chunk of many frames is not read again for each block of them.
_BLOCK, _CHUNKS = 64 * 2**20, 4


class LazyFrames:
    """Frames that are read when they become an array.

    Parameters
    ----------
    fields
        Dimensions (time, channel, lat, lon), chunked.
    first
        First of the frames that are meant.
    last
        Frame after the last; all by default.
    completed
        What is done to frames that are read.
    """

    def __init__(
        self,
        fields: xr.DataArray,
        first: int = 0,
        last: int | None = None,
        completed: Callable[[FloatArray], FloatArray] = lambda frames: frames,
    ) -> None:
        self._fields, self._first, self._completed = fields, first, completed
        self._last = fields.sizes["time"] if last is None else last
        # One for all parts of the same fields: first frame, and values.
        self._kept: list[tuple[int, FloatArray]] = []

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (T, channel, lat, lon)."""
        return (len(self), *self._fields.shape[1:])

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._last - self._first

    def __getitem__(self, part: slice, /) -> LazyFrames:
        """Return consecutive frames; nothing is read."""
        start, stop, _ = part.indices(len(self))
        found = LazyFrames(self._fields, self._first + start, self._first + max(start, stop), self._completed)
        found._kept = self._kept
        return found

    def completed(self, by: Callable[[FloatArray], FloatArray]) -> LazyFrames:
        """Return the same frames, to each of which something is done as it is read."""
        return LazyFrames(self._fields, self._first, self._last, by)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read the values, in single precision unless another type is asked for."""
        values: npt.NDArray[Any] = self._read().astype(np.float32 if dtype is None else dtype)
        return values

    def _read(self) -> FloatArray:
        if self._kept:
            first, values = self._kept[0]
            if first <= self._first and self._last <= first + len(values):
                return values[self._first - first : self._last - first]
        edges = np.cumsum([0, *self._fields.chunksizes["time"]])
        first = int(edges[np.searchsorted(edges, self._first, side="right") - 1])
        last = int(edges[np.searchsorted(edges, self._last)])
        frame = 4 * math.prod(self._fields.shape[1:])
        if (last - first) * frame > max(_CHUNKS * _BLOCK, len(self) * frame):
            first, last = self._first, self._last
        self._kept.clear()
        values = self._completed(np.asarray(self._fields.isel(time=slice(first, last)), np.float32))
        self._kept.append((first, values))
        return values[self._first - first : self._last - first]


def whole_frames(ds: xr.Dataset, time: str) -> xr.Dataset:
    """Join chunks that split a frame; those of time become so short that a chunk of whole frames is no larger.

    Parameters
    ----------
    ds
        Any Dataset.
    time
        Its dimension of time.
    """
    joined = {}
    for name, da in ds.data_vars.items():
        split = [d for d, sizes in da.chunksizes.items() if d != time and len(sizes) > 1]
        if split and time in da.dims:
            frame = 4 * da.size // da.sizes[time]
            most = min(max(_BLOCK // frame, 1), max(da.chunksizes[time]))
            joined[name] = da.chunk(dict.fromkeys(split, -1) | {time: most})
    return ds.assign(joined)


def frames_of(fields: xr.DataArray, limit: float) -> FloatArray | LazyFrames:
    """Return frames as an array, or as what becomes one part by part where they are lazy and larger than a limit.

    Parameters
    ----------
    fields
        Dimensions (time, channel, lat, lon).
    limit
        In bytes of single precision.
    """
    if fields.chunks is not None and 4 * fields.size > limit:
        return LazyFrames(fields)
    return np.asarray(fields, np.float32)


@dataclass
class Survey:
    """Counts and moments of the values of a variable.

    Attributes
    ----------
    count, missing, infinite
        Numbers of finite, missing and infinite values.
    least, most
        Smallest and largest finite value.
    std
        Standard deviation of the finite values.
    ever, always
        Which elements of a frame are finite in some frame, and in all.
    lowest, highest
        Smallest and largest value of each element, NaN where it has none.
    """

    count: int = 0
    missing: int = 0
    infinite: int = 0
    least: float = math.inf
    most: float = -math.inf
    mean: float = 0.0
    square: float = 0.0
    ever: npt.NDArray[np.bool_] = field(default_factory=lambda: np.array(False))
    always: npt.NDArray[np.bool_] = field(default_factory=lambda: np.array(True))
    lowest: FloatArray = field(default_factory=lambda: np.array(np.nan))
    highest: FloatArray = field(default_factory=lambda: np.array(np.nan))

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.square / max(self.count, 1))

    def add(self, values: FloatArray) -> None:
        """Take more values into account, of which the first axis is that of frames."""
        if not len(values):
            return
        finite = np.isfinite(values)
        self.ever, self.always = self.ever | finite.any(0), self.always & finite.all(0)
        self.lowest = np.fmin(self.lowest, np.fmin.reduce(values, axis=0))
        self.highest = np.fmax(self.highest, np.fmax.reduce(values, axis=0))
        known = values[finite]
        missing = int(np.isnan(values).sum())
        self.missing, self.infinite = self.missing + missing, self.infinite + values.size - known.size - missing
        if not known.size:
            return
        self.least, self.most = min(self.least, float(known.min())), max(self.most, float(known.max()))
        mean = float(known.mean(dtype=np.float64))
        square = float(np.square(known - mean, dtype=np.float64).sum())
        # Moments of two parts together, without the difference of large numbers.
        total, away = self.count + known.size, mean - self.mean
        self.square += square + away**2 * self.count * known.size / total
        self.mean += away * known.size / total
        self.count = total


def filled_frames(frames: FloatArray | LazyFrames, spec: Spec) -> FloatArray | LazyFrames:
    """Return frames whose cells that never have a value have that of the nearest one, see `Spec.filled`."""
    if spec.masked is None:
        return frames
    return frames.completed(spec.filled) if isinstance(frames, LazyFrames) else spec.filled(frames)


def survey(frames: FloatArray | LazyFrames, spec: Spec, years: YearlyMeans | None = None) -> dict[str, Survey]:
    """Look at all values of each variable once, block by block.

    Parameters
    ----------
    frames
        A stretch of frames, shape (T, channel, lat, lon).
    spec
        Its variables.
    years
        What else looks at them.
    """
    found = {v.name: Survey() for v in spec.variables}
    length = max(_BLOCK // (4 * math.prod(frames.shape[1:])), 1)
    for first in range(0, len(frames), length):
        values = np.asarray(frames[first : first + length])
        if years is not None:
            years.add(first, values)
        for name, own in found.items():
            own.add(values[:, spec.channel_slice(name)])
    return found

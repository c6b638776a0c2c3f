"""Analysis windows: the stretches of the time axis that the prior sees as one trajectory each.

Each window has a core of `CORE` frames, counted from the first time of the Dataset, and an overlap on either side that
is computed and thrown away. Where the windows lie depends only on the length of the time axis, so that the result does
not depend on chunks or workers. No window crosses a gap in the time axis.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from xslams.labels.calendar import frame_numbers
from xslams.spec import Spec
from xslams.typing import FloatArray

__all__ = ["CORE", "AnalysisWindow", "analysis_windows", "contiguous", "cut"]

#: Frames in the core of an analysis window.
CORE = 30
# Of a small system a frame costs little, and what is far away in time matters.
_SMALL, _LONG_CORE, _LONG_OVERLAP = 1024, 256, 32
# A rest shorter than this joins the window before it: a trajectory of a few frames costs nearly as much as a full one.
_REST = 10


@dataclass(frozen=True)
class AnalysisWindow:
    """A stretch of the time axis: frames `start` to `stop` are computed, `first` to `last` are kept."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def kept(self) -> slice:
        """Frames to keep, counted from `start`."""
        return slice(self.first - self.start, self.last - self.start)


def analysis_windows(frames: int, overlap: int, core: int | None = None) -> list[AnalysisWindow]:
    """Cut a time axis.

    Parameters
    ----------
    frames
        Length of the axis.
    overlap
        Frames to add on either side, where there are any.
    core
        Frames to keep of each window, `CORE` by default; the last window takes a short rest as well.

    Returns
    -------
    list of AnalysisWindow
        Their cores follow each other without gap or overlap.

    Examples
    --------
    >>> [(s.start, s.first, s.last, s.stop) for s in analysis_windows(75, overlap=4)]
    [(0, 0, 30, 34), (26, 30, 60, 64), (56, 60, 75, 75)]
    >>> len(analysis_windows(40, overlap=4))
    1
    """
    core = CORE if core is None else core
    starts = [s for s in range(0, frames, core) if s == 0 or frames - s > _REST]
    ends = [*starts[1:], frames]
    cores = zip(starts, ends, strict=True)
    return [AnalysisWindow(max(a - overlap, 0), min(b + overlap, frames), a, b) for a, b in cores]


def cut(time: xr.DataArray, spec: Spec, overlap: int | Literal["auto"] = "auto") -> list[AnalysisWindow]:
    """Analysis windows of each stretch between gaps; a trajectory does not cross one.

    Parameters
    ----------
    time
        Ascending times of the frames, shape (time,).
    spec
        Specification of the model, which gives the time step.
    overlap
        Frames to add on either side of a window; "auto" is one window of the score network less one, and more for a
        small system, whose analysis windows are longer too.
    """
    small = spec.flat and math.prod(spec.frame_shape) <= _SMALL
    core = _LONG_CORE if small else CORE
    if overlap == "auto":
        overlap = _LONG_OVERLAP if small else spec.window - 1
    return [
        AnalysisWindow(w.start + run.start, w.stop + run.start, w.first + run.start, w.last + run.start)
        for run in contiguous(frame_numbers(time, spec))
        for w in analysis_windows(run.stop - run.start, overlap, core)
    ]


def contiguous(numbers: FloatArray) -> list[slice]:
    """Stretches of a time axis without gaps.

    Parameters
    ----------
    numbers
        Ascending times, counted in frames, see `xslams.labels.calendar.frame_numbers`; shape (time,).

    Examples
    --------
    >>> contiguous(np.array([0.0, 1.0, 3.0]))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    edges = [0, *(np.flatnonzero(np.diff(numbers) > 1.001) + 1).tolist(), numbers.size]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]

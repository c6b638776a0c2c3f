"""Time and memory: of a clock, of the processor, of this process, of a function in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

__all__ = ["Stopwatch", "Times", "alone", "least", "peak_memory"]

STATUS = Path("/proc/self/status")

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


class Times(NamedTuple):
    """Seconds of a clock, and of the processor: all threads of the process together."""

    clock: float
    cpu: float

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """Both for a table, the processor in brackets; `scale` is the number of units in a second."""
        return f"{self.clock * scale:.{digits}f} ({self.cpu * scale:.{digits}f})"


class Stopwatch:
    """Time since it was made.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> watch.read().clock < 60
    True
    """

    def __init__(self) -> None:
        self._start = Times(time.perf_counter(), time.process_time())

    def read(self) -> Times:
        """Return the time since the start."""
        return Times(time.perf_counter() - self._start.clock, time.process_time() - self._start.cpu)


def least(call: Callable[[], object], repeats: int) -> Times:
    """Return the least times of some calls, which others on the machine have disturbed the least."""
    spent = []
    for _ in range(repeats):
        watch = Stopwatch()
        call()
        spent.append(watch.read())
    return Times(min(t.clock for t in spent), min(t.cpu for t in spent))


def peak_memory() -> float:
    """Return the largest memory that this process has held so far, libraries included, in bytes."""
    # What Linux calls the maximum of the resident set in `getrusage` is passed on to processes that are started.
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def alone(function: Callable[_P, _Result], *args: _P.args, **kwargs: _P.kwargs) -> _Result:
    """Call a function of a module in a process of its own, so that the peak of its memory is its own.

    The process is a fresh one and no fork: a process that has computed with torch should not be forked.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args, kwargs)

"""Progress of what takes its time: shown where a person waits for it, unless it is asked for or declined.

A person waits where the main thread of the main process has a terminal for its messages, or is the kernel of a
notebook. Nobody looks at batch jobs, pipes, and the tasks of dask, which run in other threads and processes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from xslams.arguments import require

__all__ = ["Progress", "current", "pace", "require_progress", "shown", "wanted"]

# Seconds between two states of a bar where what it writes stays, each on a line of its own in the end.
_SELDOM = 10.0


def require_progress(progress: object) -> None:
    """Raise `OptionError` unless this is True, False, or None for showing progress where a person waits."""
    require(progress is None or isinstance(progress, bool), "progress", progress, "True, False, or None")


def wanted(progress: bool | None) -> bool:
    """Whether to show progress.

    Parameters
    ----------
    progress
        As a user asks for it; None stands for where a person waits. The environment variable ``TQDM_DISABLE`` of the
        library that draws it then switches it off.

    Examples
    --------
    >>> wanted(True), wanted(False)
    (True, False)
    """
    if progress is not None:
        return progress
    if os.environ.get("TQDM_DISABLE", "0") not in ("", "0"):
        return False
    first = threading.current_thread() is threading.main_thread() and multiprocessing.parent_process() is None
    return first and _is_seen()


def pace() -> dict[str, float]:
    """Return how often tqdm shall draw: as it does by itself where a person looks, and seldom into files and pipes.

    A terminal shows the last state alone. A file keeps all of them.
    """
    return {} if _is_seen() else {"mininterval": _SELDOM, "maxinterval": 2 * _SELDOM}


def _is_seen() -> bool:
    return _is_terminal(sys.stderr) or _is_kernel()


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is none, as under pythonw, or it is closed
        return False


def _is_kernel() -> bool:
    # Where it is not imported, nobody runs in it.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return shell is not None and hasattr(shell(), "kernel")


class Progress:
    """A bar of frames done, with the network calls of all members so far and the time left; threads may share it.

    Parameters
    ----------
    bar
        What is drawn; its total is the number of frames.
    parts
        Number of equal parts that a run has, such as regions of a store; None: each says how many frames it has.
    done
        Parts that were there before.
    """

    def __init__(self, bar: Any, parts: int | None = None, done: int = 0) -> None:
        self._bar, self._parts, self._done = bar, parts, done
        # Frames computed, of what may not be complete.
        self._frames = bar.total * done / parts if parts else 0.0
        self._calls, self._lock = 0, threading.Lock()
        self._show()

    def window(self, frames: int, calls: int) -> Callable[[int], None]:
        """Begin a window, and return what is called with the number of members after each call of the network.

        Parameters
        ----------
        frames
            Frames of the window.
        calls
            Calls that are expected, of all members together.
        """
        whole = self._bar.total / self._parts if self._parts else float(frames)
        left = whole

        def called(members: int) -> None:
            nonlocal left
            with self._lock:
                # Members are drawn again where memory ran out, and a sampler may take more calls than others.
                step = min(left, whole * members / max(calls, 1))
                left -= step
                self._frames += step
                self._calls += members
                self._show()

        return called

    def complete(self) -> None:
        """Count a part as done, wherever it was computed."""
        with self._lock:
            self._done += 1
            self._show()

    def finish(self) -> None:
        """Show that all is done."""
        with self._lock:
            self._frames = self._bar.total
            self._show()

    def _show(self) -> None:
        least = self._bar.total * self._done / self._parts if self._parts else 0.0
        calls = f"{self._calls} network calls" if self._calls else ""
        self._bar.set_postfix_str(calls, refresh=False)
        now = min(max(self._frames, least), self._bar.total)
        self._bar.update(now - self._bar.n)


#: Those who watch what tasks compute in this process.
_WATCHING: list[Progress] = []


def current() -> Progress | None:
    """Return who watches the tasks of this process, if anybody does."""
    return _WATCHING[-1] if _WATCHING else None


@contextlib.contextmanager
def shown(
    label: str, frames: int, progress: bool | None, *, parts: int | None = None, done: int = 0, tasks: bool = False
) -> Iterator[Progress | None]:
    """Show a bar for a while, where somebody wants it.

    Parameters
    ----------
    label
        What is done.
    frames
        Number of frames in all.
    progress
        As for `wanted`.
    parts, done
        As for `Progress`.
    tasks
        Whether tasks that are handed no progress report to it.
    """
    if not wanted(progress):
        yield None
        return
    from tqdm import tqdm

    form = "{l_bar}{bar}| {n:.1f}/{total:.0f} frames [{elapsed}<{remaining}{postfix}]"
    initial = frames * done / parts if parts else 0
    with tqdm(total=frames, initial=initial, desc=label, bar_format=form, **pace()) as bar:
        seen = Progress(bar, parts, done)
        if tasks:
            _WATCHING.append(seen)
        try:
            yield seen
        finally:
            if tasks:
                _WATCHING.remove(seen)

"""Ctrl-C during training: the first asks the stages to end with what they have, a second one interrupts at once."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["interruptible", "stop_requested"]

# None where Ctrl-C is not ours to handle. Threads have contexts of their own: another training does not see it.
_REQUEST: ContextVar[threading.Event | None] = ContextVar("xslams_training_stop", default=None)


def stop_requested() -> bool:
    """Whether the user has asked this training to end with the best that it has."""
    request = _REQUEST.get()
    return request is not None and request.is_set()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first Ctrl-C ask for the end of the training within, see `stop_requested`, and a second one interrupt.

    Where another handler is installed, or outside of the main thread, which alone receives signals, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    request = threading.Event()

    def ask(*_: Any) -> None:
        if request.is_set():
            raise KeyboardInterrupt
        request.set()
        sys.stderr.write("\nTraining ends with the best model so far; press Ctrl-C again to interrupt at once.\n")

    token = _REQUEST.set(request)
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _REQUEST.reset(token)

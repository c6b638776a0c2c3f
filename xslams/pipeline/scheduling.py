"""The tasks of a run on threads of this process, or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["compute"]

# Names under which dask knows the scheduler of a client; a client that is the default sets the second.
_DISTRIBUTED = (None, "dask.distributed", "distributed")


def compute(tasks: Sequence[Any], completed: Callable[[], None] | None = None) -> None:
    """Have dask compute tasks, each of which writes a region.

    Parameters
    ----------
    tasks
        Delayed objects.
    completed
        Called after each.
    """
    from dask.base import compute as compute_all
    from dask.callbacks import Callback

    if not tasks:
        return
    completed = completed or _nothing
    client = _client()
    if client is not None:
        _distribute(client, tasks, completed)
        return
    keys = {task.key for task in tasks}

    def count(key: Any, *_: Any) -> None:
        if key in keys:
            completed()

    with Callback(posttask=count):  # type: ignore[no-untyped-call]
        compute_all(*tasks)  # type: ignore[no-untyped-call]


def _nothing() -> None:
    """Nobody wants to know."""


def _client() -> Any:
    """Client of dask.distributed that computes by default, if there is one."""
    import dask

    if "distributed" not in sys.modules or dask.config.get("scheduler", None) not in _DISTRIBUTED:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _distribute(client: Any, tasks: Sequence[Any], completed: Callable[[], None]) -> None:
    """Compute on a cluster; where workers declare ``GPU``, one region at a time on each."""
    from distributed import as_completed

    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    resources = {"GPU": 1} if any(w.get("resources", {}).get("GPU") for w in workers) else None
    futures = client.compute(list(tasks), resources=resources)
    try:
        for future in as_completed(futures):  # type: ignore[no-untyped-call]
            future.result()
            completed()
            future.release()
    finally:
        client.cancel(futures)

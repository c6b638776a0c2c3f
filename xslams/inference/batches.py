"""Members onto the device, as many at a time as fit, with the same bits whatever the number of threads.

On a CPU a sum over many elements is cut among the threads that share it, and where it is cut decides how it is rounded.
So every operation has one thread here, and members run side by side, each by itself: the result is bitwise the same for
any number of threads and any company. A GPU takes several members at once, and halves their number where memory runs
out; there, rounding depends on the size of the batch.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xslams.errors import OptionError
from xslams.inference.foreign import out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["fitting", "in_batches", "one_thread", "transfer"]

# Copies of a latent trajectory and of its fields, one channel wide or all, that a guided step holds at most.
_LATENT_COPIES = 24
_FIELD_COPIES = 8
# Share of the free memory that may be planned for.
_SHARE = 0.7

_LOCK = threading.Lock()
_DEVICES: dict[str, threading.Lock] = {}
_inside = 0
_threads = 1


@contextlib.contextmanager
def one_thread() -> Iterator[int]:
    """Let every operation of torch have one thread for a while; gives the number that there were.

    Examples
    --------
    >>> import torch
    >>> with one_thread() as threads:
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == threads
    True
    """
    global _inside, _threads
    with _LOCK:
        # Asked first, since a thread takes the number of the process over at its first question, and must not do so
        # later, when another has put it back.
        current = torch.get_num_threads()
        if _inside == 0:
            _threads = current
        threads = _threads
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield threads
    finally:
        with _LOCK:
            _inside -= 1
            torch.set_num_threads(threads)


def _start_thread() -> None:
    with _LOCK:
        torch.get_num_threads()
        torch.set_num_threads(1)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that all tasks of this process share, so that two of them do not use the cores twice."""
    return ThreadPoolExecutor(threads, "xslams", initializer=_start_thread)


def in_batches(
    draw: Callable[[int, Sequence[int]], None],
    members: Sequence[int],
    device: torch.device | str = "cpu",
    *,
    size: int = 1,
    shrink: bool = False,
    threads: int = 1,
) -> None:
    """Draw members, batch by batch.

    Parameters
    ----------
    draw
        Called with the position of the first member of a batch, and the members in it.
    members
        Numbers of the members.
    device
        Where they are drawn. A CPU takes them one by one, whatever `size`; of a GPU one task at a time has the use.
    size
        Members in a batch.
    shrink
        Whether to halve the batch where the memory of the device runs out, and go on.
    threads
        Members to draw side by side on a CPU.

    Raises
    ------
    OptionError
        If memory runs out, on a GPU with batches that may not be smaller.

    Examples
    --------
    >>> in_batches(lambda first, batch: print(first, batch), [7, 8, 9])
    0 [7]
    1 [8]
    2 [9]
    """
    where = torch.device(device)
    if where.type == "cpu":
        with _within_memory(min(threads, len(members))):
            _one_by_one(draw, members, threads)
        return
    with _LOCK:
        lock = _DEVICES.setdefault(str(where), threading.Lock())
    with lock:
        _shrinking(draw, members, size, shrink=shrink)


def _one_by_one(draw: Callable[[int, Sequence[int]], None], members: Sequence[int], threads: int) -> None:
    threads = min(threads, len(members))
    if threads <= 1:
        for n in range(len(members)):
            draw(n, members[n : n + 1])
        return
    futures = [_pool(threads).submit(draw, n, members[n : n + 1]) for n in range(len(members))]
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()


@contextlib.contextmanager
def _within_memory(threads: int) -> Iterator[None]:
    """Say what to do where the memory of this machine runs out."""
    try:
        yield
    except Exception as e:
        if not out_of_memory(e):
            raise
        msg = (
            f"The memory of this machine ran out with {threads} members side by side ({type(e).__name__}: {e}). Take "
            "fewer threads (OMP_NUM_THREADS) or a smaller overlap, or let dask cut the run: ds.chunk(time=...)."
        )
        raise OptionError(msg) from e


def _shrinking(draw: Callable[[int, Sequence[int]], None], members: Sequence[int], size: int, *, shrink: bool) -> None:
    done = 0
    while done < len(members):
        batch = members[done : done + size]
        try:
            draw(done, batch)
        except torch.cuda.OutOfMemoryError as e:
            if not shrink or len(batch) == 1:
                advice = (
                    "One member alone needs more: take a smaller overlap, or a device with more memory"
                    if len(batch) == 1
                    else "Take a smaller batch, or batch_size='auto'"
                )
                msg = f"The memory of the device ran out with {len(batch)} members at once ({e}). {advice}."
                raise OptionError(msg) from e
            size = len(batch) // 2
        else:
            done += len(batch)
            continue
        # Outside of the handler, as the exception holds on to what did not fit.
        torch.cuda.empty_cache()


def fitting(members: int, latent: int, fields: int, device: torch.device) -> int:
    """Estimate how many members fit the free memory of a device.

    Parameters
    ----------
    members
        Members to draw.
    latent, fields
        Elements of the latent trajectory of a member, and of its physical fields.
    device
        Where they are drawn.

    Returns
    -------
    int
        Members at once, at least one; all of them where the device does not say how much memory it has.
    """
    if device.type != "cuda":
        return members
    free, _ = torch.cuda.mem_get_info(device)
    each = 4 * (_LATENT_COPIES * latent + _FIELD_COPIES * fields)
    return max(1, min(members, int(_SHARE * free / each)))


def transfer(x: Tensor, device: torch.device | str) -> Tensor:
    """Bring a tensor to a device; to a GPU through pinned memory, while it computes."""
    if torch.device(device).type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)

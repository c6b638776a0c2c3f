"""Frames by blocks of time, and room for those that memory does not hold.

Data may be larger than memory. They are read a few times from first to last, in blocks of consecutive frames; what is
computed from them goes to a file that is mapped to memory where there is too much of it, so that all that follows works
on tensors, draws the same windows in the same order, and gives the same bits as with data in memory.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from xslams.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from xslams.typing import FloatArray

__all__ = ["Blocks", "Frames", "Room", "SomeChannels", "Stretch", "sample", "size_of", "spread"]

# Bytes of a block of frames, and those of one stretch of a sample.
_BLOCK = 64 * 2**20
# Frames of a stretch of a sample, as long as the weather remembers and more, where there are enough.
_STRETCH = 90
# Multiples of the golden ratio fall evenly into all parts of the unit interval, and so do every other, every fourth and
# any regular choice of them: chosen by these, stretches see all seasons whatever part of a year they last.
_GOLDEN = 0.6180339887498949


class Frames(Protocol):
    """Consecutive frames ``(T, channel, lat, lon)``: an array, or something that is one once it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (T, channel, lat, lon)."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def __getitem__(self, part: slice, /) -> Frames:
        """Return some of the frames; nothing need be read."""

    def __array__(self, dtype: object = None) -> NDArray[np.generic]:
        """Read the values."""


Stretch = tuple["Frames | FloatArray", "FloatArray"]
"""Consecutive frames, and their fractions of the year ``(T,)``."""


class SomeChannels:
    """Some of the channels of frames; nothing is read before it is asked for.

    Parameters
    ----------
    frames
        Frames ``(T, channel, lat, lon)``.
    channels
        Numbers of the channels to keep.
    """

    def __init__(self, frames: Frames | FloatArray, channels: NDArray[np.int64]) -> None:
        self._frames, self._channels = frames, channels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (T, channel, lat, lon)."""
        length, _, *rest = self._frames.shape
        return (length, len(self._channels), *rest)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._frames)

    def __getitem__(self, part: slice, /) -> SomeChannels:
        """Return some of the frames; nothing is read."""
        return SomeChannels(self._frames[part], self._channels)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the values, in single precision unless another type is asked for."""
        return np.asarray(self._frames)[:, self._channels].astype(np.float32 if dtype is None else dtype)


class Blocks:
    """Iterate over the blocks of stretches of frames as often as needed.

    Parameters
    ----------
    runs
        Stretches of frames ``(T, channel, lat, lon)`` and fractions of the year ``(T,)``.
    device
        Where the blocks go.
    """

    def __init__(self, runs: Sequence[Stretch], device: torch.device) -> None:
        self._runs, self._device = runs, device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for run in range(len(self._runs)):
            for _, fields, season in self.of(run):
                yield fields, season

    def of(self, run: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield which frames of a stretch, these frames, and their fractions of the year."""
        fields, season = self._runs[run]
        length = max(_BLOCK // max(4 * int(np.prod(fields.shape[1:])), 1), 1)
        for start in range(0, len(season), length):
            part = slice(start, min(start + length, len(season)))
            # A copy: the arrays of the caller may not be written to, which tensors cannot say.
            values = np.array(fields[part], dtype=np.float32)
            yield part, torch.from_numpy(values).to(self._device), self.season(run)[part]

    def season(self, run: int) -> Tensor:
        """Return the fractions of the year of a stretch, shape ``(T,)``."""
        return torch.as_tensor(np.asarray(self._runs[run][1], np.float32), device=self._device)

    def __len__(self) -> int:
        """Return the number of stretches."""
        return len(self._runs)


class Room:
    """Makes tensors in memory, or in files that are mapped to memory.

    Parameters
    ----------
    folder
        Folder of the files; None: in memory.
    device
        Where tensors in memory are.
    """

    def __init__(self, folder: Path | None, device: torch.device) -> None:
        self._folder, self._device = folder, device
        self._count = 0

    @classmethod
    @contextmanager
    def for_size(cls, size: int, limit: float, device: torch.device, near: Path | None = None) -> Iterator[Room]:
        """Make room for frames, in a temporary folder where they are larger than the limit.

        Parameters
        ----------
        size, limit
            In bytes.
        device
            Where tensors in memory are.
        near
            Folder in which the temporary one is made; by default that of the system.
        """
        if size <= limit:
            yield cls(None, device)
            return
        with tempfile.TemporaryDirectory(prefix=".xslams-", dir=near, ignore_cleanup_errors=True) as folder:
            yield cls(Path(folder), device)

    def empty(self, shape: Sequence[int]) -> Tensor:
        """Return a tensor of that shape, whose values are to be written.

        Raises
        ------
        StoreError
            If the disk has no space for it.
        """
        if self._folder is None:
            return torch.empty(tuple(shape), device=self._device)
        self._count += 1
        path, number = self._folder / str(self._count), int(np.prod(shape))
        try:
            # A file with holes would end the process once the disk is full.
            with path.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, 4 * number)
        except OSError as e:
            msg = (
                f"The frames need {4 * number / 2**30:.1f} GiB in {self._folder.parent} ({e}). Make space there, set "
                "TMPDIR to another folder, or let memory= be larger."
            )
            raise StoreError(msg) from e
        return torch.from_file(str(path), shared=True, size=number).reshape(tuple(shape))


def size_of(runs: Sequence[Stretch]) -> int:
    """Return the bytes of frames in single precision."""
    return sum(4 * int(np.prod(fields.shape)) for fields, _ in runs)


def spread(lengths: Sequence[int], most: float) -> list[tuple[int, slice]]:
    """Return parts of stretches that lie evenly over all of them and have no more than so many frames.

    Parameters
    ----------
    lengths
        Frames of each stretch.
    most
        Frames of all parts together, but for one part at least.

    Returns
    -------
    list
        Stretch and frames of each part; the stretches as they are where they are short enough.

    Examples
    --------
    >>> spread([100, 20], 1000)
    [(0, slice(0, 100, None)), (1, slice(0, 20, None))]
    >>> spread([360], 180)
    [(0, slice(0, 90, None)), (0, slice(180, 270, None))]
    """
    if sum(lengths) <= most:
        return [(run, slice(0, length)) for run, length in enumerate(lengths)]
    parts = [
        (run, slice(first, min(first + _STRETCH, length)))
        for run, length in enumerate(lengths)
        for first in range(0, max(length - _STRETCH, 0) + 1, _STRETCH)
    ]
    order = np.argsort(np.arange(len(parts)) * _GOLDEN % 1)
    frames = np.cumsum([parts[i][1].stop - parts[i][1].start for i in order])
    count = max(int((frames <= most).sum()), 1)
    return [parts[i] for i in sorted(order[:count])]


def sample(runs: Sequence[Stretch], limit: float) -> list[tuple[FloatArray, FloatArray]]:
    """Read parts of stretches that lie evenly over all of them and take no more than so many bytes."""
    size = 4 * int(np.prod(runs[0][0].shape[1:]))
    parts = spread([len(season) for _, season in runs], limit / size)
    return [(np.array(runs[i][0][part], np.float32), runs[i][1][part]) for i, part in parts]

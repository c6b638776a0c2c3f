"""Logs of a training: a table in a text file, or event files of TensorBoard."""

from __future__ import annotations

import csv
import importlib.util
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from xslams.arguments import require, shown
from xslams.errors import FileError, OptionError

if TYPE_CHECKING:
    from typing import Any

__all__ = ["COLUMNS", "Log", "check_log", "open_log"]

#: Columns of the table. ``held_out`` is relative to climatology, whose score is 1.
COLUMNS = ("stage", "step", "seconds", "train_loss", "held_out", "learning_rate")


class Log(Protocol):
    """Where the numbers of a training go."""

    def write(self, stage: str, step: int, *, loss: float | None, score: float | None, rate: float | None) -> None:
        """Write what is known at a step."""

    def close(self) -> None:
        """End the log."""


def check_log(path: object) -> None:
    """Refuse what cannot be a log, before any data are read.

    Raises
    ------
    OptionError
        If it is no path, or names event files of TensorBoard, which is not installed.
    FileError
        If there is another file at the path, or its folder does not exist.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    expected = 'the path of a .csv file, or of a folder for TensorBoard, such as "run.csv" or "runs/first"'
    require(isinstance(text, str) and bool(text), "log", path, expected)
    target = Path(str(text)).absolute()
    if target.suffix == ".csv":
        if not target.parent.is_dir():
            msg = f"log={shown(str(text))}: there is no folder {target.parent}. Make it, or give another path."
            raise FileError(msg)
        if target.exists() and not _is_log(target):
            msg = f"log={shown(str(text))}: there is another file, which is not overwritten. Give another path."
            raise FileError(msg)
    elif target.is_file():
        msg = f"log={shown(str(text))} is a file; expected {expected}."
        raise FileError(msg)
    elif importlib.util.find_spec("tensorboard") is None:
        msg = (
            f"log={shown(str(text))} asks for event files of TensorBoard, which is not installed. Install it "
            '(pip install tensorboard), or write a table: log="run.csv".'
        )
        raise OptionError(msg)


def open_log(path: str | os.PathLike[str], *, resumed: bool) -> Log:
    """Begin a log, or go on with the one of a training that is resumed.

    Parameters
    ----------
    path
        As for `check_log`.
    resumed
        Whether lines of before stay.
    """
    target = Path(path).absolute()
    return _Table(target, resumed=resumed) if target.suffix == ".csv" else _Events(target)


def _is_log(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(",".join(COLUMNS))).decode("utf-8", "replace") in (",".join(COLUMNS), "")


class _Table:
    """Lines of a text file, each complete as soon as it is written."""

    def __init__(self, path: Path, *, resumed: bool) -> None:
        more = resumed and path.exists() and path.stat().st_size > 0
        self._file = path.open("a" if more else "w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._start = time.monotonic()
        if not more:
            self._writer.writerow(COLUMNS)
            self._file.flush()

    def write(self, stage: str, step: int, *, loss: float | None, score: float | None, rate: float | None) -> None:
        numbers = [None if v is None else f"{v:.6g}" for v in (loss, score, rate)]
        self._writer.writerow([stage, step, f"{time.monotonic() - self._start:.1f}", *numbers])
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _Events:
    """Event files of TensorBoard, a group of curves for each stage."""

    def __init__(self, path: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(path))

    def write(self, stage: str, step: int, *, loss: float | None, score: float | None, rate: float | None) -> None:
        for name, value in (("train_loss", loss), ("held_out", score), ("learning_rate", rate)):
            if value is not None:
                self._writer.add_scalar(f"{stage}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

"""Errors of xslams.

Every message says what was got, what was expected and what to do. All errors derive from `SlamsError`, and also from
the built-in class that a caller would guess, so that ``except ValueError`` works as it does elsewhere in xarray. No
message holds the secrets of an address, see `xslams.addresses`.
"""

import sys
import threading
import uuid
import warnings
from collections import OrderedDict

from xslams.addresses import hide

__all__ = [
    "AdjointError",
    "ChunkError",
    "CoverageError",
    "DatasetError",
    "DimensionError",
    "FileError",
    "GridError",
    "ModelError",
    "ObservationError",
    "ObservationOptionError",
    "Occasion",
    "OptionError",
    "SlamsError",
    "SlamsWarning",
    "StoreError",
    "UnitError",
    "VariableError",
    "warn",
]


class SlamsError(Exception):
    """Base class of every error that xslams raises on purpose."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(hide(a) if isinstance(a, str) else a for a in args))


class SlamsWarning(UserWarning):
    """Something was dropped or assumed that the user can change."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(hide(a) if isinstance(a, str) else a for a in args))


class DimensionError(SlamsError, ValueError):
    """A dimension or coordinate is missing, duplicated or not understood."""


class FileError(SlamsError, OSError):
    """A file is missing, exists already, or cannot be read or written."""


class GridError(SlamsError, ValueError):
    """The grid of the data is not the grid that is needed."""


class ChunkError(SlamsError, ValueError):
    """A core dimension is split into several dask chunks."""


class CoverageError(SlamsError, ValueError):
    """Observations and state do not overlap in time or space, or hold no usable value."""


class DatasetError(SlamsError, OSError):
    """A public data set could not be fetched, or what was fetched or cached is not what it should be."""


class VariableError(SlamsError, KeyError):
    """A variable is missing or cannot be matched with those of the model."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would hide line breaks and double every quote.
        return Exception.__str__(self)


class UnitError(SlamsError, ValueError):
    """A unit is missing, unknown, or cannot be converted."""


class ObservationError(SlamsError, ValueError):
    """An observation source is not usable as given (error, operator, geometry)."""


class AdjointError(SlamsError, AssertionError):
    """A derivative, and the adjoint or the differences that it has to agree with, disagree."""


class OptionError(SlamsError, ValueError):
    """An argument is out of range or not one of the choices."""


class ObservationOptionError(ObservationError, OptionError):
    """An argument of an observation source is out of range: an `ObservationError` and an `OptionError`."""


class ModelError(SlamsError, ValueError):
    """A model file or name is unknown, damaged, foreign, or too new."""


class StoreError(SlamsError, OSError):
    """A store exists already, belongs to another run, is incomplete, or cannot be written."""


def warn(text: str) -> None:
    """Warn of what a user can change, at the user's line.

    Parameters
    ----------
    text
        What was dropped or assumed, and how to change that.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "xslams":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, SlamsWarning, stacklevel=level)


class Occasion:
    """What a user has asked for once and many tasks work on, such as an analysis or the reading of a file.

    Tasks know nothing of each other, and what each of them finds is announced once in a process. Two occasions of the
    same work are the same to dask, whose keys must not depend on when a graph was built.

    Examples
    --------
    >>> import warnings
    >>> occasion = Occasion()
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     for task in range(3):
    ...         occasion.warn("gauges", f"Task {task} has found something.")
    >>> [str(w.message) for w in caught]
    ['Task 0 has found something.']
    """

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex

    def __dask_tokenize__(self) -> str:
        return "occasion"

    def warn(self, subject: str, text: str) -> None:
        """Warn, unless there was a warning of the same subject in this process.

        Parameters
        ----------
        subject
            What the warning is about, such as the name of a source.
        text
            As for `warn`.
        """
        with _LOCK:
            first = (self.key, subject) not in _SAID
            _SAID[self.key, subject] = None
            while len(_SAID) > _MOST:
                _SAID.popitem(last=False)
        if first:
            warn(text)


_LOCK = threading.Lock()
_SAID: OrderedDict[tuple[str, str], None] = OrderedDict()
# Of subjects, in all occasions together; workers live long.
_MOST = 4096

"""ESMF in one thread of the process: it knows no other than the one in which it was begun.

What the others wait for runs there one after the other. That loads xESMF too, and with it esmpy, which begins ESMF.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TypeVar

from xslams.errors import SlamsError

__all__ = ["in_thread", "library_version", "load", "reason"]

_Result = TypeVar("_Result")
_NAME = "xslams-esmf"
_INSTALL = "conda install -c conda-forge xesmf esmpy"


class _Thread:
    """The thread, which starts with the first work that there is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.executor: ThreadPoolExecutor | None = None

    def run(self, work: Callable[[], _Result]) -> _Result:
        if threading.current_thread().name.startswith(_NAME):
            return work()  # waiting for itself, it would wait for ever
        with self.lock:
            if self.executor is None:
                self.executor = ThreadPoolExecutor(1, thread_name_prefix=_NAME)
        return self.executor.submit(work).result()


_thread = _Thread()


def _renew() -> None:
    global _thread
    _thread = _Thread()


if hasattr(os, "register_at_fork"):
    # A child has the memory of its parent, but not its threads.
    os.register_at_fork(after_in_child=_renew)


def in_thread(work: Callable[[], _Result]) -> _Result:
    """Do what calls ESMF in the thread that ESMF knows, and wait for it.

    Parameters
    ----------
    work
        Function without arguments; what it raises is raised here.

    Returns
    -------
    object
        What it returns.

    Examples
    --------
    >>> in_thread(threading.get_ident) == in_thread(threading.get_ident) != threading.get_ident()
    True
    """
    return _thread.run(work)


def load() -> ModuleType:
    """Import xESMF in the thread of ESMF.

    Returns
    -------
    module
        ``xesmf``.

    Raises
    ------
    SlamsError
        If it cannot be imported; the message says what is missing.
    """
    return in_thread(_load)


def _load() -> ModuleType:
    # First the libraries of HDF5 that Python brings: loaded after ESMF's, where they differ, they can crash.
    for name in ("h5py", "netCDF4"):
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # not installed
    cause: Exception | None = None
    try:
        # By itself, since xESMF tries another name where esmpy fails, and tells of that alone.
        importlib.import_module("esmpy")
    except Exception as e:  # whatever keeps a library of C from being loaded
        cause = e
    try:
        return importlib.import_module("xesmf")
    except Exception as e:  # as above
        raise SlamsError(reason(e, cause)) from (cause or e)


def reason(error: Exception, cause: Exception | None) -> str:
    """Say what is missing for xESMF, and what to do.

    Parameters
    ----------
    error
        What importing ``xesmf`` raised.
    cause
        What importing ``esmpy`` raised; None where it was imported.

    Returns
    -------
    str
        Message.
    """
    embedded = "Or use engine='embedded', whose weights are defined alike."
    if isinstance(error, ModuleNotFoundError) and error.name == "xesmf":
        return f"engine='xesmf' needs the package xesmf, which needs esmpy, of ESMF: {_INSTALL}. {embedded}"
    blame = error if cause is None else cause
    if "ESMFMKFILE" in str(blame):
        what = (
            "esmpy does not find ESMF: the environment variable ESMFMKFILE is missing. Activate the conda environment "
            "that esmpy is in, which sets it, or set it to the file esmf.mk of ESMF"
        )
    elif isinstance(blame, ModuleNotFoundError) and blame.name in ("esmpy", "ESMF"):
        what = f"xesmf is installed, but esmpy, which calls ESMF, is missing. It is not on PyPI: {_INSTALL}"
    else:
        name = "xesmf" if cause is None else "esmpy"
        what = f"{name} is installed, but cannot be imported ({type(blame).__name__}: {blame}). Try: {_INSTALL}"
    return f"engine='xesmf': {what}. {embedded}"


def library_version() -> str:
    """Versions of xESMF and of ESMF, which both define the weights; nothing is imported for it.

    Examples
    --------
    >>> library_version().startswith("xesmf ")
    True
    """
    return f"xesmf {_installed('xesmf')}, esmpy {_installed('esmpy')}, ESMF {_of_library()}"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _of_library() -> str:
    """Version in the file that esmpy reads to find ESMF."""
    try:
        with open(os.environ.get("ESMFMKFILE", ""), encoding="utf-8", errors="replace") as file:
            lines = dict(line.strip().split("=", 1) for line in file if line.startswith("ESMF_VERSION_STRING="))
    except OSError:
        return "unknown"
    return lines.get("ESMF_VERSION_STRING", "unknown")

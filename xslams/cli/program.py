"""Parts that all commands share: exit codes, handling of errors and signals, and warnings in one line."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from xslams.addresses import hide
from xslams.errors import OptionError, SlamsError

__all__ = ["EXIT_CODES", "Program"]

#: Meaning of the exit status of the program.
EXIT_CODES = {
    0: "success",
    1: "refused: the data, the model or the store cannot be used; the message says what to do",
    2: "usage: an option, an argument or a key of the configuration file is invalid; nothing was written",
    3: "failure of a file, a disk, the network or a worker; the same command with `--resume` continues the run",
    4: "`models verify` found a model that does not match the registry",
    70: "an error in xslams itself, with a traceback to report",
    130: "interrupted (Ctrl-C)",
    143: "terminated (SIGTERM)",
}


class Program(click.Group):
    """A group of commands that turns errors into messages and exit codes."""

    def main(  # type: ignore[override]  # click overloads it by a flag that is always set here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run and exit; see `EXIT_CODES`."""
        extra["standalone_mode"] = False
        with warnings.catch_warnings(), _terminable():
            warnings.showwarning = _show_warning
            try:
                result = super().main(args, prog_name or "xslams", **extra)
                code = result if isinstance(result, int) else 0
            except click.ClickException as e:
                shown = io.StringIO()
                e.show(shown)
                click.echo(hide(shown.getvalue()), err=True, nl=False)
                code = e.exit_code
            except (click.Abort, KeyboardInterrupt):
                click.echo("interrupted", err=True)
                _leave(130)
            except _TerminatedError:
                click.echo("terminated", err=True)
                _leave(143)
            except OptionError as e:
                # What no type of the command line can know, as how many members are too many.
                click.echo(f"error: {e}", err=True)
                code = 2
            except SlamsError as e:
                click.echo(f"error: {e}", err=True)
                # A failure of the machine has another exit code than invalid input.
                code = 3 if isinstance(e.__cause__, OSError) and not isinstance(e.__cause__, SlamsError) else 1
            except (OSError, MemoryError) as e:
                click.echo(hide(f"error: {type(e).__name__}: {e}"), err=True)
                code = 3
            except Exception as e:
                if type(e).__name__ == "KilledWorker":  # of distributed, which is not imported only for this class
                    click.echo(hide(f"error: workers died repeatedly: {e}"), err=True)
                    code = 3
                else:
                    click.echo(hide(traceback.format_exc()), err=True, nl=False)
                    click.echo("This is an error in xslams: please report it with the lines above.", err=True)
                    code = 70
        sys.exit(code)


class _TerminatedError(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt, it passes handlers of errors."""


def _leave(code: int) -> NoReturn:
    """Exit at once, because Python would wait for threads of dask whose results are no longer needed."""
    if any(t is not threading.main_thread() and not t.daemon for t in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(hide(f"warning: {message}"), err=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """Handle SIGTERM, which batch systems send before they kill, like Ctrl-C: temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: Any) -> NoReturn:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

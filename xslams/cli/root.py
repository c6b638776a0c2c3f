"""The group of all commands, and what they share: options, the opening of models, clusters and formats of results."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xslams.addresses import cleaned, hide, public
from xslams.cli import config
from xslams.cli.config import Argument, Option
from xslams.cli.program import Program

if TYPE_CHECKING:
    from xslams.model import Model

__all__ = [
    "DEVICE",
    "END",
    "OVERWRITE",
    "PROGRESS",
    "SCHEDULER",
    "START",
    "argument",
    "cluster",
    "command",
    "data_format",
    "main",
    "open_model_at",
    "open_model_if_named",
    "option",
]


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from xslams import __version__

        click.echo(f"xslams {__version__}")
        ctx.exit()


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def main() -> None:
    """Assimilate data with a learned prior, from files to files.

    Data are zarr stores and netCDF files, at paths or URLs that fsspec opens (s3://, https://, memory://), or
    tutorial:speedy. Options may be read from a configuration file: `--print-config` of any command shows its format.
    """


def option(*names: str, **settings: Any) -> Callable[..., Any]:
    """Declare an option that a configuration file may set, and whose default is shown."""
    return click.option(*names, cls=Option, show_default=settings.pop("show_default", True), **settings)


def argument(name: str, help: str) -> Callable[..., Any]:
    """Declare an argument, with a help text for the documentation."""
    return click.argument(name, cls=Argument, help=help)


_LARGEST = 16 * 2**30  # bytes of a model

OVERWRITE = option("--overwrite", is_flag=True, help="Replace an existing result at --out.")
PROGRESS = option(
    "--progress/--no-progress",
    default=None,
    help="Show progress and the time left on stderr, as in a terminal by default.",
)
SCHEDULER = option("--scheduler", metavar="ADDR", help="Address or scheduler file of a dask cluster to compute on.")
DEVICE = option("--device", help='Device of torch, "cpu" or "cuda"; by default the fastest.')
START = option("--start", metavar="DATE", help="First time to use, such as 2004-01-05.")
END = option("--end", metavar="DATE", help="Last time to use; 2004-01 means the whole month.")


def command(function: Callable[..., None]) -> click.Command:
    """Register a command of `main` whose options a configuration file may set."""

    @wraps(function)
    @click.pass_context
    def run(ctx: click.Context, /, **values: Any) -> None:
        if config.is_printing(ctx):
            click.echo(config.render(ctx), nl=False)
        else:
            function(**values)

    command: click.Command = main.command()(config.configurable(run))
    return command


def data_format(out: str, also: tuple[str, ...] = ()) -> str | None:
    """Return "zarr" or "netcdf" by the name of a result, or None if it is one of `also`; others are errors of usage."""
    from xslams.cli.targets import format_of

    kind = format_of(out)
    if kind is None and os.path.splitext(out)[1] not in also:
        msg = f"--out: expected {', '.join(('.zarr', '.nc', *also))}; got {out}."
        raise click.UsageError(msg)
    return kind


def open_model_at(name: str) -> Model:
    """Open a model from a name, a path, or a URL, of which a temporary copy is made."""
    from xslams.zoo.pretrained import open_model

    if "://" not in name:
        return open_model(name)
    from xslams import downloads, places
    from xslams.errors import FileError

    folder = click.get_current_context().with_resource(tempfile.TemporaryDirectory(prefix="xslams-"))
    try:
        path = places.within(Path(folder), os.path.basename(public(name).partition("?")[0]))
        downloads.copy(name, path, largest=_LARGEST)
    except (OSError, ValueError, ImportError) as e:
        reason = str(e) if isinstance(e, downloads.TransferError) else f"{type(e).__name__}: {e}"
        msg = f"The model {public(name)} cannot be read ({hide(reason, name)})."
        raise FileError(msg) from (None if "FileNotFoundError" in reason else cleaned(e, name))
    return open_model(path)


def open_model_if_named(name: str | None) -> Model | None:
    """Open a model as `open_model_at` does; None where none is named, so that the one that fits is found."""
    return None if name is None else open_model_at(name)


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Compute on a dask cluster if its address is given."""
    if address is None:
        yield
        return
    from distributed import Client

    from xslams.errors import FileError

    if address.endswith(".json") and not os.path.isfile(address):
        msg = (
            f"There is no scheduler file {address}. A scheduler writes it when it has started: dask scheduler "
            f"--scheduler-file {address}."
        )
        raise FileError(msg)
    given = {"scheduler_file": address} if os.path.isfile(address) else {"address": address}
    try:
        # A client that fails to connect would stay the default until it is collected, and whoever computes would wait.
        client = Client(**given, timeout="30s", set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as e:
        msg = f"No dask scheduler answers at {address} ({type(e).__name__}: {e}). Check --scheduler."
        raise FileError(msg) from (e if isinstance(e, OSError) else None)
    with client, client.as_current():
        yield

"""Commands that bring fields elsewhere: ``regrid``, ``encode`` and ``decode``."""

from __future__ import annotations

import os
from typing import Literal, get_args

import click

from xslams.addresses import public
from xslams.cli.root import (
    DEVICE,
    END,
    OVERWRITE,
    PROGRESS,
    SCHEDULER,
    START,
    argument,
    cluster,
    command,
    data_format,
    open_model_at,
    open_model_if_named,
    option,
)
from xslams.typing import Edges, Engine, Method


@command
@argument("data", "Fields to regrid.")
@option("--target", required=True, help="Data with the target latitudes and longitudes, or a model.")
@option("--out", metavar="FILE", required=True, help="Zarr store or netCDF file to write, path or URL.")
@option("--method", type=click.Choice(get_args(Method)), default="bilinear",
         help="Method of regridding.")  # fmt: skip
@option(
    "--engine",
    type=click.Choice(get_args(Engine)),
    default="auto",
    help="Library that computes the weights.",
)
@option("--edges", type=click.Choice(get_args(Edges)), default="great_circle",
         help="Lines that join neighbouring points: great circles as in ESMF, or parallels as in CDO.")  # fmt: skip
@START
@END
@SCHEDULER
@OVERWRITE
@PROGRESS
def regrid(
    *, data: str, target: str, out: str, method: str, engine: str, edges: str, start: str | None, end: str | None,
    scheduler: str | None, overwrite: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Regrid DATA to the grid or the points of another file or of a model."""
    from xslams.cli import files, targets

    data_format(out)
    targets.check_target(out, overwrite=overwrite, inputs=[data, target])
    ds = files.select(files.open_data(data), start, end)
    is_data = (
        targets.format_of(target) or ":" in target or (os.path.exists(target) and not target.endswith(".safetensors"))
    )
    wanted = files.open_data(target) if is_data else open_model_at(target)
    with cluster(scheduler):
        files.write_data(ds.slams.regrid(wanted, method=method, engine=engine, edges=edges), out, progress=progress)
    click.echo(public(out))


_MODEL_HELP = "Name of a pretrained model, or path of a .safetensors file"


@command
@argument("data", "Fields to encode.")
@option("--model", help=f"{_MODEL_HELP}; by default the one that fits.")
@option("--out", metavar="FILE", required=True, help="Zarr store or netCDF file to write, path or URL.")
@DEVICE
@START
@END
@SCHEDULER
@OVERWRITE
@PROGRESS
def encode(
    *, data: str, model: str | None, out: str, device: str | None, start: str | None, end: str | None,
    scheduler: str | None, overwrite: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Encode DATA into the latent space of a model."""
    _between_spaces("encode", data, model, out, device, (start, end), scheduler, overwrite=overwrite, progress=progress)


@command
@argument("data", "Latent frames, as encode writes them.")
@option("--model", help=f"{_MODEL_HELP}; by default the one that encoded.")
@option("--out", metavar="FILE", required=True, help="Zarr store or netCDF file to write, path or URL.")
@DEVICE
@START
@END
@SCHEDULER
@OVERWRITE
@PROGRESS
def decode(
    *, data: str, model: str | None, out: str, device: str | None, start: str | None, end: str | None,
    scheduler: str | None, overwrite: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Decode latent frames into every variable of a model."""
    _between_spaces("decode", data, model, out, device, (start, end), scheduler, overwrite=overwrite, progress=progress)


def _between_spaces(
    method: Literal["encode", "decode"], data: str, model: str | None, out: str, device: str | None,
    period: tuple[str | None, str | None], scheduler: str | None, *, overwrite: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Bring fields to the latent space, or back, by the method of that name."""
    from xslams.cli import files, targets

    data_format(out)
    targets.check_target(out, overwrite=overwrite, inputs=[data, model])
    opened = open_model_if_named(model)
    ds = files.select(files.open_data(data), *period)
    with cluster(scheduler):
        files.write_data(getattr(ds.slams, method)(opened, device=device), out, progress=progress)
    click.echo(public(out))

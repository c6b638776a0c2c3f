"""The commands. Each parses, checks where its result goes, and calls the method of ``.slams`` of its name."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xslams.cli import config, sources
from xslams.cli.config import Argument, Option
from xslams.cli.program import Program

if TYPE_CHECKING:
    import xarray as xr

    from xslams.model import Model

__all__ = ["main"]


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
    tutorial:speedy. Options may stand in a configuration file: `--print-config` of any command shows how.
    """


def _option(*names: str, **settings: Any) -> Callable[..., Any]:
    return click.option(*names, cls=Option, show_default=settings.pop("show_default", True), **settings)


def _argument(name: str, help: str) -> Callable[..., Any]:
    return click.argument(name, cls=Argument, help=help)


_OVERWRITE = _option("--overwrite", is_flag=True, help="Replace what is at --out.")
_PROGRESS = _option("--progress/--no-progress", default=True, help="Show progress and the time left, on stderr.")
_SCHEDULER = _option("--scheduler", metavar="ADDR", help="Address or scheduler file of a dask cluster to compute on.")
_DEVICE = _option("--device", help='Where torch computes, "cpu" or "cuda"; by default wherever it is fastest.')
_START = _option("--start", metavar="DATE", help="First time to use, such as 2004-01-05.")
_END = _option("--end", metavar="DATE", help="Last time to use; 2004-01 is the whole month.")


def _command(function: Callable[..., None]) -> click.Command:
    """Register a command of `main` that a configuration file may set."""

    @wraps(function)
    @click.pass_context
    def run(ctx: click.Context, /, **values: Any) -> None:
        if config.is_printing(ctx):
            click.echo(config.render(ctx), nl=False)
        else:
            function(**values)

    command: click.Command = main.command()(config.configurable(run))
    return command


@_command
@_argument("background", "Grid and times of the analysis, and with --background-error its values.")
@_option("--obs", type=sources.Source(), multiple=True, required=True,
         help="A source of observations; may be given several times. Settings: error (a number, or the variable of the "
         "file that holds it), variable, method, tolerance, name; error.pr=0.5 for one variable of several, "
         "variable.precip=pr for what the model calls pr.")  # fmt: skip
@_option("--model", required=True, help="Name of a pretrained model, or path of a .safetensors file.")
@_option("--out", metavar="STORE", required=True, help="Zarr store to write, path or URL; or a netCDF file (.nc).")
@_option("--members", type=click.IntRange(min=1), default=16, help="Size of the ensemble.")
@_option("--background-error", type=sources.Pairs("[NAME=]NUMBER", number=True, bare=True), multiple=True,
         help="Standard deviation of the background's error in its units, for all variables or for each; without it "
         "the background's values are not used.")  # fmt: skip
@_option("--guidance", type=click.Choice(["mmps", "sda", "dps"]), default="mmps",
         help="How observations steer the sampler.")  # fmt: skip
@_option("--sampler", default="auto", help="How the reverse diffusion is integrated.")
@_option("--steps", type=click.IntRange(min=1), default=32, help="Steps from noise to state.")
@_option("--corrections", type=click.IntRange(min=0), default=0, help="Langevin corrections after each step.")
@_option("--antithetic", is_flag=True, help="Members in pairs from noises of opposite sign.")
@_option("--overlap", type=sources.AutoInt(0), default="auto",
         help="Frames computed and thrown away at both ends of each segment of the time axis.")  # fmt: skip
@_option("--variables", "--variable", "variables", multiple=True, help="State variable to write; by default all.")
@_option("--seed", type=int, default=0, help="The same seed gives the same ensemble.")
@_DEVICE
@_option("--batch-size", type=sources.AutoInt(1), default="auto", help="Members sampled at once.")
@_option("--precision", type=click.Choice(["float32", "bf16"]), default="float32",
         help="Of the score network; bf16 is faster on GPUs that have it.")  # fmt: skip
@_option("--compile", is_flag=True, help="Compile the score network: a minute at the beginning, for runs of hours.")
@_option("--report", is_flag=True, help="Keep with the analysis what became of the observations.")
@_START
@_END
@_SCHEDULER
@_option("--resume", is_flag=True, help="Go on with the store of a run that was interrupted.")
@_OVERWRITE
@_PROGRESS
def assimilate(
    *, background: str, obs: tuple[dict[str, Any], ...], model: str, out: str, background_error: tuple[str, ...],
    variables: tuple[str, ...], start: str | None, end: str | None, scheduler: str | None, resume: bool,
    overwrite: bool, progress: bool, **settings: Any,
) -> None:  # fmt: skip
    """Draw an ensemble of states given observations, on the grid and at the times of BACKGROUND."""
    from xslams.cli import files

    kind = _format(out)
    if resume and overwrite:
        msg = "--resume goes on with a store and --overwrite replaces it; give one of them."
        raise click.UsageError(msg)
    if resume and kind != "zarr":
        msg = f"--resume needs a zarr store to go on with; --out is {out}."
        raise click.UsageError(msg)
    error = sources.error_of(background_error)
    if not resume:
        files.check_target(out, overwrite=overwrite)
    opened = _model(model)
    ds = files.select(files.open_data(background), start, end)
    observations = [sources.observation(source) for source in obs]
    with _cluster(scheduler):
        analysis = ds.slams.assimilate(
            observations, opened, background_error=error, variables=variables or None, **settings
        )
        if kind == "zarr":
            if overwrite:
                files.remove_store(out)
            analysis.slams.to_zarr(out, resume=resume, progress=progress)
        else:
            files.write_data(analysis, out, progress=progress)
    click.echo(out)


@_command
@_argument("data", "Training data; every field is a state variable, unless --aux names it.")
@_option("--out", metavar="FILE", required=True, help="Model to write (.safetensors), path or URL.")
@_option("--aux", multiple=True, help="Variable that is observed and not analysed; may be given several times.")
@_option("--window", type=click.IntRange(min=1), default=5, help="Frames that the prior sees at once; odd.")
@_option("--latent-channels", type=click.IntRange(min=1), help="Channels of the latent space; by default by size.")
@_option("--epochs", type=click.IntRange(min=0), help="Passes over the data; by default enough for a year or more.")
@_option("--name", help="Name of the model; by default that of the file.")
@_option("--summary", default="", help="One line on what the model is of.", show_default=False)
@_option("--license", default="", help="Licence of the weights.", show_default=False)
@_option("--option", "options", type=sources.Pairs("KEY=VALUE", number=False, bare=False), multiple=True,
         help="Any other setting of xslams.options.TrainingOptions, such as width=[32,64].")  # fmt: skip
@_option("--seed", type=int, default=0, help="Makes the training repeatable on the same machine.")
@_DEVICE
@_START
@_END
@_OVERWRITE
@_PROGRESS
def train(
    *, data: str, out: str, aux: tuple[str, ...], name: str | None, options: tuple[str, ...], start: str | None,
    end: str | None, overwrite: bool, **settings: Any,
) -> None:  # fmt: skip
    """Train a model on DATA."""
    from xslams.cli import files

    if not out.endswith(".safetensors"):
        msg = f"--out: a model is saved as .safetensors; got {out}."
        raise click.UsageError(msg)
    files.check_target(out, overwrite=overwrite)
    ds = files.select(files.open_data(data), start, end)
    name = name or Path(out).stem
    model = ds.slams.fit(list(aux) or None, name=name, **settings, **sources.pairs(options))
    files.write_file(out, model.save)
    click.echo(out)


@_command
@_argument("analysis", "Ensemble or single field.")
@_argument("truth", "What it is scored against, on the same grid; times are matched.")
@_option("--dims", multiple=True, help="Dimension to average over; by default time, latitude and longitude.")
@_option("--out", metavar="FILE", help="Write all scores, with rank histograms: .nc, .zarr or .json.")
@_START
@_END
@_SCHEDULER
@_OVERWRITE
@_PROGRESS
def score(
    *, analysis: str, truth: str, dims: tuple[str, ...], out: str | None, start: str | None, end: str | None,
    scheduler: str | None, overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Score ANALYSIS against TRUTH, weighted by area, and print a table."""
    from xslams.cli import files

    kind = None if out is None else _format(out, also=(".json",))
    if out is not None:
        files.check_target(out, overwrite=overwrite)
    ensemble = files.select(files.open_data(analysis), start, end)
    known = files.open_data(truth)
    # What was not analysed cannot be scored, and what is not known neither.
    common = [n for n in ensemble.data_vars if n in known.data_vars]
    given = (ensemble[common], known[common]) if common else (ensemble, known)
    with _cluster(scheduler), files.progress_bar(progress):
        scores = given[0].slams.score(given[1], dims=list(dims) or None).compute()
    click.echo(_table(scores))
    if out is not None and kind is None:
        text = json.dumps(scores.to_dict(), indent=1, default=str)
        files.write_file(out, lambda path: Path(path).write_text(text, encoding="utf-8"))
    elif out is not None:
        files.write_data(scores, out)


@_command
@_argument("data", "Fields to bring to another grid.")
@_option("--target", required=True, help="Data with the latitudes and longitudes wanted, or a model.")
@_option("--out", metavar="FILE", required=True, help="Zarr store or netCDF file to write, path or URL.")
@_option("--method", type=click.Choice(["bilinear", "conservative", "nearest"]), default="bilinear",
         help="How values come to the new grid.")  # fmt: skip
@_option("--engine", type=click.Choice(["auto", "embedded", "xesmf"]), default="auto", help="What makes the weights.")
@_option("--edges", type=click.Choice(["great_circle", "parallel"]), default="great_circle",
         help="What joins neighbouring points: great circles as in ESMF, parallels as in CDO.")  # fmt: skip
@_START
@_END
@_SCHEDULER
@_OVERWRITE
@_PROGRESS
def regrid(
    *, data: str, target: str, out: str, method: str, engine: str, edges: str, start: str | None, end: str | None,
    scheduler: str | None, overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Bring DATA to the grid, or the points, of another file or of a model."""
    from xslams.cli import files

    _format(out)
    files.check_target(out, overwrite=overwrite)
    ds = files.select(files.open_data(data), start, end)
    is_data = (
        files.format_of(target) or ":" in target or (os.path.exists(target) and not target.endswith(".safetensors"))
    )
    wanted = files.open_data(target) if is_data else _model(target)
    with _cluster(scheduler):
        files.write_data(ds.slams.regrid(wanted, method=method, engine=engine, edges=edges), out, progress=progress)
    click.echo(out)


@_command
@_argument("analysis", "Ensemble or single field.")
@_option("--out", metavar="FILE", required=True, help="Picture to write: .png, .pdf or .svg.")
@_option("--truth", help="Fields to compare with.")
@_option("--obs", type=sources.Source(), multiple=True, help="A source that was assimilated, as for assimilate.")
@_option("--variable", help="What to draw; by default the first variable.")
@_option("--time", metavar="DATE", help="Time to draw, the nearest there is; by default the middle.")
@_option("--level", type=float, help="Level to draw, the nearest there is; by default the first.")
@_option("--dpi", type=click.IntRange(min=1), default=110, help="Dots per inch.")
@_OVERWRITE
def plot(
    *, analysis: str, out: str, truth: str | None, obs: tuple[dict[str, Any], ...], dpi: int, overwrite: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Draw maps of ANALYSIS at one time and level: mean and spread, and beside them truth, error and observations."""
    from xslams.cli import files

    if os.path.splitext(out)[1].lower() not in (".png", ".pdf", ".svg"):
        msg = f"--out: expected a picture, .png, .pdf or .svg; got {out}."
        raise click.UsageError(msg)
    files.check_target(out, overwrite=overwrite)
    ds = files.open_data(analysis)
    compared = None if truth is None else files.open_data(truth)
    observations = [sources.observation(source) for source in obs] or None
    import matplotlib as mpl

    mpl.use("agg")
    figure = ds.slams.plot(compared, observations, **settings)
    files.write_file(out, lambda path: figure.savefig(path, dpi=dpi))
    click.echo(out)


@main.group()
def models() -> None:
    """Pretrained models: what there is, and bringing it here."""


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_MIRROR = click.option(
    "--mirror", metavar="ADDRESS", envvar="XSLAMS_MIRROR", show_envvar=True,
    help="Folder that holds the files, path or URL, in place of the registered addresses.",
)  # fmt: skip


@models.command("list")
@_JSON
def models_list(*, as_json: bool) -> None:
    """List the pretrained models."""
    from xslams.zoo.pretrained import list_models

    table = list_models()
    if as_json:
        click.echo(table.reset_index().to_json(orient="records", indent=1))
    else:
        click.echo(table[["variables", "grid", "size", "license", "where"]].to_string(float_format="{:.1f} MB".format))


@models.command("info")
@click.argument("name")
@_JSON
def models_info(*, name: str, as_json: bool) -> None:
    """Say what the model NAME (or path) is: variables, grid, training, scores; nothing is fetched for it."""
    from xslams.zoo import pretrained as zoo

    table = zoo.list_models()
    if name in table.index and table.loc[name, "where"] not in ("embedded", "cached"):
        content: dict[str, Any] = {"name": name, **table.loc[name].to_dict()}
    else:
        model = zoo.open_model(name)
        where = table.loc[name, "where"] if name in table.index else "file"
        content = {**json.loads(model.spec.to_json()), "sha256": model.sha256, "path": str(model.path), "where": where}
    if as_json:
        click.echo(json.dumps(content, indent=1))
        return
    import yaml

    for axis in ("lat", "lon"):
        if axis in content:
            values = content[axis]
            content[axis] = f"{len(values)} values, {values[0]:g} to {values[-1]:g}"
    click.echo(
        yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110), nl=False
    )


@models.command("fetch")
@click.argument("names", nargs=-1, required=True)
@_MIRROR
@click.option("--progress/--no-progress", default=True, show_default=True, help="Show progress and the time left.")
def models_fetch(*, names: tuple[str, ...], mirror: str | None, progress: bool) -> None:
    """Bring the models NAMES into the cache of this machine, and print their paths."""
    from xslams.zoo import pretrained as zoo

    for name in names:
        click.echo(zoo.fetch_model(name, mirror=mirror, progress=progress))


@models.command("verify")
@click.argument("names", nargs=-1)
@click.pass_context
def models_verify(ctx: click.Context, *, names: tuple[str, ...]) -> None:
    """Compare the files of all models, or of NAMES, with the registry; a damaged one is removed from the cache."""
    from xslams.errors import ModelError
    from xslams.zoo import pretrained as zoo

    known = list(zoo.list_models().index)
    unknown = [n for n in names if n not in known]
    if unknown:
        zoo.verify_model(unknown[0])  # says what there is
    wrong = False
    for name in names or known:
        try:
            click.echo(f"{name}: {zoo.verify_model(name)}")
        except ModelError as e:
            click.echo(f"{name}: {e}", err=True)
            wrong = True
    if wrong:
        ctx.exit(4)


def _format(out: str, also: tuple[str, ...] = ()) -> str | None:
    from xslams.cli.files import format_of

    kind = format_of(out)
    if kind is None and os.path.splitext(out)[1] not in also:
        msg = f"--out: expected {', '.join(('.zarr', '.nc', *also))}; got {out}."
        raise click.UsageError(msg)
    return kind


def _model(name: str) -> Model:
    """Open a model, also from a URL: a copy of it then lasts as long as the command."""
    from xslams.zoo.pretrained import open_model

    if "://" not in name:
        return open_model(name)
    import shutil

    import fsspec

    from xslams.errors import FileError

    folder = click.get_current_context().with_resource(tempfile.TemporaryDirectory(prefix="xslams-"))
    path = os.path.join(folder, os.path.basename(name))
    try:
        with fsspec.open(name, "rb") as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
    except (OSError, ValueError, ImportError) as e:
        msg = f"The model {name} cannot be read ({type(e).__name__}: {e})."
        raise FileError(msg) from (None if isinstance(e, FileNotFoundError) else e)
    return open_model(path)


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Compute on a cluster of dask, if there is an address of one."""
    if address is None:
        yield
        return
    from distributed import Client

    from xslams.errors import FileError

    given = {"scheduler_file": address} if os.path.isfile(address) else {"address": address}
    try:
        client = Client(**given, timeout="30s", set_as_default=True)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as e:
        msg = f"No scheduler of dask answers at {address} ({type(e).__name__}: {e})."
        raise FileError(msg) from (e if isinstance(e, OSError) else None)
    with client:
        yield


def _table(scores: xr.Dataset) -> str:
    """Scores but for histograms, as a table; one that depends on nothing is a line."""
    names = [n for n, v in scores.data_vars.items() if not any(str(d).endswith("rank") for d in v.dims)]
    chosen = scores[names]
    bare = {str(n): float(chosen[n]) for n in names if not chosen[n].dims}
    lines = [f"{n:<24} {v:.4g}" for n, v in bare.items()]
    by_dims: dict[tuple[Any, ...], list[Any]] = {}
    for n in names:
        if chosen[n].dims:
            by_dims.setdefault(chosen[n].dims, []).append(n)
    for group in by_dims.values():
        extra = [c for c in chosen[group].coords if c not in chosen[group].dims]
        frame = chosen[group].drop_vars(extra).to_dataframe()
        lines.append(frame.to_string(float_format="{:.4g}".format))
    return "\n".join(lines)

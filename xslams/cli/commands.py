"""The commands. Each parses its options, checks the target, and calls the method of ``.slams`` with its name."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from xslams.addresses import cleaned, hide, public
from xslams.cli import config, sources
from xslams.cli.config import Argument, Option
from xslams.cli.program import Program
from xslams.options import GUIDANCE, SAMPLERS, ComputeOptions, SamplerOptions
from xslams.typing import PRECISIONS, Edges, Engine, Method

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
    tutorial:speedy. Options may be read from a configuration file: `--print-config` of any command shows its format.
    """


def _option(*names: str, **settings: Any) -> Callable[..., Any]:
    return click.option(*names, cls=Option, show_default=settings.pop("show_default", True), **settings)


def _argument(name: str, help: str) -> Callable[..., Any]:
    return click.argument(name, cls=Argument, help=help)


_LARGEST = 16 * 2**30  # bytes of a model

_OVERWRITE = _option("--overwrite", is_flag=True, help="Replace an existing result at --out.")
_PROGRESS = _option("--progress/--no-progress", default=True, help="Show progress and the remaining time on stderr.")
_SCHEDULER = _option("--scheduler", metavar="ADDR", help="Address or scheduler file of a dask cluster to compute on.")
_DEVICE = _option("--device", help='Device of torch, "cpu" or "cuda"; by default the fastest.')
_START = _option("--start", metavar="DATE", help="First time to use, such as 2004-01-05.")
_END = _option("--end", metavar="DATE", help="Last time to use; 2004-01 means the whole month.")


def _command(function: Callable[..., None]) -> click.Command:
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


@_command
@_argument(
    "background", "Dataset with the grid and times of the analysis; with --background-error its values are used."
)
@_option("--obs", type=sources.ObservationType(), multiple=True, required=True,
         help="A source of observations; may be repeated. Settings: error (a number, or a variable of the file), "
         "variable, method, tolerance, name; error.pr=0.5 sets the error of one variable, and variable.precip=pr maps "
         "the variable precip of the file to pr of the model.")  # fmt: skip
@_option("--model", required=True, help="Name of a pretrained model, or path of a .safetensors file.")
@_option("--out", metavar="STORE", required=True, help="Zarr store to write, path or URL; or a netCDF file (.nc).")
@_option("--members", type=click.IntRange(min=1), default=16, help="Size of the ensemble.")
@_option("--background-error", type=sources.Pairs("[NAME=]NUMBER", number=True, bare=True), multiple=True,
         help="Standard deviation of the background error in the units of the background, for all variables or for "
         "each; without it the values of the background are not used.")  # fmt: skip
@_option("--guidance", type=click.Choice(GUIDANCE.names), default=SamplerOptions.guidance,
         help="Method by which observations guide the sampler.")  # fmt: skip
@_option("--sampler", type=click.Choice(SAMPLERS.names), default=SamplerOptions.sampler,
         help="Integrator of the reverse diffusion.")  # fmt: skip
@_option(
    "--steps", type=click.IntRange(min=1), default=SamplerOptions.steps, help="Number of steps from noise to state."
)
@_option(
    "--corrections",
    type=click.IntRange(min=0),
    default=SamplerOptions.corrections,
    help="Number of Langevin corrections after each step.",
)
@_option("--antithetic", is_flag=True, help="Draw members in pairs from noise of opposite sign.")
@_option("--overlap", type=sources.AutoInt(0), default="auto",
         help="Frames that are computed and discarded at both ends of each analysis window.")  # fmt: skip
@_option(
    "--variables",
    "--variable",
    "variables",
    multiple=True,
    help="State variable to write, may be repeated; by default all.",
)
@_option(
    "--seed", type=click.IntRange(min=0), default=0, help="Seed of the noise; the same seed gives the same ensemble."
)
@_DEVICE
@_option("--batch-size", type=sources.AutoInt(1), default="auto", help="Number of members sampled at once.")
@_option("--precision", type=click.Choice(PRECISIONS), default=ComputeOptions.precision,
         help="Precision of the score network; bf16 is faster on GPUs that support it.")  # fmt: skip
@_option("--compile", is_flag=True, help="Compile the score network; this takes a minute and pays for runs of hours.")
@_option("--report", is_flag=True, help="Write statistics of the observations with the analysis.")
@_START
@_END
@_SCHEDULER
@_option("--resume", is_flag=True, help="Resume the store of an interrupted run.")
@_OVERWRITE
@_PROGRESS
def assimilate(
    *, background: str, obs: tuple[dict[str, Any], ...], model: str, out: str, background_error: tuple[str, ...],
    variables: tuple[str, ...], start: str | None, end: str | None, scheduler: str | None, resume: bool,
    overwrite: bool, progress: bool, **settings: Any,
) -> None:  # fmt: skip
    """Draw an ensemble of states given observations, on the grid and at the times of BACKGROUND."""
    from xslams.cli import files, targets

    kind = _format(out)
    if resume and overwrite:
        msg = "--resume continues a store and --overwrite replaces it; give only one of them."
        raise click.UsageError(msg)
    if resume and kind != "zarr":
        msg = f"--resume needs a zarr store; --out is {out}."
        raise click.UsageError(msg)
    error = sources.error_of(background_error)
    inputs = [background, model, *(source["path"] for source in obs)]
    targets.check_target(out, overwrite=overwrite, inputs=inputs, resume=resume)
    opened = _model(model)
    ds = files.select(files.open_data(background), start, end)
    observations = [sources.observation(source) for source in obs]
    with _cluster(scheduler):
        analysis = ds.slams.assimilate(
            observations, opened, background_error=error, variables=variables or None, **settings
        )
        if kind == "zarr":
            targets.write_analysis(analysis, out, resume=resume, overwrite=overwrite, progress=progress)
        else:
            files.write_data(analysis, out, progress=progress)
    click.echo(public(out))


@_command
@_argument("data", "Training data; every field becomes a state variable, unless --aux names it.")
@_option("--out", metavar="FILE", required=True, help="Model to write (.safetensors), path or URL.")
@_option("--aux", multiple=True, help="Variable that is observed but not analysed; may be repeated.")
@_option("--window", type=click.IntRange(min=1), default=5, help="Frames in a window of the score network; odd.")
@_option(
    "--latent-channels",
    type=click.IntRange(min=1),
    help="Channels of the latent space; by default derived from the size of the data.",
)
@_option("--epochs", type=click.IntRange(min=0), help="Passes of the network; by default chosen on held-out data.")
@_option("--budget", default="5min", help="Time for choosing settings and training, such as 2h; 0 chooses nothing.")
@_option("--name", help="Name of the model; by default that of the file.")
@_option("--summary", default="", help="Description of the model in one line.", show_default=False)
@_option("--license", default="", help="Licence of the weights.", show_default=False)
@_option("--option", "options", type=sources.Pairs("KEY=VALUE", number=False, bare=False), multiple=True,
         help="Another setting of xslams.options.TrainingOptions, such as width=[32,64]; may be repeated.")  # fmt: skip
@_option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    help="Seed; the same seed gives the same model on the same machine.",
)
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
    from xslams.cli import files, targets

    if not out.endswith(".safetensors"):
        msg = f"--out: a model is saved as .safetensors; got {out}."
        raise click.UsageError(msg)
    targets.check_target(out, overwrite=overwrite, inputs=[data])
    ds = files.select(files.open_data(data), start, end)
    name = name or Path(public(out)).stem
    model = ds.slams.fit(list(aux) or None, name=name, **settings, **sources.pairs(options))
    files.write_file(out, model.save)
    click.echo(public(out))


@_command
@_argument("analysis", "Ensemble or single field.")
@_argument("truth", "Fields to score against, on the same grid; times are matched.")
@_option("--dims", multiple=True, help="Dimension to average over; by default time, latitude and longitude.")
@_option("--uncertainty", is_flag=True, help="Add the sampling error of every score, by a bootstrap over times.")
@_option("--out", metavar="FILE", help="Write all scores, with rank histograms: .nc, .zarr or .json.")
@_START
@_END
@_SCHEDULER
@_OVERWRITE
@_PROGRESS
def score(
    *, analysis: str, truth: str, dims: tuple[str, ...], uncertainty: bool, out: str | None, start: str | None,
    end: str | None, scheduler: str | None, overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Score ANALYSIS against TRUTH, weighted by area, and print a table."""
    from xslams import __version__
    from xslams.cli import files, targets
    from xslams.pipeline.targets import MARK

    kind = None if out is None else _format(out, also=(".json",))
    if out is not None:
        targets.check_target(out, overwrite=overwrite, inputs=[analysis, truth])
    ensemble = files.select(files.open_data(analysis), start, end)
    known = files.open_data(truth)
    # Only variables that both contain can be scored.
    common = [n for n in ensemble.data_vars if n in known.data_vars]
    given = (ensemble[common], known[common]) if common else (ensemble, known)
    with _cluster(scheduler), files.progress_bar(progress):
        scores = given[0].slams.score(given[1], dims=list(dims) or None, uncertainty=uncertainty).compute()
    click.echo(_table(scores))
    if out is not None and kind is None:
        text = json.dumps(scores.assign_attrs({MARK: __version__}).to_dict(), indent=1, default=str)
        files.write_file(out, lambda path: Path(path).write_text(text, encoding="utf-8"))
    elif out is not None:
        files.write_data(scores, out)


@_command
@_argument("data", "Fields to regrid.")
@_option("--target", required=True, help="Data with the target latitudes and longitudes, or a model.")
@_option("--out", metavar="FILE", required=True, help="Zarr store or netCDF file to write, path or URL.")
@_option("--method", type=click.Choice(get_args(Method)), default="bilinear",
         help="Method of regridding.")  # fmt: skip
@_option(
    "--engine",
    type=click.Choice(get_args(Engine)),
    default="auto",
    help="Library that computes the weights.",
)
@_option("--edges", type=click.Choice(get_args(Edges)), default="great_circle",
         help="Lines that join neighbouring points: great circles as in ESMF, or parallels as in CDO.")  # fmt: skip
@_START
@_END
@_SCHEDULER
@_OVERWRITE
@_PROGRESS
def regrid(
    *, data: str, target: str, out: str, method: str, engine: str, edges: str, start: str | None, end: str | None,
    scheduler: str | None, overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Regrid DATA to the grid or the points of another file or of a model."""
    from xslams.cli import files, targets

    _format(out)
    targets.check_target(out, overwrite=overwrite, inputs=[data, target])
    ds = files.select(files.open_data(data), start, end)
    is_data = (
        targets.format_of(target) or ":" in target or (os.path.exists(target) and not target.endswith(".safetensors"))
    )
    wanted = files.open_data(target) if is_data else _model(target)
    with _cluster(scheduler):
        files.write_data(ds.slams.regrid(wanted, method=method, engine=engine, edges=edges), out, progress=progress)
    click.echo(public(out))


@_command
@_argument("analysis", "Ensemble or single field.")
@_option("--out", metavar="FILE", required=True, help="Figure to write: .png, .pdf or .svg.")
@_option("--truth", help="Fields to compare with.")
@_option(
    "--obs", type=sources.ObservationType(), multiple=True, help="A source of observations to show, as for assimilate."
)
@_option("--variable", help="Variable to draw; by default the first.")
@_option("--time", metavar="DATE", help="Time to draw (the nearest frame); by default the middle.")
@_option("--level", type=float, help="Level to draw (the nearest one); by default the first.")
@_option("--kind", default="auto",
         help='"maps", "hovmoeller", "series", "mean", "spread", "error", "increment", "members", "panel", '
         '"spread_skill", "rank_histogram", "spectra" or "innovations"; "auto" suits the dimensions.')  # fmt: skip
@_option("--background", help="What the analysis started from, for kinds that compare with it.")
@_option("--at", type=(float, float), metavar="LAT LON", help="Place of a series; by default the mean over the area.")
@_option("--row", help="Dimension of which each label has a row of pictures.")
@_option("--col", help="Dimension of which each label has a column of pictures.")
@_option("--col-wrap", type=click.IntRange(min=1), help="Number of columns.")
@_option("--figsize", type=(float, float), metavar="WIDTH HEIGHT", help="Size of the figure in inches.")
@_option("--dpi", type=click.IntRange(min=1, max=2400), default=110, help="Dots per inch.")
@_OVERWRITE
def plot(
    *, analysis: str, out: str, truth: str | None, obs: tuple[dict[str, Any], ...], background: str | None, dpi: int,
    overwrite: bool, **settings: Any,
) -> None:  # fmt: skip
    """Draw mean and spread of ANALYSIS, and truth, error and observations if given, as maps or series."""
    from xslams.cli import files, targets

    if os.path.splitext(out)[1].lower() not in (".png", ".pdf", ".svg"):
        msg = f"--out: expected a figure, .png, .pdf or .svg; got {out}."
        raise click.UsageError(msg)
    inputs = [analysis, truth, background, *(source["path"] for source in obs)]
    targets.check_target(out, overwrite=overwrite, inputs=inputs)
    ds = files.open_data(analysis)
    compared, started = (None if path is None else files.open_data(path) for path in (truth, background))
    observations = [sources.observation(source) for source in obs] or None
    import matplotlib as mpl

    mpl.use("agg")
    figure = ds.slams.plot(compared, observations, background=started, **settings)
    files.write_file(out, lambda path: figure.savefig(path, dpi=dpi))
    click.echo(public(out))


@main.group()
def models() -> None:
    """List, describe, fetch and verify pretrained models."""


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_MIRROR = click.option(
    "--mirror", metavar="ADDRESS", envvar="XSLAMS_MIRROR", show_envvar=True,
    help="Folder with the files, path or URL, which replaces the registered addresses.",
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
    """Describe the model NAME (or path): variables, grid, training and scores. Nothing is fetched."""
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
@click.option("--progress/--no-progress", default=True, show_default=True, help="Show progress and the remaining time.")
def models_fetch(*, names: tuple[str, ...], mirror: str | None, progress: bool) -> None:
    """Fetch the models NAMES into the cache, and print their paths."""
    from xslams.zoo import pretrained as zoo

    for name in names:
        click.echo(zoo.fetch_model(name, mirror=mirror, progress=progress))


@models.command("verify")
@click.argument("names", nargs=-1)
@click.pass_context
def models_verify(ctx: click.Context, *, names: tuple[str, ...]) -> None:
    """Compare the files of all models, or of NAMES, with the registry; damaged files are removed from the cache."""
    from xslams.errors import ModelError
    from xslams.zoo import pretrained as zoo

    known = list(zoo.list_models().index)
    unknown = [n for n in names if n not in known]
    if unknown:
        zoo.verify_model(unknown[0])  # raises an error that lists the models
    damaged = False
    for name in names or known:
        try:
            click.echo(f"{name}: {zoo.verify_model(name)}")
        except ModelError as e:
            click.echo(f"{name}: {e}", err=True)
            damaged = True
    if damaged:
        ctx.exit(4)


def _format(out: str, also: tuple[str, ...] = ()) -> str | None:
    from xslams.cli.targets import format_of

    kind = format_of(out)
    if kind is None and os.path.splitext(out)[1] not in also:
        msg = f"--out: expected {', '.join(('.zarr', '.nc', *also))}; got {out}."
        raise click.UsageError(msg)
    return kind


def _model(name: str) -> Model:
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


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Compute on a dask cluster if its address is given."""
    if address is None:
        yield
        return
    from distributed import Client

    from xslams.errors import FileError

    given = {"scheduler_file": address} if os.path.isfile(address) else {"address": address}
    try:
        # A client that fails to connect would stay the default until it is collected, and whoever computes would wait.
        client = Client(**given, timeout="30s", set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as e:
        msg = f"No dask scheduler answers at {address} ({type(e).__name__}: {e}). Check --scheduler."
        raise FileError(msg) from (e if isinstance(e, OSError) else None)
    with client, client.as_current():
        yield


def _table(scores: xr.Dataset) -> str:
    """Format all scores except histograms as a table; a score without dimensions is one line."""
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

"""Commands on observations and analyses: ``assimilate``, ``check`` and ``report``."""

from __future__ import annotations

from typing import Any, get_args

import click

from xslams.addresses import public
from xslams.cli import sources, tables
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
    open_model_if_named,
    option,
)
from xslams.options import GUIDANCE, SAMPLERS, ComputeOptions, SamplerOptions
from xslams.typing import PRECISIONS, Engine


@command
@argument(
    "background",
    "Dataset with the grid and times of the analysis; with --background-error its values are used, "
    "and so are those of an ensemble, a Dataset with a dimension 'member'.",
)
@option("--obs", type=sources.ObservationType(), multiple=True, required=True,
         help="A source of observations; may be repeated. Settings: error (a number, or a variable of the file), "
         "variable, method, tolerance, name; error.pr=0.5 sets the error of one variable, and variable.precip=pr maps "
         "the variable precip of the file to pr of the model.")  # fmt: skip
@option("--model", help="Name of a pretrained model, or path of a .safetensors file; by default the one that fits.")
@option("--out", metavar="STORE", required=True, help="Zarr store to write, path or URL; or a netCDF file (.nc).")
@option("--members", type=sources.Whole(min=1), default=16, help="Size of the ensemble.")
@option("--background-error", type=sources.Pairs("[NAME=]NUMBER", number=True, bare=True), multiple=True,
         help="Standard deviation of the background error in the units of the background, for all variables or for "
         "each; without it the values of the background are not used.")  # fmt: skip
@option("--guidance", type=click.Choice(GUIDANCE.names), default=SamplerOptions.guidance,
         help="Method by which observations guide the sampler.")  # fmt: skip
@option("--sampler", type=click.Choice(SAMPLERS.names), default=SamplerOptions.sampler,
         help="Integrator of the reverse diffusion.")  # fmt: skip
@option("--steps", type=sources.Whole(min=1), default=SamplerOptions.steps, help="Number of steps from noise to state.")
@option(
    "--corrections",
    type=sources.Whole(min=0),
    default=SamplerOptions.corrections,
    help="Number of Langevin corrections after each step.",
)
@option("--antithetic", is_flag=True, help="Draw members in pairs from noise of opposite sign.")
@option("--overlap", type=sources.AutoInt(0), default="auto",
         help="Frames that are computed and discarded at both ends of each analysis window.")  # fmt: skip
@option(
    "--variables",
    "--variable",
    "variables",
    multiple=True,
    help="State variable to write, may be repeated; by default all.",
)
@option(
    "--seed", type=sources.Whole(min=0), default=0, help="Seed of the noise; the same seed gives the same ensemble."
)
@DEVICE
@option("--batch-size", type=sources.AutoInt(1), default="auto", help="Number of members sampled at once.")
@option("--precision", type=click.Choice(PRECISIONS), default=ComputeOptions.precision,
         help="Precision of the score network; bf16 is faster on GPUs that support it.")  # fmt: skip
@option("--compile", is_flag=True, help="Compile the score network; this takes a minute and pays for runs of hours.")
@option("--engine", type=click.Choice(get_args(Engine)), default="auto",
         help="Library that computes weights, for observations without an engine of their own.")  # fmt: skip
@option("--report", is_flag=True, help="Write statistics of the observations with the analysis.")
@START
@END
@SCHEDULER
@option("--resume", is_flag=True, help="Resume the store of an interrupted run.")
@OVERWRITE
@PROGRESS
def assimilate(
    *, background: str, obs: tuple[dict[str, Any], ...], model: str | None, out: str, background_error: tuple[str, ...],
    variables: tuple[str, ...], start: str | None, end: str | None, scheduler: str | None, resume: bool,
    overwrite: bool, progress: bool | None, **settings: Any,
) -> None:  # fmt: skip
    """Draw an ensemble of states given observations, on the grid and at the times of BACKGROUND."""
    from xslams.cli import files, targets

    kind = data_format(out)
    if resume and overwrite:
        msg = "--resume continues a store and --overwrite replaces it; give only one of them."
        raise click.UsageError(msg)
    if resume and kind != "zarr":
        msg = f"--resume needs a zarr store; --out is {out}."
        raise click.UsageError(msg)
    error = sources.error_of(background_error)
    inputs = [background, model, *(source["path"] for source in obs)]
    targets.check_target(out, overwrite=overwrite, inputs=inputs, resume=resume)
    opened = open_model_if_named(model)
    ds = files.select(files.open_data(background), start, end)
    observations = [sources.observation(source) for source in obs]
    with cluster(scheduler):
        analysis = ds.slams.assimilate(
            observations, opened, background_error=error, variables=variables or None, **settings
        )
        if kind == "zarr":
            targets.write_analysis(analysis, out, resume=resume, overwrite=overwrite, progress=progress)
        else:
            files.write_data(analysis, out, progress=progress)
    click.echo(public(out))


@command
@argument("background", "Dataset with the grid and times of the analysis.")
@option("--obs", type=sources.ObservationType(), multiple=True, required=True,
        help="A source of observations, as for assimilate; may be repeated.")  # fmt: skip
@option("--model", help="Name of a pretrained model, or path of a .safetensors file; by default the one that fits.")
@option("--background-error", type=sources.Pairs("[NAME=]NUMBER", number=True, bare=True), multiple=True,
        help="Standard deviation of the background error, as for assimilate.")  # fmt: skip
@option("--engine", type=click.Choice(get_args(Engine)), default="auto",
        help="Library that computes weights, as for assimilate.")  # fmt: skip
@option("--out", metavar="FILE", help="Write the report: .nc, .zarr or .json.")
@START
@END
@SCHEDULER
@OVERWRITE
def check(
    *, background: str, obs: tuple[dict[str, Any], ...], model: str | None, background_error: tuple[str, ...],
    engine: Engine, out: str | None, start: str | None, end: str | None, scheduler: str | None, overwrite: bool,
) -> None:  # fmt: skip
    """Print what would become of observations, and how they fit the first guess, before any analysis."""
    from xslams.cli import files

    error = sources.error_of(background_error)
    inputs = [background, model, *(source["path"] for source in obs)]
    tables.check_target(out, overwrite=overwrite, inputs=inputs)
    opened = open_model_if_named(model)
    ds = files.select(files.open_data(background), start, end)
    observations = [sources.observation(source) for source in obs]
    with cluster(scheduler):
        found = ds.slams.check(observations, opened, background_error=error, engine=engine).compute()
    click.echo(tables.report(found))
    tables.write(found, out)


@command
@argument("analysis", "Analysis that was made with --report.")
@option("--out", metavar="FILE", help="Write the report: .nc, .zarr or .json.")
@OVERWRITE
def report(*, analysis: str, out: str | None, overwrite: bool) -> None:
    """Print what became of the observations of ANALYSIS."""
    from xslams.cli import files

    tables.check_target(out, overwrite=overwrite, inputs=[analysis])
    found = files.open_data(analysis).slams.report().compute()
    click.echo(tables.report(found))
    tables.write(found, out)

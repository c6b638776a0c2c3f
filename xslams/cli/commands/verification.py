"""Commands that judge and show an analysis: ``score``, ``diagnose`` and ``plot``."""

from __future__ import annotations

import os
from typing import Any

import click

from xslams.addresses import public
from xslams.cli import sources, tables
from xslams.cli.root import (
    END,
    OVERWRITE,
    PROGRESS,
    SCHEDULER,
    START,
    argument,
    cluster,
    command,
    open_model_if_named,
    option,
)


@command
@argument("analysis", "Ensemble or single field.")
@argument("truth", "Fields to score against, on the same grid; times are matched.")
@option("--dims", multiple=True, help="Dimension to average over; by default time, latitude and longitude.")
@option("--uncertainty", is_flag=True, help="Add the sampling error of every score, by a bootstrap over times.")
@option("--out", metavar="FILE", help="Write all scores, with rank histograms: .nc, .zarr or .json.")
@START
@END
@SCHEDULER
@OVERWRITE
@PROGRESS
def score(
    *, analysis: str, truth: str, dims: tuple[str, ...], uncertainty: bool, out: str | None, start: str | None,
    end: str | None, scheduler: str | None, overwrite: bool, progress: bool | None,
) -> None:  # fmt: skip
    """Score ANALYSIS against TRUTH, weighted by area, and print a table."""
    from xslams.cli import files

    tables.check_target(out, overwrite=overwrite, inputs=[analysis, truth])
    ensemble = files.select(files.open_data(analysis), start, end)
    known = files.open_data(truth)
    # Only variables that both contain can be scored.
    common = [n for n in ensemble.data_vars if n in known.data_vars]
    given = (ensemble[common], known[common]) if common else (ensemble, known)
    with cluster(scheduler), files.progress_bar(progress):
        scores = given[0].slams.score(given[1], dims=list(dims) or None, uncertainty=uncertainty).compute()
    click.echo(tables.scores(scores))
    tables.write(scores, out)


@command
@argument("analysis", "Ensemble, with the model that it names.")
@option("--obs", type=sources.ObservationType(), multiple=True,
        help="A source that was assimilated, as for assimilate; may be repeated.")  # fmt: skip
@option("--truth", help="Fields to compare with.")
@option("--model", help="Model of the analysis; by default the one that it names.")
@option("--background", help="What the analysis started from, which makes estimates of errors better.")
@option("--out", metavar="FILE", help="Write the findings: .nc, .zarr or .json.")
@START
@END
@OVERWRITE
def diagnose(
    *, analysis: str, obs: tuple[dict[str, Any], ...], truth: str | None, model: str | None, background: str | None,
    out: str | None, start: str | None, end: str | None, overwrite: bool,
) -> None:  # fmt: skip
    """Say whether the ensemble ANALYSIS is calibrated, its observations have the stated errors, and what to change."""
    from xslams.cli import files

    inputs = [analysis, truth, model, background, *(source["path"] for source in obs)]
    tables.check_target(out, overwrite=overwrite, inputs=inputs)
    ensemble = files.select(files.open_data(analysis), start, end)
    known, started = (None if path is None else files.open_data(path) for path in (truth, background))
    found = ensemble.slams.diagnose(
        [sources.observation(source) for source in obs] or None,
        known,
        model=open_model_if_named(model),
        background=started,
    )
    click.echo(str(found))
    tables.write(found.to_dataset(), out)


@command
@argument("analysis", "Ensemble or single field.")
@option("--out", metavar="FILE", required=True, help="Figure to write: .png, .pdf or .svg.")
@option("--truth", help="Fields to compare with.")
@option(
    "--obs", type=sources.ObservationType(), multiple=True, help="A source of observations to show, as for assimilate."
)
@option("--variable", help="Variable to draw; by default the first.")
@option("--time", metavar="DATE", help="Time to draw (the nearest frame); by default the middle.")
@option("--level", type=float, help="Level to draw (the nearest one); by default the first.")
@option("--kind", default="auto",
         help='"maps", "hovmoeller", "series", "mean", "spread", "error", "increment", "members", "panel", '
         '"spread_skill", "rank_histogram", "spectra" or "innovations"; "auto" suits the dimensions.')  # fmt: skip
@option("--background", help="What the analysis started from, for kinds that compare with it.")
@option("--at", type=(float, float), metavar="LAT LON", help="Place of a series; by default the mean over the area.")
@option("--row", help="Dimension of which each label has a row of pictures.")
@option("--col", help="Dimension of which each label has a column of pictures.")
@option("--col-wrap", type=sources.Whole(min=1), help="Number of columns.")
@option("--figsize", type=(float, float), metavar="WIDTH HEIGHT", help="Size of the figure in inches.")
@option("--dpi", type=sources.Whole(min=1, max=2400), default=110, help="Dots per inch.")
@OVERWRITE
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

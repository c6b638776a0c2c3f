"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xslams.addresses import public
from xslams.cli import sources
from xslams.cli.root import DEVICE, END, OVERWRITE, PROGRESS, START, argument, command, option


@command
@argument("data", "Training data; every field becomes a state variable, unless --aux names it.")
@option("--out", metavar="FILE", required=True, help="Model to write (.safetensors), path or URL.")
@option("--aux", multiple=True, help="Variable that is observed but not analysed; may be repeated.")
@option("--window", type=click.IntRange(min=1), default=5, help="Frames in a window of the score network; odd.")
@option(
    "--latent-channels",
    type=click.IntRange(min=1),
    help="Channels of the latent space; by default derived from the size of the data.",
)
@option("--epochs", type=click.IntRange(min=0), help="Passes of the network; by default chosen on held-out data.")
@option("--budget", default="5min", help="Time for choosing settings and training, such as 2h; 0 chooses nothing.")
@option("--name", help="Name of the model; by default that of the file.")
@option("--summary", default="", help="Description of the model in one line.", show_default=False)
@option("--license", default="", help="Licence of the weights.", show_default=False)
@option("--option", "options", type=sources.Pairs("KEY=VALUE", number=False, bare=False), multiple=True,
         help="Another setting of xslams.options.TrainingOptions, such as width=[32,64]; may be repeated.")  # fmt: skip
@option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    help="Seed; the same seed gives the same model on the same machine.",
)
@DEVICE
@START
@END
@OVERWRITE
@PROGRESS
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

"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xslams.addresses import public
from xslams.cli import sources
from xslams.cli.root import DEVICE, END, OVERWRITE, PROGRESS, START, argument, command, option
from xslams.cli.settings import options_of
from xslams.options import TrainingOptions


@command
@argument("data", "Training data; every field becomes a state variable, unless --aux names it.")
@option("--out", metavar="FILE", required=True, help="Model to write (.safetensors), path or URL.")
@option("--aux", multiple=True, help="Variable that is observed but not analysed; may be repeated.")
@option("--obs", type=sources.ObservationType(), multiple=True,
         help="A source at places of its own, of which the model learns what it says about the state, with its biases "
         "and errors; may be repeated. Settings are those of assimilate, but error.")  # fmt: skip
@option("--window", type=sources.Whole(min=1), default=5, help="Frames in a window of the score network; odd.")
@options_of(TrainingOptions)
@option("--budget", default="5min", help="Time for choosing settings and training, such as 2h; 0 chooses nothing.")
@option("--name", help="Name of the model; by default that of the file.")
@option("--summary", default="", help="Description of the model in one line.", show_default=False)
@option("--license", default="", help="Licence of the weights.", show_default=False)
@option("--option", "options", type=sources.Pairs("KEY=VALUE", number=False, bare=False), multiple=True,
         help="A setting of training by its name, such as width=[32,64]; may be repeated.")  # fmt: skip
@option("--checkpoint", metavar="FILE", help="Keep the state of the training here (.safetensors), and go on from it.")
@option("--log", metavar="FILE", help="Write losses and held-out scores: a .csv file, or a folder for TensorBoard.")
@option(
    "--seed",
    type=sources.Whole(min=0),
    default=0,
    help="Seed; the same seed gives the same model on the same machine.",
)
@DEVICE
@START
@END
@OVERWRITE
@PROGRESS
def train(
    *, data: str, out: str, aux: tuple[str, ...], obs: tuple[dict[str, Any], ...], name: str | None,
    options: tuple[str, ...], start: str | None, end: str | None, overwrite: bool, **settings: Any,
) -> None:  # fmt: skip
    """Train a model on DATA."""
    from xslams.cli import files, targets

    if not out.endswith(".safetensors"):
        msg = f"--out: a model is saved as .safetensors; got {out}."
        raise click.UsageError(msg)
    targets.check_target(out, overwrite=overwrite, inputs=[data, *(source["path"] for source in obs)])
    ds = files.select(files.open_data(data), start, end)
    name = name or Path(public(out)).stem
    named = {k: v for k, v in settings.items() if v is not None}
    more = sources.pairs(options)
    if twice := sorted(named.keys() & more.keys()):
        msg = f"--option: {', '.join(twice)} {'is' if len(twice) == 1 else 'are'} given by an option of its own, too."
        raise click.UsageError(msg)
    learned = [sources.observation(source) for source in obs]
    model = ds.slams.fit([*aux, *learned] or None, name=name, **named, **more)
    files.write_file(out, model.save)
    click.echo(public(out))

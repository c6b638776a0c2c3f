"""The commands of ``xslams models``: list, describe, fetch and verify."""

from __future__ import annotations

import json
from typing import Any

import click

from xslams.cli.root import main


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
@click.option("--progress/--no-progress", default=None, help="Show progress; by default in a terminal.")
def models_fetch(*, names: tuple[str, ...], mirror: str | None, progress: bool | None) -> None:
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

"""Configuration files: YAML with a section for each command, whose keys are the command's options.

The command line overrides the file, and the file overrides defaults. The whole file is validated before anything runs;
an error names an unknown section or key, or a value of the wrong type, with the nearest valid one. The safe loader
reads YAML as text, numbers, lists and mappings only, so that a file cannot run code.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from xslams.addresses import cleaned, hide
from xslams.arguments import shown

__all__ = ["Argument", "Option", "configurable", "describe", "is_printing", "load", "plain", "render"]

# Far beyond any run, and little enough to be read at once.
_LONGEST, _MOST_NODES, _DEEPEST = 2**20, 10_000, 50
_OWN = ("config", "print_config", "help")
_PRINTING = "xslams.print_config"

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Lenient(click.Parameter):
    """A parameter that may be missing if the configuration is only printed."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().process_value(ctx, value)
        except click.MissingParameter:
            if ctx.meta.get(_PRINTING):
                return () if self.multiple or self.nargs == -1 else None
            raise


class Option(_Lenient, click.Option):
    """An option that may be missing if the configuration is only printed."""


class Argument(_Lenient, click.Argument):
    """An argument with a help text, which a configuration file may also set.

    Parameters
    ----------
    *args, **kwargs
        As for `click.Argument`.
    help
        One line.
    """

    def __init__(self, *args: Any, help: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = help  # newer releases of click set their own before


def configurable(command: _Command) -> _Command:
    """Add the options ``--config`` and ``--print-config`` to a command.

    Parameters
    ----------
    command
        Function with click's options.

    Returns
    -------
    function
        The command with two more options.
    """
    config = click.option(
        "--config", metavar="FILE", is_eager=True, expose_value=False, callback=_read,
        help="YAML file with a section of options for this command; path or URL. The command line overrides it.",
    )  # fmt: skip
    printing = click.option(
        "--print-config", is_flag=True, is_eager=True, expose_value=False, callback=_note,
        help="Print all options as a configuration file and exit.",
    )  # fmt: skip
    return config(printing(command))


def describe(command: click.Command) -> dict[str, click.Parameter]:
    """Return the parameters of a command that a configuration may set, by key.

    Parameters
    ----------
    command
        A command.

    Returns
    -------
    dict
        Parameters.
    """
    return {str(p.name): p for p in command.params if p.name not in _OWN}


def load(path: str, root: click.Group, ctx: click.Context) -> dict[str, dict[str, Any]]:
    """Read and validate a configuration file.

    Parameters
    ----------
    path
        Path or URL.
    root
        Group of all commands, which are the sections.
    ctx
        Context of the command that runs.

    Returns
    -------
    dict
        Values by section and key.

    Raises
    ------
    click.UsageError
        If the file cannot be read or is invalid.
    """
    text = _text(path)
    content = plain(text, path)
    if content is None:
        content = {}
    sections = {name: c for name, c in root.commands.items() if not isinstance(c, click.Group)}
    if not isinstance(content, Mapping):
        msg = f"{path}: expected sections ({', '.join(sections)}); got {_said(content)}."
        raise click.UsageError(msg)
    checked: dict[str, dict[str, Any]] = {}
    for section, given in content.items():
        if section not in sections:
            owner = next((n for n, c in sections.items() if _key(section) in describe(c)), None)
            hint = f" It is an option of {owner!r}: write it under '{owner}:'." if owner else _near(section, sections)
            msg = f"{path}: unknown section {shown(section)}; expected {', '.join(sections)}.{hint}"
            raise click.UsageError(msg)
        if given is None:
            given = {}
        if not isinstance(given, Mapping):
            msg = f"{path}: {section}: expected options, 'key: value'; got {_said(given)}."
            raise click.UsageError(msg)
        known = describe(sections[section])
        checked[section] = {}
        for name, value in given.items():
            key = _key(name)
            if key not in known:
                msg = f"{path}: {section}.{_key(name)[:80]}: unknown key.{_near(key, known)} Keys: {', '.join(known)}."
                raise click.UsageError(msg)
            if key in checked[section]:
                msg = f"{path}: {section}.{name}: given twice."
                raise click.UsageError(msg)
            if value is not None:
                try:
                    checked[section][key] = _value(known[key], value, ctx)
                except click.BadParameter as e:
                    msg = f"{path}: {section}.{name}: {e.message}"
                    raise click.UsageError(msg) from cleaned(e)
                except (ValueError, TypeError, OverflowError) as e:  # as of a number of thousands of digits
                    msg = f"{path}: {section}.{name}: {e}"
                    raise click.UsageError(msg) from cleaned(e)
    return checked


def render(ctx: click.Context) -> str:
    """Return the options of a call as a configuration file.

    Parameters
    ----------
    ctx
        Context of a command whose parameters were parsed.

    Returns
    -------
    str
        YAML, in which options that are not set are comments, and credentials in addresses are hidden.
    """
    import yaml

    lines = [f"{ctx.command.name}:"]
    for key, parameter in describe(ctx.command).items():
        value = ctx.params.get(key)
        if value is None or value == ():
            lines.append(f"  # {key}:{' required' if parameter.required else ''}")
            continue
        plain = list(value) if isinstance(value, tuple) else value
        dumped = yaml.safe_dump({key: plain}, sort_keys=False, allow_unicode=True, width=10**6)
        lines += [f"  {line}" for line in dumped.rstrip("\n").split("\n")]
    text = "\n".join(lines) + "\n"
    hidden = hide(text)
    return text if hidden == text else f"# Credentials are not printed: put them in place of ***.\n{hidden}"


def _read(ctx: click.Context, _: click.Parameter, path: str | None) -> None:
    if path is not None:
        root = ctx.find_root().command
        assert isinstance(root, click.Group)
        ctx.default_map = load(path, root, ctx).get(str(ctx.command.name), {})


def _note(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_PRINTING] = value


def is_printing(ctx: click.Context) -> bool:
    """Whether this call only prints its configuration.

    Parameters
    ----------
    ctx
        Context of the command.

    Returns
    -------
    bool
        Whether ``--print-config`` was given.
    """
    return bool(ctx.meta.get(_PRINTING))


def _text(path: str) -> str:
    import fsspec

    try:
        with fsspec.open(path, "rt", encoding="utf-8") as file:
            text = str(file.read(_LONGEST + 1))
    except (OSError, ValueError, ImportError, TypeError, LookupError) as e:
        msg = f"The configuration file {path} cannot be read ({type(e).__name__}: {e})."
        raise click.UsageError(msg) from cleaned(e)
    if len(text) > _LONGEST:
        msg = f"{path} is no configuration file: it has more than {_LONGEST:,} characters."
        raise click.UsageError(msg)
    return text


def plain(text: str, where: str) -> Any:
    """Read YAML of any shape as text, numbers, lists and mappings.

    Parameters
    ----------
    text
        YAML.
    where
        What it is, for messages.

    Returns
    -------
    object
        What it says.

    Raises
    ------
    click.UsageError
        If it is not YAML, holds something else, repeats a key, holds itself, or is nested or repeated without bounds.

    Examples
    --------
    >>> plain("[32, 64]", "width")
    [32, 64]
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml ships no types
        """The safe loader, which also refuses repeated keys."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in getattr(node, "value", ()):
                name = key.value if isinstance(key, yaml.ScalarNode) else id(key)
                if name in seen:
                    line = key.start_mark.line + 1
                    raise yaml.constructor.ConstructorError(None, None, f"line {line}: {name!r} is given twice")
                seen.add(name)
            mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            return mapping

    try:
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _require_finite(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as e:
        # The loader lets through what Python raises for dates, numbers and tags that are none.
        msg = f"{where} is not plain YAML: {str(e) or type(e).__name__}"
        raise click.UsageError(msg) from cleaned(e)


def _require_finite(root: Any) -> None:
    """Raise ValueError unless a graph of YAML nodes unfolds to a small tree of text that paths may have."""
    left, pending = _MOST_NODES, [(root, 1)]
    while pending:
        node, depth = pending.pop()
        left -= 1
        if left < 0 or depth > _DEEPEST:
            msg = f"more than {_MOST_NODES} values or {_DEEPEST} levels; is there an alias within its own anchor?"
            raise ValueError(msg)
        if isinstance(node.value, str):
            node.value.encode()  # half a character of UTF-16 is a ValueError
            if "\0" in node.value:
                msg = f"line {node.start_mark.line + 1}: text may hold no null character"
                raise ValueError(msg)
        else:
            parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
            pending += [(part, depth + 1) for part in parts]


def _value(parameter: click.Parameter, value: Any, ctx: click.Context) -> Any:
    """Convert a value as the command line does, or raise BadParameter."""
    kind = parameter.type
    if getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            msg = f"expected true or false; got {shown(value)}."
            raise click.BadParameter(msg)
        return value
    adapt = getattr(kind, "from_config", None)
    if adapt is not None:
        value = adapt(value)
    if parameter.multiple or parameter.nargs == -1:
        values = value if isinstance(value, list) else [value]
        return [kind.convert(_scalar(v, composite=adapt is not None), parameter, ctx) for v in values]
    return kind.convert(_scalar(value, composite=adapt is not None), parameter, ctx)


def _scalar(value: Any, *, composite: bool) -> Any:
    if composite and isinstance(value, Mapping):
        return value
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | datetime.date):
        msg = f"expected one value; got {_said(value)}."
        raise click.BadParameter(msg)
    # As text, because click would truncate a number with decimals to an integer.
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _key(name: Any) -> str:
    return str(name).replace("-", "_")


def _kind(value: Any) -> str:
    kinds = {"dict": "a mapping", "list": "a list", "str": "text", "bool": "the truth value", "bytes": "binary data"}
    kinds |= dict.fromkeys(("int", "float"), "the number") | dict.fromkeys(("date", "datetime"), "the date")
    return kinds.get(type(value).__name__, f"a {type(value).__name__}")


def _said(value: Any) -> str:
    return f"{_kind(value)} {shown(value)}"


def _near(name: Any, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""

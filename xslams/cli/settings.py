"""Options of the command line that are those of a dataclass: names, types, defaults and help come from it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import click

from xslams.cli.config import Option

__all__ = ["Names", "Numbers", "documented", "options_of"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """Whole numbers separated by commas, such as 96,128; none at all is an empty text."""

    name = "INTEGER,..."
    kind: type[float] = int
    words = "whole numbers, such as 96,128"

    def from_config(self, value: Any) -> Any:
        """Accept a list."""
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else value

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not a list of {self.words}.", param, ctx)


class Factors(Numbers):
    """Numbers separated by commas, such as 1,1.2; none at all is an empty text."""

    name = "FLOAT,..."
    kind = float
    words = "numbers, such as 1,1.2"


class Names(Numbers):
    """Names separated by commas, such as pr,cloud; none at all is an empty text."""

    name = "TEXT,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return the names."""
        return value if isinstance(value, tuple) else tuple(n.strip() for n in str(value).split(",") if n.strip())


# Lists by what they hold.
_LISTS: dict[Any, type[Numbers]] = {int: Numbers, float: Factors, str: Names}


def options_of(kind: type[Any], *, without: tuple[str, ...] = ()) -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command an option for each field of a dataclass.

    Those that are not given are None, so that the command knows what was.

    Parameters
    ----------
    kind
        Dataclass whose docstring documents its fields as numpydoc does.
    without
        Fields that the command has already.
    """
    hints, help_of = typing.get_type_hints(kind), documented(kind)

    def add(command: _Command) -> _Command:
        for field in reversed(dataclasses.fields(kind)):
            if field.name not in without:
                flag = "--" + field.name.replace("_", "-")
                # Without docstrings, as with python -OO, there is a default at least.
                says = help_of.get(field.name, "")
                text = f"{says} Default where nothing is chosen: {_shown(field.default)}.".strip()
                command = click.option(flag, cls=Option, type=_type_of(hints[field.name]), default=None, help=text)(
                    command
                )
        return command

    return add


def documented(kind: type[Any]) -> dict[str, str]:
    """First sentences of what a docstring says of the attributes of a class.

    Parameters
    ----------
    kind
        Class with a docstring in the format of numpydoc.

    Returns
    -------
    dict
        By name.
    """
    # Python 3.13 and later dedent docstrings themselves.
    section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes\n----------\n")[2].split("\n\n", 1)[0]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        text = line.strip()
        if line[:1].strip():
            names = text.split(", ")
        for name in names:
            found[name] = "" if text.split(", ") == names else f"{found.get(name, '')} {text}".strip()
    plain = {name: text.replace("``", "").replace("`", "") for name, text in found.items()}
    return {
        name: re.split(r"(?<=[a-z)\]])[.;] (?=[A-Za-z0-9])", text)[0].rstrip(".") + "." for name, text in plain.items()
    }


def _type_of(hint: Any) -> click.ParamType:  # type: ignore[type-arg]
    """Type of an option for the annotation of a field."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is Literal:
        return click.Choice(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return _LISTS[typing.get_args(hint)[0]]()
    types_of: dict[Any, click.ParamType] = {int: click.INT, float: click.FLOAT}  # type: ignore[type-arg]
    return types_of[hint]


def _shown(default: Any) -> str:
    if default is None:
        return "none"
    return (",".join(map(str, default)) or "none") if isinstance(default, tuple) else str(default)

"""Option types: a source of observations with its settings, standard errors, ``key=value``, and a number or "auto"."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from xslams.cli.config import plain
from xslams.errors import OptionError

if TYPE_CHECKING:
    from xslams.observations.observation import Observation

__all__ = ["AutoInt", "ObservationType", "Pairs", "Whole", "error_of", "observation", "pairs"]

_TAIL = re.compile(r",([A-Za-z_]+)((?:\.[^,=]+)?)=([^,]*)$")


class ObservationType(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """``PATH[,error=0.5][,variable=pr][,method=nearest]...``: a source and the settings of its `Observation`.

    Settings may be given for each variable, ``error.pr=0.5,error.olr=5``; ``variable.precip=pr`` maps the variable
    ``precip`` of the file to ``pr`` of the model. A configuration file has the same text, or a mapping with ``path``.
    """

    name = "PATH[,KEY=VALUE...]"

    def from_config(self, value: Any) -> Any:
        """Accept text, a mapping, or a list of these."""
        return value

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Convert to a mapping with ``path`` and settings, whose values are plain."""
        source = dict(value) if isinstance(value, Mapping) else _split(str(value))
        known = settings()
        for key in source:
            if key not in ("path", *known):
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                self.fail(f"{key!r} is not a setting of a source.{hint} Settings: {', '.join(known)}.", param, ctx)
        if not isinstance(source.get("path"), str) or not source["path"]:
            self.fail("a source needs a 'path'.", param, ctx)
        try:
            _check(source)
        except OptionError as e:
            self.fail(str(e), param, ctx)
        return source


def _check(source: Mapping[str, Any]) -> None:
    """Raise `OptionError` for settings that no source can have, before any file is opened."""
    from xslams.observations import QualityControl
    from xslams.observations.observation import check_settings

    given = {k: source.get(k) for k in ("variable", "error", "method", "tolerance", "name")}
    # The error may also be a variable of the file.
    given["error"] = None if isinstance(given["error"], str) else given["error"]
    defaults = {"method": "bilinear", "engine": "auto"}
    chosen = {k: v if source.get(k) is None else source[k] for k, v in defaults.items()}
    check_settings(**given | chosen)
    QualityControl.of(source.get("qc"))


def settings() -> list[str]:
    """List the settings of a source that text can express: those of `Observation` except data and functions.

    Returns
    -------
    list of str
        Names.

    Examples
    --------
    >>> {"variable", "error", "method", "tolerance", "name"} <= set(settings())
    True
    """
    from xslams.observations import Observation

    return [name for name in inspect.signature(Observation).parameters if name not in ("data", "operator")]


def _split(text: str) -> dict[str, Any]:
    """Split settings from the end of a path, which may itself contain commas."""
    found: list[tuple[str, str, str]] = []
    while match := _TAIL.search(text):
        found.append((match[1], match[2][1:], match[3]))
        text = text[: match.start()]
    source: dict[str, Any] = {"path": text}
    for key, of, value in reversed(found):
        if of:
            before = source.setdefault(key, {})
            if not isinstance(before, dict):
                msg = f"{key!r} is given both for all variables and for {of!r}."
                raise click.BadParameter(msg)
            before[of] = _quality(value) if key == "qc" else _plain(key, value)
        elif key in source:
            msg = f"{key!r} is given twice."
            raise click.BadParameter(msg)
        else:
            source[key] = value.split("+") if key == "variable" and "+" in value else _plain(key, value)
    return source


def _quality(text: str) -> Any:
    """Convert text to a value of quality control: words that YAML knows, numbers, names, and lists of them by ``+``."""
    if "+" in text:
        return [_quality(part) for part in text.split("+")]
    words = {"true": True, "false": False, "none": None, "null": None}
    return words[text.lower()] if text.lower() in words else _plain("qc", text)


def _plain(key: str, text: str) -> Any:
    """Convert text to a number, except for settings that are names."""
    if key in ("name", "method", "variable"):
        return text
    try:
        return float(text)
    except ValueError:
        return text


def observation(source: Mapping[str, Any]) -> Observation:
    """Open a source.

    Parameters
    ----------
    source
        Result of `ObservationType.convert`.

    Returns
    -------
    Observation
        Its data are in memory if they are small, and lazy otherwise.

    Raises
    ------
    SlamsError
        If the file or a setting is invalid.
    """
    from xslams.cli.files import open_data
    from xslams.errors import ObservationError
    from xslams.observations import Observation

    given = {k: v for k, v in source.items() if k != "path" and v is not None}
    data = open_data(source["path"], small=True)
    error = given.get("error")
    if isinstance(error, str):
        if error not in data:
            msg = (
                f"{source['path']}: error={error!r} is neither a number nor a variable of the file, which has "
                f"{', '.join(map(str, data.data_vars))}."
            )
            raise ObservationError(msg)
        given["error"] = data[error]
        data = data.drop_vars(error)
    return Observation(data, **given)


class Pairs(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """``KEY=VALUE``, or with `bare` also ``VALUE`` alone.

    Parameters
    ----------
    metavar
        Name in the help text.
    number
        Whether values are numbers.
    bare
        Whether a single value without a key is allowed.
    """

    def __init__(self, metavar: str, *, number: bool, bare: bool) -> None:
        self.name, self._number, self._bare = metavar, number, bare

    def from_config(self, value: Any) -> Any:
        """Convert a mapping to several pairs."""
        import yaml

        if not isinstance(value, Mapping):
            return value
        texts = {k: yaml.safe_dump(v, default_flow_style=True, width=10**9) for k, v in value.items()}
        # A lone scalar is followed by the mark of the end of a document.
        return [f"{k}={text.removesuffix('...' + chr(10)).rstrip(chr(10))}" for k, text in texts.items()]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the text and return it."""
        key, equals, number = str(value).rpartition("=")
        if (not equals and not self._bare) or (equals and not key):
            self.fail(f"{value!r} is not {self.name}.", param, ctx)
        if self._number:
            try:
                float(number)
            except ValueError:
                self.fail(f"{value!r} is not {self.name}: {number!r} is not a number.", param, ctx)
        elif equals:
            pairs((str(value),))
        return str(value)


def pairs(values: tuple[str, ...]) -> dict[str, Any]:
    """Convert ``KEY=VALUE`` pairs to a mapping; values are read as YAML: numbers, lists, true, null.

    Parameters
    ----------
    values
        Results of `Pairs.convert`.

    Returns
    -------
    dict
        Values.

    Raises
    ------
    click.UsageError
        If a value is not YAML.

    Examples
    --------
    >>> pairs(("width=[32, 64]", "trust=0.9"))
    {'width': [32, 64], 'trust': 0.9}
    """
    return {k: plain(v, f"The value of {k}") for k, _, v in (text.partition("=") for text in values)}


def error_of(values: tuple[str, ...]) -> float | dict[str, float] | None:
    """Return the background error: none, one number for all variables, or one for each.

    Parameters
    ----------
    values
        Results of `Pairs.convert`.

    Returns
    -------
    float, dict or None
        As ``assimilate(background_error=...)`` takes it.

    Raises
    ------
    click.UsageError
        If a number for all variables is combined with others.
    """
    if not values:
        return None
    bare = [v for v in values if "=" not in v]
    if bare and len(values) > 1:
        msg = f"--background-error: {bare[0]!r} is for all variables; it excludes other values. Give one for each."
        raise click.UsageError(msg)
    return float(bare[0]) if bare else {k: float(v) for k, _, v in (text.rpartition("=") for text in values)}


class Whole(click.IntRange):
    """A whole number in a range, and called so where it is none."""

    name = "whole number"


class AutoInt(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A whole number of at least `least`, or "auto".

    Parameters
    ----------
    least
        Smallest number.
    """

    name = "INTEGER|auto"

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return a number or "auto"."""
        if value == "auto":
            return "auto"
        return Whole(min=self._least).convert(value, param, ctx)

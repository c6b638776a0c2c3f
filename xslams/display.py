"""What objects look like in a notebook: sections that open and close, in the look of xarray, without any script.

Every value goes through `cell`, which escapes what is not HTML already, as `Markup` and the views of arrays are. Where
a viewer drops style sheets, as it does for notebooks that it does not trust, the text repr is what is seen.
"""

from __future__ import annotations

import dataclasses
import html
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Markup", "Section", "attributes", "cell", "page", "settings", "table"]

# The variables of xarray's own stylesheet and of notebooks, with what stands in for them elsewhere.
_STYLE = """\
.xslams-wrap{display:block !important;max-width:800px;
--xslams-0:var(--jp-content-font-color0,var(--pst-color-text-base,rgba(0,0,0,1)));
--xslams-2:var(--jp-content-font-color2,var(--pst-color-text-muted,rgba(0,0,0,.54)));
--xslams-line:var(--jp-border-color2,var(--pst-color-border,#ccc));color:var(--xslams-0)}
html[theme=dark] .xslams-wrap,html[data-theme=dark] .xslams-wrap,body[data-theme=dark] .xslams-wrap,
body.vscode-dark .xslams-wrap{--xslams-0:rgba(255,255,255,1);--xslams-2:rgba(255,255,255,.54);--xslams-line:#1f1f1f}
@media (prefers-color-scheme:dark){html[theme=auto] .xslams-wrap,body[data-theme=auto] .xslams-wrap{
--xslams-0:rgba(255,255,255,1);--xslams-2:rgba(255,255,255,.54);--xslams-line:#1f1f1f}}
.xslams-text{display:none !important}
.xslams-head{padding:6px 0;margin-bottom:4px;border-bottom:1px solid var(--xslams-line);color:var(--xslams-2)}
.xslams-head strong{color:var(--xslams-0);font-weight:normal}
.xslams-wrap summary{cursor:pointer;font-weight:500;padding:2px 0;color:var(--xslams-2)}
.xslams-wrap summary em{font-style:normal;font-weight:normal}
.xslams-wrap table{border-collapse:collapse;margin:0 0 4px 16px;font-size:90%;color:var(--xslams-0);border:0}
.xslams-wrap th,.xslams-wrap td{text-align:left !important;vertical-align:top;padding:1px 12px 1px 0;border:0;
background:none;color:inherit;overflow-wrap:break-word}
.xslams-wrap th{color:var(--xslams-2);font-weight:normal;white-space:nowrap}
"""
# Entries of a sequence of numbers that are shown as they are.
_MOST = 12


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page that opens and closes.

    Attributes
    ----------
    title, note
        Its heading, and what is said beside it while it is closed.
    body
        What it holds.
    opened
        Whether it is open at first.
    """

    title: str
    body: Markup
    note: str = ""
    opened: bool = False


def cell(value: object) -> Markup:
    """Return a value as HTML, with everything escaped that is not HTML already.

    Parameters
    ----------
    value
        Anything: arrays with labels look as they do by themselves, mappings are tables, numbers are rounded, and of
        long sequences the ends are shown, and of functions the name.

    Examples
    --------
    >>> cell("a < b"), cell(0.123456), cell(range(90)), cell(None), cell(sum)
    ('a &lt; b', '0.1235', '90 values, 0 to 89', '', 'sum')
    """
    if isinstance(value, Markup):
        return value
    own = None if isinstance(value, type) else getattr(value, "_repr_html_", None)
    shown = own() if callable(own) else None
    if shown is not None:
        return Markup(shown)
    return attributes(value) if isinstance(value, Mapping) else Markup(html.escape(_text(value)))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple | range):
        if len(value) > _MOST:
            return f"{len(value)} values, {_text(value[0])} to {_text(value[-1])}"
        return ", ".join(map(_text, value))
    # Of a function the name: an address in memory says nothing, and differs from run to run.
    return value.__name__ if inspect.isroutine(value) else str(value)


def attributes(entries: Mapping[Any, object]) -> Markup:
    """Return a table of names and values, one a row.

    Examples
    --------
    >>> attributes({"window": 5})
    '<table><tr><th>window</th><td>5</td></tr></table>'
    """
    rows = (f"<tr><th>{cell(str(name))}</th><td>{cell(value)}</td></tr>" for name, value in entries.items())
    return Markup(f"<table>{''.join(rows)}</table>")


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table with a heading.

    Parameters
    ----------
    names
        Of the columns.
    rows
        Values, as many in each as there are columns.
    """
    head = "".join(f"<th>{cell(name)}</th>" for name in names)
    body = ("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return Markup(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>")


def settings(record: Any) -> Markup:
    """Return a table of the attributes of a dataclass that are not what they are by default."""
    changed = {}
    for field in dataclasses.fields(record):
        value, default = getattr(record, field.name), field.default
        # By identity and type first: an array would be compared element by element.
        if value is not default and not (type(value) is type(default) and value == default):
            changed[field.name] = value
    return attributes(changed) if changed else Markup("<table><tr><td>all as by default</td></tr></table>")


def _section(part: Section) -> Markup:
    """Return a section as HTML."""
    note = f" <em>{cell(part.note)}</em>" if part.note else ""
    opened = " open" if part.opened else ""
    return Markup(f"<details{opened}><summary>{cell(part.title)}{note}</summary>{part.body}</details>")


def page(kind: str, name: str, parts: Iterable[Section | Markup], text: str) -> str:
    """Return the HTML repr of an object.

    Parameters
    ----------
    kind, name
        What it is, and its name.
    parts
        Sections, and HTML that is always seen.
    text
        Its text repr, for viewers without style sheets.

    Examples
    --------
    >>> "<strong>&lt;mine&gt;</strong>" in page("xslams.Model", "<mine>", [], "a model")
    True
    """
    body = "".join(_section(part) if isinstance(part, Section) else part for part in parts)
    return (
        f"<div><style>{_STYLE}</style><pre class='xslams-text'>{html.escape(text)}</pre>"
        f"<div class='xslams-wrap' style='display:none'><div class='xslams-head'>{cell(kind)} "
        f"<strong>{cell(name)}</strong></div>{body}</div></div>"
    )

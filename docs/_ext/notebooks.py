"""Notebooks to download, made of the sources of executed pages: the code, prose without marks of Sphinx, no outputs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
SHORT = re.compile(r"\A((?::[\w-]+:[^\n]*\n)+)\n?")
LINK = re.compile(r"`[^`]*`|\[([^\]]+)\]\((?!https?://)[^)]+\)")
ROLE = re.compile(r"\{[\w:-]+\}`(~?)([^`<]+?)(?:\s*<[^`]+>)?`")


@dataclass(frozen=True)
class Cell:
    """Prose or code, and the tags of the code."""

    code: bool
    source: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """An executed page: its front matter and its cells."""

    front: dict[str, Any]
    cells: list[Cell]

    @property
    def title(self) -> str:
        first = next(line for cell in self.cells for line in cell.source.splitlines() if line.startswith("# "))
        return first.removeprefix("# ")


def read_page(path: Path) -> Page:
    """Split a MyST page into its cells."""
    text = path.read_text(encoding="utf-8")
    front = FRONT.match(text)
    body = text[front.end() :] if front else text
    cells, end = [], 0
    for found in CELL.finditer(body):
        cells += [Cell(False, body[end : found.start()].strip()), code_cell(found.group(1))]
        end = found.end()
    cells.append(Cell(False, body[end:].strip()))
    return Page(yaml.safe_load(front.group(1)) if front else {}, [c for c in cells if c.source])


def code_cell(text: str) -> Cell:
    """Separate the options of a cell from its code; both ways of writing them are known."""
    if block := BLOCK.match(text):
        options, text = yaml.safe_load(block.group(1)), text[block.end() :]
    elif short := SHORT.match(text):
        lines = [line[1:].replace(":", ": ", 1) for line in short.group(1).splitlines()]
        options, text = yaml.safe_load("\n".join(lines)), text[short.end() :]
    else:
        options = {}
    return Cell(True, text.strip("\n"), tuple(options.get("tags", ())))


def plain(text: str) -> str:
    """Prose for readers outside of the documentation: roles and links into it become their text."""
    text = ROLE.sub(lambda m: f"`{m.group(2).rpartition('.')[2] if m.group(1) else m.group(2)}`", text)
    return LINK.sub(lambda m: m.group(1) or m.group(), text)


def notebook(page: Page, note: str) -> str:
    """Write a page as a notebook of format 4.5, with a note after the title."""
    cells = [{"cell_type": "markdown", "id": "note", "metadata": {}, "source": note}]
    for i, cell in enumerate(page.cells):
        common = {"id": f"cell-{i}", "metadata": {}}
        if cell.code:
            cells.append({"cell_type": "code", **common, "execution_count": None, "outputs": [], "source": cell.source})
        else:
            cells.append({"cell_type": "markdown", **common, "source": plain(cell.source)})
    title, rest = cells[1]["source"].partition("\n")[::2]
    cells[:2] = [{**cells[1], "source": f"{title}\n\n{note}\n{rest}".rstrip()}]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"

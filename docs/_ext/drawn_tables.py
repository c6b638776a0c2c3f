"""Long tables as figures: the directive ``drawn-table`` draws the table that it contains and folds it beneath.

The table is the only source: what is drawn are the first numbers of its cells, with ``±`` as error bars; other cells,
such as "diverges", are left out. The figure is made when the page is read, and needs no execution of notebooks.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

NUMBER = re.compile(r"^[-+]?\d+(?:\.\d+)?")
GREY = "#808890"  # is read on a light and on a dark page
COLOURS = ["#2b8cbe", "#e6702e", "#4daf4a", "#b8559f", "#c9a227", "#7f7f7f", "#17becf", "#d6604d", "#8c6bb1", "#66a61e"]


def cells_of(lines: list[str]) -> list[list[str]]:
    """Rows of a Markdown table, header first, without marks of emphasis."""
    rows = [[c.strip().replace("**", "").replace("`", "") for c in r.strip().strip("|").split("|")] for r in lines]
    return [r for i, r in enumerate(rows) if i != 1]


def number(cell: str) -> float:
    found = NUMBER.match(cell)
    return float(found.group()) if found else float("nan")


def spread(cell: str) -> float:
    return number(cell.partition("±")[2].strip())


def label_decades(axis: Any) -> None:
    """Label 1, 2 and 5 of every decade of a logarithmic axis, or of wide ones the decades, by plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


class DrawnTable(SphinxDirective):
    """A table as a figure. The argument is the text beneath it; `lines` has rows as lines, else columns are bars."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {
        "lines": directives.flag,
        "log": directives.flag,
        "columns": directives.unchanged,
        "xlabel": directives.unchanged,
        "ylabel": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        rows = cells_of([line for line in self.content if line.startswith("|")])
        text = repr((rows, sorted(self.options.items()), Path(__file__).read_text()))
        name = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.svg"
        path = Path(self.env.srcdir) / "auto" / "figures" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.draw(rows, path)
        image = nodes.image(uri=f"/auto/figures/{name}", alt=self.arguments[0], classes=["drawn"])
        figure = nodes.figure("", image, nodes.caption("", *self.parse_inline(self.arguments[0])[0]))
        opened = nodes.raw("", "<details class='numbers'><summary>The numbers</summary>", format="html")
        return [figure, opened, *self.parse_content_to_nodes(), nodes.raw("", "</details>", format="html")]

    def draw(self, rows: list[list[str]], path: Path) -> None:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        grey = dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), GREY
        )
        with mpl.rc_context({**grey, "svg.fonttype": "none", "svg.hashsalt": path.name, "font.family": "sans-serif"}):
            lines = "lines" in self.options
            height = 3.6 if lines else 1.0 + 0.32 * len(rows)
            figure = Figure(figsize=(7.6, height), layout="constrained")
            axes = figure.add_subplot()
            (self.draw_lines if lines else self.draw_bars)(axes, rows)
            axes.spines[["top", "right"]].set_visible(False)
            figure.savefig(path, transparent=True, metadata={"Date": None})

    def draw_lines(self, axes: Any, rows: list[list[str]]) -> None:
        x = [number(c) for c in rows[0][1:]]
        for i, row in enumerate(rows[1:]):
            y = [number(c) for c in row[1:]]
            y = [float("nan") if "log" in self.options and v == 0 else v for v in y]
            style = "-" if i < len(COLOURS) else "--"
            axes.plot(x, y, style, marker="o", markersize=4, color=COLOURS[i % len(COLOURS)], label=row[0])
        axes.set_xscale("log", base=2)
        axes.set_xticks(x, [f"{v:g}" for v in x])
        if "log" in self.options:
            axes.set_yscale("log")
            label_decades(axes.yaxis)
        axes.set(xlabel=self.options.get("xlabel", rows[0][0]), ylabel=self.options.get("ylabel", ""))
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")

    def draw_bars(self, axes: Any, rows: list[list[str]]) -> None:
        header = rows[0]
        wanted = [n.strip() for n in self.options["columns"].split(",")]
        columns = [header.index(n) for n in wanted]
        height = 0.8 / len(columns)
        for k, column in enumerate(columns):
            at = [i + (k - (len(columns) - 1) / 2) * height for i in range(len(rows) - 1)]
            values = [number(r[column]) for r in rows[1:]]
            error = [spread(r[column]) if "±" in r[column] else 0.0 for r in rows[1:]]
            bars = {"color": COLOURS[k], "label": wanted[k], "ecolor": GREY, "xerr": error if any(error) else None}
            axes.barh(at, values, height=height * 0.9, **bars)
        axes.set_yticks(range(len(rows) - 1), [r[0] for r in rows[1:]])
        axes.invert_yaxis()
        if "log" in self.options:
            axes.set_xscale("log")
            label_decades(axes.xaxis)
        axes.set(xlabel=self.options.get("xlabel", ""))
        axes.grid(axis="x", alpha=0.3)
        # Above the axes, where it covers no bar.
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(wanted), frameon=False, fontsize="small")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("drawn-table", DrawnTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

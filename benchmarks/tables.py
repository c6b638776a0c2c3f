"""Tables in Markdown, as the documentation has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["head", "row", "table"]


def head(columns: Sequence[str], title: str | None = None) -> None:
    """Print the head of a table.

    Parameters
    ----------
    columns
        Names; the first column holds text, and is aligned to the left.
    title
        Line above the table.

    Examples
    --------
    >>> head(["method", "RMSE"], "Errors"); row(["OI", "2.01"])
    <BLANKLINE>
    Errors
    <BLANKLINE>
    | method | RMSE |
    |---|---:|
    | OI | 2.01 |
    """
    print(f"\n{title}\n" if title else "")
    row(columns)
    print("|---|" + "---:|" * (len(columns) - 1), flush=True)


def row(cells: Iterable[object]) -> None:
    """Print a row, at once, so that a long run shows what it has."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Print a whole table.

    Parameters
    ----------
    title
        Line above the table.
    columns
        Names of all columns but the first, which names the rows.
    rows
        Cells of each row by its name.
    """
    head(["", *columns], title)
    for name, cells in rows.items():
        row([name, *cells])

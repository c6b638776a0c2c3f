"""Run a benchmark by its name: ``python -m benchmarks NAME``; every one has ``--help`` and prints tables.

A benchmark is a module of `benchmarks.reports` or `benchmarks.references` with a function ``main(arguments)``; a new
file is found by itself.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, resources

FOLDERS = ("reports", "references")


@dataclass(frozen=True)
class Benchmark:
    """A module that can be run.

    Attributes
    ----------
    module
        Full name of the module.
    summary
        First line of its docstring.
    """

    module: str
    summary: str

    def load(self) -> Callable[[Sequence[str] | None], None]:
        """Import the module, and return what runs it."""
        main: Callable[[Sequence[str] | None], None] = import_module(self.module).main
        return main


def benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks by name; none of them is imported."""
    found = {}
    for folder in FOLDERS:
        for entry in sorted(resources.files(f"benchmarks.{folder}").iterdir(), key=lambda e: e.name):
            text = entry.read_text() if entry.name.endswith(".py") else ""
            if "\ndef main(" in text:
                name = entry.name.removesuffix(".py")
                summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
                found[name] = Benchmark(f"benchmarks.{folder}.{name}", summary)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the name, and let the benchmark read the rest of the command line."""
    known = benchmarks()
    width = max(map(len, known))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Run a benchmark. Each has options of its own: python -m benchmarks NAME --help",
        epilog="benchmarks:\n" + "\n".join(f"  {name:<{width}}  {b.summary}" for name, b in known.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=known, help="one of those below")
    parser.add_argument("rest", metavar="OPTIONS", nargs=argparse.REMAINDER, help="options of the benchmark")
    options = parser.parse_args(arguments)
    known[options.name].load()(options.rest)


if __name__ == "__main__":
    main()

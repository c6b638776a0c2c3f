"""Run a benchmark by its name: ``python -m benchmarks NAME``; every one has ``--help`` and prints tables."""

from __future__ import annotations

import ast
import sys
from importlib import import_module, resources

FOLDERS = ("reports", "references")


def names() -> dict[str, tuple[str, str]]:
    """Return module and first line of every benchmark, by name; nothing is imported."""
    found = {}
    for folder in FOLDERS:
        for entry in sorted(resources.files(f"benchmarks.{folder}").iterdir(), key=lambda e: e.name):
            text = entry.read_text() if entry.name.endswith(".py") else ""
            if "\ndef main(" in text:
                name = entry.name.removesuffix(".py")
                said = ast.get_docstring(ast.parse(text)) or ""
                found[name] = f"benchmarks.{folder}.{name}", said.partition("\n")[0]
    return found


def main() -> None:
    """Read the name, and let the benchmark read the rest of the command line."""
    known = names()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in known:
        width = max(map(len, known))
        lines = [f"  {n:<{width}}  {said}" for n, (_, said) in known.items()]
        print("python -m benchmarks NAME [OPTIONS]; python -m benchmarks NAME --help says which options.\n")
        print("\n".join(lines))
        sys.exit(0 if name in ("", "-h", "--help") else f"\nThere is no benchmark {name!r}.")
    sys.argv = [f"python -m benchmarks {name}", *sys.argv[2:]]
    import_module(known[name][0]).main()


if __name__ == "__main__":
    main()

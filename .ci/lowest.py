"""Print the lowest versions that pyproject.toml promises, as constraints for pip: python .ci/lowest.py [EXTRA ...]."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def lowest(requirement: str) -> str | None:
    """Turn ``name[extra]>=version`` into ``name==version``; a requirement without a bound has no lowest version."""
    found = re.match(r"^\s*([\w.-]+)(?:\[[\w,\s-]*\])?\s*>=\s*([\w.]+)", requirement)
    return f"{found.group(1)}=={found.group(2)}" if found else None


def main(extras: list[str]) -> None:
    """Print one line for each requirement of the package and of the extras."""
    optional = PROJECT["optional-dependencies"]
    given = PROJECT["dependencies"] + [r for extra in extras for r in optional[extra]]
    print("\n".join(sorted({pin for r in given if (pin := lowest(r))})))


if __name__ == "__main__":
    main(sys.argv[1:])

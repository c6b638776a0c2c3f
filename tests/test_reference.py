"""The reference page lists what users type."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import xslams
from xslams import errors
from xslams.accessor import SlamsAccessor

PAGE = Path(__file__).parents[1] / "docs" / "api.rst"


@pytest.fixture(scope="module")
def listed() -> set[str]:
    if not PAGE.exists():
        pytest.skip("the documentation is not part of this copy")
    return {line.strip() for line in PAGE.read_text().splitlines()}


def test_every_method_is_listed_as_it_is_typed(listed: set[str]) -> None:
    public = [k for k in vars(SlamsAccessor) if not k.startswith("_")]
    assert {f"Dataset.slams.{name}" for name in public} <= listed


def test_every_name_of_the_package_is_listed(listed: set[str]) -> None:
    names = [n for n in xslams.__all__ if not n.startswith("_") and not inspect.ismodule(getattr(xslams, n))]
    assert set(names) <= listed


def test_no_internal_path_of_the_accessor_is_shown(listed: set[str]) -> None:
    assert not [line for line in listed if "SlamsAccessor" in line]


def test_every_error_has_its_remedy(listed: set[str]) -> None:
    page = (PAGE.parent / "howto" / "errors.md").read_text()
    raised = [n for n, known in vars(errors).items() if isinstance(known, type) and issubclass(known, Exception)]
    missing = [n for n in raised if f"{{class}}`~xslams.errors.{n}`" not in page]
    assert not missing


def test_every_page_is_reached_from_the_front_page(listed: set[str]) -> None:
    def reached(page: Path) -> set[Path]:
        trees = re.findall(r"```\{(?:toctree|gallery)\}\n(.*?)```", page.read_text(), re.DOTALL)
        names = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
        found = {p for n in names for p in page.parent.glob(f"{n}.*") if p.suffix in (".md", ".rst")}
        return found.union(*(reached(p) for p in found if p.suffix == ".md"))

    pages = {p for p in PAGE.parent.rglob("*") if p.suffix in (".md", ".rst")}
    hidden = {p for p in pages if p.relative_to(PAGE.parent).parts[0] in ("auto", "_build", "_templates")}
    assert reached(PAGE.parent / "index.md") | {PAGE.parent / "index.md"} == pages - hidden

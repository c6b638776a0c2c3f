"""The reference page lists what users type."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import xslams
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

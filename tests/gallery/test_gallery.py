"""Every page of the gallery has a picture, a summary and a notebook, and notebooks run from an empty folder."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

DOCS = Path(__file__).parents[2] / "docs"
GALLERY = DOCS / "gallery"
PAGES = sorted(p for p in GALLERY.glob("*.md") if p.stem != "index")
QUICK = ["north-america", "train", "operator"]  # the others are run when the documentation is built

pytestmark = pytest.mark.skipif(not GALLERY.exists(), reason="this copy has only what a package needs")


@pytest.fixture(scope="module")
def notebooks():
    spec = importlib.util.spec_from_file_location("notebooks", DOCS / "_ext" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def made(notebooks, path: Path) -> dict:
    return json.loads(notebooks.notebook(notebooks.read_page(path), "A note."))


def few(setting: re.Match) -> str:
    """Two members and steps instead of many: all lines run, and the full numbers are for the documentation."""
    name, _, number = setting.group().partition("=")
    return f"{name}={min(int(number), 2)}"


def test_every_page_is_shown_once() -> None:
    listed = re.search(r"```\{gallery\}\n(.*?)```", (GALLERY / "index.md").read_text(), re.DOTALL).group(1).split()
    assert sorted(listed) == [p.stem for p in PAGES]
    assert "gallery/index" in (DOCS / "index.md").read_text()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_page_has_a_summary_a_picture_and_links_that_lead_somewhere(notebooks, path: Path) -> None:
    page = notebooks.read_page(path)
    assert page.title
    assert page.front["summary"].endswith(".")
    assert sum("thumbnail" in cell.tags for cell in page.cells) == 1
    text = path.read_text()
    assert text.count("alt:") >= 1, "the picture is described for those who do not see it"
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", text)
    assert links
    assert all((path.parent / link).exists() for link in links)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_page_is_a_notebook(notebooks, path: Path) -> None:
    whole = made(notebooks, path)
    assert (whole["nbformat"], whole["nbformat_minor"]) == (4, 5)
    assert whole["cells"][0]["source"].startswith("# ")
    assert "A note." in whole["cells"][0]["source"]
    ids = [cell["id"] for cell in whole["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in whole["cells"]:
        if cell["cell_type"] == "code":
            compile(cell["source"], path.name, "exec")
            assert max(map(len, cell["source"].splitlines())) <= 88, "wider code is cut off on the page"
            assert not re.search(r"shared|datasets\.|https?://", cell["source"]), "pages need no data of their own"
        else:
            assert not re.search(r"\{[\w:]+\}`|\]\((?!http)|^:::|code-cell", cell["source"], re.MULTILINE)


@pytest.mark.parametrize("name", QUICK)
def test_notebook_runs_from_an_empty_folder(notebooks, name: str, tmp_path: Path, monkeypatch) -> None:
    whole = made(notebooks, GALLERY / f"{name}.md")
    code = "\n\n".join(cell["source"] for cell in whole["cells"] if cell["cell_type"] == "code")
    script = tmp_path / "notebook.py"
    script.write_text(re.sub(r"(members|steps)=\d\d?", few, code))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    runpy.run_path(str(script))
    assert plt.get_fignums()
    plt.close("all")


LINE = st.text("aé7#:{}[]()'\"<>=-*~", min_size=1)
TAGS = st.lists(st.sampled_from(["thumbnail", "hide-input", "remove-stderr"]), unique=True, max_size=2)


@settings(max_examples=30)
@given(st.lists(st.tuples(LINE, LINE, TAGS, st.booleans()), min_size=1, max_size=4))
def test_cells_are_those_of_the_page(notebooks, tmp_path_factory, parts) -> None:
    text, expected = "---\nfile_format: mystnb\nsummary: One.\n---\n\n# Title\n", []
    for prose, code, tags, long in parts:
        prose, code = f"text {prose}", f"x = {code}"
        options = f"---\ntags: {json.dumps(tags)}\n---\n" if long else f":tags: {json.dumps(tags)}\n"
        text += f"\n{prose}\n\n```{{code-cell}} python\n{options if tags else ''}{code}\n```\n"
        expected += [(False, prose, ()), (True, code, tuple(tags))]
    path = tmp_path_factory.mktemp("page") / "page.md"
    path.write_text(text, encoding="utf-8")
    page = notebooks.read_page(path)
    assert page.title == "Title"
    found = [(c.code, c.source, c.tags) for c in page.cells]
    first = (False, f"# Title\n\n{expected[0][1]}", ())
    assert found == [first, *expected[1:]]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{class}`~xslams.Observation` is", "`Observation` is"),
        ("{func}`xslams.fit`", "`xslams.fit`"),
        ("{doc}`long runs <../runs>`", "`long runs`"),
        ("[long runs](../runs.md) and [the web](https://example.org)", "long runs and [the web](https://example.org)"),
        ("[a part](../runs.md#on-a-cluster)", "a part"),
        ("`code[0](x)` stays", "`code[0](x)` stays"),
    ],
)
def test_prose_of_a_notebook_needs_no_sphinx(notebooks, source: str, shown: str) -> None:
    assert notebooks.plain(source) == shown

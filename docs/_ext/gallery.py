"""A gallery of executed pages: the directive ``gallery`` shows them as tiles, and is their table of contents.

Each page says in its front matter in one sentence what it shows (``summary``), and tags the cell whose figure is its
picture with ``thumbnail``; of a wide figure, ``crop`` is the part to show (left, top, right, bottom, of 1). Below
its title a link offers the page as a notebook.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from notebooks import notebook, read_page
from sphinx import addnodes
from sphinx.directives.other import TocTree
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

SIZE = (480, 300)  # of a picture, in pixels
NOTE = "*A page of the documentation of xslams {version}. It needs xslams and matplotlib, and no data of yours.*"

logger = logging.getLogger(__name__)


def pages(env: BuildEnvironment) -> list[str]:
    return sorted(name for name in env.found_docs if name.startswith("gallery/") and name != "gallery/index")


class Gallery(TocTree):
    """Tiles of the pages that the content names, one a line."""

    def run(self) -> list[nodes.Node]:
        self.options["hidden"] = None
        found = super().run()
        entries = [e for part in found for tree in part.findall(addnodes.toctree) for e in tree["includefiles"]]
        tiles = nodes.container("", *(self.tile(name) for name in entries), classes=["gallery"])
        return [tiles, *found]

    def tile(self, name: str) -> nodes.Node:
        path = Path(self.env.doc2path(name))
        self.env.note_dependency(str(path))
        page = read_page(path)
        here = Path(self.env.docname).parent
        address = self.env.app.builder.get_relative_uri(self.env.docname, name)
        up = "../" * len(here.parts)
        picture = f'<img src="{up}_static/{name}.png" alt="" width="{SIZE[0]}" height="{SIZE[1]}" loading="lazy">'
        words = f"<strong>{escape(page.title)}</strong><span>{escape(page.front['summary'])}</span>"
        return nodes.raw("", f'<a class="tile" href="{address}">{picture}{words}</a>', format="html")


def offer_notebook(app: Sphinx, doctree: nodes.document) -> None:
    """Put a link to the notebook below the title of a page of the gallery."""
    name = app.env.docname
    if name not in pages(app.env):
        return
    title = next(iter(doctree.findall(nodes.title)))
    target = f"{Path(name).name}.ipynb"
    link = f'<p class="notebook"><a href="{target}" download>Download this page as a notebook</a></p>'
    title.parent.insert(1, nodes.raw("", link, format="html"))


def write_files(app: Sphinx, env: BuildEnvironment) -> None:
    """Write the notebook and the picture of each page beside what is built, and warn of a page without one."""
    for name in pages(env):
        page = read_page(Path(env.doc2path(name)))
        target = Path(app.outdir, f"{name}.ipynb")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(notebook(page, NOTE.format(version=app.config.version)), encoding="utf-8")
        cells = [c for c in env.get_doctree(name).findall(nodes.container) if "tag_thumbnail" in c["classes"]]
        images = [image for cell in cells for image in cell.findall(nodes.image)]
        if len(images) != 1:
            logger.warning("a page of the gallery has %d pictures tagged thumbnail, not 1", len(images), location=name)
            continue
        draw(Path(app.srcdir, images[0]["uri"]), Path(app.outdir, "_static", f"{name}.png"), page.front.get("crop"))


def draw(source: Path, target: Path, part: list[float] | None) -> None:
    """Fit a part of a figure into the size of a tile, on white."""
    from PIL import Image, ImageOps

    with Image.open(source) as figure:
        opaque = Image.new("RGB", figure.size, "white")
        opaque.paste(figure, mask=figure.getchannel("A") if "A" in figure.getbands() else None)
    if part is not None:
        opaque = opaque.crop([round(p * opaque.size[i % 2]) for i, p in enumerate(part)])
    target.parent.mkdir(parents=True, exist_ok=True)
    ImageOps.pad(opaque, SIZE, color="white").save(target, optimize=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("gallery", Gallery)
    app.connect("doctree-read", offer_notebook)
    app.connect("env-check-consistency", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

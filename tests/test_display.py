"""Notebook views: escaped, without scripts, with the text repr beside them, and nothing computed for them."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams.diagnostics.diagnosis import Diagnosis, Finding
from xslams.display import Markup, cell, page
from xslams.spec import Spec, VariableSpec
from xslams.zoo.listing import ModelList

NASTY = "<script>alert('&\"')</script>"
TEXTS = st.text(st.sampled_from("a<>&\"'\n/=é\x00 "), max_size=12) | st.just(NASTY)
EMPTY = {"meta", "br", "input", "img", "use"}


class Checked(HTMLParser):
    """Reads HTML, and knows which tags, attributes and texts there are and whether tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.names, self.open, self.texts = set(), set(), [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        if tag not in EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def checked(shown) -> Checked:
    found = Checked(shown._repr_html_())
    assert "script" not in found.tags
    assert not any(name.startswith("on") for name in found.names)
    assert {"style", "pre", "div"} <= found.tags
    # The text repr, for viewers without style sheets.
    assert repr(shown).replace("\r", "") in "".join(found.texts)
    return found


def spec(text: str) -> Spec:
    variables = (
        VariableSpec(text, text, standard_name=text, level_dim=text, levels=(1.0, 2.0), level_attrs={"units": text}),
    )
    return Spec(
        variables, tuple(range(8)), tuple(range(16)), periodic=False, name=text, summary=text, license=text,
        training={text: {text: [text]}}, scores={text: None}, architecture={"width": list(range(40))},
    )  # fmt: skip


def everything(text: str) -> list:
    time = pd.date_range("2000", periods=2)
    data = xr.DataArray([1.0, 2.0], {"time": time}, name=text or "x", attrs={"units": text, "note": text})
    table = pd.DataFrame({"summary": text, "variables": text, "grid": text, "size": 1.0}, [text or "a"])
    finding = Finding(text, text, 1.0, np.nan, 1.0, "bad", text, text)
    return [
        spec(text),
        xslams.Model(spec(text), prior=object()),
        xslams.Observation(data, error={text: data}, name=text or "a", qc={"bias_per": text or "source"}),
        xslams.BackgroundError({text: 1.0}),
        xslams.ErrorCovariance({text: data}, length=3.0),
        xslams.QualityControl(bias=data, flags=[text]),
        Diagnosis((finding, replace(finding, verdict="good"))),
        ModelList(table),
        data.to_dataset().slams,
    ]


@settings(max_examples=6, deadline=None)
@given(TEXTS)
def test_views_are_escaped_and_balanced_whatever_names_and_attributes_say(text):
    for shown in everything(text):
        checked(shown)


def test_views_say_what_matters():
    model = xslams.open_model("speedy-t30")
    found = "".join(checked(model).texts)
    for text in ("speedy-t30", "mm day-1", "sigma: 8, 0.95 to 0.025", "48 x 96", "every 24 h", "in the file"):
        assert text in found
    assert len(repr(model.spec)) < 500 and repr(model.spec) in "".join(checked(model.spec).texts)
    names = xslams.list_models()
    found = checked(names)
    assert {"details", "summary"} <= found.tags
    assert all(name in "".join(found.texts) for name in names.index)
    # What is made of a list is a table as any other.
    assert type(names[["size"]]) is pd.DataFrame and type(names.reset_index()) is pd.DataFrame


def test_observations_show_their_data_as_xarray_does_and_compute_nothing():
    def refuse(*args, **kwargs):
        raise AssertionError("computed for a repr")

    olr = xslams.open_tutorial()["olr"].chunk(time=10)
    with dask.config.set(scheduler=refuse):
        obs = xslams.Observation(olr, error=olr.std("time"), qc={"superob": True})
        text = obs._repr_html_()
    assert olr._repr_html_().split("<div class='xr-wrap'")[0][:50] in text
    assert "superob" in text and "robust" not in text.split("<summary>Data")[0]


def test_a_report_of_an_observation_says_auto_where_errors_are_estimated():
    data = xr.DataArray([1.0], {"time": pd.date_range("2000", periods=1)}, name="t", attrs={"units": "K"})
    assert "auto" in "".join(checked(xslams.Observation(data)).texts)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (NASTY, "&lt;script&gt;alert(&#x27;&amp;&quot;&#x27;)&lt;/script&gt;"), (Markup("<b>"), "<b>"),
        (1 / 3, "0.3333"), (7, "7"), (True, "True"), (None, ""), ([], ""), ((0.1, "<"), "0.1, &lt;"),
        (range(20), "20 values, 0 to 19"),
        ({"<": 1}, "<table><tr><th>&lt;</th><td>1</td></tr></table>"), (Spec, cell(str(Spec))),
    ],
)  # fmt: skip
def test_cells(value, text):
    assert cell(value) == text


def test_a_page_follows_the_theme_and_opens_without_scripts():
    text = page("a", "b", [], "c")
    for theme in ("data-theme=dark", "vscode-dark", "prefers-color-scheme:dark", "--jp-content-font-color0"):
        assert theme in text
    assert len(text) < 3000

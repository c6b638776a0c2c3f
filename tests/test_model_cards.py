"""Cards of the shipped models are made from their headers, which therefore say all that a card says."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import xslams
from xslams.model import Model
from xslams.zoo import registry

EXTENSION = Path(__file__).resolve().parents[1] / "docs" / "_ext" / "model_cards.py"


@pytest.fixture(scope="module")
def cards() -> ModuleType:
    pytest.importorskip("sphinx")
    found = importlib.util.spec_from_file_location("model_cards", EXTENSION)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(registry.DATA.glob("*.safetensors")), ids=lambda path: path.stem)
def test_a_shipped_model_says_where_it_comes_from_and_what_it_is_for(path: Path) -> None:
    spec = Model.load(path).spec
    for entry in ("command", "use", "limits"):
        assert spec.training.get(entry), entry
    assert spec.training.get("data") or spec.training.get("source")
    assert spec.scores["benchmark"].startswith("python -m benchmarks ")
    assert spec.scores["validation"]
    assert any(isinstance(v, dict) for v in spec.scores.values())
    assert spec.license


def test_a_card_is_made_from_the_header_alone(cards: ModuleType) -> None:
    for name in xslams.list_models().index:
        text = cards.card(xslams.open_model(name))
        assert "not recorded" not in text
        assert "No scores" not in text
        assert "CRPS" in text or "RMSE" in text or "W1" in text


@pytest.mark.parametrize(
    ("training", "scores", "expected"),
    [
        ({}, {}, ["| command | `not recorded` |", "No scores are recorded."]),
        (
            {"data": {"title": "A run", "start": "2001-01-01T00:00", "end": "2002-01-01", "frames": 366}, "epochs": 3},
            {"held_out": {"t": {"relative_crps": [0.5, 0.25], "spread_skill": [1.0, 1.1]}}},
            ["A run; 2001-01-01 to 2002-01-01, 366 frames", "epochs: 3", "| held out: t | 0.5 to 0.25 | 1 to 1.1 |"],
        ),
        ({"data": "some days"}, {"a": {"x": 1.0}, "b": {"y": 2.0}}, ["some days", "| a | 1.0 |  |", "| b |  | 2.0 |"]),
    ],
)
def test_records_of_any_shape_make_a_card(
    cards: ModuleType, training: dict[str, object], scores: dict[str, object], expected: list[str]
) -> None:
    model = xslams.open_model("lorenz96")
    spec = dataclasses.replace(model.spec, training=training, scores=scores)
    text = cards.card(Model(spec, path=model.path))
    for part in expected:
        assert part in text

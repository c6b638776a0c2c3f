"""The scripts that made the embedded models run from start to end, and make files like these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

import xslams
from examples import train_ncep, train_speedy, train_systems
from xslams.zoo.registry import DATA


def require_like_the_embedded(path: Path) -> None:
    """Same entries, variables, grid and kind as the embedded model of that name, and whole."""
    made, shipped = xslams.open_model(path), xslams.open_model(path.stem)
    # Bounds, and a few sizes that have their defaults, were not yet written when some embedded models were made.
    own, other = ([replace(v, bounds=None) for v in m.spec.variables] for m in (made, shipped))
    assert own == other
    assert made.spec.architecture.keys() >= shipped.spec.architecture.keys()
    for entry in ("lat", "lon", "periodic", "dims", "kind", "window", "time_step", "system", "license"):
        own, other = (getattr(m.spec, entry) for m in (made, shipped))
        assert own == other, entry
    assert (made.spec.name, made.spec.summary) == (shipped.spec.name, shipped.spec.summary)
    names = []
    for file in (path, DATA / path.name):
        with safe_open(file, "np") as weights:
            names.append(set(weights.keys()))
    assert names[0] == names[1]


@pytest.mark.parametrize("name", train_systems.MODELS)
def test_models_of_systems_are_made(name: str, tmp_path: Path) -> None:
    train_systems.main([name, "--quick", "--out", str(tmp_path)])
    require_like_the_embedded(tmp_path / f"{name}.safetensors")


@pytest.mark.filterwarnings("ignore:The training data cover")  # a quick run takes some months
@pytest.mark.parametrize(("script", "name"), [(train_ncep, "ncep-na"), (train_speedy, "speedy-t30")])
def test_models_of_the_atmosphere_are_made(
    script: object, name: str, tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SHARED", shared_data)
    path = tmp_path / f"{name}.safetensors"
    script.main([str(path), "--quick"])  # type: ignore[attr-defined]
    require_like_the_embedded(path)

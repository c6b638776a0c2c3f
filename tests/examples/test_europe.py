"""The example of Europe trains, analyses and draws in a few seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.cases.europe import open_sources, open_state
from examples import europe


def test_the_quick_example_trains_analyses_and_draws(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = europe.run(shared_data, tmp_path, 2, quick=True)
    spread = open_state(shared_data).sel(time="2007-07").std("time").mean()
    assert list(scores.index) == ["t [K]", "z [m2 s-2]", "msl [Pa]"]
    # Half of what is not known without observations is left at the most.
    assert scores.loc["t [K]", "rmse"] < float(spread["t"])
    assert (tmp_path / "europe.safetensors").exists()
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in ("mean", "spread", "rank_histogram"))
    assert "held-out skill" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "count"), [("radiation", 1), ("trentino", 3), ("tas", 2), ("cloud", 1)])
def test_sources_are_at_their_own_places(shared_data: Path, name: str, count: int) -> None:
    sources = open_sources(shared_data, [name])
    assert len(sources) == len({s.name for s in sources}) == count
    for source in sources:
        assert {"lat", "lon"} <= set(source.data.coords)
        assert np.isfinite(source.data).any()

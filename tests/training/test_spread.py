"""A model whose state has a larger spread says so, and is otherwise the same."""

from __future__ import annotations

import pytest
import torch

from tests.training.test_selection import SPEC, run
from xslams.options import TrainingOptions
from xslams.training import fit_arrays, wider


def test_a_wider_model_has_the_spread_that_its_settings_name() -> None:
    few = TrainingOptions(modes=6, patch=1, epochs=0, mean_order=0, std_order=0)
    model = fit_arrays(SPEC, [run(365)], few, progress=False, device="cpu")
    settings = {"spread": []}
    model.spec.training["settings"] = settings
    wide = wider(wider(model, 1.2), 1.1)
    season = torch.tensor([0.1, 0.5])
    ratio = wide.prior().fields(season).spread / model.prior().fields(season).spread
    state = SPEC.state_channels
    torch.testing.assert_close(ratio[:, :state], torch.full_like(ratio[:, :state], 1.32), rtol=2e-3, atol=0)
    torch.testing.assert_close(ratio[:, state:], torch.ones_like(ratio[:, state:]))
    assert wide.spec.training["settings"]["spread"] == pytest.approx([1.32] * state, rel=1e-3)
    assert settings == {"spread": []}
    assert wider(model, 1.0) is model

"""Models of systems through the accessor: assimilation, scores, and latents, as for gridded models."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xslams
from xslams.systems import Lorenz63, Lorenz96

CASES = {
    "lorenz63-ode": (Lorenz63(dt=0.05, substeps=5), 24, {}),
    "lorenz96": (Lorenz96(), 8, {"every": 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_model_of_a_system_assimilates(name):
    system, steps, options = CASES[name]
    truth = system.simulate(steps, seed=11)
    first = next(iter(truth.data_vars))
    obs = xslams.simulate_observations(truth[first], error=0.5, **options)
    settings = {"obs": obs, "model": name, "members": 2, "steps": 8}
    analysis = truth.slams.assimilate(**settings, report=True)
    scores = analysis.slams.score(truth)
    rmse = scores["rmse" if len(truth.data_vars) == 1 else f"{first}_rmse"]
    assert float(rmse) < 0.3 * float(truth[first].std())
    assert int(analysis.slams.report()["used"].sum()) == int(np.isfinite(obs.data).sum())
    lazy = truth.chunk(time=5).slams.assimilate(**settings)
    assert lazy[first].chunks is not None
    xr.testing.assert_allclose(lazy.compute()[first], analysis[first], rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_states_are_encoded_and_decoded(name):
    system, steps, _ = CASES[name]
    truth = system.simulate(steps, seed=11)
    back = truth.slams.encode(name).slams.decode(name)
    for variable in truth.data_vars:
        np.testing.assert_allclose(back[variable].values.squeeze(), truth[variable].values.squeeze(), atol=1e-3)

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


SMALL = {"budget": 0, "progress": False, "modes": 8, "lags": 2}


def embedded(runs: int, frames: int) -> xr.Dataset:
    """Waves on a line of 8 points, as independent trajectories."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 2 * np.pi, (runs, 1)) + 0.4 * np.arange(frames)
    x = np.arange(8) * np.pi / 4
    wave = np.sin(phase[..., None] - x) + 0.05 * rng.standard_normal((runs, frames, 8))
    ds = xr.Dataset({"h": (("trajectory", "time", "x"), wave, {"units": "m"})})
    ds = ds.assign_coords(time=0.5 * np.arange(frames), x=x)
    ds["x"].attrs = {"axis": "X", "modulo": 2 * np.pi}
    return ds


@pytest.mark.parametrize("options", [{}, {"patch": 2, "latent_channels": 2, "width": (8,), "blocks": 1, "epochs": 1}])
def test_a_model_of_any_system_is_trained_by_the_accessor(options, tmp_path):
    runs = embedded(4, 40)
    model = runs.slams.fit(window=3, **SMALL, **options)
    assert model.spec.training["data"]["stretches"] == 4
    assert model.spec.training["data"]["start"] == "0.0"
    again = xslams.open_model(model.save(tmp_path / "waves.safetensors"))
    truth = embedded(5, 8).isel(trajectory=4)
    obs = xslams.simulate_observations(truth["h"], every={"x": 4}, error=0.05)
    found = [truth.slams.assimilate(obs, m, members=2, steps=4, antithetic=True).compute() for m in (model, again)]
    xr.testing.assert_equal(*found)
    assert float(found[0].slams.score(truth)["rmse"]) < 0.4 * float(truth["h"].std())
    decoded = truth.slams.encode(model).slams.decode(model)
    assert float(decoded.slams.score(truth)["wasserstein"]) < 0.1


def test_settings_of_a_system_are_chosen_and_aux_is_named():
    runs = embedded(4, 40).assign(high=lambda ds: 2 * ds["h"])
    runs["high"].attrs["units"] = "m"
    model = runs.slams.fit(["high"], window=3, budget=4, epochs=0, progress=False)
    assert [v.role for v in model.spec.variables] == ["state", "aux"]
    assert model.spec.training["settings"]["mean_order"] == 0
    assert len(model.spec.training["trials"]) > 1
    with pytest.raises(xslams.errors.VariableError, match=r"aux= is a DataArray.*merge"):
        runs.slams.fit(runs["high"], **SMALL)

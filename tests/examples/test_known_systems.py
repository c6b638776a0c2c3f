"""The experiments on systems whose equations are known: their diagnostics are right, and they run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.paper import __main__ as command
from examples.paper import figures, kolmogorov, lorenz
from examples.paper.embedding import embed, identify, off_manifold, states_of
from examples.paper.flow import consistency, divergence, increments, spectrum, vorticity
from examples.paper.known import KNOWN
from xslams.systems import KolmogorovFlow, Lorenz63


def test_an_embedding_is_undone_and_its_manifold_is_known() -> None:
    system = Lorenz63(substeps=2)
    runs = system.simulate(20, trajectories=2, seed=3)
    signal = embed(runs, system, 16)["signal"]
    assert signal.dims == ("trajectory", "time", "point")
    states = np.moveaxis(np.stack([runs[n].values for n in "xyz"]), 0, -1)
    np.testing.assert_allclose(states_of(signal, system), states, atol=1e-4)
    assert off_manifold(signal) < 1e-5
    assert off_manifold(signal + 0.3) < 0.1 < off_manifold(2 * signal)


@settings(max_examples=4, deadline=None)
@given(rho=st.floats(26, 35), sigma=st.floats(8, 12))
def test_equations_are_identified(rho: float, sigma: float) -> None:
    system = Lorenz63(rho=rho, sigma=sigma, substeps=2)
    states = system.state(system.simulate(150, seed=0))
    found = identify(states, system)
    assert found.coefficients["dy/dt: x"] == pytest.approx(rho, rel=1e-2)
    assert found.coefficients["dx/dt: y"] == pytest.approx(sigma, rel=1e-2)
    noisy = identify(states + np.random.default_rng(0).standard_normal(states.shape), system)
    assert noisy.residual > 10 * found.residual
    assert noisy.error > found.error


@settings(max_examples=6, deadline=None)
@given(k=st.integers(1, 5), m=st.integers(1, 5), n=st.sampled_from([12, 16]))
def test_statistics_of_a_wave_are_known(k: int, m: int, n: int) -> None:
    y, x = np.mgrid[0:n, 0:n] * 2 * np.pi / n
    # From a stream function sin(kx) sin(my): no divergence, and vorticity of minus its Laplacian.
    u, v = m * np.sin(k * x) * np.cos(m * y), -k * np.cos(k * x) * np.sin(m * y)
    np.testing.assert_allclose(divergence(u, v), 0, atol=1e-10)
    np.testing.assert_allclose(vorticity(u, v), (k**2 + m**2) * np.sin(k * x) * np.sin(m * y), atol=1e-10)
    energy = spectrum(u, v)
    shell = round(float(np.hypot(k, m)))
    if shell < n // 2:
        assert energy[shell - 1] == pytest.approx(np.mean(u**2 + v**2) / 2)
        assert energy.sum() == pytest.approx(energy[shell - 1])
    np.testing.assert_allclose(increments(u, n), 0, atol=1e-12)


def test_a_flow_is_consistent_with_itself_and_noise_is_not() -> None:
    flow = KolmogorovFlow(size=16, reynolds=60).simulate(2, seed=0)
    u, v = flow["u"].values, flow["v"].values
    own = consistency(u, v, (u, v))
    assert own["spectrum error"] == 0
    assert own["enstrophy"] == own["increments"] == 1
    assert own["divergence"] < 1e-6
    noisy = consistency(u + np.random.default_rng(0).standard_normal(u.shape), v, (u, v))
    assert noisy["spectrum error"] > 0.5
    assert noisy["divergence"] > 0.3
    assert noisy["increments"] > 1.5


def test_the_settings_are_those_of_sda() -> None:
    flow = KolmogorovFlow(size=32, reynolds=250).simulate(4, seed=0, spinup=2)[["u", "v"]]
    seen = {name: observe(flow, 0) for name, observe in kolmogorov.SETTINGS.items()}
    boxes = seen["coarse"][1].data
    assert boxes.sizes == {"time": 2, "y": 8, "x": 8}
    mean = flow["v"].isel(time=4, y=slice(4), x=slice(4)).mean()
    assert abs(float(boxes[1, 0, 0] - mean)) < 0.5
    points = seen["every 8th point"][0].data
    assert points.notnull().sum() == 5 * 64
    assert seen["every 4th point"][0].data.notnull().sum() == 5 * 256
    assert float(abs(points - flow["u"]).max()) < 0.6
    vortices = seen["saturated"][0]
    assert vortices.data.sizes == {"time": 2, "y": 12, "x": 12}
    fields = {name: torch.as_tensor(flow[name].values[None]) for name in "uv"}
    found = kolmogorov.saturated(fields)[0].numpy()
    assert np.abs(vortices.data - found[::3, 4:28:2, 4:28:2]).max() < 0.3


TINY = {
    "lorenz": lorenz.LorenzSize(2, 12, (0, 1), (8, 8), (1, 1), 1, 3, 1, 12, 2, 2),
    "kolmogorov": dataclasses.replace(
        kolmogorov.QUICK, flow=KolmogorovFlow(size=16, reynolds=60.0, substeps=2), frames=12, length=2, steps=2,
        settings=("every 8th point",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
def test_a_run_compares_all_methods(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = dataclasses.replace(KNOWN[name], quick=TINY[name])
    monkeypatch.setitem(KNOWN, name, known)
    monkeypatch.setattr(lorenz, "KINDS", {k: v for k, v in lorenz.KINDS.items() if "6" not in k})
    command.main([name, "--quick", "--out", str(tmp_path)])
    assert known.title in capsys.readouterr().out
    path = tmp_path / f"{name}.csv"
    assert path.read_text().startswith(f"# python -m examples.paper {name} --quick\n")
    table = known.table(figures.read(path))
    methods = set(table.reset_index()["method"])
    assert methods >= {"truth", "climatology", "pixel"}
    assert any(m.startswith("latent") for m in methods)
    assert any(m.startswith("autoencoder alone") for m in methods)
    assert not (table[list(known.physics)] == "nan").any(axis=None)


def test_the_saturated_experiment_is_that_of_the_flow() -> None:
    assert KNOWN["saturated"].full.flow == KNOWN["kolmogorov"].full.flow
    assert KNOWN["saturated"].full.settings == ("saturated",)
    assert set(KNOWN["kolmogorov"].full.settings) | {"saturated"} == set(kolmogorov.SETTINGS)


def test_models_are_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.paper.systems import trained_on

    ds = embed(lorenz.SYSTEM.simulate(11, trajectories=2), lorenz.SYSTEM, 8)
    options = {"budget": 0, "window": 3, "modes": 4}
    first = trained_on(ds, "a", tmp_path, **options)
    monkeypatch.setattr(xr.Dataset, "slams", property(lambda _: pytest.fail("trained again")))
    assert trained_on(ds, "a", tmp_path, **options).spec == first.spec

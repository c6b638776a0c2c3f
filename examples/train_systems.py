"""Train the embedded models of `xslams.systems`.

    python examples/train_systems.py lorenz63 lorenz63-ode lorenz96 kolmogorov

Everything is simulated on the spot. On one core of 2024 the Lorenz models take 20 to 70 minutes each, `kolmogorov`
about an hour.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import xslams
from xslams.priors.system_networks import SystemNetworks
from xslams.spec import Spec, VariableSpec
from xslams.systems import KolmogorovFlow, Lorenz63, Lorenz96
from xslams.systems.common import System
from xslams.training import fit_arrays
from xslams.training.trajectories import fit_trajectories, fit_transition, measure_levels

DATA = Path(xslams.__file__).parent / "data"
FRAMES = 512


def spec_of(system: System, **options: Any) -> Spec:
    """Describe a model of a system: its variables, coordinates and parameters."""
    parameters = {f.name: getattr(system, f.name) for f in dataclasses.fields(system)}
    return Spec(
        variables=tuple(
            VariableSpec(name, "1", long_name=system._attributes[name]["long_name"]) for name in system.variables
        ),
        time_step=system.dt,
        system={"name": type(system).__name__, **parameters},
        license="MIT",
        **options,
    )


def train(
    system: System, spec: Spec, trajectories: int, options: dict[str, Any], steps: dict[str, Any]
) -> xslams.Model:
    """Train the network of trajectories and the step."""
    torch.manual_seed(0)
    states = system.state(system.simulate(FRAMES - 1, trajectories=trajectories, seed=1))
    shape = (len(spec.variables), len(spec.lat), len(spec.lon))
    data = torch.as_tensor(states.reshape(trajectories, FRAMES, *shape), dtype=torch.float32)
    networks = SystemNetworks(spec)
    if isinstance(system, Lorenz63):
        networks.mean.copy_(torch.as_tensor(system.mean).reshape(-1, 1, 1))
        networks.std.copy_(torch.as_tensor(system.scale).reshape(-1, 1, 1))
    else:
        networks.mean.fill_(2.3)
        networks.std.fill_(3.64)
    z = networks.standardize(data).flatten(3)
    fit_trajectories(networks.filters, z, **options)
    transition = networks.transition
    transition.substeps = 1
    fit_transition(transition, z, **steps)
    if spec.architecture.get("substeps", 1) == 2:
        # Half of the step that was learned is where two steps begin.
        transition.substeps = 2
        with torch.no_grad():
            transition.last.weight /= 2
            transition.last.bias /= 2
        fit_transition(
            transition, z, steps=2 * steps["steps"] // 3, batch=steps["batch"], learning_rate=1e-3, least=1e-5
        )
    unseen = system.state(system.simulate(80, trajectories=max(trajectories // 32, 8), seed=5))
    fresh = torch.as_tensor(unseen, dtype=torch.float32).reshape(len(unseen), 81, *shape)
    measure_levels(networks, networks.standardize(fresh).flatten(3))
    networks.eval().requires_grad_(requires_grad=False)
    return xslams.Model(spec, prior=networks)


def lorenz63() -> xslams.Model:
    """Return the chain of Rozet and Louppe: noise of unit intensity, a frame every 0.025."""
    system = Lorenz63(noise=1.0)
    options = {"length": 48, "batch": 256, "steps": 4200, "noise": (0.004, 30.0)}
    spec = spec_of(
        system, name="lorenz63", summary="Lorenz-63 with noise, as in SDA", lat=(0.0,), lon=(0.0,), periodic=False,
        architecture={"memory": 48, "hidden": 96, "reach": 0, "blocks": True, "products": 32, "step_reach": 0},
        training={"trajectories": 2048, "frames": FRAMES, **options},
    )  # fmt: skip
    return train(system, spec, 2048, options, {"steps": 1500})


def lorenz63_ode() -> xslams.Model:
    """Return the deterministic system, a frame every 0.05."""
    system = Lorenz63(dt=0.05, substeps=5)
    options = {"length": 64, "batch": 192, "steps": 3000, "noise": (0.01, 30.0)}
    spec = spec_of(
        system, name="lorenz63-ode", summary="Lorenz-63 without noise", lat=(0.0,), lon=(0.0,), periodic=False,
        architecture={"memory": 48, "hidden": 96, "reach": 0, "blocks": True, "products": 48, "step_reach": 0},
        training={"trajectories": 2048, "frames": FRAMES, **options},
    )  # fmt: skip
    return train(system, spec, 2048, options, {"steps": 5000})


def lorenz96() -> xslams.Model:
    """Return Lorenz-96 with 40 sites, a frame every 0.05."""
    system = Lorenz96()
    options = {"length": 32, "batch": 16, "steps": 4500, "noise": (0.02, 20.0)}
    spec = spec_of(
        system, name="lorenz96", summary="Lorenz-96 with 40 sites", lat=(0.0,), lon=tuple(np.arange(40) * 9.0),
        periodic=True,
        architecture={
            "memory": 40, "hidden": 80, "reach": 2, "blocks": False, "products": 48, "step_reach": 3, "substeps": 2,
        },
        training={"trajectories": 256, "frames": FRAMES, **options},
    )  # fmt: skip
    return train(system, spec, 256, options, {"steps": 6000, "batch": 256})


def kolmogorov() -> xslams.Model:
    """Return the vorticity of Kolmogorov flow on 64 x 64 points, a frame every 0.2."""
    system = KolmogorovFlow()
    points = tuple((np.arange(64) * 2 * np.pi / 64).tolist())
    spec = spec_of(
        system, name="kolmogorov", summary="Vorticity of Kolmogorov flow", lat=points, lon=points, periodic=True,
        window=5, training={"trajectories": 48, "frames": 200},
    )  # fmt: skip
    vorticity = system.simulate(199, trajectories=48, seed=1)["vorticity"].values
    runs = [(run[:, None], np.zeros(len(run))) for run in vorticity]
    return fit_arrays(
        spec, runs, epochs=2, patch=2, latent_channels=4, hidden=0, autoencoder_epochs=0, modes=128, mean_order=0,
        std_order=0, width=(32, 64), blocks=2, location=8, dropout=0.0, batch=16, seed=0,
    )  # fmt: skip


MODELS: dict[str, Callable[[], xslams.Model]] = {
    "lorenz63": lorenz63,
    "lorenz63-ode": lorenz63_ode,
    "lorenz96": lorenz96,
    "kolmogorov": kolmogorov,
}


def main() -> None:
    """Train the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, default=DATA, help="folder of the models")
    arguments = parser.parse_args()
    for name in arguments.names:
        path = MODELS[name]().save(arguments.out / f"{name}.safetensors")
        print(f"wrote {path}, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""Train the embedded models of `xslams.systems`.

    python examples/train_systems.py lorenz63 lorenz63-ode lorenz96 kolmogorov
    python examples/train_systems.py kolmogorov --quick    # seconds: the same file, but nothing is learned

The script simulates its own training data. On one core of 2024 the Lorenz models take 20 to 70 minutes each, and
`kolmogorov` takes about an hour.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import xslams
from xslams.options import SystemTrainingOptions, TrainingOptions
from xslams.spec import Spec, VariableSpec
from xslams.systems import KolmogorovFlow, Lorenz63, Lorenz96, System
from xslams.training import fit_arrays, fit_system

DATA = Path(xslams.__file__).parent / "data"
FRAMES = 512
#: With ``--quick``: frames of a trajectory, and their number.
FEW = 12, 4


def spec_of(system: System, **about: Any) -> Spec:
    """Describe a model of a system: its variables, coordinates and parameters."""
    parameters = {f.name: getattr(system, f.name) for f in dataclasses.fields(system)}
    frame = system.simulate(0, spinup=0)
    return Spec(
        variables=tuple(VariableSpec(name, "1", long_name=frame[name].attrs["long_name"]) for name in system.variables),
        time_step=system.dt,
        dims=system.dims,
        system={"name": type(system).__name__, **parameters},
        license="MIT",
        **about,
    )


def train(
    system: System,
    spec: Spec,
    trajectories: int,
    options: SystemTrainingOptions,
    *,
    mean: Any,
    std: Any,
    quick: bool = False,
) -> xslams.Model:
    """Simulate trajectories, and train a model on them."""
    frames, unseen_frames = FRAMES, 80
    if quick:
        frames, trajectories, unseen_frames = *FEW, 4
        options = dataclasses.replace(options, length=8, steps=1, transition_steps=1, batch=2, transition_batch=8)
    states = system.state(system.simulate(frames - 1, trajectories=trajectories, seed=1))
    unseen = system.state(system.simulate(unseen_frames, trajectories=max(trajectories // 32, 8), seed=5))
    spec = dataclasses.replace(
        spec, training={"trajectories": trajectories, "frames": frames, **dataclasses.asdict(options)}
    )
    states, unseen = (a.reshape(*a.shape[:2], *spec.frame_shape) for a in (states, unseen))
    return fit_system(spec, states, unseen, options, mean=mean, std=std)


def lorenz63(*, quick: bool = False) -> xslams.Model:
    """Return the chain of Rozet and Louppe: noise of unit intensity, a frame every 0.025."""
    system = Lorenz63(noise=1.0)
    spec = spec_of(
        system, name="lorenz63", summary="Lorenz-63 with noise, as in SDA", lat=(0.0,), lon=(0.0,), periodic=False
    )
    options = SystemTrainingOptions(products=32, length=48, batch=256, steps=4200, transition_steps=1500)
    return train(system, spec, 2048, options, mean=system.mean, std=system.scale, quick=quick)


def lorenz63_ode(*, quick: bool = False) -> xslams.Model:
    """Return the deterministic system, a frame every 0.05."""
    system = Lorenz63(dt=0.05, substeps=5)
    spec = spec_of(
        system, name="lorenz63-ode", summary="Lorenz-63 without noise", lat=(0.0,), lon=(0.0,), periodic=False
    )
    options = SystemTrainingOptions(length=64, batch=192, steps=3000, noise=(0.01, 30.0), transition_steps=5000)
    return train(system, spec, 2048, options, mean=system.mean, std=system.scale, quick=quick)


def lorenz96(*, quick: bool = False) -> xslams.Model:
    """Return Lorenz-96 with 40 sites, a frame every 0.05."""
    system = Lorenz96()
    spec = spec_of(
        system, name="lorenz96", summary="Lorenz-96 with 40 sites", lat=(0.0,), lon=tuple(np.arange(40) * 9.0),
        periodic=True,
    )  # fmt: skip
    options = SystemTrainingOptions(
        memory=40, hidden=80, reach=2, blocks=False, products=48, step_reach=3, substeps=2, length=32, batch=16,
        steps=4500, noise=(0.02, 20.0), transition_steps=6000, transition_batch=256,
    )  # fmt: skip
    return train(system, spec, 256, options, mean=2.3, std=3.64, quick=quick)


def kolmogorov(*, quick: bool = False) -> xslams.Model:
    """Return the vorticity of Kolmogorov flow on 64 x 64 points, a frame every 0.2."""
    system = KolmogorovFlow()
    trajectories, frames = (1, 12) if quick else (48, 200)
    points = tuple((np.arange(64) * 2 * np.pi / 64).tolist())
    spec = spec_of(
        system, name="kolmogorov", summary="Vorticity of Kolmogorov flow", lat=points, lon=points, periodic=True,
        window=5, training={"trajectories": trajectories, "frames": frames},
    )  # fmt: skip
    spinup = 2 if quick else None
    vorticity = system.simulate(frames - 1, trajectories=trajectories, seed=1, spinup=spinup)["vorticity"].values
    runs = [(run[:, None], np.zeros(len(run))) for run in vorticity]
    options = TrainingOptions(
        epochs=2, patch=2, latent_channels=4, hidden=0, autoencoder_epochs=0, modes=128, mean_order=0, std_order=0,
        width=(32, 64), blocks=2, location=8, dropout=0.0, batch=16,
    )  # fmt: skip
    if quick:
        options = dataclasses.replace(options, epochs=1, batch=4)
    return fit_arrays(spec, runs, options, seed=0)


MODELS: dict[str, Callable[..., xslams.Model]] = {
    "lorenz63": lorenz63,
    "lorenz63-ode": lorenz63_ode,
    "lorenz96": lorenz96,
    "kolmogorov": kolmogorov,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(MODELS))
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it works")
    parser.add_argument("--out", type=Path, help="folder of the models; that of the package, with --quick this one")
    options = parser.parse_args(arguments)
    folder = options.out or (Path() if options.quick else DATA)
    for name in options.names:
        path = MODELS[name](quick=options.quick).save(folder / f"{name}.safetensors")
        print(f"wrote {path}, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""Write what is known of the embedded models into their headers: data, command, use, limits and scores.

    python -m examples.describe_models

The model cards of the documentation are made from nothing else. Weights stay as they are, bit by bit; the registry is
written anew, as the files have other hashes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from examples import register_models
from xslams.model import Model
from xslams.priors.stored import digest
from xslams.zoo.registry import DATA

_SYSTEMS = "python examples/train_systems.py"
_TWIN = "Twin experiments: the truth, and observations of it, are simulated by `xslams.systems` with these parameters."

#: Entries of ``training`` and ``scores`` by model; those that a header has and these lack are kept.
RECORDS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lorenz63": (
        {
            "source": "xslams.systems.Lorenz63(noise=1.0), seeds of its own",
            "command": f"{_SYSTEMS} lorenz63",
            "use": _TWIN,
            "limits": "Only this system with noise of unit intensity and a frame every 0.025. The first "
            "observed frame should come some frames after the start of the trajectory, as only the "
            "covariance of first states is known.",
        },
        {
            "benchmark": "python -m benchmarks sda --calls 128",
            "validation": "64 trajectories of 65 states, x observed; W1 is the Wasserstein distance to a particle "
            "filter, second_run that of another run of the filter",
            "every eighth state, error 0.05": {"W1": 5.12, "second_run": 5.13},
            "every state, error 0.25": {"W1": 6.06, "second_run": 6.33},
        },
    ),
    "lorenz63-ode": (
        {
            "source": "xslams.systems.Lorenz63(dt=0.05, substeps=5), seeds of its own",
            "command": f"{_SYSTEMS} lorenz63-ode",
            "use": _TWIN,
            "limits": "Only this system without noise and a frame every 0.05. One to three members in a hundred "
            "settle in a wrong valley of the posterior or leave the attractor; replace them by their "
            "evidence (`xslams.inference.importance_weights`).",
        },
        {
            "benchmark": "python -m benchmarks testbeds",
            "validation": "lorenz63-sakov2012 of DAPPER: three series of 1000 observation times; the particle "
            "filter with 4000 particles has a filter RMSE of 0.257, the iterative smoother with lag 8 "
            "a smoother RMSE of 0.211",
            "last state (filter)": {"rmse": 0.354, "spread": 0.358},
            "middle state (smoother)": {"rmse": 0.168, "spread": 0.202},
        },
    ),
    "lorenz96": (
        {
            "source": "xslams.systems.Lorenz96(), seeds of its own",
            "command": f"{_SYSTEMS} lorenz96",
            "use": _TWIN,
            "limits": "Only 40 sites with F = 8 and a frame every 0.05. With few observations members miss the "
            "right branch of the posterior: the iterative smoother is better by a third there.",
        },
        {
            "benchmark": "python -m benchmarks testbeds",
            "validation": "lorenz96-sakov2008 of DAPPER: two series of 1000 observation times; EnKF-N has a filter "
            "RMSE of 0.213, the EnKS with lag 48 a smoother RMSE of 0.080",
            "last state (filter)": {"rmse": 0.182, "spread": 0.210},
            "middle state (smoother)": {"rmse": 0.060, "spread": 0.080},
        },
    ),
    "kolmogorov": (
        {
            "source": "xslams.systems.KolmogorovFlow(), seeds of its own",
            "command": f"{_SYSTEMS} kolmogorov",
            "use": _TWIN,
            "limits": "Only 64 x 64 points, a Reynolds number of 1000 and a frame every 0.2. A Gaussian prior "
            "with a small network: fields from sparse observations are smoother than the flow.",
        },
        {
            "benchmark": "python -m benchmarks peers --problems kolmogorov --trajectories 1",
            "validation": "five times, every other observed at every fourth point in x and y; one trajectory, four "
            "members; in standard deviations of the vorticity. SDA on the same network has 0.239 and "
            "0.486",
            "every fourth point, error 0.1": {"crps": 0.250, "rmse": 0.516, "spread": 0.474},
        },
    ),
    "ncep-na": (
        {
            "data": {
                "start": "2013-01-01", "end": "2014-06-30", "frames": 546, "variables": ["air"],
                "title": "Near-surface air temperature of the NCEP/NCAR reanalysis, daily means",
                "source": "NOAA PSL, public domain",
            },
            "command": "python examples/train_ncep.py",
            "use": "To try real stations: air temperature over North America and the seas around it.",
            "limits": "Eighteen months determine a Gaussian and no more: no network, and an error as large as that of "
            "optimal interpolation. Not for trends, other regions or other hours than daily means.",
        },
        {
            "benchmark": "python -m benchmarks ncep --members 4",
            "validation": "2014-07-01 to 2014-12-31 against the reanalysis, K, four members. Optimal interpolation "
            "of three local days has 2.290 and a CRPS of 1.086",
            "stations": {"rmse": 2.275, "crps": 1.058, "spread_skill": 0.97},
            "stations+sst": {"rmse": 2.219, "crps": 1.014, "spread_skill": 0.98},
        },
    ),
    "speedy-t30": (
        {
            "source": "JCM 3.0.0 with the physics of SPEEDY at T30 on 8 levels; runs of our own",
            "command": "python examples/simulate_speedy.py RUNS --days 300; python examples/train_speedy.py "
            "--alone --more RUNS/run_* --budget 62s",
            "hardware": "one H200: six minutes of simulation, four of training",
            "use": "Tutorials, tests and twin experiments on a global atmosphere, with precipitation and outgoing "
            "longwave radiation as auxiliary variables.",
            "limits": "It knows a simplified simulation with climatological sea surface, whose climate differs "
            "from that of the Earth by several kelvin: not for real observations. With all three sources the spread is "
            "0.86 of the error in the stratosphere and 1.08 near the ground. What the latents leave out, 0.27 K of "
            "temperature, ends at the edges of patches of 4 x 4 cells, which maps of errors and spread show.",
        },
        {
            "benchmark": "python -m benchmarks speedy --days 6 --stride 30 --context 1 --members 8 --steps 16",
            "validation": "72 days of the fourth year of the first run, which no training has seen; mean of the "
            "levels, K",
            "none": {"crps": 1.277, "rmse": 2.633, "spread_skill": 0.91},
            "pr": {"crps": 1.039, "rmse": 2.107, "spread_skill": 0.93},
            "pr+olr": {"crps": 0.898, "rmse": 1.769, "spread_skill": 0.95},
            "pr+olr+t": {"crps": 0.791, "rmse": 1.510, "spread_skill": 0.96},
        },
    ),
}  # fmt: skip


def describe(path: Path, training: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Add entries to the records in the header of a model file; the weights are those that it has.

    Parameters
    ----------
    path
        Model file.
    training, scores
        Entries that are added or replaced.
    """
    spec = Model.load(path).spec
    spec = dataclasses.replace(spec, training=spec.training | training, scores=spec.scores | scores)
    tensors, text = load_file(path), spec.to_json()
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary, metadata={"format": "xslams", "spec": text, "sha256": digest(text, tensors)})
    temporary.chmod(0o644)
    os.replace(temporary, path)


def main() -> None:
    """Describe the embedded models."""
    for name, records in RECORDS.items():
        path = DATA / f"{name}.safetensors"
        known = Model.load(path).spec
        if (known.training | records[0], known.scores | records[1]) != (known.training, known.scores):
            describe(path, *records)
    register_models.main()


if __name__ == "__main__":
    main()

"""Error against network calls, of solvers, time grids and guidance. Prints the tables of docs/solvers.md.

    python -m benchmarks solvers                          # all, a few minutes on one core
    python -m benchmarks solvers --tables solvers grids

The problems have a posterior that is known exactly (`tests.problems.posteriors`). For linear problems the
samplers of the first tables are linear too, and their mean and covariance are found without sampling error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from benchmarks.command import Command
from benchmarks.tables import table
from tests.problems.posteriors import (
    SCHEDULE,
    GaussianProblem,
    MixtureDenoiser,
    UnitNoise,
    distance_over_floor,
    gaussian,
    mixture,
    moments,
)
from xslams.inference import sample_posterior
from xslams.inference.guidance import DPS, MMPS, SDA, guide
from xslams.inference.noise_levels import time_grid
from xslams.inference.samplers import sample

CALLS = (8, 16, 32, 64, 128)

#: Small enough for the matrices of stochastic samplers: scales of data and of posterior from 0.09 to 10.
PROBLEMS: dict[str, dict[str, object]] = {
    "red": {"size": 16, "observed": 6, "error": 0.3},
    "steep": {"size": 16, "observed": 6, "spectrum": "steep"},
    "ar": {
        "size": 16, "observed": 6, "spectrum": "ar", "operator": "sparse", "errors": "different", "error": 0.2,
    },
}  # fmt: skip


def steps_for(calls: int, corrections: int) -> int:
    """Return the number of steps that makes as many calls as there may be."""
    return (calls - 1 + corrections) // (1 + corrections) + 1


def linear_errors(problem: GaussianProblem, *, draws: int = 1, grid: str | None = None, **options: object) -> float:
    """Largest error of a standard deviation in percent, without sampling error; the system is solved exactly."""
    noise = UnitNoise(problem.size, draws)
    guided = guide(problem.denoiser(), problem.y, problem.observe, problem.error, MMPS(tolerance=1e-6))
    if grid is not None:
        options["t"] = time_grid(SCHEDULE, int(options.pop("steps")) - 1, grid)  # type: ignore[call-overload]
    z = sample(guided, SCHEDULE.sigma_max * noise(0), noise, **options)  # type: ignore[arg-type]
    return 100 * problem.errors(*moments(z))["std"]


def worst(**options: object) -> str:
    """Largest error of `linear_errors` over the problems."""
    problems = [gaussian(**kw, dtype=torch.float64) for kw in PROBLEMS.values()]  # type: ignore[arg-type]
    return f"{max(linear_errors(p, **options) for p in problems):.2f}"  # type: ignore[arg-type]


def solvers(every: Sequence[int], members: int) -> None:
    """Solvers: error in the standard deviation."""
    rows = {}
    for sampler in ("unipc", "dpmpp2m", "ab2", "heun", "ddim", "ddpm"):
        rows[f"`{sampler}`"] = [
            worst(sampler=sampler, steps=calls, draws=calls if sampler == "ddpm" else 1) for calls in every
        ]
    for corrections in (1, 2, 3):
        rows[f'`"auto"`, corrections={corrections}'] = [
            worst(steps=steps_for(calls, corrections), corrections=corrections, draws=2 * calls) for calls in every
        ]
    title = "Largest error of a posterior standard deviation (percent) against network calls; grid uniform in log-SNR"
    table(title, [str(c) for c in every], rows)


def grids(every: Sequence[int], members: int) -> None:
    """Time grids: error in the standard deviation."""
    rows = {}
    for sampler in ("unipc", "dpmpp2m", "ddim"):
        for grid in ("log-snr", "rho", "cosine"):
            rows[f"`{sampler}`, `{grid}`"] = [worst(sampler=sampler, steps=calls, grid=grid) for calls in every]
    table("The same for time grids (`rho` of 7)", [str(c) for c in every], rows)


GUIDANCES: dict[str, tuple[str | MMPS | SDA | DPS, int]] = {
    "`mmps`": ("mmps", 0),
    "`MMPS(iterations=3)`": (MMPS(iterations=3), 0),
    "`MMPS(iterations=1)`": (MMPS(iterations=1), 0),
    "`sda`": ("sda", 0),
    "`SDA(gamma=0.1)`": (SDA(gamma=0.1), 0),
    "`dps`": ("dps", 0),
    "`mmps`, corrections=2": ("mmps", 2),
    "`MMPS(iterations=1)`, corrections=2": (MMPS(iterations=1), 2),
    "`sda`, corrections=2": ("sda", 2),
    "`SDA(gamma=0.1)`, corrections=2": (SDA(gamma=0.1), 2),
    "`dps`, corrections=2": ("dps", 2),
}


def bounded(cell: Callable[[], str]) -> str:
    """Text of a cell, or that the sampler diverged."""
    text = cell()
    return "diverges" if "nan" in text or "inf" in text or max(float(v) for v in text.split(" / ")) > 100 else text


def guidance(every: Sequence[int], members: int) -> None:
    """Guidance on linear Gaussian problems: error of the mean and of the standard deviation."""
    problems = [gaussian(**kw) for kw in PROBLEMS.values()]  # type: ignore[arg-type]
    rows = {}
    for name, (method, corrections) in GUIDANCES.items():

        def cell(calls: int, method: str | MMPS | SDA | DPS = method, corrections: int = corrections) -> str:
            means, stds = [], []
            for p in problems:
                z = sample_posterior(
                    p.denoiser(), p.y, p.observe, p.error, shape=(p.size,), members=members, guidance=method,
                    steps=steps_for(calls, corrections), corrections=corrections, antithetic=True,
                    generator=torch.Generator().manual_seed(0),
                )  # fmt: skip
                std = (z - z.mean(0)).square().mean(0).sqrt()
                means.append(float(((z.mean(0) - p.mean) / p.std).square().mean().sqrt()))
                stds.append(float((std / p.std - 1).square().mean().sqrt()))
            return f"{max(means):.2f} / {max(stds):.2f}"

        rows[name] = [bounded(lambda calls=calls: cell(calls)) for calls in every]
    title = (
        "Guidance: root-mean-square error of the posterior mean, in standard deviations / relative error of the "
        "standard deviations, the worst of three Gaussian problems (sampling error 0.02)"
    )
    table(title, [str(c) for c in every], rows)


def multimodal(every: Sequence[int], members: int) -> None:
    """Guidance on a mixture: distance from the exact posterior in units of the sampling floor."""
    problem = mixture(0.5, seed=1)
    rows = {}
    chosen = {k: v for k, v in GUIDANCES.items() if "gamma" not in k}
    for name, (method, corrections) in chosen.items():

        def cell(calls: int, method: str | MMPS | SDA | DPS = method, corrections: int = corrections) -> str:
            z: Tensor = sample_posterior(
                MixtureDenoiser(problem.prior), problem.y, problem.observe, problem.error**2, shape=(8,),
                members=members, guidance=method, steps=steps_for(calls, corrections), corrections=corrections,
                generator=torch.Generator().manual_seed(0),
            )  # fmt: skip
            return f"{distance_over_floor(z, problem.posterior):.1f}"

        rows[name] = [bounded(lambda calls=calls: cell(calls)) for calls in every]
    title = "The same for a mixture of 25 components in 8 dimensions: sliced Wasserstein distance over sampling floor"
    table(title, [str(c) for c in every], rows)


TABLES = {"solvers": solvers, "grids": grids, "guidance": guidance, "multimodal": multimodal}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    command.add_argument("--calls", nargs="+", type=int, default=list(CALLS), help="network calls")
    command.add_argument("--members", type=int, default=4096, help="members, where sampling is not exact")
    command.quick(calls=[4], members=64)
    options = command.read(arguments)
    for name in options.tables:
        TABLES[name](options.calls, options.members)

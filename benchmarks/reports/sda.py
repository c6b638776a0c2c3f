"""Lorenz-63 as in the paper on score-based data assimilation (SDA, arXiv 2306.10574, section 4.1).

    python -m benchmarks sda                         # 64 trajectories, as in the paper; hours on two cores
    python -m benchmarks sda --trajectories 8        # minutes
    python -m benchmarks sda --calls 128 --keep sda.tsv  # goes on with what an interrupted run has written there

The chain of the paper: steps of 0.025 with noise of variance 0.025 after each, 65 states. "lo": x at every eighth state
with an error of 0.05 standard deviations of x; "hi": x at every state with an error of 0.25. Scores per trajectory:

- W1: Wasserstein distance (Euclidean, over whole trajectories in physical units) of 1024 members from 1024 particles;
- log p(y|x): mean log-likelihood of the observations;
- log p(x): mean log-density of the states after the first given the first.

The reference is a bootstrap particle filter with 16384 particles, against which a second run of itself gives the floor.
Medians over trajectories. Published for SDA with 4352 network calls, each with a derivative: W1 of about 5.6 (lo) and
6.9 (hi); for the particle filter 5.0 to 5.2 and 6.4.

xslams draws trajectories that begin 16 states before the first observation, so that the first one is on the attractor.
Calls are evaluations of the denoiser; at the lower half of the noise levels the learned step alone does the work, and
the network that sees whole trajectories is called only at the others (in brackets). It is never differentiated.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import xslams
from benchmarks.cases.systems import ObserveSites
from benchmarks.command import Command
from benchmarks.counting import counted
from benchmarks.tables import head, row
from xslams.inference import prior_of, sample_posterior
from xslams.systems import Lorenz63

Array = npt.NDArray[np.floating[Any]]

SYSTEM = Lorenz63(noise=1.0)
LENGTH, MEMBERS, PARTICLES = 65, 1024, 16384
#: States from one observation to the next, and error in standard deviations of x.
CASES = {"lo": (8, 0.05), "hi": (1, 0.25)}
#: States before the first observation.
SPINUP = 16
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "32": {"steps": 32},
    "64": {"steps": 22, "corrections": 2},
    "128": {"steps": 43, "corrections": 2},
}


def particle_filter(y: Array, every: int, error: float, seed: int, members: int = MEMBERS) -> Array:
    """Draw trajectories of the posterior by a bootstrap particle filter, shape (members, LENGTH, 3)."""
    rng = np.random.default_rng(seed)
    x = SYSTEM.mean + rng.standard_normal((PARTICLES, 3)) @ np.linalg.cholesky(SYSTEM.covariance).T
    for _ in range(64):  # from the normal starts to the attractor
        x = SYSTEM.transition(x, rng)
    states = np.empty((len(y) * every, PARTICLES, 3), np.float32)
    ancestors = []
    for n, value in enumerate(y):
        for k in range(every):
            x = SYSTEM.transition(x, rng)
            states[n * every + k] = x
        misfit = ((value - x[:, 0] / SYSTEM.scale[0]) / error) ** 2
        weights = np.exp(-(misfit - misfit.min()) / 2)
        chosen = np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(PARTICLES)).clip(max=PARTICLES - 1)
        ancestors.append(chosen)
        x = x[chosen]
    line = np.arange(PARTICLES)[:members]
    out = np.empty((members, len(states), 3))
    for n in reversed(range(len(y))):
        line = ancestors[n][line]
        out[:, n * every : (n + 1) * every] = states[n * every : (n + 1) * every, line].swapaxes(0, 1)
    # The first observation belongs to the first state of the trajectory.
    return out[:, every - 1 :]


def calls_of(options: dict[str, Any]) -> int:
    """Count evaluations of the denoiser: corrections at all levels but the first and the last."""
    return 2 + (options["steps"] - 2) * (1 + options.get("corrections", 0))


def label(options: dict[str, Any]) -> str:
    """Name a configuration."""
    return f"xslams, {calls_of(options)} calls"


def diffusion(
    y: Array, every: int, error: float, seed: int, members: int = MEMBERS, **options: Any
) -> tuple[Array, int]:
    """Draw trajectories of the posterior by xslams, and count calls of the network."""
    prior = prior_of(xslams.open_model("lorenz63"), SPINUP + LENGTH)
    # x is the first of three components, in standard deviations.
    observe = ObserveSites(every, torch.tensor([0]), first=SPINUP)
    filters = prior.denoiser.networks.filters  # type: ignore[union-attr]  # of a Markov process
    with counted(filters) as count:
        z = sample_posterior(
            prior.denoiser, torch.as_tensor(y, dtype=torch.float32), observe, error**2, shape=prior.shape,
            members=members, generator=torch.Generator().manual_seed(seed), **options,
        )  # fmt: skip
    return prior.states(z)[:, SPINUP:, :, 0, 0].numpy().astype(float), count.samples // members


def distance(a: Array, b: Array) -> float:
    """Wasserstein distance of two samples of the same size: exact, by an optimal assignment."""
    costs = cdist(a.reshape(len(a), -1), b.reshape(len(b), -1))
    return float(costs[linear_sum_assignment(costs)].mean())


class Scores(NamedTuple):
    """Scores of one sample."""

    w1: float
    log_likelihood: float
    log_prior: float
    calls: int
    network: int
    seconds: float


def earlier(path: Path) -> dict[tuple[int, str], dict[str, Scores]]:
    """Read scores that were kept, by trajectory and case."""
    found: dict[tuple[int, str], dict[str, Scores]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        number, case, name, *values = line.split("\t")
        w1, likelihood, prior, calls, network, seconds = map(float, values)
        found.setdefault((int(number), case), {})[name] = Scores(
            w1, likelihood, prior, int(calls), int(network), seconds
        )
    return found


#: Number of a trajectory, case, observations, members, and configurations of xslams.
Job = tuple[int, str, Array, int, dict[str, dict[str, Any]]]


def one(job: Job) -> dict[str, Scores]:
    """Score everything on one trajectory."""
    number, case, y, members, configurations = job
    torch.set_num_threads(1)
    every, error = CASES[case]

    def scored(x: Array, calls: int, network: int, seconds: float) -> Scores:
        misfit = (x[:, ::every, 0] / SYSTEM.scale[0] - y) / error
        likelihood = (-(misfit**2) / 2 - np.log(error * np.sqrt(2 * np.pi))).sum(1).mean()
        return Scores(
            distance(x, reference), float(likelihood), float(SYSTEM.log_density(x, start=False).mean()), calls, network,
            seconds,
        )  # fmt: skip

    reference = particle_filter(y, every, error, seed=10_000 + number, members=members)
    start = time.process_time()
    again = particle_filter(y, every, error, seed=20_000 + number, members=members)
    found = {"particle filter": scored(again, 0, 0, time.process_time() - start)}
    for options in configurations.values():
        start = time.process_time()
        x, network = diffusion(y, every, error, number, members, **options)
        found[label(options)] = scored(x, calls_of(options), network, time.process_time() - start)
    return found


def _scores(jobs: Sequence[Job], workers: int) -> Iterator[dict[str, Scores]]:
    """Yield the scores of each job in turn."""
    if workers == 1:
        yield from map(one, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(one, jobs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    command = Command(__name__, __doc__)
    command.add_argument("--trajectories", type=int, default=64)
    command.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    command.add_argument("--members", type=int, default=MEMBERS)
    command.add_argument("--workers", type=int, default=2)
    command.add_argument("--keep", type=Path, help="file of scores: those in it are not computed again, others added")
    command.add_argument("--calls", nargs="+", choices=list(CONFIGURATIONS), default=list(CONFIGURATIONS))
    command.quick(trajectories=1, cases=["lo"], members=32, workers=1, calls=["32"])
    options = command.read(arguments)
    truth = SYSTEM.state(SYSTEM.simulate(LENGTH - 1, trajectories=options.trajectories, seed=2024))
    configurations = {name: CONFIGURATIONS[name] for name in options.calls}
    print(f"{options.trajectories} trajectories, {options.members} members; medians")
    jobs: list[Job] = []
    for number, x in enumerate(truth):
        for case in options.cases:
            every, error = CASES[case]
            seen = x[::every, 0] / SYSTEM.scale[0]
            y = seen + error * np.random.default_rng(30_000 + number).standard_normal(seen.shape)
            jobs.append((number, case, y, options.members, configurations))
    done = earlier(options.keep) if options.keep else {}
    wanted = {"particle filter", *map(label, configurations.values())}
    missing = [job for job in jobs if not wanted <= done.get(job[:2], {}).keys()]
    for (number, case, *_), found in zip(missing, _scores(missing, options.workers), strict=True):
        done[number, case] = found
        lines = ["\t".join(map(str, (number, case, name, *scores))) for name, scores in found.items()]
        print(*lines, sep="\n", file=sys.stderr, flush=True)
        if options.keep:
            with options.keep.open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
    head(["case", "method", "calls (network)", "W1", "log p(y given x)", "log p(x)", "CPU s"])
    results = {case: [done[number, case] for number in range(len(truth))] for case in options.cases}
    for case, found in results.items():
        for name in (name for name in found[0] if name in wanted):
            median = Scores(*np.median([r[name] for r in found], axis=0))
            method, _, _ = name.partition(",")
            row([
                case, method, f"{median.calls:.0f} ({median.network:.0f})", f"{median.w1:.2f}",
                f"{median.log_likelihood:.2f}", f"{median.log_prior:.1f}", f"{median.seconds:.0f}",
            ])  # fmt: skip

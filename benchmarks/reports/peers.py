"""xslams against the sampler of SDA and azula's MMPS: quality against seconds, with the same networks and observations.

    git clone https://github.com/francois-rozet/sda /tmp/sda && pip install zuko
    python -m benchmarks peers --sda /tmp/sda              # an hour
    python -m benchmarks peers --problems lorenz63-lo      # without a clone the rows of SDA are left out

Problems: Lorenz-63 with noise, observed as in ``python -m benchmarks sda`` ("lo": x at every eighth of 65 states, error
0.05; "hi": x at every state, error 0.25), and the vorticity of Kolmogorov flow, of which every fourth point along x and
y is observed at every other of five times with an error of 0.1, in standard deviations. Rows:

- xslams: `sample_posterior`, with its defaults but for the number of calls, and with two corrections per step;
- azula: `MMPSDenoiser` with samplers of azula;
- SDA: `VPSDE.sample` and `GaussianScore` of the authors' code, with the constants of their experiments: gamma = 0.03
  and corrections of tau = 0.25 for Lorenz-63; gamma = 0.01, the value of their code, or 0.1, and tau = 0.5 for
  Kolmogorov flow.

Those two differentiate an estimate: "network", that of the network, by automatic differentiation as the authors do; or
"denoiser", the whole denoiser of xslams with the covariance that it knows. Time is of the processor, on one thread, for
all members of all trajectories. Calls are those of the network per member; derivatives are not counted.

Scores are means over trajectories. W1: Wasserstein distance from as many members of a particle filter; the row
"particle filter" is a second run of it. log p: means over members of the logarithm of the density of the observations
given the states, and of the states after the first. CRPS (fair), RMSE of the mean and spread: against the truth, in
standard deviations of the climate. Residual: root mean square misfit to the observations in standard errors, 1 for the
truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from azula.linalg.covariance import IsotropicCovariance
from torch import Tensor, nn

import xslams
from benchmarks.cases.systems import ObserveSites
from benchmarks.command import Command
from benchmarks.counting import counted
from benchmarks.references.peers import check_sda, load_sda, of_denoiser, of_network, sample_azula, sample_sda
from benchmarks.reports import sda as lorenz
from benchmarks.tables import head, row
from xslams.inference import TrajectoryPrior, prior_of, sample_posterior
from xslams.systems import KolmogorovFlow

Array = npt.NDArray[np.floating[Any]]

ESTIMATES = {"network": of_network, "denoiser": of_denoiser}
#: Steps and corrections of xslams.
OURS = [(16, 0), (32, 0), (64, 0), (22, 2), (43, 2)]
#: Estimate, sampler, steps and iterations of azula.
AZULA = [
    ("network", "DDIMSampler", 64, 1),
    ("network", "DDPMSampler", 64, 1),
    ("network", "DDPMSampler", 256, 1),
    ("network", "DDPMSampler", 64, 3),
    ("denoiser", "DDPMSampler", 64, 3),
    ("denoiser", "zABSampler", 64, 3),
]
#: Estimate, steps and corrections of SDA.
SDA = [
    ("network", 64, 0), ("network", 256, 0), ("network", 256, 1), ("denoiser", 256, 1), ("network", 256, 4)
]  # fmt: skip
COLUMNS = ["W1", "log p(y given x)", "log p(x)", "CRPS", "RMSE", "spread", "residual"]


@dataclass(frozen=True)
class Problem:
    """Observations of several trajectories, whose members are drawn together.

    Attributes
    ----------
    prior
        Prior of trajectories.
    network
        What counts as a call.
    A, y, error
        Operator, observations of each trajectory, shape (trajectories, n), and their standard error.
    truth
        States in standard deviations of the climate, shape (trajectories, frames, ...).
    members
        Members per trajectory.
    states
        From what is denoised to states as those of `truth`.
    gammas, tau
        Constants of SDA; a second gamma is for one correction only.
    reference
        Members of a particle filter by seed, for each trajectory; None where there is none.
    """

    prior: TrajectoryPrior
    network: nn.Module
    A: Callable[[Tensor], Tensor]
    y: Tensor
    error: float
    truth: Array
    members: int
    states: Callable[[Tensor], Array]
    gammas: tuple[float, ...]
    tau: float
    reference: Callable[[int], list[Array]] | None = None

    @property
    def each(self) -> Tensor:
        """Observations of every member."""
        return self.y.repeat_interleave(self.members, 0)


def of_lorenz(case: str, trajectories: int, members: int) -> Problem:
    """Lorenz-63 with noise; standard deviations of the climate are those of the system."""
    every, error = lorenz.CASES[case]
    system, first = lorenz.SYSTEM, lorenz.SPINUP
    truth = system.state(system.simulate(lorenz.LENGTH - 1, trajectories=trajectories, seed=2024)) / system.scale
    noise = [np.random.default_rng(30_000 + k).standard_normal(len(x[::every])) for k, x in enumerate(truth)]
    y = truth[:, ::every, 0] + error * np.stack(noise)
    prior = prior_of(xslams.open_model("lorenz63"), first + lorenz.LENGTH)

    def reference(seed: int) -> list[Array]:
        found = [lorenz.particle_filter(one, every, error, seed + k, members) for k, one in enumerate(y)]
        return [x / system.scale for x in found]

    return Problem(
        prior, prior.denoiser.networks.filters, ObserveSites(every, torch.tensor([0]), first=first),
        torch.as_tensor(y, dtype=torch.float32), error, truth, members,
        lambda z: prior.states(z)[:, first:, :, 0, 0].numpy().astype(float) / system.scale,
        gammas=(0.03,), tau=0.25, reference=reference,
    )  # fmt: skip


def of_kolmogorov(trajectories: int, members: int, error: float = 0.1) -> Problem:
    """Vorticity of Kolmogorov flow, in its standard deviations."""
    flow, frames = KolmogorovFlow(), 5
    prior = prior_of(xslams.open_model("kolmogorov"), frames)
    truth = flow.state(flow.simulate(frames - 1, trajectories=trajectories, seed=2024))
    scale = float(truth.std())
    truth = truth / scale

    def observe(z: Tensor) -> Tensor:
        return prior.states(z)[:, ::2, 0, ::4, ::4].flatten(1) / scale

    rng = np.random.default_rng(30_000)
    seen = truth[:, ::2, ::4, ::4].reshape(trajectories, -1)
    y = torch.as_tensor(seen + error * rng.standard_normal(seen.shape), dtype=torch.float32)
    return Problem(
        prior, prior.denoiser.score, observe, y, error, truth, members,
        lambda z: prior.states(z)[:, :, 0].numpy().astype(float) / scale, gammas=(0.01, 0.1), tau=0.5,
    )  # fmt: skip


PROBLEMS: dict[str, Callable[[int, int], Problem]] = {
    "lorenz63-lo": lambda trajectories, members: of_lorenz("lo", trajectories, members),
    "lorenz63-hi": lambda trajectories, members: of_lorenz("hi", trajectories, members),
    "kolmogorov": of_kolmogorov,
}


def crps(x: Array, truth: Array) -> float:
    """Fair CRPS of members, shape (members, ...)."""
    n = len(x)
    ranks = (2 * np.arange(1, n + 1) - n - 1).reshape(-1, *[1] * truth.ndim)
    return float(np.mean(np.abs(x - truth).mean(0) - (ranks * np.sort(x, 0)).sum(0) / (n * max(n - 1, 1))))


def scored(problem: Problem, x: list[Array], residual: float, reference: list[Array] | None) -> list[str]:
    """Cells of the scores of members of each trajectory, in the order of `COLUMNS`."""
    if not all(np.isfinite(part).all() for part in x):
        return ["diverges", *[""] * (len(COLUMNS) - 1)]
    values: list[list[float]] = []
    for k, (part, truth) in enumerate(zip(x, problem.truth, strict=True)):
        known = [float("nan")] * 3
        if reference is not None:
            system = lorenz.SYSTEM
            every = (part.shape[1] - 1) // (problem.y.shape[1] - 1)
            misfit = (part[:, ::every, 0] - problem.y[k].numpy()) / problem.error
            likelihood = -(misfit**2) / 2 - np.log(problem.error * np.sqrt(2 * np.pi))
            known = [
                lorenz.distance(part * system.scale, reference[k] * system.scale),
                float(likelihood.sum(1).mean()),
                float(system.log_density(part * system.scale, start=False).mean()),
            ]
        rmse = float(np.sqrt(np.mean((part.mean(0) - truth) ** 2)))
        spread = float(np.sqrt(part.var(0, ddof=min(len(part) - 1, 1)).mean()))
        values.append([*known, crps(part, truth), rmse, spread, residual])
    mean = np.mean(values, 0)
    digits = [2, 2, 1, 3, 3, 3, 2]
    return ["" if np.isnan(v) else f"{v:.{d}f}" for v, d in zip(mean, digits, strict=True)]


def methods(
    problem: Problem, sda: ModuleType | None, steps: int | None, rows: int | None
) -> dict[str, Callable[[], Tensor]]:
    """Return what draws members, by name: the first `rows` of each method; `steps` replaces the steps of all."""
    prior, y, known = problem.prior, problem.each, {}
    variance = problem.error**2

    def ours(n: int, corrections: int) -> Tensor:
        return sample_posterior(
            prior.denoiser, y, problem.A, variance, shape=prior.shape, members=len(y), steps=n,
            corrections=corrections, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip

    def azula(estimate: str, sampler: str, n: int, iterations: int) -> Tensor:
        return sample_azula(
            ESTIMATES[estimate](prior.denoiser), prior.denoiser.schedule, prior.shape, y, problem.A,
            IsotropicCovariance(torch.tensor(variance)), sampler=sampler, steps=n, seed=0, iterations=iterations,
        )  # fmt: skip

    def theirs(estimate: str, n: int, corrections: int, gamma: float) -> Tensor:
        return sample_sda(
            sda, ESTIMATES[estimate](prior.denoiser), prior.shape, y, problem.A, problem.error,
            steps=n, corrections=corrections, seed=0, gamma=gamma, tau=problem.tau,
        )  # fmt: skip

    for n, corrections in OURS[:rows]:
        known[f"xslams, {n} steps" + (f", {corrections} corrections" if corrections else "")] = (
            lambda n=n, c=corrections: ours(steps or n, c)
        )
    for estimate, sampler, n, iterations in AZULA[:rows]:
        name = f"azula MMPS ({estimate}), {sampler.removesuffix('Sampler')}, {n} steps, {iterations} iterations"
        known[name] = lambda e=estimate, s=sampler, n=n, i=iterations: azula(e, s, steps or n, i)
    for estimate, n, corrections in SDA[:rows] if sda else ():
        for gamma in problem.gammas if corrections == 1 else problem.gammas[:1]:
            name = f"SDA ({estimate}), gamma {gamma}, {n} steps, {corrections} corrections"
            known[name] = lambda e=estimate, n=n, c=corrections, g=gamma: theirs(e, steps or n, c, g)
    return known


def report(name: str, problem: Problem, sda: ModuleType | None, steps: int | None, rows: int | None) -> None:
    """Print the table of a problem; see `methods`."""
    problem.prior.denoiser.requires_grad_(False)
    cases = len(problem.y)
    head(["method", "calls", "CPU s", *COLUMNS], f"{name}: {cases} trajectories, {problem.members} members of each")
    reference = problem.reference(10_000) if problem.reference else None
    if problem.reference:
        row(["particle filter", "", "", *scored(problem, problem.reference(20_000), float("nan"), reference)])
    for method, draw in methods(problem, sda, steps, rows).items():
        start = time.process_time()
        with counted(problem.network) as count:
            z = draw()
        spent = time.process_time() - start
        x = np.split(problem.states(z), cases)
        residual = float(((problem.A(z) - problem.each) / problem.error).square().mean().sqrt())
        calls = f"{count.samples / len(z):.0f}"
        row([method, calls, f"{spent:.1f}", *scored(problem, x, residual, reference)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    command.add_argument("--sda", type=Path, help="path of a clone of SDA's repository; without it, no rows of SDA")
    command.add_argument("--trajectories", type=int, default=2)
    command.add_argument("--members", type=int, help="members per trajectory; by default 64, Kolmogorov flow 4")
    command.add_argument("--steps", type=int, help="number of steps of all methods, instead of those in the table")
    command.add_argument("--rows", type=int, help="number of rows of each method, instead of all")
    command.quick(trajectories=1, members=2, steps=2, rows=1, problems=["lorenz63-lo"])
    options = command.read(arguments)
    torch.set_num_threads(1)
    sda = load_sda(options.sda) if options.sda else None
    if sda is None:
        print("No clone of SDA was given (--sda PATH): its rows are left out.")
    else:
        offset, ratio = check_sda(sda)
        print(f"SDA on a Gaussian, 4096 members: mean within {offset:.3f} standard deviations, spread {ratio:.1%}.")
    for name in options.problems:
        members = options.members or (4 if name == "kolmogorov" else 64)
        report(name, PROBLEMS[name](options.trajectories, members), sda, options.steps, options.rows)

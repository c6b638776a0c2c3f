"""How exact posterior samples are: Gaussian priors, mixtures, trajectories composed of windows.

    python -m benchmarks exactness                        # all, a few minutes on one core
    python -m benchmarks exactness --tables gaussian windows

Every posterior is known exactly (`tests.problems`). The tests hold the same
figures to their limits; this prints them, and what they become beyond: for priors with separate modes, and for windows
that are too short. Prints the second half of the tables of docs/solvers.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from benchmarks.command import Command
from benchmarks.tables import table
from benchmarks.timing import Stopwatch
from tests.problems.autoregression import KnownAR1, errors
from tests.problems.posteriors import (
    GAUSSIANS,
    SCHEDULE,
    MixtureDenoiser,
    UnitNoise,
    distance_over_floor,
    gaussian,
    mixture,
    moments,
)
from xslams.inference import sample_posterior
from xslams.inference.guidance import MMPS, guide
from xslams.inference.samplers import sample
from xslams.priors.composed import compose

#: Steps and corrections of the samples of mixtures.
COLUMNS = ((32, 0), (32, 1), (32, 3), (64, 7))
#: How windows are composed: the rule, and how much of a window is context.
CONTEXTS = ["interior most", "interior half", "overlap half", "overlap most"]


def gaussians(options: argparse.Namespace) -> None:
    """Gaussian priors at the defaults of `sample_posterior`."""
    rows = {}
    for name in options.problems:
        kw = GAUSSIANS[name]
        exact = gaussian(**kw, dtype=torch.float64)  # type: ignore[arg-type]
        noise = UnitNoise(exact.size)
        guided = guide(exact.denoiser(), exact.y, exact.observe, exact.error, MMPS(tolerance=1e-6))
        found = exact.errors(*moments(sample(guided, SCHEDULE.sigma_max * noise(0), noise)))
        problem = gaussian(**kw)  # type: ignore[arg-type]
        watch = Stopwatch()
        z = sample_posterior(
            problem.denoiser(), problem.y, problem.observe, problem.error, shape=(problem.size,),
            members=options.members, generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        seconds = watch.read().clock
        mean = (z.mean(0) - problem.mean) / problem.std
        std = z.std(0) / problem.std - 1
        frobenius = problem.errors(z.mean(0), torch.cov(z.T))["covariance"]
        trace, square = float(exact.covariance.trace()) ** 2, float(exact.covariance.square().sum())
        expected = ((trace + square) / options.members / square) ** 0.5
        rows[name] = [
            f"{found['mean']:.4f}", f"{100 * found['std']:.2f}", f"{100 * found['covariance']:.2f}",
            f"{float(mean.square().mean().sqrt()):.3f}", f"{100 * float(std.square().mean().sqrt()):.1f}",
            f"{100 * frobenius:.1f} ({100 * expected:.1f})", f"{seconds:.1f} s",
        ]  # fmt: skip
    columns = [
        "mean, largest (std)", "std, largest (%)", "covariance (%)", f"{options.members} members: mean, rms (std)",
        "std, rms (%)", "covariance (%) (expected)", "time",
    ]  # fmt: skip
    table(
        f"Gaussian priors, 32 calls: errors without sampling error, then of {options.members} members (which have "
        f"{options.members**-0.5:.3f} and {100 * (2 * options.members) ** -0.5:.1f} %)",
        columns, rows,
    )  # fmt: skip


def mixtures(options: argparse.Namespace) -> None:
    """Mixtures: distance from the posterior, by separation and corrections."""
    rows = {}
    columns = [(steps, corrections) for steps, corrections in COLUMNS if corrections in options.corrections]
    for separation in options.separations:
        problem = mixture(separation, seed=0 if separation > 0.6 else 1)
        weights = problem.posterior.weights
        modes = float(torch.exp(-(weights * weights.clamp(min=1e-30).log()).sum()))
        linear = problem.prior.gaussian().given(problem.y, problem.operator, problem.error)
        draws = linear.draw(options.members, torch.Generator().manual_seed(2))
        cells = [f"{modes:.0f}", f"{distance_over_floor(draws, problem.posterior):.1f}"]
        for steps, corrections in columns:
            z = sample_posterior(
                MixtureDenoiser(problem.prior), problem.y, problem.observe, problem.error**2, shape=(8,),
                members=options.members, steps=steps, corrections=corrections,
                generator=torch.Generator().manual_seed(1),
            )  # fmt: skip
            cells.append(f"{distance_over_floor(z, problem.posterior):.2f}")
        rows[f"{separation}"] = cells
    names = [f"{s} calls" if not k else f"{s} steps, corrections={k}" for s, k in columns]
    table(
        "Mixtures of 25 components (standard deviation 0.6) in 8 dimensions, by the standard deviation of their means: "
        "sliced Wasserstein distance over sampling floor, "
        f"{options.members} members",
        ["components in the posterior", "Gaussian prior", *names],
        rows,
    )


def windows(options: argparse.Namespace) -> None:
    """Trajectories of an AR(1) process composed of windows: errors against the Kalman smoother."""
    rows = {}
    for rule, context in map(str.split, options.contexts):
        for phi in options.correlations:
            cells = []
            for window in options.windows:
                most = window - 1 if rule == "overlap" else (window - 1) // 2
                denoiser = compose(
                    KnownAR1(phi), window, rule=rule, context=most if context == "most" else (most + 1) // 2,
                    batch_size=10**6,
                )  # fmt: skip
                plain = errors(denoiser, phi)
                corrected = errors(denoiser, phi, draws=33, steps=12, corrections=2)
                cells.append(f"{plain['mean']:.2f} / {100 * plain['std']:.1f}; {corrected['mean']:.2f}")
            rows[f"`{rule}`, context: {context}, correlation {phi}"] = cells
    table(
        "AR(1) process of 60 frames, every fifth seen, composed of windows: largest error of mean (std) / of standard "
        "deviation (%) with 32 calls; of the mean with 34 calls, two thirds of them corrections",
        [f"{w} frames" for w in options.windows],
        rows,
    )


TABLES = {"gaussian": gaussians, "mixture": mixtures, "windows": windows}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    command.add_argument("--members", type=int, default=4096)
    command.add_argument("--problems", nargs="+", choices=GAUSSIANS, default=list(GAUSSIANS), help="Gaussian priors")
    command.add_argument(
        "--separations", nargs="+", type=float, default=[0.3, 0.5, 0.7, 1.0, 1.5], help="of the components of mixtures"
    )
    command.add_argument(
        "--correlations", nargs="+", type=float, default=[0.5, 0.8, 0.9], help="of neighbouring frames of trajectories"
    )
    command.add_argument("--corrections", nargs="+", type=int, default=[0, 1, 3, 7], help="of samples of mixtures")
    command.add_argument("--contexts", nargs="+", choices=CONTEXTS, default=CONTEXTS, help="how windows are composed")
    command.add_argument("--windows", nargs="+", type=int, default=[5, 9, 17, 33], help="frames of a window")
    command.quick(
        members=64, problems=["red-8"], separations=[1.5], corrections=[0], correlations=[0.5], windows=[5],
        contexts=["overlap most"],
    )  # fmt: skip
    options = command.read(arguments)
    for name in options.tables:
        TABLES[name](options)

"""How exact posterior samples are: Gaussian priors, mixtures, trajectories composed of windows.

    python -m benchmarks exactness                        # all, a few minutes on one core
    python -m benchmarks exactness --tables gaussian windows

Every posterior is known exactly (tests/inference/exact_problems.py, test_composition.py). The tests hold the same
figures to their limits; this prints them, and what they become beyond: for priors with separate modes, and for windows
that are too short. Prints the second half of the tables of docs/solvers.md.
"""

from __future__ import annotations

import argparse
import time

import torch
from test_composition import AR1, errors

from benchmarks.reports.solvers import table
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

MEMBERS = 4096


def gaussians() -> None:
    """Gaussian priors at the defaults of `sample_posterior`."""
    rows = {}
    for name, kw in GAUSSIANS.items():
        exact = gaussian(**kw, dtype=torch.float64)  # type: ignore[arg-type]
        noise = UnitNoise(exact.size)
        guided = guide(exact.denoiser(), exact.y, exact.observe, exact.error, MMPS(tolerance=1e-6))
        found = exact.errors(*moments(sample(guided, SCHEDULE.sigma_max * noise(0), noise)))
        problem = gaussian(**kw)  # type: ignore[arg-type]
        start = time.perf_counter()
        z = sample_posterior(
            problem.denoiser(), problem.y, problem.observe, problem.error, shape=(problem.size,), members=MEMBERS,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        seconds = time.perf_counter() - start
        mean = (z.mean(0) - problem.mean) / problem.std
        std = z.std(0) / problem.std - 1
        frobenius = problem.errors(z.mean(0), torch.cov(z.T))["covariance"]
        trace, square = float(exact.covariance.trace()) ** 2, float(exact.covariance.square().sum())
        rows[name] = [
            f"{found['mean']:.4f}", f"{100 * found['std']:.2f}", f"{100 * found['covariance']:.2f}",
            f"{float(mean.square().mean().sqrt()):.3f}", f"{100 * float(std.square().mean().sqrt()):.1f}",
            f"{100 * frobenius:.1f} ({100 * ((trace + square) / MEMBERS / square) ** 0.5:.1f})", f"{seconds:.1f} s",
        ]  # fmt: skip
    columns = [
        "mean, largest (std)", "std, largest (%)", "covariance (%)", "4096 members: mean, rms (std)", "std, rms (%)",
        "covariance (%) (expected)", "time",
    ]  # fmt: skip
    table(
        "Gaussian priors, 32 calls: errors without sampling error, then of 4096 members (which have 0.016 and 1.1 %)",
        columns, rows,
    )  # fmt: skip


def mixtures() -> None:
    """Mixtures: distance from the posterior, by separation and corrections."""
    columns = {(32, 0): "32 calls", (32, 1): "32 x 1 + 1", (32, 3): "32 x 3 + 1", (64, 7): "64 x 7 + 1"}
    rows = {}
    for separation in (0.3, 0.5, 0.7, 1.0, 1.5):
        problem = mixture(separation, seed=0 if separation > 0.6 else 1)
        weights = problem.posterior.weights
        modes = float(torch.exp(-(weights * weights.clamp(min=1e-30).log()).sum()))
        linear = problem.prior.gaussian().given(problem.y, problem.operator, problem.error)
        cells = [f"{modes:.0f}"]
        cells.append(
            f"{distance_over_floor(linear.draw(MEMBERS, torch.Generator().manual_seed(2)), problem.posterior):.1f}"
        )
        for steps, corrections in columns:
            z = sample_posterior(
                MixtureDenoiser(problem.prior), problem.y, problem.observe, problem.error**2, shape=(8,),
                members=MEMBERS, steps=steps, corrections=corrections, generator=torch.Generator().manual_seed(1),
            )  # fmt: skip
            cells.append(f"{distance_over_floor(z, problem.posterior):.2f}")
        rows[f"{separation}"] = cells
    names = [f"{s} calls" if not k else f"{s} steps, corrections={k}" for s, k in columns]
    table(
        "Mixtures of 25 components (standard deviation 0.6) in 8 dimensions, by the standard deviation of their means: "
        "sliced Wasserstein distance over sampling floor, 4096 members",
        ["components in the posterior", "Gaussian prior", *names],
        rows,
    )


def windows() -> None:
    """Trajectories of an AR(1) process composed of windows: errors against the Kalman smoother."""
    rows = {}
    for rule, context in (("interior", "most"), ("interior", "half"), ("overlap", "half"), ("overlap", "most")):
        for phi in (0.5, 0.8, 0.9):
            cells = []
            for window in (5, 9, 17, 33):
                most = window - 1 if rule == "overlap" else (window - 1) // 2
                denoiser = compose(
                    AR1(phi, knows=True), window, rule=rule, context=most if context == "most" else (most + 1) // 2,
                    batch_size=10**6,
                )  # fmt: skip
                plain = errors(denoiser, phi)
                corrected = errors(denoiser, phi, draws=33, steps=12, corrections=2)
                cells.append(f"{plain['mean']:.2f} / {100 * plain['std']:.1f}; {corrected['mean']:.2f}")
            rows[f"`{rule}`, context: {context}, correlation {phi}"] = cells
    table(
        "AR(1) process of 60 frames, every fifth seen, composed of windows: largest error of mean (std) / of standard "
        "deviation (%) with 32 calls; of the mean with 34 calls, two thirds of them corrections",
        [f"{w} frames" for w in (5, 9, 17, 33)],
        rows,
    )


TABLES = {"gaussian": gaussians, "mixture": mixtures, "windows": windows}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    for name in parser.parse_args().tables:
        TABLES[name]()


if __name__ == "__main__":
    main()

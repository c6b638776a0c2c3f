"""Lorenz-63 and Lorenz-96 against classical data assimilation, on the same truth and observations in one run.

    python benchmarks/testbeds.py                                      # all cases, a few seeds
    python benchmarks/testbeds.py --cases lorenz63-sakov2012 --seeds 1

DAPPER's methods (benchmarks/classical.py says how to install it) run over the whole series. xslams draws from the
posterior of windows of the series, without a background: it knows the observations of the window and nothing of those
before it. Members that fell into a wrong valley of the posterior are replaced by copies of others
(`xslams.inference.importance_weights`). Scored are the last state of each window (filtering: DAPPER's analysis at that
time) and the one in the middle (smoothing: DAPPER's fixed-lag smoothers with a lag of half the window), at the same
times for all methods. RMSE over components, then mean over times; spread likewise.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from typing import Any

import classical
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import xslams
from xslams.inference import Prior, importance_weights, prior_of, resample, sample_posterior
from xslams.inference.times import time_at

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Setting:
    """How xslams goes about a case.

    Attributes
    ----------
    model
        Pretrained model.
    frames
        Frames of the model from one observation time to the next.
    window
        Observation times of a window, an odd number.
    cycles, every
        Observation times of the series, and from one window's end to the next.
    members
        Members per window.
    options
        For `sample_posterior`.
    rounds
        If not 0: observations are too sparse for members to find the right valley at once. The noise levels at which
        valleys part, four to one, are crossed slowly, with the dynamics linearised there already; then, this many
        times, members are weighed, resampled, and search again from half the noise; and once more from little noise.
    """

    model: str
    frames: int
    window: int
    cycles: int
    every: int
    members: int
    options: dict[str, Any]
    rounds: int = 0


SETTINGS = {
    "lorenz63-sakov2012": Setting("lorenz63-ode", 5, 17, 1000, 32, 32, {"steps": 22, "corrections": 1}),
    "lorenz96-sakov2008": Setting("lorenz96", 1, 97, 1000, 100, 16, {"steps": 24}),
    "lorenz96-spantini2019": Setting("lorenz96", 8, 9, 250, 40, 16, {"corrections": 5}, rounds=2),
}


class Observe:
    """Some channels or sites at some frames, as a linear operator on standardised trajectories."""

    def __init__(self, frames: int, places: Tensor, std: float | Tensor) -> None:
        self.frames, self.places, self.std = frames, places, std

    def __call__(self, z: Tensor) -> Tensor:
        """From trajectories (B, L, channel, 1, site) to observations without the mean, (B, n)."""
        return (z[:, :: self.frames].flatten(2)[..., self.places] * self.std).flatten(1)

    def linearize(self, z: Tensor) -> tuple[Any, Any]:
        """Return the product with the Jacobian and with its adjoint."""

        def adjoint(w: Tensor) -> Tensor:
            v = w.new_zeros(len(w), *z.shape[1:]).flatten(2)
            v[:, :: self.frames, self.places] = w.unflatten(1, (-1, len(self.places))) * self.std
            return v.reshape(len(w), *z.shape[1:])

        return self, adjoint


def times(denoiser: Any, *ranges: tuple[float, float, int]) -> Tensor:
    """Return times of noise levels in ranges (first, last, number), each even in the logarithm, and then to the end."""
    ratios = np.concatenate([*(np.geomspace(*r)[:-1] for r in ranges), [0.0]])
    return time_at(denoiser.schedule, torch.as_tensor(ratios)).float()


def draw(prior: Prior, setting: Setting, generator: torch.Generator, **data: Any) -> tuple[Tensor, float]:
    """Draw members, those of a window one after the other; and the share of those that were replaced at the end."""

    def weigh() -> Tensor:
        return importance_weights(prior.denoiser, z, data["y"], data["A"], data["cov_y"], members=setting.members)

    options = {**data, "shape": prior.shape, "members": len(data["y"]), "generator": generator, **setting.options}
    if setting.rounds:
        prior.denoiser.relinearized, prior.denoiser.relinearizations = 4.0, 1  # type: ignore[assignment]
        options["t"] = times(prior.denoiser, (30.0, 4.0, 8), (4.0, 1.2, 12), (1.2, 0.006, 12))
    z = sample_posterior(prior.denoiser, antithetic=not setting.rounds, **options)
    for n in range(setting.rounds + 1 if setting.rounds else 0):
        z = resample(z, weigh(), members=setting.members, generator=generator)
        top = 2.2 if n < setting.rounds else 0.7
        options["t"] = times(prior.denoiser, (top, 0.6 * top, 8), (0.6 * top, 0.006, 10))
        options["corrections"] = 2
        z = sample_posterior(prior.denoiser, start=z, **options)
    weights = weigh()
    lost = float((weights < 0.01 / setting.members).float().mean())
    return resample(z, weights, members=setting.members, generator=generator), lost


def windows(case: classical.Case, simulation: classical.Simulation, setting: Setting, seed: int) -> dict[str, Any]:
    """Draw members of all windows of a series, and return means and deviations of their last and middle states."""
    ends = np.arange(max(case.burn_in, setting.window - 1), setting.cycles, setting.every)
    first = ends - setting.window + 1
    prior = prior_of(xslams.open_model(setting.model), (setting.window - 1) * setting.frames + 1)
    rows, places = np.nonzero(simulation.H)
    assert (rows == np.arange(len(rows))).all()  # single components
    # Mean and deviation of the components, by what the prior makes of 0 and 1.
    mean = prior.states(torch.zeros(1, *prior.shape))[0, 0].flatten()
    std = prior.states(torch.ones(1, *prior.shape))[0, 0].flatten() - mean
    y = np.stack([simulation.observations[f : f + setting.window] for f in first])
    y = torch.as_tensor(y, dtype=torch.float32) - mean[places]
    variance = torch.as_tensor(np.diag(simulation.R).copy(), dtype=torch.float32).repeat(setting.window)
    observe = Observe(setting.frames, torch.as_tensor(places), std[places])
    parts, calls, moved = [], 0, 0.0
    start, cpu = time.perf_counter(), time.process_time()
    # As many windows at a time as fit into a few gigabytes with the graph of one network call.
    for n, part in enumerate(y.flatten(1).split(max(4096 // setting.members // len(mean), 1))):
        before = prior.denoiser.calls
        z, lost = draw(
            prior, setting, torch.Generator().manual_seed(1000 * seed + n),
            y=part.repeat_interleave(setting.members, 0), A=observe, cov_y=variance,
        )  # fmt: skip
        calls = prior.denoiser.calls - before  # type: ignore[operator]
        moved += lost * len(part)
        parts.append(prior.states(z).flatten(2).unflatten(0, (len(part), setting.members)).numpy())
    x = np.concatenate(parts).astype(float)
    found: dict[str, Any] = {
        "calls": calls,
        "moved": moved / len(x),
        "wall": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
    }
    for name, frame, when in (("filter", -1, ends), ("smoother", x.shape[2] // 2, ends - setting.window // 2)):
        truth = classical.observed_states(case, simulation.truth)[when]
        center = x[:, :, frame].mean(1)
        # Members are pairs of opposite noise, whose mean is known: divided by their number.
        found[name] = {
            "when": when,
            "rmse": np.sqrt(((center - truth) ** 2).mean(1)),
            "spread": np.sqrt(x[:, :, frame].var(1).mean(1)),
        }
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only-xslams", action="store_true", help="leave the classical methods out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.cases:
        case, setting = classical.CASES[name], SETTINGS[name]
        rows: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(arguments.seeds):
            simulation = classical.simulate(case, seed, setting.cycles)
            ours = windows(case, simulation, setting, seed)
            scores = [float(ours[k][s].mean()) for k in ("filter", "smoother") for s in ("rmse", "spread")]
            label = f"xslams, {setting.window} times, {setting.members} members, {ours['calls']} calls"
            rows.setdefault(label, []).append((*scores, ours["cpu"]))
            said = ", ".join(f"{k} {np.round(ours[k]['rmse'], 2)}" for k in ("filter", "smoother"))
            print(f"{label}, seed {seed}: {said}; {100 * ours['moved']:.1f} % replaced", file=sys.stderr, flush=True)
            if arguments.only_xslams:
                continue
            lag = setting.window // 2
            for method in (*case.methods, *(classical.smoother_lag(case, lag, k) for k in ("EnKS", "iEnKS"))):
                done = classical.run(case, method, simulation.truth, simulation.observations, seed)
                series = done["series"]
                scores = [float(series[f"filter_{s}"][ours["filter"]["when"]].mean()) for s in ("rmse", "spread")]
                # A shorter lag than half the window is no match for the middle state.
                smooth = [
                    float(series[f"smoother_{s}"][ours["smoother"]["when"]].mean()) if method.lag >= lag else np.nan
                    for s in ("rmse", "spread")
                ]
                rows.setdefault(f"{method.label}, N={method.members}", []).append((*scores, *smooth, done["cpu_time"]))
        count = len(ours["filter"]["when"])
        print(f"\n{name}: {arguments.seeds} series of {setting.cycles} times, {count} windows each\n")
        print("| method | filter RMSE | spread | smoother RMSE | spread | CPU s |")
        print("|---|---:|---:|---:|---:|---:|")
        for label, values in rows.items():
            mean, error = np.mean(values, 0), np.std(values, 0) / max(len(values) - 1, 1) ** 0.5
            cells = ["-" if np.isnan(m) else f"{m:.3f} ± {e:.3f}" for m, e in zip(mean[:4], error[:4], strict=True)]
            print(f"| {label} | {' | '.join(cells)} | {mean[4]:.0f} |", flush=True)


if __name__ == "__main__":
    main()

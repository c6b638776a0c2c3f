"""Lorenz-63 and Lorenz-96 against classical data assimilation, on the same truth and observations in one run.

    python -m benchmarks testbeds                                      # all cases, a few seeds
    python -m benchmarks testbeds --cases lorenz63-sakov2012 --seeds 1

DAPPER's methods (`benchmarks/references/classical.py` says how to install it) run over the whole series. xslams draws
from the posterior of windows of the series, without a background: it knows the observations of the window and nothing
of those before it. Members that fell into a wrong valley of the posterior are replaced by copies of others
(`xslams.inference.importance_weights`). Where observations are so sparse that members do not find the right valley of a
whole window at once, the window grows from three observation times, one more at a time, and then moves on: sampling
begins with the members of the window before, the learned forecast of them, and noise. The last state of each window
(filtering: DAPPER's analysis at that time) and the one in the middle (smoothing: DAPPER's fixed-lag smoothers with a
lag of half the window) are scored, at the same times for all methods. The RMSE is taken over components, then averaged
over times; the spread likewise.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import xslams
from benchmarks.cases.systems import ObserveSites
from benchmarks.command import Command
from benchmarks.counting import counted
from benchmarks.references import classical
from benchmarks.tables import head, row
from xslams.inference import TrajectoryPrior, importance_weights, prior_of, resample, sample_posterior
from xslams.inference.noise_levels import time_at

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Setting:
    """Settings of xslams for a case.

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
    grown
        Whether windows grow and move on.
    lags
        Further lags for the iterative smoother, which may be better with a shorter one than half a window.
    """

    model: str
    frames: int
    window: int
    cycles: int
    every: int
    members: int
    options: dict[str, Any]
    grown: bool = False
    lags: tuple[int, ...] = ()


SETTINGS = {
    "lorenz63-sakov2012": Setting("lorenz63-ode", 5, 17, 1000, 32, 32, {"steps": 22, "corrections": 1}),
    "lorenz96-sakov2008": Setting("lorenz96", 1, 97, 1000, 100, 16, {"steps": 24}),
    "lorenz96-spantini2019": Setting(
        "lorenz96", 8, 13, 80, 1, 16, {"steps": 24, "corrections": 2}, grown=True, lags=(3, 4, 5)
    ),
}


def times(denoiser: Any, first: float, number: int) -> Tensor:
    """Return times of noise levels that are even in the logarithm, and of the end."""
    ratios = np.append(np.geomspace(first, 0.006, number)[:-1], 0.0)
    return time_at(denoiser.schedule, torch.as_tensor(ratios)).float()


class Data:
    """Observations of windows of a series, in units of a model.

    Parameters
    ----------
    case, simulation, setting
        Of the series.
    """

    def __init__(self, case: classical.Case, simulation: classical.Simulation, setting: Setting) -> None:
        self.simulation, self.setting = simulation, setting
        self.truth = classical.observed_states(case, simulation.truth)
        rows, places = np.nonzero(simulation.H)
        assert (rows == np.arange(len(rows))).all()  # single components
        self.places = torch.as_tensor(places)
        self.model = xslams.open_model(setting.model)
        # Mean and deviation of the components, by what the prior makes of 0 and 1.
        prior = prior_of(self.model, 2)
        self.mean = prior.states(torch.zeros(1, *prior.shape))[0, 0].flatten()
        self.std = prior.states(torch.ones(1, *prior.shape))[0, 0].flatten() - self.mean

    def window(self, times: int) -> tuple[TrajectoryPrior, dict[str, Any]]:
        """Prior of a window of so many times, and what `sample_posterior` has to know of its observations."""
        variance = torch.as_tensor(np.diag(self.simulation.R).copy(), dtype=torch.float32)
        prior = prior_of(self.model, (times - 1) * self.setting.frames + 1)
        observe = ObserveSites(self.setting.frames, self.places, self.std[self.places])
        return prior, {"A": observe, "cov_y": variance.repeat(times)}

    def observations(self, first: int, times: int) -> Tensor:
        """Observations of a window without the mean, shape (n,)."""
        y = torch.as_tensor(self.simulation.observations[first : first + times], dtype=torch.float32)
        return (y - self.mean[self.places]).flatten()


def scored(x: Array, ends: Array, times: int, truth: Array, free: int) -> dict[str, Any]:
    """Errors and spread of members (window, member, frame, component), at their last and middle frames.

    `free` is 1 for independent members, 0 for pairs of opposite noise, whose mean is known.
    """
    found: dict[str, Any] = {}
    for name, frame, when in (("filter", -1, ends), ("smoother", x.shape[2] // 2, ends - times // 2)):
        found[name] = {
            "when": when,
            "rmse": np.sqrt(((x[:, :, frame].mean(1) - truth[when]) ** 2).mean(1)),
            "spread": np.sqrt(x[:, :, frame].var(1, ddof=free).mean(1)),
        }
    return found


def draw(
    prior: TrajectoryPrior,
    y: Tensor,
    known: dict[str, Any],
    setting: Setting,
    generator: torch.Generator,
    **options: Any,
) -> tuple[Tensor, float]:
    """Draw members, those of a window one after the other; and the share of those that were replaced at the end."""
    options = {**setting.options, **options, "shape": prior.shape, "generator": generator}
    z = sample_posterior(prior.denoiser, y, **known, **options)
    weights = importance_weights(prior.denoiser, z, y, known["A"], known["cov_y"], members=setting.members)
    lost = float((weights < 0.01 / setting.members).float().mean())
    return resample(z, weights, members=setting.members, generator=generator), lost


def grow(case: classical.Case, simulation: classical.Simulation, setting: Setting, seed: int) -> dict[str, Any]:
    """Draw members of a window that grows and moves on, one observation time after the other."""
    data = Data(case, simulation, setting)
    generator = torch.Generator().manual_seed(seed)
    # Grown, and a few times moved on, before the first score.
    first = max(case.burn_in - setting.window - 4, 0)
    z, kept, moved, called = None, [], [], 0
    start, cpu = time.perf_counter(), time.process_time()
    for end in range(first + 2, setting.cycles, setting.every):
        count = min(end - first + 1, setting.window)
        prior, known = data.window(count)
        denoiser: Any = prior.denoiser
        options: dict[str, Any] = {}
        if z is not None:
            coming = denoiser.forecast(z, setting.every * setting.frames, generator=generator)
            options["start"] = torch.cat([z, coming], dim=1)[:, -prior.shape[0] :]
            settled = end >= case.burn_in - 4
            options["t"] = times(denoiser, 0.7, 8) if settled else times(denoiser, 1.5, 12)
        y = data.observations(end - count + 1, count)
        with counted(denoiser.networks.filters) as count_network:
            z, lost = draw(prior, y, known, setting, generator, members=setting.members, **options)
        x = prior.states(z).flatten(2).numpy().astype(float)
        if end >= case.burn_in:
            called += count_network.samples // setting.members
            moved.append(lost)
            kept.append(x)
        latest = scored(x[None], np.array([end]), count, data.truth, 1)["filter"]
        said = f"{latest['rmse'][0]:.2f} ({latest['spread'][0]:.2f})"
        print(f"time {end}, window of {count}, last state: {said}", file=sys.stderr, flush=True)
    return {
        "calls": round(called / len(kept)),
        "moved": float(np.mean(moved)),
        "wall": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        **scored(np.stack(kept), np.arange(case.burn_in, setting.cycles, setting.every), setting.window, data.truth, 1),
    }


def windows(case: classical.Case, simulation: classical.Simulation, setting: Setting, seed: int) -> dict[str, Any]:
    """Draw members of all windows of a series, and return means and deviations of their last and middle states."""
    data = Data(case, simulation, setting)
    ends = np.arange(max(case.burn_in, setting.window - 1), setting.cycles, setting.every)
    prior, known = data.window(setting.window)
    denoiser: Any = prior.denoiser
    y = torch.stack([data.observations(end - setting.window + 1, setting.window) for end in ends])
    parts, calls, moved = [], 0, 0.0
    start, cpu = time.perf_counter(), time.process_time()
    # As many windows at a time as fit into a few gigabytes with the graph of one network call.
    for n, part in enumerate(y.split(max(4096 // setting.members // len(data.mean), 1))):
        generator = torch.Generator().manual_seed(1000 * seed + n)
        every = part.repeat_interleave(setting.members, 0)
        with counted(denoiser.networks.filters) as count:
            z, lost = draw(prior, every, known, setting, generator, members=len(every), antithetic=True)
        calls = count.samples // len(every)
        moved += lost * len(part)
        parts.append(prior.states(z).flatten(2).unflatten(0, (len(part), setting.members)).numpy())
    x = np.concatenate(parts).astype(float)
    return {
        "calls": calls,
        "moved": moved / len(x),
        "wall": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        **scored(x, ends, setting.window, data.truth, 0),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    command = Command(__name__, __doc__)
    command.add_argument("--cases", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    command.add_argument("--seeds", type=int, default=3)
    command.add_argument("--cycles", type=int, default=None, help="observation times of a series")
    command.add_argument("--only-xslams", action="store_true", help="leave the classical methods out")
    command.quick(cases=["lorenz63-sakov2012"], seeds=1, cycles=100, only_xslams=True)
    options = command.read(arguments)
    torch.set_num_threads(1)
    for name in options.cases:
        case, setting = classical.CASES[name], SETTINGS[name]
        setting = replace(setting, cycles=options.cycles or setting.cycles)
        rows: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(options.seeds):
            simulation = classical.simulate(case, seed, setting.cycles)
            ours = (grow if setting.grown else windows)(case, simulation, setting, seed)
            scores = [float(ours[k][s].mean()) for k in ("filter", "smoother") for s in ("rmse", "spread")]
            label = f"xslams, {setting.window} times, {setting.members} members, {ours['calls']} calls"
            rows.setdefault(label, []).append((*scores, ours["cpu"]))
            said = ", ".join(f"{k} {np.round(ours[k]['rmse'], 2)}" for k in ("filter", "smoother"))
            print(f"{label}, seed {seed}: {said}; {100 * ours['moved']:.1f} % replaced", file=sys.stderr, flush=True)
            if options.only_xslams:
                continue
            lag = setting.window // 2
            shorter = [classical.smoother_lag(case, n, "iEnKS") for n in setting.lags]
            smoothers = [classical.smoother_lag(case, lag, k) for k in ("EnKS", "iEnKS")]
            for method in (*case.methods, *shorter, *smoothers):
                done = classical.run(case, method, simulation.truth, simulation.observations, seed)
                series = done["series"]
                scores = [float(series[f"filter_{s}"][ours["filter"]["when"]].mean()) for s in ("rmse", "spread")]
                # A shorter lag than half the window is no match for the middle state, unless it is asked for.
                smooth = [
                    float(series[f"smoother_{s}"][ours["smoother"]["when"]].mean())
                    if method.lag >= lag or method in shorter
                    else np.nan
                    for s in ("rmse", "spread")
                ]
                rows.setdefault(f"{method.label}, N={method.members}", []).append((*scores, *smooth, done["cpu_time"]))
        count = len(ours["filter"]["when"])
        head(
            ["method", "filter RMSE", "spread", "smoother RMSE", "spread", "CPU s"],
            f"{name}: {options.seeds} series of {setting.cycles} times, {count} windows each",
        )
        for label, values in rows.items():
            mean, error = np.mean(values, 0), np.std(values, 0) / max(len(values) - 1, 1) ** 0.5
            cells = ["-" if np.isnan(m) else f"{m:.3f} ± {e:.3f}" for m, e in zip(mean[:4], error[:4], strict=True)]
            row([label, *cells, f"{mean[4]:.0f}"])

"""Classical data assimilation on Lorenz-63 and Lorenz-96: ensemble Kalman filters and smoothers, particle filters.

    python -m benchmarks classical                                   # all cases, several seeds
    python -m benchmarks classical --cases lorenz63-sakov2012 --seeds 2 --cycles 500

The methods and the test cases are those of DAPPER, the package for benchmarks of data assimilation
(https://github.com/nansencenter/DAPPER, doi:10.21105/joss.05150): time grids, operators and errors are taken from its
modules, settings from what these recommend (marked with the error that they list). Only the number of cycles and the
seeds are ours. As a module this gives the truth and the observations to other benchmarks, and scores DAPPER on them:

    from benchmarks.references.classical import CASES, run, simulate, smoother_lag
    case = CASES["lorenz96-sakov2008"]
    truth, observations, *_ = simulate(case, seed=1, cycles=1000)
    scores = run(case, smoother_lag(case, 8), truth, observations, seed=1)

DAPPER is the extra `bench`. It installs beside the other requirements (torch 2.13, numpy 2.4), but wants older releases
of tabulate and of Jupyter's packages than constraints.txt has for the documentation; so give it an environment:

    python -m venv .venv-bench
    .venv-bench/bin/python -m pip install --editable '.[bench]'

When it is imported, it makes an empty folder dpr_data in the home directory, and limits BLAS and OpenMP to one thread.

Scores follow DAPPER: the root of the mean square over all components at each analysis time, observed or not, of the
error of the ensemble mean (RMSE) and of the ensemble's standard deviation (spread), then the mean over time after the
burn-in. Filter: given observations up to and with that time. Smoother: given those of the next `lag` times as well.
Runs are counted as lost where the filter follows another trajectory than the truth (see `run`), and the means of the
table are over the others.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.command import Command
from benchmarks.tables import head, row

Array = npt.NDArray[np.float64]

# DAPPER does not take 0, and truth and ensembles shall not share their random numbers.
_TRUTH_SEEDS, _ENSEMBLE_SEEDS = 3_000, 2_000_000


def _dapper(module: str) -> ModuleType:
    """Import a module of DAPPER, without progress bars, plots, spectral diagnostics and talk."""
    os.environ.setdefault("MPLBACKEND", "agg")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it advises on interactive plots
            config = importlib.import_module("dapper.dpr_config")
            progress = importlib.import_module("dapper.tools.progressbar")
            found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "dapper":
            raise
        message = "This benchmark needs DAPPER: pip install 'xslams[bench]', see python -m benchmarks classical --help."
        raise SystemExit(message) from error
    config.rc.liveplotting = False
    config.rc.comps["max_spectral"] = 0
    progress.disable_progbar = progress.disable_user_interaction = True
    return found


@dataclass(frozen=True)
class Method:
    """A method of DAPPER and its settings.

    Attributes
    ----------
    kind
        Class in `dapper.da_methods`.
    settings
        Its keyword arguments. `N` is the number of members, `Lag` that of observation times of a smoother.
    listed
        Filter RMSE that DAPPER's module lists for these settings; None where it lists none.
    """

    kind: str
    settings: Mapping[str, Any] = field(hash=False)
    listed: float | None = None

    @property
    def label(self) -> str:
        """Name and settings, for tables."""
        kind = f"{self.kind}-{self.settings['upd_a']}" if "upd_a" in self.settings else self.kind
        return " ".join([kind, *(f"{k}={v:g}" for k, v in self.settings.items() if k not in ("upd_a", "N"))])

    @property
    def members(self) -> int:
        """Number of members or particles."""
        return int(self.settings["N"])

    @property
    def lag(self) -> int:
        """Later observation times that the smoother sees; 0 for a filter."""
        return int(self.settings.get("Lag", self.kind == "iEnKS"))


@dataclass(frozen=True)
class Case:
    """A test case: a module of DAPPER, and the methods that are run on it.

    Attributes
    ----------
    name
        Key in `CASES`.
    module
        Module of DAPPER that defines the hidden Markov model.
    methods
        In the order of the table.
    iterative, linear
        Settings of the iterative smoother and of the ensemble Kalman smoother, to which `smoother_lag` adds a lag.
    cycles
        Default number of observation times of a run.
    """

    name: str
    module: str
    methods: tuple[Method, ...]
    iterative: Mapping[str, Any] = field(hash=False)
    linear: Mapping[str, Any] = field(hash=False)
    cycles: int

    @property
    def burn_in(self) -> int:
        """Observation times that DAPPER's module leaves out of the scores."""
        return int(np.sum(~_dapper(self.module).HMM.tseq.masko))

    def model(self, cycles: int) -> Any:
        """DAPPER's hidden Markov model for a number of observation times."""
        if cycles < 2:
            message = f"cycles is {cycles}, expected at least 2 observation times"
            raise ValueError(message)
        hmm = _dapper(self.module).HMM.copy()
        hmm.tseq.BurnIn = -1  # `run` leaves it out; DAPPER would shorten it for short runs
        hmm.tseq.Ko = cycles - 1
        return hmm


class Simulation(NamedTuple):
    """Truth and observations.

    Attributes
    ----------
    truth
        States at all steps and at the start, shape (K + 1, nx) with K = cycles * dko.
    observations
        Shape (cycles, ny). Number i belongs to the state `truth[dko * (i + 1)]`: there is none of the start.
    dt
        Time between two states.
    dko
        Steps between two observation times.
    H
        Observation operator, shape (ny, nx).
    R
        Covariance of observation errors, shape (ny, ny).
    """

    truth: Array
    observations: Array
    dt: float
    dko: int
    H: Array
    R: Array


def simulate(case: Case, seed: int, cycles: int) -> Simulation:
    """Truth and observations, the same for the same seed.

    Parameters
    ----------
    case
        One of `CASES`.
    seed
        At least 0.
    cycles
        Number of observation times.

    Returns
    -------
    Simulation
        Arrays are the caller's own.

    Raises
    ------
    ValueError
        If there are fewer than 2 cycles.
    """
    hmm = case.model(cycles)
    _dapper("dapper.tools.seeding").set_seed(_TRUTH_SEEDS + seed)
    xx, yy = hmm.simulate()
    observe = hmm.Obs(0)
    return Simulation(
        truth=np.asarray(xx, dtype=float),
        observations=np.stack(list(yy)).astype(float),
        dt=float(hmm.tseq.dt),
        dko=int(hmm.tseq.dko),
        H=np.array(observe.linear(xx[0]), dtype=float),
        R=np.array(observe.noise.C.full, dtype=float),
    )


def observed_states(case: Case, truth: Array) -> Array:
    """States at the observation times, shape (cycles, nx)."""
    dko = int(_dapper(case.module).HMM.tseq.dko)
    return truth[dko::dko]


def run(case: Case, method: Method, xx: Array, yy: Array, seed: int, burn_in: int | None = None) -> dict[str, Any]:
    """Run a method of DAPPER on truth and observations, and score it.

    Parameters
    ----------
    case
        One of `CASES`.
    method
        One of `case.methods`, from `smoother_lag`, or an own choice of settings.
    xx, yy
        Truth and observations of `simulate`.
    seed
        For the ensemble; independent of that of the truth.
    burn_in
        Observation times to leave out at the start; DAPPER's own for the case where None.

    Returns
    -------
    dict
        `filter_rmse`, `filter_spread`, `smoother_rmse`, `smoother_spread`: means over time after the burn-in. Those
        of the smoother are NaN for filters, and leave out the last `lag` times, which lack later observations.
        `wall_time` and `cpu_time` in seconds, with DAPPER's own diagnostics; the first tells little on a busy machine.
        `model_steps`: members times steps of the model, each of four evaluations of the tendency.
        `iterations`: mean over time for iterative methods, otherwise NaN. `lost`: whether the filter RMSE exceeds half
        the standard deviation of the truth in time, so that the ensemble follows another trajectory. `case`,
        `method`, `members`, `lag`, `burn_in` and `cycles`. `series`: for each time, without regard to the burn-in,
        `filter_rmse` etc. of shape (cycles,), and `filter_mean`, `filter_std`, `smoother_mean`, `smoother_std` of
        shape (cycles, nx). Those of the smoother are absent for filters, and end with less lag.

    Raises
    ------
    ValueError
        If truth and observations do not fit, or nothing is left after the burn-in.
    RuntimeError
        From DAPPER, if the ensemble diverges to infinity.
    """
    cycles = len(yy)
    hmm = case.model(cycles)
    if xx.shape != (hmm.tseq.K + 1, hmm.Dyn.M) or yy.shape != (cycles, hmm.Obs(0).M):
        message = (
            f"truth has shape {xx.shape} and observations {yy.shape}; {case.name} with {cycles} cycles has "
            f"{(hmm.tseq.K + 1, hmm.Dyn.M)} and {(cycles, hmm.Obs(0).M)}"
        )
        raise ValueError(message)
    skip = case.burn_in if burn_in is None else burn_in
    if not 0 <= skip < cycles - method.lag:
        message = f"{cycles} cycles leave nothing to score after a burn-in of {skip} and with a lag of {method.lag}"
        raise ValueError(message)

    counted = 0
    step = hmm.Dyn.model

    def count(ensemble: Array, *args: Any) -> Array:
        nonlocal counted
        counted += len(ensemble)
        return step(ensemble, *args)  # type: ignore[no-any-return]

    hmm.Dyn.model = count
    _dapper("dapper.tools.seeding").set_seed(_ENSEMBLE_SEEDS + seed)
    kind = getattr(_dapper("dapper.da_methods"), method.kind)
    known = inspect.signature(kind).parameters
    if unknown := set(method.settings) - set(known):
        message = f"{method.kind} has no settings {sorted(unknown)}; it has {sorted(known)}"
        raise ValueError(message)
    experiment = kind(**method.settings)
    start, start_cpu = time.perf_counter(), time.process_time()
    experiment.assimilate(hmm, xx, yy, liveplots=False)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu

    stats = experiment.stats
    series: dict[str, Array] = {}
    for name, sub in (("filter", "a"), ("smoother", "s")):
        if sub == "s" and not method.lag:
            continue
        series[f"{name}_mean"] = np.array(getattr(stats.mu, sub))
        series[f"{name}_std"] = np.array(getattr(stats.spread, sub))
        error = series[f"{name}_mean"] - observed_states(case, xx)
        series[f"{name}_rmse"] = np.sqrt((error**2).mean(axis=1))
        series[f"{name}_spread"] = np.sqrt((series[f"{name}_std"] ** 2).mean(axis=1))
    climatology = float(np.sqrt(xx.var(axis=0).mean()))
    iterations = np.asarray(stats.iters.array, dtype=float)
    scores = {f"{name}_{score}": np.nan for name in ("filter", "smoother") for score in ("rmse", "spread")}
    for key in scores:
        if key in series:
            scores[key] = float(series[key][skip : cycles - method.lag * key.startswith("smoother")].mean())
    return {
        "case": case.name, "method": method.label, "members": method.members, "lag": method.lag, "cycles": cycles,
        "burn_in": skip, **scores, "wall_time": seconds, "cpu_time": cpu, "model_steps": counted,
        "iterations": float(iterations.mean()), "lost": bool(scores["filter_rmse"] > climatology / 2),
        "series": series,
    }  # fmt: skip


def smoother_lag(case: Case, lag: int, kind: str = "iEnKS") -> Method:
    """Fixed-lag smoother: each state given all observations before it, of its time, and of the next `lag` times.

    That is what the middle of a window of 2 `lag` + 1 observation times is given, plus all times before the window.

    Parameters
    ----------
    case
        One of `CASES`.
    lag
        Number of later observation times, at least 1.
    kind
        "iEnKS", iterative, with the case's own settings, or "EnKS", one Kalman update of the past by each observation.

    Returns
    -------
    Method
        For `run`. Its filter scores are those of the same run: the window's last state.
    """
    if lag < 1:
        message = f"lag is {lag}, expected at least 1 observation time"
        raise ValueError(message)
    settings = {"iEnKS": case.iterative, "EnKS": case.linear}
    if kind not in settings:
        message = f"kind is {kind!r}, expected one of {sorted(settings)}"
        raise ValueError(message)
    return Method(kind, {"upd_a": "Sqrt", **settings[kind], "Lag": lag})


def _sqrt(kind: str, listed: float | None = None, **settings: Any) -> Method:
    return Method(kind, {"upd_a": "Sqrt", **settings}, listed)


def _cases() -> dict[str, Case]:
    # The settings of smoothers are ours: inflation by trial on seeds from 100 on, a tolerance as DAPPER recommends, and
    # no random rotations in the EnKS, as they would cut the ties of the present members with their past.
    lorenz63 = Case(
        "lorenz63-sakov2012",
        "dapper.mods.Lorenz63.sakov2012",
        (
            _sqrt("EnKF", 0.60, N=10, infl=1.02, rot=True),
            Method("EnKF_N", {"N": 10, "rot": True}, 0.54),
            _sqrt("iEnKS", 0.31, N=10, infl=1.02, rot=True),
            Method("PartFilt", {"N": 800, "reg": 0.9, "NER": 0.2}, 0.28),
            Method("PartFilt", {"N": 4000, "reg": 0.7, "NER": 0.05}, 0.27),
            Method("PartFilt", {"N": 20000, "reg": 0.5, "NER": 0.05}),
        ),
        iterative={"N": 10, "infl": 1.005, "rot": True, "wtol": 1e-5},
        linear={"N": 30, "infl": 1.02},
        cycles=1000,
    )
    sakov2008 = Case(
        "lorenz96-sakov2008",
        "dapper.mods.Lorenz96.sakov2008",
        (
            _sqrt("EnKF", 0.18, N=24, infl=1.013, rot=True),
            Method("EnKF_N", {"N": 24, "rot": True, "xN": 2.0}, 0.18),
            Method("LETKF", {"N": 7, "rot": True, "infl": 1.04, "loc_rad": 4}, 0.22),
        ),
        iterative={"N": 24, "infl": 1.013, "rot": True, "wtol": 1e-5},
        linear={"N": 24, "infl": 1.013},
        cycles=2000,
    )
    spantini2019 = Case(
        "lorenz96-spantini2019",
        "dapper.mods.Lorenz96.spantini2019",
        (
            _sqrt("EnKF", 0.97, N=100, infl=1.10),
            Method("LETKF", {"N": 100, "infl": 1.02, "loc_rad": 4}, 0.84),
            _sqrt("iEnKS", 0.52, N=40, infl=1.10, Lag=2),
            _sqrt("iEnKS", 0.43, N=100, xN=1.0, Lag=2),
        ),
        iterative={"N": 40, "infl": 1.05, "wtol": 1e-5},
        linear={"N": 100, "infl": 1.10},
        cycles=500,
    )
    return {case.name: case for case in (lorenz63, sakov2008, spantini2019)}


#: The test cases of the table.
CASES = _cases()


_COLUMNS = [
    "method", "N", "lost", "filter RMSE", "listed", "spread", "lag", "smoother RMSE", "spread", "wall s", "CPU s",
    "model steps per cycle",
]  # fmt: skip
# Half the windows that are of interest.
_LAGS = {"lorenz63-sakov2012": (2, 4), "lorenz96-sakov2008": (4, 8, 16), "lorenz96-spantini2019": (2, 4)}


def _uncertain(values: list[float]) -> str:
    """Mean and its standard error over seeds."""
    if np.isnan(values).all():
        return "-"  # no smoother
    mean = np.mean(values)
    return f"{mean:.3f} +- {np.std(values, ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else f"{mean:.3f}"


def _mean(values: list[float]) -> str:
    """Mean over seeds."""
    return _uncertain([float(np.mean(values))])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    command = Command(__name__, __doc__)
    command.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    command.add_argument("--seeds", type=int, default=3, help="truths, each with its observations and ensembles")
    command.add_argument("--cycles", type=int, default=None, help="observation times, with the burn-in")
    command.add_argument("--lags", type=int, nargs="*", default=None, help="lags of the smoothers, not the usual ones")
    command.quick(cases=["lorenz63-sakov2012"], seeds=1, cycles=100, lags=[])
    args = command.read(arguments)
    for case in (CASES[name] for name in args.cases):
        cycles = args.cycles or case.cycles
        data = [simulate(case, seed, cycles) for seed in range(args.seeds)]
        head(_COLUMNS, f"{case.name}: {cycles} cycles, the first {case.burn_in} not scored, {args.seeds} seeds")
        methods = [*case.methods]
        for lag in _LAGS[case.name] if args.lags is None else args.lags:
            methods += [smoother_lag(case, lag, kind) for kind in ("EnKS", "iEnKS")]
        for method in methods:
            runs = []
            for seed, (truth, observations, *_) in enumerate(data):
                # A run that DAPPER stops because it diverges to infinity is as lost as one that stays finite.
                with contextlib.suppress(RuntimeError, FloatingPointError, np.linalg.LinAlgError):
                    runs.append(run(case, method, truth, observations, seed))
            kept = [r for r in runs if not r["lost"]]
            columns = {key: [r[key] for r in kept] for key in (runs[0] if runs else ())}
            lost = f"{args.seeds - len(kept)} of {args.seeds}"
            if not kept:
                row([method.label, method.members, lost, "-", method.listed or "-", *["-"] * 7])
                continue
            row([
                method.label, method.members, lost, _uncertain(columns["filter_rmse"]), method.listed or "-",
                _mean(columns["filter_spread"]), method.lag or "-", _uncertain(columns["smoother_rmse"]),
                _mean(columns["smoother_spread"]), f"{np.mean(columns['wall_time']):.1f}",
                f"{np.mean(columns['cpu_time']):.1f}", f"{np.mean(columns['model_steps']) / cycles:.0f}",
            ])  # fmt: skip

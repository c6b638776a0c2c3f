"""Runs that are killed: workers, clients, stores and disks, at random times, resumed until they end.

Each run writes a small analysis by ``to_zarr(store, resume=True)`` in a process of its own. At random times that
process, or one of its dask workers, gets ``kill -9``; in some trials the disk is full, or the store is removed while it
is written. The same command runs again until it succeeds, and the store is compared, byte by byte, with that of an
undisturbed run.

    python -m benchmarks faults --faults 50

The model is trained for a second on travelling waves; nothing here depends on how good it is.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xslams
from benchmarks.cases.waves import train, waves
from benchmarks.command import Command
from benchmarks.tables import head, row
from benchmarks.timing import alone

#: Frames, of which 30 make a region.
DAYS = 180
KINDS = ["client", "worker", "client", "lost store", "client", "full disk", "client of workers"]


def run(model: Path, store: str, days: int, workers: int, limit: int | None) -> None:
    """Analyse the waves from stations, and write the analysis, as a user would."""
    truth = waves(days)
    stations = xslams.simulate_observations(truth["t"], stations=30, error=0.5, seed=1)
    analysis = truth.chunk(time=30).slams.assimilate([stations], model, members=2, steps=2, device="cpu")
    if limit:
        # What a full disk does, as far as a process can do it to itself: no file grows beyond this.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if not workers:
        analysis.slams.to_zarr(store, resume=True)
        return
    import dask
    from distributed import Client, LocalCluster

    # Forked, workers need not import everything again; killed often, they are not at fault.
    settings = {"distributed.worker.multiprocessing-method": "fork", "distributed.scheduler.allowed-failures": 100}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        Client(cluster),
    ):
        analysis.slams.to_zarr(store, resume=True)


class Process:
    """A forked process that runs `run`; nothing is imported again, so that it starts at once."""

    def __init__(self, *args: Any) -> None:
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 1)
                os.dup2(null, 2)
                run(*args)
                code = 0
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        """Exit status, once it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self) -> int:
        """Wait for its end."""
        while self.poll() is None:
            time.sleep(0.01)
        assert self.code is not None
        return self.code

    def children(self) -> list[int]:
        """Find the processes that it has started, the workers."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in task.read_text().split()]
        return found

    def kill(self, pid: int) -> bool:
        """Send ``kill -9``, unless it has ended already."""
        if self.poll() is not None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def content(store: Path) -> dict[str, bytes]:
    """All files of a store but the one that says when it was made."""
    found = {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}
    left = [name for name in found if name.endswith(".partial")]
    for name in left:
        del found[name]
    root = json.loads(found.pop("zarr.json"))
    assert root["attributes"]["xslams_complete"] == 1
    return found


def regions(store: Path) -> int:
    """Count the complete regions."""
    return sum(p.is_file() for p in store.glob("_xslams/complete/c/**/*"))


def disturb(process: Process, kind: str, store: Path, rng: random.Random, total: int) -> int:
    """Disturb a run in the way that `kind` names, at a random time; return how often that was done."""
    if regions(store) >= total:
        return 0
    if rng.random() < 0.25:
        # While the graph is built and the store made.
        time.sleep(rng.uniform(0, 3))
    else:
        # By the regions that are complete, since machines differ in speed.
        goal = rng.randrange(regions(store), total)
        while regions(store) < goal and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.expovariate(1 / 0.2))
    if kind in ("client", "client of workers"):
        return int(process.kill(process.pid))
    if kind == "worker":
        kills = 0
        while process.poll() is None and kills < 3:
            if workers := process.children():
                kills += process.kill(rng.choice(workers))
            time.sleep(rng.expovariate(1 / 3.0))
        return kills
    if kind == "lost store" and process.poll() is None:
        shutil.rmtree(store, ignore_errors=True)
        return 1
    return 0


def trial(
    model: Path, store: Path, kind: str, rng: random.Random, expected: dict[str, bytes], days: int
) -> dict[str, Any]:
    """Disturb a run, start it again until it has ended, and compare."""
    done: dict[str, Any] = {"kind": kind, "faults": 0, "starts": 0, "resumed at": []}
    workers = 2 if "worker" in kind else 0
    started = time.perf_counter()
    while True:
        done["resumed at"].append(regions(store))
        done["starts"] += 1
        # Even a disk that is full now and then, and a store that is lost, are left alone at some time.
        disturbed = done["starts"] <= (5 if "client" in kind else 1)
        full = kind == "full disk" and disturbed
        process = Process(model, str(store), days, workers, rng.choice([300, 1000, 3000]) if full else 0)
        done["faults"] += full
        if disturbed and not full:
            done["faults"] += disturb(process, kind, store, rng, -(-days // 30))
        if process.wait() == 0 and store.exists():
            break
        assert done["starts"] < 20, done
    done["seconds"] = round(time.perf_counter() - started, 1)
    done["identical"] = content(store) == expected
    return done


def campaign(faults: int, seed: int, days: int, kinds: list[str]) -> list[dict[str, Any]]:
    """Trials of all kinds in turn until there were enough faults."""
    # Modules that are imported before the processes are forked need not be imported by them.
    for name in ("distributed", "torch", "zarr", "xslams.inference.arrays", "xslams.pipeline.store"):
        importlib.import_module(name)
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = folder / "waves.safetensors"
        # Alone, since a process that has computed with torch should not be forked, as this one is below.
        alone(train, model)
        assert Process(model, str(folder / "undisturbed.zarr"), days, 0, 0).wait() == 0
        expected = content(folder / "undisturbed.zarr")
        while sum(r["faults"] for r in rows) < faults:
            kind = kinds[len(rows) % len(kinds)]
            store = folder / f"{len(rows)}.zarr"
            rows.append(trial(model, store, kind, rng, expected, days))
            shutil.rmtree(store)
            print(rows[-1], flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line."""
    command = Command(__name__, __doc__)
    command.add_argument("--faults", type=int, default=50, help="faults in all")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--days", type=int, default=DAYS, help="length of the runs")
    command.add_argument("--kinds", nargs="+", choices=list(dict.fromkeys(KINDS)), default=KINDS)
    command.quick(faults=1, days=60, kinds=["client"])
    args = command.read(arguments)
    rows = campaign(args.faults, args.seed, args.days, args.kinds)
    head(["what was done", "runs", "faults", "starts of the program", "bit-identical"])
    for kind in dict.fromkeys(args.kinds):
        mine = [r for r in rows if r["kind"] == kind]
        row([kind, len(mine), *(sum(r[k] for r in mine) for k in ("faults", "starts", "identical"))])
    assert all(r["identical"] for r in rows)

"""Every benchmark has a help, and a quick mode that runs; the parts that benchmarks share do what they say."""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from benchmarks.__main__ import benchmarks, main
from benchmarks.cases.systems import ObserveSites
from benchmarks.reports.bits import differences, digest
from benchmarks.timing import Stopwatch, Times, alone, least, peak_memory

#: What the output of every quick run has to hold.
EXPECTED = {
    "background": "| flow | number |",
    "bits": r"grids  ",
    "classical": "EnKF",
    "enoi": "EnOI pr, 1 d",
    "estimated": "| calibrated |",
    "europe": "| assimilate | msl |",
    "exactness": "| red-8 |",
    "fit": "| fit, soundings |",
    "fullsize": "| peak of memory, GB |",
    "gaussian": "| one solve each |",
    "ncep": "ncep-na stations",
    "observations": "| as they are |",
    "ocean": "| xslams |",
    "overhead": "| xarray and dask |",
    "peers": "its rows are left out",
    "regrid": "| nearest, 10 frames |",
    "run_length": "small model, 1 workers",
    "scaling": "| 1.5 degrees |",
    "sda": "| lo | xslams |",
    "seams": "| one piece |",
    "seasonal": "| regression, stations | msl |",
    "shares": "| building |",
    "solvers": "| `unipc` |",
    "solves": "| three and a background |",
    "speedy": "speedy-t30 pr",
    "testbeds": "xslams, 17 times",
    "years": "| 15 | 365 | fit |",
}
#: Quick runs that are tested elsewhere, as they fork the process: tests/pipeline/test_cluster.py.
ELSEWHERE = {"faults"}
NEEDS_DATA = {
    "background",
    "enoi",
    "estimated",
    "europe",
    "fit",
    "gaussian",
    "ncep",
    "ocean",
    "seasonal",
    "speedy",
    "years",
}
NEEDS_DAPPER = {"classical", "testbeds"}


def test_every_benchmark_has_a_smoke_run() -> None:
    assert EXPECTED.keys() | ELSEWHERE == benchmarks().keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_quick_run(name: str, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> None:
    if name in NEEDS_DATA:
        request.getfixturevalue("shared_data")
    if name in NEEDS_DAPPER and importlib.util.find_spec("dapper") is None:
        pytest.skip("needs DAPPER, the extra 'bench', which wants an environment of its own")
    main([name, "--quick"])
    assert EXPECTED[name] in capfd.readouterr().out


@pytest.mark.parametrize("name", sorted(benchmarks()))
def test_help_says_what_is_measured_and_how_to_run_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m benchmarks {name}")
    assert f"python -m benchmarks {name}" in text.partition("\n\n")[2]  # an example in the description
    assert "--quick" in text


def test_the_list_names_all_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text and known.summary in text for name, known in benchmarks().items())
    assert all(known.summary for known in benchmarks().values())
    with pytest.raises(SystemExit) as end:
        main(["sped"])
    assert end.value.code == 2


def test_nothing_imports_by_the_search_path() -> None:
    for folder in ("benchmarks", "examples"):
        for path in (Path(__file__).parents[2] / folder).rglob("*.py"):
            assert "sys.path" not in path.read_text(), path


def test_options_that_are_given_are_kept_by_the_quick_mode() -> None:
    from benchmarks.command import Command

    command = Command("benchmarks.reports.demo", "Print something.")
    command.add_argument("--days", type=int, default=30)
    command.add_argument("--steps", type=int, default=16)
    command.quick(days=2, steps=1)
    assert command.read(["--quick", "--days", "7"]) == argparse.Namespace(days=7, steps=1, quick=True)
    assert command.read([]) == argparse.Namespace(days=30, steps=16, quick=False)


def test_observed_sites_have_the_adjoint_of_their_map() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 9, 3, 1, 4, generator=generator)
    observe = ObserveSites(4, torch.tensor([0, 5, 11]), std=torch.tensor([1.0, 2.0, 3.0]), first=1)
    y = observe(z)
    torch.testing.assert_close(y.reshape(2, 2, 3)[1, 1], z[1, 5].flatten()[[0, 5, 11]] * torch.tensor([1.0, 2.0, 3.0]))
    forward, adjoint = observe.linearize(z)
    w = torch.randn(y.shape, generator=generator)
    torch.testing.assert_close((forward(z) * w).sum(), (z * adjoint(w)).sum())


def test_hashes_and_differences_see_a_single_bit() -> None:
    before = {"a": np.arange(4.0), "b": np.array(["text"], dtype=object), "c": np.array([np.nan])}
    after = {**before, "a": np.nextafter(before["a"], 9)}
    assert digest(before) == digest({**before, "b": np.array(["other"], dtype=object)}) != digest(after)
    assert differences({k: before[k] for k in "ac"}, before) == (0, [])
    count, lines = differences({"a": after["a"], "c": np.zeros(2), "d": np.zeros(1)}, before)
    assert count == 1
    assert [line.split(":")[0].strip() for line in lines] == ["differs", "shape", "new"]


def test_times_are_of_clock_and_processor() -> None:
    watch = Stopwatch()
    time.sleep(0.05)
    spent = watch.read()
    assert spent.clock >= 0.05 > spent.cpu
    assert Times(1.234, 0.5).text() == "1.2 (0.5)"
    assert Times(1.234, 0.5).text(1e3, 0) == "1234 (500)"
    assert least(lambda: time.sleep(0.01), 3).clock >= 0.01


def test_a_function_alone_has_memory_of_its_own() -> None:
    block = np.ones(2**25)  # 256 MB, which a fresh process does not have
    assert peak_memory() > block.nbytes
    assert alone(peak_memory) < peak_memory()


def test_harmonics_of_the_year_are_orthogonal() -> None:
    from benchmarks.cases.seasons import annual_phase, harmonics

    days = np.arange("2001-01-01", "2005-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    basis = harmonics(annual_phase(xr.DataArray(days, dims="time")), 2)
    assert basis.shape == (days.size, 5)
    np.testing.assert_allclose(basis.T @ basis / days.size, np.diag([1, 0.5, 0.5, 0.5, 0.5]), atol=2e-3)

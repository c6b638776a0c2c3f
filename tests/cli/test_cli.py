"""The command line does what the accessor does, on files; it refuses in one line and never leaves half a file."""

from __future__ import annotations

import dataclasses
import gc
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import fsspec
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from click.testing import CliRunner
from hypothesis import given, settings

import xslams
from tests.problems.objectstore import serve
from xslams.accessor import SlamsAccessor
from xslams.cli import files, main, sources
from xslams.cli.config import describe
from xslams.cli.program import EXIT_CODES
from xslams.cli.settings import documented
from xslams.errors import FileError, SlamsError
from xslams.model import Model
from xslams.options import TrainingOptions
from xslams.plot.plotter import Plotter

ROOT = Path(__file__).parents[2]
COMMANDS = {name: c for name, c in main.commands.items() if not isinstance(c, click.Group)}


def run(*args, code=0):
    """Run in this process and return what was printed; the exit code is checked."""
    result = CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


@pytest.fixture(scope="module")
def truth(tiny_model):
    spec = tiny_model.spec
    days = pd.date_range("2004-01-01", periods=4)
    rng = np.random.default_rng(1)
    coords = {"time": days, "lat": list(spec.lat), "lon": list(spec.lon)}
    wave = np.cos(np.deg2rad(np.asarray(spec.lat)))[:, None] * np.sin(np.deg2rad(2 * np.asarray(spec.lon)))
    t = np.stack([285 + 8 * wave, 250 + 5 * wave], axis=0) + rng.normal(size=(4, 2, *wave.shape))
    return xr.Dataset(
        {
            "t": (("time", "level", "lat", "lon"), t.astype("f4"), {"units": "K", "standard_name": "air_temperature"}),
            "pr": (("time", "lat", "lon"), np.maximum(t[:, 0] - 284, 0).astype("f4"), {"units": "mm day-1"}),
        },
        coords={**coords, "level": [850.0, 500.0]},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, truth):
    """A background, two sources and a store of the truth."""
    path = tmp_path_factory.mktemp("cli")
    truth[["t"]].to_netcdf(path / "background.nc")
    gauges = truth[["pr"]].where(truth["lon"] < 180)
    gauges["sigma"] = (("lat", "lon"), np.full(gauges["pr"].shape[1:], 0.5), {"units": "mm day-1"})
    gauges.to_netcdf(path / "gauges.nc")
    truth.to_zarr(path / "truth.zarr", consolidated=False)
    return path


@pytest.fixture(scope="module")
def command(folder, tiny_model):
    """A short run of ``assimilate``, but for where it goes."""
    return [
        "assimilate", folder / "background.nc", "--obs", f"{folder / 'gauges.nc'},error=0.5,variable=pr",
        "--model", tiny_model.path, "--members", 2, "--steps", 2, "--no-progress",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def analysis(folder, command):
    out = folder / "analysis.zarr"
    assert run(*command, "--out", out) == f"{out}\n"
    return out


def expected(truth, tiny_model, **options):
    source = xslams.Observation(truth["pr"].where(truth["lon"] < 180), error=0.5)
    return truth[["t"]].slams.assimilate(source, tiny_model, **{"members": 2, "steps": 2, **options})


# ----------------------------------------------------------------------------------------------------------- start


def test_help_is_light(fresh_python):
    code = """
import sys
import xarray  # which brings parts of scipy in some versions
before = set(sys.modules)
from xslams.cli import main
for args in (["--help"], ["assimilate", "--help"], ["models", "--help"]):
    try:
        main(args)
    except SystemExit as e:
        assert e.code == 0
heavy = {"torch", "azula", "dask", "distributed", "zarr", "scipy.sparse", "matplotlib", "pooch", "safetensors"}
print(heavy & (set(sys.modules) - before), file=sys.stderr)
"""
    done = subprocess.run([fresh_python, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr.strip() == "set()"
    assert "--background-error" in done.stdout


def test_the_entry_point_is_the_program():
    (script,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items()
    module, _, name = script[1].partition(":")
    assert script[0] == "xslams"
    assert getattr(__import__(module, fromlist=[name]), name) is main


def test_a_process_of_its_own(fresh_python):
    def start(*args):
        return subprocess.run([fresh_python, "-m", "xslams.cli", *args], capture_output=True, text=True, timeout=120)

    done = start("--version")
    assert (done.returncode, done.stdout) == (0, f"xslams {xslams.__version__}\n")
    done = start("regrid", "nowhere.nc", "--target", "tutorial:speedy", "--out", "o.nc")
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is nothing at nowhere.nc")
    assert "Traceback" not in done.stderr
    assert start("assimilate").returncode == 2


# ------------------------------------------------------------------------------------------------------ assimilate


def test_assimilate_is_that_of_the_accessor(analysis, truth, tiny_model):
    ds = xslams.open_analysis(analysis)
    xr.testing.assert_identical(ds["t"].drop_attrs().compute(), expected(truth, tiny_model)["t"].drop_attrs())
    assert ds.attrs["xslams_seed"] == 0


def test_every_option_of_the_accessor_is_there():
    # Where data go in and out, and what is not said but done: train takes **options by --option.
    names = {"self", "options", "kwargs", "ax"}
    for name in COMMANDS:
        method = {"train": "fit"}.get(name, name)
        options = set(describe(COMMANDS[name]))
        called = Plotter.__call__ if method == "plot" else getattr(SlamsAccessor, method)
        wanted = set(inspect.signature(called).parameters) - names
        assert wanted <= options, f"{name} lacks {wanted - options}"


def test_every_setting_of_training_is_an_option_of_its_own():
    fields = dataclasses.fields(TrainingOptions)
    parameters, help_of = describe(COMMANDS["train"]), documented(TrainingOptions)
    assert {f.name for f in fields} <= set(parameters)
    assert {f.name for f in fields} == set(help_of)
    # Of each, the default, given on the command line, is the value of the dataclass.
    for field in fields:
        if field.default is not None:
            text = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
            got = parameters[field.name].type.convert(text, None, None)
            assert (got, type(got)) == (field.default, type(field.default))
        assert len(help_of[field.name]) > 20
        assert str(parameters[field.name].help).startswith(help_of[field.name])


def test_help_does_not_depend_on_the_indentation_of_docstrings():
    # Python 3.13 dedents them, and python -OO leaves them out.
    dedented = type("Options", (), {"__doc__": inspect.cleandoc(TrainingOptions.__doc__)})
    assert documented(dedented) == documented(TrainingOptions)
    assert documented(type("Options", (), {})) == {}


def test_an_existing_store_is_resumed_or_replaced_and_never_mixed(command, analysis, folder):
    before = {p: p.stat().st_mtime_ns for p in analysis.rglob("c/*")}
    assert "exists" in run(*command, "--out", analysis, code=1)
    assert "seed" in run(*command, "--out", analysis, "--resume", "--seed", 1, code=1)
    run(*command, "--out", analysis, "--resume")
    assert {p: p.stat().st_mtime_ns for p in analysis.rglob("c/*")} == before
    assert "give only one of them" in run(*command, "--out", analysis, "--resume", "--overwrite", code=2)
    other = folder / "replaced.zarr"
    run(*command, "--out", other, "--seed", 1)
    run(*command, "--out", other, "--overwrite")
    xr.testing.assert_identical(*(xr.open_zarr(p).drop_attrs().compute() for p in (analysis, other)))
    assert not list(folder.glob(".*"))


def test_a_folder_that_is_no_store_is_not_replaced(command, tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "precious.txt").write_text("x")
    assert "not replaced" in run(*command, "--out", tmp_path / "a.zarr", "--overwrite", code=1)
    assert (tmp_path / "a.zarr" / "precious.txt").exists()


def test_netcdf_background_error_and_period(command, tmp_path, truth, tiny_model):
    out = tmp_path / "a.nc"
    run(*command, "--out", out, "--background-error", "t=1.5", "--start", "2004-01-01", "--end", "2004-01-03")
    got = xr.load_dataset(out)
    want = expected(truth.isel(time=slice(3)), tiny_model, background_error={"t": 1.5})
    np.testing.assert_allclose(got["t"], want["t"], rtol=1e-6)
    assert os.listdir(tmp_path) == ["a.nc"]
    assert "No frame lies" in run(*command, "--out", tmp_path / "b.nc", "--start", "2005", code=1)
    assert "cannot be read as dates" in run(*command, "--out", tmp_path / "b.nc", "--start", "soon", code=1)


def test_progress_tells_the_time_left(command, tmp_path):
    args = ["--progress" if a == "--no-progress" else a for a in command]
    result = CliRunner().invoke(main, [str(a) for a in [*args, "--out", tmp_path / "a.zarr"]])
    assert result.exit_code == 0
    assert re.search(r"to_zarr.* frames \[\d\d:\d\d<", result.stderr)
    assert result.stdout == f"{tmp_path / 'a.zarr'}\n"


def test_a_cluster_computes_the_same(command, analysis, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        run(*command, "--out", tmp_path / "a.zarr", "--scheduler", cluster.scheduler_address)
    xr.testing.assert_identical(*(xr.open_zarr(p)["t"].compute() for p in (analysis, tmp_path / "a.zarr")))


def test_a_scheduler_file_that_is_not_there_yet(command, tmp_path):
    file = tmp_path / "scheduler.json"
    said = run(*command, "--out", tmp_path / "a.zarr", "--scheduler", file, code=1)
    assert f"There is no scheduler file {file}" in said
    assert f"--scheduler-file {file}" in said


def test_a_scheduler_that_is_not_there(command, tmp_path, monkeypatch):
    import distributed.client

    gc.disable()
    try:
        assert "No dask scheduler" in run(*command, "--out", tmp_path / "a.zarr", "--scheduler", "nonsense://x", code=1)
        # A client that has failed is nobody's default, or the next computation would wait for it without end.
        assert distributed.client._get_global_client() is None
    finally:
        gc.enable()


# --------------------------------------------------------------------------------------------------------- sources


@given(
    path=st.text("ab,./-_:* ", min_size=1).filter(lambda s: s[0] != ","),
    error=st.floats(0, 1e6),
    of=st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.floats(0, 1e3), max_size=3),
)
def test_settings_are_read_from_the_end_of_a_path(path, error, of):
    text = f"{path},name=5," + (",".join(f"error.{k}={v!r}" for k, v in of.items()) if of else f"error={error!r}")
    assert sources.ObservationType().convert(text, None, None) == {"path": path, "name": "5", "error": of or error}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.nc,eror=1", "Did you mean 'error'"),
        ("a.nc,error=1,error=2", "given twice"),
        ("a.nc,error=1,error.pr=2", "both for all"),
        (",error=1", "needs a 'path'"),
    ],
)
def test_a_wrong_setting_of_a_source_is_usage(text, message):
    assert message in run("plot", "x.zarr", "--out", "x.png", "--obs", text, code=2)


def test_a_source_knows_errors_and_names_from_its_file(folder):
    path = str(folder / "gauges.nc")
    convert = sources.ObservationType().convert
    source = sources.observation(convert(f"{path},error=sigma,variable.pr=rain,method=nearest", None, None))
    assert source.variable == {"pr": "rain"}
    assert source.method == "nearest"
    assert float(source.error.mean()) == 0.5
    assert "sigma" not in source.data
    several = convert({"path": path, "variable": ["pr"], "error": {"pr": 1}}, None, None)
    assert sources.observation(several).variable == ["pr"]
    with pytest.raises(SlamsError, match=r"neither a number nor a variable of the file, which has pr, sigma"):
        sources.observation({"path": path, "error": "sigmma"})


# ---------------------------------------------------------------------------------------------------------- config


def test_a_configuration_says_what_the_command_line_says(command, analysis, tmp_path, folder, tiny_model):
    settings = {
        "background": str(folder / "background.nc"),
        "obs": [{"path": str(folder / "gauges.nc"), "error": {"pr": 0.5}, "variable": "pr"}],
        "model": str(tiny_model.path),
        "members": 3,
        "steps": 2,
        "progress": False,
        "background-error": None,
        "seed": 7,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"assimilate": settings, "plot": {"dpi": 50}}))
    run("assimilate", "--config", path, "--members", 2, "--seed", 0, "--out", tmp_path / "a.zarr")
    ds = xr.open_zarr(tmp_path / "a.zarr")
    assert ds.sizes["member"] == 2  # the command line goes first
    np.testing.assert_array_equal(ds["t"], xr.open_zarr(analysis)["t"])


def test_print_config_can_be_read_again(tmp_path):
    args = [
        "assimilate", "bg.nc", "--obs", "a b.nc,error.pr=0.5,error.olr=5,tolerance=3h", "--obs", "c.nc", "--model", "m",
        "--out", "o.zarr", "--background-error", "t=1", "--background-error", "u=2", "--no-progress",
        "--overlap", "3", "--antithetic", "--variable", "t", "--end", "2004-01-05",
    ]  # fmt: skip
    first = run(*args, "--print-config")
    content = yaml.safe_load(first)["assimilate"]
    assert content["obs"][0] == {"path": "a b.nc", "error": {"pr": 0.5, "olr": 5.0}, "tolerance": "3h"}
    assert (content["overlap"], content["antithetic"], content["progress"]) == (3, True, False)
    (tmp_path / "run.yaml").write_text(first)
    assert run("assimilate", "--config", tmp_path / "run.yaml", "--print-config") == first
    assert yaml.safe_load(run("assimilate", "--config", tmp_path / "run.yaml", "--seed", 5, "--print-config")) == {
        "assimilate": content | {"seed": 5}
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_print_config_without_anything_is_a_template(name):
    text = run(name, "--print-config")
    keys = set(describe(COMMANDS[name]))
    assert keys == set(re.findall(r"^  #? ?(\w+):", text, re.MULTILINE))
    assert {k for k, p in describe(COMMANDS[name]).items() if p.required} == set(
        re.findall(r"^  # (\w+): required", text, re.MULTILINE)
    )
    yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("assimilate: {membres: 3}", r"run.yaml: assimilate.membres: unknown key. Did you mean 'members'\?"),
        ("asimilate: {members: 3}", r"unknown section 'asimilate'.*Did you mean 'assimilate'\?"),
        ("members: 3", r"unknown section 'members'.*write it under 'assimilate:'"),
        ("plot: {dpy: 3}", r"plot.dpy: unknown key. Did you mean 'dpi'\?"),
        ("assimilate: {members: many}", r"assimilate.members: 'many' is not a valid whole number"),
        ("assimilate: {members: 2.5}", r"assimilate.members: '2.5' is not a valid whole number"),
        ("assimilate: {members: true}", r"assimilate.members: expected one value; got the truth value True"),
        ("assimilate: {members: [1, 2]}", r"assimilate.members: expected one value; got a list"),
        ("assimilate: {members: 0}", r"assimilate.members: 0 is not in the range"),
        ("assimilate: {guidance: magic}", r"assimilate.guidance: 'magic' is not one of"),
        ("assimilate: {overlap: some}", r"assimilate.overlap: 'some'"),
        ("assimilate: {antithetic: 1}", r"assimilate.antithetic: expected true or false; got 1"),
        ("assimilate: {obs: [{eror: 1, path: x}]}", r"assimilate.obs: 'eror' is not a setting.*Did you mean 'error'"),
        ("assimilate: {obs: [{error: 1}]}", r"assimilate.obs: a source needs a 'path'"),
        ("assimilate: {background_error: {t: cold}}", r"assimilate.background_error: .*'cold' is not a number"),
        ("assimilate: {seed: 1, seed: 2}", r"line 1: 'seed' is given twice"),
        ("assimilate: {batch-size: 1, batch_size: 2}", r"assimilate.batch_size: given twice"),
        ("assimilate: [1]", r"assimilate: expected options"),
        ("[1]", r"expected sections"),
        ("assimilate: {obs: [{path: a.nc, error: -1}]}", r"assimilate.obs: error=-1 is negative; expected a number"),
        ("assimilate: {obs: [{path: a.nc, error: {pr: [1]}}]}", r"assimilate.obs: error of 'pr'=\[1\]; expected"),
        ("assimilate: {obs: [{path: a.nc, variable: 3}]}", r"assimilate.obs: variable=3; expected a name"),
        ("assimilate: {obs: [{path: a.nc, method: [best]}]}", r"assimilate.obs: method=\['best'\] is unknown"),
        ("assimilate: {obs: [{path: a.nc, tolerance: -2}]}", r"assimilate.obs: tolerance=-2 must be zero or more"),
        ("assimilate: {obs: [{path: a.nc, qc: {thin: 0}}]}", r"assimilate.obs: qc: thin=0; expected a positive"),
        ("assimilate: {seed: -1}", r"assimilate.seed: -1 is not in the range"),
        ("assimilate: {seed: 0x" + "F" * 20000 + "}", r"run.yaml: "),
        ("assimilate: {[1]: 2}", r"run.yaml"),
        ("? {a: 1}\n: 2", r"is not plain YAML"),
        ("&a [*a]", r"is not plain YAML: more than"),
        ("assimilate: &a {obs: *a}", r"is not plain YAML: more than"),
        (
            "a: &a [x, x, x]\n"
            + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
            r"is not plain YAML: more than",
        ),
        ("[" * 1200, r"is not plain YAML"),
        ("assimilate: {start: 2001-13-45}", r"is not plain YAML: month must be in"),
        ("assimilate: {members: !!int many}", r"is not plain YAML"),
        ("assimilate: {members: !!bool many}", r"is not plain YAML"),
        ("assimilate: {start: !!timestamp soon}", r"is not plain YAML"),
        ("assimilate: {out: !!binary '!'}", r"run.yaml"),
        ('assimilate: {out: "a\\0b"}', r"text may hold no null character"),
        ('assimilate: {out: "\\ud800"}', r"is not plain YAML"),
        ("assimilate: {<<: 3}", r"is not plain YAML"),
        ("assimilate: {", r"is not plain YAML"),
        ("assimilate: !!python/object/apply:os.mkdir [ran]", r"is not plain YAML"),
        ("assimilate: {out: !!python/object/apply:os.mkdir [ran]}", r"is not plain YAML"),
    ],
)
def test_an_invalid_configuration_names_the_key_and_does_nothing(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(text)
    output = run("assimilate", "--config", "run.yaml", "--print-config", code=2)
    assert re.search(message, " ".join(output.split()))
    assert os.listdir() == ["run.yaml"]


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text(max_size=5) | st.binary(max_size=3)
)
_SHAPES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["assimilate", "train", "obs", "path", "error", "members", "qc", "x"]) | _LEAVES, inner,
        max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip
_KEYS = st.sampled_from(["obs", "members", "seed", "options", "background_error", "overlap", "compile", "out", "model"])


@given(_SHAPES | st.fixed_dictionaries({"assimilate": st.dictionaries(_KEYS, _SHAPES, max_size=3)}))
def test_a_configuration_of_any_shape_is_read_or_is_usage(content):
    _read(yaml.safe_dump(content, allow_unicode=True))


@given(st.text(alphabet="ab12:-[]{}&*!?|>#,'\"% \n\t\\<\0", max_size=40))
def test_text_of_any_shape_is_read_or_is_usage(text):
    _read(text)


def _read(text):
    path = "memory://shape.yaml"
    with fsspec.open(path, "w", encoding="utf-8") as file:
        file.write(text)
    result = CliRunner().invoke(main, ["assimilate", "--config", path, "--print-config"])
    assert result.exit_code in (0, 2), result.output


def test_options_out_of_range_are_usage(command, tmp_path):
    out = tmp_path / "a.zarr"
    assert "members=1000000000; expected" in run(*command, "--out", out, "--members", 10**9, code=2)
    assert "device='abacus' cannot be used" in run(*command, "--out", out, "--device", "abacus", code=2)
    assert "background_error=0.0; expected" in run(*command, "--out", out, "--background-error", 0, code=2)
    assert not out.exists()


def test_a_mapping_of_long_values_is_kept(tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"train": {"options": {"width": [8] * 60, "trust": 0.5}}}))
    text = run("train", "--config", tmp_path / "run.yaml", "--print-config")
    assert sources.pairs(tuple(yaml.safe_load(text)["train"]["options"])) == {"width": [8] * 60, "trust": 0.5}


def test_a_missing_configuration_is_usage():
    assert "cannot be read" in run("plot", "--config", "nowhere.yaml", code=2)


def test_a_configuration_may_be_anywhere():
    with fsspec.open("memory://conf/run.yaml", "wt") as file:
        file.write("plot: {dpi: 33, level: 1e3}")
    content = yaml.safe_load(run("plot", "--config", "memory://conf/run.yaml", "--print-config"))
    assert (content["plot"]["dpi"], content["plot"]["level"]) == (33, 1000.0)


# ------------------------------------------------------------------------------------------------- other commands


def test_score(analysis, folder, truth, tmp_path):
    want = xr.open_zarr(analysis).slams.score(truth[["t"]])
    text = run("score", analysis, folder / "truth.zarr", "--out", tmp_path / "s.nc", "--no-progress")
    assert f"{float(want['rmse'][0]):.4g}" in text
    got = xr.load_dataset(tmp_path / "s.nc")
    np.testing.assert_allclose(got["rank_histogram"], want["rank_histogram"])
    run("score", analysis, folder / "truth.zarr", "--out", tmp_path / "s.json", "--dims", "time", "--no-progress")
    assert json.loads((tmp_path / "s.json").read_text())["data_vars"]["crps"]["dims"] == ["level", "lat", "lon"]
    assert "expected .zarr, .nc, .json" in run("score", "a", "b", "--out", "s.txt", code=2)


def test_regrid_to_data_and_to_a_model(folder, truth, tiny_model, tmp_path):
    target = truth.isel(lat=slice(None, None, 2), lon=slice(None, None, 2))
    target.to_netcdf(tmp_path / "coarse.nc")
    source = folder / "truth.zarr"
    run("regrid", source, "--target", tmp_path / "coarse.nc", "--out", tmp_path / "r.zarr", "--no-progress")
    got = xr.open_zarr(tmp_path / "r.zarr")
    np.testing.assert_allclose(got["t"], target["t"], rtol=1e-5)
    run("regrid", tmp_path / "r.zarr", "--target", tiny_model.path, "--out", tmp_path / "b.nc", "--method", "nearest")
    assert xr.open_dataset(tmp_path / "b.nc").sizes["lon"] == 16


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_plot(analysis, folder, tmp_path, suffix):
    out = tmp_path / f"a.{suffix}"
    run("plot", analysis, "--truth", folder / "truth.zarr", "--obs", folder / "gauges.nc", "--level", 500, "--out", out)
    assert out.read_bytes()[:4] in (b"\x89PNG", b"%PDF")
    assert os.listdir(tmp_path) == [out.name]
    assert "exists" in run("plot", analysis, "--out", out, code=1)
    more = ["--kind", "increment", "--row", "time", "--col-wrap", 2, "--figsize", 8, 30, "--out", out, "--overwrite"]
    run("plot", analysis, "--background", folder / "truth.zarr", *more)
    assert "background=background" in run("plot", analysis, *more, code=1)
    assert "expected a figure" in run("plot", analysis, "--out", "a.txt", code=2)


@pytest.mark.filterwarnings("ignore:The training data cover")
def test_train(tmp_path, truth):
    many = xr.concat([truth] * 8, "time").assign_coords(time=pd.date_range("2004-01-01", periods=32))
    many.to_netcdf(tmp_path / "data.nc")
    out = tmp_path / "mine.safetensors"
    args = ["train", tmp_path / "data.nc", "--aux", "pr", "--window", 3, "--epochs", 0, "--no-progress", "--out"]
    settings = ("--license", "MIT", "--option", "autoencoder_epochs=1", "--modes", 4, "--width", "8,16")
    settings += ("--normal-scores", "pr", "--spread", "1.25,0.75")
    run(*args, out, *settings, "--log", tmp_path / "run.csv", "--checkpoint", tmp_path / "run.safetensors")
    assert (tmp_path / "run.csv").read_text().startswith("stage,step,seconds,")
    (tmp_path / "run.csv").unlink()
    (tmp_path / "run.safetensors").unlink()
    chosen = xslams.open_model(out).spec.training["settings"]
    assert (chosen["modes"], chosen["width"], chosen["autoencoder_epochs"]) == (4, [8, 16], 1)
    assert (chosen["normal_scores"], chosen["spread"]) == (["pr"], [1.25, 0.75])
    assert "modes is given by an option of its own" in run(
        *args, "b.safetensors", "--modes", 4, "--option", "modes=5", code=2
    )
    assert "not a list of whole numbers" in run(*args, "b.safetensors", "--width", "8;9", code=2)
    assert "not a list of numbers" in run(*args, "b.safetensors", "--spread", "1,b", code=2)
    assert "modes=0; expected" in run(*args, "b.safetensors", "--modes", 0, code=2)
    spec = xslams.open_model(out).spec
    assert (spec.name, spec.license, spec.window, [v.name for v in spec.aux]) == ("mine", "MIT", 3, ["pr"])
    assert "Did you mean 'modes'?" in run(*args, tmp_path / "b.safetensors", "--option", "mode=4", code=2)
    assert "is not plain YAML" in run(*args, tmp_path / "b.safetensors", "--option", "width=[", code=2)
    assert "saved as .safetensors" in run(*args, "b.pt", code=2)
    assert sorted(os.listdir(tmp_path)) == ["data.nc", "mine.safetensors"]


def test_train_learns_of_sources_at_their_own_places(tmp_path, truth, tiny_model, monkeypatch):
    taken = {}

    def fit(self, aux=None, **settings):
        taken["aux"] = aux
        # A copy: saving it says where its file is.
        return Model(tiny_model.spec, prior=tiny_model.prior())

    monkeypatch.setattr(SlamsAccessor, "fit", fit)
    truth.to_netcdf(tmp_path / "data.nc")
    reports = {}
    for name in ("stations", "gauges"):
        reports[name] = xslams.simulate_observations(truth["pr"], stations=5, error=1.0, seed=1).data
        reports[name].to_netcdf(tmp_path / f"{name}.nc")
    out = tmp_path / "mine.safetensors"
    args = ["train", tmp_path / "data.nc", "--aux", "pr"]
    for name in reports:
        args += ["--obs", f"{tmp_path / name}.nc,variable={reports[name].name},name={name}"]
    run(*args, "--out", out)
    assert out.exists()
    pr, *learned = taken["aux"]
    assert (pr, [source.name for source in learned]) == ("pr", list(reports))
    for source in learned:
        np.testing.assert_allclose(source.data[reports[source.name].name], reports[source.name])
    assert "nothing at nowhere.nc" in run(*args, "--obs", "nowhere.nc", "--out", tmp_path / "b.safetensors", code=1)
    assert "is not a setting" in run(*args, "--obs", "a.nc,eror=1", "--out", tmp_path / "b.safetensors", code=2)
    assert sorted(os.listdir(tmp_path)) == ["data.nc", "gauges.nc", "mine.safetensors", "stations.nc"]


def test_models(tmp_path, tiny_model, monkeypatch):
    text = run("models", "list")
    assert "speedy-t30" in text
    rows = {r["name"]: r for r in json.loads(run("models", "list", "--json"))}
    assert rows["speedy-t30"]["where"] == "embedded"
    assert rows["speedy-t30"]["license"] == "MIT"
    info = json.loads(run("models", "info", "speedy-t30", "--json"))
    assert info["sha256"] == rows["speedy-t30"]["sha256"]
    assert yaml.safe_load(run("models", "info", tiny_model.path))["lat"] == "8 values, -70 to 70"
    assert run("models", "fetch", "speedy-t30").endswith("speedy-t30.safetensors\n")
    assert "speedy-t30: embedded" in run("models", "verify")
    assert "Did you mean 'speedy-t30'" in run("models", "verify", "speedy-t3", code=1)
    assert "Did you mean 'speedy-t30'" in run("models", "fetch", "speedy-t3", code=1)


def test_models_that_are_elsewhere(tmp_path, tiny_model, monkeypatch):
    from xslams.zoo import registry

    entry = {"url": "https://nowhere.invalid/tiny.safetensors", "sha256": tiny_model.sha256, "license": "MIT"}
    entry["size"] = tiny_model.path.stat().st_size
    (tmp_path / "registry.json").write_text(json.dumps({"tiny": entry}))
    monkeypatch.setattr(registry, "DATA", tmp_path)
    monkeypatch.setenv("XSLAMS_CACHE", str(tmp_path / "cache"))
    assert json.loads(run("models", "info", "tiny", "--json"))["where"] == entry["url"]
    assert run("models", "verify") == "tiny: absent\n"
    path = tmp_path / "cache" / "tiny.safetensors"
    assert run("models", "fetch", "tiny", "--mirror", tiny_model.path, "--no-progress") == f"{path}\n"
    assert run("models", "verify", "tiny") == "tiny: cached\n"
    path.write_bytes(path.read_bytes()[:-1])
    assert "is truncated" in run("models", "verify", code=4)
    assert not path.exists()
    monkeypatch.setenv("XSLAMS_MIRROR", str(tmp_path / "nowhere"))
    assert "could not be fetched" in run("models", "fetch", "tiny", code=3)


# ----------------------------------------------------------------------------------------------------------- files


@pytest.fixture(params=["memory", "server"])
def place(request):
    """Where objects are: in this process, or behind a server on this machine."""
    if request.param == "memory":
        yield "memory://cli"
        return
    with serve() as (_, url):
        yield f"{url}/bucket"


def test_object_stores_in_and_out(folder, truth, analysis, tiny_model, place):
    fs, root = fsspec.core.url_to_fs(place)
    fs.put_file(str(folder / "background.nc"), f"{root}/background.nc")
    fs.put_file(str(folder / "gauges.nc"), f"{root}/gauges.nc")
    fs.put_file(str(tiny_model.path), f"{root}/tiny.safetensors")
    files.write_data(truth, f"{place}/truth.zarr")
    remote = [
        "assimilate", f"{place}/background.nc", "--obs", f"{place}/gauges.nc,error=0.5,variable=pr",
        "--model", f"{place}/tiny.safetensors", "--members", 2, "--steps", 2, "--no-progress",
        "--out", f"{place}/a.zarr",
    ]  # fmt: skip
    run(*remote)
    np.testing.assert_array_equal(files.open_data(f"{place}/a.zarr")["t"], xr.open_zarr(analysis)["t"])
    run(*remote, "--resume")
    assert "exists" in run(*remote, code=1)
    run("score", f"{place}/a.zarr", f"{place}/truth.zarr", "--out", f"{place}/scores.nc", "--no-progress")
    regrid = ["regrid", f"{place}/truth.zarr", "--target", f"{place}/background.nc", "--out", f"{place}/r.zarr"]
    run(*regrid, "--no-progress")
    run(*regrid, "--overwrite", "--no-progress")
    np.testing.assert_allclose(files.open_data(f"{place}/r.zarr")["t"], truth["t"], rtol=1e-6)
    run("plot", f"{place}/a.zarr", "--out", f"{place}/a.png")
    assert fs.cat_file(f"{root}/a.png")[:4] == b"\x89PNG"
    assert not [p for p in fs.find(root) if p.endswith(".part")]


def test_a_lost_object_store_is_resumed(command, analysis):
    with serve() as (server, url):
        out = f"{url}/bucket/a.zarr"
        run(*command, "--out", out)
        whole = dict(server.objects)
        for puts in (3, len(whole) - 3):
            server.objects.clear()
            server.puts_left = puts
            assert "failed" in run(*command, "--out", out, code=3)
            server.lost, server.puts_left = False, -1
            run(*command, "--out", out, "--resume")
            got, want = files.open_data(out), xr.open_zarr(analysis)
            np.testing.assert_array_equal(got["t"], want["t"])
            assert set(server.objects) == set(whole)


def test_several_netcdf_files_are_one(folder, truth, tmp_path):
    truth[["t"]].isel(time=slice(2)).to_netcdf(tmp_path / "1.nc")
    truth[["t"]].isel(time=slice(2, 4)).to_netcdf(tmp_path / "2.nc")
    xr.testing.assert_equal(files.open_data(f"{tmp_path}/*.nc").compute(), truth[["t"]])


def test_tutorials_are_data():
    xr.testing.assert_identical(files.open_data("tutorial:speedy").compute(), xslams.open_tutorial())


@pytest.mark.parametrize("name", ["text.nc", "text.zarr", "text"])
def test_what_is_no_data_is_refused(tmp_path, name):
    (tmp_path / name).write_text("hello")
    with pytest.raises(FileError, match=f"{name} cannot be opened as zarr or netCDF"):
        files.open_data(str(tmp_path / name))


@pytest.mark.parametrize("name", ["stations.csv", "REPORTS.TXT"])
def test_a_table_is_refused_with_the_way_to_netcdf(tmp_path, name):
    path = tmp_path / name
    path.write_text("id,time,lat,lon,tavg\nA1,2003-12-15,47.4,8.6,-0.4\nB7,2003-12-16,-33.9,151.2,22.8\n")
    with pytest.raises(FileError, match=rf"{name} is a table.*read_csv.*to_netcdf"):
        files.open_data(str(path))
    # What the message says works.
    table = pd.read_csv(path, parse_dates=["time"]).to_xarray().set_coords(["time", "lat", "lon"])
    table["tavg"].attrs["units"] = "degC"
    table.to_netcdf(tmp_path / "reports.nc")
    assert files.open_data(str(tmp_path / "reports.nc"))["tavg"]["time"].dtype.kind == "M"


def test_an_unfinished_store_is_no_data(analysis, tmp_path):
    import shutil

    copy = tmp_path / "a.zarr"
    shutil.copytree(analysis, copy)
    meta = json.loads((copy / "zarr.json").read_text())
    meta["attributes"]["xslams_complete"] = 0
    (copy / "zarr.json").write_text(json.dumps(meta))
    assert "is not complete" in run("plot", copy, "--out", tmp_path / "a.png", code=1)


class Disk:
    """Lets writing succeed a number of times, and then the disk is full."""

    def __init__(self, monkeypatch, owner, name, after):
        self.left, original = after, getattr(owner, name)

        def write(*args, **kwargs):
            if self.left == 0:
                raise OSError(28, "No space left on device")
            self.left -= 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, write)


@pytest.mark.parametrize("suffix", ["zarr", "nc", "png"])
@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_leaves_what_was_there(analysis, folder, tmp_path, monkeypatch, suffix, before):
    from matplotlib.figure import Figure

    out = tmp_path / f"a.{suffix}"
    args = ["plot", analysis] if suffix == "png" else ["regrid", folder / "truth.zarr", "--target", "tutorial:speedy"]
    if before:
        run(*args, "--out", out)
    content = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    owner, name = {"zarr": (xr.Dataset, "to_zarr"), "nc": (xr.Dataset, "to_netcdf"), "png": (Figure, "savefig")}[suffix]
    Disk(monkeypatch, owner, name, 0)
    assert "No space left" in run(*args, "--out", out, "--overwrite", code=3)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == content


def test_an_object_store_that_fails_on_the_way_holds_no_store(truth, monkeypatch):
    fs = fsspec.filesystem("memory")
    files.write_data(truth, "memory://torn/whole.zarr")
    count = len(fs.find("/torn/whole.zarr"))
    for after in (0, count // 2, count - 1):
        with monkeypatch.context() as context:
            Disk(context, type(fs), "put_file", after)
            with pytest.raises(FileError, match="No space left"):
                files.write_data(truth, "memory://torn/half.zarr")
        assert "/torn/half.zarr/zarr.json" not in fs.find("/torn")
        with pytest.raises(FileError):
            files.open_data("memory://torn/half.zarr")
    files.write_data(truth, "memory://torn/half.zarr")
    xr.testing.assert_equal(files.open_data("memory://torn/half.zarr").compute(), truth)


# ------------------------------------------------------------------------------------------------------ exit codes


def test_an_error_of_our_own_has_a_traceback(monkeypatch, tmp_path):
    def broken(*args, **kwargs):
        raise RuntimeError("oops")

    monkeypatch.setattr(files, "open_data", broken)
    output = run("plot", "a.zarr", "--out", tmp_path / "a.png", code=70)
    assert "RuntimeError: oops" in output
    assert "please report" in output


def test_a_warning_is_a_line(tmp_path, folder, tiny_model, monkeypatch):
    import warnings

    def warned(path, **kwargs):
        warnings.warn("mind the gap", xslams.errors.SlamsWarning, stacklevel=1)
        raise FileError("stop")

    monkeypatch.setattr(files, "open_data", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        output = run("plot", "a.zarr", "--out", tmp_path / "a.png", code=1)
    assert "warning: mind the gap\n" in output


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing_or_is_resumed(command, analysis, tmp_path, fresh_python, sent, code):
    # Every region waits, so that the signal comes while the run is under way. Jobs in the background are born deaf to
    # Ctrl-C; and a thread that starts at that very moment may take the signal away from the main one, which sleeps on.
    slow = (
        "import signal, sys, time, xslams.pipeline.segment as p\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(*a, **k):\n    time.sleep(1); print('begun', flush=True); time.sleep(3600)\n"
        "p.analyse = wait\n"
        "from xslams.cli import main; main(sys.argv[1:])"
    )
    kind = "a.nc" if code == 143 else "a.zarr"
    args = [str(a) for a in [*command, "--out", tmp_path / kind]]
    with subprocess.Popen([fresh_python, "-c", slow, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"begun\n"
            process.send_signal(sent)
            _, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == code, stderr
    if kind == "a.nc":
        assert os.listdir(tmp_path) == []
    else:
        assert "is not complete" in run("plot", tmp_path / kind, "--out", tmp_path / "a.png", code=1)
        run(*args, "--resume")
        np.testing.assert_array_equal(xr.open_zarr(tmp_path / kind)["t"], xr.open_zarr(analysis)["t"])


@pytest.mark.parametrize("out", ["a.zarr", "a.nc"])
def test_a_report_comes_with_the_analysis(command, analysis, tmp_path, truth, tiny_model, out):
    run(*command, "--out", tmp_path / out, "--report")
    ds = files.open_data(str(tmp_path / out))
    np.testing.assert_array_equal(ds["t"], xr.open_zarr(analysis)["t"])
    table = ds.slams.report().load()
    assert int(table.used.sum()) == 4 * 8 * 8
    np.testing.assert_array_equal(table.used, expected(truth, tiny_model, report=True).slams.report().used)
    if out == "a.zarr":
        run(*command, "--out", tmp_path / out, "--report", "--resume")
        assert "belongs to another run" in run(*command, "--out", tmp_path / out, "--resume", code=1)


def test_the_page_shows_every_command_and_exit_code():
    page = (ROOT / "docs" / "cli.md").read_text()
    assert "describe(main.commands[name])" in page  # the tables of options are made when the page is built
    assert "EXIT_CODES" in page
    for name in [*COMMANDS, *main.commands["models"].commands]:
        assert re.search(rf"\b{name}\b", page), name
    assert set(EXIT_CODES) >= {0, 1, 2, 3, 4, 70, 130, 143}
    for command in COMMANDS.values():
        for parameter in describe(command).values():
            assert getattr(parameter, "help", None), f"{command.name} {parameter.name}"


# ------------------------------------------------------------------------------------- check, report, encode, decode


def test_check_prints_and_writes_what_the_accessor_finds(command, folder, truth, tiny_model, tmp_path):
    known = truth[["t"]].slams.check(
        xslams.Observation(truth["pr"].where(truth["lon"] < 180), error=0.5), tiny_model, background_error={"t": 1.0}
    )
    args = ["check", *command[1:6], "--background-error", "t=1"]
    text = run(*args, "--out", tmp_path / "a.json")
    rows = dict(line.rsplit(None, 2)[:2] for line in text.splitlines()[1:])
    assert int(float(rows["used"])) == int(known.used.sel(source="pr"))
    written = xr.Dataset.from_dict(json.loads((tmp_path / "a.json").read_text()))
    np.testing.assert_allclose(written.innovation_std, known.innovation_std)
    assert "exists" in run(*args, "--out", tmp_path / "a.json", code=1)
    assert "expected .zarr, .nc, .json" in run(*args, "--out", tmp_path / "a.txt", code=2)


def test_report_is_that_of_the_analysis(command, analysis, tmp_path):
    run(*command, "--out", tmp_path / "a.nc", "--report")
    text = run("report", tmp_path / "a.nc", "--out", tmp_path / "report.nc")
    assert "innovation_std after" in text
    known = xr.open_dataset(tmp_path / "a.nc").slams.report()
    np.testing.assert_array_equal(xr.open_dataset(tmp_path / "report.nc").used, known.used)
    assert "report=True" in run("report", analysis, code=1)


@pytest.mark.parametrize("kind", ["zarr", "nc"])
def test_what_was_encoded_is_decoded(folder, truth, tiny_model, tmp_path, kind):
    latent, fields = tmp_path / f"z.{kind}", tmp_path / f"x.{kind}"
    run("encode", folder / "background.nc", "--model", tiny_model.path, "--out", latent, "--no-progress")
    assert run("decode", latent, "--out", fields, "--no-progress") == f"{fields}\n"
    known = truth[["t"]].slams.encode(tiny_model).slams.decode()
    decoded = files.open_data(str(fields))
    assert set(decoded.data_vars) == set(known.data_vars)
    np.testing.assert_allclose(decoded["t"], known["t"], rtol=1e-6)
    run("decode", latent, "--out", latent, "--overwrite", code=1)  # what is read is not replaced


# ---------------------------------------------------------------------------------------------------------- quality

QUALITY = st.fixed_dictionaries(
    {},
    optional={
        "thin": st.integers(1, 1000).map(float),
        "superob": st.booleans(),
        "background_check": st.one_of(st.none(), st.just("gross"), st.integers(1, 30).map(float)),
        "robust": st.sampled_from([None, "huber", "student-t"]),
        "flags": st.one_of(st.just(False), st.lists(st.sampled_from(["good", "suspect", "raw"]), min_size=2)),
        "representativeness": st.one_of(st.just("auto"), st.integers(0, 9).map(float)),
    },
)


@settings(max_examples=15)
@given(QUALITY)
def test_quality_control_is_said_in_words(qc):
    def word(value):
        return "+".join(map(str, value)) if isinstance(value, list) else str(value).lower()

    text = ",".join(["gauges.nc", *(f"qc.{key}={word(value)}" for key, value in qc.items())])
    source = sources.ObservationType().convert(text, None, None)
    assert source.get("qc", {}) == qc
    assert xslams.QualityControl.of(source.get("qc")) == xslams.QualityControl(**qc)


@pytest.mark.parametrize("setting", ["qc.thinn=3", "qc.thin=far", "qc.robust=yes", "qc.superob=-1", "qc=3"])
def test_wrong_quality_control_is_an_error_of_usage(setting):
    with pytest.raises(click.BadParameter, match="qc"):
        sources.ObservationType().convert(f"gauges.nc,{setting}", None, None)


# ------------------------------------------------------------------------------------------------------- completion


@pytest.mark.parametrize(("words", "expected"), [("xslams ass", "assimilate"), ("xslams encode --mo", "--model")])
def test_the_shell_completes(words, expected):
    given = {"_XSLAMS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    code = "from xslams.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | given, timeout=120, check=False
    )
    assert expected in done.stdout, done.stderr
    page = (ROOT / "docs" / "cli.md").read_text()
    assert all(f"_XSLAMS_COMPLETE={shell}_source xslams" in page for shell in ("bash", "zsh", "fish"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("assimilate: {seed: 2001-01-01}", r"'2001-01-01' is not a valid whole number"),
        ("assimilate: {members: .nan}", r"'nan' is not a valid whole number"),
        ("3", r"expected sections .*; got the number 3\."),
        ("assimilate: !!binary aGVsbG8=", r"got binary data b'hello'"),
        ("assimilate: !!set {a, b}", r"got a set \{'"),
    ],
)
def test_messages_of_configurations_say_what_was_got(tmp_path, given, said):
    (tmp_path / "run.yaml").write_text(given)
    assert re.search(said, run("assimilate", "--config", tmp_path / "run.yaml", code=2))


def test_a_period_that_is_none_is_named_by_its_options(command, tmp_path):
    assert "--start 2001-13 cannot be read" in run(*command, "--out", tmp_path / "a.zarr", "--start", "2001-13", code=1)

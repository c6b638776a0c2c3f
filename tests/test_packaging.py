"""One truth in all files about packages: versions, bounds, commands and the changelog agree."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Names on conda-forge, where they differ.
CONDA = {"cf-xarray": "cf_xarray", "dask[array]": "dask-core", "torch": "pytorch", "matplotlib": "matplotlib-base"}
VERSION = r"[0-9]{1,4}(\.[0-9]{1,2}){0,2}"

pytestmark = pytest.mark.skipif(not (ROOT / "conda").exists(), reason="this copy has only what a package needs")


def text(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.fixture(scope="module")
def lowest():
    spec = importlib.util.spec_from_file_location("lowest", ROOT / ".ci" / "lowest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.lowest


def test_every_requirement_has_a_lowest_version(lowest) -> None:
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["plot"]]
    assert all(lowest(r) for r in needed)


@settings(max_examples=10)
@given(
    st.sampled_from(["dask", "cf-xarray", "ruamel.yaml", "my_package", "h5py"]), st.from_regex(VERSION, fullmatch=True)
)
def test_bounds_become_pins(lowest, name: str, version: str) -> None:
    pin = f"{name}=={version}"
    for requirement in (f"{name}>={version}", f"{name}[one,two] >= {version}", f" {name}>={version},<99"):
        assert lowest(requirement) == pin
    assert lowest(name) is None


def test_recipe_has_the_requirements_of_the_metadata() -> None:
    recipe = yaml.safe_load(text("conda/recipe.yaml"))
    assert recipe["context"]["version"] == PROJECT["version"]
    run = dict(r.split(" ") for r in recipe["requirements"]["run"])
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["plot"], *extras["xesmf"], f"python{PROJECT['requires-python']}"]
    parts = [r.split(">=") for r in wanted]
    assert run == {CONDA.get(name, name): f">={version}" for name, version in parts}


def test_workflow_does_what_is_run_before_a_merge_on_every_promised_python() -> None:
    jobs = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]
    commands = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    assert {"bash .ci/run", "make packages", "make lowest"} <= commands
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert jobs["packages"]["strategy"]["matrix"]["python"] == promised


def test_image_is_built_by_the_commands_of_the_readme() -> None:
    commands = re.search(r"## Try it\s+```shell\n(.*?)```", text("README.md"), re.DOTALL).group(1).split("\n")
    built = [line.removeprefix("RUN ") for line in text("Dockerfile").splitlines() if line.startswith("RUN make")]
    assert built == [c for c in commands if c]


def test_changelog_is_dated_by_one_line() -> None:
    headings = re.findall(r"^## (.*)$", text("CHANGELOG.md"), re.MULTILINE)
    version = PROJECT["version"].partition(".dev")[0]
    assert re.fullmatch(rf"Unreleased \({re.escape(version)}\)|{re.escape(version)} - \d{{4}}-\d\d-\d\d", headings[0])


def test_citation_is_complete() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == PROJECT["license"]
    assert [a["name"] for a in citation["authors"]] == [a["name"] for a in PROJECT["authors"]]


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.name)
def test_templates_of_reports_are_forms(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    assert all({"type", "attributes"} <= set(part) for part in form["body"])

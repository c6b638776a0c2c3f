"""Function forms: one for each method, with its signature, documentation and results; types are checked in scripts."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams import functions
from xslams.accessor import SlamsAccessor
from xslams.errors import OptionError

ROOT = Path(__file__).parents[1]
# These have modules of the same name, whose functions are their function forms.
IN_MODULES = {"plot": "panels", "regrid": "regrid"}

# Only what stands between a script and the signatures is read: xarray and torch take a minute, and are Any here.
SETTINGS = """
[mypy]
strict = True
follow_imports = skip
[mypy-xslams,xslams.accessor,xslams.functions,xslams.model,xslams.observations.*,xslams.options,xslams.typing,xslams.zoo.*]
follow_imports = silent
[mypy-xslams.plot.base,xslams.plot.plotter]
follow_imports = silent
"""

RIGHT = """
import xarray as xr

import xslams
from xslams.plot.plotter import Plotter

background: xr.Dataset = xslams.open_tutorial()
satellite = xslams.Observation(background["olr"], error=5.0)
counts: xr.Dataset = xslams.check(background, satellite, "speedy-t30", background_error={"t": 1.0})
analysis: xr.Dataset = xslams.assimilate(background, [satellite], model="speedy-t30", members=4, seed=1, report=True)
table: xr.Dataset = xslams.report(analysis)
scores: xr.Dataset = xslams.score(analysis, background, dims=["time"])
model: xslams.Model = xslams.fit(background, ["pr", "olr"], epochs=0, budget=None)
fields: xr.Dataset = xslams.decode(xslams.encode(background, model), device="cpu")
stored: xr.Dataset = xslams.to_zarr(analysis, "analysis.zarr", resume=True)
Plotter(analysis)(background, [satellite], variable="t", level=500.0, kind="maps")
"""

WRONG = """
xslams.assimilate(background, [satellite], "speedy-t30", members="four")
xslams.assimilate(background, [satellite], "speedy-t30", member=4)
xslams.assimilate(background, [satellite], "speedy-t30", steps=None)
xslams.assimilate(background, [satellite], "speedy-t30", precision="float16")
xslams.score(analysis)
Plotter(analysis)(background, level="500 hPa")
Plotter(analysis)(background, levels=500.0)
xslams.encode(background, 3)
xslams.fit(background, window="5")
xslams.to_zarr(analysis, "analysis.zarr", resume="yes")
"""


def methods() -> dict[str, object]:
    return {k: v for k, v in vars(SlamsAccessor).items() if inspect.isfunction(v) and not k.startswith("_")}


def test_every_method_has_its_function_form() -> None:
    assert set(functions.__all__) == set(methods()) - set(IN_MODULES)
    for name in functions.__all__:
        assert getattr(xslams, name) is getattr(functions, name)
        assert name in xslams.__all__
    for module, function in IN_MODULES.items():
        assert callable(getattr(getattr(xslams, module), function))


@pytest.mark.parametrize("name", functions.__all__)
def test_there_is_one_signature_and_one_documentation(name: str) -> None:
    method, function = getattr(SlamsAccessor, name), getattr(functions, name)
    (_, *expected), (first, *rest) = (list(inspect.signature(f).parameters.values()) for f in (method, function))
    assert rest == expected
    assert first.name == "ds"
    assert first.kind is inspect.Parameter.POSITIONAL_ONLY
    lines = inspect.getdoc(function).splitlines()
    documented = inspect.getdoc(method).partition("\nExamples\n")[0]
    assert set(documented.splitlines()) <= set(lines)
    assert lines.index("ds : Dataset or DataArray") == lines.index("Parameters") + 2


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 100))
def test_both_forms_give_the_same(members: int, times: int, single: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    coords = {"time": np.arange(times), "lat": [-10.0, 10.0], "lon": [0.0, 120.0, 240.0]}
    truth = xr.DataArray(rng.normal(size=(times, 2, 3)), coords, ("time", "lat", "lon"), name="t")
    analysis = truth + xr.DataArray(rng.normal(size=members), {"member": np.arange(members)}, "member")
    analysis = analysis.rename("t") if single else analysis.to_dataset(name="t")
    xr.testing.assert_identical(xslams.score(analysis, truth), analysis.slams.score(truth))


@pytest.mark.parametrize("wrong", ["background.nc", None, 3, [xr.Dataset()], np.zeros(3)])
def test_what_is_no_data_is_refused(wrong: object) -> None:
    with pytest.raises(OptionError, match="a Dataset or a DataArray"):
        xslams.encode(wrong, "speedy-t30")


def test_mypy_finds_wrong_arguments_and_no_others(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    script, config = tmp_path / "script.py", tmp_path / "mypy.ini"
    script.write_text(RIGHT + WRONG)
    config.write_text(SETTINGS)
    cache = ROOT / ".mypy_cache" / "scripts"
    out, err, _ = api.run(["--config-file", str(config), "--cache-dir", str(cache), str(script)])
    assert not err
    found = {int(line.split(":")[1]) for line in out.splitlines() if ": error:" in line}
    first = RIGHT.count("\n") + 2  # WRONG begins with an empty line
    assert found == set(range(first, first + WRONG.strip().count("\n") + 1)), out

"""An analysis has an engine for all weights; an observation with an engine of its own keeps that."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import xslams
from tests.pipeline.test_assimilate import waves
from xslams.cli import main
from xslams.errors import OptionError
from xslams.pipeline.inputs import Inputs
from xslams.weights.engines import ENGINES, Embedded


@pytest.fixture
def standin():
    """Another engine, with the weights of the package, which remembers that it was asked."""

    class Standin(Embedded):
        version = "1"

        def __init__(self) -> None:
            self.asked = 0

        def weights(self, *args):
            self.asked += 1
            return super().weights(*args)

    engine = Standin()
    ENGINES.register("standin")(engine)
    yield engine
    ENGINES.unregister("standin")


def test_the_engine_of_an_analysis_is_that_of_what_has_none(standin, tiny_model):
    truth = waves(2)
    coarse = truth["t"].isel(level=0).slams.regrid(waves(1).isel(lat=slice(1, 7, 2), lon=slice(0, 16, 3)))
    plain = xslams.Observation(coarse, error=1.0, name="plain")
    own = xslams.Observation(coarse, error=1.0, name="own", engine="embedded")
    named = xslams.Observation(coarse, error=1.0, name="named", engine="standin")
    inputs = Inputs.of(truth, [plain, own, named], tiny_model, 1.0, "standin")
    assert [s.variables[0].engine for s in inputs.sources] == ["standin", "embedded", "standin"]
    assert [v.engine for v in inputs.background.variables] == ["standin"]
    assert [s.engine for s in (plain, own)] == ["auto", "embedded"]
    settings = {"members": 1, "steps": 2}
    expected = truth.slams.assimilate([plain, own], tiny_model, **settings)
    assert standin.asked == 0
    for engine in ("standin", "auto"):
        found = truth.slams.assimilate([plain, own], tiny_model, **settings, engine=engine)
        np.testing.assert_array_equal(found["t"], expected["t"])
        assert standin.asked == 1 and found.attrs["xslams_engine"] == engine
    assert int(truth.slams.check(plain, tiny_model, engine="standin").used.sum()) > 0


@pytest.mark.parametrize("engine", ["esmf", None, 3, ["xesmf"], ""])
@pytest.mark.parametrize("verb", ["assimilate", "check"])
def test_unknown_engines_are_refused_at_the_call(tiny_model, verb, engine):
    with pytest.raises(OptionError, match=r"Unknown engine .*'embedded'"):
        getattr(waves(1).slams, verb)([], tiny_model, engine=engine)


def test_the_command_line_has_it():
    args = ["assimilate", "a.nc", "--obs", "b.nc,engine=embedded", "--model", "m", "--out", "c.zarr"]
    result = CliRunner().invoke(main, [*args, "--engine", "xesmf", "--print-config"])
    assert yaml.safe_load(result.output)["assimilate"]["engine"] == "xesmf", result.output
    assert CliRunner().invoke(main, [*args, "--engine", "esmf"]).exit_code == 2

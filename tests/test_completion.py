"""What a person is offered on pressing the tab key: public names, and nothing computed or imported for it."""

from __future__ import annotations

import dask
import pytest
import xarray as xr

import xslams
from xslams.accessor import SlamsAccessor
from xslams.options import GUIDANCE, SAMPLERS
from xslams.plot import PLOTS
from xslams.scores import SCORES


def refuse(*args, **kwargs):
    raise AssertionError("computed for a completion")


def test_the_package_lists_its_public_names():
    assert dir(xslams) == sorted(xslams.__all__)


def test_the_accessor_lists_its_verbs():
    ds = xslams.open_tutorial().isel(time=slice(2)).chunk()
    public = sorted(name for name in vars(SlamsAccessor) if not name.startswith("_"))
    with dask.config.set(scheduler=refuse):
        assert dir(ds.slams) == dir(ds["t"].slams) == dir(xr.Dataset().slams) == public
        assert "slams" in dir(ds)
        assert sorted(dir(ds.slams.plot)) == sorted(PLOTS.names)
        assert all(callable(getattr(ds.slams.plot, name)) for name in dir(ds.slams.plot))


def test_registries_complete_their_keys():
    for registry in (GUIDANCE, SAMPLERS, PLOTS, SCORES):
        assert registry._ipython_key_completions_() == list(registry)


def test_completion_in_a_shell():
    """As IPython asks of objects that it may evaluate."""
    module = pytest.importorskip("IPython.core.completer")
    accessor = xslams.open_tutorial().isel(time=slice(2)).chunk().slams
    names = {"xslams": xslams, "accessor": accessor, "plot": accessor.plot}
    completer = module.Completer(namespace=names)
    with dask.config.set(scheduler=refuse):
        found = completer.attr_matches("xslams.")
        assert "xslams.assimilate" in found and "xslams.accessor" not in found
        found = completer.attr_matches("accessor.")
        # It adds what the class has, and shows what begins with an underscore when that is typed.
        shown = {name for name in found if "._" not in name}
        assert shown == {f"accessor.{name}" for name in dir(accessor)}
        shown = {name for name in completer.attr_matches("plot.") if "._" not in name}
        assert shown == {f"plot.{name}" for name in PLOTS.names}

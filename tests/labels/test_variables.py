"""Variables of a model in a Dataset."""

from __future__ import annotations

import pytest

from tests.problems.states import SPEC, state
from xslams.errors import VariableError
from xslams.labels.variables import match_variables


def test_match_by_name_then_standard_name():
    ds = state().rename(ps="pressure")
    assert match_variables(ds, SPEC.variables) == {"t": "t", "ps": "pressure", "pr": "pr"}


def test_levels_tell_two_temperatures_apart():
    ds = state().rename(t="ta")
    ds["tas"] = ds.ta.isel(plev=0, drop=True)
    assert match_variables(ds, SPEC.variables[:1]) == {"t": "ta"}


def test_same_name_of_another_quantity_does_not_match():
    ds = state()
    ds["pr"].attrs["standard_name"] = "air_pressure"
    with pytest.raises(VariableError, match="the one of this name is 'air_pressure'"):
        match_variables(ds, SPEC.variables)


def test_every_missing_variable_is_listed():
    with pytest.raises(VariableError, match=r"(?s)'t' \(K\).*'ps' \(hPa\)") as caught:
        match_variables(state()[["pr"]], SPEC.variables)
    assert "ds.rename" in str(caught.value)


def test_ambiguous_variables_are_an_error_even_where_missing_ones_are_not():
    ds = state().rename(ps="a")
    ds["b"] = ds.a
    with pytest.raises(VariableError, match="shared by 'a', 'b'"):
        match_variables(ds, SPEC.variables, allow_missing=True)

"""Cells that never have a value: their text, and the values that stand for them."""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xslams.errors import ModelError
from xslams.masks import filled, nearest_known, packed, unpacked
from xslams.spec import Spec, VariableSpec

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)
LAT, LON = (-40.0, 0.0, 40.0), (0.0, 90.0, 180.0, 270.0)


def spec(masked: np.ndarray, **variable: object) -> Spec:
    """Model of a state and an auxiliary variable."""
    state = VariableSpec("t", "K", masked=packed(masked), **variable)
    return Spec((state, VariableSpec("pr", "mm", "aux")), LAT, LON, periodic=True)


@given(hnp.arrays(bool, SHAPES))
def test_a_mask_is_what_was_packed(masked: np.ndarray) -> None:
    text = packed(masked)
    assert (text == "") == (not masked.any())
    np.testing.assert_array_equal(unpacked(text, masked.shape), masked)


@given(hnp.arrays(bool, (1, 3, 4)).filter(lambda m: not m.all()))
def test_a_model_keeps_its_mask_in_its_header(masked: np.ndarray) -> None:
    found = Spec.from_json(spec(masked).to_json())
    assert found == spec(masked)
    if masked.any():
        assert found.masked is not None
        np.testing.assert_array_equal(found.masked[:1], masked)
        assert not found.masked[1:].any()
    else:
        assert found.masked is None
        assert "masked" not in spec(masked).to_json()


DAMAGED = {
    "no text": 3,
    "no base64": "???",
    "not compressed": base64.b64encode(b"mask").decode(),
    "too short": base64.b64encode(zlib.compress(b"1")).decode(),
    "too long": base64.b64encode(zlib.compress(b"1" * 10**6)).decode(),
    "everything": packed(np.ones((1, 3, 4), bool)),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_mask_is_refused(text: object) -> None:
    whole = spec(np.zeros((1, 3, 4), bool))
    damaged = replace(whole, variables=(replace(whole.variables[0], masked=text), whole.variables[1]))
    with pytest.raises(ModelError, match="mask"):
        Spec.from_json(damaged.to_json())
    assert "3 x 4" in repr(damaged)


def test_a_mask_of_an_auxiliary_variable_is_refused() -> None:
    masked = np.zeros((1, 3, 4), bool)
    masked[0, 0, 0] = True
    state, aux = spec(masked).variables
    with pytest.raises(ModelError, match="'pr': masked"):
        Spec.from_json(replace(spec(masked), variables=(state, replace(aux, masked=state.masked))).to_json())


@given(hnp.arrays(bool, (2, 3, 4)).filter(lambda m: not m.all((1, 2)).any()), st.integers(0, 2**32 - 1))
def test_a_masked_cell_gets_a_value_of_its_level_from_no_further_than_needed(masked: np.ndarray, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(5, 2, 3, 4)).astype(np.float32)
    whole = np.where(masked, np.nan, values)
    found = filled(whole, nearest_known((packed(masked),), (2,), LAT, LON, globe=True))
    np.testing.assert_array_equal(found[:, ~masked], values[:, ~masked])
    lat, lon = (a.ravel() for a in np.meshgrid(np.deg2rad(LAT), np.deg2rad(LON), indexing="ij"))
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    apart = np.arccos(np.clip(xyz @ xyz.T, -1, 1)).round(6)
    for level, cell in np.argwhere(masked.reshape(2, -1)):
        known = np.flatnonzero(~masked[level].ravel())
        nearest = known[apart[cell, known] == apart[cell, known].min()]
        candidates = values[:, level].reshape(5, -1)[:, nearest].T
        assert any(np.array_equal(found[:, level].reshape(5, -1)[:, cell], c) for c in candidates)
    assert np.isnan(whole).any() == masked.any()  # what was given is left as it is


def test_fields_without_masked_cells_are_not_copied() -> None:
    fields = np.zeros((2, 3, 4), np.float32)
    assert spec(np.zeros((1, 3, 4), bool)).filled(fields) is fields
    masked = np.zeros((1, 3, 4), bool)
    masked[0, 1, 2] = True
    found = spec(masked).without_masked(np.ones((2, 1, 3, 4), np.float32))
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(masked, found.shape))
    assert "8% masked" in repr(spec(masked))

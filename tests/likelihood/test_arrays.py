"""Likelihoods cut, shifted in time and joined predict the same values."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from xslams.likelihood import Boxes, ErrorModel, SourceLikelihood


def source(n: int = 6, frames: int = 4, size: int = 5, seed: int = 0) -> SourceLikelihood:
    rng = np.random.default_rng(seed)
    matrix = sp.csr_array(sp.random_array((n, frames * size), density=0.3, rng=rng))
    boxes = Boxes(place=np.arange(n), mean=np.arange(n) % 2)
    return SourceLikelihood("a", matrix, rng.normal(size=n), ErrorModel(rng.uniform(1, 2, n)), boxes=boxes)


def test_some_values_keep_their_rows():
    whole = source()
    chosen = np.arange(6) % 3 > 0
    part = whole.keep(chosen)
    field = np.random.default_rng(1).normal(size=20)
    np.testing.assert_array_equal(part.matrix @ field, (whole.matrix @ field)[chosen])
    np.testing.assert_array_equal(part.errors.variance, whole.errors.variance[chosen])
    np.testing.assert_array_equal(part.boxes.place, np.flatnonzero(chosen))
    assert part.boxes.thin is None


def test_frames_that_are_added_are_not_observed():
    whole = source()
    longer = whole.shifted(2, 1, frames=4)
    field = np.random.default_rng(1).normal(size=(7, 5))
    np.testing.assert_array_equal(longer.matrix @ field.ravel(), whole.matrix @ field[2:6].ravel())
    assert whole.shifted(0, 0, frames=4) is whole


def test_variables_of_a_source_are_joined():
    one, two = source(seed=0), source(n=3, seed=1)
    both = SourceLikelihood.joined("both", [one, two])
    field = np.random.default_rng(2).normal(size=20)
    np.testing.assert_array_equal(both.matrix @ field, np.concatenate([one.matrix @ field, two.matrix @ field]))
    assert (both.name, both.size, both.boxes.place.size) == ("both", 9, 9)

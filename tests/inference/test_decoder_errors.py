"""What a model adds to the errors of observations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch

from xslams.inference.arrays import complete_errors
from xslams.inference.operators import FieldOperator
from xslams.likelihood import ErrorModel, SourceLikelihood
from xslams.model import Model

SEASON = np.arange(3) / 365.25


def source(model: Model, channels: list[int], *, function=None, seed: int = 0) -> SourceLikelihood:
    """Random cells of some channels."""
    rng = np.random.default_rng(seed)
    all_channels, lat, lon = model.spec.frame_shape
    n, count = 20, 1 if function is not None else all_channels
    cell, frame = rng.integers(0, lat * lon, n), rng.integers(0, 3, n)
    channel = np.zeros(n, int) if function is not None else rng.choice(channels, n)
    columns = (frame * count + channel) * lat * lon + cell
    matrix = sp.csr_array((np.ones(n), (np.arange(n), columns)), shape=(n, 3 * count * lat * lon))
    return SourceLikelihood("a", matrix, rng.gamma(2, 2, n), ErrorModel(np.ones(n)), function)


def test_what_goes_through_a_transform_has_twice_the_variance(tiny_model):
    curved = tiny_model.prior().fields(torch.as_tensor(SEASON, dtype=torch.float32)).curved.numpy()
    assert curved.any() and not curved.all()
    for channels in (np.flatnonzero(curved), np.flatnonzero(~curved)):
        (made,) = complete_errors(tiny_model, [source(tiny_model, channels.tolist())], SEASON, "cpu")
        np.testing.assert_array_equal(made.errors.inflation, 2.0 if curved[channels[0]] else 1.0)


def test_cells_see_what_the_decoder_leaves_out_of_them(tiny_model):
    fields = tiny_model.prior().fields(torch.as_tensor(SEASON, dtype=torch.float32))
    seen = source(tiny_model, [0])
    (made,) = complete_errors(tiny_model, [seen], SEASON, "cpu")
    np.testing.assert_allclose(made.errors.decoder, (seen.matrix @ fields.residual().numpy().ravel()) ** 2, rtol=1e-5)


def test_each_source_gets_its_own_and_keeps_its_place(tiny_model):
    temperature, rain = source(tiny_model, [0], seed=0), source(tiny_model, [2], seed=1)
    mean = source(tiny_model, [], function=lambda f: f["t"].mean(dim=2), seed=2)
    empty = replace(temperature.keep(np.zeros(20, bool)))
    made = complete_errors(tiny_model, [mean, temperature, empty, rain], SEASON, "cpu")
    assert [m.errors.complete for m in made] == [True, True, False, True]
    np.testing.assert_array_equal(made[0].errors.inflation, 1.0)
    np.testing.assert_array_equal(made[3].errors.inflation, 2.0)
    fields = tiny_model.prior().fields(torch.as_tensor(SEASON, dtype=torch.float32))
    operator = FieldOperator(fields, [made[1], made[3]])
    expected = np.concatenate([made[1].errors.variance, made[3].errors.variance])
    np.testing.assert_array_equal(operator.variance.numpy(), expected)
    # Errors that are complete are left as they are.
    assert complete_errors(tiny_model, made, SEASON, "cpu")[1] is made[1]


def test_rain_where_more_was_observed_is_less_certain(tiny_model):
    """A transform is linearised at what was observed, by all sources together."""
    one, two = source(tiny_model, [2], seed=0), source(tiny_model, [2], seed=0)
    alone = complete_errors(tiny_model, [one], SEASON, "cpu")[0].errors.decoder
    wet = complete_errors(tiny_model, [one, replace(two, values=two.values + 20)], SEASON, "cpu")[0].errors.decoder
    assert (wet > alone).all()

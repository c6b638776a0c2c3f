"""What single precision cannot hold next to other values is refused before anything is solved."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import xarray as xr
from azula.denoise import GaussianDenoiser
from azula.linalg.covariance import DiagonalCovariance
from azula.noise import VESchedule
from hypothesis import given, settings
from hypothesis import strategies as st

import xslams
from xslams.errors import ObservationError
from xslams.inference import sample_posterior
from xslams.inference.magnitudes import require_solvable
from xslams.likelihood import ErrorModel, SourceLikelihood


@settings(max_examples=30)
@given(
    value=st.floats(-1.7e308, 1.7e308) | st.sampled_from([1e6, 1e20, 1e38, 1e39, 1e300, -1e300, 9.96921e36]),
    error=st.floats(1e-9, 1e9),
    sources=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    where=st.integers(0, 2),
)
def test_what_single_precision_cannot_hold_is_refused(value, error, sources, where):
    """An innovation of more than a million errors is an error that names source and value; others are not."""
    parts = [
        SourceLikelihood(f"s{i}", sp.csr_array(np.eye(n)), np.zeros(n), ErrorModel(np.full(n, error**2)))
        for i, n in enumerate(sources)
    ]
    wild = parts[where % len(parts)]
    if wild.size:
        wild.values[-1] = value
    expected = np.zeros(sum(sources), np.float32)
    if wild.size and abs(value) > 1.001e6 * error:
        words = f"Source {wild.name!r}: 1 of {wild.size} values, such as {value:g},"
        with pytest.raises(ObservationError, match=re.escape(words)):
            require_solvable(parts, expected)
    elif abs(value) < 0.999e6 * error:
        require_solvable(parts, expected)


@pytest.mark.parametrize("guidance", ["mmps", "sda", "dps"])
@pytest.mark.parametrize("value", [1e20, 1e38, 1e300])
def test_wild_values_are_refused_before_they_are_solved(tiny_model, value, guidance):
    days = pd.date_range("2001-01-01", periods=4)
    data = xr.DataArray(
        np.full((4, 8, 16), 268.0), dims=("time", "lat", "lon"), name="t",
        coords={"time": days, "lat": list(tiny_model.spec.lat), "lon": list(tiny_model.spec.lon), "level": 850.0},
        attrs={"units": "K", "standard_name": "air_temperature"},
    )  # fmt: skip
    data[1, 2, 3] = value
    grid = data.to_dataset()[["time", "lat", "lon"]]
    obs = xslams.Observation(data, error=1.0, method="nearest", name="gauges", qc={"background_check": None})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ObservationError, match=re.escape(f"Source 'gauges': 1 of 512 values, such as {value:g},")):
            grid.slams.assimilate(obs, tiny_model, members=1, steps=2, guidance=guidance)
        assert np.isfinite(grid.slams.check(obs, tiny_model)["innovation_std"]).all()


@pytest.mark.parametrize("scaled", [10.0, 1e3, 1e5])
def test_one_wild_value_leaves_independent_ones_alone(scaled):
    """Where cells are independent, an innovation of any size that is let through changes no other cell."""
    prior = GaussianDenoiser(torch.zeros(20), DiagonalCovariance(torch.ones(20)), VESchedule(0.01, 100.0))

    def drawn(y):
        generator = torch.Generator().manual_seed(0)
        return sample_posterior(prior, y, lambda z: z, 0.01, shape=(20,), members=2, steps=16, generator=generator)

    others = torch.arange(20) != 3
    y = torch.linspace(-2, 2, 20)
    usual = drawn(y)
    y[3] = scaled
    # A hundredth of the posterior standard deviation.
    assert float((drawn(y) - usual)[:, others].abs().max()) < 1e-3


@settings(max_examples=25)
@given(
    bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e20, -1e30, 3e38]),
    where=st.sampled_from(["y", "cov_y", "start", "operator"]),
    n=st.integers(1, 5),
    cases=st.booleans(),
)
def test_tensors_that_cannot_be_used_are_refused(bad, where, n, cases):
    """Of tensors as of Datasets: what is not finite, or wild, is named before anything is drawn."""
    prior = GaussianDenoiser(torch.zeros(n), DiagonalCovariance(torch.ones(n)), VESchedule(0.01, 100.0))
    given = {"y": torch.zeros(n), "cov_y": torch.ones(n), "start": torch.zeros(2, n)}
    given["y"] = given["y"].expand(2, n).clone() if cases else given["y"]
    if where in given:
        given[where][..., -1] = bad
    operator = (lambda x: x * bad) if where == "operator" else (lambda x: x)
    if np.isfinite(bad) and where != "y":
        return  # a large error, a far start and a strong operator are no faults
    with pytest.raises(xslams.errors.OptionError, match=r"finite|positive|times their error"):
        sample_posterior(
            prior, given["y"], operator, given["cov_y"], shape=(n,), members=2, steps=2, start=given["start"],
            t=torch.tensor([1.0, 0.0]),
        )  # fmt: skip


def test_large_values_that_a_prior_reaches_are_used():
    """A thousandth of a pascal in 100000: many errors away from zero and no wild value."""
    n, std = 2, torch.full((2,), 500.0, dtype=torch.float64)
    prior = GaussianDenoiser(torch.full((n,), 1e5, dtype=torch.float64), DiagonalCovariance(std**2), VESchedule(1, 1e5))
    y = torch.tensor([101325.0, 99000.0], dtype=torch.float64)
    drawn = sample_posterior(prior, y, lambda x: x, 1e-6, shape=(n,), members=2, steps=16)
    assert bool(((drawn - y).abs() < 10.0).all())
    with pytest.raises(xslams.errors.OptionError, match=r"torch\.int64; expected a torch tensor of floating-point"):
        sample_posterior(prior, y.long(), lambda x: x, 1.0, shape=(n,), members=2, steps=2)

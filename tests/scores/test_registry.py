"""A score that somebody registers outside of the package is one of those that the accessor computes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import pytest
import xarray as xr

import xslams
from xslams.errors import OptionError
from xslams.scores import SCORES, register_score, statistics
from xslams.scores.dimensions import average


@pytest.fixture
def hits() -> Iterator[None]:
    """A toy: the share of the area in which the truth lies between the lowest and the highest member."""

    @register_score("hits", ensemble=True)
    def score(analysis: xr.DataArray, truth: xr.DataArray, dims: Sequence[Hashable] | None = None) -> xr.DataArray:
        inside = (truth >= analysis.min("member")) & (truth <= analysis.max("member"))
        return average(inside.astype(float), dims)

    yield
    SCORES.unregister("hits")


@pytest.fixture
def fields() -> tuple[xr.Dataset, xr.Dataset]:
    rng = np.random.default_rng(0)
    lat = xr.DataArray([-60.0, 0.0, 60.0], dims="lat", attrs={"units": "degrees_north"})
    values = xr.DataArray(rng.normal(size=(6, 20, 3, 8)), dims=("member", "time", "lat", "lon"), coords={"lat": lat})
    return values.isel(member=slice(5)).to_dataset(name="t"), values.isel(member=5).to_dataset(name="t")


@pytest.mark.usefixtures("hits")
def test_a_registered_score_is_computed(fields: tuple[xr.Dataset, xr.Dataset]) -> None:
    analysis, truth = fields
    result = analysis.slams.score(truth)
    ends = result["rank_histogram"].isel(rank=[0, -1]).sum()
    np.testing.assert_allclose(result["hits"], 1 - ends)
    # It needs an ensemble, and is left out of the scores of a single field.
    assert "hits" not in analysis.isel(member=0).slams.score(truth)


def test_a_score_is_gone_once_it_is_unregistered(fields: tuple[xr.Dataset, xr.Dataset]) -> None:
    analysis, truth = fields
    assert "hits" not in SCORES
    assert set(analysis.slams.score(truth).data_vars) == set(SCORES.names)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(OptionError, match="score 'rmse' is registered already"):
        register_score("rmse")(xslams.scores.bias)


def test_metrics_are_made_of_averages_of_statistics(fields: tuple[xr.Dataset, xr.Dataset]) -> None:
    analysis, truth = (ds["t"] for ds in fields)
    result = xslams.scores.score(analysis, truth)
    for name, statistic in (("crps", statistics.crps_of_members), ("bias", statistics.error)):
        xr.testing.assert_allclose(result[name], average(statistic(analysis, truth), None).rename(name))
    np.testing.assert_allclose(result["rmse"] ** 2, average(statistics.squared_error(analysis, truth), None))

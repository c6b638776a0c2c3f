"""The sampling error of scores is that of scores of many realizations."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xslams.errors import OptionError
from xslams.scores import score


def ensemble(seed: int, times: int = 40) -> tuple[xr.DataArray, xr.DataArray]:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(6, times, 1)) + 0.5 * rng.normal(size=(6, times, 5))
    lon = xr.DataArray(np.arange(5) * 72.0, dims="lon", attrs={"units": "degrees_east"})
    field = xr.DataArray(noise, {"lon": lon, "time": np.arange(times)}, ("member", "time", "lon"), name="t")
    return field.isel(member=slice(1, None)).assign_attrs(units="K"), field.isel(member=0, drop=True)


def test_uncertainty_is_the_spread_over_realizations():
    scored = [score(*ensemble(seed), uncertainty=True) for seed in range(8)]
    for name in ("rmse", "bias", "crps", "spread", "spread_skill"):
        true = np.std([float(s[name]) for s in scored], ddof=1)
        said = np.mean([float(s[f"{name}_uncertainty"]) for s in scored])
        assert 0.4 < said / true < 2.5, name


def test_scores_stay_what_they_are_and_uncertainty_is_lazy():
    analysis, truth = ensemble(0)
    plain, more = score(analysis, truth), score(analysis, truth, uncertainty=True)
    xr.testing.assert_identical(more[list(plain.data_vars)], plain)
    assert more["rmse_uncertainty"].attrs["long_name"].startswith("sampling error of the root mean square error")
    assert more["rank_histogram_uncertainty"].dims == ("rank",)
    lazy = score(analysis.chunk(time=20), truth, uncertainty=True)
    assert lazy["rmse_uncertainty"].chunks is not None
    np.testing.assert_allclose(lazy["rmse_uncertainty"].compute(), more["rmse_uncertainty"])


def test_without_a_mean_over_time_there_is_none_and_few_times_know_nothing():
    analysis, truth = ensemble(0)
    assert not [n for n in score(analysis, truth, dims=["lon"], uncertainty=True) if str(n).endswith("uncertainty")]
    assert np.isnan(score(analysis[:, :3], truth[:3], uncertainty=True)["rmse_uncertainty"])
    with pytest.raises(OptionError, match="uncertainty="):
        score(analysis, truth, uncertainty="yes")

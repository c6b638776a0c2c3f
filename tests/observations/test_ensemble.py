"""Ensembles as backgrounds: what is taken of them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.problems.observed import SPEC, state
from xslams import BackgroundError
from xslams.errors import ObservationOptionError
from xslams.observations import BoundSource, background_observation, bound_background, members_of, spread_of


def ensemble(count: int, std: float = 2.0, dim: str = "member", seed: int = 1) -> xr.Dataset:
    """States that differ in temperature."""
    rng, ds = np.random.default_rng(seed), state()[["t"]]
    noise = xr.DataArray(rng.normal(0, std, (count, *ds["t"].shape)), dims=(dim, *ds["t"].dims))
    whole = ds + noise
    whole["t"].attrs = ds["t"].attrs
    return whole.transpose("time", "level", dim, "lat", "lon").assign_coords({dim: np.arange(count)})


@settings(max_examples=4, deadline=None)
@given(count=st.integers(2, 5), std=st.sampled_from([1e-3, 1.0, 50.0]), lazy=st.booleans())
def test_mean_members_and_spread_do_not_depend_on_chunks(count, std, lazy):
    whole = ensemble(count, std)
    given_ = whole.chunk(time=1, member=1) if lazy else whole
    mean, members = members_of(given_)
    assert len(members) == count
    assert all("member" not in each.dims and "member" not in each.coords for each in (mean, *members))
    np.testing.assert_allclose(mean["t"], whole["t"].mean("member"), rtol=1e-12)
    np.testing.assert_array_equal(members[1]["t"], whole["t"].isel(member=1))
    found = spread_of(given_).std["t"]
    own = whole["t"].var("member", ddof=1) * (count + 1) / count
    weight = 2 / (count + 3)
    exact = np.sqrt((1 - weight) * own + weight * own.mean(["lat", "lon"]))
    np.testing.assert_allclose(found.transpose(*exact.dims), exact, rtol=1e-9)
    np.testing.assert_array_equal(mean["t"], members_of(whole)[0]["t"])
    np.testing.assert_array_equal(found, spread_of(whole).std["t"])


def test_members_are_known_by_their_standard_name():
    whole = ensemble(2, dim="number")
    assert members_of(whole)[1] == []
    whole["number"].attrs["standard_name"] = "realization"
    assert len(members_of(whole)[1]) == 2
    assert members_of(state())[1] == []


def test_what_is_no_ensemble_is_refused():
    whole = ensemble(3)
    with pytest.raises(ObservationOptionError, match=r"has 1 member.*expected two or more.*isel\(member=0\)"):
        members_of(whole.isel(member=[0]))
    gap = whole.copy(deep=True)
    gap["t"].loc[{"member": 2, "lat": gap["lat"][0]}] = np.nan
    with pytest.raises(ObservationOptionError, match="144 of 1152 values are missing in member 2"):
        members_of(gap)
    with pytest.raises(ObservationOptionError, match="the same in members 0 and 2"):
        members_of(whole.isel(member=[0, 1, 0]))
    with pytest.raises(ObservationOptionError, match="localization=-1"):
        BackgroundError(1.0, localization=-1)
    with pytest.raises(ObservationOptionError, match="static=0"):
        BackgroundError(1.0, static=0)


def bound(whole: xr.Dataset, error: object):
    mean, members = members_of(whole)
    sources = [BoundSource.of(background_observation(d, SPEC, error), SPEC, whole["time"]) for d in (mean, *members)]
    return bound_background(sources[0], sources[1:], error)


def test_deviations_are_those_of_the_values_that_the_mean_has():
    whole = ensemble(3)
    whole["t"][{"lat": 2}] = np.nan  # in all members: no background there
    found = bound(whole, 2.0)
    (part,) = found.audited()
    likelihood = part.likelihood
    assert likelihood.size == whole["t"].isel(member=0).size * 7 // 8
    np.testing.assert_allclose(likelihood.ensemble.mean(0), 0, atol=1e-9)
    flat = whole["t"].isel(lat=[i for i in range(8) if i != 2])
    np.testing.assert_allclose(np.sort(likelihood.values), np.sort(flat.mean("member").values.ravel()), rtol=1e-6)
    some = np.arange(likelihood.size) % 2 == 0
    np.testing.assert_array_equal(likelihood.keep(some).ensemble, likelihood.ensemble[:, some])


def test_faults_of_lazy_members_are_found_when_they_are_read():
    whole = ensemble(3)
    gap = whole.where((whole["member"] != 1) | (whole["lat"] > 0))
    for wrong, message in ((gap, "members have"), (whole.isel(member=[0, 1, 0]), "the same in members 0 and 2")):
        found = bound(wrong.chunk(time=1), 2.0)
        bare, lazy = found.without_lazy()
        with pytest.raises(ObservationOptionError, match=message):
            bare.with_computed([[part.compute() for part in each] for each in lazy]).audited()


def test_independent_errors_of_an_ensemble_are_refused():
    with pytest.raises(ObservationOptionError, match="correlation='none' with a background of 2 members"):
        bound(ensemble(2), BackgroundError(2.0, correlation="none"))
